import { z } from "zod";
import { ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";
import type { Places, Standing } from "../family.js";

const size = z.int().min(1);
const positive = z.number().positive();

/** Rotary settings under their new name (`rope_parameters`) or their old ones (`rope_theta`, `rope_scaling`). */
export const ropeSchema = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
});

/** What a model says of its positions. */
export interface RotaryFields {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: z.infer<typeof ropeSchema> | null | undefined;
  readonly rope_parameters?: z.infer<typeof ropeSchema> | null | undefined;
  readonly partial_rotary_factor?: number | null | undefined;
  readonly max_position_embeddings: number;
  readonly original_max_position_embeddings?: number | null | undefined;
}

/** How angles grow: a frequency for each pair of elements, for a row of some length, and what cosines and sines are multiplied by. */
export interface Rotary {
  /** Elements of a head that turn; those behind them stay. */
  readonly elements: number;
  frequencies(rowLength: number): Float64Array;
  readonly theta: number;
  readonly factor: number;
}

type Scaled = Omit<Rotary, "elements" | "theta">;

/** A kind of scaling: the settings that it needs, and what it makes of the plain frequencies. */
const scaling =
  <S extends z.ZodType>(
    settings: S,
    scale: (settings: z.infer<S>, plain: Float64Array, fields: RotaryFields) => Scaled,
  ) =>
  (raw: unknown, plain: Float64Array, fields: RotaryFields) =>
    scale(settings.parse(raw), plain, fields);

const fixed = (frequencies: Float64Array): Scaled => ({ frequencies: () => frequencies, factor: 1 });

const scalings: Readonly<Record<string, (raw: unknown, plain: Float64Array, fields: RotaryFields) => Scaled>> = {
  default: (_, plain) => fixed(plain),
  linear: scaling(z.looseObject({ factor: positive }), ({ factor }, plain) =>
    fixed(plain.map((frequency) => frequency / factor)),
  ),
  /** Llama 3.1: long waves are slowed, short ones kept, a smooth passage between. */
  llama3: scaling(
    z
      .looseObject({
        factor: positive,
        low_freq_factor: positive,
        high_freq_factor: positive,
        original_max_position_embeddings: size,
      })
      .refine((r) => r.low_freq_factor < r.high_freq_factor, {
        path: ["high_freq_factor"],
        message: "must be larger than low_freq_factor",
      }),
    ({ factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old }, plain) =>
      fixed(
        plain.map((frequency) => {
          const wavelength = (2 * Math.PI) / frequency;
          if (wavelength < old / high) return frequency;
          if (wavelength > old / low) return frequency / factor;
          const smooth = (old / wavelength - low) / (high - low);
          return (1 - smooth) * (frequency / factor) + smooth * frequency;
        }),
      ),
  ),
  /** Phi-3's 128 K models: each pair has a divisor, another one on rows beyond the original context (LongRoPE, arXiv 2402.13753). */
  longrope: scaling(
    z.looseObject({
      short_factor: z.array(positive),
      long_factor: z.array(positive),
      factor: positive.nullish(),
      attention_factor: positive.nullish(),
      original_max_position_embeddings: size.nullish(),
    }),
    (settings, plain, fields) => {
      const { short_factor: short, long_factor: long } = settings;
      const wrong = [short, long].find(({ length }) => length !== plain.length);
      if (wrong !== undefined) {
        const message = `${wrong.length} divisors for ${plain.length} pairs`;
        throw new z.ZodError([
          { code: "custom", path: [wrong === short ? "short_factor" : "long_factor"], message, input: wrong },
        ]);
      }
      const longest = fields.max_position_embeddings;
      const old = settings.original_max_position_embeddings ?? fields.original_max_position_embeddings ?? longest;
      const stretch = settings.factor ?? longest / old;
      const factor = settings.attention_factor ?? (stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(old)));
      const over = (divisors: readonly number[]) => plain.map((frequency, i) => frequency / (divisors[i] ?? 1));
      const tables = { short: over(short), long: over(long) };
      return { frequencies: (rowLength) => (rowLength > old ? tables.long : tables.short), factor };
    },
  ),
};

/** Frequencies without any scaling. */
const plainOf = ({ elements, theta }: Pick<Rotary, "elements" | "theta">): Float64Array =>
  Float64Array.from({ length: elements / 2 }, (_, i) => theta ** ((-2 * i) / elements));

/**
 * @param unusable the error for settings that cannot be used, with the name that they are under
 * @throws ZerothError for a kind of scaling that is not known
 */
export const rotaryOf = (
  fields: RotaryFields,
  headSize: number,
  file: string,
  unusable: (error: z.ZodError, under: readonly PropertyKey[]) => ZerothError,
): Rotary => {
  const name = fields.rope_parameters ? "rope_parameters" : "rope_scaling";
  const settings = fields[name] ?? {};
  const kind = settings.rope_type ?? settings.type ?? "default";
  const scale = Object.hasOwn(scalings, kind) ? scalings[kind] : undefined;
  if (scale === undefined) {
    throw new ZerothError(
      `${file}: rotary scaling "${oneLine(kind, 40)}" (${name}.rope_type) is not supported. Known: ${Object.keys(scalings).join(", ")}.`,
    );
  }
  const part = settings.partial_rotary_factor ?? fields.partial_rotary_factor ?? 1;
  const elements = 2 * Math.floor((headSize * part) / 2);
  const theta = settings.rope_theta ?? fields.rope_theta ?? 10000;
  try {
    return { elements, theta, ...scale(settings, plainOf({ elements, theta }), fields) };
  } catch (error) {
    throw error instanceof z.ZodError ? unusable(error, [name]) : error;
  }
};

/** What the plain frequencies are divided by on short rows, a number for each pair of elements. */
export const divisorsOf = (rotary: Rotary): Float64Array => {
  const scaled = rotary.frequencies(0);
  return plainOf(rotary).map((frequency, i) => frequency / (scaled[i] ?? 1));
};

/** Cosines and sines of each token's angles, from its position on its own path: [T, elements/2] each. */
const turns = (
  { frequencies, factor, elements }: Rotary,
  { positions, rowLengths }: Pick<Standing, "positions" | "rowLengths">,
): { readonly cos: Float32Array; readonly sin: Float32Array } => {
  const half = elements / 2;
  const cos = new Float32Array(positions.length * half);
  const sin = new Float32Array(positions.length * half);
  positions.forEach((position, t) => {
    frequencies(rowLengths[t] ?? 0).forEach((frequency, i) => {
      cos[t * half + i] = factor * Math.cos(position * frequency);
      sin[t * half + i] = factor * Math.sin(position * frequency);
    });
  });
  return { cos, sin };
};

/** The graph inputs of some rotary tables: cos and sin under each one's name. */
export const turnPlaces = (
  tables: Readonly<Record<string, Rotary>>,
  standing: Pick<Standing, "positions" | "rowLengths">,
): Places =>
  Object.fromEntries(
    Object.entries(tables).flatMap(([name, rotary]) => {
      const { cos, sin } = turns(rotary, standing);
      return [
        [`${name}cos`, { data: cos, width: rotary.elements / 2 }],
        [`${name}sin`, { data: sin, width: rotary.elements / 2 }],
      ];
    }),
  );
