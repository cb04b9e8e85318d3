import { type Distribution, fillNoise } from "../random/noise.js";
import { type Key, tensorKey } from "../random/key.js";
import { compileRule, type Rule } from "./compile.js";
import { add, type Expr, input, mul, scalar } from "./expr.js";
import { noiseWasm } from "./noise.wasm.js";
import { reference } from "./reference.js";

/**
 * Version of the arithmetic on each element: the sequence of fp32 operations that an `Op` stands for. A journal replays with the
 * version it was made with.
 */
export const KERNEL_VERSION = 1;

/** What a run's walks compute, compiled once. */
export interface Program {
  readonly distribution: Distribution;
  /** z → direction; reads "z" and states. */
  readonly direction: Expr;
  /** New values of "weight" and of states from "weight", "g", "zz", states and scalars. */
  readonly apply: Readonly<Record<string, Expr>>;
  readonly states: readonly string[];
}

interface Term {
  readonly key: Key;
  readonly scale: number;
}

/**
 * One elementwise operation of a walk, a fixed sequence of fp32 operations; scales and scalars are rounded to fp32 first.
 * perturb: weight ← weight + scale·direction. update: g = Σ scaleᵢ·zᵢ and zz = Σ scaleᵢ·zᵢ², term by term in order from the
 * first product on, then the rule.
 */
export type Op =
  | { readonly kind: "perturb"; readonly key: Key; readonly scale: number }
  | {
      readonly kind: "update";
      readonly gradient: readonly Term[];
      readonly curvature: readonly Term[];
      readonly scalars: Readonly<Record<string, number>>;
    };

/** Holds a buffer, which a transfer to another thread and back replaces. */
export interface Slab {
  buffer: ArrayBuffer;
}

/** A tensor and what is done to it. */
export interface Job {
  /** `tensorId` of its name. */
  readonly tensor: bigint;
  readonly weight: Slab;
  readonly states: readonly Slab[];
  readonly ops: readonly Op[];
}

/** Elements a tile: all of a tile's arrays stay in a core's own cache. A multiple of 512, the noise's largest group. */
const TILE = 4096;
const PAGE = 65536;

/** The rules that ops are made of, besides the optimizer's own. */
const rulesOf = (program: Program) => ({
  perturb: { weight: add(input("weight"), mul(scalar("scale"), program.direction)) },
  first: { g: mul(scalar("scale"), input("z")) },
  more: { g: add(input("g"), mul(scalar("scale"), input("z"))) },
  firstSquare: { zz: mul(scalar("scale"), mul(input("z"), input("z"))) },
  moreSquares: { zz: add(input("zz"), mul(scalar("scale"), mul(input("z"), input("z")))) },
  apply: program.apply,
});
type RuleName = keyof ReturnType<typeof rulesOf>;

/** An op broken down for one tensor: fill z, or run a rule. */
type Instruction =
  | { readonly noise: Uint32Array }
  | { readonly rule: RuleName; readonly scalars: Readonly<Record<string, number>> };

const isSame = (a: Uint32Array | undefined, b: Uint32Array): boolean => a !== undefined && a.every((word, i) => word === b[i]);

const instructionsOf = (tensor: bigint, ops: readonly Op[]): readonly Instruction[] => {
  const out: Instruction[] = [];
  let current: Uint32Array | undefined;
  const fill = (key: Key) => {
    const words = tensorKey(key, tensor);
    if (!isSame(current, words)) out.push({ noise: words });
    current = words;
  };
  const accumulate = (terms: readonly Term[], first: RuleName, more: RuleName) => {
    terms.forEach(({ key, scale }, i) => {
      fill(key);
      out.push({ rule: i === 0 ? first : more, scalars: { scale } });
    });
  };
  for (const op of ops) {
    if (op.kind === "perturb") {
      fill(op.key);
      out.push({ rule: "perturb", scalars: { scale: op.scale } });
    } else {
      accumulate(op.gradient, "first", "more");
      accumulate(op.curvature, "firstSquare", "moreSquares");
      out.push({ rule: "apply", scalars: op.scalars });
    }
  }
  return out;
};

/** What runs walks on one thread: applies each job's ops, in place, in one pass over memory. */
export interface Walker {
  walk(job: Job): void;
}

