import type { Graph, Node } from "../../graph/ir.js";
import { subgraphsOf } from "../../graph/onnx.js";

/* Decoders that exporters merged (`decoder_model_merged.onnx`): an If holds the layers twice, with a cache and without. */

/** Whether a cache is given: it never is, where rows are run whole. */
const ASKED = "use_cache_branch";

const isAsked = ({ operator, inputs }: Node): boolean => operator === "If" && inputs[0] === ASKED;

/** The branch that runs where no cache is given, its outputs under the If's own names. */
const inlined = (node: Node): Pick<Graph, "nodes" | "initializers"> => {
  const { else_branch = 0 } = node.attributes;
  const [branch] = subgraphsOf({ attributes: { else_branch } });
  if (branch === undefined) return { nodes: [node], initializers: [] };
  const renamed = branch.outputs.flatMap(({ name }, i): Node[] => {
    const output = node.outputs[i] ?? "";
    if (output === "" || output === name) return [];
    const rest = { name: `${output}/renamed`, domain: "", attributes: {}, unknown: [] };
    return [{ ...rest, operator: "Identity", inputs: [name], outputs: [output] }];
  });
  return { nodes: [...branch.nodes, ...renamed], initializers: branch.initializers };
};

/** The graph with the layers once, without a cache; a graph that is not merged as it is. */
export const unmerged = (graph: Graph): Graph => {
  if (!graph.nodes.some(isAsked)) return graph;
  const parts = graph.nodes.map((node) => (isAsked(node) ? inlined(node) : { nodes: [node], initializers: [] }));
  return {
    ...graph,
    nodes: parts.flatMap(({ nodes }) => nodes),
    initializers: [...graph.initializers, ...parts.flatMap(({ initializers }) => initializers)],
    inputs: graph.inputs.filter(({ name }) => name !== ASKED),
  };
};
