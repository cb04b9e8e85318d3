import type { Point, Update } from "../estimator/estimator.js";
import type { Layout, Program } from "../kernels/program.js";
import type { TensorSource } from "../model/weights.js";
import type { Scalars } from "../optimizer/optimizer.js";
import type { Method, Placement } from "../peft/method.js";
import type { Subspace } from "../perturbation/subspace.js";

/** A tensor that lives in the engine as a plain ArrayBuffer and enters the graph as an input. */
export interface Resident {
  readonly name: string;
  readonly shape: readonly number[];
  /** What training needs to know of it; absent where it is frozen. */
  readonly trained?: Trained;
  /** Enters the graph as [N, …shape], perturbed copies end to end. */
  readonly several: boolean;
  /** Is not trained itself, but moves: a core is added to copies of it. */
  readonly copied: boolean;
  readonly from:
    | { readonly kind: "source"; readonly source: TensorSource }
    | { readonly kind: "zeros" }
    | { readonly kind: "uniform"; readonly bound: number; readonly seed: bigint };
}

/** A trainable tensor's own share of an optimizer's program. */
export interface Trained {
  /** Length of a row. */
  readonly columns: number;
  /** How each state of the program lies over it. */
  readonly layouts: readonly Layout[];
  /** Values that take the place of the step's scalars. */
  readonly scalars: Scalars;
  /** Index of its block of the model. */
  readonly layer?: number;
  /** Index of its block in a block-wise sweep. */
  readonly block?: number;
  /** The elements that may move, ascending; where the subspace is a stored mask. */
  readonly kept?: Uint32Array;
}

/** The optimizer's arithmetic, as plain data: kernels are compiled from it where they run. */
export interface ProgramPlan {
  readonly program: Program;
  /** First value of each state, in the program's order. */
  readonly initial: readonly number[];
  readonly subspace: Subspace;
  /** Noise is scaled to the sphere. */
  readonly onSphere: boolean;
}

/** Everything an engine is made of: plain data, so that it can be posted to where it runs. */
export interface EnginePlan {
  /** Where nothing before some block is trained: the graph of what comes before, whose output the other graphs start from. */
  readonly prefix?: Prefix;
  /** Folder that the graph's external weights are relative to. */
  readonly folder: string;
  readonly residents: readonly Resident[];
  readonly placement: Placement;
  /** Tokens of a run of several points side by side, where weights are perturbed in copies; a longer pack is run point by point. */
  readonly runTokens: number;
  /** Absent where nothing is trained. */
  readonly training?: ProgramPlan;
  /** Matrices that move in a low-rank subspace, and the seed that draws their factors. */
  readonly cored?: NonNullable<Method["cored"]> & { readonly seed: bigint };
  readonly threads: number;
  readonly device: "cpu" | "webgpu";
}

export interface Prefix {
  readonly graph: Uint8Array;
  /** Elements of a token's hidden state. */
  readonly width: number;
  /** Bytes of hidden states kept in memory; more go to a scratch file. */
  readonly budget: number;
}

/** A training row that is part of a run: its number, and its tokens in the run's sequence. Rows lie end to end. */
export interface RunRow {
  readonly row: number;
  readonly tokens: number;
}

/** An array and its shape, as the runtime takes it. */
export interface Feed {
  readonly data: Float32Array | Int32Array | BigInt64Array;
  readonly dims: readonly number[];
  /**
   * How a pack at several points, laid end to end, has it: once a point, numbers of places moved by the tokens or slots of the points before
   * ("tokens", "slots") or as they are; or once for all ("none").
   */
  readonly shift?: "tokens" | "slots" | "none";
}

/** One run: which graph, and its inputs besides the resident tensors. */
export interface Run {
  readonly graph: string;
  readonly feeds: Readonly<Record<string, Feed>>;
  /** Present where the hidden states that the graph starts from are those kept of these rows; else they are computed with the run. */
  readonly rows?: readonly RunRow[];
}

/** A row's next tokens. */
export interface DecodeCall {
  readonly point: Point;
  readonly graph: string;
  readonly feeds: Run["feeds"];
  /** How many tokens of the row have been run before, at the same point; 0 for a new row. */
  readonly past: number;
}

/** What a replay applies, step after step: the points a step visited and the updates it made. */
export type Move = { readonly visit: readonly Point[] } | UpdateCall | { readonly refresh: number };

export interface UpdateCall {
  readonly update: Update;
  readonly scalars: Scalars;
  /** Counts from 0. */
  readonly step: number;
}

/** A tensor that the engine holds: a trainable weight by its name, or a state of it as `name#state`. */
export interface Held {
  readonly name: string;
  /** A state's may be one number for many weights. */
  readonly shape: readonly number[];
}

/** What an engine can be asked. Requests are answered in order. */
export interface Calls {
  /** Gives the engine a graph over its weights, an ONNX file in memory, that runs may name. */
  load(graph: { name: string; graph: Uint8Array }): Promise<void>;
  /** Of training rows, those whose hidden states are not kept yet. */
  missing(rows: readonly number[]): Promise<readonly number[]>;
  /** Computes the hidden states of the rows of some runs, and keeps them. */
  prefetch(runs: readonly Run[]): Promise<void>;
  /** The output of every run at every point: [points][runs]. */
  evaluate(request: { points: readonly Point[]; runs: readonly Run[] }): Promise<readonly (readonly Float32Array[])[]>;
  /**
   * The logits after a row's next tokens, [vocabulary], at a point; what the row's earlier tokens need not be computed again for is kept.
   * One row at a time.
   */
  decode(request: DecodeCall): Promise<Float32Array>;
  update(request: UpdateCall): Promise<void>;
  /** At a refresh of a low-rank subspace: folds the core into the weights and draws other factors. */
  refresh(step: number): Promise<void>;
  /** Draws the factors that were in use after `step` steps, where weights and core were written as they were then. */
  resume(step: number): Promise<void>;
  /** Folds the core of a low-rank subspace into the weights, so that these are all there is. */
  fold(): Promise<void>;
  replay(moves: readonly Move[]): Promise<void>;
  /** Back to the start of the run, bit for bit: weights as they came, optimizer states at their first values. */
  rewind(): Promise<void>;
  /** What a snapshot holds. */
  held(): Promise<readonly Held[]>;
  /** Elements `start` … of a tensor, at most `count` of them; in the memory of `into`, which is handed over, where it is given. */
  read(slice: { name: string; start: number; count: number; into?: ArrayBuffer }): Promise<Float32Array>;
  write(slice: { name: string; start: number; data: Float32Array }): Promise<void>;
  /** Seconds spent in walks over the weights so far. */
  walkSeconds(): Promise<number>;
}
