// Fine-tunes the model that ships with Zeroth on rows of your own, and asks it before and after.
//   node examples/finetune.mjs
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { finetune, load, lora, mezo, predict } from "zeroth";

const model = await load(fileURLToPath(new URL("../assets/seedling", import.meta.url)));
const folder = await mkdtemp(join(tmpdir(), "zeroth-example-"));

// Rows are plain objects; a template turns each into a prompt and its options.
const rows = [
  { text: "Lily found her red ball and smiled.", feeling: "happy" },
  { text: "Tom lost his little boat in the rain.", feeling: "sad" },
  { text: "Mia's friend came to play with her.", feeling: "happy" },
  { text: "Ben fell and hurt his knee.", feeling: "sad" },
];
const template = { prompt: "{text} The child was", options: " sad, happy", labels: "sad,happy" };
const data = join(folder, "rows.jsonl");
await writeFile(data, rows.map(({ text, feeling }) => JSON.stringify({ text, label: feeling })).join("\n"));

const run = finetune(model, {
  data,
  ...template,
  method: lora({ rank: 4, targets: "all-linear" }),
  optimizer: mezo({ learningRate: 3e-4, epsilon: 1e-2 }),
  steps: 60,
  batchSize: 4,
  devRows: 0,
});
for await (const event of run) {
  if (event.type === "step" && event.step % 20 === 0) console.log(`step ${event.step}  loss ${event.loss.toFixed(3)}`);
}
const adapter = join(folder, "adapter");
await run.save(adapter);

for (const [name, choice] of [
  ["untuned", template],
  ["tuned", { ...template, adapter }],
]) {
  for await (const { row, prediction } of predict(model, rows, choice))
    console.log(`${name}: ${row.text} → ${prediction}`);
}
