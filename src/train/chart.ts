import { scaleLinear } from "d3-scale";
import { area, curveMonotoneX, line } from "d3-shape";
import type { Measure } from "../data/task.js";
import { at, page, type Scale, widthOf } from "../svg.js";

export interface Chart {
  /** Default "Fine-tuning". */
  readonly title?: string | undefined;
  /** A line below the title: what was trained, on what. */
  readonly subtitle?: string | undefined;
  /** Training loss after each step, in order; values that are not finite in fp32 are left out. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  /** Values on the dev rows, in order, of one metric; drawn in a panel of their own when there are any. */
  readonly evaluations?:
    | readonly { readonly step: number; readonly metric: Measure; readonly value: number }[]
    | undefined;
}

interface Point {
  readonly step: number;
  readonly value: number;
}

const WIDTH = 880;
const LEFT = 64;
const RIGHT = 76;
const TOP = 118;
const BOTTOM = 52;
const GAP = 58;
const LOSS_HEIGHT = 250;
const EVALUATION_HEIGHT = 130;
const PLOT = WIDTH - LEFT - RIGHT;

// Longer runs are drawn as a band: a line of more steps than pixels is a smear.
const LONGEST_LINE = PLOT;

const style = `
.loss{stroke:#2f6fde}.loss-fill{fill:#2f6fde}.score{stroke:#d9730d}.score-fill{fill:#d9730d}
@media (prefers-color-scheme:dark){
.loss{stroke:#6ea8fe}.loss-fill{fill:#6ea8fe}.score{stroke:#f0a04b}.score-fill{fill:#f0a04b}}`;

const LONGEST_TITLE = 72;
const shortened = (text: string): string =>
  text.length <= LONGEST_TITLE ? text : `${text.slice(0, LONGEST_TITLE - 1)}…`;

/** The smoothed curve: at up to 240 steps the mean of the steps around, weighed by Epanechnikov's kernel. */
const smoothed = (points: readonly Point[]): readonly Point[] => {
  const reach = Math.max(3, Math.round(points.length / 14));
  const stride = Math.max(1, points.length / 240);
  const centres = Array.from({ length: Math.ceil(points.length / stride) }, (_, i) => Math.floor(i * stride));
  // The curve must end where the run does.
  if (points.length > 0 && centres.at(-1) !== points.length - 1) centres.push(points.length - 1);
  return centres.map((centre) => {
    let sum = 0;
    let weights = 0;
    for (let i = Math.max(0, centre - reach + 1); i < Math.min(points.length, centre + reach); i += 1) {
      const weight = 1 - ((i - centre) / reach) ** 2;
      sum += weight * (points[i]?.value ?? 0);
      weights += weight;
    }
    return { step: points[centre]?.step ?? 0, value: sum / weights };
  });
};

const quantile = (sorted: readonly number[], fraction: number): number =>
  sorted[Math.round(fraction * (sorted.length - 1))] ?? 0;

/** Where the middle four fifths of the values lie, in runs of eight neighbours or more. */
const band = (points: readonly Point[]) => {
  const count = Math.min(160, Math.floor(points.length / 8));
  return Array.from({ length: count + 1 }, (_, i) => {
    const centre = (i * points.length) / count;
    const reach = points.length / count / 2;
    const part = points.slice(Math.max(0, Math.floor(centre - reach)), Math.ceil(centre + reach));
    const sorted = part.map(({ value }) => value).sort((a, b) => a - b);
    const step = points[Math.min(points.length - 1, Math.round(centre))]?.step ?? 0;
    return { step, low: quantile(sorted, 0.1), high: quantile(sorted, 0.9) };
  });
};

/** A range that shows the curve and nearly all of the values: a few wild losses must not flatten the rest. */
const range = (values: readonly number[], curve: readonly number[]): readonly [number, number] => {
  const sorted = values.toSorted((a, b) => a - b);
  const low = Math.min(quantile(sorted, 0.005), ...curve);
  const high = Math.max(quantile(sorted, 0.995), ...curve);
  const margin = high > low ? 0.06 * (high - low) : Math.max(Math.abs(high) * 0.1, 1e-3);
  return [low < 0 ? low - margin : Math.max(0, low - margin), high + margin];
};

