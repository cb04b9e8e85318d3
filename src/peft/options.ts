import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { BoundFamily, Parameter } from "../model/family.js";

/** An option of a method: for the public API, the command line and the journal alike. */
export interface MethodOption<S extends z.ZodType = z.ZodType> {
  /** As a command line writes it: `"--rank <r>"`. */
  readonly usage: string;
  /** What it does, less its default. */
  readonly help: string;
  /** What a command line takes: a whole number from 1, a number above 0, nothing but its name, or text. */
  readonly takes: "whole" | "positive" | "nothing" | "text";
  /** Reads text and values, and what it has made itself; it has the default. */
  readonly schema: S;
  /** The default in words. */
  readonly otherwise: string;
}
export type MethodOptions = Readonly<Record<string, MethodOption>>;

/** Options with their defaults filled in. */
export type ValuesOf<O extends MethodOptions> = { readonly [K in keyof O]: z.output<O[K]["schema"]> };
/** Options as they may be given. */
export type GivenOf<O extends MethodOptions> = { readonly [K in keyof O]?: z.input<O[K]["schema"]> | undefined };

/** No rank, bottleneck or number of virtual tokens is larger. */
export const LARGEST = 2 ** 14;

export const whole = (usage: string, help: string, otherwise: number) => ({
  ...{ usage, help, takes: "whole" as const, otherwise: String(otherwise) },
  schema: z.int().min(1).max(LARGEST).default(otherwise),
});

export const positive = (usage: string, help: string, otherwise: number, most?: number) => ({
  ...{ usage, help, takes: "positive" as const, otherwise: String(otherwise) },
  schema: (most === undefined ? z.number().positive() : z.number().positive().max(most)).default(otherwise),
});

export const toggle = (usage: string, help: string) => ({
  ...{ usage, help, takes: "nothing" as const, otherwise: "" },
  schema: z.boolean().default(false),
});

/** Text, or what the schema makes of it. */
export const text = <S extends z.ZodType>(usage: string, help: string, otherwise: string, schema: S) => ({
  ...{ usage, help, takes: "text" as const, otherwise, schema },
});

/** One of some names; the first one is the default. */
export const choice = <const T extends readonly [string, ...string[]]>(usage: string, help: string, names: T) =>
  text(usage, `${help}: ${names.join(" or ")}`, names[0], z.enum(names).default(names[0] as T[number]));

/** A regular expression that compiles; PEFT's are Python's, whose common part is JavaScript's too. */
export const pattern = z.string().refine((source) => {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}, "not a regular expression");

/** Blocks `first` to `last`, counted from 0, both included. */
export type LayerRange = readonly [first: number, last: number];

const layerRange = z.tuple([z.int().min(0), z.int().min(0)]).readonly();
const writtenRange = z
  .string()
  .regex(/^\s*\d+(\.\.\d+)?\s*$/)
  .transform((value) => {
    const [first = "", last = first] = value.split("..");
    return [Number(first), Number(last)] as const;
  });
const range = z.union([layerRange, writtenRange], {
  error: ({ input }) => `must be like 22..29, not ${JSON.stringify(input)}`,
});

/**
 * Blocks that are trained, counted from 0, both included; embeddings, the last norm and the head are not. What comes before the first of them
 * runs once a row and is kept, so that steps pay for the rest alone.
 */
export const layers = text(
  "--layers <first..last>",
  "blocks to train, from 0, both included",
  "all",
  range.nullable().default(null),
);

/**
 * The parameters in a range of blocks; all of them where none is given.
 * @throws ZerothError (usage) for blocks that the model does not have
 */
export const inLayers = (
  { parameters, layers: count }: Pick<BoundFamily, "parameters" | "layers">,
  chosen: LayerRange | null,
): readonly Parameter[] => {
  if (chosen === null) return parameters;
  const [first, last] = chosen;
  if (first > last || last > count - 1)
    throw new ZerothError(`--layers ${first}..${last}: the model's blocks are 0..${count - 1}.`, { kind: "usage" });
  return parameters.filter(({ layer }) => layer !== undefined && layer >= first && layer <= last);
};

/** Module names, or every linear layer. */
export const modules = z
  .union([
    z.string().transform((value) =>
      value.trim() === "all-linear"
        ? ("all-linear" as const)
        : value
            .split(",")
            .map((name) => name.trim())
            .filter((name) => name !== ""),
    ),
    z.array(z.string()).readonly(),
  ])
  .refine((value) => value.length > 0, "needs a module");
