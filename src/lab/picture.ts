import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { escaped, pageStyle } from "../train/chart.js";

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

export type Scale = (value: number) => number;
export type Dot = readonly [x: number, y: number];

/** Lines that can be told apart on one picture; the first is ink, for what the others are compared with. */
export const SERIES = 7;

/** Okabe and Ito's colours, which the colour-blind tell apart too (darker ones on white, lighter ones on black). */
const colours: readonly (readonly [light: string, dark: string])[] = [
  ["#1f2328", "#e6edf3"],
  ["#d55e00", "#ff8340"],
  ["#0072b2", "#4aa8e0"],
  ["#009e73", "#2fc79a"],
  ["#b8508f", "#e08fc0"],
  ["#b98600", "#f0bb3f"],
  ["#3fa0d8", "#8fd0f7"],
];

const rules = (shade: 0 | 1): string =>
  colours.map((pair, i) => `.s${i}{stroke:${pair[shade]}}.f${i}{fill:${pair[shade]}}`).join("");

const style = `${pageStyle}
.contour{fill:none;stroke:#c9d1d9}${rules(0)}
@media (prefers-color-scheme:dark){.contour{stroke:#38414b}${rules(1)}}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.small{font-size:11px}`;

export const at = (value: number): string => String(Number(value.toFixed(1)));

const superscripts: Readonly<Record<string, string>> = {
  ...{ "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸", "9": "⁹" },
};

/** A number of an axis: powers of ten as such where they are far from 1. */
const numberOf = (value: number): string => {
  const power = Math.round(Math.log10(Math.abs(value)));
  const isPower = value > 0 && Math.abs(value / 10 ** power - 1) < 1e-9;
  if (isPower && (power < -2 || power > 3)) return `10${[...String(power)].map((c) => superscripts[c]).join("")}`;
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
  const isLog = scale === "log";
  const linear = scaleLinear(domain, range);
  const places = (count: number): readonly number[] => (isLog ? powers(domain, count) : linear.ticks(count));
  return {
    map: (isLog ? scaleLog(domain, range) : linear) as Scale,
    ticks: typeof ticks === "number" ? places(ticks) : ticks,
  };
};

/** A plot with its axes and, unless it has contours of its own, a grid: what `draw` gives is clipped to the frame. */
export const plot = (
  { left, top, width, height }: Frame,
  axes: {
    readonly x: Axis;
    readonly y: Axis;
    readonly title?: string;
    readonly note?: string;
    readonly grid?: boolean;
  },
  draw: (x: Scale, y: Scale) => readonly string[],
): readonly string[] => {
  const [x, y] = [scaleOf(axes.x, [left, left + width]), scaleOf(axes.y, [top + height, top])];
  const clip = `clip-${at(left)}-${at(top)}`;
  const [right, bottom] = [left + width, top + height];
  const { title = "", note = "", grid = true } = axes;
  // A letter of a bold name is about 0.65 of its size.
  const size = Math.min(13, Math.floor(width / (0.65 * Math.max(1, title.length))));
  return [
    `<clipPath id="${clip}"><rect x="${at(left)}" y="${at(top)}" width="${at(width)}" height="${at(height)}"/></clipPath>`,
    ...(title === "" && note === ""
      ? []
      : [
          `<text class="muted" x="${at(left)}" y="${at(top - 10)}"><tspan class="ink name" style="font-size:${size}px">${escaped(title)}</tspan>${note === "" ? "" : `<tspan class="small" dx="8">${escaped(note)}</tspan>`}</text>`,
        ]),
    ...x.ticks.flatMap((tick) => [
      `<line class="grid" x1="${at(x.map(tick))}" x2="${at(x.map(tick))}" y1="${at(grid ? top : bottom - 4)}" y2="${at(bottom)}"/>`,
      ...(axes.x.numbers === false
        ? []
        : [
            `<text class="muted small" x="${at(x.map(tick))}" y="${at(bottom + 16)}" text-anchor="middle">${numberOf(tick)}</text>`,
          ]),
    ]),
    ...y.ticks.flatMap((tick) => [
      `<line class="grid" x1="${at(left)}" x2="${at(grid ? right : left + 4)}" y1="${at(y.map(tick))}" y2="${at(y.map(tick))}"/>`,
      ...(axes.y.numbers === false
        ? []
        : [
            `<text class="muted small" x="${at(left - 8)}" y="${at(y.map(tick) + 4)}" text-anchor="end">${numberOf(tick)}</text>`,
          ]),
    ]),
    `<g clip-path="url(#${clip})">`,
    ...draw(x.map, y.map),
    "</g>",
    `<rect class="axis" fill="none" x="${at(left)}" y="${at(top)}" width="${at(width)}" height="${at(height)}"/>`,
    ...(axes.x.label === undefined
      ? []
      : [
          `<text class="muted small" x="${at(left + width / 2)}" y="${at(bottom + 34)}" text-anchor="middle">${escaped(axes.x.label)}</text>`,
        ]),
    ...(axes.y.label === undefined
      ? []
      : [
          `<text class="muted small" transform="translate(${at(left - 44)} ${at(top + height / 2)}) rotate(-90)" text-anchor="middle">${escaped(axes.y.label)}</text>`,
        ]),
  ];
};