interface Panel {
  readonly name: string;
  /** What it comes to, beside the name. */
  readonly figures: string;
  /** What is drawn how, at the right. */
  readonly legend: readonly string[];
  readonly top: number;
  readonly height: number;
  readonly domain: readonly [number, number];
  readonly ticks: number;
  readonly format: (value: number, digits: number) => string;
  draw(x: Scale, y: Scale): readonly string[];
}

/** Decimals that tell neighbouring ticks apart. */
const digitsFor = (ticks: readonly number[]): number => {
  const gap = Math.abs((ticks[1] ?? 1) - (ticks[0] ?? 0)) || 1;
  return Math.min(8, Math.max(0, -Math.floor(Math.log10(gap) + 1e-9)));
};

const drawPanel = (
  x: Scale,
  { name, figures, legend, top, height, domain, ticks: count, format, draw }: Panel,
): readonly string[] => {
  const y = scaleLinear(domain, [top + height, top]);
  const ticks = y.ticks(count);
  const digits = digitsFor(ticks);
  return [
    `<text class="muted" x="${LEFT}" y="${top - 18}"><tspan class="ink name">${name}</tspan>\u2003${figures}</text>`,
    ...legend,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${LEFT}" x2="${LEFT + PLOT}" y1="${at(y(tick))}" y2="${at(y(tick))}"/>`,
      `<text class="muted" x="${LEFT - 10}" y="${at(y(tick) + 4)}" text-anchor="end">${format(tick, digits)}</text>`,
    ]),
    ...draw(x, y),
  ];
};

const plain = (value: number, digits: number): string =>
  (Math.abs(value) < 1e5 ? value.toFixed(digits) : value.toExponential(1)).replace("-", "−");
const percent = (value: number, digits: number): string => `${(100 * value).toFixed(Math.max(0, digits - 2))}%`;
const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
const precise = (value: number): string => value.toPrecision(3).replace("-", "−");

const pathOf = (points: readonly Point[], x: Scale, y: Scale): string =>
  line<Point>(
    (point) => x(point.step),
    (point) => y(point.value),
  ).digits(1)(points) ?? "";

/** A legend's entries from right to left: a swatch and what it means. */
const legendOf = (top: number, entries: readonly (readonly [swatch: string, words: string])[]): readonly string[] => {
  let right = LEFT + PLOT;
  return entries.flatMap(([swatch, words]) => {
    const left = right - widthOf(words) - 28;
    right = left - 18;
    return [
      `<path class="loss" ${swatch} d="M${at(left)},${top - 22}h20"/>`,
      `<text class="muted" x="${at(left + 26)}" y="${top - 18}">${words}</text>`,
    ];
  });
};

const FAINT = 'fill="none" stroke-width="1" opacity="0.35" stroke-linejoin="round"';
const BAND = 'opacity="0.2"';
const BOLD = 'fill="none" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"';

const endLabel = (kind: string, point: Point | undefined, words: string, x: Scale, y: Scale): readonly string[] =>
  point === undefined
    ? []
    : [`<text class="${kind} value" x="${at(x(point.step) + 10)}" y="${at(y(point.value) + 4.5)}">${words}</text>`];

const lossPanel = (points: readonly Point[]): Panel => {
  const curve = smoothed(points);
  const [first, last] = [curve.at(0), curve.at(-1)];
  const asLine = points.length <= LONGEST_LINE;
  return {
    name: "training loss",
    figures: first && last ? `${precise(first.value)} → ${precise(last.value)}` : "no steps yet",
    legend: legendOf(TOP, [
      [BOLD, "mean"],
      asLine ? [FAINT, "each step"] : ['opacity="0.2" stroke-width="10"', "80% of the steps"],
    ]),
    top: TOP,
    height: LOSS_HEIGHT,
    domain:
      points.length === 0
        ? [0, 1]
        : range(
            points.map(({ value }) => value),
            curve.map(({ value }) => value),
          ),
    ticks: 6,
    format: plain,
    draw: (x, y) => {
      const spread = area<{ step: number; low: number; high: number }>(
        (bin) => x(bin.step),
        (bin) => y(bin.low),
        (bin) => y(bin.high),
      );
      const bold = line<Point>(
        (point) => x(point.step),
        (point) => y(point.value),
      );
      return [
        '<g clip-path="url(#plot)">',
        asLine
          ? `<path class="loss" ${FAINT} d="${pathOf(points, x, y)}"/>`
          : `<path class="loss-fill" ${BAND} d="${spread.digits(1).curve(curveMonotoneX)(band(points)) ?? ""}"/>`,
        `<path class="loss" ${BOLD} d="${bold.digits(1).curve(curveMonotoneX)(curve) ?? ""}"/>`,
        "</g>",
        ...(last ? [`<circle class="loss-fill" cx="${at(x(last.step))}" cy="${at(y(last.value))}" r="4"/>`] : []),
        ...endLabel("loss-fill", last, precise(last?.value ?? 0), x, y),
      ];
    },
  };
};

