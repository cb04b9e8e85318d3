// What bench:zoo found, as tables and a picture of small multiples.
import { curve, style } from "../../dist/lab/pens.js";
import { plot } from "../../dist/lab/plot.js";
import { optimizers } from "../../dist/optimizer/optimizers.js";
import { page } from "../../dist/svg.js";
import { interval, reaching } from "../ledger.mjs";
import { secondsAt } from "../pace.mjs";
import { percent, spread } from "./accuracy.mjs";
import { markdown } from "./insert.mjs";

const best = (a, b) => a.nats - b.nats;

const shown = (hyperparameters = {}) =>
  Object.entries(hyperparameters)
    .map((pair) => pair.join(" "))
    .join(", ");

/** The runs of a stage on dev rows, best first: cross-entropy says more than accuracy on few rows. */
export const stageTable = (entries) => {
  const rows = entries
    .map((entry) => ({ ...entry, ...entry.points.at(-1) }))
    .map((row) => (row.failed === undefined ? row : { ...row, nats: Number.POSITIVE_INFINITY }))
    .sort(best);
  return markdown([
    ["optimizer", "learning rate", "hyperparameters", "steps", "forwards", "dev cross-entropy", "dev accuracy, %"],
    ...rows.map(({ name, rate, hyperparameters, steps, forwards, nats, accuracy, failed }) => [
      name,
      `${rate}`,
      shown(hyperparameters),
      `${steps}`,
      `${Math.round(forwards)}`,
      failed === undefined ? nats.toFixed(3) : "diverged",
      failed === undefined ? percent(accuracy) : "–",
    ]),
  ]);
};

const TARGETS = [0.7, 0.75, 0.8];
const cell = (values) =>
  values.some((value) => value === undefined) ? "–" : String(Math.round(interval(values).mean));

/** Survivors: their runs by name, with the seconds of a quiet machine. */
const survivorsOf = (entries) =>
  [...new Set(entries.map(({ name }) => name))].map((name) => {
    const own = entries.filter((entry) => entry.name === name);
    const timed = (pace) => (point) => ({
      ...point,
      seconds: pace === undefined ? point.seconds : secondsAt(pace, point.steps),
    });
    return {
      name,
      rate: own[0].rate,
      peak: Math.max(...own.map(({ peakMebibytes }) => peakMebibytes)),
      runs: own.map(({ points, pace }) => points.map(timed(pace))),
    };
  });

/** Weights of blocks 15 to 22. */
const TRAINED = 8 * 3_540_096;

/** MiB of states that the optimizer declares for the weights that are trained. */
const statesOf = (name) => {
  const { rule } = optimizers[name].configure();
  const bytes = Object.values(rule.states ?? {}).reduce((sum, { layout }) => sum + (layout === undefined ? 4 : 0), 0);
  return (bytes * TRAINED) / 2 ** 20;
};

export const survivorTable = (entries) =>
  markdown([
    [
      ...["optimizer", "learning rate", "seeds", "accuracy at the end, %", "best of a run, %", "seconds", "forwards"],
      ...TARGETS.map((target) => `forwards to ${100 * target} %`),
      ...TARGETS.map((target) => `s to ${100 * target} %`),
      ...["peak MiB", "states, MiB"],
    ],
    ...survivorsOf(entries)
      .sort(
        (a, b) =>
          interval(b.runs.map((run) => run.at(-1).accuracy)).mean -
          interval(a.runs.map((run) => run.at(-1).accuracy)).mean,
      )
      .map(({ name, rate, runs, peak }) => [
        name,
        `${rate}`,
        `${runs.length}`,
        spread(runs.map((run) => run.at(-1).accuracy)),
        spread(runs.map((run) => Math.max(...run.map(({ accuracy }) => accuracy)))),
        cell(runs.map((run) => run.at(-1).seconds)),
        cell(runs.map((run) => run.at(-1).forwards)),
        ...TARGETS.map((target) => cell(runs.map((run) => reaching(run, target, "forwards")))),
        ...TARGETS.map((target) => cell(runs.map((run) => reaching(run, target, "seconds")))),
        `${peak}`,
        statesOf(name).toFixed(0),
      ]),
  ]);

/** One small plot an optimizer: its seeds, and in grey the others' means. */
export const zooPicture = (entries) => {
  const found = survivorsOf(entries);
  const [across, wide, high] = [3, 250, 170];
  const dots = (run, by) => run.filter(({ steps }) => steps > 0).map((point) => [point[by], 100 * point.accuracy]);
  const mean = (runs) =>
    dots(runs[0], "seconds").map(([at], i) => [at, interval(runs.map((run) => dots(run, "seconds")[i][1])).mean]);
  const all = found.flatMap(({ runs }) => runs.flatMap((run) => dots(run, "seconds")));
  const most = Math.max(...all.map(([x]) => x));
  const floor = 5 * Math.floor(Math.min(...all.map(([, y]) => y)) / 5);
  const rows = Math.ceil(found.length / across);
  return page(
    {
      ...{ width: 912, height: 120 + rows * (high + 70), left: 32, style },
      title: "Optimizers on SST-2",
      subtitle:
        "SmolLM2-135M-Instruct: validation accuracy (%) against seconds on 2 cores. Faint: seeds; grey: the others.",
    },
    found.flatMap(({ name, runs, rate }, i) => {
      const frame = {
        left: 76 + (i % across) * (wide + 36),
        top: 110 + Math.floor(i / across) * (high + 70),
        width: wide,
        height: high,
      };
      const x = { scale: "linear", domain: [0, most], ticks: 4, label: "seconds" };
      const y = { scale: "linear", domain: [floor, 85], ticks: 5 };
      return plot(frame, { x, y, title: name, note: `learning rate ${rate}` }, (toX, toY) => [
        ...found
          .filter((other) => other.name !== name)
          .map((other) => curve({ name: other.name, series: 0, faint: true }, mean(other.runs), toX, toY)),
        ...runs.map((run) => curve({ name, series: 1, faint: true }, dots(run, "seconds"), toX, toY)),
        curve({ name, series: 1 }, mean(runs), toX, toY),
      ]);
    }),
  );
};
