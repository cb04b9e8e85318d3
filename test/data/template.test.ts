import { describe, expect, it } from "vitest";
import { chooseTask } from "../../src/data/choose.js";
import type { Row } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";

const row = (fields: Record<string, unknown>): Row => ({ fields, file: "x.jsonl", line: 3 });
const own = { prompt: "{sentence} It was", options: " terrible, great" };

describe("templates", () => {
  it("fills fields, keeps the options' spaces, aligns labels", () => {
    const task = templateTask({ ...own, labels: "neg, pos" });
    expect(task.example(row({ sentence: " fine ", label: "pos" }))).toMatchObject({
      prompt: "fine It was",
      options: [" terrible", " great"],
      answers: ["neg", "pos"],
      label: 1,
    });
    expect(task.example(row({ sentence: "fine", label: 0 }))).toMatchObject({ label: 0, answers: ["neg", "pos"] });
  });

  it("integer labels index the options; without labels the options' text is the label", () => {
    const task = templateTask(own);
    expect(task.example(row({ sentence: "a", label: 1 }))).toMatchObject({ label: 1, answers: [0, 1] });
    expect(task.example(row({ sentence: "a", label: "terrible" }))).toMatchObject({ label: 0 });
    expect(task.example(row({ sentence: "a" }), { labelled: false })).toMatchObject({ answers: ["terrible", "great"] });
    expect(() => task.example(row({ sentence: "a", label: 2 }))).toThrow(/x\.jsonl:3: unknown label 2/);
    expect(() => task.example(row({ sentence: "a", label: 0.5 }))).toThrow(/unknown label/);
  });

  it("labels named like other options' indices win over indices", () => {
    expect(templateTask({ ...own, labels: "1,0" }).example(row({ sentence: "a", label: 1 }))).toMatchObject({
      label: 0,
    });
  });

  it("an unknown field lists the row's; braces can be written", () => {
    expect(() => templateTask({ ...own, prompt: "{text}" }).example(row({ sentence: "a", label: 0 }))).toThrow(
      'x.jsonl:3: the row lacks the field "text" (it has sentence, label).',
    );
    expect(
      templateTask({ ...own, prompt: "{{{sentence}}} {n}" }).example(row({ sentence: "a", n: 3, label: 0 })),
    ).toMatchObject({
      prompt: "{a} 3",
    });
    expect(() => templateTask(own).example(row({ label: 0, __proto__: null }))).toThrow(/lacks/);
  });

  it("options may hold fields", () => {
    const task = templateTask({ prompt: "{q}", options: "{a},{b}" });
    expect(task.example(row({ q: "?", a: "x", b: "y", label: "y" }))).toMatchObject({ options: ["x", "y"], label: 1 });
  });

  it("a mask is where a masked model reads, and for no other", () => {
    const masked = templateTask({ ...own, prompt: "{sentence} It was{mask}." });
    expect(masked.example(row({ sentence: "fine", label: 1 }), { reads: "masked" })).toMatchObject({
      kind: "masked",
      before: "fine It was",
      after: ".",
      options: [" terrible", " great"],
      label: 1,
    });
    expect(() => masked.example(row({ sentence: "fine", label: 1 }))).toThrow(/for masked language models/);
    expect(() => templateTask(own).example(row({ sentence: "fine", label: 1 }), { reads: "masked" })).toThrow(
      /has 0 masks/,
    );
  });

  it("a classifier reads the filled prompt alone", () => {
    const plain = templateTask({ ...own, prompt: "{sentence}" });
    expect(plain.example(row({ sentence: "fine", label: 0 }), { reads: "class" })).toMatchObject({
      kind: "plain",
      texts: ["fine"],
      label: 0,
    });
  });

  it.each([
    [{ ...own, options: "great" }, /two or more/],
    [{ ...own, options: " great," }, /empty item/],
    [{ ...own, options: "a,a" }, /names "a" twice/],
    [{ ...own, labels: "a" }, /1 labels for 2 options/],
  ])("refuses %o", (template, message) => {
    expect(() => templateTask(template)).toThrow(message);
    expect(() => templateTask(template)).toThrow(expect.objectContaining({ name: "ZerothError", kind: "usage" }));
  });
});

describe("chooseTask", () => {
  it("takes exactly one way", () => {
    expect(chooseTask({ task: "SST-2" }).name).toBe("sst2");
    expect(chooseTask(own).name).toBe("template");
    expect(chooseTask({ format: "chat" }).name).toBe("chat");
    for (const choice of [{}, { ...own, task: "rte" }, { task: "rte", format: "chat" }]) {
      expect(() => chooseTask(choice)).toThrow(/--task NAME/);
    }
    expect(() => chooseTask({ prompt: "a" })).toThrow(/both --prompt and --options/);
    expect(() => chooseTask({ options: "a,b" })).toThrow(/both --prompt and --options/);
    expect(() => chooseTask({ format: "toString" })).toThrow(/Known: completion, chat/);
  });
});
