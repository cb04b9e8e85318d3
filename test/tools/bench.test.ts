import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/* The benches import the built program by name, and nobody checks their types. */

const root = fileURLToPath(new URL("../..", import.meta.url));
const scripts = readdirSync(join(root, "bench"), { recursive: true, encoding: "utf8" }).filter((name) =>
  name.endsWith(".mjs"),
);

test("what the benches import of the program is there", async () => {
  let checked = 0;
  for (const script of scripts) {
    const text = readFileSync(join(root, "bench", script), "utf8");
    for (const [, names = "", module = ""] of text.matchAll(/import \{([^}]*)\} from "(?:\.\.\/)+dist\/(.+?)\.js"/g)) {
      const found: object = await import(join(root, "src", `${module}.ts`));
      for (const name of names.split(",").flatMap((one) => one.trim().split(" as ")[0] || [])) {
        expect(Object.keys(found), `${script} imports ${name} from ${module}`).toContain(name);
        checked++;
      }
    }
  }
  expect(checked).toBeGreaterThan(30);
});
