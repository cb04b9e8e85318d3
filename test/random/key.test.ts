import { describe, expect, it } from "vitest";
import { type Key, type Stream, tensorId, tensorKey } from "../../src/random/key.js";
import { philox4x32 } from "../../src/random/philox.js";

const key: Key = { seed: 0x0123_4567_89ab_cdefn, stream: "noise", step: 7, query: 3 };

describe("tensorId", () => {
  // Vectors of the hash's authors.
  it.each([
    ["", 0xcbf29ce484222325n],
    ["a", 0xaf63dc4c8601ec8cn],
    ["foobar", 0x85944171f73967e8n],
  ])("is the 64-bit FNV-1a hash of %j", (name, hash) => {
    expect(tensorId(name)).toBe(hash);
  });

  it("hashes the name's UTF-8 bytes", () => {
    expect(tensorId("é")).not.toBe(tensorId("e"));
  });
});

describe("tensorKey", () => {
  it("is one Philox call: the seed is the key, and the rest the counter", () => {
    const expected = philox4x32([0x9abcdef0, 0x12345678, 7, 3 + 2 ** 24 * 0], [0x89abcdef, 0x01234567]);
    expect([...tensorKey(key, 0x1234_5678_9abc_def0n)]).toEqual(expected);
    const masked = philox4x32([0x9abcdef0, 0x12345678, 7, 3 + 2 ** 24 * 1], [0x89abcdef, 0x01234567]);
    expect([...tensorKey({ ...key, stream: "mask" }, 0x1234_5678_9abc_def0n)]).toEqual(masked);
  });

  it("differs wherever a part of the key differs", () => {
    const streams: Stream[] = ["noise", "mask", "layers", "factor", "data", "init"];
    const keys = [
      ...streams.map((stream) => tensorKey({ ...key, stream }, 1n)),
      ...[0, 8, 0xffff_ffff].map((step) => tensorKey({ ...key, step }, 1n)),
      ...[0, 4, 2 ** 24 - 1].map((query) => tensorKey({ ...key, query }, 1n)),
      ...[0n, 2n, 2n ** 32n + 1n, 2n ** 64n - 1n].map((tensor) => tensorKey(key, tensor)),
      ...[0n, key.seed + 1n, key.seed ^ (1n << 63n)].map((seed) => tensorKey({ ...key, seed }, 1n)),
    ];
    expect(new Set(keys.map(String)).size).toBe(keys.length);
  });

  it.each([
    ["step", { step: -1 }],
    ["step", { step: 2 ** 32 }],
    ["step", { step: 0.5 }],
    ["query", { query: 2 ** 24 }],
    ["query", { query: -1 }],
  ])("refuses a %s that does not fit its field", (name, change) => {
    expect(() => tensorKey({ ...key, ...change }, 1n)).toThrow(new RegExp(name));
  });
});
