// Random models of growing size, written to a scratch folder and removed.
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { child, finetune, memo, skip, step } from "../children.mjs";
import { root, scratch } from "../setup.mjs";
import { lora } from "./steps.mjs";

/** Gibibytes on the disk that a model takes, with the cache of its blocks. */
const room = { "135m": 1, "360m": 2, "1.1b": 5, "3b": 5, "7b": 9 };

/** Does `work` with a random model and four rows of 64 letters, which are tokens to it. */
const withModel = async (size, format, work) => {
  mkdirSync(scratch, { recursive: true });
  const { bavail, bsize } = statfsSync(scratch);
  const free = (bavail * bsize) / 2 ** 30;
  if (free < room[size] + 2) return skip(`${size} needs ${room[size]} GiB of disk, ${free.toFixed(1)} are free`);
  const place = mkdtempSync(join(scratch, "random-"));
  try {
    const model = join(place, format === "gguf" ? "model.gguf" : "model");
    const rows = join(place, "rows.jsonl");
    const row = (i) => ({
      sentence: `a film of some charm and some wit , number ${i} of the year it is`,
      label: i % 2,
    });
    writeFileSync(rows, Array.from({ length: 4 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(""));
    child("bench/random.mjs", [join(root, "tools/random-model.mjs"), size, model, "--format", format]);
    return await work({ model, rows, env: { XDG_CACHE_HOME: join(place, "cache") } });
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
};

const sizes = ["135m", "360m", "1.1b"];

export const scaleFigures = () => {
  const steps = memo((size) => withModel(size, "hub", ({ model, rows }) => step({ model, rows, ...lora, repeats: 3 })));
  const inBits = memo((size) =>
    withModel(size, "gguf", ({ model, rows, env }) =>
      finetune({ model, task: "sst2", data: rows, "dev-rows": 0, "batch-size": 4, steps: 3, "run-tokens": 0 }, env),
    ),
  );
  return [
    ...sizes.map((size) => ({
      figure: `scale-${size}`,
      says: `LoRA step ÷ two forwards, a random model of ${size.toUpperCase()} in fp32`,
      async measure() {
        const found = await steps(size);
        if (found.skipped !== undefined) return found;
        const { ratio, secondsPerStep, tokens } = found;
        return { value: ratio, note: `${secondsPerStep.toFixed(2)} s a step of ${tokens} tokens` };
      },
    })),
    {
      figure: "scale-growth",
      says: "that ratio at 1.1B ÷ at 135M",
      most: 1.05,
      async measure() {
        const [small, large] = [await steps("135m"), await steps("1.1b")];
        const skipped = small.skipped ?? large.skipped;
        if (skipped !== undefined) return skip(skipped);
        return { value: large.ratio / small.ratio, note: `${large.ratio.toFixed(3)} ÷ ${small.ratio.toFixed(3)}` };
      },
    },
    ...["1.1b", "3b", "7b"].map((size) => ({
      figure: `scale-${size}-4-bits`,
      says: `peak memory, LoRA on a random model of ${size.toUpperCase()} in 4 bits`,
      unit: "MiB",
      ...(size === "7b" ? { most: 6 * 1024 } : {}),
      async measure() {
        const found = await inBits(size);
        if (found.skipped !== undefined) return found;
        return {
          value: found.peakRssBytes / 2 ** 20,
          note: `${found.secondsPerStep.toFixed(1)} s a step of 256 tokens`,
        };
      },
    })),
  ];
};
