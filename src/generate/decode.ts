import { DECODING, decodingFeeds, movesEarlier } from "../engine/decoding.js";
import type { Engine } from "../engine/engine.js";
import type { Point } from "../estimator/estimator.js";
import type { BoundFamily } from "../model/family.js";
import type { Choose } from "./sample.js";

export interface Decoding {
  readonly choose: Choose;
  /** Tokens that end a text, and are no part of it. */
  readonly ends: ReadonlySet<number>;
  /** At most this many tokens. */
  readonly most: number;
  /** Where the weights are. Default: as they are. */
  readonly point?: Point;
}

/**
 * The tokens that a model goes on with after `ids`, one at a time: each is computed with what is remembered of those before it.
 *
 * @returns why there are no more: an end token came, or the text is as long as it may be, or as the model's context
 */
export async function* decode(
  engine: Pick<Engine, "decode">,
  family: BoundFamily,
  ids: readonly number[],
  { choose, ends, most, point = [] }: Decoding,
): AsyncGenerator<number, "end" | "length"> {
  const row = [...ids];
  let past = 0;
  for (let index = 0; index < most && row.length <= family.contextLength; index++) {
    if (past > 0 && movesEarlier(family, past, row.length)) past = 0;
    const feeds = decodingFeeds(family, row.slice(past), past);
    const logits = await engine.decode({ point, graph: DECODING, feeds, past });
    past = row.length;
    const id = choose(logits, index);
    if (ends.has(id)) return "end";
    row.push(id);
    yield id;
  }
  return "length";
}
