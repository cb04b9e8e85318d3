import { ZerothError } from "../errors.js";
import { type FormatName, formats } from "./formats.js";
import type { Task } from "./task.js";
import { namedTask } from "./tasks.js";
import { templateTask } from "./template.js";

/** The ways to say how rows become examples. Exactly one of `task`, `prompt` (with `options`) and `format`. */
export interface TaskChoice {
  readonly task?: string | undefined;
  readonly prompt?: string | undefined;
  readonly options?: string | undefined;
  readonly labels?: string | undefined;
  readonly format?: string | undefined;
}

const isFormat = (name: string): name is FormatName => Object.hasOwn(formats, name);

const namedFormat = (name: string): Task => {
  if (isFormat(name)) return formats[name];
  throw new ZerothError(`Unknown format "${name}". Known: ${Object.keys(formats).join(", ")}.`, { kind: "usage" });
};

/** @throws ZerothError (usage) unless exactly one way is chosen, whole */
export const chooseTask = ({ task, prompt, options, labels, format }: TaskChoice): Task => {
  const own = prompt ?? options ?? labels;
  const ways = [task, own, format].filter((way) => way !== undefined).length;
  if (ways !== 1) {
    throw new ZerothError(
      `Say how rows become examples with ${ways === 0 ? "one" : "only one"} of:\n--task NAME\n--prompt TEXT --options TEXTS [--labels LABELS]\n--format completion|chat`,
      { kind: "usage" },
    );
  }
  if (task !== undefined) return namedTask(task);
  if (format !== undefined) return namedFormat(format);
  if (prompt === undefined || options === undefined) {
    throw new ZerothError(`A task of your own needs both --prompt and --options.`, { kind: "usage" });
  }
  return templateTask({ prompt, options, labels });
};
