// The journal is the checkpoint: rebuilds the weights of an earlier step from the base model and a few kilobytes.
//   node examples/replay.mjs
import { createHash } from "node:crypto";
import { mkdtemp, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { finetune, load, lora, replay } from "zeroth";

const asset = (name) => fileURLToPath(new URL(`../assets/${name}`, import.meta.url));
const model = await load(asset("seedling"));
const folder = await mkdtemp(join(tmpdir(), "zeroth-example-"));
const out = join(folder, "run");
const task = { prompt: "{text} {name} was so", options: " sad, happy", labels: "sad,happy" };

const run = finetune(model, { data: asset("quickstart"), ...task, method: lora(), steps: 40, devRows: 0, out });
for await (const _ of run);

const hash = async (path) =>
  createHash("sha256")
    .update(await readFile(join(path, "adapter_model.safetensors")))
    .digest("hex");
await replay(model, { run: out, out: join(folder, "last") });
await replay(model, { run: out, out: join(folder, "tenth"), step: 10 });

console.log(`journal: ${(await stat(join(out, "run", "journal.zj"))).size} bytes for 40 steps`);
console.log(`step 40, trained:  ${await hash(out)}`);
console.log(`step 40, replayed: ${await hash(join(folder, "last"))}`);
console.log(`step 10, replayed: ${await hash(join(folder, "tenth"))}`);
if ((await hash(out)) !== (await hash(join(folder, "last")))) throw new Error("the replay differs from the run");
