import { ZerothError } from "../errors.js";
import type { Key } from "../random/key.js";
import { readsOf } from "./compile.js";
import { add, constant, type Expr, input, mul, scalar, substitute } from "./expr.js";
import type { Op, Program, Term } from "./program.js";

/*
 * Operations broken down into instructions (one perturbation, the terms of a sum, the program's own rule), and as many of those that
 * follow each other joined into one rule as there is room for their noise: what one writes and the next reads then stays in a register.
 * An fp32 value is the same in a register as in memory, so joining changes no bit. A sum over many elements ends a pass over the
 * tensor, since what follows reads it.
 */

type Outputs = Readonly<Record<string, Expr>>;
type Scalars = Readonly<Record<string, number>>;

/** How a rule gets a sum of terms: it is empty, it has one term that the rule computes itself, or it was summed before. */
type Sum = "zero" | "term" | "summed";

type InstructionName =
  | "perturb"
  | "g first"
  | "g next"
  | "zz first"
  | "zz next"
  | `apply ${Sum} ${Sum}`
  | `reduce ${Sum} ${Sum}`;

interface Instruction {
  readonly name: InstructionName;
  /** Index of the key whose noise is "z"; −1 where it reads none. */
  readonly key: number;
  readonly scalars: Scalars;
}

/** Tiles of noise that a rule may read. */
export const NOISE_SLOTS = 4;
/** Instructions of a rule: more would need more registers than there are. */
const LONGEST = 8;

/** One rule over a tile. */
export interface Action {
  readonly kind: "rule";
  /** Equal names are equal rules. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** Indices of the keys whose noise is "z0", "z1", … */
  readonly keys: readonly number[];
  /** The values of "s0", "s1", …: each once, and none that is 1. */
  readonly scalars: readonly number[];
}

/** What is done to a tile. */
export type Deed = Action | { readonly kind: "mark" } | { readonly kind: "norm"; readonly key: number };

/** One pass over a tensor. */
export interface Pass {
  readonly deeds: readonly Deed[];
  /** Where states lie in lines: the step that those of this pass were chosen at, and whether they start from 0. */
  readonly lines?: { readonly chosenAt: number; readonly zero: boolean };
  /** The scalars of the summaries that the pass ends with, where it sums. */
  readonly summed?: Scalars;
}

/** What operations come to for any tensor. */
export interface Plan {
  readonly keys: readonly Key[];
  readonly passes: readonly Pass[];
}

/** The name that a tile of what is to be summed goes by. */
export const summandOf = (name: string): string => `sum:${name}`;

// Names that no program's scalar has.
const SCALE = "#scale";
const SQUARE_SCALE = "#squareScale";

const z = input("z");
const scaled = mul(scalar(SCALE), z);
const scaledSquare = mul(scalar(SQUARE_SCALE), mul(z, z));
const gradient: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaled, summed: input("g") };
const curvature: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaledSquare, summed: input("zz") };

const summands = ({ reduce = {} }: Program): Outputs =>
  Object.fromEntries(Object.entries(reduce).map(([name, { of }]) => [summandOf(name), of]));

/** The expressions of an instruction. */
const expressionsOf = (program: Program, name: InstructionName): Outputs => {
  const fixed: Readonly<Record<string, Outputs>> = {
    perturb: { weight: add(input("weight"), mul(scalar(SCALE), program.direction)) },
    "g first": { g: scaled },
    "g next": { g: add(input("g"), scaled) },
    "zz first": { zz: scaledSquare },
    "zz next": { zz: add(input("zz"), scaledSquare) },
  };
  const [kind, g, zz] = name.split(" ") as [string, Sum, Sum];
  const inputs = { g: gradient[g], zz: curvature[zz] };
  return fixed[name] ?? substitute(kind === "apply" ? program.apply : summands(program), { inputs });
};

const single = Float32Array.of(0);
const fp32 = (value: number): number => {
  single[0] = value;
  return single[0];
};
const placeOf = (values: readonly number[], value: number): number =>
  values.findIndex((other) => Object.is(other, value));

/** The noise of each of an action's keys. */
const noises = Array.from({ length: NOISE_SLOTS }, (_, slot) => input(`z${slot}`));

/**
 * The expressions of an action: its instructions', one after the other. The noise of `keys[i]` is "zi" and scalars are called by their
 * values' places, since most are equal: what is computed from the same numbers is then computed once.
 */
export const ruleOf = (program: Program, { instructions, keys, scalars }: Action): Outputs => {
  let made: Outputs = {};
  for (const { name, key, scalars: own } of instructions) {
    const inputs = { ...made, z: noises[keys.indexOf(key)] ?? z };
    const inPlace = (of: string): Expr => {
      const value = fp32(own[of] ?? Number.NaN);
      return value === 1 ? constant(1) : scalar(`s${placeOf(scalars, value)}`);
    };
    made = { ...made, ...substitute(expressionsOf(program, name), { inputs, scalar: inPlace }) };
  }
  const { g: _, zz: __, ...applied } = made;
  // Sums of terms outlive the rule only where what reads them comes later.
  return /^[gz]/.test(instructions.at(-1)?.name ?? "") ? made : applied;
};

const nameOf = ({ seed, stream, step, query }: Key): string => `${seed}/${stream}/${step}/${query}`;

