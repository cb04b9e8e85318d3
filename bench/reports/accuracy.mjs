// What bench:accuracy found, as a page and a picture.
import { curve, legend, style } from "../../dist/lab/pens.js";
import { plot } from "../../dist/lab/plot.js";
import { page } from "../../dist/svg.js";
import { interval, reaching } from "../ledger.mjs";
import { secondsAt } from "../pace.mjs";
import { markdown } from "./insert.mjs";

export const percent = (value) => (100 * value).toFixed(1);
export const spread = (values) => {
  if (values.length === 0) return "";
  const { mean, half } = interval(values);
  return half === undefined ? percent(mean) : `${percent(mean)} ± ${percent(half)}`;
};
const TARGETS = [0.7, 0.75, 0.8];

/** Setups with their runs' points at the seconds of a quiet machine, and at those of PyTorch's steps. */
const timed = (found) =>
  found.map(({ runs, pace, peerStep, ...setup }) => ({
    ...setup,
    peerStep,
    perStep: secondsAt(pace, setup.steps) / setup.steps,
    peak: Math.max(...runs.map(({ peakMebibytes }) => peakMebibytes)),
    runs: runs.map(({ points }) =>
      points.map((point) => ({
        ...point,
        seconds: secondsAt(pace, point.steps),
        peerSeconds: peerStep === undefined ? undefined : peerStep * point.steps,
      })),
    ),
  }));

/** Mean over runs that all reach it, else undefined. */
const meanReaching = (runs, target, by) => {
  const found = runs.map((points) => reaching(points, target, by));
  return found.some((value) => value === undefined) ? undefined : interval(found).mean;
};

const cell = (value, text) => (value === undefined ? "–" : text(value));
const rounded = (value) => String(Math.round(value));

export const accuracyTable = (setups) => {
  const found = timed(setups);
  const row = ({ says, runs, perStep, peerStep, peak }) => {
    const ends = runs.map((points) => points.at(-1));
    return [
      says,
      `${runs.length}`,
      spread(ends.map(({ accuracy }) => accuracy)),
      rounded(ends[0].seconds),
      rounded(ends[0].forwards),
      ...TARGETS.map((target) => cell(meanReaching(runs, target, "seconds"), rounded)),
      cell(meanReaching(runs, 0.75, "forwards"), rounded),
      perStep.toFixed(2),
      `${peak}`,
      cell(peerStep, (seconds) => rounded(seconds * ends[0].steps)),
    ];
  };
  const head = [
    ...["what is trained", "seeds", "accuracy at the end, %", "seconds", "forwards"],
    ...TARGETS.map((target) => `s to ${100 * target} %`),
    ...["forwards to 75 %", "s a step", "peak MiB", "seconds at PyTorch MeZO's pace"],
  ];
  return markdown([head, ...found.map(row)]);
};

/** Settings that were looked at on dev rows. */
export const triedTable = (runs) =>
  markdown([
    ["what is trained", "learning rate", "epsilon", "steps", "dev cross-entropy", "dev accuracy, %"],
    ...runs.map(({ method, optimizer, points, failed }) => [
      `${method.kind}${method.targets === "all-linear" ? ", all linear layers" : ""}${method.freezeA ? ", A frozen" : ""}, blocks ${method.layers?.join(" to ") ?? "all"}`,
      `${optimizer.learningRate}`,
      `${optimizer.epsilon}`,
      `${points.at(-1).steps}`,
      failed === undefined ? points.at(-1).nats.toFixed(3) : "diverged",
      failed === undefined ? percent(points.at(-1).accuracy) : "–",
    ]),
  ]);

export const accuracyPicture = (setups) => {
  const found = timed(setups);
  const frame = { left: 76, top: 116, width: 800, height: 380 };
  const points = found.flatMap(({ runs }) => runs.flat()).filter(({ steps }) => steps > 0);
  const peers = points.flatMap(({ peerSeconds }) => peerSeconds ?? []);
  const x = {
    scale: "log",
    domain: [10, Math.max(...points.map(({ seconds }) => seconds), ...peers) * 1.05],
    ticks: [10, 30, 60, 120, 300, 600, 1200, 3600],
    label: "seconds of training on 2 cores, logarithmic",
  };
  x.ticks = x.ticks.filter((tick) => tick <= x.domain[1]);
  const lowest = Math.min(...points.map(({ accuracy }) => accuracy));
  const y = { scale: "linear", domain: [Math.floor(20 * lowest) * 5, 85], label: "accuracy on 872 validation rows, %" };
  const dots = (run, by) => run.filter(({ steps }) => steps > 0).map((point) => [point[by], 100 * point.accuracy]);
  const mean = (runs, by) =>
    dots(runs[0], by).map(([at], i) => [at, interval(runs.map((run) => dots(run, by)[i][1])).mean]);
  const pens = found.map(({ says }, series) => ({ name: says, series }));
  return page(
    {
      ...{ width: 912, height: 560, left: 32, style },
      title: "Accuracy against seconds",
      subtitle: "SmolLM2-135M-Instruct, SST-2, MeZO. Faint: seeds; dashed: the same steps at PyTorch MeZO's pace.",
    },
    [
      ...legend(pens, frame.left, 84, frame.width),
      ...plot(frame, { x, y }, (toX, toY) =>
        found.flatMap(({ runs, peerStep }, i) => [
          ...runs.map((run) => curve({ ...pens[i], faint: true }, dots(run, "seconds"), toX, toY)),
          curve(pens[i], mean(runs, "seconds"), toX, toY),
          ...(peerStep === undefined ? [] : [curve({ ...pens[i], dashed: true }, mean(runs, "peerSeconds"), toX, toY)]),
        ]),
      ),
    ],
  );
};
