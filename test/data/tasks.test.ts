import { describe, expect, it } from "vitest";
import type { Row } from "../../src/data/rows.js";
import { UNLABELLED } from "../../src/data/task.js";
import { namedTask, type TaskName, taskNames } from "../../src/data/tasks.js";

const row = (fields: Record<string, unknown>): Row => ({ fields, file: "x.jsonl", line: 7 });

const textExample = (name: string, fields: Record<string, unknown>, labelled = true) => {
  const example = namedTask(name).example(row(fields), { labelled });
  if (example.kind !== "text") throw new Error("not text");
  return example;
};

/** One row a task, the prompt and options that MeZO makes of it, and its labels as published. */
const golden = {
  sst2: {
    fields: { sentence: "a gripping film . ", label: 1 },
    prompt: "a gripping film . It was",
    options: [" terrible", " great"],
    labels: [
      [0, 0],
      [1, 1],
      ["0", 0],
      ["1", 1],
      ["negative", 0],
      ["Positive", 1],
    ],
  },
  rte: {
    fields: { premise: "It rained.", hypothesis: "It was wet.", label: "entailment" },
    prompt: 'It rained.\nDoes this mean that "It was wet." is true? Yes or No?\n',
    options: ["Yes", "No"],
    labels: [
      ["entailment", 0],
      ["not_entailment", 1],
      [0, 0],
      [1, 1],
    ],
  },
  cb: {
    fields: { premise: "It rained.", hypothesis: "it was wet", label: "neutral" },
    prompt: 'Suppose It rained. Can we infer that "it was wet"? Yes, No, or Maybe?\n',
    options: ["Yes", "No", "Maybe"],
    labels: [
      ["entailment", 0],
      ["contradiction", 1],
      ["neutral", 2],
      [2, 2],
    ],
  },
  boolq: {
    fields: { passage: "Water is wet.", question: "is water wet", label: true },
    prompt: "Water is wet. Is water wet?\n",
    options: ["No", "Yes"],
    labels: [
      [true, 1],
      [false, 0],
      ["true", 1],
      ["False", 0],
      [1, 1],
      [0, 0],
      ["1", 1],
    ],
  },
  wsc: {
    fields: { text: "Ann met Eve. She left.", span1_text: "Eve", span2_text: "She", label: 0 },
    prompt: 'Ann met Eve. She left.\nIn the previous sentence, does the pronoun "she" refer to Eve? Yes or No?\n',
    options: ["No", "Yes"],
    labels: [
      [0, 0],
      [1, 1],
      [true, 1],
      ["False", 0],
    ],
  },
  wic: {
    fields: { word: "bank", sentence1: "By the bank.", sentence2: "A bank note.", label: 0 },
    prompt: 'Does the word "bank" have the same meaning in these two sentences? Yes, No?\nBy the bank.\nA bank note.\n',
    options: ["No", "Yes"],
    labels: [
      [0, 0],
      [true, 1],
    ],
  },
  multirc: {
    fields: { paragraph: "Ann ran.", question: "Who ran?", answer: "Ann", label: 1 },
    prompt: 'Ann ran.\nQuestion: Who ran?\nI found this answer "Ann". Is that correct? Yes or No?\n',
    options: ["No", "Yes"],
    labels: [
      [0, 0],
      [1, 1],
    ],
  },
  copa: {
    fields: { premise: "I ran. ", question: "effect", choice1: "I was tired.", choice2: "My feet grew.", label: 1 },
    prompt: "I ran so ",
    options: ["I was tired.", "my feet grew."],
    labels: [
      [0, 0],
      [1, 1],
      ["1", 1],
    ],
  },
  winogrande: {
    fields: { sentence: "Ann called Eve because _ was lost.", option1: "Ann", option2: "Eve", answer: "2" },
    prompt: "Ann called Eve because ",
    options: ["Ann was lost.", "Eve was lost."],
    labels: [
      ["1", 0],
      ["2", 1],
      [2, 1],
    ],
  },
} as const;