const actionOf = (instructions: readonly Instruction[]): Action => {
  const keys = [...new Set(instructions.map(({ key }) => key).filter((key) => key >= 0))];
  const scalars: number[] = [];
  const names = instructions.map(({ name, key, scalars: own }) => {
    // By name: the same scalars may come in another order.
    const places = Object.entries(own).map(([of, given]) => {
      const value = fp32(given);
      if (value === 1) return `${of}=1`;
      const place = placeOf(scalars, value);
      return `${of}=s${place < 0 ? scalars.push(value) - 1 : place}`;
    });
    return `${name}@${keys.indexOf(key)}(${places})`;
  });
  return { kind: "rule", name: names.join("|"), instructions, keys, scalars };
};

type Single = Instruction | Exclude<Deed, Action>;

const joined = (singles: readonly Single[]): readonly Deed[] => {
  const deeds: (Instruction[] | Exclude<Deed, Action>)[] = [];
  for (const next of singles) {
    const group = deeds.at(-1);
    if ("kind" in next) deeds.push(next);
    else if (Array.isArray(group)) {
      const keys = new Set([...group, next].map(({ key }) => key).filter((key) => key >= 0));
      if (group.length < LONGEST && keys.size <= NOISE_SLOTS) group.push(next);
      else deeds.push([next]);
    } else deeds.push([next]);
  }
  return deeds.map((deed) => (Array.isArray(deed) ? actionOf(deed) : deed));
};

/** @throws ZerothError when an update lacks a scalar that the program's rule reads */
export const planOf = (program: Program, ops: readonly Op[]): Plan => {
  const { reduce = {}, summaries = {}, apply, lines } = program;
  const read = readsOf({ ...apply, ...summands(program) });
  const needed = [...new Set([...read.scalars, ...readsOf(summaries).scalars])];
  const hasSums = Object.keys(reduce).length > 0;

  const keys: Key[] = [];
  const indices = new Map<string, number>();
  const indexOf = (key: Key): number => {
    const name = nameOf(key);
    const index = indices.get(name) ?? keys.push(key) - 1;
    indices.set(name, index);
    return index;
  };

  const passes: Pass[] = [];
  let singles: Single[] = [];
  let chosen: Pass["lines"];
  const endPass = (summed?: Scalars): void => {
    if (singles.length === 0) return;
    passes.push({
      deeds: joined(singles),
      ...(chosen === undefined ? {} : { lines: chosen }),
      ...(summed === undefined ? {} : { summed }),
    });
    singles = [];
    if (chosen !== undefined) chosen = { ...chosen, zero: false };
  };

  const sums = (g: Term | undefined, zz: Term | undefined, order: "first" | "next"): Instruction[] => [
    ...(g === undefined ? [] : [{ name: `g ${order}`, key: indexOf(g.key), scalars: { [SCALE]: g.scale } } as const]),
    ...(zz === undefined
      ? []
      : [{ name: `zz ${order}`, key: indexOf(zz.key), scalars: { [SQUARE_SCALE]: zz.scale } } as const]),
  ];
  const update = (op: Extract<Op, { kind: "update" }>): void => {
    const missing = needed.find((name) => op.scalars[name] === undefined);
    if (missing !== undefined)
      throw new ZerothError(`The update rule reads the scalar "${missing}", which the update lacks.`);
    const g = read.inputs.includes("g") ? op.gradient : [];
    const zz = read.inputs.includes("zz") ? op.curvature : [];
    // A rule has one "z": single terms fold when they share it.
    const folds = new Set([...g, ...zz].map(({ key }) => nameOf(key))).size === 1 && g.length <= 1 && zz.length <= 1;
    const kind = (terms: readonly Term[]): Sum => (terms.length === 0 ? "zero" : folds ? "term" : "summed");
    const [firstG, firstZz] = [g[0], zz[0]];
    const folded = folds ? (firstG ?? firstZz) : undefined;
    // Term by term, so that a key's noise serves both sums.
    const terms = Array.from({ length: folds ? 0 : Math.max(g.length, zz.length) }, (_, i) => i);
    const summing = () => terms.flatMap((i) => sums(g[i], zz[i], i === 0 ? "first" : "next"));
    const rule = (name: "apply" | "reduce"): Instruction => ({
      name: `${name} ${kind(g)} ${kind(zz)}`,
      key: folded === undefined ? -1 : indexOf(folded.key),
      scalars: { ...op.scalars, [SCALE]: firstG?.scale ?? 0, [SQUARE_SCALE]: firstZz?.scale ?? 0 },
    });
    if (lines !== undefined) {
      const zero = op.step % lines.interval === 0;
      const chosenAt = op.step - (op.step % lines.interval);
      if (zero || (chosen !== undefined && chosen.chosenAt !== chosenAt)) {
        endPass();
        chosen = undefined;
      }
      chosen ??= { chosenAt, zero };
    }
    if (hasSums) {
      singles.push(...summing(), rule("reduce"));
      endPass(op.scalars);
    }
    singles.push(...summing(), rule("apply"));
  };
  for (const op of ops) {
    if (op.kind === "update") update(op);
    else if (op.kind === "perturb")
      singles.push({ name: "perturb", key: indexOf(op.key), scalars: { [SCALE]: op.scale } });
    else if (op.kind === "mark") singles.push(op);
    else {
      // A pass sums from 0.
      if (singles.some((single) => "kind" in single && single.kind === "norm")) endPass();
      singles.push({ kind: "norm", key: indexOf(op.key) });
    }
  }
  endPass();
  return { keys, passes };
};