/** Points without those that lie within a pixel or so of the one before: most of a run's steps cannot be seen. */
const thinned = (points: readonly Dot[], reach: number): readonly Dot[] => {
  const kept: Dot[] = [];
  for (const [i, point] of points.entries()) {
    const [x, y] = kept.at(-1) ?? [Number.NaN, Number.NaN];
    const far = !(Math.hypot(point[0] - x, point[1] - y) < reach);
    if (far || i === points.length - 1) kept.push(point);
  }
  return kept;
};

/** Losses on a logarithmic scale in `count` stretches of x, the geometric mean of each: what jumps from step to step is a smear otherwise. */
export const smoothed = (points: readonly Dot[], count = 100): readonly Dot[] => {
  const [first, ...rest] = points;
  if (first === undefined) return [];
  const stretch = Math.max(1, rest.length / count);
  const bins = Array.from({ length: Math.ceil(rest.length / stretch) }, (_, i) =>
    rest.slice(Math.floor(i * stretch), Math.max(Math.floor((i + 1) * stretch), Math.floor(i * stretch) + 1)),
  );
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return [
    first,
    ...bins.map((bin): Dot => [mean(bin.map(([x]) => x)), Math.exp(mean(bin.map(([, y]) => Math.log(y))))]),
  ];
};

/** Far outside of any page: what lies further is drawn there. */
const OUTSIDE = 1e4;

/** A line through points of the data, named for whoever hovers over it. */
export const curve = (
  name: string,
  series: number,
  points: readonly Dot[],
  x: Scale,
  y: Scale,
  attributes = "",
): string => {
  const held = (value: number): number => Math.max(-OUTSIDE, Math.min(OUTSIDE, value));
  const dots = points
    .map(([a, b]): Dot => [x(a), y(b)])
    .filter(([a, b]) => !Number.isNaN(a) && !Number.isNaN(b))
    .map(([a, b]): Dot => [held(a), held(b)]);
  const path = line<Dot>().digits(1)(thinned(dots, 0.8)) ?? "";
  const extra = attributes === "" ? "" : ` ${attributes}`;
  return `<path class="line s${series % SERIES}"${extra} d="${path}"><title>${escaped(name)}</title></path>`;
};

export interface Entry {
  readonly name: string;
  readonly series: number;
  readonly attributes?: string;
}

/** No font is known to measure with: a letter is at most about 7 pixels wide on average. */
const LETTER = 7;

/** Swatches with their names in rows, from left to right. */
export const legend = (entries: readonly Entry[], left: number, top: number, width: number): readonly string[] => {
  let [x, y] = [left, top];
  return entries.flatMap(({ name, series, attributes = "" }) => {
    const wide = LETTER * name.length + 50;
    if (x > left && x + wide > left + width) [x, y] = [left, y + 20];
    const here = x;
    x += wide;
    return [
      `<path class="line s${series % SERIES}" ${attributes} stroke-width="2.5" d="M${at(here)},${at(y - 4)}h22"/>`,
      `<text class="ink" x="${at(here + 28)}" y="${at(y)}">${escaped(name)}</text>`,
    ];
  });
};

/** A whole picture, of the viewer's light or dark preference. */
export const page = (
  { width, height, title, subtitle }: { width: number; height: number; title: string; subtitle: string },
  body: readonly string[],
): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${at(height)}" width="${width}" height="${at(height)}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${style}</style>`,
    `<rect class="page" width="${width}" height="${at(height)}" rx="8"/>`,
    `<text class="ink title" x="32" y="38">${escaped(title)}</text>`,
    `<text class="muted subtitle" x="32" y="60">${escaped(subtitle)}</text>`,
    ...body,
    "</svg>\n",
  ].join("\n");
