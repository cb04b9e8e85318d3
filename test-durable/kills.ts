import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Kind, killed, place, tuned, zeroth } from "../test/runs.js";

/** A run of a name, with its flags. */
export interface Path {
  readonly name: string;
  readonly method: Kind;
  readonly model: readonly string[];
  readonly flags: readonly string[];
  readonly threads?: string;
}

/**
 * Killed at moments of no particular place in a step and gone on with, a run ends with the bits of an undisturbed one; so does a replay,
 * with one kernel thread and with two, of the whole run and of its half.
 */
export const survives = ({ name, method, model, flags, threads = "1" }: Path, kills: number, steps: number): void => {
  const settings = (count: number) => [
    ...["--method", method, "--threads", threads, "--steps", String(count), "--no-noise-check"],
    ...flags,
  ];
  const folder = (of: string) => join(place, `${of}-${name.replaceAll(/[^a-z0-9]+/g, "-")}-${method}-${threads}`);
  const finetune = (out: string, ...more: string[]) => [
    "finetune",
    ...model,
    ...settings(steps),
    "--out",
    out,
    ...more,
  ];

  test(`${name}, ${method}`, async () => {
    const calm = folder("calm");
    const whole = await zeroth(finetune(calm));
    expect(whole, whole.err).toMatchObject({ code: 0 });
    const size = (out: string): number => {
      const journal = join(out, "run/journal.zj");
      return existsSync(journal) ? statSync(journal).size : 0;
    };
    const out = folder("killed");
    let header = 0;
    for (let i = 0; i < kills; i++) {
      header ||= size(out);
      await killed(finetune(out, "--resume"), out, header + ((size(calm) - header) * (i + 0.37)) / kills);
    }
    const last = await zeroth(finetune(out, "--resume"));
    expect(last, last.err).toMatchObject({ code: 0 });
    expect(tuned(out, method), "gone on with").toBe(tuned(calm, method));

    const replay = async (count: string, ...more: string[]) => {
      const again = folder(`replay-${count}-${more.length}`);
      const [, spec = ""] = model;
      const done = await zeroth([
        ...["replay", "--model", spec, "--run", calm, "--out", again, "--threads", count],
        ...more,
      ]);
      expect(done, done.err).toMatchObject({ code: 0 });
      return tuned(again, method);
    };
    // The step that was kept is the best on the dev rows; the last one is asked for by its number.
    for (const count of ["1", "2"]) expect(await replay(count), `replayed by ${count}`).toBe(tuned(calm, method));
    expect(await replay("1", "--step", String(steps / 2))).toBe(await replay("2", "--step", String(steps / 2)));
  });
};
