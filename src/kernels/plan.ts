import { ZerothError } from "../errors.js";
import type { Key } from "../random/key.js";
import { readsOf } from "./compile.js";
import { add, constant, type Expr, input, mul, scalar, substitute } from "./expr.js";
import type { Op, Program, Term } from "./walk.js";

/*
 * Operations broken down into instructions (one perturbation, the terms of a sum, the program's own rule), and as many of those that
 * follow each other joined into one rule as there is room for their noise: what one writes and the next reads then stays in a register.
 * An fp32 value is the same in a register as in memory, so joining changes no bit.
 */

type Outputs = Readonly<Record<string, Expr>>;

/** How a rule gets a sum: it is empty, it has one term that the rule computes itself, or it was summed before. */
type Sum = "zero" | "term" | "summed";

type InstructionName = "perturb" | "g first" | "g next" | "zz first" | "zz next" | `apply ${Sum} ${Sum}`;

interface Instruction {
  readonly name: InstructionName;
  /** Index of the key whose noise is "z"; −1 where it reads none. */
  readonly key: number;
  readonly scalars: Readonly<Record<string, number>>;
}

/** Tiles of noise that a rule may read. */
export const NOISE_SLOTS = 4;
/** Instructions of a rule: more would need more registers than there are. */
const LONGEST = 8;

/** One rule over a tile. */
export interface Action {
  /** Equal names are equal rules. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
  /** Indices of the keys whose noise is "z0", "z1", … */
  readonly keys: readonly number[];
  /** The values of "s0", "s1", …: each once, and none that is 1. */
  readonly scalars: readonly number[];
}

/** What operations come to for any tensor. */
export interface Plan {
  readonly keys: readonly Key[];
  readonly actions: readonly Action[];
}

// Names that no program's scalar has.
const SCALE = "#scale";
const SQUARE_SCALE = "#squareScale";

const z = input("z");
const scaled = mul(scalar(SCALE), z);
const scaledSquare = mul(scalar(SQUARE_SCALE), mul(z, z));
const gradient: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaled, summed: input("g") };
const curvature: Readonly<Record<Sum, Expr>> = { zero: constant(0), term: scaledSquare, summed: input("zz") };

/** The expressions of an instruction. */
const expressionsOf = ({ direction, apply }: Program, name: InstructionName): Outputs => {
  const fixed: Readonly<Record<string, Outputs>> = {
    perturb: { weight: add(input("weight"), mul(scalar(SCALE), direction)) },
    "g first": { g: scaled },
    "g next": { g: add(input("g"), scaled) },
    "zz first": { zz: scaledSquare },
    "zz next": { zz: add(input("zz"), scaledSquare) },
  };
  const [, g, zz] = name.split(" ") as [string, Sum, Sum];
  return fixed[name] ?? substitute(apply, { inputs: { g: gradient[g], zz: curvature[zz] } });
};

/** The noise of each of an action's keys. */
const noises = Array.from({ length: NOISE_SLOTS }, (_, slot) => input(`z${slot}`));

const single = Float32Array.of(0);
const fp32 = (value: number): number => {
  single[0] = value;
  return single[0];
};

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
  // Sums outlive the rule only where what reads them comes later.
  return /^(apply|perturb)/.test(instructions.at(-1)?.name ?? "") ? applied : made;
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

const placeOf = (values: readonly number[], value: number): number =>
  values.findIndex((other) => Object.is(other, value));

const actionOf = (instructions: readonly Instruction[]): Action => {
  const keys = [...new Set(instructions.map(({ key }) => key).filter((key) => key >= 0))];
  const scalars: number[] = [];
  const names = instructions.map(({ name, key, scalars: own }) => {
    const places = Object.values(own).map((given) => {
      const value = fp32(given);
      if (value === 1) return "1";
      const place = placeOf(scalars, value);
      return `s${place < 0 ? scalars.push(value) - 1 : place}`;
    });
    return `${name}@${keys.indexOf(key)}(${places})`;
  });
  return { name: names.join("|"), instructions, keys, scalars };
};

const joined = (instructions: readonly Instruction[]): readonly Action[] => {
  const groups: Instruction[][] = [];
  for (const next of instructions) {
    const group = groups.at(-1);
    const keys = new Set([...(group ?? []), next].map(({ key }) => key).filter((key) => key >= 0));
    if (group !== undefined && group.length < LONGEST && keys.size <= NOISE_SLOTS) group.push(next);
    else groups.push([next]);
  }
  return groups.map(actionOf);
};

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
    ...(g === undefined ? [] : [{ name: `g ${order}`, key: indexOf(g.key), scalars: { [SCALE]: g.scale } } as const]),
    ...(zz === undefined
      ? []
      : [{ name: `zz ${order}`, key: indexOf(zz.key), scalars: { [SQUARE_SCALE]: zz.scale } } as const]),
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
      name: `apply ${kind(g)} ${kind(zz)}`,
      key: folded === undefined ? -1 : indexOf(folded.key),
      scalars: { ...op.scalars, [SCALE]: firstG?.scale ?? 0, [SQUARE_SCALE]: firstZz?.scale ?? 0 },
    };
    return [...terms.flatMap((i) => sums(g[i], zz[i], i === 0 ? "first" : "next")), apply];
  };
  const instructions = ops.flatMap((op): Instruction[] =>
    op.kind === "perturb" ? [{ name: "perturb", key: indexOf(op.key), scalars: { [SCALE]: op.scale } }] : updateOf(op),
  );
  return { keys, actions: joined(instructions) };
};
