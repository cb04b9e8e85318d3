import { ZerothError } from "../errors.js";
import { placeOf, type Row } from "./rows.js";
import { type Task, type TextExample, textOf, UNLABELLED } from "./task.js";

/* Tasks of reading a passage, by MeZO's prompts (arXiv 2305.17333, appendix E), whose answers are texts of the row's own. */

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string");

/** A field that is a list of texts, or holds one under a name of its own. @throws ZerothError naming file, line and field */
const textsOf = (row: Row, name: string, inner?: string): readonly string[] => {
  const value = Object.hasOwn(row.fields, name) ? row.fields[name] : undefined;
  const list: unknown =
    inner !== undefined && typeof value === "object" && value !== null && inner in value
      ? (value as Readonly<Record<string, unknown>>)[inner]
      : value;
  if (isTexts(list)) return [...new Set(list)];
  const shape = inner === undefined ? `{"${name}": ["…"]}` : `{"${name}": {"${inner}": ["…"]}}`;
  throw new ZerothError(`${placeOf(row)}: "${name}" should be a list of one text or more: ${shape}.`);
};

/** A question that the model answers in its own words: learned by the first answer, measured against all of them. */
const answered = (
  name: string,
  promptOf: (field: (name: string) => string) => string,
  golds: (row: Row) => readonly string[],
) =>
  reading(name, "f1", (row, labelled): TextExample => {
    const prompt = promptOf((fieldName) => textOf(row, fieldName));
    const texts = labelled ? golds(row) : [];
    const [first = ""] = texts;
    return { kind: "text", row, prompt, options: [` ${first}\n`], answers: [first], label: 0, golds: texts };
  });

const reading = (
  name: string,
  metric: Task["metric"],
  example: (row: Row, labelled: boolean) => TextExample,
): Task => ({
  name,
  trainedAs: "language-model",
  metric,
  example(row, { labelled = true, reads = "next" } = {}) {
    if (reads === "next") return example(row, labelled);
    throw new ZerothError(`--task ${name} is for models that continue text, which this one does not.`, {
      kind: "usage",
    });
  },
});

/** A query with a gap that one of the passage's entities fills; any of the answers is right. */
const record = reading("record", "accuracy", (row, labelled) => {
  const entities = textsOf(row, "entities");
  const right = (labelled ? textsOf(row, "answers") : []).map((answer) => entities.indexOf(answer));
  const [label = UNLABELLED, ...also] = right.filter((index) => index >= 0);
  if (labelled && label === UNLABELLED)
    throw new ZerothError(`${placeOf(row)}: none of its "answers" is among its "entities".`);
  const query = textOf(row, "query");
  if (!query.includes("@placeholder")) throw new ZerothError(`${placeOf(row)}: "query" has no @placeholder to fill.`);
  return {
    kind: "text",
    row,
    prompt: `${textOf(row, "passage").replaceAll("@highlight\n", "- ")}\n-`,
    options: entities.map((entity) => ` ${query.replaceAll("@placeholder", () => entity)}`),
    answers: entities,
    label,
    also,
  };
});

export const readingTasks = {
  record,
  squad: answered(
    "squad",
    (field) => `Title: ${field("title")}\nContext: ${field("context")}\nQuestion: ${field("question").trim()}\nAnswer:`,
    (row) => textsOf(row, "answers", "text"),
  ),
  drop: answered(
    "drop",
    (field) => `Passage: ${field("passage")}\nQuestion: ${field("question").trim()}\nAnswer:`,
    (row) => textsOf(row, "answers_spans", "spans"),
  ),
} satisfies Readonly<Record<string, Task>>;

export type ReadingName = keyof typeof readingTasks;
