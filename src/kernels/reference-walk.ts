import type { Key } from "../random/key.js";
import { tensorKey } from "../random/key.js";
import { fillNoise, maskedAt } from "../random/noise.js";
import { floatsOf } from "./arena.js";
import { add, type Expr, input, mul, scalar } from "./expr.js";
import { accumulate, chosenLines, gather, spread } from "./layout.js";
import { checkProgram, type Job, type Op, type Program, type Term, type Walker } from "./program.js";
import { reference } from "./reference.js";
import { streamsOf, thresholdOf } from "./streams.js";
import { emptySums, summariser } from "./summaries.js";

/**
 * The same walks in plain TypeScript, straight from the definition of `Op`: what the kernels are tested against, and enough for
 * functions of a few variables.
 */
export const referenceWalker = (program: Program): Walker => {
  checkProgram(program);
  const { noise, states, lines, reduce = {} } = program;
  const z = input("z");
  const scaled = (expr: Expr): Expr => mul(scalar("scale"), expr);
  const rules = {
    perturb: reference({ weight: add(input("weight"), scaled(program.direction)) }),
    firstOfG: reference({ g: scaled(z) }),
    nextOfG: reference({ g: add(input("g"), scaled(z)) }),
    firstOfZz: reference({ zz: scaled(mul(z, z)) }),
    nextOfZz: reference({ zz: add(input("zz"), scaled(mul(z, z))) }),
    apply: reference(program.apply),
    reduce: reference(Object.fromEntries(Object.entries(reduce).map(([name, { of }]) => [name, of]))),
  };
  const summarise = summariser(program);

  const noiseOf = ({ tensor }: Job, key: Key): Float32Array => {
    const out = new Float32Array(tensor.weight.length);
    fillNoise(noise.distribution, tensorKey(key, tensor.id), 0, out);
    const masked = streamsOf(noise, [key], tensor.id).mask[0];
    const { plane } = tensor;
    const words = plane && new Uint32Array(plane.arena.buffer, plane.offset, plane.length);
    return out.map((value, i) => {
      if (masked !== undefined && maskedAt(masked, i, thresholdOf(noise.mask?.sparsity ?? 0))) return 0;
      if (noise.plane === true && (((words?.[i >>> 5] ?? 0) >>> (i & 31)) & 1) === 0) return 0;
      return value;
    });
  };

  const update = (job: Job, op: Extract<Op, { kind: "update" }>): void => {
    const { tensor } = job;
    const { weight, columns, layouts } = tensor;
    const n = weight.length;
    const g = new Float32Array(n);
    const zz = new Float32Array(n);
    const withNoise = ({ key, scale }: Term, rule: ReturnType<typeof reference>): void =>
      rule(n, { z: noiseOf(job, key), g, zz }, { scale });
    for (const [i, term] of op.gradient.entries()) withNoise(term, i === 0 ? rules.firstOfG : rules.nextOfG);
    for (const [i, term] of op.curvature.entries()) withNoise(term, i === 0 ? rules.firstOfZz : rules.nextOfZz);

    const chosenAt = lines === undefined ? 0 : op.step - (op.step % lines.interval);
    const chosen = layouts.map((layout, i) => {
      if (layout.kind !== "lines" || lines === undefined) return undefined;
      const slab = tensor.states[i];
      if (op.step % lines.interval === 0 && slab !== undefined) floatsOf(slab).fill(0);
      return chosenLines(layout, n, columns, tensor.id, { seed: lines.seed, step: chosenAt });
    });
    /** Every state as an array of one value for each element. */
    const elements = (): Record<string, Float32Array> => {
      const out: Record<string, Float32Array> = {};
      for (const [i, name] of states.entries()) {
        const [slab, layout] = [tensor.states[i], layouts[i]];
        if (slab === undefined || layout === undefined) continue;
        const values = new Float32Array(n);
        spread(layout, floatsOf(slab), 0, columns, values, chosen[i]);
        out[name] = values;
        if (layout.kind === "lines") {
          const selected = new Float32Array(n);
          spread(layout, new Float32Array(slab.length).fill(1), 0, columns, selected, chosen[i]);
          out.selected = selected;
        }
      }
      return out;
    };
    const sums = emptySums(program, tensor);
    if (sums.size > 0) {
      const summands = Object.fromEntries([...sums.keys()].map((name) => [name, new Float32Array(n)]));
      rules.reduce(n, { ...elements(), weight: floatsOf(weight), g, zz, ...summands }, op.scalars);
      for (const [name, sum] of sums) {
        const layout = layouts[states.indexOf(reduce[name]?.like ?? "")];
        if (layout !== undefined) accumulate(layout, summands[name] ?? new Float32Array(), 0, columns, sum);
      }
      summarise(tensor, sums, op.scalars);
    }
    const buffers = elements();
    rules.apply(n, { ...buffers, weight: floatsOf(weight), g, zz }, op.scalars);
    for (const name of Object.keys(program.apply)) {
      const i = states.indexOf(name);
      const [slab, layout, values] = [tensor.states[i], layouts[i], buffers[name]];
      if (slab === undefined || layout === undefined || values === undefined) continue;
      if (layout.kind === "lines") gather(layout, values, 0, columns, floatsOf(slab), chosen[i] ?? new Int32Array());
      else floatsOf(slab).set(values);
    }
  };

  const perturb = (job: Job, { key, scale }: Term): void => {
    const { weight, states: slabs, layouts, columns } = job.tensor;
    const buffers: Record<string, Float32Array> = { weight: floatsOf(weight), z: noiseOf(job, key) };
    for (const [i, name] of states.entries()) {
      const [slab, layout] = [slabs[i], layouts[i]];
      if (slab === undefined || layout === undefined || layout.kind === "lines") continue;
      const values = new Float32Array(weight.length);
      spread(layout, floatsOf(slab), 0, columns, values);
      buffers[name] = values;
    }
    rules.perturb(weight.length, buffers, { scale });
  };

  const mark = ({ tensor: { weight, plane, threshold = Number.NaN } }: Job): void => {
    if (plane === undefined) return;
    const words = new Uint32Array(plane.arena.buffer, plane.offset, plane.length).fill(0);
    floatsOf(weight).forEach((value, i) => {
      if (Math.abs(value) <= threshold) words[i >>> 5] = ((words[i >>> 5] ?? 0) | (1 << (i & 31))) >>> 0;
    });
  };

  const norm = (job: Job, key: Key): void => {
    const { total } = job.tensor;
    if (total === undefined) return;
    const noise = noiseOf(job, key);
    new Float64Array(total.arena.buffer, total.offset, 2).set([
      noise.reduce((sum, value) => sum + value * value, 0),
      noise.filter((value) => value !== 0).length,
    ]);
  };

  return {
    walk(job) {
      for (const op of job.ops) {
        if (op.kind === "perturb") perturb(job, op);
        else if (op.kind === "update") update(job, op);
        else if (op.kind === "mark") mark(job);
        else norm(job, op.key);
      }
    },
  };
};
