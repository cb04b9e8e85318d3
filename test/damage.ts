import fc from "fast-check";
import { expect } from "vitest";
import { messageOf, ZerothError } from "../src/errors.js";

/* Files that are no longer what they were. */

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** What a field may be instead: wrong types, and numbers that are too small, too large or in parts. */
const strange: fc.Arbitrary<Json> = fc.constantFrom<Json[]>(
  ...[null, true, false, "", "x", "full_attention", [], {}, [null], [[1]], { a: 1 }, { type: "linear" }],
  ...[0, 1, 2, 3, -1, 0.5, 7, 1e-300, 1e9, 2 ** 31, 2 ** 53, 1e300],
);

/** Where a value is kept in another. */
type Place = { readonly holder: Json[] | { [name: string]: Json }; readonly key: string };
const placesOf = (value: Json): Place[] => {
  if (typeof value !== "object" || value === null) return [];
  return Object.keys(value).flatMap((key) => [
    { holder: value, key },
    ...placesOf((value as { [name: string]: Json })[key] ?? null),
  ]);
};

/** A few changes to a copy of a JSON value: fields gone, replaced, or put where another was. */
export const mutated = <T>(good: T): fc.Arbitrary<T> =>
  fc
    .array(fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.option(strange, { freq: 8 })), {
      minLength: 1,
      maxLength: 3,
    })
    .map((changes) => {
      const copy = JSON.parse(JSON.stringify(good)) as Json;
      for (const [where, value] of changes) {
        const places = placesOf(copy);
        const place = places[Math.floor(where * places.length)];
        if (place === undefined) continue;
        const holder = place.holder as { [name: string]: Json };
        if (value === null && Array.isArray(place.holder)) place.holder.splice(Number(place.key), 1);
        else if (value === null) delete holder[place.key];
        else holder[place.key] = JSON.parse(JSON.stringify(value));
      }
      return copy as T;
    });

/** Damage to the bytes of a file: cut, flipped bits, bytes written over. Near the front is where the header is. */
export type Harm = (bytes: Buffer) => Buffer;
export const damage = (length: number): fc.Arbitrary<Harm> => {
  const place = fc.oneof(fc.nat(length - 1), fc.nat(Math.min(64, length - 1)));
  return fc.oneof(
    place.map((at) => (bytes: Buffer) => bytes.subarray(0, at)),
    fc.array(fc.tuple(place, fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 8 }).map(
      (flips): Harm =>
        (bytes) => {
          const damaged = Buffer.from(bytes);
          for (const [at, mask] of flips) damaged[at] = (damaged[at] ?? 0) ^ mask;
          return damaged;
        },
    ),
    fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 16 })).map(
      ([at, over]): Harm =>
        (bytes) => {
          const damaged = Buffer.from(bytes);
          damaged.set(over.subarray(0, damaged.length - at), at);
          return damaged;
        },
    ),
    // A length field that claims far more than there is.
    fc.tuple(place, fc.constantFrom(2n ** 64n - 1n, 2n ** 63n, 2n ** 53n, 2n ** 40n, 2n ** 31n)).map(
      ([at, claim]): Harm =>
        (bytes) => {
          const damaged = Buffer.from(bytes);
          damaged.writeBigUInt64LE(claim, Math.min(at, damaged.length - 8));
          return damaged;
        },
    ),
  );
};

/** Anything but a success or an error that the user can act on is a defect. */
export const survives = async (work: () => unknown): Promise<void> => {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ZerothError)) throw error;
    expect(messageOf(error).split("\n").length).toBeLessThanOrEqual(4);
  }
};
