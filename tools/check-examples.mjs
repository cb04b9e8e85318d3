// Runs every program in examples/, as the comment at its top says to.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const programs = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".mjs"));
const failed = programs.filter((name) => {
  console.log(`$ node examples/${name}`);
  const { status } = spawnSync(process.execPath, [join("examples", name)], { cwd: root, stdio: "inherit" });
  return status !== 0;
});
console.log(
  `${programs.length - failed.length} of ${programs.length} examples ran${failed.length > 0 ? `; failed: ${failed.join(", ")}` : ""}`,
);
if (programs.length === 0 || failed.length > 0) process.exitCode = 1;
