import { createKernelPool, type KernelPool } from "../kernels/pool.js";
import { type CoredTrainables, inSubspace } from "./cores.js";
import { layOut, type Memory } from "./memory.js";
import type { EnginePlan, Move } from "./protocol.js";
import { inCopies, inPlace, type Trainables } from "./trainables.js";

/** Perturbed copies that there is room for. */
const MOST_POINTS = 8;

/** What is trained, in memory, with the kernels that move it: everything of an engine but the model that it runs. */
export interface Variables {
  readonly memory: Memory;
  /** Absent where nothing is trained. */
  readonly trainables?: Trainables;
  readonly cored?: CoredTrainables;
  readonly pool?: KernelPool;
  /** Applies moves of a replay, and puts the live weights in place. */
  replay(moves: readonly Move[]): void;
  /** Back to the start, bit for bit. */
  rewind(): void;
}

export const openVariables = (
  plan: Pick<EnginePlan, "residents" | "placement" | "training" | "cored" | "threads">,
): Variables => {
  const { training } = plan;
  const copies = plan.placement === "in-place" ? 0 : plan.residents.some(({ several }) => several) ? MOST_POINTS : 1;
  const memory = layOut(plan, copies);
  if (training === undefined) return { memory, replay: () => {}, rewind: memory.rewind };
  const pool = createKernelPool(plan.threads, training.program);
  const walked = copies > 0 ? inCopies(memory.slots, pool, training, copies) : inPlace(memory.slots, pool, training);
  const cored = plan.cored === undefined ? undefined : inSubspace(walked, memory, plan.cored, training.program.states);
  const trainables = cored ?? walked;
  return {
    ...{ memory, trainables, pool },
    ...(cored === undefined ? {} : { cored }),
    replay(moves) {
      for (const move of moves) {
        if ("visit" in move) for (const point of move.visit) trainables.visit(point);
        else if ("refresh" in move) cored?.refresh(move.refresh);
        else trainables.update(move);
      }
      trainables.settle();
    },
    rewind() {
      memory.rewind();
      trainables.forget();
    },
  };
};
