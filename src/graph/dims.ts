import type { Dim } from "./ir.js";

/** A product of sizes, some of which are not known: size · Πover ÷ Πunder. */
interface Product {
  readonly size: number;
  readonly over: readonly string[];
  readonly under: readonly string[];
}

/** Parts of a text between `mark`s that are in no brackets. */
const split = (text: string, mark: string): readonly string[] => {
  const parts = [""];
  let depth = 0;
  for (const letter of text) {
    if (letter === mark && depth === 0) parts.push("");
    else parts.push(`${parts.pop()}${letter}`);
    depth += letter === "(" ? 1 : letter === ")" ? -1 : 0;
  }
  return parts;
};

const parse = (dim: Dim): Product => {
  if (typeof dim === "number") return { size: dim, over: [], under: [] };
  const [top = "", ...under] = split(dim, "/");
  const factors = split(top, "*");
  const known = factors.filter((factor) => /^\d+$/.test(factor)).map(Number);
  return {
    size: known.reduce((a, b) => a * b, 1),
    over: factors.filter((factor) => !/^\d+$/.test(factor)),
    under,
  };
};

/** Names of both lists cancel, one for one. */
const cancelled = ({ size, over, under }: Product): Product => {
  const left = [...under];
  const kept = over.filter((name) => {
    const at = left.indexOf(name);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  return { size, over: kept, under: left };
};

/** The number of elements of a shape. */
export const productOf = (shape: readonly Dim[]): Product =>
  cancelled(
    shape
      .map(parse)
      .reduce(
        (a, b) => ({ size: a.size * b.size, over: [...a.over, ...b.over], under: [...a.under, ...b.under] }),
        parse(1),
      ),
  );

/** a ÷ b; nothing where the known sizes do not divide. */
export const quotient = (a: Product, b: Product): Product | undefined =>
  a.size % b.size === 0
    ? cancelled({ size: a.size / b.size, over: [...a.over, ...b.under], under: [...a.under, ...b.over] })
    : undefined;

export const isOne = ({ size, over, under }: Product): boolean => size === 1 && over.length === 0 && under.length === 0;

/** As one dimension: "2*T*P/N". */
export const dimOf = ({ size, over, under }: Product): Dim => {
  if (over.length === 0 && under.length === 0) return size;
  const factors = [...(size === 1 && over.length > 0 ? [] : [String(size)]), ...over];
  return [factors.join("*"), ...under].join("/");
};

/** A sum of sizes as a factor of a product. */
const summand = (dims: readonly Dim[]): string => `(${dims.join("+")})`;

export const sumOf = (dims: readonly Dim[]): Dim =>
  dims.every((dim) => typeof dim === "number") ? dims.reduce<number>((a, b) => a + Number(b), 0) : summand(dims);
