import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { ZerothError } from "../../src/errors.js";
import {
  createJournal,
  decodeStep,
  differences,
  encodeStep,
  type JournalHeader,
  type JournalNote,
  readJournal,
  reopenJournal,
  requireSameRun,
  type StepRecord,
} from "../../src/train/journal.js";
import { temporary } from "./folder.js";
import { header, record } from "./header.js";

/** Writes of this process fail with this code once so many bytes are left. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }));
vi.mock(import("node:fs"), async (original) => {
  const fs = await original();
  const writeSync = ((fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
    if (disk.room <= 0) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    const written = fs.writeSync(fd, bytes, offset, Math.min(length, disk.room), position);
    disk.room -= written;
    return written;
  }) as typeof fs.writeSync;
  return { ...fs, writeSync };
});

const anyRecord = fc.record({
  refused: fc.boolean(),
  losses: fc.float32Array({ maxLength: 9 }),
  numbers: fc.float32Array({ maxLength: 9 }),
});

const anyNote: fc.Arbitrary<JournalNote> = fc.oneof(
  fc.record({ note: fc.constant("refused" as const), step: fc.nat(), reason: fc.string() }),
  fc.record({
    note: fc.constant("evaluation" as const),
    step: fc.nat(),
    metric: fc.constantFrom("accuracy" as const, "loss" as const),
    // JSON has one zero.
    value: fc.double({ noDefaultInfinity: true }).map((value) => value || Math.abs(value)),
    best: fc.boolean(),
  }),
);

const bits = (values: Float32Array): readonly number[] => [...new Uint32Array(values.slice().buffer)];
const exact = ({ losses, numbers, ...rest }: StepRecord) => ({ ...rest, losses: bits(losses), numbers: bits(numbers) });

const journalOf = async (path: string, steps: number): Promise<Uint8Array> => {
  const writer = await createJournal(path, header);
  for (let step = 0; step < steps; step += 1) writer.append(record(step));
  writer.close();
  return readFileSync(path);
};

const frameStarts = (bytes: Uint8Array): readonly number[] => {
  const starts: number[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let offset = 8; offset < bytes.length; offset += 9 + view.getUint32(offset, true)) starts.push(offset);
  return starts;
};

describe("step records", () => {
  test("come back with every bit", () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 32 - 1 }), anyRecord, (step, rest) => {
        expect(exact(decodeStep(encodeStep({ step, ...rest })))).toEqual(exact({ step, ...rest }));
      }),
    );
  });

  test("take 12 bytes a query beside a fixed few", () => {
    const size = (queries: number) =>
      encodeStep({
        step: 0,
        refused: false,
        losses: new Float32Array(2 * queries),
        numbers: new Float32Array(queries + 2),
      }).length;
    expect(size(1)).toBeLessThanOrEqual(40);
    expect(size(8) - size(7)).toBe(12);
  });

  test("of any other bytes are refused, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          expect(encodeStep(decodeStep(bytes)).length).toBe(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

describe("a journal", () => {
  test("comes back as it was written, and goes on after it was closed", async () => {
    const folder = temporary();
    let file = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(anyRecord, anyNote), { maxLength: 20 }),
        fc.nat({ max: 20 }),
        async (entries, cut) => {
          file += 1;
          const path = join(folder, `${file}.zj`);
          let writer = await createJournal(path, header);
          const steps: StepRecord[] = [];
          const notes: JournalNote[] = [];
          for (const [index, entry] of entries.entries()) {
            if (index === cut) {
              writer.close();
              writer = reopenJournal(path).writer;
            }
            if ("note" in entry) {
              notes.push(entry);
              writer.note(entry);
            } else {
              const next = { step: steps.length, ...entry };
              steps.push(next);
              writer.append(next);
            }
          }
          writer.base({ sha256: { "model.safetensors": "abc" } });
          writer.close();
          const journal = readJournal(path);
          expect([...journal.steps].map(exact)).toEqual(steps.map(exact));
          expect(journal).toMatchObject({ header, notes, stepCount: steps.length, tornBytes: 0 });
          expect(journal.base).toEqual({ sha256: { "model.safetensors": "abc" } });
          expect(journal.soundBytes).toBe(statSync(path).size);
        },
      ),
      { numRuns: 40 },
    );
  });

  test("is finished by its note until another step follows", async () => {
    const path = join(temporary(), "journal.zj");
    const writer = await createJournal(path, header);
    writer.append(record(0));
    const note = { note: "finished", step: 1, keptStep: 1, outcome: "finished", loss: Number.NaN } as const;
    writer.note({ ...note, secondsPerStep: 0.5, peakRssBytes: 1e9 });
    expect(readJournal(path).finished).toMatchObject({ keptStep: 1, loss: Number.NaN });
    writer.append(record(1));
    writer.close();
    expect(readJournal(path).finished).toBeUndefined();
    expect(readJournal(path).notes).toHaveLength(1);
  });

  test("cut at any byte keeps every whole record and goes on from there", async () => {
    const folder = temporary();
    const path = join(folder, "journal.zj");
    const bytes = await journalOf(path, 4);
    const [, first = 0, ...later] = frameStarts(bytes);
    const ends = [...later, bytes.length];
    for (let length = 0; length < bytes.length; length += 1) {
      writeFileSync(path, bytes.subarray(0, length));
      if (length < first) {
        expect(() => readJournal(path), `cut at ${length}`).toThrow(ZerothError);
        continue;
      }
      const whole = ends.filter((end) => end <= length).length;
      const { journal, writer } = reopenJournal(path);
      expect(journal.stepCount, `cut at ${length}`).toBe(whole);
      expect(journal.tornBytes).toBe(length - (whole === 0 ? first : (ends[whole - 1] ?? 0)));
      writer.append(record(whole));
      writer.close();
      expect([...readJournal(path).steps].map(exact)).toEqual(
        Array.from({ length: whole + 1 }, (_, i) => exact(record(i))),
      );
    }
  });

  test("with a tail of zeros or of rubbish, as a power cut leaves it, loses nothing before it", async () => {
    const path = join(temporary(), "journal.zj");
    const bytes = await journalOf(path, 3);
    for (const tail of [
      new Uint8Array(4096),
      Uint8Array.from({ length: 100_000 }, (_, i) => (i * 2654435761) >>> 13),
    ]) {
      writeFileSync(path, Buffer.concat([bytes, tail]));
      expect(readJournal(path)).toMatchObject({ stepCount: 3, tornBytes: tail.length });
    }
  });

  test("with any bit flipped before its last record is refused, naming the file and the byte", async () => {
    const path = join(temporary(), "journal.zj");
    const bytes = await journalOf(path, 3);
    const starts = frameStarts(bytes);
    const last = starts.at(-1) ?? 0;
    // One bit of each byte.
    for (let bit = 0; bit < 8 * bytes.length; bit += bit % 8 === 7 ? 1 : 9) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      writeFileSync(path, flipped);
      if (bit >> 3 >= last) {
        expect(readJournal(path).stepCount).toBe(2);
      } else {
        const broken = Math.max(...starts.filter((start) => start <= bit >> 3));
        const message = bit >> 3 < 8 ? path : `${path} is damaged at byte ${broken}`;
        expect(() => readJournal(path)).toThrow(message);
      }
    }
  });

  test("that was crafted is refused in time, without allocating what it claims", () => {
    const path = join(temporary(), "journal.zj");
    const magic = Buffer.from("ZEROTHJ\u0001");
    // Every offset claims a frame of 16 MiB of a known kind.
    const hostile = Buffer.alloc(4 * 2 ** 20, 1);
    for (const content of [Buffer.alloc(0), magic, Buffer.concat([magic, hostile]), Buffer.alloc(100), hostile]) {
      writeFileSync(path, content);
      const start = performance.now();
      expect(() => readJournal(path)).toThrow(ZerothError);
      expect(performance.now() - start).toBeLessThan(5000);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (rest) => {
        writeFileSync(path, Buffer.concat([magic, rest]));
        expect(() => readJournal(path)).toThrow(ZerothError);
      }),
    );
    expect(() => readJournal(join(path, "absent"))).toThrow("cannot be read");
  });

  test("of another version says so", async () => {
    const path = join(temporary(), "journal.zj");
    const bytes = Uint8Array.from(await journalOf(path, 0));
    bytes[7] = 9;
    writeFileSync(path, bytes);
    expect(() => readJournal(path)).toThrow("version 9");
  });

  test("refuses steps with a gap", async () => {
    const path = join(temporary(), "journal.zj");
    const writer = await createJournal(path, header);
    for (const step of [0, 2, 3]) writer.append(record(step));
    writer.close();
    expect(() => readJournal(path)).toThrow("not the record of step 1");
  });

  test("on a full disk ends with the record before, says how to go on, and goes on", async () => {
    const path = join(temporary(), "journal.zj");
    const writer = await createJournal(path, header);
    writer.append(record(0));
    const size = statSync(path).size;
    for (const room of [0, 1, 20]) {
      disk.room = room;
      expect(() => writer.append(record(1))).toThrow(/disk is full \(\d+ MiB free\).*\n.*--resume/);
      expect(statSync(path).size).toBe(size);
    }
    disk.room = Number.POSITIVE_INFINITY;
    writer.append(record(1));
    writer.close();
    expect(readJournal(path)).toMatchObject({ stepCount: 2, tornBytes: 0 });
  });

  test("refuses another base, other data and other options by name, but for the free ones", () => {
    const other = (change: Partial<JournalHeader>): JournalHeader => ({ ...header, ...change });
    expect(differences(header, other({ zeroth: "9.9.9", runtime: { name: "x", version: "1", threads: 7 } }))).toEqual(
      [],
    );
    const changed = other({ options: { ...header.options, threads: 4, learningRate: 1 } });
    expect(differences(header, changed, ["threads"])).toEqual(["--learning-rate (0.001 then, 1 now)"]);
    expect(() => requireSameRun("j", header, other({ model: { origin: "b", fingerprint: "01" } }))).toThrow(
      "the base model",
    );
    expect(() => requireSameRun("j", header, other({ data: "e5" }))).toThrow("the data");
    expect(() => requireSameRun("j", header, changed, ["threads", "learningRate"])).not.toThrow();
  });
});

test("a process killed at any moment leaves a prefix of what it wrote, and all that it had synced", async () => {
  const folder = temporary();
  const child = fileURLToPath(new URL("./journal-child.mjs", import.meta.url));
  expect(
    existsSync(fileURLToPath(new URL("../../dist/train/journal.js", import.meta.url))),
    "npm run build first",
  ).toBe(true);
  const path = join(folder, "journal.zj");
  let resumed = 0;
  for (let round = 0; round < 8; round += 1) {
    const synced = await new Promise<number>((resolve, reject) => {
      const run = spawn(process.execPath, [child, path], { stdio: ["ignore", "pipe", "inherit"] });
      let told = "";
      run.on("error", reject).on("exit", () => {
        const lines = told.split("\n").slice(0, -1);
        resolve(Number(lines.at(-1) ?? 0));
      });
      run.stdout.on("data", (data) => {
        // The first line says that it is writing.
        if (told === "") setTimeout(() => run.kill("SIGKILL"), 3 + 17 * round);
        told += data;
      });
    });
    const journal = readJournal(path);
    expect(journal.stepCount).toBeGreaterThanOrEqual(synced);
    expect(journal.stepCount).toBeGreaterThanOrEqual(resumed);
    for (const step of journal.steps) expect(exact(step)).toEqual(exact(record(step.step)));
    resumed = journal.stepCount;
  }
  expect(resumed).toBeGreaterThan(100);
});
