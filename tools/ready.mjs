// Makes a checkout ready to run: installs the packages and builds when they are missing or stale, and says nothing otherwise.
// It runs before node_modules exists, so it uses Node's own modules only.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const at = (...parts) => join(root, ...parts);
const lockfile = at("package-lock.json");
const installed = at("node_modules", ".package-lock.json");
const stampFile = at("node_modules", ".zeroth-ready.json");
/** Written by the build into src/, so no source of it. */
const generated = at("src", "kernels", "noise.wasm.ts");

const filesUnder = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path)
        .sort()
        .flatMap((name) => filesUnder(join(path, name)))
    : [path];

const hashOf = (paths) => {
  const hash = createHash("sha256");
  for (const path of paths) hash.update(path).update("\0").update(readFileSync(path)).update("\0");
  return hash.digest("hex");
};

const readStamp = () => {
  try {
    return JSON.parse(readFileSync(stampFile, "utf8"));
  } catch {
    return {};
  }
};

const writeStamp = (part) => writeFileSync(stampFile, `${JSON.stringify({ ...readStamp(), ...part })}\n`);

const run = (what, command, args) => {
  console.error(`${what} …`);
  const started = Date.now();
  // Output is shown only if it is needed: the two commands of the README should look calm.
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    // The CPU library is in the runtime's package already; its install script would fetch GPU libraries on top.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" },
  });
  if (status !== 0) {
    console.error(`${stdout ?? ""}${stderr ?? ""}${error ? `${error.message}\n` : ""}${what}: failed.`);
    process.exit(1);
  }
  console.error(`${what}: done in ${((Date.now() - started) / 1000).toFixed(0)} s`);
};

const npm = (...args) => {
  const script = process.env.npm_execpath;
  return script?.endsWith(".js") ? [process.execPath, [script, ...args]] : ["npm", args];
};

const lock = hashOf([lockfile]);
const installedByHand = () => existsSync(installed) && statSync(installed).mtimeMs >= statSync(lockfile).mtimeMs;
if (!existsSync(installed) || (readStamp().lock !== lock && !installedByHand())) {
  run("Installing packages", ...npm("ci", "--ignore-scripts", "--no-audit", "--no-fund"));
}
if (readStamp().lock !== lock) writeStamp({ lock });

const sources = hashOf(
  [at("src"), at("tsconfig.json"), at("tools", "build.mjs"), lockfile]
    .flatMap(filesUnder)
    .filter((path) => path !== generated),
);
if (!existsSync(at("dist", "cli", "main.js")) || !existsSync(generated) || readStamp().sources !== sources) {
  run("Building", process.execPath, [at("tools", "build.mjs")]);
  writeStamp({ sources });
}
