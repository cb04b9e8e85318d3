import { closeSync, openSync, readSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeError, writeFileAtomic } from "../atomic.js";
import { cacheFolder } from "./cache-folder.js";
import { type Encoding, encodings } from "./encodings.js";
import { turn } from "./kept.js";
import { fill } from "./read.js";
import { elementsOf, endsInside, readTensorSync, type TensorSource } from "./weights.js";

/*
 * Matrices that stay in 4 or 8 bits: blocks of 32 elements of a row, element = scale·(q − zero) + minimum. The runtime wants the
 * nibbles of neighbours in one byte where GGUF pairs element i with element i + 16, and fp32 scales apart from the blocks; so a
 * matrix is repacked once, into a cache file that the runtime maps from then on. Nothing is rounded on the way.
 */

/** Elements of a block. */
export const BLOCK = 32;

/** A matrix that is to be in blocks. */
export interface MatrixSource extends TensorSource {
  /** Its shape is [inputs, outputs], and products want it [outputs, inputs]. */
  readonly turned?: boolean;
}

/** A part of a repacked matrix: its place in the file, in bytes. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

/** A matrix [rows, columns] as the runtime takes it. */
export interface BlockMatrix {
  readonly file: string;
  readonly bits: 4 | 8;
  /** uint8 [rows, columns/32, 4·bits]; the lower nibble is the earlier element. q's zero is 2^(bits − 1), or 0 where there are minima. */
  readonly blocks: Place;
  /** fp32 [rows, columns/32]. */
  readonly scales: Place;
  /** fp32 [rows, columns/32]: what is added to every element of a block. */
  readonly minima?: Place;
  /** Where there are minima: as many zero bytes as the blocks have zero points, bits [rows, columns/32] in whole bytes a row. */
  readonly zeros?: Place;
}

interface Packer {
  readonly bits: 4 | 8;
  readonly minima: boolean;
  /** One block of the source (`blockBytes` of it, or 32 fp32 elements) at `at` to the runtime's bytes, scale and minimum. */
  pack(source: DataView, at: number, out: Uint8Array, to: number): readonly [scale: number, minimum: number];
}

const half = (bits: number): number => {
  const out = new Float32Array(1);
  encodings.F16.decode(Uint8Array.of(bits & 255, bits >> 8), out);
  return out[0] ?? 0;
};
const halves = Float32Array.from({ length: 65_536 }, (_, bits) => half(bits));
const halfAt = (source: DataView, at: number): number => halves[source.getUint16(at, true)] ?? 0;

/** GGUF's 16 bytes, element i beside element i + 16, to neighbours in a byte. */
const interleave = (source: DataView, at: number, out: Uint8Array, to: number): void => {
  for (let j = 0; j < 8; j++) {
    const [first, second] = [source.getUint8(at + 2 * j), source.getUint8(at + 2 * j + 1)];
    out[to + j] = (first & 15) | ((second & 15) << 4);
    out[to + j + 8] = (first >> 4) | (second & 0xf0);
  }
};

const ofGguf: Partial<Readonly<Record<Encoding, Packer>>> = {
  Q4_0: {
    bits: 4,
    minima: false,
    pack(source, at, out, to) {
      interleave(source, at + 2, out, to);
      return [halfAt(source, at), 0];
    },
  },
  Q4_1: {
    bits: 4,
    minima: true,
    pack(source, at, out, to) {
      interleave(source, at + 4, out, to);
      return [halfAt(source, at), halfAt(source, at + 2)];
    },
  },
  Q8_0: {
    bits: 8,
    minima: false,
    pack(source, at, out, to) {
      for (let i = 0; i < BLOCK; i++) out[to + i] = source.getUint8(at + 2 + i) ^ 0x80;
      return [halfAt(source, at), 0];
    },
  },
};

/** Rounds 32 floats to 4 bits as GGUF's Q4_0 does, or to 8 as its Q8_0, with an fp32 scale. */
const rounding: Readonly<Record<4 | 8, Packer>> = {
  4: {
    bits: 4,
    minima: false,
    pack(source, at, out, to) {
      let extreme = 0;
      for (let i = 0; i < BLOCK; i++) {
        const value = source.getFloat32(at + 4 * i, true);
        if (Math.abs(value) > Math.abs(extreme)) extreme = value;
      }
      const scale = Math.fround(extreme / -8);
      const quantum = (i: number): number =>
        scale === 0 ? 8 : Math.max(0, Math.min(15, Math.round(source.getFloat32(at + 4 * i, true) / scale) + 8));
      for (let j = 0; j < 16; j++) out[to + j] = quantum(2 * j) | (quantum(2 * j + 1) << 4);
      return [scale, 0];
    },
  },
  8: {
    bits: 8,
    minima: false,
    pack(source, at, out, to) {
      let extreme = 0;
      for (let i = 0; i < BLOCK; i++) extreme = Math.max(extreme, Math.abs(source.getFloat32(at + 4 * i, true)));
      const scale = Math.fround(extreme / 127);
      for (let i = 0; i < BLOCK; i++) {
        out[to + i] = scale === 0 ? 128 : Math.round(source.getFloat32(at + 4 * i, true) / scale) + 128;
      }
      return [scale, 0];
    },
  },
};

