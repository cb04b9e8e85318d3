import { type Key, tensorKey } from "../random/key.js";
import { type Distribution, fillNoise } from "../random/noise.js";
import { floatsOf, type Slab } from "./arena.js";
import { compileRule, type Rule } from "./compile.js";
import { add, type Expr, input, mul, scalar } from "./expr.js";
import { noiseWasm } from "./noise.wasm.js";
import { type Action, checkProgram, NOISE_SLOTS, planOf, ruleOf } from "./plan.js";
import { reference } from "./reference.js";

/** Version of the arithmetic defined here and in random/: equal versions give equal bits. A journal records it. */
export const KERNEL_VERSION = 2;

/** What is compiled once a run. */
export interface Program {
  readonly distribution: Distribution;
  /** z → direction; may read "z", "weight" as it is when the operation runs, and states. */
  readonly direction: Expr;
  /** New values of "weight" and of states; may read "weight", "g", "zz", states, and any scalars. */
  readonly apply: Readonly<Record<string, Expr>>;
  /** Names of the element-shaped states, in the order of `Job.states`. */
  readonly states: readonly string[];
}

/** `scale` times the noise that `key` draws. */
export interface Term {
  readonly key: Key;
  readonly scale: number;
}

/**
 * One elementwise operation: a fixed sequence of fp32 operations on each element, however tensors are cut into tiles, divided
 * between threads, and operations grouped into jobs. Scales and scalars are rounded to fp32 first; fl(·) rounds to fp32.
 * - perturb: weight ← fl(weight + fl(scale · direction(z)))
 * - update: g = Σ scaleᵢ·zᵢ, summed in order: fl(scale₀·z₀), then fl(g + fl(scaleᵢ·zᵢ)); zz = Σ scaleᵢ·fl(zᵢ·zᵢ) likewise; an empty
 *   sum is 0. Then the program's `apply`.
 */
export type Op =
  | { readonly kind: "perturb"; readonly key: Key; readonly scale: number }
  | {
      readonly kind: "update";
      readonly gradient: readonly Term[];
      readonly curvature: readonly Term[];
      readonly scalars: Readonly<Record<string, number>>;
    };

/** Operations on one tensor, in place, done in one pass over its memory. */
export interface Job {
  /** `tensorId` of its name. */
  readonly tensor: bigint;
  readonly weight: Slab;
  /** One for each of the program's states, of the weight's size and in its arena. */
  readonly states: readonly Slab[];
  readonly ops: readonly Op[];
}

/** Does jobs, one after another, on the calling thread. */
export interface Walker {
  walk(job: Job): void;
}

/**
 * Elements of a tile, a multiple of 1024: few enough that its arrays stay in the processor's second cache. Tiles that stay in the
 * first one are slower, since memory is then read in runs too short to be fetched ahead.
 */
const TILE = 16_384;
const TILE_BYTES = 4 * TILE;
const PAGE_BYTES = 65_536;

/** Elements that a noise kernel makes at once, and elements of a Philox block. */
const layouts = { gaussian: { group: 64, block: 8 }, rademacher: { group: 1024, block: 128 } } as const;

type Kernel = (...args: readonly number[]) => void;

/** A rule on fixed addresses with fixed scalars. */
interface Call {
  readonly rule: Rule;
  readonly run: Kernel;
  /** The first is the number of elements. */
  readonly args: number[];
  /** Noise to be drawn first: the index of a key, and the slot that it goes to. */
  readonly draws: readonly { readonly key: number; readonly slot: number }[];
}

const valuesOf = ({ weight, states }: Job, names: readonly string[]): readonly (readonly [string, Float32Array])[] => {
  const slabs = [weight, ...states];
  if (slabs.length !== names.length || slabs.some(({ length }) => length !== weight.length)) {
    throw new RangeError(
      `a job needs ${names.join(", ")}, all of one size; it has ${slabs.map(({ length }) => length)}`,
    );
  }
  return slabs.flatMap((slab, i) => names.slice(i, i + 1).map((name) => [name, floatsOf(slab)] as const));
};

/** Remembers what lists of operations come to, for tensors of a walk share them. */
const remembering = <T>(prepare: (ops: readonly Op[]) => T): ((ops: readonly Op[]) => T) => {
  const known = new WeakMap<readonly Op[], T>();
  return (ops) => {
    const prepared = known.get(ops) ?? prepare(ops);
    known.set(ops, prepared);
    return prepared;
  };
};

/**
 * A walker on WebAssembly SIMD. Tensors of any size stream, tile by tile, through a memory of its own of less than a MiB.
 *
 * @param tileDone called after each tile
 * @throws ZerothError when an expression of the program reads or writes a name that it cannot
 */
