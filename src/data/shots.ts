import type { Example, TextExample } from "./task.js";

const between = "\n\n";

/** Solved examples as text: prompt and right option of each, two line breaks between, as in MeZO. */
export const demonstrations = (examples: readonly TextExample[]): string =>
  examples.map(({ prompt, options, label }) => (prompt + (options[label] ?? "")).trim()).join(between);

/** The example with demonstrations in front of its prompt. Other examples stay as they are. */
export const withDemonstrations = (example: Example, text: string): Example =>
  text === "" || example.kind !== "text"
    ? example
    : { ...example, prompt: `${text}${between}${example.prompt.replace(/^ +/, "")}` };