/** [outputs, inputs] */
const shapeOf = ({ shape, turned = false }: MatrixSource): readonly number[] => (turned ? [...shape].reverse() : shape);

/** Whether the file's rows are the outputs'. */
const hasRows = ({ kept, turned = false }: MatrixSource): boolean => turned === (kept?.as === "transpose");

/** How a matrix becomes blocks; undefined where it does not: its rows are no whole blocks, or its encoding is another one. */
const packerOf = (matrix: MatrixSource, quantize: 4 | 8 | undefined): Packer | undefined => {
  const shape = shapeOf(matrix);
  const columns = shape[1];
  const { encoding } = matrix;
  if (shape.length !== 2 || columns === undefined || columns % BLOCK !== 0) return undefined;
  const native = ofGguf[encoding];
  if (native !== undefined) return hasRows(matrix) ? native : undefined;
  return quantize !== undefined && encodings[encoding].blockElements === 1 ? rounding[quantize] : undefined;
};

/** The row of the file that is row `row` of the matrix: GGUF interleaves the rotary rows of each head. */
const fileRow = (row: number, { shape, kept }: TensorSource): number => {
  if (kept?.as !== "rotary pairs") return row;
  const size = (shape[0] ?? 0) / kept.heads;
  const [head, i] = [Math.floor(row / size), row % size];
  return head * size + (i < size / 2 ? 2 * i : 2 * (i - size / 2) + 1);
};

const ALIGNMENT = 64;
const aligned = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
/** Told apart from what another version would have made of the same weights. */
const VERSION = 2;
const MAGIC = Buffer.from(`ZEROTH BLOCKS ${VERSION}\n`);

interface Planned {
  readonly source: MatrixSource;
  readonly packer: Packer;
  readonly matrix: Omit<BlockMatrix, "file">;
}

/** The places of all matrices in a file: a function of their shapes alone, so that the file needs no index. */
const layOut = (
  sources: readonly MatrixSource[],
  quantize: 4 | 8 | undefined,
): { readonly planned: ReadonlyMap<string, Planned>; readonly size: number } => {
  let at = aligned(MAGIC.length);
  const take = (length: number): Place => {
    const place = { offset: at, length };
    at = aligned(at + length);
    return place;
  };
  const zerosOf = (source: MatrixSource, bits: number): number => {
    const [rows = 0, columns = 0] = shapeOf(source);
    return rows * Math.ceil((columns / BLOCK) * (bits / 8));
  };
  const packers = sources.map((source) => ({ source, packer: packerOf(source, quantize) }));
  // One stretch of zeros, as long as the longest need: each matrix maps the start of it.
  const needs = packers.map(({ source, packer }) => (packer?.minima ? zerosOf(source, packer.bits) : 0));
  const zeros = take(Math.max(0, ...needs));
  const planned = new Map<string, Planned>();
  for (const { source, packer } of packers) {
    if (packer === undefined) continue;
    const count = elementsOf(source.shape) / BLOCK;
    const blocks = take(count * 4 * packer.bits);
    const scales = take(4 * count);
    const places = packer.minima
      ? {
          blocks,
          scales,
          minima: take(4 * count),
          zeros: { offset: zeros.offset, length: zerosOf(source, packer.bits) },
        }
      : { blocks, scales };
    planned.set(source.name, { source, packer, matrix: { bits: packer.bits, ...places } });
  }
  return { planned, size: at + MAGIC.length };
};

/** Rows packed at a time. */
const ROWS = 256;

/** A matrix's rows as a packer reads them, one after another. */
interface Rows {
  /** Bytes of a block. */
  readonly stride: number;
  /** Valid until the next call. */
  read(row: number): DataView;
  close(): void;
}

/** Rows of the file, in its blocks or widened. */
const rowsOfFile = (source: TensorSource, columns: number, isNative: boolean): Rows => {
  const { blockBytes, blockElements, decode } = encodings[source.encoding];
  const rowBytes = (columns / blockElements) * blockBytes;
  const raw = new Uint8Array(rowBytes);
  const floats = new Float32Array(isNative ? 0 : columns);
  const view = new DataView(isNative ? raw.buffer : floats.buffer);
  const fd = openSync(source.file, "r");
  return {
    stride: isNative ? blockBytes : 4 * BLOCK,
    read(row) {
      const offset = source.offset + fileRow(row, source) * rowBytes;
      fill(fd, raw, offset, () => endsInside(source));
      if (!isNative) decode(raw, floats);
      return view;
    },
    close: () => closeSync(fd),
  };
};