/** One row a task of masked models: what is around the mask, and the words by label as published. */
const cloze: Readonly<
  Partial<
    Record<
      TaskName,
      {
        readonly fields: Record<string, unknown>;
        readonly around: readonly [string, string];
        readonly words: Readonly<Record<string, string>>;
      }
    >
  >
> = {
  sst2: {
    fields: { sentence: "a gripping film . " },
    around: ["a gripping film . It was", "."],
    words: { 0: "terrible", 1: "great" },
  },
  sst5: {
    fields: { text: "a gripping film ." },
    around: ["a gripping film . It was", "."],
    words: { 0: "terrible", 1: "bad", 2: "okay", 3: "good", 4: "great" },
  },
  rte: {
    fields: { premise: "It rained.", hypothesis: "It was wet." },
    around: ["It rained?", ", it was wet."],
    words: { not_entailment: "No", entailment: "Yes", 0: "Yes", 1: "No" },
  },
  snli: {
    fields: { premise: "It rained.", hypothesis: "It was wet." },
    around: ["It rained?", ", it was wet."],
    words: { contradiction: "No", entailment: "Yes", neutral: "Maybe", 0: "Yes", 1: "Maybe", 2: "No" },
  },
  mnli: {
    fields: { premise: "It rained.", hypothesis: "It was wet." },
    around: ["It rained?", ", it was wet."],
    words: { contradiction: "No", entailment: "Yes", neutral: "Maybe", 0: "Yes", 1: "Maybe", 2: "No" },
  },
  trec: {
    fields: { text: "Who ran ?" },
    around: ["", ": Who ran ?"],
    words: {
      ...{ DESC: "Description", ENTY: "Entity", ABBR: "Expression", HUM: "Human", LOC: "Location", NUM: "Number" },
      ...{ 0: "Expression", 1: "Entity", 2: "Description", 3: "Human", 4: "Location", 5: "Number" },
    },
  },
  mr: { fields: { text: "good fun" }, around: ["good fun It was", "."], words: { 0: "terrible", 1: "great" } },
  cr: { fields: { text: "good fun" }, around: ["good fun It was", "."], words: { 0: "terrible", 1: "great" } },
  mpqa: { fields: { text: "good fun" }, around: ["good fun It was", "."], words: { 0: "terrible", 1: "great" } },
  subj: {
    fields: { text: "he runs" },
    around: ["he runs This is", "."],
    words: { subjective: "subjective", objective: "objective", 1: "subjective", 0: "objective" },
  },
  cola: {
    fields: { sentence: "he runs" },
    around: ["he runs This is", "."],
    words: { 0: "incorrect", 1: "correct" },
  },
  qqp: {
    fields: { question1: "Who ran?", question2: "Who walked?" },
    around: ["Who ran", ", who walked?"],
    words: { 0: "No", 1: "Yes" },
  },
  qnli: {
    fields: { question: "Who ran?", sentence: "Ann ran." },
    around: ["Who ran?", ", ann ran."],
    words: { entailment: "Yes", not_entailment: "No", 0: "Yes", 1: "No" },
  },
  mrpc: {
    fields: { sentence1: "Ann ran.", sentence2: "She ran." },
    around: ["Ann ran.", ", she ran."],
    words: { 0: "No", 1: "Yes" },
  },
};

const promptNames = Object.keys(golden) as (keyof typeof golden)[];
const clozeNames = Object.keys(cloze) as TaskName[];

