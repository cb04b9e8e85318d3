import type { TensorSource } from "../model/weights.js";
import type { Method, Trainable } from "../peft/method.js";
import type { Resident, Trained } from "./protocol.js";

/** What a graph is built for: a trainable set over a model's weights. */
export interface TrainedWeights {
  readonly weights: ReadonlyMap<string, TensorSource>;
  readonly method: Method;
  /** What training needs to know of a trainable tensor; absent where nothing is trained. */
  readonly trained?: (tensor: Trainable) => Trained;
  readonly seed: bigint;
  /** Sources of saved trainable tensors, by canonical name; those absent start as the method says. */
  readonly adapter?: ReadonlyMap<string, TensorSource>;
}

/** A method's own tensors, and how each lives in the engine. */
export const residentsOf = ({ weights, method, trained, seed, adapter }: TrainedWeights) => {
  const trainables = new Map(method.tensors.map((tensor) => [tensor.name, tensor]));
  const own = new Map([...trainables, ...(method.frozen ?? []).map((tensor) => [tensor.name, tensor] as const)]);
  /** Tensors that move by what is added to copies of them. */
  const cored = new Set(method.cored?.bySide === false ? method.cored.matrices.map(({ base }) => base) : []);
  // Hooks know how to meet each point's tokens; the model's own layers have one weight for all.
  const { attach, embed, attend, shift } = method;
  const several = method.placement === "copies" && (attach ?? embed ?? attend ?? shift) !== undefined;
  const sourceOf = (name: string): TensorSource => {
    const source = adapter?.get(name) ?? weights.get(name);
    if (source === undefined) throw new Error(`no weights for ${name}`);
    return source;
  };
  const residentOf = (tensor: Trainable): Resident => {
    const { name, shape, initial } = tensor;
    const saved = adapter?.get(name);
    const from =
      saved !== undefined || initial.kind === "weights"
        ? ({ kind: "source", source: saved ?? sourceOf(("of" in initial && initial.of) || name) } as const)
        : initial.kind === "rows"
          ? ({ ...initial, source: sourceOf(initial.weight) } as const)
          : initial.kind === "zeros"
            ? initial
            : { ...initial, seed };
    const isTrained = trainables.has(name);
    const share = isTrained ? trained?.(tensor) : undefined;
    const copied = !isTrained && cored.has(name);
    return {
      ...{ name, shape, from, copied },
      several: several && (isTrained || copied),
      ...(share === undefined ? {} : { trained: share }),
    };
  };
  return { own, sourceOf, residentOf };
};