type NoiseFill = (out: number, count: number, block: bigint, k0: number, k1: number, c2: number, c3: number) => void;
type Run = (...args: readonly number[]) => void;

/** Elements of noise that one Philox block gives, by distribution. */
const perBlock: Readonly<Record<Distribution, number>> = { gaussian: 4, rademacher: 128 };

const decode = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** A walker on WebAssembly SIMD. Tensors of any size stream through a memory of a few tiles. */
export const wasmWalker = (program: Program): Walker => {
  const arrays = ["weight", "z", "g", "zz", ...program.states];
  const memory = new WebAssembly.Memory({ initial: 1 + Math.ceil((arrays.length * TILE * 4) / PAGE) });
  // The first page is the noise module's own.
  const pointers = new Map(arrays.map((array, i) => [array, PAGE + i * TILE * 4]));
  const at = (array: string): number => {
    const pointer = pointers.get(array);
    if (pointer === undefined) throw new Error(`the rule reads or writes ${array}; known are ${arrays.join(", ")}`);
    return pointer;
  };
  const view = (array: string) => new Float32Array(memory.buffer, at(array), TILE);
  const imports = { env: { memory } };
  const instantiate = (bytes: Uint8Array<ArrayBuffer>) => new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports;

  const fill = instantiate(decode(noiseWasm))[program.distribution] as NoiseFill;
  const rules = new Map(
    Object.entries(rulesOf(program)).map(([name, outputs]) => {
      const rule: Rule = compileRule(outputs);
      const run = instantiate(rule.wasm).run as Run;
      const fixed = [...rule.inputs, ...rule.outputs].map(at);
      return [name, (n: number, scalars: Readonly<Record<string, number>>) => {
        run(n, ...fixed, ...rule.scalars.map((scalarName) => scalars[scalarName] ?? Number.NaN));
      }] as const;
    }),
  );
  const weightTile = view("weight");
  const stateTiles = program.states.map(view);

  return {
    walk({ tensor, weight, states, ops }) {
      const instructions = instructionsOf(tensor, ops);
      const weights = new Float32Array(weight.buffer);
      const stateArrays = states.map(({ buffer }) => new Float32Array(buffer));
      for (let start = 0; start < weights.length; start += TILE) {
        const end = Math.min(start + TILE, weights.length);
        // Kernels work in whole groups; what lies past the tensor's end is computed and dropped.
        const padded = Math.min(TILE, Math.ceil((end - start) / 512) * 512);
        weightTile.set(weights.subarray(start, end));
        stateArrays.forEach((state, i) => stateTiles[i]?.set(state.subarray(start, end)));
        for (const instruction of instructions) {
          if ("noise" in instruction) {
            const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = instruction.noise;
            fill(at("z"), padded, BigInt(start / perBlock[program.distribution]), k0, k1, c2, c3);
          } else rules.get(instruction.rule)?.(padded, instruction.scalars);
        }
        weights.set(weightTile.subarray(0, end - start), start);
        stateArrays.forEach((state, i) => {
          const tile = stateTiles[i];
          if (tile !== undefined) state.set(tile.subarray(0, end - start), start);
        });
      }
    },
  };
};

/** The same walks in plain TypeScript: what the kernels are tested against, and what runs where there is no WebAssembly SIMD. */
export const referenceWalker = (program: Program): Walker => {
  const rules = new Map(Object.entries(rulesOf(program)).map(([name, outputs]) => [name, reference(outputs)]));
  return {
    walk({ tensor, weight, states, ops }) {
      const weights = new Float32Array(weight.buffer);
      const n = weights.length;
      const buffers: Record<string, Float32Array> = {
        weight: weights,
        z: new Float32Array(n),
        g: new Float32Array(n),
        zz: new Float32Array(n),
        ...Object.fromEntries(program.states.map((state, i) => [state, new Float32Array(states[i]?.buffer ?? new ArrayBuffer(0))])),
      };
      for (const instruction of instructionsOf(tensor, ops)) {
        if ("noise" in instruction) fillNoise(program.distribution, instruction.noise, 0, buffers.z ?? new Float32Array(0));
        else rules.get(instruction.rule)?.(n, buffers, instruction.scalars);
      }
    },
  };
};
