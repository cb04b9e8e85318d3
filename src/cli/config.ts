import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { messageOf, ZerothError } from "../errors.js";

const usage = (message: string, cause?: unknown) => new ZerothError(message, { kind: "usage", cause });
const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";

const camelCase = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

const schema = z.record(z.string(), z.unknown());

/**
 * The options in a configuration file, by the names of the flags in camel case. YAML and JSON; flags as they are written on
 * the command line (`learning-rate`) or in camel case.
 *
 * @throws ZerothError (usage) for a file that cannot be read, is no mapping, or has a key that is no option of the command
 */
export const readConfig = (file: string, known: readonly string[]): Readonly<Record<string, unknown>> => {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw usage(`Cannot read --config ${file}: ${messageOf(error)}`, error);
  }
  let value: unknown;
  try {
    // YAML is a superset of JSON. Aliases are bounded, or a small file could fill the memory.
    value = parse(text, { maxAliasCount: 10 });
  } catch (error) {
    throw usage(`--config ${file}: not YAML or JSON: ${firstLine(messageOf(error))}`, error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw usage(`--config ${file}: expected options and their values, such as "steps: 1000".`);
  const options = Object.entries(parsed.data).map(([key, given]) => [camelCase(key), given, key] as const);
  const stranger = options.find(([name]) => !known.includes(name));
  if (stranger !== undefined) {
    throw usage(`--config ${file}: unknown option "${stranger[2]}".\nKnown: ${known.join(", ")}.`);
  }
  // An option left empty is an option left out.
  return Object.fromEntries(options.filter(([, given]) => given !== null).map(([name, given]) => [name, given]));
};
