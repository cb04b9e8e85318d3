import { ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";
import type { BoundFamily, Family } from "../family.js";
import { isJson } from "../json.js";
import type { OpenModel } from "../open.js";
import { weightTypes } from "../safetensors.js";
import { bert } from "./bert.js";
import { gemma3 } from "./gemma3.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { opt } from "./opt.js";
import { phi3 } from "./phi3.js";
import { qwen2, qwen3 } from "./qwen.js";
import { roberta } from "./roberta.js";

/** Every architecture: one more is one more file and one more row. */
export const families: readonly Family[] = [llama, mistral, qwen2, qwen3, phi3, gemma3, gpt2, opt, roberta, bert];

const show = (shape: readonly number[]): string => `[${shape.join(", ")}]`;

/**
 * The architecture of an opened model, every tensor of it present and of the right shape.
 * @throws ZerothError for an unknown `model_type` (lists the known ones), a missing field, or a tensor missing or misshapen
 */
export const bindFamily = ({ config, configFile, weights, unread }: OpenModel): BoundFamily => {
  const type = config.model_type;
  const family = families.find(({ modelTypes }) => modelTypes.some((known) => known === type));
  if (family === undefined) {
    const known = families.flatMap(({ modelTypes }) => modelTypes).join(", ");
    throw new ZerothError(
      `${configFile}: ${type === undefined ? "model_type is missing" : `model_type ${oneLine(JSON.stringify(type), 60)} is not supported`}.\nKnown: ${known}.`,
    );
  }
  const bound = family.bind(config, (name) => weights.has(name), configFile);
  for (const { name, shape } of bound.parameters) {
    const source = weights.get(name);
    if (source === undefined) {
      const other = unread?.get(name);
      if (other !== undefined)
        throw new ZerothError(
          `${other.file}: ${name} has dtype ${oneLine(other.dtype)}. Zeroth reads ${weightTypes.join(", ")}, and GGUF.`,
        );
      const quantized = isJson(config.quantization_config)
        ? `\nIts weights are quantized (quantization_config): take the model in floating point, or as a GGUF.`
        : "";
      throw new ZerothError(`${configFile}: the weights lack ${name}, which this configuration needs.${quantized}`);
    }
    if (String(source.shape) !== String(shape)) {
      throw new ZerothError(
        `${source.file}: ${name} has shape ${show(source.shape)}; the configuration asks for ${show(shape)}.`,
      );
    }
  }
  return bound;
};
