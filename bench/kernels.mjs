// Nanoseconds an element of the kernels, on tensors of a transformer's size: `node bench/kernels.mjs [--elements MILLIONS] [--json]`.
import { parseArgs } from "node:util";
import { allocate, floatsOf } from "../dist/kernels/arena.js";
import { input, mul, scalar, sub } from "../dist/kernels/expr.js";
import { noiseWasm } from "../dist/kernels/noise.wasm.js";
import { createKernelPool } from "../dist/kernels/pool.js";
import { tensorId } from "../dist/random/key.js";
import { machine, median } from "./setup.mjs";

const { values } = parseArgs({ options: { elements: { type: "string", default: "134" }, json: { type: "boolean" } } });
const elements = Number(values.elements) * 1e6;
const TENSORS = 268;
const COLUMNS = 500;
const REPEATS = 7;

const weight = sub(mul(input("weight"), scalar("decay")), mul(scalar("rate"), input("g")));
const key = (step) => ({ seed: 1n, stream: "noise", step, query: 0 });
const perturb = (step) => ({ kind: "perturb", key: key(step), scale: 1e-3 });
const update = {
  ...{ kind: "update", gradient: [{ key: key(1), scale: 1 }], curvature: [] },
  scalars: { decay: 1, rate: 1e-6 },
};
const walks = { perturb: [perturb(1)], "restore, update, perturb": [perturb(1), update, perturb(2)] };

const timed = (work) => {
  const times = Array.from({ length: REPEATS }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return (median(times) * 1e6) / elements;
};

/** The noise alone, into memory that stays in a near cache. */
const drawing = (distribution) => {
  const memory = new WebAssembly.Memory({ initial: 4 });
  const wasm = new WebAssembly.Module(Buffer.from(noiseWasm, "base64"));
  const draw = new WebAssembly.Instance(wasm, { env: { memory } }).exports[distribution];
  const tile = 16_384;
  const blocks = tile / (distribution === "gaussian" ? 8 : 128);
  return timed(() => {
    for (let i = 0; i < elements / tile; i++) draw(1, 2, 3, 4, i * blocks, 0, tile, 65_536);
  });
};

const results = [];
const slabs = allocate(Array(TENSORS).fill([elements / TENSORS]), 2).map(([slab]) => slab);
for (const slab of slabs) floatsOf(slab).fill(0.02);
for (const distribution of ["gaussian", "rademacher"]) {
  results.push({ distribution, walk: "noise alone", threads: 1, nanoseconds: drawing(distribution) });
  for (const threads of [1, 2]) {
    const noise = { distribution };
    const pool = createKernelPool(threads, { noise, direction: input("z"), apply: { weight }, states: [] });
    for (const [walk, ops] of Object.entries(walks)) {
      const jobs = slabs.map((slab, i) => {
        const tensor = { id: tensorId(`tensor.${i}`), weight: slab, columns: COLUMNS, states: [], layouts: [] };
        return { tensor, ops };
      });
      results.push({ distribution, walk, threads, nanoseconds: timed(() => pool.walk(jobs)) });
    }
    await pool.close();
  }
}
if (values.json) console.log(JSON.stringify(results));
else {
  console.log(`${machine()}, ${values.elements} M elements`);
  for (const { distribution, walk, threads, nanoseconds } of results)
    console.log(
      `${distribution}, ${threads} thread${threads === 1 ? "" : "s"}, ${walk}: ${nanoseconds.toFixed(2)} ns an element`,
    );
}
