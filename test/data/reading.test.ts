import { describe, expect, it } from "vitest";
import { namedTask } from "../../src/data/tasks.js";
import { treeBuilder } from "../../src/data/tokenize.js";
import { isRight } from "../../src/data/tree.js";
import { fakeTokenizer } from "./fake-tokenizer.js";

const rowOf = (fields: Readonly<Record<string, unknown>>) => ({ fields, file: "rows.jsonl", line: 3 });

const squad = {
  title: "Normans",
  context: "The Normans gave their name to Normandy, a region in France.",
  question: " In what country is Normandy located?",
  answers: { text: ["France", "in France", "France"], answer_start: [1, 2, 1] },
};
const drop = {
  passage: "The Bears won 17 to 10.",
  question: "How many points did the Bears score? ",
  answers_spans: { spans: ["17"], types: ["number"] },
};
const record = {
  passage: "Ann met Bo in Oslo.\n@highlight\nAnn is a pilot\n@highlight\nBo is not",
  query: "@placeholder flew to see Bo, and @placeholder will fly back",
  entities: ["Oslo", "Ann", "Bo", "Annie"],
  answers: ["Annie", "Ann"],
};

describe("MeZO's prompts for reading", () => {
  it("squad", () => {
    expect(namedTask("SQuAD").example(rowOf(squad))).toMatchObject({
      prompt:
        "Title: Normans\nContext: The Normans gave their name to Normandy, a region in France.\nQuestion: In what country is Normandy located?\nAnswer:",
      options: [" France\n"],
      golds: ["France", "in France"],
      label: 0,
    });
  });

  it("drop", () => {
    expect(namedTask("DROP").example(rowOf(drop))).toMatchObject({
      prompt: "Passage: The Bears won 17 to 10.\nQuestion: How many points did the Bears score?\nAnswer:",
      options: [" 17\n"],
      golds: ["17"],
    });
  });

  it("record: an entity in every gap; any of the answers is right, and the first is learned", () => {
    const example = namedTask("ReCoRD").example(rowOf(record));
    expect(example).toMatchObject({
      prompt: "Ann met Bo in Oslo.\n- Ann is a pilot\n- Bo is not\n-",
      options: [
        " Oslo flew to see Bo, and Oslo will fly back",
        " Ann flew to see Bo, and Ann will fly back",
        " Bo flew to see Bo, and Bo will fly back",
        " Annie flew to see Bo, and Annie will fly back",
      ],
      answers: record.entities,
      label: 3,
      also: [1],
    });
    const tree = treeBuilder(fakeTokenizer(), 1000)(example);
    expect([0, 1, 2, 3].filter((branch) => isRight(tree, branch))).toEqual([1, 3]);
  });

  it("are learned by their language-model loss, and measured by what they ask for", () => {
    const found = ["squad", "drop", "record"].map((name) => namedTask(name));
    expect(found.map(({ trainedAs }) => trainedAs)).toEqual(Array(3).fill("language-model"));
    expect(found.map(({ metric }) => metric)).toEqual(["f1", "f1", "accuracy"]);
  });

  it("an answer is scored with the line break that ends it, after the prompt alone", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 1000)(namedTask("drop").example(rowOf(drop)));
    const text = (ids: readonly number[]) => tokenizer.decode(ids);
    expect(text(tree.shared)).toMatch(/score\?\nAnswer:$/);
    expect(tree.branches.map(({ ids }) => text(ids))).toEqual([" 17\n"]);
    expect(tree.golds).toEqual(["17"]);
  });

  it.each([
    [
      "squad",
      { ...squad, answers: "France" },
      'rows.jsonl:3: "answers" should be a list of one text or more: {"answers": {"text"',
    ],
    ["squad", { ...squad, answers: { text: [] } }, '"answers" should be a list'],
    ["drop", { ...drop, passage: undefined }, 'lacks the field "passage"'],
    ["record", { ...record, answers: ["Cy"] }, 'rows.jsonl:3: none of its "answers" is among its "entities"'],
    ["record", { ...record, query: "nothing" }, "no @placeholder"],
  ] as const)("%s: a row that does not fit is named", (name, fields, message) => {
    expect(() => namedTask(name).example(rowOf(fields))).toThrow(message);
  });

  it("models that do not continue text cannot be asked", () => {
    expect(() => namedTask("squad").example(rowOf(squad), { reads: "masked" })).toThrow("continue text");
  });

  it("rows without answers can be predicted", () => {
    const { answers: _, ...unlabelled } = record;
    expect(namedTask("record").example(rowOf(unlabelled), { labelled: false })).toMatchObject({ label: -1 });
  });
});
