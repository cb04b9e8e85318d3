import { ZerothError } from "../../errors.js";
import type { Graph, Model, Node } from "../../graph/ir.js";
import { subgraphsOf } from "../../graph/onnx.js";
import { fields } from "../../graph/protobuf.js";
import { oneLine } from "../../one-line.js";

/** How a message calls a node. */
export const nodeName = ({ name, operator, outputs }: Node): string =>
  `the node ${oneLine(name || `of ${outputs[0]}`, 120)} (${oneLine(operator, 60)})`;

/** Graphs inside graphs that are looked into. */
const DEEPEST = 16;

/** Values of the graph around them that graphs inside a node read. */
const capturedBy = (node: Node, path: string, depth = 0): readonly string[] => {
  if (depth > DEEPEST) throw new ZerothError(`${path}: ${nodeName(node)} holds graphs within graphs: not supported.`);
  return subgraphsOf(node).flatMap((graph) => {
    const own = new Set([
      ...graph.inputs.map(({ name }) => name),
      ...graph.initializers.map(({ name }) => name),
      ...graph.nodes.flatMap(({ outputs }) => outputs),
    ]);
    const read = [
      ...graph.nodes.flatMap((inner) => [...inner.inputs, ...capturedBy(inner, path, depth + 1)]),
      ...graph.outputs.map(({ name }) => name),
    ];
    return read.filter((name) => !own.has(name));
  });
};

/** Everything that a node reads. */
export const readsOf = (node: Node, path: string): readonly string[] =>
  [...node.inputs, ...capturedBy(node, path)].filter((name) => name !== "");

/**
 * The nodes that some values need, each after those that it reads.
 * @throws ZerothError for a graph that reads what nothing gives, gives a value twice, or runs in a circle
 */
export const orderedFor = (
  { nodes, initializers, inputs }: Pick<Graph, "nodes" | "initializers" | "inputs">,
  wanted: readonly string[],
  path: string,
): readonly Node[] => {
  const given = new Set([...initializers, ...inputs].map(({ name }) => name));
  const producers = new Map<string, Node>();
  for (const node of nodes) {
    for (const output of node.outputs) {
      if (output === "") continue;
      if (given.has(output) || producers.has(output))
        throw new ZerothError(`${path}: two nodes or tensors give ${oneLine(output, 120)}: the graph is damaged.`);
      producers.set(output, node);
    }
  }
  const done = new Set<Node>();
  const open = new Set<Node>();
  const order: Node[] = [];
  // A stack of its own: graphs are thousands of nodes deep.
  const stack: { node: Node; reads: readonly string[]; next: number }[] = [];
  const enter = (name: string, by: string): void => {
    if (given.has(name)) return;
    const node = producers.get(name);
    if (node === undefined) throw new ZerothError(`${path}: ${by} reads ${oneLine(name, 120)}, which nothing gives.`);
    if (done.has(node)) return;
    if (open.has(node)) throw new ZerothError(`${path}: the graph runs in a circle through ${nodeName(node)}.`);
    open.add(node);
    stack.push({ node, reads: readsOf(node, path), next: 0 });
  };
  for (const name of wanted) {
    enter(name, "the graph's output");
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const name = top.reads[top.next++];
      if (name !== undefined) {
        enter(name, nodeName(top.node));
        continue;
      }
      done.add(top.node);
      open.delete(top.node);
      order.push(top.node);
      stack.pop();
    }
  }
  return order;
};

/** ONNX's own operators and the runtime's; others have no code here. */
const DOMAINS = new Set(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"]);
/** ModelProto's field of functions, which may define operators of any domain. */
const FUNCTIONS = 25;
const OLDEST = 11;

/** @throws ZerothError naming a node whose operator the runtime cannot have, or a version that is too old */
export const checkOperators = ({ opsets, unknown }: Model, nodes: readonly Node[], path: string): void => {
  const versions = new Map(opsets.map(({ domain, version }) => [domain === "ai.onnx" ? "" : domain, version]));
  const own = versions.get("") ?? 0;
  if (own < OLDEST)
    throw new ZerothError(
      `${path} is of ONNX's operator set ${own}, too old: ${OLDEST} or newer is needed. Export the model again.`,
    );
  const hasFunctions = unknown.some((raw) => [...fields(raw)].some(({ number }) => number === FUNCTIONS));
  const odd = nodes.find(({ domain }) => !DOMAINS.has(domain) && !(hasFunctions && versions.has(domain)));
  if (odd !== undefined)
    throw new ZerothError(
      `${path}: ${nodeName(odd)} is of ${oneLine(odd.domain, 60)}, whose operators the runtime does not know.`,
    );
};
