import { describe } from "vitest";
import { type OptimizerName, optimizers } from "../src/optimizer/optimizers.js";
import { small, task } from "../test/runs.js";
import { survives } from "./kills.js";

/* Every optimizer of the table, its states and what its estimator remembers included. */

/** Whatever happens once in many steps happens in these few. */
const often: Readonly<Record<string, number>> = { refreshEvery: 5, chooseEvery: 5, interval: 3, period: 3, window: 3 };

describe.each(Object.keys(optimizers) as OptimizerName[])("%s, killed and gone on with", (name) => {
  const { hyperparameters, preset } = optimizers[name];
  const own = Object.entries(often).filter(([option]) => option in hyperparameters);
  const flags = [
    ...small,
    ...["--optimizer", name, "--anchor-rows", "8"],
    ...(own.length === 0 ? [] : ["--hyperparameters", own.map((pair) => pair.join("=")).join(",")]),
  ];
  survives({ name, method: "lora", model: task, flags }, 1, 12);
  if (preset.freezeA !== true)
    survives({ name, method: "full", model: task, flags: [...flags, "--layers", "3..5"] }, 1, 8);
});
