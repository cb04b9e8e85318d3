import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DECODING } from "../engine/decoding.js";
import { type Engine, type EngineParts, startEngine } from "../engine/engine.js";
import { buildImported } from "../engine/imported.js";
import { buildForward, type Extent, type Forward } from "../engine/plan.js";
import type { EnginePlan, Resident } from "../engine/protocol.js";
import { ZerothError } from "../errors.js";
import { blockMatrices } from "../model/blocks.js";
import type { Head } from "../model/heads.js";
import { fingerprint } from "../model/open.js";
import type { TensorSource } from "../model/weights.js";
import { isAdapter, readAdapter } from "../peft/adapter.js";
import type { Method } from "../peft/method.js";
import { load, type Model } from "./load.js";
import type { Training } from "./training.js";
import type { RuntimeChoice } from "./types.js";

/** Nothing trainable, nothing added: the model as it is. */
export const plain: Method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] };

export const threadsOf = (threads: number | undefined): number => threads ?? availableParallelism();

/** Graphs over the same weights; an engine loads those that it is asked to run. */
const heads = ["columns", "tokens", "logits"] as const satisfies readonly Head[];

export interface EngineChoice {
  readonly method: Method;
  /** Absent where nothing is trained. */
  readonly training?: Pick<Training, "plan" | "trained">;
  readonly seed?: bigint;
  /** Values of the method's tensors; those absent start as the method says. */
  readonly adapter?: ReadonlyMap<string, TensorSource> | undefined;
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
  const { family } = model;
  if ("imported" in family && choice.quantize !== undefined)
    throw new ZerothError(
      "--quantize rounds the weights of safetensors and GGUF models; an ONNX model is as its file has it.\nGive the file of it that has fewer bits (onnx/model_q4.onnx), or leave --quantize out.",
      { kind: "usage" },
    );
  // What is trained is held in fp32; of the rest, matrices stay in the blocks that they come in.
  const trained = new Set(method.tensors.map(({ name }) => name));
  const frozen = family.parameters.flatMap(({ name, turned = false }) => {
    const source = trained.has(name) || adapter?.has(name) ? undefined : model.files.weights.get(name);
    return source === undefined ? [] : [{ ...source, turned }];
  });
  const weights = {
    weights: model.files.weights,
    method,
    seed,
    ...(training === undefined ? {} : { trained: training.trained }),
    ...(adapter === undefined ? {} : { adapter }),
  };
  const matrices =
    "imported" in family ? new Map() : await blockMatrices(frozen, fingerprint(model.files), choice.quantize);
  /** Graphs of the parts of a model that is built here; one that came with its graph has the whole alone. */
  const build =
    "imported" in family
      ? undefined
      : (extent: Extent): Forward => buildForward({ ...weights, family, matrices, extent });
  const graphOf = (head: Head): Forward =>
    "imported" in family
      ? buildImported({ ...weights, model: family, head })
      : buildForward({ ...weights, family, matrices, extent: { head, start } });
  // Which tensors are held is the same for every head, so the first one made tells.
  const [first, ...others] = heads;
  const one = graphOf(first);
  const before = start === 0 ? undefined : build?.({ end: start });
  const residents = new Map(
    [one, ...(before === undefined ? [] : [before])].flatMap((forward) =>
      forward.residents.map((tensor): [string, Resident] => [tensor.name, tensor]),
    ),
  );
  const budget = (choice.prefixCache ?? PREFIX_CACHE_MIB) * 2 ** 20;
  const plan: EnginePlan = {
    ...(before === undefined || "imported" in family
      ? {}
      : { prefix: { graph: before.graph, width: family.width, budget } }),
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
  const parts: Readonly<Record<string, () => Uint8Array>> =
    build === undefined
      ? {}
      : { keys: () => build({ keys: true }).graph, [DECODING]: () => build({ decoding: true }).graph };
  return { plan, graphs: { ...graphs, ...parts, [first]: () => one.graph } };
};

/** An engine for a model with a trainable set and, for training, an optimizer's program. */
export const openEngine = (model: Model, choice: EngineChoice): Promise<Engine> =>
  startEngine(() => partsOf(model, choice));

/** A model as rows meet it with a trainable set. */
export const fitted = (model: Model, { family }: Method): Model =>
  family === undefined || "imported" in model.family ? model : { ...model, family: family(model.family) };

/** A model with its adapter, read and checked; its engine is opened when what else there is to check has been. */
export interface Adapted {
  readonly model: Model;
  open(runtime: Omit<RuntimeChoice, "adapter">): Promise<Engine>;
}

/**
 * The model that an adapter makes of another: a PEFT adapter adds side paths; a model folder, as `full` writes one, takes the
 * model's place.
 */
export const withAdapter = async (model: Model, adapter: string | undefined): Promise<Adapted> => {
  const opener =
    (of: Model, choice: Pick<EngineChoice, "method" | "adapter">): Adapted["open"] =>
    ({ threads, device, quantize }) =>
      openEngine(of, { ...choice, threads, device, quantize });
  if (adapter === undefined) return { model, open: opener(model, { method: plain }) };
  if (!isAdapter(adapter) && existsSync(join(adapter, "config.json"))) {
    const tuned = await load(adapter);
    return { model: tuned, open: opener(tuned, { method: plain }) };
  }
  const { method, tensors } = readAdapter(adapter, model);
  return { model: fitted(model, method), open: opener(model, { method, adapter: tensors }) };
};

/** The same, with its engine. */
export const openAdapted = async (
  model: Model,
  { adapter, ...runtime }: RuntimeChoice,
): Promise<{ model: Model; engine: Engine }> => {
  const adapted = await withAdapter(model, adapter);
  return { model: adapted.model, engine: await adapted.open(runtime) };
};
