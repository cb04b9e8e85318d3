import { ZerothError } from "../errors.js";
import type { Reading } from "../model/family.js";
import { type ReadingName, readingTasks } from "./reading.js";
import { placeOf, type Row } from "./rows.js";
import { labelOf, type Spellings, type Task, textOf } from "./task.js";

type Field = (name: string) => string;

/** What stands before and after a mask. */
type Around = readonly [before: string, after: string];

/** One published task: MeZO's prompts (arXiv 2305.17333, appendix E) over the field names of the public data set. */
interface Verbalizer {
  readonly trainedAs: Task["trainedAs"];
  /** For models that read the token which follows: a prompt and what may follow it. */
  readonly prompt?: (field: Field, row: Row) => string;
  readonly options?: (field: Field, row: Row) => readonly string[];
  /** For models that read a mask: what is around it, and the words that it may hide (LM-BFF's templates, arXiv 2012.15723). */
  readonly around?: (field: Field) => Around;
  readonly words?: readonly string[];
  /** For classifiers: a text, or a pair. */
  readonly texts?: (field: Field) => readonly [first: string, second?: string];
  /** Fields that may hold the label. */
  readonly labels: readonly string[];
  readonly spellings: Spellings;
}

const yesNo = () => ["Yes", "No"];
const noYes = () => ["No", "Yes"];
const truth: Spellings = [
  [0, 1],
  [false, true],
];

const asQuestion = (text: string): string => {
  const asked = text.endsWith("?") ? text : `${text}?`;
  return asked.charAt(0).toUpperCase() + asked.slice(1);
};

/** A sentence's first word in lower case, unless it is "I", so that it can follow a conjunction. */
const continued = (sentence: string): string => {
  const [first = "", ...rest] = sentence.split(" ");
  return [first === "I" ? first : first.toLowerCase(), ...rest].join(" ");
};

/** The few-shot templates of masked models. */
const itWas = (field: Field, name: string): Around => [`${field(name).trim()} It was`, "."];
const thisIs = (field: Field, name: string): Around => [`${field(name).trim()} This is`, "."];
const withoutMark = (text: string): string => text.trim().slice(0, -1);
const lowered = (text: string): string => text.trim().charAt(0).toLowerCase() + text.trim().slice(1);
/** Whether the second follows from the first: "…?" mask ", …". */
const follows = (field: Field, first: string, second: string, mark = "?"): Around => [
  `${withoutMark(field(first))}${mark}`,
  `, ${lowered(field(second))}`,
];
const sentiment = ["terrible", "great"];
const entailed = ["Yes", "Maybe", "No"];

const conjunctions: Readonly<Record<string, string>> = { effect: " so ", cause: " because " };

const conjunction = (question: string, row: Row): string => {
  const word = conjunctions[question];
  if (word === undefined)
    throw new ZerothError(
      `${placeOf(row)}: "question" should be "effect" or "cause", not ${JSON.stringify(question)}.`,
    );
  return word;
};

/** What stands before and after a sentence's blank. */
const aroundBlank = (sentence: string, row: Row): readonly [string, string] => {
  const blank = sentence.indexOf("_");
  if (blank < 0) throw new ZerothError(`${placeOf(row)}: "sentence" has no blank "_" to fill.`);
  return [sentence.slice(0, blank), sentence.slice(blank + 1)];
};

const entailment: Verbalizer = {
  trainedAs: "classification",
  around: (field) => follows(field, "premise", "hypothesis"),
  words: entailed,
  texts: (field) => [field("premise"), field("hypothesis")],
  labels: ["label"],
  spellings: [
    [0, 1, 2],
    ["entailment", "neutral", "contradiction"],
  ],
};
/** A task of one text and two labels, by number or by name. */
const single = (
  name: string,
  around: (field: Field, name: string) => Around,
  words: readonly string[],
  labels: readonly string[],
  numbers: readonly number[] = [0, 1],
): Verbalizer => ({
  trainedAs: "classification",
  around: (field) => around(field, name),
  words,
  texts: (field) => [field(name)],
  labels: ["label"],
  spellings: [numbers, labels],
});

