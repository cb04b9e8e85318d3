import { adamForward } from "./adam-forward.js";
import { adazeta } from "./adazeta.js";
import { fzoo } from "./fzoo.js";
import { helene } from "./helene.js";
import { hizoo } from "./hizoo.js";
import { hizooL } from "./hizoo-l.js";
import { lezo } from "./lezo.js";
import { lozo } from "./lozo.js";
import { lozoM } from "./lozo-m.js";
import { mezo } from "./mezo.js";
import { mezoSvrg } from "./mezo-svrg.js";
import type { Optimizer } from "./optimizer.js";
import { pRge } from "./p-rge.js";
import { sparseMezo } from "./sparse-mezo.js";
import { subsetNorm } from "./subset-norm.js";
import { subsetNormMomentum } from "./subset-norm-subspace-momentum.js";
import { subspaceMomentum } from "./subspace-momentum.js";
import { subzero } from "./subzero.js";
import { zoAdam } from "./zo-adam.js";
import { zoConservative } from "./zo-conservative.js";
import { zoMomentum } from "./zo-momentum.js";
import { zoSgd } from "./zo-sgd.js";
import { zoSign } from "./zo-sign.js";

/** Every optimizer, by the name that the command line takes. */
export const optimizers = {
  mezo,
  "zo-sgd": zoSgd,
  "zo-sign": zoSign,
  "zo-momentum": zoMomentum,
  "zo-conservative": zoConservative,
  "zo-adam": zoAdam,
  hizoo,
  "hizoo-l": hizooL,
  helene,
  "sparse-mezo": sparseMezo,
  lezo,
  subzero,
  lozo,
  "lozo-m": lozoM,
  "mezo-svrg": mezoSvrg,
  fzoo,
  adazeta,
  "subset-norm": subsetNorm,
  "subspace-momentum": subspaceMomentum,
  "subset-norm-subspace-momentum": subsetNormMomentum,
  "p-rge": pRge,
  "adam-forward": adamForward,
} satisfies Readonly<Record<string, Optimizer>>;

export type OptimizerName = keyof typeof optimizers;

/** What a run takes that does not say. */
export const DEFAULT_OPTIMIZER: OptimizerName = "mezo";
