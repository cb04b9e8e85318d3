// node bench/scale.mjs [--sizes 135m,1.1b] [--json]: LoRA steps of about 256 tokens on random models of growing size, in fp32 and in
// GGUF's Q4_0: seconds a step and peak memory of the whole process. Models are written to a temporary folder and removed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machine, root } from "./setup.mjs";

const { values } = parseArgs({ options: { sizes: { type: "string" }, json: { type: "boolean" } } });
const all = [
  ["135m", "hub"],
  ["360m", "hub"],
  ["1.1b", "hub"],
  ["1.1b", "gguf"],
  ["3b", "gguf"],
  ["7b", "gguf"],
];
const wanted = values.sizes?.split(",");
/** The most that a step of 7 B in 4 bits may take. */
const GOAL_MIB = 6 * 1024;

/** Four rows of 64 letters: the random models' tokens are bytes. */
const rows = (file) => {
  const row = (i) => ({ sentence: `a film of some charm and some wit , number ${i} of the year it is`, label: i % 2 });
  writeFileSync(file, Array.from({ length: 4 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(""));
};

if (!values.json) console.log(`${machine()}\nLoRA, r = 8 on q and v, 4 rows of 64 tokens a step, 2 threads\n`);
for (const [size, format] of all.filter(([name]) => wanted === undefined || wanted.includes(name))) {
  const place = mkdtempSync(join(tmpdir(), "zeroth-scale-"));
  try {
    const model = join(place, format === "gguf" ? "model.gguf" : "model");
    const data = join(place, "rows.jsonl");
    rows(data);
    const run = (...args) => {
      const env = { ...process.env, XDG_CACHE_HOME: join(place, "cache") };
      const { status, stdout, stderr } = spawnSync(process.execPath, args, {
        encoding: "utf8",
        env,
        maxBuffer: 2 ** 26,
      });
      if (status !== 0) throw new Error(stderr || `exit code ${status}`);
      return stdout;
    };
    run(join(root, "tools/random-model.mjs"), size, model, "--format", format);
    const flags = ["--model", model, "--task", "sst2", "--data", data, "--dev-rows", "0", "--batch-size", "4"];
    const more = ["--steps", "3", "--threads", "2", "--out", join(place, "out"), "--json"];
    const lines = run(join(root, "bin/zeroth.js"), "finetune", ...flags, ...more)
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const { secondsPerStep, peakRssBytes } = lines.at(-1);
    const mebibytes = Math.round(peakRssBytes / 2 ** 20);
    const bound = size === "7b" ? { goal: GOAL_MIB, direction: "max" } : {};
    if (values.json)
      console.log(JSON.stringify({ figure: `scale-${size}-${format}`, value: mebibytes, unit: "MiB", ...bound }));
    else
      console.log(`${size.padEnd(5)} ${format.padEnd(5)} ${secondsPerStep.toFixed(2)} s a step, peak ${mebibytes} MiB`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