const verbalizers = {
  sst2: {
    trainedAs: "classification",
    prompt: (field) => `${field("sentence").trim()} It was`,
    options: () => [" terrible", " great"],
    around: (field) => itWas(field, "sentence"),
    words: sentiment,
    texts: (field) => [field("sentence")],
    labels: ["label"],
    spellings: [
      [0, 1],
      ["negative", "positive"],
    ],
  },
  rte: {
    trainedAs: "classification",
    prompt: (field) => `${field("premise")}\nDoes this mean that "${field("hypothesis")}" is true? Yes or No?\n`,
    options: yesNo,
    around: (field) => follows(field, "premise", "hypothesis"),
    words: yesNo(),
    texts: (field) => [field("premise"), field("hypothesis")],
    labels: ["label"],
    spellings: [
      ["entailment", "not_entailment"],
      [0, 1],
    ],
  },
  cb: {
    trainedAs: "classification",
    prompt: (field) => `Suppose ${field("premise")} Can we infer that "${field("hypothesis")}"? Yes, No, or Maybe?\n`,
    options: () => ["Yes", "No", "Maybe"],
    labels: ["label"],
    spellings: [
      ["entailment", "contradiction", "neutral"],
      [0, 1, 2],
    ],
  },
  boolq: {
    trainedAs: "classification",
    prompt: (field) => `${field("passage")} ${asQuestion(field("question"))}\n`,
    options: noYes,
    labels: ["label", "answer"],
    spellings: [
      [false, true],
      [0, 1],
      ["no", "yes"],
    ],
  },
  wsc: {
    trainedAs: "classification",
    prompt: (field) =>
      `${field("text")}\nIn the previous sentence, does the pronoun "${field("span2_text").toLowerCase()}" refer to ${field("span1_text")}? Yes or No?\n`,
    options: noYes,
    labels: ["label"],
    spellings: truth,
  },
  wic: {
    trainedAs: "classification",
    prompt: (field) =>
      `Does the word "${field("word")}" have the same meaning in these two sentences? Yes, No?\n${field("sentence1")}\n${field("sentence2")}\n`,
    options: noYes,
    labels: ["label"],
    spellings: truth,
  },
  multirc: {
    trainedAs: "classification",
    prompt: (field) =>
      `${field("paragraph")}\nQuestion: ${field("question")}\nI found this answer "${field("answer")}". Is that correct? Yes or No?\n`,
    options: noYes,
    labels: ["label"],
    spellings: truth,
  },
  copa: {
    trainedAs: "language-model",
    prompt: (field, row) => {
      const premise = field("premise").trimEnd();
      return (premise.endsWith(".") ? premise.slice(0, -1) : premise) + conjunction(field("question"), row);
    },
    options: (field) => [continued(field("choice1")), continued(field("choice2"))],
    labels: ["label"],
    spellings: [[0, 1]],
  },
  winogrande: {
    trainedAs: "language-model",
    prompt: (field, row) => aroundBlank(field("sentence"), row)[0],
    options: (field, row) => {
      const rest = aroundBlank(field("sentence"), row)[1];
      return [field("option1") + rest, field("option2") + rest];
    },
    labels: ["answer"],
    spellings: [["1", "2"]],
  },
  sst5: {
    trainedAs: "classification",
    around: (field) => itWas(field, "text"),
    words: ["terrible", "bad", "okay", "good", "great"],
    texts: (field) => [field("text")],
    labels: ["label"],
    spellings: [
      [0, 1, 2, 3, 4],
      ["very negative", "negative", "neutral", "positive", "very positive"],
    ],
  },
  snli: entailment,
  mnli: entailment,
  trec: {
    trainedAs: "classification",
    around: (field) => ["", `: ${field("text").trim()}`],
    words: ["Description", "Entity", "Expression", "Human", "Location", "Number"],
    texts: (field) => [field("text")],
    labels: ["label", "coarse_label"],
    spellings: [
      ["DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"],
      // The public data set numbers them in this order: ABBR, ENTY, DESC, HUM, LOC, NUM.
      [2, 1, 0, 3, 4, 5],
    ],
  },
  mr: single("text", itWas, sentiment, ["negative", "positive"]),
  cr: single("text", itWas, sentiment, ["negative", "positive"]),
  mpqa: single("text", itWas, sentiment, ["negative", "positive"]),
  subj: single("text", thisIs, ["subjective", "objective"], ["subjective", "objective"], [1, 0]),
  cola: single("sentence", thisIs, ["incorrect", "correct"], ["unacceptable", "acceptable"]),
  qqp: {
    trainedAs: "classification",
    around: (field) => follows(field, "question1", "question2", ""),
    words: noYes(),
    texts: (field) => [field("question1"), field("question2")],
    labels: ["label"],
    spellings: [
      [0, 1],
      ["not_duplicate", "duplicate"],
    ],
  },
  qnli: {
    trainedAs: "classification",
    around: (field) => follows(field, "question", "sentence"),
    words: yesNo(),
    texts: (field) => [field("question"), field("sentence")],
    labels: ["label"],
    spellings: [
      ["entailment", "not_entailment"],
      [0, 1],
    ],
  },
  mrpc: {
    trainedAs: "classification",
    around: (field) => [field("sentence1").trim(), `, ${lowered(field("sentence2"))}`],
    words: noYes(),
    texts: (field) => [field("sentence1"), field("sentence2")],
    labels: ["label"],
    spellings: [
      [0, 1],
      ["not_equivalent", "equivalent"],
    ],
  },
} satisfies Readonly<Record<string, Verbalizer>>;

