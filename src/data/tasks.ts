import { ZerothError } from "../errors.js";
import { placeOf, type Row } from "./rows.js";
import { labelOf, type Spellings, type Task, textOf } from "./task.js";

type Field = (name: string) => string;

/** One published task: MeZO's prompt (arXiv 2305.17333, appendix E) over the field names of the public data set. */
interface Verbalizer {
  readonly trainedAs: Task["trainedAs"];
  readonly prompt: (field: Field, row: Row) => string;
  readonly options: (field: Field, row: Row) => readonly string[];
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

const verbalizers = {
  sst2: {
    trainedAs: "classification",
    prompt: (field) => `${field("sentence").trim()} It was`,
    options: () => [" terrible", " great"],
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
} satisfies Readonly<Record<string, Verbalizer>>;

export type TaskName = keyof typeof verbalizers;

export const taskNames = Object.keys(verbalizers) as readonly TaskName[];

const taskOf = (name: TaskName): Task => {
  const { trainedAs, prompt, options, labels, spellings }: Verbalizer = verbalizers[name];
  return {
    name,
    trainedAs,
    metric: "accuracy",
    example(row, labelled = true) {
      const field: Field = (fieldName) => textOf(row, fieldName);
      const { label, answers } = labelOf(row, labels, spellings, labelled);
      return { kind: "text", row, prompt: prompt(field, row), options: options(field, row), answers, label };
    },
  };
};

/**
 * A task of the table. Case and punctuation of the name do not matter: `SST-2` is `sst2`.
 * @throws ZerothError listing the tasks
 */
export const namedTask = (name: string): Task => {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const found = taskNames.find((known) => known === plain);
  if (found !== undefined) return taskOf(found);
  throw new ZerothError(
    `Unknown task ${JSON.stringify(name)}. Known: ${taskNames.join(", ")}.\nFor data of your own: --prompt "{text} It was" --options " terrible, great".`,
    { kind: "usage" },
  );
};