describe("tasks of masked models", () => {
  it.each(clozeNames)("%s: template and words as published", (name) => {
    const { fields, around, words } = cloze[name]!;
    for (const [label, word] of Object.entries(words)) {
      const example = namedTask(name).example(row({ ...fields, label }), { reads: "masked" });
      if (example.kind !== "masked") throw new Error("not masked");
      expect([example.before, example.after]).toEqual(around);
      expect([label, example.options[example.label]]).toEqual([label, word]);
    }
  });

  it("a task that a kind of model cannot be asked lists those that it can", () => {
    expect(() => namedTask("copa").example(row(golden.copa.fields), { reads: "masked" })).toThrow(
      /--task copa has no prompt for a masked language model\. Those that do: sst2, rte/,
    );
    expect(() => namedTask("trec").example(row({ text: "a", label: 0 }))).toThrow(/a model that continues text/);
  });

  it("a classifier reads the texts alone, a pair where there are two", () => {
    expect(namedTask("sst2").example(row({ sentence: "fine", label: 1 }), { reads: "class" })).toMatchObject({
      kind: "plain",
      texts: ["fine"],
      label: 1,
    });
    expect(
      namedTask("mnli").example(row({ premise: "a", hypothesis: "b", label: 2 }), { reads: "class" }),
    ).toMatchObject({ kind: "plain", texts: ["a", "b"], label: 2, options: { length: 3 } });
  });
});

describe("named tasks", () => {
  it("all have a golden row here", () => {
    const elsewhere = ["record", "squad", "drop"]; // reading.test.ts
    expect([...new Set([...promptNames, ...clozeNames, ...elsewhere])].sort()).toEqual([...taskNames].sort());
  });

  it.each(promptNames)("%s: prompt, options and labels as published", (name) => {
    const { fields, prompt, options, labels } = golden[name];
    const example = textExample(name, fields);
    expect(example.prompt).toBe(prompt);
    expect(example.options).toEqual(options);
    const field = "answer" in fields && name === "winogrande" ? "answer" : "label";
    for (const [published, index] of labels) {
      const { label, answers } = textExample(name, { ...fields, [field]: published });
      expect([published, label]).toEqual([published, index]);
      expect(String(answers[index]).toLowerCase()).toBe(String(published).toLowerCase());
    }
    expect(() => textExample(name, { ...fields, [field]: "perhaps" })).toThrow(/x\.jsonl:7: unknown label "perhaps"/);
  });

  it("trains the language-model loss where MeZO does", () => {
    const found = taskNames.filter((name) => namedTask(name).trainedAs === "language-model");
    expect(found).toEqual(["copa", "winogrande", "record", "squad", "drop"]);
  });

  it("COPA because", () => {
    const { fields } = golden.copa;
    expect(textExample("copa", { ...fields, question: "cause" }).prompt).toBe("I ran because ");
    expect(() => textExample("copa", { ...fields, question: "why" })).toThrow(/"effect" or "cause"/);
  });

  it("names are case and punctuation insensitive; an unknown one lists the known", () => {
    expect(namedTask("SST-2").name).toBe("sst2");
    expect(namedTask("BoolQ").name).toBe("boolq");
    expect(() => namedTask("squadron")).toThrow(/Known: sst2, rte/);
  });

  it("a lacking field is named with file and line; a label may lack in a row to predict", () => {
    expect(() => textExample("rte", { premise: "a", label: 0 })).toThrow(
      'x.jsonl:7: the row lacks the field "hypothesis" (it has premise, label).',
    );
    expect(() => textExample("sst2", { sentence: "a" })).toThrow(/lacks its label, the field "label"/);
    expect(() => textExample("sst2", { sentence: ["a"], label: 0 })).toThrow(/"sentence" should be text, not a list/);
    expect(() => textExample("winogrande", { sentence: "none", option1: "a", option2: "b", answer: 1 })).toThrow(
      /no blank/,
    );
    expect(textExample("sst2", { sentence: "a" }, false).label).toBe(UNLABELLED);
    expect(textExample("rte", { ...golden.rte.fields, label: -1 }, false)).toMatchObject({
      label: UNLABELLED,
      answers: ["entailment", "not_entailment"],
    });
    expect(textExample("rte", { ...golden.rte.fields, label: 1 }, false).answers).toEqual([0, 1]);
  });
});
