import { line } from "d3-shape";
import { at, escaped, type Scale, widthOf } from "../svg.js";

/** A point of the data, or of the page. */
export type Dot = readonly [x: number, y: number];

/** How something is drawn, and what it is called. */
export interface Pen {
  readonly name: string;
  /** Its colour: 0 is ink, for what others are compared with; from the last one on they come again, dashed. */
  readonly series: number;
  readonly dashed?: boolean;
  readonly faint?: boolean;
}

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

/** The rules of the classes that are used here and by plots. */
export const style = `
.contour{fill:none;stroke:#c9d1d9}${rules(0)}
@media (prefers-color-scheme:dark){.contour{stroke:#38414b}${rules(1)}}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.dashed{stroke-dasharray:5 4;stroke-linecap:butt}.faint{opacity:0.3}.small{font-size:11px}`;

const colour = ({ series }: Pick<Pen, "series">): number => series % colours.length;

const lineClass = (pen: Pen): string => {
  const { dashed = pen.series >= colours.length, faint = false } = pen;
  return `line s${colour(pen)}${dashed ? " dashed" : ""}${faint ? " faint" : ""}`;
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

/** Far outside of any page: what lies further is drawn there. */
const OUTSIDE = 1e4;
const held = (pixels: number): number => Math.max(-OUTSIDE, Math.min(OUTSIDE, pixels));

/** A line through points of the data, named for whoever hovers over it. */
export const curve = (pen: Pen, points: readonly Dot[], x: Scale, y: Scale): string => {
  const dots = points
    .map(([a, b]): Dot => [x(a), y(b)])
    .filter(([a, b]) => !Number.isNaN(a) && !Number.isNaN(b))
    .map(([a, b]): Dot => [held(a), held(b)]);
  const path = line<Dot>().digits(1)(thinned(dots, 0.8)) ?? "";
  return `<path class="${lineClass(pen)}" d="${path}"><title>${escaped(pen.name)}</title></path>`;
};

/** A disc at a point of the page. */
export const disc = (pen: Pick<Pen, "series">, [x, y]: Dot, radius: number): string =>
  `<circle class="f${colour(pen)}" cx="${at(held(x))}" cy="${at(held(y))}" r="${radius}"/>`;

/** A stroke from one point of the page to another. */
export const stroke = (pen: Pick<Pen, "series">, [a, b]: Dot, [c, d]: Dot): string =>
  `<line class="s${colour(pen)}" stroke-width="1.6" x1="${at(a)}" y1="${at(b)}" x2="${at(c)}" y2="${at(d)}"/>`;

/** Swatches with their names in rows, from left to right. */
export const legend = (pens: readonly Pen[], left: number, top: number, width: number): readonly string[] => {
  let [x, y] = [left, top];
  return pens.flatMap((pen) => {
    const wide = widthOf(pen.name) + 50;
    if (x > left && x + wide > left + width) [x, y] = [left, y + 20];
    const here = x;
    x += wide;
    return [
      `<path class="${lineClass(pen)}" d="M${at(here)},${at(y - 4)}h22"/>`,
      `<text class="ink" x="${at(here + 28)}" y="${at(y)}">${escaped(pen.name)}</text>`,
    ];
  });
};
