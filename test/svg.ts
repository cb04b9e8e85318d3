import { expect } from "vitest";

/** Names of the elements; fails unless every tag is closed in order and the text holds no stray markup. */
export const elements = (svg: string): readonly string[] => {
  const open: string[] = [];
  const names: string[] = [];
  const rest = svg.replace(
    /<(\/?)([a-zA-Z]+)((?:\s[a-zA-Z][\w-]*="[^"<]*")*)\s*(\/?)>/g,
    (_, close, name, _a, empty) => {
      if (close) expect(open.pop()).toBe(name);
      else names.push(name);
      if (!close && !empty) open.push(name);
      return "";
    },
  );
  expect(open).toEqual([]);
  expect(rest).not.toMatch(/[<>]|&(?!amp;|lt;|gt;|quot;)/);
  return names;
};

/** All but what is written for people: coordinates and such. */
export const numbersOf = (svg: string): string => svg.replace(/<title>.*?<\/title>|<text.*?<\/text>/g, "");
