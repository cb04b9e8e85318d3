import { ZerothError } from "../errors.js";
import type { Key } from "../random/key.js";
import { readsOf } from "./compile.js";
import { add, constant, type Expr, input, mul, scalar, substitute } from "./expr.js";
import type { Op, Program, Term } from "./walk.js";

/*
 * Operations broken down into rules: one perturbation, the terms of a sum, the program's own rule. A sum of one term is folded
 * into the rule that reads it, which saves a pass over the tile and changes no bit.
 */

type Outputs = Readonly<Record<string, Expr>>;

/** How a rule gets a sum: it is empty, it has one term that the rule computes itself, or it was summed before. */
type Sum = "zero" | "term" | "summed";

export type RuleName = "perturb" | "g first" | "g next" | "zz first" | "zz next" | `apply ${Sum} ${Sum}`;

/** One rule over a tile. */
export interface Instruction {
  readonly rule: RuleName;
  /** Index of the key whose noise is "z"; −1 where the rule reads none. */
  readonly key: number;
  readonly scalars: Readonly<Record<string, number>>;
}

/** What operations come to for any tensor. */
export interface Plan {
  readonly keys: readonly Key[];
  readonly instructions: readonly Instruction[];
}

// Names that no program's scalar has.
const SCALE = "#scale";
const SQUARE_SCALE = "#squareScale";

const z = input("z");
const scaled = mul(scalar(SCALE), z);
const scaledSquare = mul(scalar(SQUARE_SCALE), mul(z, z));
const gradient: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaled, summed: input("g") };
const curvature: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaledSquare, summed: input("zz") };

/** The expressions of a rule. */
export const ruleOf = ({ direction, apply }: Program, name: RuleName): Outputs => {
  const fixed: Readonly<Record<string, Outputs>> = {
    perturb: { weight: add(input("weight"), mul(scalar(SCALE), direction)) },
    "g first": { g: scaled },
    "g next": { g: add(input("g"), scaled) },
    "zz first": { zz: scaledSquare },
    "zz next": { zz: add(input("zz"), scaledSquare) },
  };
  const [, g, zz] = name.split(" ") as [string, Sum, Sum];
  return fixed[name] ?? substitute(apply, { g: gradient[g], zz: curvature[zz] });
};

const requireKnown = (what: string, names: readonly string[], known: readonly string[]): void => {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ZerothError(`${what} "${unknown}", which is none of: ${known.join(", ") || "(nothing)"}.`);
  }
};

/** @throws ZerothError that says what an expression of the program reads or writes and cannot */
export const checkProgram = ({ direction, apply, states }: Program): void => {
  const perturbation = readsOf({ direction });
  requireKnown("The perturbation reads", perturbation.inputs, ["z", "weight", ...states]);
  requireKnown("The perturbation reads the scalar", perturbation.scalars, []);
  requireKnown("The update rule reads", readsOf(apply).inputs, ["weight", "g", "zz", ...states]);
  requireKnown("The update rule writes", Object.keys(apply), ["weight", ...states]);
};

const nameOf = ({ seed, stream, step, query }: Key): string => `${seed}/${stream}/${step}/${query}`;

/** @throws ZerothError when an update lacks a scalar that the program's rule reads */
export const planOf = (program: Program, ops: readonly Op[]): Plan => {
  const { inputs: needs, scalars: needed } = readsOf(program.apply);
  const keys: Key[] = [];
  const indices = new Map<string, number>();
  const indexOf = (key: Key): number => {
    const name = nameOf(key);
    const index = indices.get(name) ?? keys.push(key) - 1;
    indices.set(name, index);
    return index;
  };
  const sums = (g: Term | undefined, zz: Term | undefined, order: "first" | "next"): Instruction[] => [
    ...(g === undefined ? [] : [{ rule: `g ${order}`, key: indexOf(g.key), scalars: { [SCALE]: g.scale } } as const]),
    ...(zz === undefined
      ? []
      : [{ rule: `zz ${order}`, key: indexOf(zz.key), scalars: { [SQUARE_SCALE]: zz.scale } } as const]),
  ];
  const updateOf = (op: Extract<Op, { kind: "update" }>): Instruction[] => {
    const missing = needed.find((name) => op.scalars[name] === undefined);
    if (missing !== undefined)
      throw new ZerothError(`The update rule reads the scalar "${missing}", which the update lacks.`);
    const g = needs.includes("g") ? op.gradient : [];
    const zz = needs.includes("zz") ? op.curvature : [];
    // A rule has one "z": single terms fold when they share it.
    const folds = new Set([...g, ...zz].map(({ key }) => nameOf(key))).size === 1 && g.length <= 1 && zz.length <= 1;
    const kind = (terms: readonly Term[]): Sum => (terms.length === 0 ? "zero" : folds ? "term" : "summed");
    const [firstG, firstZz] = [g[0], zz[0]];
    const folded = folds ? (firstG ?? firstZz) : undefined;
    // Term by term, so that a key's noise serves both sums.
    const terms = Array.from({ length: folds ? 0 : Math.max(g.length, zz.length) }, (_, i) => i);
    const apply: Instruction = {
      rule: `apply ${kind(g)} ${kind(zz)}`,
      key: folded === undefined ? -1 : indexOf(folded.key),
      scalars: { ...op.scalars, [SCALE]: firstG?.scale ?? 0, [SQUARE_SCALE]: firstZz?.scale ?? 0 },
    };
    return [...terms.flatMap((i) => sums(g[i], zz[i], i === 0 ? "first" : "next")), apply];
  };
  const instructions = ops.flatMap((op): Instruction[] =>
    op.kind === "perturb" ? [{ rule: "perturb", key: indexOf(op.key), scalars: { [SCALE]: op.scale } }] : updateOf(op),
  );
  return { keys, instructions };
};
