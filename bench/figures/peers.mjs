// Against PyTorch, on the same rows in the same run.
import { memo, peer, ROWS, step } from "../children.mjs";
import { rowsFile } from "../setup.mjs";
import { LAST, lora, signs } from "./steps.mjs";

export const theirs = memo(peer);
export const published = (method) => ({ form: "published", method });
const lean = (method, dtype = "float32") => ({ form: "lean", method, dtype });

export const peerFigures = (model) => {
  /** Zeroth's own steps are timed right before and after the peer's, so that both see the same machine. */
  const against = (options, other) => () => {
    const timed = () => step({ model, rows: rowsFile(ROWS), ...options, repeats: 3 }).secondsPerStep;
    const before = timed();
    const found = theirs(model, other);
    if (found.skipped !== undefined) return found;
    const ours = (before + timed()) / 2;
    return {
      value: found.secondsPerStep / ours,
      note: `${found.secondsPerStep.toFixed(2)} s ÷ ${ours.toFixed(3)} s`,
    };
  };
  const forms = (method) => [
    ["published", published(method)],
    ["lean", lean(method)],
    ["lean bf16", lean(method, "bfloat16")],
  ];
  const goals = { lora: [12, 4, 1.8], full: [14, 6, 6] };
  return [
    ...["lora", "full"].flatMap((method) =>
      forms(method).map(([form, other], i) => ({
        figure: `${method}-against-${form.replace(" ", "-")}`,
        says: `PyTorch MeZO ${method} step, ${form}, ÷ ours`,
        least: goals[method][i],
        measure: against(method === "lora" ? lora : signs, other),
      })),
    ),
    {
      figure: "last-layers-against-published",
      says: "PyTorch MeZO full step, published, ÷ our step on the last 8 blocks, warm",
      least: 60,
      measure: against({ ...signs, layers: LAST, warm: true }, published("full")),
    },
  ];
};
