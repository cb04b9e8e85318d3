import { floatsOf } from "./arena.js";
import { compileRule, type Rule } from "./compile.js";
import { accumulate, chosenLines, gather, spread } from "./layout.js";
import { noiseWasm } from "./noise.wasm.js";
import { type Deed, NOISE_SLOTS, type Pass, planOf, ruleOf, summandOf } from "./plan.js";
import { checkProgram, type Layout, lengthOf, type Op, type Program, type Tensor, type Walker } from "./program.js";
import { type Streams, streamsOf, thresholdOf } from "./streams.js";
import { emptySums, summariser } from "./summaries.js";

/**
 * Elements of a tile, a multiple of 1024: few enough that its arrays stay in the processor's second cache. Tiles that stay in the
 * first one are slower, since memory is then read in runs too short to be fetched ahead.
 */
const TILE = 16_384;
const TILE_BYTES = 4 * TILE;
const PAGE_BYTES = 65_536;

/** Elements that a noise kernel makes at once, and elements of a Philox block. */
const layouts = { gaussian: { group: 64, block: 8 }, rademacher: { group: 1024, block: 128 } } as const;
/** A mask draws a word an element. */
const MASK_BLOCK = 4;

type Kernel = (...args: readonly number[]) => void;

/** Noise to be drawn: the index of a key, and the slot that it goes to. */
interface Draw {
  readonly key: number;
  readonly slot: number;
}

type Call =
  | {
      readonly kind: "rule";
      readonly rule: Rule;
      readonly run: Kernel;
      /** The first is the number of elements. */
      readonly args: number[];
      readonly draws: readonly Draw[];
    }
  | { readonly kind: "mark" }
  | { readonly kind: "norm"; readonly draws: readonly Draw[]; readonly slot: number };

/** A pass with everything that it calls. */
interface PreparedPass extends Omit<Pass, "deeds"> {
  readonly calls: readonly Call[];
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
}

