// A step against the forward passes that it is made of.
import { memo, ROWS, step } from "../children.mjs";
import { rowsFile } from "../setup.mjs";

/** About 1,000 tokens. */
const MANY_ROWS = 72;
export const LAST = "22..29";
export const lora = { method: "lora" };
export const signs = { method: "full", perturbation: "rademacher" };
const normals = { method: "full", perturbation: "gaussian" };

export const stepFigures = (model) => {
  const timed = memo(({ count = ROWS, ...options }) => step({ model, rows: rowsFile(count), ...options }));
  const ratio = (options) => () => {
    const { ratio: value, secondsPerStep, secondsPerTwoForwards, tokens } = timed(options);
    return { value, note: `${secondsPerStep.toFixed(3)} s ÷ ${secondsPerTwoForwards.toFixed(3)} s, ${tokens} tokens` };
  };
  /** Steps of two kinds in turn, in one process. */
  const between =
    (options, other, factor = 1) =>
    () => {
      const { secondsPerStep, secondsPerOtherStep, ratio } = timed({ ...options, against: JSON.stringify(other) });
      const theirs = factor * secondsPerOtherStep;
      return { value: ratio / factor, note: `${secondsPerStep.toFixed(3)} s ÷ ${theirs.toFixed(3)} s` };
    };
  const many = { count: MANY_ROWS, repeats: 3 };
  const short = { ...lora, count: 4 };
  return [
    { figure: "lora-step", says: "LoRA step ÷ two forwards", most: 1.05, measure: ratio(lora) },
    {
      figure: "full-step-rademacher",
      says: "full step, Rademacher, ÷ two forwards",
      most: 1.25,
      measure: ratio(signs),
    },
    {
      figure: "full-step-rademacher-1000",
      says: "the same at about 1,000 tokens",
      most: 1.08,
      measure: ratio({ ...signs, ...many }),
    },
    { figure: "full-step-gaussian", says: "full step, Gaussian, ÷ two forwards", most: 2, measure: ratio(normals) },
    {
      figure: "full-step-gaussian-1000",
      says: "the same at about 1,000 tokens",
      most: 1.3,
      measure: ratio({ ...normals, ...many }),
    },
    {
      figure: "layers-first-epoch",
      says: "LoRA step on blocks 22–29 ÷ on all, first epoch",
      most: 0.65,
      measure: between({ ...lora, layers: LAST }, lora),
    },
    {
      figure: "layers-cached",
      says: "LoRA step on blocks 22–29 ÷ on all, cached",
      most: 0.32,
      measure: between({ ...lora, layers: LAST, warm: true }, lora),
    },
    {
      figure: "lora-queries",
      says: "LoRA step of 8 queries ÷ 8 × one of one",
      most: 0.95,
      measure: between({ ...lora, queries: 8, repeats: 3 }, lora, 8),
    },
    {
      figure: "lora-queries-short",
      says: "the same on 4 rows, ÷ 8 × a step of one query whose sides run one after the other",
      measure: between({ ...short, queries: 8, repeats: 3 }, { ...lora, "run-tokens": 0 }, 8),
    },
  ];
};
