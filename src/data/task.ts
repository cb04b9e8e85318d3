import { ZerothError } from "../errors.js";
import type { Reading } from "../model/family.js";
import { placeOf, type Row } from "./rows.js";

/** A label as data sets publish it. */
export type Answer = string | number | boolean;

/** `label` of an example whose row has none. */
export const UNLABELLED = -1;

/** Options to choose between. */
interface Choice {
  readonly row: Row;
  readonly options: readonly string[];
  /** What a prediction of each option is called, in the spelling of the row's own label. */
  readonly answers: readonly Answer[];
  /** Index of the right option, or `UNLABELLED`. */
  readonly label: number;
}

/** A prompt and the texts that may follow it. A completion is an option without a rival. */
export interface TextExample extends Choice {
  readonly kind: "text";
  readonly prompt: string;
  /** Other options that are right, too. */
  readonly also?: readonly number[];
  /** Every right answer, where the model is to write its own. */
  readonly golds?: readonly string[];
}

/** What stands before and after a mask, and the words that it may hide. */
export interface MaskedExample extends Choice {
  readonly kind: "masked";
  readonly before: string;
  readonly after: string;
}

/** One text, or a pair, that a classifier reads; options are its classes, in order. */
export interface PlainExample extends Choice {
  readonly kind: "plain";
  readonly texts: readonly [first: string, second?: string];
}

/** One turn; other fields that a model's template may want pass through. */
export interface Message {
  readonly role: string;
  readonly content: string;
}

/** A conversation, of which the assistant's turns are learned. */
export interface ChatExample {
  readonly kind: "chat";
  readonly row: Row;
  readonly messages: readonly Message[];
}

export type Example = TextExample | MaskedExample | PlainExample | ChatExample;

/**
 * What an evaluation reports: accuracy where there are options to choose from, F1 of the words of an answer where the model writes
 * it, and the mean loss of a token where neither.
 */
export const measures = ["accuracy", "f1", "loss"] as const;
export type Measure = (typeof measures)[number];

/** How rows become examples, and what is learned from them. */
export interface Task {
  readonly name: string;
  readonly trainedAs: "classification" | "language-model";
  readonly metric: Measure;
  /**
   * @param options.labelled false to let rows without a known label pass, for rows that are to be predicted
   * @param options.reads how the model answers; by the token that follows where it is not said
   * @throws ZerothError naming file, line and field, or for a task that such a model cannot be asked
   */
  example(row: Row, options?: { readonly labelled?: boolean; readonly reads?: Reading }): Example;
}

/** The fields that a row has, for a message. */
const fieldsOf = ({ fields }: Row): string => {
  const names = Object.keys(fields);
  return names.length === 0
    ? "it has none"
    : `it has ${names.slice(0, 12).join(", ")}${names.length > 12 ? ", …" : ""}`;
};

const isAnswer = (value: unknown): value is Answer => ["string", "number", "boolean"].includes(typeof value);

/** A field as text. @throws ZerothError when the row lacks it or it is no text */
export const textOf = (row: Row, name: string): string => {
  const value = Object.hasOwn(row.fields, name) ? row.fields[name] : undefined;
  if (isAnswer(value)) return String(value);
  if (value === undefined || value === null) {
    throw new ZerothError(`${placeOf(row)}: the row lacks the field "${name}" (${fieldsOf(row)}).`);
  }
  throw new ZerothError(
    `${placeOf(row)}: the field "${name}" should be text, not ${Array.isArray(value) ? "a list" : "an object"}.`,
  );
};

/** Ways to write the labels: each lists one label an option. A row's label is looked up in the first that knows it. */
export type Spellings = readonly (readonly Answer[])[];

const same = (a: Answer, b: Answer): boolean => String(a).trim().toLowerCase() === String(b).trim().toLowerCase();

/**
 * Finds a row's label under the first of `names` that the row has.
 * @param required false to let a row without a known label pass
 * @returns the option's index, and every option's label as the row would spell it
 * @throws ZerothError listing the labels known
 */
export const labelOf = (
  row: Row,
  names: readonly string[],
  spellings: Spellings,
  required: boolean,
): { label: number; answers: readonly Answer[] } => {
  const name = names.find((candidate) => Object.hasOwn(row.fields, candidate)) ?? names[0] ?? "label";
  const value = Object.hasOwn(row.fields, name) ? row.fields[name] : undefined;
  if (isAnswer(value)) {
    for (const answers of spellings) {
      const label = answers.findIndex((answer) => same(answer, value));
      if (label >= 0) return { label, answers };
    }
  }
  if (!required) return { label: UNLABELLED, answers: spellings[0] ?? [] };
  if (value === undefined || value === null) {
    throw new ZerothError(`${placeOf(row)}: the row lacks its label, the field "${name}" (${fieldsOf(row)}).`);
  }
  const known = spellings.map((answers) => answers.map(String).join(", ")).join("; or ");
  throw new ZerothError(
    `${placeOf(row)}: unknown label ${JSON.stringify(value).slice(0, 80)} in "${name}". Known: ${known}.`,
  );
};
