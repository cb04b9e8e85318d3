import { ZerothError } from "../errors.js";
import type { Row } from "./rows.js";
import { labelOf, type Spellings, type Task, textOf } from "./task.js";

const usage = (message: string): ZerothError => new ZerothError(message, { kind: "usage" });

/** Where a prompt has a masked model's mask. */
const MASK = "{mask}";

/** `{field}` becomes the row's field without its outer white space; `{{` and `}}` stand for braces. */
const fill = (template: string, row: Row): string =>
  template.replace(/\{\{|\}\}|\{([^{}]+)\}/g, (match, name: string | undefined) =>
    name === undefined ? match.charAt(0) : textOf(row, name.trim()).trim(),
  );

const checkList = (items: readonly string[], flag: string, text: string): void => {
  if (items.some((item) => item.trim() === "")) throw usage(`${flag} "${text}" holds an empty item.`);
  const twice = items.find((item, i) => items.indexOf(item) !== i);
  if (twice !== undefined) throw usage(`${flag} "${text}" names "${twice}" twice.`);
};

/**
 * A task of the user's own: `prompt` and `options` with `{field}` in them. Options are split at commas and keep their spaces,
 * since " great" and "great" are different tokens. Labels align with the options; integers index them; without labels an
 * option's own text is its label.
 *
 * @throws ZerothError when options are missing, empty or repeated, or labels do not align
 */
export const templateTask = (template: { prompt: string; options: string; labels?: string | undefined }): Task => {
  const options = template.options.split(",");
  checkList(options, "--options", template.options);
  if (options.length < 2)
    throw usage(`--options "${template.options}" should be two or more texts with commas between.`);
  const labels = template.labels?.split(",").map((label) => label.trim());
  if (labels !== undefined) {
    checkList(labels, "--labels", template.labels ?? "");
    if (labels.length !== options.length) {
      throw usage(
        `--labels gives ${labels.length} labels for ${options.length} options. Give one for each, in the same order.`,
      );
    }
  }
  const indices = options.map((_, i) => i);
  return {
    name: "template",
    trainedAs: "classification",
    metric: "accuracy",
    example(row, { labelled = true, reads = "next" } = {}) {
      const filled = options.map((option) => fill(option, row));
      const names = labels ?? filled.map((option) => option.trim());
      const spellings: Spellings = [names, indices];
      const { label, answers } = labelOf(row, ["label"], spellings, labelled);
      const choice = { row, options: filled, answers: labels ?? answers, label };
      const [before = "", ...after] = template.prompt.split(MASK);
      const wanted = reads === "masked" ? 1 : 0;
      if (after.length !== wanted)
        throw usage(
          wanted === 1
            ? `--prompt "${template.prompt}" has ${after.length} masks, and a masked language model reads one: "{text} It was${MASK}."`
            : `--prompt "${template.prompt}" has a mask, which is for masked language models.`,
        );
      if (reads === "masked")
        return { kind: "masked", ...choice, before: fill(before, row), after: fill(after[0] ?? "", row) };
      const prompt = fill(template.prompt, row);
      return reads === "class" ? { kind: "plain", ...choice, texts: [prompt] } : { kind: "text", ...choice, prompt };
    },
  };
};