/** Checks that a tensor has what the program needs. */
const requireFit = ({ weight, states, layouts: given, columns }: Tensor, names: readonly string[]): void => {
  const wanted = given.map((layout) => lengthOf(layout, weight.length, columns));
  if (states.length !== names.length || states.some(({ length }, i) => length !== wanted[i])) {
    throw new RangeError(
      `a job needs ${["weight", ...names].join(", ")} of ${[weight.length, ...wanted]} elements; it has ${[weight, ...states].map(({ length }) => length)}`,
    );
  }
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

/** A tensor's values in a walk, by name. */
interface Held {
  readonly name: string;
  readonly values: Float32Array<ArrayBuffer>;
  readonly layout: Layout;
}

/**
 * A walker on WebAssembly SIMD. Tensors of any size stream, tile by tile, through a memory of its own of about a MiB.
 *
 * @param tileDone called after each tile
 * @throws ZerothError when an expression of the program reads or writes a name that it cannot
 */
export const wasmWalker = (program: Program, tileDone?: () => void): Walker => {
  checkProgram(program);
  const { noise, states, reduce = {}, lines } = program;
  const { distribution, mask } = noise;
  const sums = Object.keys(reduce);
  const arrays = ["weight", ...states, "g", "zz", "selected", ...sums.map(summandOf)];
  // The first page holds the noise kernels' tables; two tiles after the noise are for their scratch, and then comes a tile's plane.
  const addresses = new Map(arrays.map((name, i) => [name, PAGE_BYTES + i * TILE_BYTES]));
  const noiseStart = PAGE_BYTES + arrays.length * TILE_BYTES;
  const scratch = noiseStart + NOISE_SLOTS * TILE_BYTES;
  const planeAt = scratch + 2 * TILE_BYTES;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((planeAt + TILE / 8) / PAGE_BYTES) });
  const tileAt = (at: number) => new Float32Array(memory.buffer, at, TILE);
  const tiles = new Map([...addresses].map(([name, at]) => [name, tileAt(at)]));
  const tileOf = (name: string): Float32Array => tiles.get(name) ?? new Float32Array(0);
  const noiseAt = (slot: number): number => noiseStart + slot * TILE_BYTES;
  const bits = new Uint32Array(memory.buffer, planeAt, TILE / 32);

  const instantiate = (wasm: Uint8Array<ArrayBuffer>): Readonly<Record<string, Kernel>> =>
    new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } }).exports as Record<string, Kernel>;
  const kernels = instantiate(Buffer.from(noiseWasm, "base64"));
  const kernel = (name: string): Kernel => {
    const found = kernels[name];
    if (found === undefined) throw new Error(`no kernel ${name}`);
    return found;
  };
  const [draw, sparsify, markPlane, screen] = [distribution, "sparsify", "mark", "screen"].map(kernel) as [
    Kernel,
    Kernel,
    Kernel,
    Kernel,
  ];
  const layout = layouts[distribution];
  const summarise = summariser(program);

  const loaded = new Map<string, { rule: Rule; run: Kernel }>();
  const load = (action: Extract<Deed, { kind: "rule" }>) => {
    const known = loaded.get(action.name);
    if (known !== undefined) return known;
    const rule = compileRule(ruleOf(program, action));
    const { run } = instantiate(rule.wasm);
    if (run === undefined) throw new Error("a rule exports nothing");
    const fresh = { rule, run };
    loaded.set(action.name, fresh);
    return fresh;
  };

  const callsOf = (deeds: readonly Deed[]): readonly Call[] => {
    /** The key whose noise is in each slot. */
    let held: number[] = [];
    const drawn = (keys: readonly number[]): readonly Draw[] =>
      keys.flatMap((key) => {
        if (held.includes(key)) return [];
        // Noise that is not asked for gives way.
        const slot = Array.from({ length: NOISE_SLOTS }, (_, i) => i).find((i) => !keys.includes(held[i] ?? -1)) ?? 0;
        held[slot] = key;
        return [{ key, slot }];
      });
    return deeds.map((deed): Call => {
      if (deed.kind === "mark") {
        // What was drawn was screened by the plane before.
        held = [];
        return deed;
      }
      if (deed.kind === "norm") return { kind: "norm", draws: drawn([deed.key]), slot: held.indexOf(deed.key) };
      const { rule, run } = load(deed);
      const { keys, scalars } = deed;
      const draws = drawn(keys);
      const address = (name: string): number => {
        const of = /^z(\d)$/.exec(name)?.[1];
        return of === undefined ? (addresses.get(name) ?? 0) : noiseAt(held.indexOf(keys[Number(of)] ?? -1));
      };
      const values = rule.scalars.map((name) => scalars[Number(name.slice(1))] ?? Number.NaN);
      return {
        kind: "rule",
        rule,
        run,
        draws,
        args: [0, ...rule.inputs.map(address), ...rule.outputs.map(address), ...values],
      };
    });
  };
  const prepare = remembering((ops) => {
    const { keys, passes } = planOf(program, ops);
    return {
      keys,
      passes: passes.map(({ deeds, ...pass }): PreparedPass => {
        const calls = callsOf(deeds);
        const rules = calls.flatMap((call) => (call.kind === "rule" ? [call.rule] : []));
        const marks = calls.some(({ kind }) => kind === "mark") ? ["weight"] : [];
        return {
          ...pass,
          calls,
          reads: new Set([...rules.flatMap(({ inputs }) => inputs), ...marks]),
          writes: new Set(rules.flatMap(({ outputs }) => outputs)),
        };
      }),
    };
  });

  /** Noise of a key for the elements of a tile, less what masks leave out. */
  const fill = (streams: Streams, { key, slot }: Draw, start: number, n: number): void => {
    const stream = streams.noise[key];
    if (stream === undefined) return;
    const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = stream;
    // Kernels work in whole groups: what lies past the tensor's end is computed and dropped.
    const padded = Math.ceil(n / layout.group) * layout.group;
    const at = noiseAt(slot);
    const block = start / layout.block;
    draw(k0, k1, c2, c3, block % 2 ** 32, Math.floor(block / 2 ** 32), padded, at);
    const masked = streams.mask[key];
    if (mask !== undefined && masked !== undefined) {
      const [m0 = 0, m1 = 0, m2 = 0, m3 = 0] = masked;
      const first = start / MASK_BLOCK;
      const groups = Math.ceil(n / 32) * 32;
      sparsify(
        m0,
        m1,
        m2,
        m3,
        first % 2 ** 32,
        Math.floor(first / 2 ** 32),
        groups,
        at,
        scratch,
        thresholdOf(mask.sparsity),
      );
    }
    if (noise.plane === true) screen(at, Math.ceil(n / 32) * 32, planeAt);
  };

  const walkPass = (tensor: Tensor, pass: PreparedPass, streams: Streams, held: readonly Held[]): void => {
    const { weight, columns, id, plane } = tensor;
    const { length } = weight;
    const { calls, reads, writes, lines: choice, summed } = pass;
    const chosen = new Map(
      held.flatMap(({ name, layout: own, values }) => {
        if (own.kind !== "lines" || choice === undefined || lines === undefined) return [];
        if (choice.zero) values.fill(0);
        return [[name, chosenLines(own, length, columns, id, { seed: lines.seed, step: choice.chosenAt })] as const];
      }),
    );
    const lined = held.find(({ layout: own }) => own.kind === "lines");
    const ones = lined?.layout.kind === "lines" ? new Float32Array(lined.values.length).fill(1) : undefined;
    const sources = held.filter(({ name }) => reads.has(name));
    const targets = held.filter(({ name }) => writes.has(name));
    const totals = summed === undefined ? new Map<string, Float64Array>() : emptySums(program, tensor);
    const layoutOf = (state: string): Layout => held.find(({ name }) => name === state)?.layout ?? { kind: "element" };
    const planeBits = plane === undefined ? undefined : new Uint32Array(plane.arena.buffer, plane.offset, plane.length);
    const total = tensor.total && new Float64Array(tensor.total.arena.buffer, tensor.total.offset, 2);
    if (calls.some(({ kind }) => kind === "norm")) total?.fill(0);

    for (let start = 0; start < length; start += TILE) {
      const n = Math.min(TILE, length - start);
      for (const { name, values, layout: own } of sources)
        spread(own, values, start, columns, tileOf(name).subarray(0, n), chosen.get(name));
      if (reads.has("selected") && lined !== undefined && ones !== undefined)
        spread(lined.layout, ones, start, columns, tileOf("selected").subarray(0, n), chosen.get(lined.name));
      const word = start / 32;
      const words = Math.ceil(n / 32);
      if (planeBits !== undefined) bits.set(planeBits.subarray(word, word + words));
      for (const call of calls) {
        if (call.kind === "mark") {
          markPlane(addresses.get("weight") ?? 0, words * 32, planeAt, tensor.threshold ?? Number.NaN);
          planeBits?.set(bits.subarray(0, words), word);
          continue;
        }
        for (const drawn of call.draws) fill(streams, drawn, start, n);
        if (call.kind === "rule") {
          call.args[0] = n;
          call.run(...call.args);
        } else if (total !== undefined) {
          const drawn = new Float32Array(memory.buffer, noiseAt(call.slot), n);
          let [sum = 0, count = 0] = total;
          for (let i = 0; i < n; i++) {
            const value = drawn[i] ?? 0;
            sum += value * value;
            if (value !== 0) count++;
          }
          total.set([sum, count]);
        }
      }
      for (const { name, values, layout: own } of targets) {
        const tile = tileOf(name);
        const lineOf = chosen.get(name);
        if (own.kind === "lines" && lineOf !== undefined)
          gather(own, tile.subarray(0, n), start, columns, values, lineOf);
        else values.set(n === TILE ? tile : tile.subarray(0, n), start);
      }
      for (const [name, sum] of totals) {
        const like = reduce[name]?.like ?? "";
        accumulate(layoutOf(like), tileOf(summandOf(name)).subarray(0, n), start, columns, sum);
      }
      tileDone?.();
    }
    if (summed !== undefined) summarise(tensor, totals, summed);
  };

  return {
    walk({ tensor, ops }) {
      requireFit(tensor, states);
      const { keys, passes } = prepare(ops);
      const streams = streamsOf(noise, keys, tensor.id);
      const held: Held[] = [
        { name: "weight", values: floatsOf(tensor.weight), layout: { kind: "element" } },
        ...states.flatMap((name, i) => {
          const [slab, own] = [tensor.states[i], tensor.layouts[i]];
          return slab === undefined || own === undefined ? [] : [{ name, values: floatsOf(slab), layout: own }];
        }),
      ];
      for (const pass of passes) walkPass(tensor, pass, streams, held);
    },
  };
};
