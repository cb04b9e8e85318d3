import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { families } from "../../src/model/families/index.js";
import { withCores } from "../../src/peft/cores.js";
import { fullMethod } from "../../src/peft/full.js";
import { loraMethod, loraModules } from "../../src/peft/lora.js";
import type { Method, Trainable } from "../../src/peft/method.js";
import type { LowRank } from "../../src/perturbation/subspace.js";
import { config } from "../model/tiny.js";

const [llama] = families.filter(({ modelTypes }) => modelTypes.includes("llama"));
const { parameters } = llama!.bind(config, () => false, "config.json");
const full = fullMethod(parameters);
const lora = loraMethod(
  loraModules({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["q_proj", "up_proj"] }, parameters),
);
const lozo: LowRank = { kind: "lozo", rank: 3, refreshEvery: 5 };
const subzero: LowRank = { kind: "subzero", rank: 3, refreshEvery: 5 };
const shapes = (tensors: readonly Trainable[] = []) =>
  Object.fromEntries(tensors.map(({ name, shape }) => [name, [...shape]]));
const matrixOf = (method: Method, base: string) => method.cored!.matrices.find((matrix) => matrix.base === base)!;
const single = (shape: readonly number[], placement: Method["placement"]): Method => ({
  ...{ kind: "full", placement, firstLayer: 0 },
  tensors: [{ name: "w", shape, initial: { kind: "weights" }, layer: 4 }],
});

