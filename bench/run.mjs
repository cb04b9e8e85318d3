// npm run bench [-- --json] [-- --only NAME]: every figure is a ratio from this run, or says that it is not.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machine, median, missing, modelFolder, root, rowsFile } from "./setup.mjs";

const { values } = parseArgs({
  options: { json: { type: "boolean" }, only: { type: "string" }, write: { type: "boolean" } },
});
const THREADS = 2;
const ROWS = 16;
const why = missing();
const model = why === undefined ? await modelFolder() : "";
const rows = why === undefined ? rowsFile(ROWS) : "";
const many = why === undefined ? rowsFile(96) : "";

const child = (script, ...args) =>
  JSON.parse(
    execFileSync(process.execPath, [join(root, script), ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    })
      .trim()
      .split("\n")
      .at(-1),
  );
const memo = (work) => {
  const known = new Map();
  return (...args) => {
    const key = args.join(" ");
    if (!known.has(key)) known.set(key, work(...args));
    return known.get(key);
  };
};
const step = memo((kind, perturbation) => child("bench/step.mjs", model, rows, kind, perturbation));
const memory = memo((what) => child("bench/memory.mjs", model, what === "evaluate" ? many : rows, what));

const skip = (reason) => ({ skipped: reason });
const python = process.env.ZEROTH_BENCH_PYTHON ?? "python3";
/** PyTorch MeZO in its published form on the same rows. */
const peer = memo((kind) => {
  const args = [
    "--model",
    model,
    "--rows-file",
    rows,
    "--form",
    "published",
    "--method",
    kind,
    "--steps",
    "3",
    "--threads",
    String(THREADS),
    "--json",
  ];
  const { status, stdout, stderr } = spawnSync(python, [join(root, "bench/peers/mezo.py"), ...args], {
    encoding: "utf8",
  });
  if (status === 0) return JSON.parse(stdout.trim().split("\n").at(-1));
  return skip(
    status === 3
      ? "PyTorch and transformers are not installed (bench/peers/requirements.txt; ZEROTH_BENCH_PYTHON names the interpreter)"
      : `the peer failed: ${(stderr || "no python").trim().split("\n").at(-1)}`,
  );
});
/** Zeroth's own steps are timed right before and after the peer's, so that both see the same machine. */
const against = (kind, perturbation) => {
  const before = child("bench/step.mjs", model, rows, kind, perturbation, "3").secondsPerStep;
  const other = peer(kind);
  if (other.skipped !== undefined) return other;
  const after = child("bench/step.mjs", model, rows, kind, perturbation, "3").secondsPerStep;
  return {
    value: other.secondsPerStep / ((before + after) / 2),
    note: `${other.secondsPerStep.toFixed(2)} s ÷ ${((before + after) / 2).toFixed(3)} s`,
  };
};

/** Seconds from the command to its first step line. */
const firstStep = () =>
  new Promise((resolve, reject) => {
    const out = mkdtempSync(join(tmpdir(), "zeroth-bench-"));
    const started = performance.now();
    const args = [
      "finetune",
      "--model",
      model,
      "--task",
      "sst2",
      "--data",
      rows,
      "--dev-rows",
      "0",
      "--steps",
      "2",
      "--threads",
      String(THREADS),
      "--out",
      out,
      "--json",
    ];
    const run = spawn(process.execPath, [join(root, "bin/zeroth.js"), ...args], {
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

const ratioOf = ({ ratio, secondsPerStep, secondsPerTwoForwards, tokens }) => ({
  value: ratio,
  note: `${secondsPerStep.toFixed(3)} s ÷ ${secondsPerTwoForwards.toFixed(3)} s, ${tokens} tokens`,
});
const memoryRatio = (what) => {
  const [training, evaluation] = [memory(what).peakRssBytes, memory("evaluate").peakRssBytes];
  return {
    value: training / evaluation,
    note: `${Math.round(training / 2 ** 20)} MiB ÷ ${Math.round(evaluation / 2 ** 20)} MiB`,
  };
};

/** The table: one more figure is one more row. "max" means at most the goal, "min" at least. */
const figures = [
  {
    figure: "lora-step",
    says: "LoRA step ÷ two forwards",
    unit: "×",
    goal: 1.1,
    direction: "max",
    measure: () => ratioOf(step("lora", "gaussian")),
  },
  {
    figure: "full-step-rademacher",
    says: "full step, Rademacher, ÷ two forwards",
    unit: "×",
    goal: 1.6,
    direction: "max",
    measure: () => ratioOf(step("full", "rademacher")),
  },
  {
    figure: "full-step-gaussian",
    says: "full step, Gaussian, ÷ two forwards",
    unit: "×",
    goal: null,
    direction: "max",
    measure: () => ratioOf(step("full", "gaussian")),
  },
  {
    figure: "lora-against-pytorch",
    says: "PyTorch MeZO LoRA step (published form, fp32) ÷ ours",
    unit: "×",
    goal: 8,
    direction: "min",
    measure: () => against("lora", "gaussian"),
  },
  {
    figure: "full-against-pytorch",
    says: "PyTorch MeZO full step (published form, fp32) ÷ ours (Rademacher)",
    unit: "×",
    goal: 8,
    direction: "min",
    measure: () => against("full", "rademacher"),
  },
  {
    figure: "full-gaussian-against-pytorch",
    says: "PyTorch MeZO full step (published form, fp32) ÷ ours (Gaussian)",
    unit: "×",
    goal: null,
    direction: "min",
    measure: () => against("full", "gaussian"),
  },
  {
    figure: "lora-memory",
    says: "peak memory, LoRA training ÷ evaluation",
    unit: "×",
    goal: 1.1,
    direction: "max",
    measure: () => memoryRatio("lora"),
  },
  {
    figure: "full-memory",
    says: "peak memory, full training ÷ evaluation",
    unit: "×",
    goal: 1.25,
    direction: "max",
    measure: () => memoryRatio("full"),
  },
  {
    figure: "first-step",
    says: "from the command to the end of the first step",
    unit: "s",
    goal: null,
    direction: "max",
    measure: async () => ({ value: median([await firstStep(), await firstStep(), await firstStep()]) }),
  },
];

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

Machine: ${machine()}. SmolLM2-135M-Instruct in fp32, SST-2, ${ROWS} rows a step, ${THREADS} threads. Every figure is a ratio of medians measured in the same run;
the machine is shared and noisy, so read ratios, not seconds. "Two forwards" are evaluation forwards of the same graph (adapter included) over the same packs.

| figure | value | goal | measured |
|---|---|---|---|
${table}

The peer is PyTorch MeZO in its published form (\`bench/peers/\`): every option its own padded row, logits at every position, Gaussian noise by \`torch.normal\`.
It needs Python; without it its rows are skipped aloud. Memory is the peak resident memory of whole processes.
`,
  );
}