/** The file's columns: the whole matrix is in memory meanwhile. */
const rowsAcross = (source: TensorSource, columns: number): Rows => {
  const floats = readTensorSync(source);
  turn(floats, source.shape, { as: "transpose" }, "to file");
  return {
    stride: 4 * BLOCK,
    read: (row) => new DataView(floats.buffer, 4 * row * columns, 4 * columns),
    close() {},
  };
};

/** Packs a matrix a few rows at a time. */
function* packedRows({
  source,
  packer,
}: Planned): Generator<{ blocks: Uint8Array; scales: Float32Array; minima: Float32Array }> {
  const [rows = 0, columns = 0] = shapeOf(source);
  const perRow = columns / BLOCK;
  const isNative = ofGguf[source.encoding] === packer;
  const { stride, read, close } = hasRows(source) ? rowsOfFile(source, columns, isNative) : rowsAcross(source, columns);
  try {
    for (let start = 0; start < rows; start += ROWS) {
      const count = Math.min(ROWS, rows - start);
      const blocks = new Uint8Array(count * perRow * 4 * packer.bits);
      const scales = new Float32Array(count * perRow);
      const minima = new Float32Array(packer.minima ? count * perRow : 0);
      for (let r = 0; r < count; r++) {
        const view = read(start + r);
        for (let b = 0; b < perRow; b++) {
          const place = r * perRow + b;
          const [scale, minimum] = packer.pack(view, b * stride, blocks, place * 4 * packer.bits);
          scales[place] = scale;
          if (packer.minima) minima[place] = minimum;
        }
      }
      yield { blocks, scales, minima };
    }
  } finally {
    close();
  }
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, 0, values.byteLength);

async function* fileOf(planned: Iterable<Planned>, size: number): AsyncGenerator<Uint8Array> {
  let at = 0;
  const padTo = function* (offset: number) {
    if (offset > at) yield new Uint8Array(offset - at);
    at = offset;
  };
  yield MAGIC;
  at += MAGIC.length;
  for (const one of planned) {
    // Scales go behind all blocks: an eighth of a matrix is kept meanwhile.
    const scales: Float32Array[] = [];
    const minima: Float32Array[] = [];
    yield* padTo(one.matrix.blocks.offset);
    for (const rows of packedRows(one)) {
      at += rows.blocks.length;
      yield rows.blocks;
      scales.push(rows.scales);
      minima.push(rows.minima);
    }
    for (const [place, pieces] of [
      [one.matrix.scales, scales],
      [one.matrix.minima, minima],
    ] as const) {
      if (place === undefined) continue;
      yield* padTo(place.offset);
      for (const piece of pieces) yield bytesOf(piece);
      at += place.length;
    }
  }
  yield* padTo(size - MAGIC.length);
  yield MAGIC;
}

/** A file of the right size with the mark at both ends was written whole: it takes its name only then. */
const isWhole = (file: string, size: number): boolean => {
  const info = statSync(file, { throwIfNoEntry: false });
  if (info?.size !== size) return false;
  const fd = openSync(file, "r");
  try {
    return [0, size - MAGIC.length].every((position) => {
      const bytes = Buffer.alloc(MAGIC.length);
      return readSync(fd, bytes, 0, bytes.length, position) === bytes.length && bytes.equals(MAGIC);
    });
  } finally {
    closeSync(fd);
  }
};

/**
 * Matrices in 4 or 8 bits, repacked for the runtime into `~/.cache/zeroth` when they are first asked for.
 *
 * @param identity tells the model's weights from all others (its fingerprint)
 * @param quantize rounds floating-point matrices to as many bits too; those that are in blocks already stay as they are
 * @returns those of `sources` that are in blocks, by name
 * @throws ZerothError when a weight file is cut short or the cache cannot be written
 */
export const blockMatrices = async (
  sources: readonly MatrixSource[],
  identity: string,
  quantize: 4 | 8 | undefined,
): Promise<ReadonlyMap<string, BlockMatrix>> => {
  const { planned, size } = layOut(sources, quantize);
  if (planned.size === 0) return new Map();
  const folder = join(cacheFolder(), "blocks");
  const file = join(
    folder,
    `${identity.slice(0, 32)}-${planned.size}${quantize === undefined ? "" : `-q${quantize}`}.bin`,
  );
  if (!isWhole(file, size)) {
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw writeError(folder, error);
    });
    await writeFileAtomic(file, fileOf(planned.values(), size));
  }
  return new Map([...planned].map(([name, { matrix }]) => [name, { file, ...matrix }]));
};
