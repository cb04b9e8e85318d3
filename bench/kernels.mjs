// Nanoseconds an element of the kernels: `node tools/build.mjs && node bench/kernels.mjs [millions of elements]`.
import { cpus } from "node:os";
import { input, mul, scalar, sub } from "../dist/kernels/expr.js";
import { createKernelPool } from "../dist/kernels/pool.js";
import { tensorId } from "../dist/random/key.js";

const elements = Number(process.argv[2] ?? 64) * 1e6;
// Tensors of a transformer's size, so that the work divides.
const tensors = 64;
const repeats = 5;

const weight = sub(mul(input("weight"), scalar("decay")), mul(scalar("rate"), input("g")));
const key = (step) => ({ seed: 1n, stream: "noise", step, query: 0 });
const perturb = (step, scale) => ({ kind: "perturb", key: key(step), scale });
const update = {
  kind: "update",
  gradient: [{ key: key(1), scale: 1 }],
  curvature: [],
  scalars: { decay: 1, rate: 1e-6 },
};
const walks = {
  perturb: [perturb(1, 1e-3)],
  "restore + update + perturb": [perturb(1, 1e-3), update, perturb(2, 1e-3)],
};

const slabs = Array.from({ length: tensors }, () => ({
  buffer: new Float32Array(elements / tensors).fill(0.02).buffer,
}));
console.log(
  `${cpus()[0]?.model ?? "unknown processor"}, Node ${process.version}, ${elements / 1e6} M elements, best of ${repeats}`,
);
for (const distribution of ["gaussian", "rademacher"]) {
  for (const threads of [1, 2]) {
    const pool = createKernelPool(threads, { distribution, direction: input("z"), apply: { weight }, states: [] });
    for (const [name, ops] of Object.entries(walks)) {
      const jobs = slabs.map((slab, i) => ({ tensor: tensorId(`tensor.${i}`), weight: slab, states: [], ops }));
      const times = Array.from({ length: repeats }, () => {
        const start = performance.now();
        pool.walk(jobs);
        return ((performance.now() - start) * 1e6) / elements;
      });
      console.log(
        `${distribution}, ${threads} ${threads === 1 ? "thread" : "threads"}, ${name}: ${Math.min(...times).toFixed(2)} ns an element`,
      );
    }
    await pool.close();
  }
}
