import { floatsOf } from "./arena.js";
import { finished } from "./layout.js";
import type { Program, Tensor } from "./program.js";
import { reference } from "./reference.js";

/** Where the sums of a program are gathered for a tensor: a float64 for each value of the state that a sum is laid out like. */
export const emptySums = ({ reduce = {}, states }: Program, tensor: Tensor): ReadonlyMap<string, Float64Array> =>
  new Map(
    Object.entries(reduce).map(([name, { like }]) => [
      name,
      new Float64Array(tensor.states[states.indexOf(like)]?.length ?? 0),
    ]),
  );

/** What new values of summaries come to: small arrays, so that the plain arithmetic serves every platform. */
export const summariser = ({ reduce = {}, summaries = {}, states }: Program) => {
  const rules = Object.entries(summaries).map(([name, expr]) => ({ name, rule: reference({ [name]: expr }) }));
  return (tensor: Tensor, sums: ReadonlyMap<string, Float64Array>, scalars: Readonly<Record<string, number>>): void => {
    const { weight, columns, layouts } = tensor;
    const before = Object.fromEntries(
      states.flatMap((name, i) => {
        const slab = tensor.states[i];
        return slab === undefined || layouts[i]?.kind === "element" ? [] : [[name, floatsOf(slab).slice()] as const];
      }),
    );
    const summed = Object.fromEntries(
      Object.entries(reduce).flatMap(([name, { like, mean = false }]) => {
        const layout = layouts[states.indexOf(like)];
        const sum = sums.get(name);
        return layout === undefined || sum === undefined
          ? []
          : [[name, finished(layout, sum, mean, weight.length, columns)] as const];
      }),
    );
    for (const { name, rule } of rules) {
      const slab = tensor.states[states.indexOf(name)];
      if (slab === undefined) continue;
      // All summaries read the values before.
      const own = before[name]?.slice() ?? new Float32Array(0);
      rule(slab.length, { ...before, ...summed, [name]: own }, scalars);
      floatsOf(slab).set(own);
    }
  };
};
