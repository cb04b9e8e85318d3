// What `npm run bench:accuracy` compares: chosen on dev rows (docs/accuracy.md says what else was tried).
import { asked } from "./sst2.mjs";

const mezo = (learningRate, epsilon) => ({ name: "mezo", learningRate, epsilon, perturbation: "rademacher" });

/** `peer`: the method of PyTorch's MeZO whose step time the trajectory is told at too. */
export const setups = [
  {
    name: "full",
    says: "all weights",
    peer: "full",
    method: { kind: "full" },
    optimizer: mezo(1e-4, 1e-3),
    steps: 500,
  },
  {
    name: "lora",
    says: "LoRA on all linear layers",
    peer: "lora",
    method: { kind: "lora", targets: "all-linear", alpha: 32 },
    optimizer: mezo(5e-4, 1e-2),
    steps: 500,
  },
  {
    name: "full-22-29",
    says: "weights of the last 8 blocks",
    method: { kind: "full", layers: [22, 29] },
    optimizer: mezo(3e-4, 1e-3),
    steps: 1500,
  },
  {
    name: "lora-22-29",
    says: "LoRA on the last 8 blocks",
    method: { kind: "lora", targets: "all-linear", alpha: 32, layers: [22, 29] },
    optimizer: mezo(5e-4, 1e-2),
    steps: 1500,
  },
  {
    name: "full-15-22",
    says: "weights of blocks 15 to 22",
    method: { kind: "full", layers: [15, 22] },
    optimizer: mezo(4e-4, 1e-3),
    steps: 1600,
  },
  {
    name: "lora-15-22",
    says: "LoRA on blocks 15 to 22",
    method: { kind: "lora", targets: "all-linear", alpha: 32, layers: [15, 22] },
    optimizer: mezo(5e-4, 1e-2),
    steps: 1600,
  },
];

/** Parts of a run after which it is evaluated, on all validation rows. */
export const whole = { parts: [0.1, 0.2, 0.35, 0.6, 1], on: "validation" };

/** A setup's run with a seed. */
export const requestOf = ({ method, optimizer, steps }, seed) => asked({ method, optimizer, steps, seed }, whole);
