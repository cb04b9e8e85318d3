import type { FinetuneResult, Run, TrainEvent } from "../index.js";
import { bar, bytes, counted, duration, grouped, percent, rate } from "./format.js";
import { onInterrupt } from "./interrupt.js";
import type { Terminal } from "./terminal.js";

/** Losses that the shown one is the mean of. */
const WINDOW = 20;
/** Plain lines a run, when nothing can be redrawn; and at least one in so many seconds. */
const PLAIN_LINES = 50;
const PLAIN_SECONDS = 30;

type StepOf = Extract<TrainEvent, { type: "step" }>;
type Handlers = { readonly [T in TrainEvent["type"]]: (event: Extract<TrainEvent, { type: T }>) => void };

const scoreOf = ({ metric, value }: Pick<Extract<TrainEvent, { type: "evaluation" }>, "metric" | "value">): string =>
  metric === "loss" ? `loss ${value.toFixed(4)}` : `${metric === "f1" ? "F1" : metric} ${percent(value)}`;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** For machines: step lines have "step" at their top, other lines one key that says what they are. */
const machineLines = (terminal: Terminal): Handlers => ({
  start: ({ type: _, ...start }) => terminal.record({ start }),
  step: ({ step, loss, learningRate, projectedGradient, secondsPerStep, rssBytes }) =>
    terminal.record({ step, loss, learningRate, projectedGradient, secondsPerStep, rssBytes }),
  evaluation: ({ type: _, ...evaluation }) => terminal.record({ evaluation }),
  note: ({ message }) => terminal.record({ note: message }),
  done: () => undefined,
});

/** For people: a live line on a terminal, a line now and then elsewhere. */
const peopleLines = (terminal: Terminal, now: () => number): Handlers => {
  const { paint } = terminal;
  const recent: number[] = [];
  let first: { at: number; step: number } | undefined;
  let toldAt = now();
  let held = "";

  const pace = ({ step, secondsPerStep }: StepOf): number => {
    // Over the whole run, evaluations included, once there is a run to speak of.
    first ??= { at: now(), step };
    return step - first.step < 5 ? secondsPerStep : (now() - first.at) / 1000 / (step - first.step);
  };
  const words = (event: StepOf): readonly string[] => {
    const { step, steps, learningRate, rssBytes, secondsPerStep } = event;
    const seconds = pace(event);
    return [
      `step ${grouped(step)}/${grouped(steps)}`,
      paint.bold(`loss ${mean(recent).toFixed(4)}`),
      `lr ${learningRate.toPrecision(2).replace(/\.?0+(?=e|$)/, "")}`,
      rate(secondsPerStep),
      `${duration(seconds * (steps - step))} left`,
      bytes(rssBytes),
    ];
  };
  return {
    start({ steps, resumedAt, trainRows, devRows, trainableParameters, parameters }) {
      const share = trainableParameters === parameters ? "all" : grouped(trainableParameters);
      const rows = `${counted(trainRows, "row")}${devRows === 0 ? "" : `, ${counted(devRows, "dev row")}`}`;
      terminal.line(
        paint.dim(
          `Training ${share} of ${grouped(parameters)} parameters on ${rows}; ${counted(steps - resumedAt, "step")} to go.`,
        ),
      );
    },
    step(event) {
      const { step, steps, loss } = event;
      recent.push(loss);
      if (recent.length > WINDOW) recent.shift();
      const parts = words(event);
      if (terminal.live) {
        terminal.status([paint.cyan(bar(step / steps, 16)), ...parts, held].filter(Boolean).join("  "));
        return;
      }
      const due = step === 1 || step === steps || step % Math.max(1, Math.round(steps / PLAIN_LINES)) === 0;
      if (!due && now() - toldAt < 1000 * PLAIN_SECONDS) return;
      toldAt = now();
      terminal.line(parts.join("  "));
    },
    evaluation(event) {
      held = paint.dim(`held out: ${scoreOf(event)}`);
      if (!terminal.live)
        terminal.line(
          `step ${grouped(event.step)}  on the dev rows: ${scoreOf(event)}${event.best ? ", the best so far" : ""}`,
        );
    },
    note: ({ message }) => terminal.line(paint.yellow(message)),
    done: () => terminal.status(),
  };
};

/**
 * Drives a run to its end and shows it. The first Ctrl-C stops it cleanly after the step it is in, the second at once.
 *
 * @param stop aborts the run's signal
 */
export const drive = async (
  run: Run,
  terminal: Terminal,
  stop: AbortController,
  now = Date.now,
): Promise<FinetuneResult> => {
  const handlers = terminal.json ? machineLines(terminal) : peopleLines(terminal, now);
  const show = <T extends TrainEvent["type"]>(type: T, event: Extract<TrainEvent, { type: T }>) =>
    handlers[type](event);
  let release = () => {};
  try {
    for await (const event of run) {
      if (event.type === "start") {
        release = onInterrupt(() => {
          if (stop.signal.aborted) process.exit(130);
          stop.abort();
          terminal.warn("Stopping after this step. Ctrl-C again stops at once.");
        });
      }
      show(event.type, event as never);
    }
  } finally {
    release();
    terminal.status();
  }
  return run.result;
};
