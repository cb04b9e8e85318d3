// The optimizers that the zoo compares, each with the learning rates that are screened. All train the weights of the same blocks (so that the
// blocks before run once an example) with the same ε, on rows of the same draw; p-rge is for LoRA's B alone and trains that.

/** Fastest setting of the speed work: see docs/accuracy.md. */
export const blocks = [15, 22];
const full = { kind: "full", layers: blocks };
const frozenA = { kind: "lora", targets: "all-linear", layers: blocks, alpha: 32, freezeA: true };

/**
 * `evaluations` a step of 16 rows, which says how many steps a number of forward passes is. Rates follow from MeZO's by what each rule does to
 * the length of a step: momentum of 0.9 sums ten, a normalised rule divides by |s| (about 5 here), σ is about ε·|s|.
 */
export const contenders = {
  mezo: { evaluations: 2, rates: [3e-4, 6e-4, 1.2e-3] },
  "zo-sgd": { evaluations: 2, same: "mezo" },
  "zo-sign": { evaluations: 2, rates: [1e-3, 2e-3] },
  "zo-momentum": { evaluations: 2, rates: [6e-5] },
  "zo-conservative": { evaluations: 5, rates: [1.2e-3] },
  "zo-adam": { evaluations: 2, rates: [2e-3] },
  hizoo: { evaluations: 3, rates: [6e-4, 1.2e-3], perturbation: "gaussian" },
  "hizoo-l": { evaluations: 3, rates: [6e-4], perturbation: "gaussian" },
  helene: { evaluations: 2, rates: [6e-5, 1.2e-4] },
  "sparse-mezo": { evaluations: 2, rates: [1.2e-3] },
  lezo: { evaluations: 2, rates: [2e-3] },
  subzero: { evaluations: 2, rates: [6e-4] },
  lozo: { evaluations: 2, rates: [6e-4] },
  "lozo-m": { evaluations: 2, rates: [6e-4] },
  // 128 anchor rows every ten steps: 16 passes for the anchor's and 4 for each of nine others.
  "mezo-svrg": { evaluations: 5.2, rates: [1e-3], anchorRows: 128, hyperparameters: { period: 10, anchorRate: 1 } },
  fzoo: { evaluations: 9, rates: [2e-5, 4e-5] },
  adazeta: { evaluations: 2.6, rates: [1.2e-3] },
  "subset-norm": { evaluations: 2, rates: [3e-3] },
  "subspace-momentum": { evaluations: 2, rates: [6e-4] },
  "subset-norm-subspace-momentum": { evaluations: 2, rates: [3e-3] },
  "p-rge": { evaluations: 8, rates: [1.5e-2], epsilon: 1e-2, method: frozenA },
  "adam-forward": { evaluations: 9, rates: [4e-3] },
};

/** What finetune is asked for, for about so many forward passes of 16 rows. */
export const contender = ({ name, rate, hyperparameters }, forwards, seed = 0) => {
  const { evaluations, rates: _, method = full, ...rest } = contenders[name];
  const own = hyperparameters === undefined ? {} : { hyperparameters };
  const optimizer = { name, learningRate: rate, epsilon: 1e-3, perturbation: "rademacher", ...rest, ...own };
  return { method, optimizer, steps: Math.round(forwards / evaluations), seed };
};

/** The second look: the better half of the screening at the rates next to its best, and what hyperparameters are for. */
export const second = [
  // Curvature moves H by α times Δ/2ε² a step: the published α of 1e-8 leaves it at 1 for as long as anybody trains.
  { name: "hizoo", rate: 6e-4, hyperparameters: { smoothing: 1e-4 } },
  { name: "hizoo", rate: 6e-4, hyperparameters: { smoothing: 1e-2 } },
  { name: "hizoo", rate: 6e-4, hyperparameters: { smoothing: 1e-3 } },
  // h grows to B·s², hundreds, and divides the step.
  { name: "helene", rate: 1.2e-3 },
  { name: "helene", rate: 4e-3 },
  { name: "subset-norm", rate: 1.2e-2 },
  { name: "mezo-svrg", rate: 3e-4 },
  { name: "zo-sign", rate: 4e-3 },
  { name: "zo-sign", rate: 8e-3 },
];

/** The survivors, each at its best. */
export const finals = [
  { name: "mezo", rate: 6e-4 },
  { name: "fzoo", rate: 2e-5 },
  // 1e-4 did as well in the second look, and diverged in a longer run.
  { name: "hizoo", rate: 6e-4, hyperparameters: { smoothing: 1e-5 } },
  { name: "helene", rate: 1.2e-3 },
  { name: "zo-sign", rate: 4e-3 },
];
