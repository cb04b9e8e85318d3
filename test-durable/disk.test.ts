import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { place, small, task, tuned, zeroth } from "../test/runs.js";

/* A file that may not grow further, as on a full disk: the limit is set before the command, in kibibytes. */

const settings = (out: string, ...more: string[]) => [
  ...["finetune", ...task, ...small, "--threads", "1", "--steps", "16", "--no-noise-check", "--out", out],
  ...more,
];

test.each([
  ["the scratch file of a prefix", /zeroth-prefix-/, 60, ["--layers", "3..5", "--prefix-cache", "0"]],
  ["the adapter", /safetensors|weights|snapshot/, 60, ["--rank", "64"]],
  ["the cache file of a quantised base", /cache/, 200, ["--quantize", "4"]],
] as const)(
  "%s that cannot be written ends in a message, and the run goes on where there is room",
  async (name, file, limit, flags) => {
    const [out, calm] = ["full", "calm"].map((kind) => join(place, `${kind}-${name.replaceAll(" ", "-")}`)) as [
      string,
      string,
    ];
    const cache = `export XDG_CACHE_HOME=${join(place, "cache")}`;
    const failed = await zeroth(settings(out, ...flags), `${cache}; ulimit -f ${limit}`);
    expect(failed.code, failed.out + failed.err).toBe(1);
    expect(failed.err).toMatch(/Files may not grow that large.*could not be written/);
    expect(failed.err).toMatch(file);
    expect(failed.err.trim().split("\n").length).toBeLessThanOrEqual(4);
    expect(failed.err).not.toMatch(/\n\s+at /);
    // Never half a result.
    expect(readdirSync(out).filter((other) => other.endsWith(".safetensors"))).toEqual([]);

    const again = await zeroth(settings(out, ...flags, "--resume"), cache);
    expect(again, again.err).toMatchObject({ code: 0 });
    expect(await zeroth(settings(calm, ...flags), cache)).toMatchObject({ code: 0 });
    expect(tuned(out, "lora")).toBe(tuned(calm, "lora"));
  },
);
