import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ZerothError } from "../../src/errors.js";
import {
  newestSnapshot,
  readSnapshot,
  type SnapshotTensor,
  type TensorToSnapshot,
  writeSnapshot,
} from "../../src/train/snapshot.js";
import { temporary } from "./folder.js";

/** Values in pieces of three, as an engine gives them in larger ones. */
function* inPieces(data: Float32Array): Generator<Float32Array> {
  const size = data.length > 1000 ? 2 ** 18 : 3;
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size);
}
async function* from(tensors: readonly SnapshotTensor[]): AsyncGenerator<TensorToSnapshot> {
  for (const tensor of tensors) yield { ...tensor, data: inPieces(tensor.data) };
}

const collect = async (path: string): Promise<readonly SnapshotTensor[]> => {
  const tensors: SnapshotTensor[] = [];
  for await (const tensor of readSnapshot(path)) tensors.push(tensor);
  return tensors;
};

const tensor = (name: string, ...shape: number[]): SnapshotTensor => ({
  name,
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    Math.fround(Math.sin(i + name.length)),
  ),
});
const exact = ({ data, ...rest }: SnapshotTensor) => ({ ...rest, bits: Buffer.from(data.buffer).toString("hex") });
const small = [tensor("weight", 3, 2), tensor("weight#momentum", 3, 2), tensor("scalar")];

test("tensors come back with every bit, larger ones than a slice too", async () => {
  const folder = temporary();
  let step = 0;
  const anyTensors = fc.array(
    fc
      .tuple(fc.string(), fc.float32Array({ maxLength: 30 }))
      .map(([name, data]) => ({ name, shape: [data.length], data })),
    { maxLength: 5 },
  );
  await fc.assert(
    fc.asyncProperty(anyTensors, async (tensors) => {
      step += 1;
      const path = await writeSnapshot(folder, step, from(tensors));
      expect((await collect(path)).map(exact)).toEqual(
        tensors.map(({ data, ...rest }) => exact({ ...rest, data: data.slice() })),
      );
    }),
    { numRuns: 30 },
  );
  const large = tensor("large", 1_100, 1_000);
  const path = await writeSnapshot(folder, step + 1, from([large, ...small]));
  const [first, ...rest] = await collect(path);
  expect(Buffer.compare(new Uint8Array(first!.data.buffer), new Uint8Array(large.data.buffer))).toBe(0);
  expect(rest.map(exact)).toEqual(small.map(exact));
  expect(await newestSnapshot(folder, step + 1)).toEqual({ path, step: step + 1 });
});

test("the two latest are kept; one ahead of the journal is passed over", async () => {
  const folder = temporary();
  for (const step of [5, 10, 100]) await writeSnapshot(folder, step, from(small));
  expect(readdirSync(folder).sort()).toEqual(["step-10.snapshot", "step-100.snapshot"]);
  expect((await newestSnapshot(folder, 100))?.step).toBe(100);
  expect((await newestSnapshot(folder, 99))?.step).toBe(10);
  expect(await newestSnapshot(folder, 9)).toBeUndefined();
  expect(await newestSnapshot(join(folder, "absent"), 9)).toBeUndefined();
  // The run went back to 10.
  await writeSnapshot(folder, 20, from(small));
  expect(readdirSync(folder).sort()).toEqual(["step-10.snapshot", "step-20.snapshot"]);
  await writeSnapshot(folder, 30, from(small), 1);
  expect(readdirSync(folder)).toEqual(["step-30.snapshot"]);
});

test("any damage is found: a cut at any byte, a flipped bit in any byte", async () => {
  const folder = temporary();
  const path = await writeSnapshot(folder, 1, from(small));
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
    for (const damaged of [bytes.subarray(0, at), flipped]) {
      writeFileSync(path, damaged);
      await expect(collect(path), `byte ${at}`).rejects.toBeInstanceOf(ZerothError);
    }
  }
  writeFileSync(path, Buffer.concat([bytes, Uint8Array.of(0)]));
  await expect(collect(path)).rejects.toThrow(path);
});

test("a damaged newest snapshot is passed over for the one before", async () => {
  const folder = temporary();
  await writeSnapshot(folder, 1, from(small));
  const path = await writeSnapshot(folder, 2, from(small));
  writeFileSync(path, readFileSync(path).subarray(0, -1));
  expect((await newestSnapshot(folder, 2))?.step).toBe(1);
});

test("a claim larger than the file is refused before anything is allocated", async () => {
  const path = join(temporary(), "step-1.snapshot");
  const section = (value: object): Uint8Array => {
    const text = Buffer.from(JSON.stringify(value));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    return Buffer.concat([length, text]);
  };
  const start = readFileSync(await writeSnapshot(temporary(), 1, from([]))).subarray(0, 8 + 4 + 10 + 4);
  for (const shape of [[2 ** 40], [2 ** 50, 2 ** 50, 2 ** 50], [2 ** 52, 0, 2 ** 52], [1e308]]) {
    writeFileSync(path, Buffer.concat([start, section({ name: "w", shape })]));
    await expect(collect(path)).rejects.toBeInstanceOf(ZerothError);
  }
});

test("a source that fails, or contradicts itself, leaves the snapshots before it", async () => {
  const folder = temporary();
  await writeSnapshot(folder, 1, from(small));
  const wrong = { name: "w", shape: [3], data: new Float32Array(2) };
  await expect(writeSnapshot(folder, 2, from([...small, wrong]))).rejects.toThrow("w has 2 elements");
  expect(readdirSync(folder)).toEqual(["step-1.snapshot"]);
});
