import { scaleLinear, scaleLog } from "d3-scale";
import { at, escaped, type Scale } from "../svg.js";

/** Where a plot lies on the page, in pixels. */
export interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface Axis {
  readonly scale: "linear" | "log";
  readonly domain: readonly [number, number];
  readonly label?: string;
  /** About how many lines, or where. Default 5. */
  readonly ticks?: number | readonly number[];
  /** Whether they are told. Default true. */
  readonly numbers?: boolean;
}

export interface Axes {
  readonly x: Axis;
  readonly y: Axis;
  readonly title?: string;
  /** Beside the title. */
  readonly note?: string;
  /** Lines across the plot; without, ticks at its sides. Default true. */
  readonly grid?: boolean;
}

const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number of an axis: powers of ten as such where they are far from 1. */
const numberOf = (value: number): string => {
  const power = Math.round(Math.log10(Math.abs(value)));
  const isPower = value > 0 && Math.abs(value / 10 ** power - 1) < 1e-9;
  if (isPower && Math.abs(power) > 3)
    return `10${String(power)
      .replace("-", "⁻")
      .replace(/\d/g, (digit) => superscripts[Number(digit)] ?? "")}`;
  return Number(value.toPrecision(6)).toLocaleString("en").replace("-", "−");
};

/** Powers of ten of a range, every so many of them that there are about `count`. */
const powers = ([low, high]: Axis["domain"], count: number): readonly number[] => {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first + 1) / count));
  // Counted from the top, which is where most pictures begin.
  return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => 10 ** (last - i * every));
};

const scaleOf = ({ scale, domain, ticks = 5 }: Axis, range: readonly [number, number]) => {
  const linear = scaleLinear(domain, range);
  const places = (count: number): readonly number[] => (scale === "log" ? powers(domain, count) : linear.ticks(count));
  return {
    map: (scale === "log" ? scaleLog(domain, range) : linear) as Scale,
    ticks: typeof ticks === "number" ? places(ticks) : ticks,
  };
};

const words = (text: string, place: string, anchor: "middle" | "end"): string =>
  `<text class="muted small" ${place} text-anchor="${anchor}">${escaped(text)}</text>`;

const heading = ({ left, top, width }: Frame, title: string, note: string): string => {
  // A letter of a bold name is about 0.65 of its size.
  const size = Math.min(13, Math.floor(width / (0.65 * Math.max(1, title.length))));
  const name = `<tspan class="ink name" style="font-size:${size}px">${escaped(title)}</tspan>`;
  const gap = title === "" ? 0 : 8;
  const aside = note === "" ? "" : `<tspan class="small" dx="${gap}">${escaped(note)}</tspan>`;
  return `<text class="muted" x="${at(left)}" y="${at(top - 10)}">${name}${aside}</text>`;
};

/** A frame with its axes: what `draw` gives is clipped to it. */
export const plot = (frame: Frame, axes: Axes, draw: (x: Scale, y: Scale) => readonly string[]): readonly string[] => {
  const { left, top, width, height } = frame;
  const { title = "", note = "", grid = true } = axes;
  const [right, bottom] = [left + width, top + height];
  const [x, y] = [scaleOf(axes.x, [left, right]), scaleOf(axes.y, [bottom, top])];
  const clip = `clip-${at(left)}-${at(top)}`;
  const place = `x="${at(left)}" y="${at(top)}" width="${at(width)}" height="${at(height)}"`;
  const tick = (from: readonly [x: number, y: number], to: readonly [x: number, y: number]): string =>
    `<line class="grid" x1="${at(from[0])}" y1="${at(from[1])}" x2="${at(to[0])}" y2="${at(to[1])}"/>`;
  return [
    `<clipPath id="${clip}"><rect ${place}/></clipPath>`,
    ...(title === "" && note === "" ? [] : [heading(frame, title, note)]),
    ...x.ticks.flatMap((value) => {
      const number = words(numberOf(value), `x="${at(x.map(value))}" y="${at(bottom + 16)}"`, "middle");
      const line = tick([x.map(value), grid ? top : bottom - 4], [x.map(value), bottom]);
      return axes.x.numbers === false ? [line] : [line, number];
    }),
    ...y.ticks.flatMap((value) => {
      const number = words(numberOf(value), `x="${at(left - 8)}" y="${at(y.map(value) + 4)}"`, "end");
      const line = tick([left, y.map(value)], [grid ? right : left + 4, y.map(value)]);
      return axes.y.numbers === false ? [line] : [line, number];
    }),
    `<g clip-path="url(#${clip})">`,
    ...draw(x.map, y.map),
    "</g>",
    `<rect class="axis" fill="none" ${place}/>`,
    ...(axes.x.label === undefined
      ? []
      : [words(axes.x.label, `x="${at(left + width / 2)}" y="${at(bottom + 34)}"`, "middle")]),
    ...(axes.y.label === undefined
      ? []
      : [words(axes.y.label, `transform="translate(${at(left - 50)} ${at(top + height / 2)}) rotate(-90)"`, "middle")]),
  ];
};
