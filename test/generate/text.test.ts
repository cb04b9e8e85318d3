import { describe, expect, it } from "vitest";
import { textStream } from "../../src/generate/text.js";

/** A token is a byte. */
const bytes = {
  decode: (ids: readonly number[]): string => new TextDecoder().decode(Uint8Array.from(ids)),
};
const bytesOf = (text: string): readonly number[] => [...new TextEncoder().encode(text)];

/** A token is a word; as SentencePiece does, the space before the first one is dropped. */
const words = ["▁Hello", "▁world", "▁again", "!"];
const pieces = {
  decode: (ids: readonly number[]): string =>
    ids
      .map((id) => words[id] ?? "")
      .join("")
      .replaceAll("▁", " ")
      .replace(/^ /, ""),
};

const told = (text: string, stops: readonly string[] = []): { steps: string[]; stopped: boolean; rest: string } => {
  const stream = textStream(bytes, bytesOf("é "), stops);
  const steps: string[] = [];
  for (const id of bytesOf(text)) {
    const { text: piece, stopped } = stream.push(id);
    steps.push(piece);
    if (stopped) return { steps, stopped, rest: "" };
  }
  return { steps, stopped: false, rest: stream.end() };
};

describe("text from tokens", () => {
  it("comes as it becomes certain; parts of a character are held back", () => {
    const { steps, rest } = told("aé🙂z");
    expect(steps).toEqual(["a", "", "é", "", "", "", "🙂", "z"]);
    expect(rest).toBe("");
  });

  it("tells what is left of a character at the end", () => {
    const stream = textStream(bytes, []);
    expect(
      bytesOf("🙂")
        .slice(0, 2)
        .map((id) => stream.push(id).text),
    ).toEqual(["", ""]);
    expect(stream.end()).toBe("\uFFFD");
    expect(stream.end()).toBe("");
  });

  it("goes on from the prompt: the space before the first new word stays", () => {
    const stream = textStream(pieces, [0]);
    expect([1, 2, 3].map((id) => stream.push(id).text)).toEqual([" world", " again", "!"]);
    expect(textStream(pieces, []).push(1).text).toBe("world");
  });

  it("ends at a stop sequence that lies across tokens, and tells nothing of it", () => {
    const { steps, stopped } = told("one\n\nQ: two", ["\n\nQ:"]);
    expect(steps.join("")).toBe("one");
    expect(stopped).toBe(true);
    expect(steps).toHaveLength("one\n\nQ:".length);
  });

  it("tells what only began like a stop sequence", () => {
    const { steps, rest, stopped } = told("a\n\nb\n", ["\n\nQ:"]);
    expect(steps).toEqual(["a", "", "", "\n\nb", ""]);
    expect({ rest, stopped }).toEqual({ rest: "\n", stopped: false });
  });

  it("a beginning within a beginning still counts: aab in aaab", () => {
    expect(told("xaaab", ["aab"])).toMatchObject({ steps: ["x", "", "", "a", ""], stopped: true });
  });

  it("takes the stop sequence that comes first", () => {
    expect(told("a.b!", ["b!", "."]).steps.join("")).toBe("a");
    // Both come with one token.
    const stream = textStream({ decode: (ids) => ids.map(() => "x, y. z").join("") }, [], [". ", ", "]);
    expect(stream.push(0)).toEqual({ text: "x", stopped: true });
  });
});
