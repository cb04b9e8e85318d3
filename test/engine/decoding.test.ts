import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { packs } from "../../src/batch/pack.js";
import { DECODING, decodingFeeds, movesEarlier } from "../../src/engine/decoding.js";
import { runOf } from "../../src/engine/feeds.js";
import { openHost } from "../../src/engine/host.js";
import { buildForward, type Extent } from "../../src/engine/plan.js";
import type { BoundFamily } from "../../src/model/family.js";
import { readSafetensorsHeader, writeSafetensors } from "../../src/model/safetensors.js";
import { loraMethod, loraModules, loraNames } from "../../src/peft/lora.js";
import type { Method } from "../../src/peft/method.js";
import { bindTiny, type TinyName, tinyConfigs, weightsOf } from "../model/families/tiny.js";
import { temporaryFolder } from "../model/tiny.js";

const plain: Method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] };

/** A tiny model in an engine's inside, with both of its graphs of every logit. */
const openTiny = async (family: BoundFamily, method: Method = plain) => {
  const file = join(await temporaryFolder(), "model.safetensors");
  const tensors = [...family.parameters, ...method.tensors].map(({ name, shape }) => ({ name, shape }));
  await writeSafetensors(
    file,
    tensors.map(({ name, shape }) => ({
      ...{ name, shape, dtype: "F32" as const },
      bytes: () => new Uint8Array(weightsOf(name, shape).buffer as ArrayBuffer),
    })),
  );
  const weights = new Map(readSafetensorsHeader(file).map((source) => [source.name, source]));
  const adapter = new Map(method.tensors.flatMap(({ name }) => [[name, weights.get(name)!] as const]));
  const build = (extent: Extent) =>
    buildForward({ family, weights, matrices: new Map(), extent, method, seed: 0n, adapter });
  const whole = build({ head: "logits", start: 0 });
  const { folder, residents } = whole;
  const { placement } = method;
  const { calls, close } = await openHost({ folder, residents, placement, runTokens: 0, threads: 1, device: "cpu" });
  onTestFinished(close);
  await calls.load({ name: "logits", graph: whole.graph });
  await calls.load({ name: DECODING, graph: build({ decoding: true }).graph });
  return {
    /** Logits after the last of some tokens, computed at once. */
    async whole(ids: readonly number[]): Promise<Float32Array> {
      const tree = { shared: ids, branches: [{ ids: [0], scored: [ids.length] }], label: 0, line: 1, truncated: 0 };
      const [pack] = packs([tree], { head: "tokens" });
      const { targets: _, ...feeds } = runOf(family, pack!).feeds;
      const [[output] = []] = await calls.evaluate({ points: [[]], runs: [{ graph: "logits", feeds }] });
      return output!;
    },
    next: (ids: readonly number[], past: number): Promise<Float32Array> =>
      calls.decode({ point: [], graph: DECODING, feeds: decodingFeeds(family, ids, past), past }),
  };
};

const row = [3, 7, 1, 4, 4, 9, 0, 2, 8, 5, 6, 1, 3, 3];
/** Stretches that the row is run in: a context, single tokens, and a few at once. */
const stretches = [5, 1, 1, 3, 1, 2, 1];

const expectSameLogits = async ({ whole, next }: Awaited<ReturnType<typeof openTiny>>): Promise<void> => {
  let past = 0;
  for (const length of stretches) {
    const end = past + length;
    const [stepwise, atOnce] = [await next(row.slice(past, end), past), await whole(row.slice(0, end))];
    expect(stepwise).toHaveLength(atOnce.length);
    for (const [i, logit] of stepwise.entries()) expect(Math.abs(logit - atOnce[i]!)).toBeLessThan(2e-4);
    past = end;
  }
};

const names = (Object.keys(tinyConfigs) as TinyName[]).filter((name) => bindTiny(name).reads === "next");

describe("decoding with what is remembered of a row", () => {
  it.each(names)("%s: the logits of every next token are those of the row computed at once", async (name) => {
    await expectSameLogits(await openTiny(bindTiny(name)));
  });

  it("with an adapter's side paths too", async () => {
    const family = bindTiny("llama");
    const fields = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: "all-linear" } as const;
    const method = loraMethod(loraModules(fields, family.parameters));
    const [adapted, base] = [await openTiny(family, method), await openTiny(family)];
    await expectSameLogits(adapted);
    expect(method.tensors.map(({ name }) => name)).toContain(loraNames("model.layers.2.self_attn.v_proj").b);
    const [a, b] = [await adapted.whole(row), await base.whole(row)];
    expect(Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))).toBeGreaterThan(0.01);
  });

  it("starts a row anew at 0 tokens, and refuses to go on after others than it remembers", async () => {
    const { next } = await openTiny(bindTiny("gpt2"));
    const first = await next([1, 2, 3], 0);
    await next([4], 3);
    expect(await next([1, 2, 3], 0)).toEqual(first);
    await expect(next([5], 4)).rejects.toThrow("after 4 tokens, but 3 are remembered");
  });

  it("knows when earlier tokens stand elsewhere in a longer row", () => {
    const longrope = bindTiny("phi3 with a part of each head turned");
    expect([movesEarlier(longrope, 47, 48), movesEarlier(longrope, 48, 49), movesEarlier(longrope, 49, 50)]).toEqual([
      false,
      true,
      false,
    ]);
    expect(movesEarlier(bindTiny("gemma3"), 5, 60)).toBe(false);
  });
});
