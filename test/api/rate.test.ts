import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { load } from "../../src/api/load.js";
import { methodOf } from "../../src/api/prepare.js";
import { withFittedRate } from "../../src/api/rate.js";
import { resolveSettings } from "../../src/api/settings.js";

const model = await load(fileURLToPath(new URL("../../assets/seedling", import.meta.url)));
const settingsOf = (given: Record<string, unknown>) => resolveSettings(given, 1);
const weightsOf = (given: Record<string, unknown>): number =>
  methodOf(model, settingsOf(given)).tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

test("the rate of a model's own weights falls with their number, down from a hundred times the preset", () => {
  const rate = (given: Record<string, unknown>) => withFittedRate(model, settingsOf(given), false).learningRate;
  const preset = settingsOf({ method: "full" }).learningRate;
  // All sets of this model are small.
  expect(rate({ method: "full" })).toBe(Number((100 * preset).toPrecision(2)));
  // The same model with as many weights as the preset is for, and with twice of them.
  for (const times of [1, 2]) {
    const [tensor] = model.family.parameters;
    const large = { ...tensor!, shape: [times * 8e8] };
    const family = { ...model.family, parameters: [large] };
    const fitted = withFittedRate({ ...model, family }, settingsOf({ method: "full" }), false);
    expect(fitted.learningRate).toBe(preset / times);
  }
  expect(weightsOf({ method: "full", layers: [3, 4] })).toBeLessThan(weightsOf({ method: "full" }));
});

test("a rate that was said, and an adapter's, are left alone", () => {
  const said = settingsOf({ method: "full", learningRate: 0.5 });
  expect(withFittedRate(model, said, true)).toBe(said);
  for (const method of ["lora", "sparse"]) {
    const adapter = settingsOf({ method });
    expect(withFittedRate(model, adapter, false)).toBe(adapter);
  }
});
