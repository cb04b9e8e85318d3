import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DECODING } from "../engine/decoding.js";
import { type Engine, type EngineParts, startEngine } from "../engine/engine.js";
import { buildForward, type Extent, type Forward } from "../engine/plan.js";
import type { EnginePlan, Resident } from "../engine/protocol.js";
import { blockMatrices } from "../model/blocks.js";
import type { Head } from "../model/heads.js";
import { fingerprint } from "../model/open.js";
import type { TensorSource } from "../model/weights.js";
import { isAdapter, readAdapter } from "../peft/adapter.js";
import { loraMethod } from "../peft/lora.js";
import type { Method } from "../peft/method.js";
import { load, type Model } from "./load.js";
import type { Training } from "./training.js";
import type { RuntimeChoice } from "./types.js";

/** Nothing trainable, nothing added: the model as it is. */
const plain: Method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] };

export const threadsOf = (threads: number | undefined): number => threads ?? availableParallelism();

/** Graphs over the same weights; an engine loads those that it is asked to run. */
const heads = ["columns", "tokens", "logits"] as const satisfies readonly Head[];

export interface EngineChoice {
  readonly method: Method;
  /** Absent where nothing is trained. */
  readonly training?: Pick<Training, "plan" | "trained">;
  readonly seed?: bigint;
  readonly adapter?: ReadonlyMap<string, TensorSource>;
  readonly threads?: number | undefined;
  readonly device?: "cpu" | "webgpu" | undefined;
  /** MiB of memory for the hidden states of training rows, where the first blocks are frozen. */
  readonly prefixCache?: number | undefined;
  /** Tokens of a run of several points side by side. */
  readonly runTokens?: number | undefined;
  /** Bits that frozen floating-point matrices are rounded to. */
  readonly quantize?: 4 | 8 | undefined;
}

const PREFIX_CACHE_MIB = 256;

const partsOf = async (model: Model, choice: EngineChoice): Promise<EngineParts> => {
  const { method, training, adapter, seed = 0n } = choice;
  // Cut only where steps are taken: a prefix is worth nothing to a model that runs each row once.
  const start = training === undefined ? 0 : method.firstLayer;
  // What is trained is held in fp32; of the rest, matrices stay in the blocks that they come in.
  const trained = new Set(method.tensors.map(({ name }) => name));
  const frozen = model.family.parameters.flatMap(({ name }) =>
    trained.has(name) || adapter?.has(name) ? [] : (model.files.weights.get(name) ?? []),
  );
  const matrices = await blockMatrices(frozen, fingerprint(model.files), choice.quantize);
  const build = (extent: Extent): Forward =>
    buildForward({
      family: model.family,
      weights: model.files.weights,
      matrices,
      extent,
      method,
      seed,
      ...(training === undefined ? {} : { trained: training.trained }),
      ...(adapter === undefined ? {} : { adapter }),
    });
  const graphOf = (head: Head) => build({ head, start });
  // Which tensors are held is the same for every head, so the first one made tells.
  const [first, ...others] = heads;
  const one = graphOf(first);
  const before = start === 0 ? undefined : build({ end: start });
  const residents = new Map(
    [one, ...(before === undefined ? [] : [before])].flatMap((forward) =>
      forward.residents.map((tensor): [string, Resident] => [tensor.name, tensor]),
    ),
  );
  const budget = (choice.prefixCache ?? PREFIX_CACHE_MIB) * 2 ** 20;
  const plan: EnginePlan = {
    ...(before === undefined ? {} : { prefix: { graph: before.graph, width: model.family.width, budget } }),
    folder: one.folder,
    residents: [...residents.values()],
    placement: method.placement,
    runTokens: choice.runTokens ?? 0,
    threads: threadsOf(choice.threads),
    device: choice.device ?? "cpu",
    ...(training === undefined ? {} : { training: training.plan }),
    ...(training === undefined || method.cored === undefined ? {} : { cored: { ...method.cored, seed } }),
  };
  const graphs = Object.fromEntries(others.map((head) => [head, () => graphOf(head).graph]));
  const decoding = () => build({ decoding: true }).graph;
  return { plan, graphs: { ...graphs, [first]: () => one.graph, [DECODING]: decoding } };
};

/** An engine for a model with a trainable set and, for training, an optimizer's program. */
export const openEngine = (model: Model, choice: EngineChoice): Promise<Engine> =>
  startEngine(() => partsOf(model, choice));

/**
 * The model that an adapter makes of another: a PEFT adapter adds side paths; a model folder, as `full` writes one, takes the
 * model's place.
 */
export const openAdapted = async (
  model: Model,
  { adapter, threads, device, quantize }: RuntimeChoice,
): Promise<{ model: Model; engine: Engine }> => {
  const runtime = { threads, device, quantize };
  if (adapter === undefined) return { model, engine: await openEngine(model, { method: plain, ...runtime }) };
  if (!isAdapter(adapter) && existsSync(join(adapter, "config.json"))) {
    const tuned = await load(adapter);
    return { model: tuned, engine: await openEngine(tuned, { method: plain, ...runtime }) };
  }
  const { modules, tensors } = readAdapter(adapter, model.family.parameters);
  const engine = await openEngine(model, { method: loraMethod(modules), adapter: tensors, ...runtime });
  return { model, engine };
};
