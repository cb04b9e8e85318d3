// Tables that a bench makes, in pages that people write.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

/** Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page, and formats it. */
export const insert = (file, blocks) => {
  const page = Object.entries(blocks).reduce(
    (text, [name, block]) => {
      const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
      const [from, to] = [text.indexOf(open), text.indexOf(close)];
      if (from < 0 || to < from) throw new Error(`${file} has no ${open} … ${close}`);
      return `${text.slice(0, from + open.length)}\n\n${block.trim()}\n\n${text.slice(to)}`;
    },
    readFileSync(file, "utf8"),
  );
  writeFileSync(file, page);
  execFileSync("npx", ["biome", "format", "--write", file], { stdio: "ignore" });
};

/** A Markdown table; the first column is text. */
export const markdown = ([head, ...rows]) =>
  [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
