// npm run bench [-- --json] [-- --only NAME] [-- --write]: every figure is a ratio from this run, or says that it is not.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gguf, machine, median, missing, modelFolder, root, rowsFile } from "./setup.mjs";

const { values } = parseArgs({
  options: { json: { type: "boolean" }, only: { type: "string" }, write: { type: "boolean" } },
});
const THREADS = 2;
const ROWS = 16;
/** About 1,000 tokens. */
const MANY_ROWS = 72;
const LAST = "22..29";
const why = missing();
const model = why === undefined ? await modelFolder() : "";
const rows = (count) => (why === undefined ? rowsFile(count) : "");

const lastJson = (text) => JSON.parse(text.trim().split("\n").at(-1));
const child = (script, ...args) =>
  lastJson(
    execFileSync(process.execPath, [join(root, script), ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
const memo = (work) => {
  const known = new Map();
  return (...args) => {
    const key = JSON.stringify(args);
    if (!known.has(key)) known.set(key, work(...args));
    return known.get(key);
  };
};
const flagsOf = (options) =>
  Object.entries(options).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
const stepNow = ({ count = ROWS, ...options }) => child("bench/step.mjs", model, rows(count), ...flagsOf(options));
const step = memo(stepNow);
const memory = memo((what, of = model) => child("bench/memory.mjs", of, rows(what === "evaluate" ? 96 : ROWS), what));

const skip = (reason) => ({ skipped: reason });
const python = process.env.ZEROTH_BENCH_PYTHON ?? "python3";
/** A PyTorch step on the same rows. */
const peer = memo((options) => {
  const given = { model, "rows-file": rows(ROWS), steps: 3, threads: THREADS, json: true, ...options };
  const { status, stdout, stderr } = spawnSync(python, [join(root, "bench/peers/mezo.py"), ...flagsOf(given)], {
    encoding: "utf8",
  });
  if (status === 0) return lastJson(stdout);
  return skip(
    status === 3
      ? "PyTorch and transformers are not installed (bench/peers/requirements.txt; ZEROTH_BENCH_PYTHON names the interpreter)"
      : `the peer failed: ${(stderr || "no python").trim().split("\n").at(-1)}`,
  );
});
/** Zeroth's own steps are timed right before and after the peer's, so that both see the same machine. */
const against = (options, theirs) => {
  const timed = () => stepNow({ ...options, repeats: 3 }).secondsPerStep;
  const before = timed();
  const other = peer(theirs);
  if (other.skipped !== undefined) return other;
  const ours = (before + timed()) / 2;
  return { value: other.secondsPerStep / ours, note: `${other.secondsPerStep.toFixed(2)} s ÷ ${ours.toFixed(3)} s` };
};

const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
const ratioOf = ({ ratio, secondsPerStep, secondsPerTwoForwards, tokens }) => ({
  value: ratio,
  note: `${secondsPerStep.toFixed(3)} s ÷ ${secondsPerTwoForwards.toFixed(3)} s, ${tokens} tokens`,
});
const between = (a, b, factor = 1) => {
  const [ours, theirs] = [step(a).secondsPerStep, factor * step(b).secondsPerStep];
  return { value: ours / theirs, note: `${ours.toFixed(3)} s ÷ ${theirs.toFixed(3)} s` };
};
const memoryRatio = (what) => {
  const [training, evaluation] = [memory(what).peakRssBytes, memory("evaluate").peakRssBytes];
  return { value: training / evaluation, note: `${mebibytes(training)} ÷ ${mebibytes(evaluation)}` };
};
const memoryAgainst = (options) => {
  const other = peer(options);
  if (other.skipped !== undefined) return other;
  const ours = memory("full").peakRssBytes;
  return { value: other.peakRssBytes / ours, note: `${mebibytes(other.peakRssBytes)} ÷ ${mebibytes(ours)}` };
};

/** Seconds from the command to its first step line. */
const firstStep = () =>
  new Promise((resolve, reject) => {
    const out = mkdtempSync(join(tmpdir(), "zeroth-bench-"));
    const started = performance.now();
    const flags = { model, task: "sst2", data: rows(ROWS), "dev-rows": 0, steps: 2, threads: THREADS, out, json: true };
    const run = spawn(process.execPath, [join(root, "bin/zeroth.js"), "finetune", ...flagsOf(flags)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let seconds;
    let text = "";
    run.stdout.setEncoding("utf8");
    run.stdout.on("data", (chunk) => {
      text += chunk;
      if (seconds === undefined && /"step"/.test(text)) seconds = (performance.now() - started) / 1000;
    });
    run.on("exit", (code) => {
      rmSync(out, { recursive: true, force: true });
      if (code === 0 && seconds !== undefined) resolve(seconds);
      else reject(new Error(`zeroth finetune ended with ${code}`));
    });
  });

const lora = { method: "lora" };
const signs = { method: "full", perturbation: "rademacher" };
const normals = { method: "full", perturbation: "gaussian" };
const published = (method) => ({ form: "published", method });
const lean = (method, dtype = "float32") => ({ form: "lean", method, dtype });
const atMost = (goal, unit = "×") => ({ goal, unit, direction: "max" });
const atLeast = (goal, unit = "×") => ({ goal, unit, direction: "min" });

/** The table: one more figure is one more row. "max" means at most the goal, "min" at least. */
const figures = [
  ["lora-step", "LoRA step ÷ two forwards", atMost(1.05), () => ratioOf(step(lora))],
  ["full-step-rademacher", "full step, Rademacher, ÷ two forwards", atMost(1.25), () => ratioOf(step(signs))],
  [
    "full-step-rademacher-1000",
    "the same at about 1,000 tokens",
    atMost(1.08),
    () => ratioOf(step({ ...signs, count: MANY_ROWS, repeats: 3 })),
  ],
  ["full-step-gaussian", "full step, Gaussian, ÷ two forwards", atMost(2), () => ratioOf(step(normals))],
  [
    "full-step-gaussian-1000",
    "the same at about 1,000 tokens",
    atMost(1.3),
    () => ratioOf(step({ ...normals, count: MANY_ROWS, repeats: 3 })),
  ],
  ...["lora", "full"].flatMap((method) => {
    const ours = method === "lora" ? lora : signs;
    const goals = method === "lora" ? [12, 4, 1.8] : [14, 6, 6];
    return [
      ["published", published(method)],
      ["lean", lean(method)],
      ["lean bf16", lean(method, "bfloat16")],
    ].map(([form, theirs], i) => [
      `${method}-against-${form.replace(" ", "-")}`,
      `PyTorch MeZO ${method} step, ${form}, ÷ ours`,
      atLeast(goals[i]),
      () => against(ours, theirs),
    ]);
  }),
  [
    "last-layers-against-published",
    "PyTorch MeZO full step, published, ÷ our step on the last 8 blocks, warm",
    atLeast(60),
    () => against({ ...signs, layers: LAST, warm: true }, published("full")),
  ],
  [
    "layers-first-epoch",
    "LoRA step on blocks 22–29 ÷ on all, first epoch",
    atMost(0.65),
    () => between({ ...lora, layers: LAST }, lora),
  ],
  [
    "layers-cached",
    "LoRA step on blocks 22–29 ÷ on all, cached",
    atMost(0.32),
    () => between({ ...lora, layers: LAST, warm: true }, lora),
  ],
  [
    "lora-queries",
    "LoRA step of 8 queries ÷ 8 × one of one",
    atMost(0.95),
    () => between({ ...lora, queries: 8, repeats: 3 }, lora, 8),
  ],
  ["lora-memory", "peak memory, LoRA training ÷ evaluation", atMost(1.05), () => memoryRatio("lora")],
  ["full-memory", "peak memory, full training ÷ evaluation", atMost(1.1), () => memoryRatio("full")],
  [
    "memory-against-adam",
    "peak memory, PyTorch Adam full ÷ our full",
    atLeast(8),
    () => memoryAgainst({ method: "full", optimizer: "adam" }),
  ],
  [
    "memory-against-mezo",
    "peak memory, PyTorch MeZO full ÷ our full",
    atLeast(3),
    () => memoryAgainst(published("full")),
  ],
  [
    "gguf-memory",
    "peak memory, LoRA on the Q4_1 GGUF",
    atMost(300, "MiB"),
    () => ({ value: memory("lora", gguf).peakRssBytes / 2 ** 20 }),
  ],
  [
    "first-step",
    "from the command to the end of the first step",
    atMost(null, "s"),
    async () => ({ value: median([await firstStep(), await firstStep(), await firstStep()]) }),
  ],
].map(([figure, says, terms, measure]) => ({ figure, says, ...terms, measure }));

const wanted = figures.filter(({ figure }) => values.only === undefined || figure === values.only);
if (wanted.length === 0) {
  console.error(`No figure is called ${values.only}. There are: ${figures.map(({ figure }) => figure).join(", ")}.`);
  process.exit(2);
}
const results = [];
if (!values.json)
  console.log(`${machine()}\nSmolLM2-135M-Instruct fp32, SST-2, ${ROWS} rows a step, ${THREADS} threads\n`);
for (const { measure, says, ...row } of wanted) {
  const { figure, unit, goal, direction } = row;
  const { value, note, skipped } = why === undefined ? await measure() : skip(why);
  const result =
    skipped === undefined ? { figure, value: Number(value.toFixed(3)), unit, goal, direction } : { figure, skipped };
  results.push({ ...result, says, note });
  if (values.json) console.log(JSON.stringify(result));
  else {
    const met =
      goal === null || skipped !== undefined
        ? ""
        : (direction === "max" ? value <= goal : value >= goal)
          ? "  met"
          : "  NOT MET";
    const bound = goal === null ? "" : `  (goal ${direction === "max" ? "≤" : "≥"} ${goal})`;
    console.log(
      skipped === undefined
        ? `${says}: ${value.toFixed(2)} ${unit}${bound}${met}${note ? `  [${note}]` : ""}`
        : `${says}: SKIPPED, ${skipped}`,
    );
  }
}

if (values.write) {
  const cell = ({ value, unit, skipped }) =>
    skipped === undefined ? `${value.toFixed(2)} ${unit}` : `skipped: ${skipped}`;
  const bound = ({ goal, direction }) =>
    goal === null || goal === undefined ? "" : `${direction === "max" ? "≤" : "≥"} ${goal}`;
  const table = results
    .map((result) => `| ${result.says} | ${cell(result)} | ${bound(result)} | ${result.note ?? ""} |`)
    .join("\n");
  writeFileSync(
    join(root, "docs/benchmarks.md"),
    `# Benchmarks

\`npm run bench -- --write\` printed this on ${new Date().toISOString().slice(0, 10)}.

Machine: ${machine()}. SmolLM2-135M-Instruct in fp32, SST-2, the first ${ROWS} training rows a step, ${THREADS} threads. Every figure is a ratio of medians measured in
the same run; the machine is shared and noisy, so read ratios, not seconds. "Two forwards" are evaluation forwards of the same graph (adapter included) over the same packs.

| figure | value | goal | measured |
|---|---|---|---|
${table}

The peer is PyTorch MeZO (\`bench/peers/\`). Published: every option its own padded row, logits at every position, Gaussian noise by \`torch.normal\`. Lean: one padded row an
example, the label's logits only. It needs Python; without it its rows are skipped aloud. Memory is the peak resident memory of whole processes.
`,
  );
}
