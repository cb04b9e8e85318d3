import type { OptimizerName } from "../../../src/optimizer/optimizers.js";
import * as adaptive from "./adaptive.js";
import type { Paper } from "./common.js";
import * as plain from "./plain.js";
import * as subspaces from "./subspaces.js";

/** Every optimizer's paper. */
export const papers: Readonly<Record<OptimizerName, Paper>> = {
  mezo: plain.mezo,
  "zo-sgd": plain.zoSgd,
  "zo-sign": plain.zoSign,
  "zo-momentum": plain.zoMomentum,
  "zo-conservative": plain.zoConservative,
  "zo-adam": adaptive.zoAdam,
  hizoo: adaptive.hizoo,
  "hizoo-l": adaptive.hizooL,
  helene: adaptive.helene,
  "sparse-mezo": subspaces.sparseMezo,
  lezo: subspaces.lezo,
  subzero: subspaces.subzero,
  lozo: subspaces.lozo,
  "lozo-m": subspaces.lozoM,
  "mezo-svrg": plain.mezoSvrg,
  fzoo: plain.fzoo,
  adazeta: plain.adazeta,
  "subset-norm": adaptive.subsetNorm,
  "subspace-momentum": adaptive.subspaceMomentum,
  "subset-norm-subspace-momentum": adaptive.subsetNormMomentum,
  "p-rge": plain.pRge,
  "adam-forward": adaptive.adamForward,
};
