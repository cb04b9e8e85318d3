// What this machine can do: the runtime's own matrix products over distinct weights of SmolLM2's sizes, and memory read and written in
// place by two threads. Prints one JSON object. The roofline that a step is held against.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { graphBuilder } from "../dist/graph/builder.js";
import { encodeModel } from "../dist/graph/onnx.js";

const [ROWS, INNER, OUTER, LAYERS, THREADS, REPEATS] = [210, 576, 1536, 60, 2, 9];

const products = async () => {
  const folder = mkdtempSync(join(tmpdir(), "zeroth-peaks-"));
  try {
    const bytes = INNER * OUTER * 4;
    writeFileSync(join(folder, "weights"), new Uint8Array(new Float32Array((LAYERS * bytes) / 4).fill(0.01).buffer));
    const g = graphBuilder("products");
    let x = g.input("x", "float32", ["T", INNER]);
    for (let i = 0; i < LAYERS; i++) {
      const shape = i % 2 === 0 ? [OUTER, INNER] : [INNER, OUTER];
      const weight = g.weight(`w${i}`, "float32", shape, { location: "weights", offset: i * bytes, length: bytes });
      x = g.op("Gemm", [x, weight], { transB: 1 });
    }
    g.output(x, "y");
    const session = await InferenceSession.create(encodeModel(g.build()), {
      intraOpNumThreads: THREADS,
      extra: { session: { model_external_initializers_file_folder_path: folder } },
    });
    const feeds = { x: new Tensor("float32", new Float32Array(ROWS * INNER).fill(0.5), [ROWS, INNER]) };
    const times = [];
    for (let i = 0; i <= REPEATS; i++) {
      const start = performance.now();
      await session.run(feeds);
      if (i > 0) times.push(performance.now() - start);
    }
    return (2 * ROWS * INNER * OUTER * LAYERS) / Math.min(...times) / 1e6;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** Each thread multiplies 256 MB of its own by 1 in place, in WebAssembly SIMD, as the kernels do. */
const traffic = async () => {
  const script = `
    const { parentPort, workerData } = require("node:worker_threads");
    Promise.all(workerData.map((url) => import(url))).then(([{ compileRule }, { input, mul, scalar }]) => {
      const elements = 2 ** 26;
      const memory = new WebAssembly.Memory({ initial: elements / 16384 + 1 });
      new Float32Array(memory.buffer).fill(0.5);
      const rule = compileRule({ x: mul(input("x"), scalar("s")) });
      const { run } = new WebAssembly.Instance(new WebAssembly.Module(rule.wasm), { env: { memory } }).exports;
      parentPort.on("message", () => { run(elements, 0, 0, 1); parentPort.postMessage(0); });
      parentPort.postMessage(8 * elements);
    });`;
  const urls = ["compile", "expr"].map((name) => new URL(`../dist/kernels/${name}.js`, import.meta.url).href);
  const workers = Array.from({ length: THREADS }, () => new Worker(script, { eval: true, workerData: urls }));
  const answers = () => Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
  const bytes = (await answers()).reduce((a, b) => a + b);
  const times = [];
  for (let i = 0; i < 6; i++) {
    const done = answers();
    const start = performance.now();
    for (const worker of workers) worker.postMessage(0);
    await done;
    times.push(performance.now() - start);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return bytes / Math.min(...times) / 1e6;
};

console.log(JSON.stringify({ gigaflops: await products(), gigabytes: await traffic() }));
