// Runs the tests with real models, and writes what they show to work into the README's table: a row for each family of models, a column for
// each format and method. A test says what it shows with `shows` (test-real/support.ts).
//
//   node tools/support-table.mjs [--check] [arguments of vitest]
//
// --check writes nothing, and fails if the table is not what the tests show. With files or filters of tests the table stays as it is, and so it
// does where the models are missing or a test fails.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { argv, env, execPath, exit } from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const marks = ["<!-- support table: npm run test:real writes it -->", "<!-- end of the support table -->"];
/** In this order; others follow in the order that they are first seen in. */
const columns = ["safetensors", "GGUF", "ONNX", "LoRA", "rsLoRA", "prefix", "prompt", "merge", "GGUF out", "ONNX out"];

/** @returns cells of passed tests, `[family, way]`, in the order of the files' names and of their tests */
export const cellsOf = ({ testResults }) =>
  // Files end in any order.
  testResults
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === "passed")
    .flatMap(({ meta }) => meta?.support ?? []);

/** A Markdown table, as the formatter leaves it. */
export const tableOf = (cells) => {
  const families = [...new Set(cells.map(([family]) => family))];
  const seen = new Set(cells.map(([, way]) => way));
  const ways = [...new Set([...columns, ...seen])].filter((way) => seen.has(way));
  const has = new Set(cells.map((cell) => cell.join("\n")));
  const rows = families.map((family) => [family, ...ways.map((way) => (has.has(`${family}\n${way}`) ? "✓" : ""))]);
  const widths = ["family", ...ways].map((head, i) => Math.max(head.length, ...rows.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((text, i) => text.padEnd(widths[i])).join(" | ")} |`;
  return [line(["family", ...ways]), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
};

/** @returns the text with another table between the marks */
export const withTable = (text, table) => {
  const [start, end] = marks.map((mark) => text.indexOf(mark));
  if (start < 0 || end < start) throw new Error(`README.md lacks the lines ${marks.join(" and ")}`);
  return `${text.slice(0, start)}${marks[0]}\n\n${table}\n\n${text.slice(end)}`;
};

const main = () => {
  const check = argv.includes("--check");
  const others = argv.slice(2).filter((argument) => argument !== "--check");
  const place = mkdtempSync(join(tmpdir(), "zeroth-support-"));
  const report = env.ZEROTH_TEST_REPORT ?? join(place, "results.json");
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const { status } = spawnSync(execPath, [vitest, "run", "--project", "real", ...others], {
    ...{ cwd: root, stdio: "inherit", env: { ...env, ZEROTH_TEST_REPORT: report } },
  });
  if (status !== 0 || others.length > 0) return status ?? 1;
  const cells = cellsOf(JSON.parse(readFileSync(report, "utf8")));
  rmSync(place, { recursive: true, force: true });
  if (cells.length === 0) return 0;
  const file = join(root, "README.md");
  const before = readFileSync(file, "utf8");
  const after = withTable(before, tableOf(cells));
  if (after === before) return 0;
  if (check) {
    console.error("The README's support table is not what the tests show. Run npm run test:real.");
    return 1;
  }
  writeFileSync(file, after);
  console.log("README.md: the support table was written anew.");
  return 0;
};

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) exit(main());
