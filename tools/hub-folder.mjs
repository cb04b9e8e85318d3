// Writes a model in Hugging Face's layout from whatever Zeroth opens: a folder, or a GGUF with or without files beside it.
// Usage: node tools/hub-folder.mjs MODEL OUT [float32|bfloat16|float16]      Needs a build (npm run build).
import { mkdirSync } from "node:fs";
import { openModel } from "../dist/model/open.js";
import { readTensorSync } from "../dist/model/weights.js";
import { saveModel } from "../dist/peft/save.js";

const dtypes = { float32: "F32", bfloat16: "BF16", float16: "F16" };
const [spec, out, dtype = "float32"] = process.argv.slice(2);
if (spec === undefined || out === undefined || !Object.hasOwn(dtypes, dtype)) {
  console.error("Usage: node tools/hub-folder.mjs MODEL OUT [float32|bfloat16|float16]");
  process.exit(2);
}
try {
  const model = await openModel(spec);
  const tensors = [...model.weights.values()];
  mkdirSync(out, { recursive: true });
  await saveModel(out, model, tensors, async (name) => readTensorSync(model.weights.get(name)), dtypes[dtype]);
  console.log(`${out}: ${tensors.length} tensors, ${dtype}`);
} catch (error) {
  console.error(error instanceof Error && error.name === "ZerothError" ? error.message : error);
  process.exit(1);
}
