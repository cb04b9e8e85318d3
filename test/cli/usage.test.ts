import { describe, expect, it } from "vitest";
import { fileWith, freshFolder, inside, refused, rows, seedling, task, zeroth } from "./zeroth.js";

const names = ["quickstart", "doctor", "finetune", "evaluate", "predict", "merge", "replay", "preview", "optimizers"];

describe("help", () => {
  it("lists every command and exits with 0", async () => {
    const { code, stdout } = await inside(["--help"]);
    expect(code).toBe(0);
    for (const name of names) expect(stdout).toMatch(new RegExp(`^  ${name} \\[options\\] +\\S`, "m"));
  });

  it.each(names)("of %s has options and examples", async (name) => {
    const { code, stdout } = await inside([name, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain("--json");
    expect(stdout).toContain("--threads <n>");
    const [, examples = ""] = stdout.split("Examples:\n");
    expect(examples).toMatch(new RegExp(`^  # .+\\n  \\S.* ${name}`, "m"));
  });

  it("shows the version", async () => {
    const { code, stdout } = await zeroth(["--version"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("usage errors exit with 2", () => {
  it("no command: the help, on standard error", async () => {
    const { code, stdout, stderr } = await zeroth([]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("quickstart");
  });

  const base = ["finetune", "--model", seedling, "--data", rows, "--out", "tuned"];
  it.each<[string, readonly string[], RegExp]>([
    ["a command that does not exist", ["finetun"], /finetun'[\s\S]*finetune/],
    ["a flag that does not exist", ["finetune", "--modle", "m"], /--modle'[\s\S]*--model/],
    ["a flag without its value", ["finetune", "--model"], /--model/],
    ["a word too many", ["merge", "model"], /argument/],
    ["a needed flag left out", ["finetune", "--data", "d", "--out", "o"], /--model is needed/],
    ["a number that is none", [...base, "--steps", "many"], /--steps must be a whole number of at least 1, not "many"/],
    ["a fraction of a step", [...base, "--steps", "1.5"], /--steps .*"1\.5"/],
    ["an empty number", [...base, "--seed", ""], /--seed must be a whole number/],
    ["a number out of range", [...base, "--epsilon", "0"], /--epsilon must be a number above 0/],
    ["an unknown method", [...base, ...task, "--method", "qlora"], /--method must be lora, full, .* or tensor-train/],
    ["an unknown optimizer", [...base, ...task, "--optimizer", "adam"], /--optimizer.*mezo/],
    ["LoRA's flags for another method", [...base, ...task, "--method", "full", "--rank", "4"], /--rank/],
    [
      "LoRA's frozen matrix for another method",
      [...base, ...task, "--method", "prompt", "--freeze-a"],
      /--freeze-a.*prompt/,
    ],
    ["layers that are none", [...base, ...task, "--layers", "first"], /--layers.*22\.\.29.*first/],
    ["a rank that is none", [...base, ...task, "--targets", "q_proj:x"], /--targets.*q_proj:16/],
    ["a pattern that is none", [...base, ...task, "--method", "full", "--train", "("], /--train.*regular expression/],
    [
      "few-shot rows beside other counts",
      [...base, ...task, "--per-class", "9", "--dev-rows", "5"],
      /--per-class: .*--dev/,
    ],
    ["no way to read rows", base, /--task[\s\S]*--prompt/],
    ["two ways to read rows", [...base, ...task, "--task", "sst2"], /only one/],
    ["an unknown task", [...base, "--task", "sst3"], /sst3.*sst2/],
    ["a template without options", [...base, "--prompt", "{text}"], /--options/],
    ["an unknown format", [...base, "--format", "csv"], /--format must be completion or chat/],
  ])("%s", async (_, args, message) => {
    expect(await refused(args, 2)).toMatch(message);
  });
});

describe("bad input exits with 1, names the file and the fix", () => {
  const data = (name: string, text: string) => [
    "evaluate",
    "--model",
    seedling,
    "--data",
    fileWith(name, text),
    ...task,
  ];
  it.each<[string, readonly string[], RegExp]>([
    ["a data file that is missing", ["evaluate", "--model", seedling, "--data", "no.jsonl", ...task], /no\.jsonl/],
    [
      "a data folder without validation rows",
      ["evaluate", "--model", seedling, "--data", freshFolder(), ...task],
      /validation\.jsonl/,
    ],
    ["an empty data file", data("empty.jsonl", ""), /empty\.jsonl/],
    ["a line that is not JSON", data("bad.jsonl", '{"text":"a","name":"b","label":"sad"}\n{"text":\n'), /bad\.jsonl:2/],
    ["a row without a field", data("poor.jsonl", '{"text":"a","label":"sad"}\n'), /poor\.jsonl:1.*name/],
    ["an unknown label", data("odd.jsonl", '{"text":"a","name":"b","label":"grumpy"}\n'), /odd\.jsonl:1[\s\S]*grumpy/],
    [
      "a model folder with nothing in it",
      ["evaluate", "--model", freshFolder(), "--data", rows, ...task],
      /model\.safetensors/,
    ],
    [
      "a model file that is no model",
      ["evaluate", "--model", fileWith("m.gguf", "no"), "--data", rows, ...task],
      /m\.gguf/,
    ],
    [
      "an adapter folder with nothing in it",
      ["evaluate", "--model", seedling, "--adapter", freshFolder(), "--data", rows, ...task],
      /adapter_config\.json/,
    ],
    [
      "a run folder with nothing in it",
      ["replay", "--model", seedling, "--run", freshFolder(), "--out", "o"],
      /journal|run/,
    ],
  ])("%s", async (_, args, message) => {
    expect(await refused(args, 1)).toMatch(message);
  });

  it("prediction rows that are not JSON, by line", async () => {
    const file = fileWith("rows.jsonl", '{"text":"One day.","name":"Tom"}\n\n[1]\n');
    const { code, stderr } = await inside(["predict", "--model", seedling, "--data", file, ...task]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${file}:3`);
  });
});

describe("--config", () => {
  const preview = (config: string, ...args: string[]) => ["preview", "--config", config, ...args];

  it("takes options from YAML, and flags override them", async () => {
    const config = fileWith(
      "run.yaml",
      `model: ${JSON.stringify(seedling)}\ndata: ${JSON.stringify(rows)}\nprompt: "{text} {name} was so"\noptions: [" sad", " happy"]\nlabels: [sad, happy]\nlimit: 3\n`,
    );
    const three = await inside(preview(config));
    expect(three.code, three.stderr).toBe(0);
    expect(three.stdout.match(/line \d+/g)).toHaveLength(3);
    expect(three.stdout).toContain("[ happy]");
    const one = await inside(preview(config, "--limit", "1"));
    expect(one.stdout.match(/line \d+/g)).toHaveLength(1);
  });

  it("takes the optimizer from YAML, its hyperparameters as a mapping", async () => {
    const config = fileWith("run.yaml", "optimizer: hizoo\nhyperparameters:\n  smoothing: 2\n");
    const args = ["finetune", "--model", "no/model", "--data", rows, ...task, "--out", "o", "--config", config];
    expect(await refused(args, 2)).toMatch(/hizoo[\s\S]*smoothing: .*<=1/);
  });

  it("takes options from JSON, named as on the command line", async () => {
    const config = fileWith(
      "run.json",
      JSON.stringify({ model: seedling, data: rows, "learning-rate": "fast", out: "o" }),
    );
    expect(await refused(["finetune", "--config", config], 2)).toMatch(/--learning-rate must be a number/);
  });

  it.each([
    ["an unknown key", "run.yaml", "model: m\nlr: 1\n", /run\.yaml: unknown option "lr"/],
    ["no mapping", "run.yaml", "- model\n", /run\.yaml: expected options/],
    ["an empty file", "run.yaml", "", /run\.yaml: expected options/],
    ["broken YAML", "run.yaml", "model: [\n", /run\.yaml: not YAML/],
    ["a value of the wrong kind", "run.yaml", "model: { a: 1 }\n", /--model needs a value/],
  ])("refuses %s", async (_, name, text, message) => {
    expect(await refused(["finetune", "--config", fileWith(name, text)], 2)).toMatch(message);
  });

  it("refuses a file that is missing", async () => {
    expect(await refused(["finetune", "--config", "no.yaml"], 2)).toContain("no.yaml");
  });
});
