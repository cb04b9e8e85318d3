import { describe, expect, it } from "vitest";
import type { Row } from "../../src/data/rows.js";
import { UNLABELLED } from "../../src/data/task.js";
import { namedTask, taskNames } from "../../src/data/tasks.js";

const row = (fields: Record<string, unknown>): Row => ({ fields, file: "x.jsonl", line: 7 });

const textExample = (name: string, fields: Record<string, unknown>, labelled = true) => {
  const example = namedTask(name).example(row(fields), labelled);
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

describe("named tasks", () => {
  it("all have a golden row here", () => {
    expect(Object.keys(golden).sort()).toEqual([...taskNames].sort());
  });

  it.each(taskNames)("%s: prompt, options and labels as published", (name) => {
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
    expect(taskNames.filter((name) => namedTask(name).trainedAs === "language-model")).toEqual(["copa", "winogrande"]);
  });

  it("COPA because", () => {
    const { fields } = golden.copa;
    expect(textExample("copa", { ...fields, question: "cause" }).prompt).toBe("I ran because ");
    expect(() => textExample("copa", { ...fields, question: "why" })).toThrow(/"effect" or "cause"/);
  });

  it("names are case and punctuation insensitive; an unknown one lists the known", () => {
    expect(namedTask("SST-2").name).toBe("sst2");
    expect(namedTask("BoolQ").name).toBe("boolq");
    expect(() => namedTask("squad")).toThrow(/Known: sst2, rte/);
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
