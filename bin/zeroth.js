#!/usr/bin/env node
import { existsSync } from "node:fs";

const main = new URL("../dist/cli/main.js", import.meta.url);
if (existsSync(main)) {
  process.exitCode = await (await import(main.href)).main(process.argv);
} else {
  console.error("Zeroth is not built yet. Run `npm start`, or `npm ci && npm run build`, in its folder.");
  process.exitCode = 1;
}
