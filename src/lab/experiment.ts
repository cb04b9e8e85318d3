/** What an experiment is asked for. */
export interface Setting {
  readonly seed: number;
  /** Names of the optimizers to look at; without, those of the table that there is room for. */
  readonly optimizers?: readonly string[] | undefined;
  /** Steps of an optimizer that looks at two values in each; others take as many as the same number of values pays for. */
  readonly steps?: number | undefined;
  /** Told as parts are done, of how many. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A line of a table: what was measured, by name. Null where there is none. */
export type Row = Readonly<Record<string, string | number | null>>;

export interface Outcome {
  readonly rows: readonly Row[];
  /** One self-contained SVG. */
  readonly picture: string;
}

/** Something measured on plain functions. The same setting gives the same numbers and the same picture. */
export interface Experiment {
  readonly summary: string;
  run(setting: Setting): Promise<Outcome>;
}

/** An experiment closed over the type of its data, so that a table can hold them all. */
export const defineExperiment = <D>(definition: {
  readonly summary: string;
  measure(setting: Setting): Promise<D>;
  rows(data: D): readonly Row[];
  draw(data: D, setting: Setting): string;
}): Experiment => ({
  summary: definition.summary,
  async run(setting) {
    const data = await definition.measure(setting);
    return { rows: definition.rows(data), picture: definition.draw(data, setting) };
  },
});

/** What can be written as JSON: null for a number that is none or has no end. */
export const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
