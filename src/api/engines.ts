import { availableParallelism } from "node:os";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { headFor, type HeadKind } from "../batch/pack.js";
import type { TokenTree } from "../data/tree.js";
import { type Engine, startEngine } from "../engine/engine.js";
import { buildForward } from "../engine/plan.js";
import type { ProgramPlan } from "../engine/protocol.js";
import type { Objective } from "../objective/objective.js";
import { ADAPTER_CONFIG, readAdapter } from "../peft/adapter.js";
import { loraMethod } from "../peft/lora.js";
import type { Method } from "../peft/method.js";
import type { TensorSource } from "../model/weights.js";
import { load, type Model } from "./load.js";
import type { RuntimeChoice } from "./types.js";

/** Nothing trainable, nothing added: the model as it is. */
const plain: Method = { kind: "full", placement: "in-place", tensors: [] };

export const threadsOf = (threads: number | undefined): number => threads ?? availableParallelism();

/** Which head serves an objective on these trees. */
export const headOf = (objective: Objective, trees: readonly TokenTree[]): HeadKind =>
  objective.head === "auto" ? headFor(trees) : objective.head;

export interface EngineChoice {
  readonly head: HeadKind;
  readonly method: Method;
  readonly program?: ProgramPlan;
  readonly seed?: bigint;
  readonly adapter?: ReadonlyMap<string, TensorSource>;
  readonly threads?: number | undefined;
  readonly device?: "cpu" | "webgpu" | undefined;
}

/** An engine for a model with a head, a trainable set and, for training, an optimizer's program. */
export const openEngine = (model: Model, choice: EngineChoice): Promise<Engine> => {
  const { head, method, program, adapter, seed = 0n } = choice;
  const forward = buildForward({
    family: model.family,
    weights: model.files.weights,
    head,
    method,
    trainable: program !== undefined,
    seed,
    ...(adapter === undefined ? {} : { adapter }),
  });
  return startEngine({
    ...forward,
    placement: method.placement,
    threads: threadsOf(choice.threads),
    device: choice.device ?? "cpu",
    ...(program === undefined ? {} : { program }),
  });
};

/**
 * The model that an adapter makes of another: a PEFT adapter adds side paths; a model folder, as `full` writes one, takes the
 * model's place.
 */
export const openAdapted = async (
  model: Model,
  head: HeadKind,
  { adapter, threads, device }: RuntimeChoice,
): Promise<{ model: Model; engine: Engine }> => {
  if (adapter === undefined) return { model, engine: await openEngine(model, { head, method: plain, threads, device }) };
  if (!existsSync(join(adapter, ADAPTER_CONFIG)) && existsSync(join(adapter, "config.json"))) {
    const tuned = await load(adapter);
    return { model: tuned, engine: await openEngine(tuned, { head, method: plain, threads, device }) };
  }
  const { modules, tensors } = readAdapter(adapter, model.family.parameters);
  const engine = await openEngine(model, { head, method: loraMethod(modules), adapter: tensors, threads, device });
  return { model, engine };
};
