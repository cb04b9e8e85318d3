import { z } from "zod";
import { ZerothError } from "../errors.js";
import { moduleOf, type Parameter } from "../model/family.js";
import { isClassifier, withClassifier } from "./classifier.js";
import { type Base, defineMethod, type Saved } from "./define.js";
import { apart, endsWith, firstLayerOf, linearsOf, type Method, type Trainable } from "./method.js";
import { inLayers, layers, modules, pattern, positive, text, toggle, whole } from "./options.js";

/** Absent, as PEFT writes it where a feature is not used. */
const unused = z.null().optional();

/**
 * The fields of PEFT's `adapter_config.json` that change what the adapter computes. Fields that would change it in a way
 * Zeroth does not build (DoRA, biases, extra saved modules) are refused unless they are at their defaults.
 */
export const loraConfig = z.looseObject({
  peft_type: z.literal("LORA"),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1),
  lora_alpha: z.number(),
  target_modules: z.union([pattern, z.array(z.string()).readonly()]).nullish(),
  use_rslora: z.boolean().nullish(),
  rank_pattern: z.record(pattern, z.int().min(1)).nullish(),
  alpha_pattern: z.record(pattern, z.number()).nullish(),
  bias: z.literal("none").nullish(),
  use_dora: z.literal(false).nullish(),
  lora_bias: z.literal(false).nullish(),
  /** How the base keeps its weights, which the family knows. */
  fan_in_fan_out: z.boolean().nullish(),
  /** A classifier's own layers alone: PEFT names what they may be called. */
  modules_to_save: z.array(z.enum(["classifier", "score"])).nullish(),
  layer_replication: unused,
  trainable_token_indices: unused,
  target_parameters: unused,
  alora_invocation_tokens: unused,
});
export type LoraConfig = z.infer<typeof loraConfig>;

/** A module's path in the model that PEFT adapts: GPT-2's files have the language model's paths, or bare ones. */
export const peftPath = (module: string): string => module.replace(/^h\./, "transformer.h.");

/** PEFT's names of a module's two matrices: A is [rank, inputs], B is [outputs, rank]. */
export const loraNames = (module: string): { a: string; b: string } => ({
  a: `base_model.model.${peftPath(module)}.lora_A.weight`,
  b: `base_model.model.${peftPath(module)}.lora_B.weight`,
});

const SIDE = /\.lora_[AB]\.weight$/;

/** The last part of the module that a LoRA tensor belongs to: `q_proj`. */
export const moduleLeaf = (tensor: string): string => tensor.replace(SIDE, "").split(".").at(-1) ?? tensor;

/** One adapted linear layer: y = W·x + scale·B·(A·x). */
export interface LoraModule {
  readonly module: string;
  /** Index of its block. */
  readonly layer: number;
  readonly inputs: number;
  readonly outputs: number;
  /** The base's weight is [inputs, outputs]. */
  readonly turned: boolean;
  readonly rank: number;
  readonly scale: number;
}

/** The alpha that gives a module its scale as alpha / rank, without the last digits that a division and a product leave. */
export const alphaOf = ({ scale, rank }: LoraModule): number => Number((scale * rank).toPrecision(15));

/** A pattern's key is a regular expression for the end of a module's path. */
const byPattern = <T>(patterns: Readonly<Record<string, T>> | null | undefined, module: string): T | undefined =>
  Object.entries(patterns ?? {}).find(([key]) => new RegExp(`(^|.*\\.)(${key})$`).test(module))?.[1];

/**
 * The modules that a configuration adapts.
 * @param defaults those of the family, where the configuration names none
 * @throws ZerothError when a target matches no linear layer of the model; the message lists those there are
 */
export const loraModules = (
  config: LoraConfig,
  parameters: readonly Parameter[],
  defaults: readonly string[] = [],
): readonly LoraModule[] => {
  const targets = config.target_modules ?? defaults;
  const all = linearsOf(parameters);
  const matches = (module: string): boolean => {
    if (targets === "all-linear") return true;
    if (typeof targets === "string") return new RegExp(`^(?:${targets})$`).test(module);
    return targets.some((target: string) => endsWith(module, target));
  };
  if (Array.isArray(targets)) {
    const unmatched = targets.filter((target) => !all.some((parameter) => endsWith(moduleOf(parameter), target)));
    if (unmatched.length > 0) {
      const known = [...new Set(all.map((parameter) => moduleOf(parameter).split(".").at(-1)))].join(", ");
      throw new ZerothError(
        `LoRA targets that no linear layer of the model matches: ${unmatched.join(", ")}.\nIts linear layers: ${known}.`,
        {
          kind: "usage",
        },
      );
    }
  }
  return all
    .filter((parameter) => matches(moduleOf(parameter)))
    .map((parameter) => {
      const module = moduleOf(parameter);
      const rank = byPattern(config.rank_pattern, module) ?? config.r;
      const alpha = byPattern(config.alpha_pattern, module) ?? config.lora_alpha;
      const { layer = 0, turned = false, shape } = parameter;
      const [outputs = 0, inputs = 0] = turned ? [...shape].reverse() : shape;
      const scale = alpha / (config.use_rslora ? Math.sqrt(rank) : rank);
      return { module, layer, inputs, outputs, turned, rank, scale };
    });
};

