/** "a, b or c". */
export const or = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;

/** Letters to put in, take out or change to make one word of another. */
const distance = (from: string, to: string): number => {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...from].entries()) {
    const above = row;
    row = [i + 1];
    for (let j = 1; j <= to.length; j++) {
      const [corner = 0, up = 0, left = 0] = [above[j - 1], above[j], row[j - 1]];
      row.push(Math.min(corner + (letter === to[j - 1] ? 0 : 1), up + 1, left + 1));
    }
  }
  return row.at(-1) ?? 0;
};

/** The name that was meant, if one is near. */
export const nearest = (word: string, names: readonly string[]): string | undefined => {
  const far = (name: string) => distance(word, name);
  const [best] = [...names].sort((a, b) => far(a) - far(b));
  return best !== undefined && far(best) <= Math.min(3, 0.6 * Math.max(word.length, best.length)) ? best : undefined;
};

/** Characters that take room: accents do not. */
export const widthOf = (text: string): number => [...text.replace(/\p{M}/gu, "")].length;

export const padded = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - widthOf(text)));

/** Lines of at most `width` characters, broken between words; a longer word has a line of its own. */
export const wrapped = (text: string, width: number): readonly string[] => {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(word) <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
};

/**
 * Rows in columns: the last one is wrapped in the room that is left, the others where they are wider than their `most`. A first cell
 * that is wider has a line of its own.
 *
 * @param paint colours a padded cell, which must not change its width
 */
export const table = (
  rows: readonly (readonly string[])[],
  { width, most = [], paint = (cell) => cell }: { width: number; most?: readonly number[]; paint?: Paint },
): readonly string[] => {
  const gap = "  ";
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.min(most[column] ?? width, Math.max(0, ...rows.map((row) => widthOf(row[column] ?? "")))),
  );
  const before = widths.slice(0, -1).reduce((sum, one) => sum + one + gap.length, 0);
  // Less than that cannot be read; a terminal breaks the lines itself.
  widths[count - 1] = Math.max(20, width - before);
  const lines = rows.flatMap((row, at) => {
    const [first = "", ...rest] = row;
    const isWide = widthOf(first) > (widths[0] ?? 0);
    return isWide
      ? [
          { row: [first], at },
          { row: ["", ...rest], at },
        ]
      : [{ row, at }];
  });
  return lines.flatMap(({ row, at }) => {
    const cells = row.length === 1 ? [row] : widths.map((one, column) => wrapped(row[column] ?? "", one));
    return Array.from({ length: Math.max(...cells.map(({ length }) => length)) }, (_, line) =>
      cells
        .map((cell, column) => paint(padded(cell[line] ?? "", widths[column] ?? 0), { row: at, column }))
        .join(gap)
        .trimEnd(),
    );
  });
};

type Paint = (cell: string, at: { readonly row: number; readonly column: number }) => string;
