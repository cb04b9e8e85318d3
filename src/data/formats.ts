import { ZerothError } from "../errors.js";
import { placeOf, type Row } from "./rows.js";
import { type Message, type Task, textOf } from "./task.js";

/** `{prompt, completion}` rows: the language-model loss on the completion. */
const completion: Task = {
  name: "completion",
  trainedAs: "language-model",
  metric: "loss",
  example: (row) => ({
    kind: "text",
    row,
    prompt: textOf(row, "prompt"),
    options: [textOf(row, "completion")],
    answers: [textOf(row, "completion")],
    label: 0,
  }),
};

const isMessage = (value: unknown): value is Message =>
  typeof value === "object" &&
  value !== null &&
  "role" in value &&
  typeof value.role === "string" &&
  "content" in value &&
  typeof value.content === "string";

const messagesOf = (row: Row): readonly Message[] => {
  const { messages } = row.fields;
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMessage)) {
    throw new ZerothError(
      `${placeOf(row)}: "messages" should be a list such as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].`,
    );
  }
  if (!messages.some(({ role }) => role === "assistant")) {
    throw new ZerothError(`${placeOf(row)}: no message of the role "assistant": there is nothing to learn from.`);
  }
  return messages;
};

/** `{messages}` rows: the model's chat template, the language-model loss on the assistant's turns. */
const chat: Task = {
  name: "chat",
  trainedAs: "language-model",
  metric: "loss",
  example: (row) => ({ kind: "chat", row, messages: messagesOf(row) }),
};

export const formats = { completion, chat } satisfies Readonly<Record<string, Task>>;

export type FormatName = keyof typeof formats;
