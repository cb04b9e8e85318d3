declare module "vitest" {
  interface TaskMeta {
    /** Cells of the README's table: a row (a family) and a column (a format or a method). */
    support?: readonly (readonly [family: string, way: string])[];
  }
}

/** The columns' usual names; another name makes another column. */
export type Way =
  | "safetensors"
  | "GGUF"
  | "ONNX"
  | "LoRA"
  | "rsLoRA"
  | "prefix"
  | "prompt"
  | "merge"
  | "GGUF out"
  | "ONNX out";

/**
 * Says what a test shows to work where it passes: cells of the table that `npm run test:real` writes into the README.
 * @param task of the test's context
 */
export const shows = (
  task: { readonly meta: import("vitest").TaskMeta },
  family: string,
  ...ways: readonly Way[]
): void => {
  task.meta.support = [...(task.meta.support ?? []), ...ways.map((way) => [family, way] as const)];
};
