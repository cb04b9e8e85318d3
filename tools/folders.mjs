// Checks that imports under src/ point one way: a folder may import from the folders before it in this list.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const order = [
  ["random", "kernels", "graph", "model", "perturbation", "peft", "data", "batch", "objective"],
  ["estimator", "optimizer", "engine", "generate", "train", "export", "api", "lab", "index.ts"],
].flat();
/** Modules at the top of src/ that every folder may use. */
const common = ["atomic.ts", "errors.ts", "one-line.ts", "svg.ts", "worker-url.ts"];
/** Not in the row: the command line stands on the public API and the lab alone. */
const only = { cli: ["index.ts", "lab"] };

const src = fileURLToPath(new URL("../src", import.meta.url));
const imports = /(?:\bfrom\s*|\bimport\s*\(?\s*|\bworkerUrl\(\s*)"(\.{1,2}\/[^"]+)"/g;

const folderOf = (path) => relative(src, path).split(sep)[0];

const verdict = (from, to) => {
  if (from === to || common.includes(to)) return undefined;
  if (common.includes(from)) return `${from} may import nothing of ours but ${common.join(" and ")}`;
  if (only[from]) return only[from].includes(to) ? undefined : `${from}/ may import ${only[from].join(", ")} only`;
  const [a, b] = [order.indexOf(from), order.indexOf(to)];
  if (a < 0) return `${from} is not in the order (tools/folders.mjs)`;
  if (b < 0) return `${to} is not for ${from}/ to import`;
  return b < a ? undefined : `${from} comes before ${to}`;
};

const files = readdirSync(src, { recursive: true })
  .map((name) => join(src, name))
  .filter((path) => path.endsWith(".ts") && !path.includes(`${sep}assembly${sep}`));

const arrows = files.flatMap((file) => {
  const text = readFileSync(file, "utf8").replace(/^\s*\*.*$/gm, "");
  return [...text.matchAll(imports)].map(([, specifier]) => ({
    file,
    specifier,
    wrong: verdict(folderOf(file), folderOf(join(dirname(file), specifier.replace(/\.js$/, ".ts")))),
  }));
});

const wrong = arrows.filter((arrow) => arrow.wrong !== undefined);
for (const { file, specifier, wrong: why } of wrong) {
  console.error(`src/${relative(src, file)} imports ${specifier}: ${why}`);
}
console.log(
  `${arrows.length} imports in ${files.length} files, ${wrong.length} against the order ${order.join(" → ")}`,
);
if (wrong.length > 0) process.exitCode = 1;