const none = new Float32Array();

/**
 * LoRA (arXiv 2106.09685). A starts Kaiming-uniform with a = √5, which is uniform on ±1/√inputs, and B at zero, as PEFT
 * starts them, so step 0 is the base model exactly.
 *
 * @param freezeA LoRA-FA (arXiv 2308.03303): A stays as it starts, and B alone is trained
 */
export const loraMethod = (modules: readonly LoraModule[], freezeA = false): Method => {
  const byName = new Map(modules.map((module) => [module.module, module]));
  const pairs = modules.flatMap(({ module, inputs, outputs, rank, layer }) => {
    const names = loraNames(module);
    return [
      { name: names.a, shape: [rank, inputs], initial: { kind: "uniform", bound: 1 / Math.sqrt(inputs) }, layer },
      { name: names.b, shape: [outputs, rank], initial: { kind: "zeros" }, layer },
    ] satisfies readonly Trainable[];
  });
  const isA = ({ name }: Trainable): boolean => name.endsWith(".lora_A.weight");
  return {
    kind: "lora",
    placement: "copies",
    firstLayer: firstLayerOf(modules),
    merge: new Map(
      modules.map((module) => {
        const { a, b } = loraNames(module.module);
        return [
          `${module.module}.weight`,
          { from: [a, b], into: (weight, down = none, up = none) => mergeLora(weight, down, up, module) },
        ];
      }),
    ),
    tensors: freezeA ? pairs.filter((tensor) => !isA(tensor)) : pairs,
    frozen: freezeA ? pairs.filter(isA) : [],
    attach: (g, module, x, base, tensor) => {
      const adapted = byName.get(module);
      if (adapted === undefined) return base;
      const { inputs, outputs, rank, scale } = adapted;
      const names = loraNames(module);
      const at = `${module}.lora_A`;
      const down = freezeA
        ? apart(g, g.op("Gemm", [x, tensor(names.a)], { transB: 1 }, at), rank)
        : g.op("FusedMatMul", [apart(g, x, inputs), tensor(names.a)], { transB: 1 }, at);
      const alpha = { float: scale };
      const up = g.op("FusedMatMul", [down, tensor(names.b)], { transB: 1, alpha }, `${module}.lora_B`);
      return g.op("Add", [base, g.reshape(up, [-1, outputs])], {}, `${module}.adapted`);
    },
  };
};

/** W + scale·B·A, products summed in float64 and rounded once. `weight` is the base's, and is changed in place. */
const mergeLora = (weight: Float32Array, a: Float32Array, b: Float32Array, module: LoraModule): void => {
  const { inputs, outputs, turned, rank, scale } = module;
  const [across, down] = turned ? [outputs, 1] : [1, inputs];
  const row = new Float64Array(inputs);
  for (let o = 0; o < outputs; o++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b[o * rank + r] ?? 0);
      const from = r * inputs;
      for (let i = 0; i < inputs; i++) row[i] = (row[i] ?? 0) + factor * (a[from + i] ?? 0);
    }
    for (let i = 0; i < inputs; i++) {
      const to = o * down + i * across;
      weight[to] = (weight[to] ?? 0) + (row[i] ?? 0);
    }
  }
};

type Targets = "all-linear" | readonly string[];

/** Targets as PEFT has them: names, and the ranks of those that are written `name:rank`. */
const ranked = (targets: Targets) => {
  if (targets === "all-linear") return { names: targets, ranks: {} };
  const pairs = targets.map((target) => target.split(":", 2));
  return {
    names: pairs.map(([name = ""]) => name),
    ranks: Object.fromEntries(
      pairs.flatMap(([name = "", rank]) => (rank === undefined ? [] : [[name, Number(rank)] as const])),
    ),
  };
};

const configOf = (options: {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: Targets | null;
  readonly rslora: boolean;
}): LoraConfig => {
  const { names, ranks } = options.targets === null ? { names: null, ranks: {} } : ranked(options.targets);
  return {
    ...{ peft_type: "LORA", r: options.rank, lora_alpha: options.alpha, use_rslora: options.rslora },
    ...{ target_modules: names, rank_pattern: ranks },
  };
};

