// Trajectories on SST-2 with SmolLM2-135M-Instruct: each a function of what it is asked for, so it is kept by that, and the benches share them.
import { join } from "node:path";
import { child, childBeside } from "./children.mjs";
import { ledger } from "./ledger.mjs";
import { looks } from "./pace.mjs";
import { machine, modelFolder, root, shared } from "./setup.mjs";

export const kept = ledger(join(root, "bench/results/sst2.jsonl"));

/** What every run here has in common. */
const common = { task: "sst2", schedule: "linear", trainRows: 1000, devRows: 500, batchSize: 16 };

const asking = async (label, { options, ...request }, threads) => {
  const model = await modelFolder();
  const whole = { label, options: { ...common, threads, ...options, data: join(shared, "data/sst2") }, ...request };
  return ["bench/train.mjs", [model, JSON.stringify(whole)]];
};

/**
 * @param options method, optimizer, steps and seed, as finetune takes them
 * @param parts of its steps after which it is evaluated, on the dev rows or the validation rows, the first `limit` of them
 */
export const asked = (options, { parts, on, limit }) => ({
  options,
  at: parts.map((part) => Math.round(part * options.steps)),
  on,
  ...(limit === undefined ? {} : { limit }),
});

/** Trajectories that are not kept yet, two at a time with a thread each: cores idle less than when both wait for one. */
export const trajectories = async (entries) => {
  const left = [...entries];
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const { label, request } = next;
      await kept.once(request, async () => childBeside(...(await asking(label, request, 1))));
    }
  };
  await Promise.all([work(), work()]);
};

/** What the steps of a run take, whichever its seed and rate: wants a quiet machine. */
const paceKey = ({ method, optimizer: { learningRate: _, ...optimizer } }) => ({ pace: { method, optimizer } });
export const pace = (label, options) =>
  kept.once(paceKey(options), async () => {
    const found = child(...(await asking(label, { options, at: looks, on: "dev", limit: 16 }, 2)));
    return { machine: machine(), ...found };
  });
export const paceOf = (options) => kept.get(paceKey(options))?.points;