const metrics = {
  accuracy: {
    name: "accuracy on held-out rows",
    best: Math.max,
    most: 1,
    show: (v: number) => percent(v, 3),
    format: percent,
  },
  f1: { name: "F1 on held-out rows", best: Math.max, most: 1, show: (v: number) => percent(v, 3), format: percent },
  loss: { name: "loss on held-out rows", best: Math.min, most: Number.POSITIVE_INFINITY, show: precise, format: plain },
} as const;

const evaluationPanel = (metric: Measure, points: readonly Point[]): Panel => {
  const { name, best, most, show, format } = metrics[metric];
  const values = points.map(({ value }) => value);
  const [low, high] = range(values, values);
  const [first, last] = [points.at(0), points.at(-1)];
  const top = best(...values);
  const kept = points.find(({ value }) => value === top);
  const start = first && first !== kept ? `${show(first.value)} → ` : "";
  return {
    name,
    figures: kept === undefined ? "" : `${start}${show(kept.value)} at step ${grouped(kept.step)}`,
    legend: [],
    top: TOP + LOSS_HEIGHT + GAP,
    height: EVALUATION_HEIGHT,
    domain: [low, Math.min(most, high)],
    ticks: 4,
    format,
    draw: (x, y) => [
      `<path class="score" fill="none" stroke-width="2" stroke-linejoin="round" d="${pathOf(points, x, y)}"/>`,
      ...points
        .filter(() => points.length <= 60)
        .map(({ step, value }) => `<circle class="score-fill" cx="${at(x(step))}" cy="${at(y(value))}" r="3"/>`),
      ...(kept
        ? [`<circle class="page score" stroke-width="2.5" cx="${at(x(kept.step))}" cy="${at(y(kept.value))}" r="5"/>`]
        : []),
      ...endLabel("score-fill", last, show(last?.value ?? 0), x, y),
    ],
  };
};

/**
 * A run's loss curve as one self-contained SVG: each step faint, their local mean bold, and the evaluations below. The same
 * input gives the same bytes. It follows the viewer's light or dark preference.
 */
export const lossChart = ({ title = "Fine-tuning", subtitle = "", losses, evaluations = [] }: Chart): string => {
  const finite = (points: readonly Point[]): readonly Point[] =>
    points
      .map(({ step, value }) => ({ step, value: Math.fround(value) }))
      .filter(({ value }) => Number.isFinite(value));
  const points = finite(losses.map(({ step, loss }) => ({ step, value: loss })));
  const metric = evaluations[0]?.metric ?? "accuracy";
  const scores = finite(evaluations);
  const panels = [lossPanel(points), ...(scores.length === 0 ? [] : [evaluationPanel(metric, scores)])];
  const steps = [...losses, ...scores].reduce((most, { step }) => Math.max(most, step), 1);
  const x = scaleLinear([0, steps], [LEFT, LEFT + PLOT]);
  const bottom = panels.reduce((lowest, { top, height }) => Math.max(lowest, top + height), 0);
  return page(
    {
      ...{ width: WIDTH, height: bottom + BOTTOM, left: LEFT },
      ...{ title: shortened(title), subtitle, style },
    },
    [
      `<defs><clipPath id="plot"><rect x="${LEFT}" y="${TOP}" width="${PLOT}" height="${LOSS_HEIGHT}"/></clipPath></defs>`,
      ...panels.flatMap((panel) => drawPanel(x, panel)),
      `<line class="axis" x1="${LEFT}" x2="${LEFT + PLOT}" y1="${bottom}" y2="${bottom}"/>`,
      ...x
        .ticks(8)
        .filter(Number.isInteger)
        .map(
          (tick) =>
            `<text class="muted" x="${at(x(tick))}" y="${bottom + 19}" text-anchor="middle">${grouped(tick)}</text>`,
        ),
      `<text class="muted" x="${LEFT + PLOT / 2}" y="${bottom + 40}" text-anchor="middle">step</text>`,
    ],
  );
};
