import { type Expr, merged, nodesOf } from "./expr.js";
import { operations } from "./operations.js";
import {
  advance,
  type Code,
  constantVector,
  F32,
  get,
  I32,
  load,
  moduleOf,
  set,
  simd,
  splat,
  store,
  V128,
  whilePositive,
} from "./wasm.js";

/** Elements that a rule handles at a time; buffers are padded to a multiple of it. */
export const RULE_STRIDE = 16;
const LANES = 4;
const VECTOR_BYTES = 16;

/** Expressions compiled to a kernel. */
export interface Rule {
  /** Names of the arrays it reads, scalars it reads and arrays it writes, in the order of its parameters. */
  readonly inputs: readonly string[];
  readonly scalars: readonly string[];
  readonly outputs: readonly string[];
  /**
   * A WASM SIMD module that imports `env.memory` and exports
   * `run(n: i32, …input addresses: i32, …output addresses: i32, …scalars: f32)`. It works on ⌈n / 16⌉ · 16 elements; an output
   * may lie where an input lies, since all of an element's inputs are read before its outputs are written.
   */
  readonly wasm: Uint8Array<ArrayBuffer>;
}

const namesOf = (nodes: readonly Expr[], kind: "input" | "scalar"): readonly string[] => [
  ...new Set(nodes.flatMap((node) => (node.kind === kind ? [node.name] : []))),
];

/** What `outputs` reads, by kind, in the order of first use. */
export const readsOf = (outputs: Readonly<Record<string, Expr>>) => {
  const nodes = nodesOf(Object.values(outputs));
  return { inputs: namesOf(nodes, "input"), scalars: namesOf(nodes, "scalar") };
};

/** Compiles named expressions, all of which read the inputs as they were before any output was written. */
export const compileRule = (given: Readonly<Record<string, Expr>>): Rule => {
  const outputs = merged(given);
  const nodes = nodesOf(Object.values(outputs));
  const { inputs, scalars } = readsOf(outputs);
  const names = Object.keys(outputs);

  const pointers = inputs.length + names.length;
  const parameters = [I32, ...Array<number>(pointers).fill(I32), ...Array<number>(scalars.length).fill(F32)];
  const inputPointer = (name: string) => 1 + inputs.indexOf(name);
  const outputPointer = (index: number) => 1 + inputs.length + index;
  const scalarParameter = (name: string) => 1 + pointers + scalars.indexOf(name);

  const local = new Map(nodes.map((node, i) => [node, parameters.length + i]));
  const localOf = (node: Expr): number => local.get(node) ?? 0;
  const assign = (node: Expr, value: Code): number[] => [...value, ...set(localOf(node))];

  const once = nodes.flatMap((node) => {
    if (node.kind === "scalar") return assign(node, splat(scalarParameter(node.name)));
    return node.kind === "constant" ? assign(node, constantVector(node.value)) : [];
  });
  const vectorAt = (offset: number): number[] => [
    ...nodes.flatMap((node) => {
      if (node.kind === "input") return assign(node, [...get(inputPointer(node.name)), ...load(offset)]);
      if (node.kind !== "operation") return [];
      const operands = node.operands.flatMap((operand) => get(localOf(operand)));
      return assign(node, [...operands, ...operations[node.operator].simd.flatMap(simd)]);
    }),
    ...Object.values(outputs).flatMap((expr, i) => [...get(outputPointer(i)), ...get(localOf(expr)), ...store(offset)]),
  ];
  // Several vectors an iteration, so that the loop's own arithmetic does not count.
  const offsets = Array.from({ length: RULE_STRIDE / LANES }, (_, i) => i * VECTOR_BYTES);
  const loop = [
    ...offsets.flatMap(vectorAt),
    ...Array.from({ length: pointers }, (_, i) => advance(1 + i, offsets.length * VECTOR_BYTES)).flat(),
    ...advance(0, -RULE_STRIDE),
  ];
  const wasm = moduleOf(parameters, Array<number>(nodes.length).fill(V128), [...once, ...whilePositive(0, loop)]);
  return { inputs, scalars, outputs: names, wasm };
};
