import { load, type Model } from "../index.js";
import { bytes, percent } from "./format.js";
import type { Terminal } from "./terminal.js";

/** Opens a model and shows the download while there is one. */
export const openModel = async (spec: string, terminal: Terminal): Promise<Model> => {
  let told = "";
  try {
    return await load(spec, {
      onProgress({ file, done, total }) {
        if (file !== told) {
          told = file;
          if (!terminal.live) terminal.line(`Downloading ${file}${total === undefined ? "" : ` (${bytes(total)})`}`);
        }
        terminal.status(
          `Downloading ${file}  ${bytes(done)}${total === undefined ? "" : ` of ${bytes(total)}, ${percent(done / total)}`}`,
        );
      },
    });
  } finally {
    terminal.status();
  }
};

/** The same, with what there is to know of how it was read: training tells that itself. */
export const openTold = async (spec: string, terminal: Terminal): Promise<Model> => {
  const model = await openModel(spec, terminal);
  for (const note of model.notes) terminal.warn(note);
  return model;
};
