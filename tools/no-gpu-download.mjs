// Runs before the packages' install scripts when Zeroth is installed somewhere. On Linux the runtime's own script would
// fetch some hundred megabytes of GPU libraries, from outside the registry, and fail the installation where it cannot.
// Zeroth runs on the CPU library that is in the runtime's package. The script looks whether the files are there already, so
// empty ones keep it quiet. ONNXRUNTIME_NODE_INSTALL, the runtime's own switch, still decides when it is set.
import { existsSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const libraries = ["cuda", "shared", "tensorrt"].map((name) => `libonnxruntime_providers_${name}.so`);

const runtimeFolder = () => {
  try {
    return dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
  } catch {
    return undefined;
  }
};

const runtime = runtimeFolder();
if (runtime !== undefined && process.env.ONNXRUNTIME_NODE_INSTALL === undefined) {
  const folder = join(runtime, "bin", "napi-v6", "linux", "x64");
  for (const name of libraries) {
    const file = join(folder, name);
    if (existsSync(folder) && !existsSync(file)) writeFileSync(file, "");
  }
}
