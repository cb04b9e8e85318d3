import { createColors } from "picocolors";

/** Where a command's words go. */
export interface Terminal {
  /** For machines: people's lines are left out, and results are JSON. */
  readonly json: boolean;
  /** On a terminal: a line may be redrawn, and colours are shown. */
  readonly live: boolean;
  readonly paint: ReturnType<typeof createColors>;
  /** Characters to a line; 100 where nothing says. */
  readonly columns: number;
  /** A line for people, on standard output; nothing with `--json`. */
  line(text?: string): void;
  /** A piece of text on standard output, as it comes; nothing with `--json`. */
  text(piece: string): void;
  /** A line for people on standard error, also with `--json`: what must not be missed. */
  warn(text: string): void;
  /** The line at the bottom, drawn over by the next one; on terminals only. Without an argument: taken away. */
  status(text?: string): void;
  /** A line for machines, on standard output. */
  record(value: object): void;
}

type Stream = Pick<NodeJS.WriteStream, "write" | "isTTY" | "columns">;

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with the escape character
const COLOUR = /^\u001b\[[\d;]*m/;

/** The first `columns` characters that show; colours take no room. */
const clipped = (text: string, columns: number): string => {
  let out = "";
  let room = columns;
  for (let rest = text; rest !== "" && room > 0; ) {
    const [colour] = COLOUR.exec(rest) ?? [];
    const piece = colour ?? String.fromCodePoint(rest.codePointAt(0) ?? 0);
    out += piece;
    if (colour === undefined) room--;
    rest = rest.slice(piece.length);
  }
  return out === text ? out : `${out}\u001b[0m`;
};

const CLEAR = "\r\u001b[2K";

export const createTerminal = ({
  json,
  quiet = json,
  out = process.stdout,
  err = process.stderr,
}: {
  json: boolean;
  /** Standard output carries data: people's lines stay away from it. */
  quiet?: boolean;
  out?: Stream;
  err?: Stream;
}): Terminal => {
  const stream = quiet ? err : out;
  const live = Boolean(stream.isTTY) && !json && process.env.TERM !== "dumb";
  const colours = live && (process.env.NO_COLOR ?? "") === "";
  let drawn = false;
  const clear = () => {
    if (drawn) stream.write(CLEAR);
    drawn = false;
  };
  return {
    json,
    live,
    paint: createColors(colours),
    columns: stream.columns ?? 100,
    line(text = "") {
      if (quiet) return;
      clear();
      out.write(`${text}\n`);
    },
    text(piece) {
      if (json) return;
      clear();
      out.write(piece);
    },
    warn(text) {
      clear();
      err.write(`${text}\n`);
    },
    status(text) {
      if (!live) return;
      clear();
      if (text === undefined) return;
      stream.write(clipped(text, (stream.columns ?? 80) - 1));
      drawn = true;
    },
    record(value) {
      clear();
      out.write(`${JSON.stringify(value)}\n`);
    },
  };
};