/**
 * The modules that a folder adapts. Its file decides which; the configuration only says how (PEFT writes no entry for an absent one).
 */
export const savedModules = (
  { family }: Base,
  { config, tensors }: Pick<Saved<LoraConfig>, "config" | "tensors">,
): readonly LoraModule[] =>
  loraModules({ ...config, target_modules: "all-linear" }, family.parameters).filter(({ module }) =>
    tensors.has(loraNames(module).a),
  );

/** PEFT's configuration of LoRA, whole: what it says of an adapter, and of the model, and what is at its default. */
export const loraFields = (
  { family }: Base,
  said: {
    readonly r: number;
    readonly lora_alpha: number;
    readonly target_modules: readonly string[];
    readonly rank_pattern: Readonly<Record<string, number>>;
    readonly alpha_pattern?: Readonly<Record<string, number>>;
    readonly layers_to_transform?: readonly number[] | null;
    readonly use_rslora?: boolean;
    readonly modules_to_save?: readonly string[] | null;
  },
) => ({
  ...{ alpha_pattern: {}, layers_to_transform: null, use_rslora: false, modules_to_save: null },
  ...said,
  target_modules: [...said.target_modules].sort(),
  bias: "none",
  fan_in_fan_out: family.fanInFanOut ?? family.parameters.some(({ turned }) => turned === true),
  init_lora_weights: true,
  layers_pattern: null,
  lora_dropout: 0,
  use_dora: false,
});

/** `name`, or `name:rank`. */
const withRanks = modules.refine(
  (targets) => targets === "all-linear" || targets.every((target) => /^[^:]+(:[1-9]\d{0,4})?$/.test(target)),
  "must be names or name:rank, such as q_proj:16,v_proj",
);

export const lora = defineMethod({
  name: "lora",
  summary: "rank-r side paths beside some linear layers (arXiv 2106.09685)",
  options: {
    /** r. Default 8. */
    rank: whole("--rank <r>", "rank of the added matrices", 8),
    /** The side path is scaled by alpha / rank. Default 16. */
    alpha: positive("--alpha <a>", "the side path's scale is alpha / rank", 16),
    /** Module names (`q_proj`), with a rank of their own as `q_proj:16`, or `"all-linear"`. Default q_proj and v_proj, as PEFT does. */
    targets: text(
      "--targets <names>",
      "modules, split at commas, each with a rank of its own as q_proj:16, or all-linear",
      "as PEFT has them, q_proj,v_proj in Llama",
      withRanks.nullable().default(null),
    ),
    /** rsLoRA (arXiv 2312.03732): the side path is scaled by alpha / √rank. Default false. */
    rslora: toggle("--rslora", "rsLoRA: the side path's scale is alpha / √rank"),
    /** LoRA-FA: A stays as it starts, B alone is trained. Default false. */
    freezeA: toggle("--freeze-a", "LoRA-FA: A stays as it starts, B alone is trained"),
    /** A classifier's own layers stay as they are. Default false: they are trained with it, as PEFT does. */
    freezeClassifier: toggle("--freeze-classifier", "a classifier's own layers stay as they are"),
    layers,
  },
  tuning: { of: "adapter" },
  bind({ family }, options) {
    const modules = loraModules(configOf(options), inLayers(family, options.layers), family.targets);
    if (options.freezeClassifier || family.classifier === undefined) return loraMethod(modules, options.freezeA);
    const beside = modules.filter(({ module }) => !isClassifier(family, module));
    return withClassifier(loraMethod(beside, options.freezeA), family);
  },
  folder: {
    type: "LORA",
    schema: loraConfig,
    config(base, { rank, alpha, targets, rslora, layers: range, freezeClassifier }, { tensors, frozen = [] }) {
      const { names: adapted, ranks } = ranked(targets ?? base.family.targets);
      const sides = [...tensors, ...frozen].filter(({ name }) => SIDE.test(name));
      const names = adapted === "all-linear" ? [...new Set(sides.map(({ name }) => moduleLeaf(name)))] : adapted;
      const { classifier } = base.family;
      return loraFields(base, {
        modules_to_save: classifier === undefined || freezeClassifier ? null : [classifier],
        ...{ r: rank, lora_alpha: alpha, target_modules: names, rank_pattern: ranks, use_rslora: rslora },
        layers_to_transform:
          range === null ? null : Array.from({ length: range[1] - range[0] + 1 }, (_, i) => range[0] + i),
      });
    },
    read(base, saved) {
      const method = loraMethod(savedModules(base, saved));
      return saved.config.modules_to_save ? withClassifier(method, base.family) : method;
    },
  },
});
