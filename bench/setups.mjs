// What `npm run bench:accuracy` compares: the rates were chosen on dev rows among those that `tried` has.
import { asked } from "./sst2.mjs";

const mezo = (learningRate, epsilon) => ({ name: "mezo", learningRate, epsilon, perturbation: "rademacher" });
const full = (layers) => ({ kind: "full", ...(layers && { layers }) });
const lora = (layers) => ({ kind: "lora", targets: "all-linear", alpha: 32, ...(layers && { layers }) });
const frozenA = (layers) => ({ ...lora(layers), freezeA: true });

/** Blocks in the middle and at the end of the 30 that SmolLM2-135M has. */
const [middle, last] = [
  [15, 22],
  [22, 29],
];

/** `peer`: the method of PyTorch's MeZO whose step time the trajectory is told at too. */
export const setups = [
  { name: "full-15-22", says: "weights of blocks 15 to 22", method: full(middle), optimizer: mezo(6e-4, 1e-3) },
  { name: "lora-15-22", says: "LoRA-FA on blocks 15 to 22", method: frozenA(middle), optimizer: mezo(1e-2, 1e-2) },
  { name: "full-22-29", says: "weights of the last 8 blocks", method: full(last), optimizer: mezo(6e-4, 1e-3) },
  { name: "lora-22-29", says: "LoRA-FA on the last 8 blocks", method: frozenA(last), optimizer: mezo(1e-2, 1e-2) },
  { name: "full", says: "all weights", method: full(), optimizer: mezo(6e-5, 1e-3), steps: 250, peer: "full" },
  {
    name: "lora",
    says: "LoRA-FA on all blocks",
    method: frozenA(),
    optimizer: mezo(4e-3, 1e-2),
    steps: 250,
    peer: "lora",
  },
].map((setup) => ({ steps: 500, ...setup }));

/** Other settings that were looked at on dev rows, with 240 forward passes each where it does not say. */
export const tried = [
  [lora(middle), mezo(2e-3, 1e-2)],
  [lora(middle), mezo(5e-3, 1e-2)],
  [lora(middle), mezo(1e-2, 1e-2)],
  [{ kind: "lora", layers: middle }, mezo(1e-2, 1e-2)],
  [full(last), mezo(6e-4, 1e-3)],
  [full(), mezo(1.3e-4, 1e-3)],
  [full(), mezo(6e-5, 1e-3), 250],
  [full(), mezo(3e-5, 1e-3), 250],
  [lora(middle), mezo(1e-3, 1e-2), 250],
  [frozenA(middle), mezo(2e-3, 1e-2), 250],
  [frozenA(middle), mezo(4e-3, 1e-2), 250],
  [frozenA(middle), mezo(1e-2, 1e-2), 250],
  [frozenA(middle), mezo(2e-2, 1e-2), 250],
  [lora(), mezo(4e-4, 1e-2), 250],
].map(([method, optimizer, steps = 120]) =>
  asked({ method, optimizer, steps, seed: 0 }, { parts: [0.5, 1], on: "dev", limit: 300 }),
);

/** Parts of a run after which it is evaluated, on all validation rows. */
export const whole = { parts: [0.15, 0.35, 0.65, 1], on: "validation" };

/** A setup's run with a seed. */
export const requestOf = ({ method, optimizer, steps }, seed) => asked({ method, optimizer, steps, seed }, whole);
