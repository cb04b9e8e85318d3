import { expect, it } from "vitest";

type Cells = readonly (readonly [family: string, way: string])[];
const script = new URL("../../tools/support-table.mjs", import.meta.url).href;
const { cellsOf, tableOf, withTable } = (await import(script)) as {
  cellsOf: (results: object) => Cells;
  tableOf: (cells: Cells) => string;
  withTable: (text: string, table: string) => string;
};

/* The README's table of what works, from the results of tests. */

const test = (status: string, ...support: readonly (readonly [string, string])[]) => ({ status, meta: { support } });

it("holds what passed tests show, and nothing of others", () => {
  const results = {
    testResults: [
      {
        name: "b",
        assertionResults: [test("passed", ["Llama", "LoRA"], ["Llama", "safetensors"]), { status: "passed" }],
      },
      { name: "c", assertionResults: [test("failed", ["OPT", "LoRA"]), test("skipped", ["OPT", "prefix"])] },
      { name: "a", assertionResults: [test("passed", ["OPT", "safetensors"]), test("passed", ["OPT", "a new way"])] },
    ],
  };
  expect(tableOf(cellsOf(results))).toBe(
    [
      "| family | safetensors | LoRA | a new way |",
      "| ------ | ----------- | ---- | --------- |",
      "| OPT    | ✓           |      | ✓         |",
      "| Llama  | ✓           | ✓    |           |",
    ].join("\n"),
  );
});

it("stands between its marks, and nothing else changes", () => {
  const marks = ["<!-- support table: npm run test:real writes it -->", "<!-- end of the support table -->"];
  const text = `before\n${marks[0]}\nold\n${marks[1]}\nafter\n`;
  const made = withTable(text, "| new |");
  expect(made).toBe(`before\n${marks[0]}\n\n| new |\n\n${marks[1]}\nafter\n`);
  expect(withTable(made, "| new |")).toBe(made);
  expect(() => withTable("no marks", "")).toThrow("README.md lacks");
});
