// Checks the package as others get it: packs it, installs the tarball into an empty folder with npm's default settings, runs
// the command line there, compiles against its types, and asks publint and attw.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const place = mkdtempSync(join(tmpdir(), "zeroth-package-"));
const folder = join(place, "empty");
mkdirSync(folder);

// npm hands its settings down in variables: what a checkout's .npmrc says must not reach the empty folder.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|ONNXRUNTIME_NODE_|INIT_CWD$)/i.test(name)),
);

const run = (cwd, command, ...args) => {
  console.log(`$ ${command} ${args.join(" ")}`);
  const { status, error } = spawnSync(command, args, { cwd, env, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? `exit code ${status}`}`);
};

const program = `import { finetune, load, lora, mezo, type TrainEvent, ZerothError } from "zeroth";
const model = await load("model");
const run = finetune(model, { data: "rows.jsonl", task: "sst2", method: lora({ rank: 8 }), optimizer: mezo(), steps: 1 });
for await (const event of run) {
  const seen: TrainEvent = event;
  if (seen.type === "step") console.log(seen.loss.toFixed(4));
}
export const failed = (error: unknown): boolean => error instanceof ZerothError;
`;
const settings = { compilerOptions: { module: "NodeNext", target: "ES2022", strict: true, noEmit: true, types: [] } };

try {
  run(root, "npm", "pack", "--silent", "--pack-destination", place);
  const tarball = readdirSync(place).find((name) => name.endsWith(".tgz"));
  writeFileSync(join(folder, "package.json"), '{ "name": "empty", "private": true, "type": "module" }\n');
  run(folder, "npm", "install", "--no-audit", "--no-fund", `../${tarball}`);
  run(folder, "npx", "zeroth", "--version");
  run(folder, "npx", "zeroth", "quickstart");

  writeFileSync(join(folder, "program.ts"), program);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(settings));
  run(folder, process.execPath, join(root, "node_modules", "typescript", "bin", "tsc"), "-p", ".");

  run(root, "npx", "publint", "--strict");
  run(root, "npx", "attw", join(place, tarball), "--profile", "esm-only");
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(place, { recursive: true, force: true });
}