type VerbalizedName = keyof typeof verbalizers;
export type TaskName = VerbalizedName | ReadingName;

const verbalizedNames = Object.keys(verbalizers) as readonly VerbalizedName[];
const readingNames = Object.keys(readingTasks) as readonly ReadingName[];
export const taskNames: readonly TaskName[] = [...verbalizedNames, ...readingNames];

/** What a task is to each kind of model: the part of an example that its row makes. */
const askings = {
  next: ({ prompt, options }: Verbalizer, field: Field, row: Row) =>
    prompt && options && { kind: "text" as const, prompt: prompt(field, row), options: options(field, row) },
  masked({ around, words }: Verbalizer, field: Field) {
    if (around === undefined || words === undefined) return undefined;
    const [before, after] = around(field);
    return { kind: "masked" as const, before, after, options: words };
  },
  class: ({ texts, words = [], options }: Verbalizer, field: Field, row: Row) =>
    texts && { kind: "plain" as const, texts: texts(field), options: options?.(field, row) ?? words },
} satisfies Readonly<Record<Reading, unknown>>;

/** Names of the tasks that a kind of model can be asked. */
const tasksFor: Readonly<Record<Reading, (verbalizer: Verbalizer) => boolean>> = {
  next: ({ prompt }) => prompt !== undefined,
  masked: ({ around }) => around !== undefined,
  class: ({ texts }) => texts !== undefined,
};
const kinds: Readonly<Record<Reading, string>> = {
  next: "a model that continues text",
  masked: "a masked language model",
  class: "a classifier",
};

const taskOf = (name: VerbalizedName): Task => {
  const verbalizer: Verbalizer = verbalizers[name];
  const { trainedAs, labels, spellings } = verbalizer;
  return {
    name,
    trainedAs,
    metric: "accuracy",
    example(row, { labelled = true, reads = "next" } = {}) {
      const field: Field = (fieldName) => textOf(row, fieldName);
      const asked = askings[reads](verbalizer, field, row);
      if (asked === undefined) {
        const known = verbalizedNames.filter((other) => tasksFor[reads](verbalizers[other]));
        throw new ZerothError(`--task ${name} has no prompt for ${kinds[reads]}. Those that do: ${known.join(", ")}.`, {
          kind: "usage",
        });
      }
      const { label, answers } = labelOf(row, labels, spellings, labelled);
      return { ...asked, row, answers, label };
    },
  };
};

/**
 * A task of the table. Case and punctuation of the name do not matter: `SST-2` is `sst2`.
 * @throws ZerothError listing the tasks
 */
export const namedTask = (name: string): Task => {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const read = readingNames.find((known) => known === plain);
  if (read !== undefined) return readingTasks[read];
  const found = verbalizedNames.find((known) => known === plain);
  if (found !== undefined) return taskOf(found);
  throw new ZerothError(
    `Unknown task ${JSON.stringify(name)}. Known: ${taskNames.join(", ")}.\nFor data of your own: --prompt "{text} It was" --options " terrible, great".`,
    { kind: "usage" },
  );
};
