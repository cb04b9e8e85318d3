import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { elementsOf } from "../model/weights.js";
import type { LowRank } from "../perturbation/subspace.js";
import type { Method, Trainable } from "./method.js";

/** A matrix whose change between two refreshes is a product of factors: U·core·Vᵀ (SubZero) or core·Vᵀ (LOZO), times `scale`. */
export interface Cored {
  /** The tensor that the product is folded into at a refresh. */
  readonly base: string;
  readonly core: string;
  /** As the product sees it: a vector of adapters' weights may be taken as a nearly square matrix. */
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  readonly scale: number;
  /** Products take the matrix as it lies, x·W; otherwise its transpose. */
  readonly turned: boolean;
}

/** Names of the tensors that a core goes with: they are drawn, not trained. */
export const factorNames = ({ base }: Pick<Cored, "base">) => ({ u: `${base}#u`, v: `${base}#v` });

/** The factors of a number that are nearest each other. */
const nearlySquare = (size: number): readonly [number, number] => {
  let rows = Math.floor(Math.sqrt(size));
  while (size % rows !== 0) rows--;
  return [rows, size / rows];
};

const coredOf = (tensor: Trainable, subspace: LowRank, placement: Method["placement"]): Cored | undefined => {
  const { shape, name } = tensor;
  const [first = 1, second = 1] = shape;
  // Vectors have no rank to lower.
  if (shape.length !== 2 || first === 1 || second === 1) return undefined;
  const isAdapter = placement === "copies";
  const [rows, columns] = subspace.kind === "subzero" && isAdapter ? nearlySquare(elementsOf(shape)) : [first, second];
  const rank = Math.min(subspace.rank, rows, columns);
  const scale = subspace.kind === "subzero" ? Math.sqrt(rows * columns) / rank : 1;
  return { base: name, core: `${name}#core`, rows, columns, rank, scale, turned: tensor.turned === true };
};

/** The side path of a matrix product: x·V·coreᵀ·Uᵀ beside x·Wᵀ, or x·U·core·Vᵀ beside x·W. */
const product = (
  g: Builder,
  { kind }: LowRank,
  { base, core, scale, turned }: Cored,
  x: Value,
  beside: Value,
  tensor: (name: string) => Value,
): Value => {
  const { u, v } = factorNames({ base });
  // LOZO's core stands where U does, at scale 1.
  const left = kind === "lozo" ? core : u;
  const [first, last] = turned ? [left, v] : [v, left];
  const narrow = g.op("Gemm", [x, tensor(first)], {}, `${base}.side_first`);
  const middle =
    kind === "lozo" ? narrow : g.op("Gemm", [narrow, tensor(core)], { transB: turned ? 0 : 1 }, `${base}.side_core`);
  return g.op("Gemm", [middle, tensor(last), beside], { transB: 1, alpha: { float: scale } }, `${base}.side`);
};

/** The same for rows of the matrix, as an embedding takes them. */
const rowsOf = (
  g: Builder,
  { kind }: LowRank,
  { base, core, scale }: Cored,
  indices: Value,
  beside: Value,
  tensor: (name: string) => Value,
): Value => {
  const { u, v } = factorNames({ base });
  const alpha = { float: scale };
  const left = g.op("Gather", [tensor(kind === "lozo" ? core : u), indices], {}, `${base}.side_rows`);
  const narrow = kind === "lozo" ? left : g.op("Gemm", [left, tensor(core)], {}, `${base}.side_core`);
  return g.op("Gemm", [narrow, tensor(v), beside], { transB: 1, alpha }, `${base}.side`);
};

/**
 * A method whose matrices move in a low-rank subspace: what is trained are their cores, small and perturbed in copies, and tensors that
 * are no matrices. A model's own weights get side paths, so that they stay where they are between refreshes; an adapter's are small, and
 * the engine adds the product to copies of them.
 */
export const withCores = (method: Method, subspace: LowRank): Method => {
  const cored = method.tensors.flatMap((tensor) => coredOf(tensor, subspace, method.placement) ?? []);
  const byBase = new Map(cored.map((one) => [one.base, one]));
  const bySide = method.placement === "in-place";
  const tensors = method.tensors.map((tensor): Trainable => {
    const own = byBase.get(tensor.name);
    if (own === undefined) return tensor;
    const shape = [subspace.kind === "lozo" ? own.rows : own.rank, own.rank];
    const { layer } = tensor;
    return {
      name: own.core,
      shape,
      initial: { kind: "zeros" },
      core: own.rank,
      ...(layer === undefined ? {} : { layer }),
    };
  });
  const bases = method.tensors.filter(({ name }) => byBase.has(name));
  const factors = cored.flatMap((one): readonly Trainable[] => {
    const { u, v } = factorNames(one);
    const factor = (name: string, rows: number): Trainable => ({
      ...{ name, shape: [rows, one.rank], initial: { kind: "zeros" } },
    });
    return subspace.kind === "lozo" ? [factor(v, one.columns)] : [factor(u, one.rows), factor(v, one.columns)];
  });
  return {
    ...method,
    placement: "copies",
    tensors,
    frozen: [...(method.frozen ?? []), ...bases, ...factors],
    cored: { subspace, matrices: cored, bySide },
    ...(bySide
      ? {
          product: (g, name, x, beside, tensor) => {
            const own = byBase.get(name);
            return own === undefined ? beside : product(g, subspace, own, x, beside, tensor);
          },
          rows: (g, name, indices, beside, tensor) => {
            const own = byBase.get(name);
            return own === undefined ? beside : rowsOf(g, subspace, own, indices, beside, tensor);
          },
        }
      : {}),
  };
};
