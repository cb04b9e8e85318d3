/**
 * Memory that goes to a kernel thread and back as a whole: every buffer that a thread receives costs it a garbage collection, so
 * all tensors of a thread's share lie in one. After a walk another ArrayBuffer over the same memory is in its place.
 */
export interface Arena {
  buffer: ArrayBuffer;
}

/** fp32 values in an arena. */
export interface Slab {
  readonly arena: Arena;
  /** In bytes. */
  readonly offset: number;
  /** In elements. */
  readonly length: number;
}

/** A slab's values. Valid until the next walk, which may put its arena into another buffer. */
export const floatsOf = ({ arena, offset, length }: Slab): Float32Array<ArrayBuffer> =>
  new Float32Array(arena.buffer, offset, length);

/** Elements `start` to `start + length` of a slab. */
export const part = ({ arena, offset }: Slab, start: number, length: number): Slab => ({
  arena,
  offset: offset + 4 * start,
  length,
});

/** A cache line: no two slabs share one. */
const ALIGNMENT = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** What the first arena, which stays with the calling thread, may hold more than another: a thread receives its own some milliseconds late. */
const HEAD_START = 1.15;

/**
 * Room for sets of slabs, a set always in one arena, divided about evenly between `count` arenas: longest sets first, each to the arena
 * with the least in it so far.
 *
 * @param sets for each, the elements of its slabs
 * @returns slabs of zeros in the order given
 */
export const allocate = (sets: readonly (readonly number[])[], count: number): readonly (readonly Slab[])[] => {
  const arenas = Array.from({ length: count }, (_, i) => ({
    arena: { buffer: new ArrayBuffer(0) },
    bytes: 0,
    strength: i === 0 ? HEAD_START : 1,
  }));
  const bytesOf = (set: readonly number[]): number => set.reduce((sum, length) => sum + aligned(4 * length), 0);
  const placed = sets
    .map((set, index) => ({ set, index, bytes: bytesOf(set) }))
    .sort((a, b) => b.bytes - a.bytes)
    .map(({ set, index, bytes }) => {
      const home = arenas.reduce((a, b) => (b.bytes / b.strength < a.bytes / a.strength ? b : a));
      let offset = home.bytes;
      home.bytes += bytes;
      const slabs = set.map((length): Slab => {
        const slab = { arena: home.arena, offset, length };
        offset += aligned(4 * length);
        return slab;
      });
      return { index, slabs };
    });
  for (const { arena, bytes } of arenas) arena.buffer = new ArrayBuffer(bytes);
  return placed.sort((a, b) => a.index - b.index).map(({ slabs }) => slabs);
};
