import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { ZerothError } from "../errors.js";
import { formats } from "../export/formats.js";
import { dtypeEncodings } from "../model/encodings.js";
import type { Model } from "./load.js";
import { places } from "./places.js";
import type { ExportOptions, ExportResult } from "./types.js";

/**
 * Writes a model, with its adapter worked in, or an adapter by itself, in the layout of another program.
 * @throws ZerothError when the format has no place for the model, the adapter does not fit it, or `out` holds something already
 */
export const exportModel = async (model: Model, options: ExportOptions): Promise<ExportResult> => {
  const { format: name, out, adapter, adapterOnly = false, dtype = "float32" } = options;
  if (adapterOnly && adapter === undefined)
    throw new ZerothError("--adapter-only needs the adapter: give it with --adapter.", { kind: "usage" });
  const { family } = model;
  if ("imported" in family)
    throw new ZerothError(
      "An ONNX model is in the layout of other programs already: export from the model's safetensors.",
      {
        kind: "usage",
      },
    );
  const format = formats[name];
  const place = places[format.writes];
  place.check(out);
  await mkdir(dirname(out), { recursive: true });
  try {
    const wanted = {
      model: model.files,
      family,
      adapter,
      adapterOnly,
      dtype: dtypeEncodings[dtype],
      out,
    };
    const { tensors, survivingChanges } = await format.write(wanted);
    return { out, format: name, tensors, survivingChanges };
  } catch (error) {
    place.clear(out);
    throw error;
  }
};