describe("a model's own weights in a low-rank subspace", () => {
  const q = "model.layers.0.self_attn.q_proj.weight";
  const down = "model.layers.0.mlp.down_proj.weight";

  it.each([lozo, subzero])("get a core for each matrix and none for vectors: %o", (subspace) => {
    const method = withCores(full, subspace);
    const matrices = full.tensors.filter(({ shape }) => shape.length === 2).map(({ name }) => name);
    const vectors = full.tensors.filter(({ shape }) => shape.length === 1);
    expect(matrices).toHaveLength(8);
    expect(vectors).toHaveLength(3);
    expect(method.cored!.matrices.map(({ base }) => base)).toEqual(matrices);
    // What is trained: cores in the place of matrices, vectors as they are.
    expect(method.tensors.map(({ name }) => name)).toEqual(
      full.tensors.map(({ name, shape }) => (shape.length === 2 ? `${name}#core` : name)),
    );
    expect(method.tensors.filter(({ shape }) => shape.length === 1)).toEqual(vectors);
    expect(method.tensors.filter(({ core }) => core !== undefined)).toHaveLength(8);
    expect(method.frozen!.map(({ name }) => name)).toEqual(expect.arrayContaining(matrices));
    expect(method).toMatchObject({ kind: "full", placement: "copies", cored: { subspace, bySide: true } });
    expect([method.product, method.rows].every((of) => typeof of === "function")).toBe(true);
  });

  it("have for LOZO a core of a row each, and V of a column each", () => {
    const { tensors, frozen } = withCores(full, lozo);
    expect(shapes(tensors)).toMatchObject({
      [`${q}#core`]: [8, 3],
      [`${down}#core`]: [8, 3],
      "model.embed_tokens.weight#core": [12, 3],
    });
    expect(shapes(frozen)).toMatchObject({ [q]: [8, 8], [`${q}#v`]: [8, 3], [`${down}#v`]: [16, 3] });
    expect(frozen!.some(({ name }) => name.endsWith("#u"))).toBe(false);
    expect(matrixOf(withCores(full, lozo), down)).toEqual({
      ...{ base: down, core: `${down}#core`, rows: 8, columns: 16, rank: 3, scale: 1, turned: false },
    });
  });

  it("have for SubZero a core of rank × rank, U and V, and √(mn)/rank", () => {
    const { tensors, frozen } = withCores(full, subzero);
    expect(shapes(tensors)).toMatchObject({ [`${q}#core`]: [3, 3], [`${down}#core`]: [3, 3] });
    expect(shapes(frozen)).toMatchObject({ [`${down}#u`]: [8, 3], [`${down}#v`]: [16, 3] });
    expect(matrixOf(withCores(full, subzero), down)).toEqual({
      ...{
        base: down,
        core: `${down}#core`,
        rows: 8,
        columns: 16,
        rank: 3,
        scale: Math.sqrt(8 * 16) / 3,
        turned: false,
      },
    });
  });

  it("start from cores of 0 that know their rank and their block of the model", () => {
    for (const subspace of [lozo, subzero]) {
      const { tensors } = withCores(single([6, 9], "in-place"), subspace);
      expect(tensors).toEqual([
        { name: "w#core", shape: [subspace === lozo ? 6 : 3, 3], initial: { kind: "zeros" }, core: 3, layer: 4 },
      ]);
    }
  });

  it("keep what a method held frozen before", () => {
    const frozenA = loraMethod(loraModules({ peft_type: "LORA", r: 2, lora_alpha: 2 }, parameters, ["q_proj"]), true);
    const names = frozenA.frozen!.map(({ name }) => name);
    expect(names.length).toBeGreaterThan(0);
    expect(withCores(frozenA, lozo).frozen!.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  });
});

describe("an adapter's weights in a low-rank subspace", () => {
  const at = "base_model.model.model.layers.0";

  it("have no side paths: products are added to copies", () => {
    for (const subspace of [lozo, subzero]) {
      const method = withCores(lora, subspace);
      expect(method).toMatchObject({ kind: "lora", placement: "copies", cored: { bySide: false } });
      expect([method.product, method.rows]).toEqual([undefined, undefined]);
      expect(method.attach).toBe(lora.attach);
      expect(method.frozen!.map(({ name }) => name)).toEqual(
        expect.arrayContaining(lora.tensors.map(({ name }) => name)),
      );
    }
  });

  it("are taken as nearly square matrices by SubZero, and as they are by LOZO", () => {
    const [a, b] = [`${at}.mlp.up_proj.lora_A.weight`, `${at}.mlp.up_proj.lora_B.weight`];
    expect(shapes(lora.tensors)).toMatchObject({ [a]: [2, 8], [b]: [16, 2] });
    const square = withCores(lora, subzero);
    expect(matrixOf(square, a)).toMatchObject({ rows: 4, columns: 4, rank: 3, scale: 4 / 3 });
    expect(matrixOf(square, b)).toMatchObject({ rows: 4, columns: 8, rank: 3, scale: Math.sqrt(32) / 3 });
    expect(shapes(square.frozen)).toMatchObject({ [a]: [2, 8], [`${a}#u`]: [4, 3], [`${b}#v`]: [8, 3] });
    const plain = withCores(lora, lozo);
    expect(matrixOf(plain, a)).toMatchObject({ rows: 2, columns: 8, rank: 2, scale: 1 });
    expect(matrixOf(plain, b)).toMatchObject({ rows: 16, columns: 2, rank: 2, scale: 1 });
  });
});

describe("shapes", () => {
  const dims = fc.integer({ min: 1, max: 60 });
  const subspaces = fc.record({
    ...{ kind: fc.constantFrom("lozo" as const, "subzero" as const), rank: fc.integer({ min: 1, max: 12 }) },
    refreshEvery: fc.constant(5),
  });

  it("hold all of a matrix's elements, the rank no larger than its sides, reshaped as square as they can be", () => {
    fc.assert(
      fc.property(dims, dims, subspaces, fc.boolean(), (m, n, subspace, isAdapter) => {
        const method = withCores(single([m, n], isAdapter ? "copies" : "in-place"), subspace);
        if (m === 1 || n === 1) {
          // A vector written as a matrix.
          expect(method.tensors).toEqual(single([m, n], "copies").tensors);
          expect(method.cored!.matrices).toEqual([]);
          return;
        }
        const { rows, columns, rank, scale } = matrixOf(method, "w");
        expect(rows * columns).toBe(m * n);
        expect(rank).toBe(Math.min(subspace.rank, rows, columns));
        if (subspace.kind === "subzero" && isAdapter) {
          expect(rows).toBeLessThanOrEqual(columns);
          for (let between = rows + 1; between ** 2 <= m * n; between++) expect((m * n) % between).not.toBe(0);
        } else expect([rows, columns]).toEqual([m, n]);
        expect(scale).toBe(subspace.kind === "lozo" ? 1 : Math.sqrt(m * n) / rank);
        const held = shapes([...method.tensors, ...method.frozen!]);
        expect(held["w#core"]).toEqual([subspace.kind === "lozo" ? rows : rank, rank]);
        expect(held["w#v"]).toEqual([columns, rank]);
        expect(held["w#u"]).toEqual(subspace.kind === "lozo" ? undefined : [rows, rank]);
        expect(held.w).toEqual([m, n]);
      }),
      { numRuns: 200 },
    );
  });
});
