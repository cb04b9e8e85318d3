// Checks that other programs compute what Zeroth does from the files that it writes:
//   node bench/peers/interchange.mjs --model FOLDER [--adapter DIR] [--text TEXT] [--python PYTHON] [--only llama.cpp|peft]
// It needs node-llama-cpp in bench/peers (see README.md), and for PEFT a Python that has it. transformers.js has a test (test-real/export.test.ts).
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { exportModel, load } from "../../dist/index.js";
import { greedy } from "./reference.mjs";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    adapter: { type: "string" },
    text: { type: "string", default: "Once upon a time, there was 1 little" },
    count: { type: "string", default: "12" },
    python: { type: "string" },
    only: { type: "string" },
  },
});
const { adapter, text } = options;
const count = Number(options.count);
const folder = mkdtempSync(join(tmpdir(), "zeroth-interchange-"));
const model = await load(options.model);
const { tokenizer } = model.files;
const prompt = tokenizer.encode(text, { special: true });
const { tokens, rows, margin } = await greedy(model, { adapter, prompt, count });
console.log(`Zeroth: ${tokens.length} tokens, the best two at least ${margin.toExponential(1)} apart`);

/** The largest difference of log-probabilities where both have them. */
const worst = (theirs) =>
  theirs.reduce(
    (most, row, i) => [...row.entries()].reduce((a, [id, value]) => Math.max(a, Math.abs(value - rows[i][id])), most),
    0,
  );
let failed = false;
const expect = (claim, holds, detail = "") => {
  console.log(`${holds ? "ok  " : "FAIL"} ${claim}${detail === "" ? "" : `: ${detail}`}`);
  failed ||= !holds;
};
const compare = (name, found, bound) => {
  const distance = worst(found.rows);
  expect(`${name}: the same tokens`, String(found.tokens) === String(tokens), `${found.tokens.length} of them`);
  expect(`${name}: log-probabilities within ${bound}`, distance < bound, distance.toExponential(1));
};
const write = async (name, request) => {
  const out = join(folder, name);
  await exportModel(model, { ...request, out });
  return out;
};

const checks = {
  async "llama.cpp"() {
    const { llamaCpp } = await import("./llama-cpp.mjs");
    const run = (file, lora) => llamaCpp({ file, lora, prompt, text, count });
    const whole = await run(await write("whole.gguf", { format: "gguf", adapter }));
    // llama.cpp looks GELU up in a table of halves.
    compare("GGUF, float32", whole, 3e-3);
    expect("GGUF: text cut the same way", String(whole.encoded) === String(tokenizer.encode(text)));
    if (adapter === undefined) return;
    const base = await write("base.gguf", { format: "gguf" });
    const lora = await write("lora.gguf", { format: "gguf", adapter, adapterOnly: true });
    compare("GGUF, base and adapter apart", await run(base, lora), 3e-3);
  },
  async peft() {
    if (adapter === undefined || options.python === undefined)
      return console.log("skip PEFT: no --adapter or no --python");
    const script = fileURLToPath(new URL("peft_logits.py", import.meta.url));
    const normal = await write("peft", { format: "peft", adapter });
    for (const [name, path] of [
      ["as it is", adapter],
      ["exported", normal],
    ]) {
      const args = [script, model.files.origin.path, path, JSON.stringify(prompt), String(count)];
      const printed = execFileSync(options.python, args, { maxBuffer: 2 ** 30, stdio: ["ignore", "pipe", "ignore"] });
      compare(`PEFT, the adapter ${name}`, JSON.parse(printed), 1e-4);
    }
  },
};

try {
  for (const [name, check] of Object.entries(checks)) if ((options.only ?? name) === name) await check();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