export const wasmWalker = (program: Program, tileDone?: () => void): Walker => {
  checkProgram(program);
  const { distribution, states } = program;
  const arrays = ["weight", ...states, "g", "zz"];
  // The first page holds the noise kernels' tables.
  const addresses = new Map(arrays.map((name, i) => [name, PAGE_BYTES + i * TILE_BYTES]));
  const noiseStart = PAGE_BYTES + arrays.length * TILE_BYTES;
  const bytes = noiseStart + NOISE_SLOTS * TILE_BYTES;
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
  const tiles = new Map([...addresses].map(([name, at]) => [name, new Float32Array(memory.buffer, at, TILE)]));
  const noiseAt = (slot: number): number => noiseStart + slot * TILE_BYTES;

  const instantiate = (wasm: Uint8Array<ArrayBuffer>, name: string): Kernel =>
    new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } }).exports[name] as Kernel;
  const draw = instantiate(new Uint8Array(Buffer.from(noiseWasm, "base64")), distribution);
  const layout = layouts[distribution];

  const loaded = new Map<string, { rule: Rule; run: Kernel }>();
  const load = (action: Action) => {
    const known = loaded.get(action.name);
    if (known !== undefined) return known;
    const rule = compileRule(ruleOf(program, action));
    const fresh = { rule, run: instantiate(rule.wasm, "run") };
    loaded.set(action.name, fresh);
    return fresh;
  };

  const callsOf = (actions: readonly Action[]): readonly Call[] => {
    /** The key whose noise is in each slot. */
    const held: number[] = [];
    return actions.map((action) => {
      const { rule, run } = load(action);
      const { keys, scalars } = action;
      const draws: { key: number; slot: number }[] = [];
      for (const key of keys) {
        if (held.includes(key)) continue;
        // Noise that this rule does not read gives way.
        const slot = Array.from({ length: NOISE_SLOTS }, (_, i) => i).find((i) => !keys.includes(held[i] ?? -1)) ?? 0;
        held[slot] = key;
        draws.push({ key, slot });
      }
      const address = (name: string): number => {
        const noise = /^z(\d)$/.exec(name)?.[1];
        return noise === undefined ? (addresses.get(name) ?? 0) : noiseAt(held.indexOf(keys[Number(noise)] ?? -1));
      };
      const values = rule.scalars.map((name) => scalars[Number(name.slice(1))] ?? Number.NaN);
      return { rule, run, draws, args: [0, ...rule.inputs.map(address), ...rule.outputs.map(address), ...values] };
    });
  };
  const prepare = remembering((ops) => {
    const { keys, actions } = planOf(program, ops);
    const calls = callsOf(actions);
    const reads = new Set(calls.flatMap(({ rule }) => rule.inputs));
    const writes = new Set(calls.flatMap(({ rule }) => rule.outputs));
    return { keys, calls, reads, writes };
  });

  return {
    walk(job) {
      const { keys, calls, reads, writes } = prepare(job.ops);
      const used = valuesOf(job, ["weight", ...states]).flatMap(([name, values]) => {
        const tile = tiles.get(name);
        return tile === undefined ? [] : [{ name, values, tile }];
      });
      const sources = used.filter(({ name }) => reads.has(name));
      const targets = used.filter(({ name }) => writes.has(name));
      const streams = keys.map((key) => tensorKey(key, job.tensor));
      const { length } = job.weight;
      for (let start = 0; start < length; start += TILE) {
        const n = Math.min(TILE, length - start);
        // Kernels work in whole groups: what lies past the tensor's end is computed and dropped.
        const padded = Math.ceil(n / layout.group) * layout.group;
        const block = start / layout.block;
        for (const { values, tile } of sources) tile.set(values.subarray(start, start + n));
        for (const { run, args, draws } of calls) {
          for (const { key, slot } of draws) {
            const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = streams[key] ?? [];
            draw(k0, k1, c2, c3, block % 2 ** 32, Math.floor(block / 2 ** 32), padded, noiseAt(slot));
          }
          args[0] = n;
          run(...args);
        }
        for (const { values, tile } of targets) values.set(n === TILE ? tile : tile.subarray(0, n), start);
        tileDone?.();
      }
    },
  };
};

/**
 * The same walks in plain TypeScript, straight from the definition of `Op`: what the kernels are tested against, and enough for
 * functions of a few variables.
 */
export const referenceWalker = (program: Program): Walker => {
  checkProgram(program);
  const z = input("z");
  const rules = {
    perturb: reference({ weight: add(input("weight"), mul(scalar("scale"), program.direction)) }),
    firstOfG: reference({ g: mul(scalar("scale"), z) }),
    nextOfG: reference({ g: add(input("g"), mul(scalar("scale"), z)) }),
    firstOfZz: reference({ zz: mul(scalar("scale"), mul(z, z)) }),
    nextOfZz: reference({ zz: add(input("zz"), mul(scalar("scale"), mul(z, z))) }),
    apply: reference(program.apply),
  };
  return {
    walk(job) {
      const n = job.weight.length;
      const noise = new Float32Array(n);
      const buffers = {
        ...Object.fromEntries(valuesOf(job, ["weight", ...program.states])),
        ...{ z: noise, g: new Float32Array(n), zz: new Float32Array(n) },
      };
      const withNoise = ({ key, scale }: Term, rule: ReturnType<typeof reference>): void => {
        fillNoise(program.distribution, tensorKey(key, job.tensor), 0, noise);
        rule(n, buffers, { scale });
      };
      for (const op of job.ops) {
        if (op.kind === "perturb") withNoise(op, rules.perturb);
        else {
          buffers.g.fill(0);
          buffers.zz.fill(0);
          for (const [i, term] of op.gradient.entries()) withNoise(term, i === 0 ? rules.firstOfG : rules.nextOfG);
          for (const [i, term] of op.curvature.entries()) withNoise(term, i === 0 ? rules.firstOfZz : rules.nextOfZz);
          rules.apply(n, buffers, op.scalars);
        }
      }
    },
  };
};
