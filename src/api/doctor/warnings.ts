import type {
  CostReport,
  DoctorReport,
  DoctorWarning,
  MovedReport,
  NoiseReport,
  PackingReport,
  RatesReport,
} from "../types.js";
import { isGood, LEAST_SIGNAL } from "./noise.js";
import { rounded, shown } from "./statistics.js";

const percent = (fraction: number): string => `${rounded(100 * fraction)}%`;

/** What the noise floor says against the planned ε; nothing when ε is good. */
export const noiseWarnings = ({ epsilon, roundingNoise, radii, recommended }: NoiseReport): DoctorWarning[] => {
  const planned = radii.find((report) => report.epsilon === epsilon);
  if (planned === undefined || isGood(planned)) return [];
  const warning = (message: string, advice: string): DoctorWarning => ({ check: "noise", message, advice });
  const clearest = radii.reduce((best, next) => (next.signalToNoise > best.signalToNoise ? next : best));
  if (clearest.signalToNoise < LEAST_SIGNAL) {
    return [
      warning(
        `the loss's rounding noise (${shown(roundingNoise)}) drowns what a perturbation changes, whatever ε: at best, ε ${shown(clearest.epsilon)}, the difference is ${shown(clearest.signalToNoise)} times the noise`,
        "use weights and activations in fp32 (no int8, no half precision); more rows a step help a little",
      ),
    ];
  }
  const advice =
    recommended === null ? "try another --epsilon: none of those tried is good" : `--epsilon ${shown(recommended)}`;
  if (planned.signalToNoise < LEAST_SIGNAL && planned.bias !== null) {
    return [
      warning(
        `ε ${shown(epsilon)} is too small: the loss difference is ${shown(planned.signalToNoise)} times its rounding noise`,
        advice,
      ),
    ];
  }
  const effect =
    planned.bias === null ? "the loss is not finite there" : `curvature bends the slope by ${percent(planned.bias)}`;
  return [warning(`ε ${shown(epsilon)} is too large: ${effect}`, advice)];
};

/** A rate this much below the suggestion wastes most of a run. */
const SLOW = 30;
/** A walk that is so many times the reach. */
const FAR = 3;

const rateWarnings = ({ learningRate, rates, walk, reach, suggested }: RatesReport): DoctorWarning[] => {
  const advice = suggested === null ? "no rate that was tried lowers the loss" : `--learning-rate ${shown(suggested)}`;
  const warning = (message: string): DoctorWarning[] => [{ check: "learning rate", message, advice }];
  const rate = shown(learningRate);
  const verdict = rates.find((report) => report.learningRate === learningRate)?.verdict;
  if (verdict === "diverges" || verdict === "overshoots") return warning(`${rate} ${verdict}`);
  if (reach !== null && walk > FAR * reach) {
    return warning(
      `${rate} may diverge: the run's steps add up to a radius of ${shown(walk)}, the loss's slopes hold up to ${shown(reach)}`,
    );
  }
  if (suggested !== null && learningRate < suggested / SLOW) return warning(`${rate} is slow`);
  if (verdict === "too small to see") return warning(`${rate} changes the loss too little to be seen`);
  return [];
};

const movedWarnings = ({ step }: MovedReport): DoctorWarning[] =>
  step.float32 >= 0.5
    ? []
    : [
        {
          check: "rounding",
          message: `a step moves ${percent(step.float32)} of the weights; on the others it is lost to rounding`,
          advice: "a larger --learning-rate",
        },
      ];

const packingWarnings = ({ cut, rows }: PackingReport): DoctorWarning[] =>
  cut === 0
    ? []
    : [
        {
          check: "packing",
          message: `${cut} of ${rows} rows are longer than the model's context and are cut`,
          advice: "shorter rows or template",
        },
      ];

const memoryWarnings = ({ expectedPeakRssBytes }: CostReport, machineBytes: number): DoctorWarning[] =>
  expectedPeakRssBytes <= 0.9 * machineBytes
    ? []
    : [
        {
          check: "memory",
          message: "the run needs nearly all of this machine's memory",
          advice: "--method lora, or a smaller model",
        },
      ];

/** Everything that speaks against the run. */
export const warningsOf = (report: Omit<DoctorReport, "warnings">, machineBytes: number): readonly DoctorWarning[] => [
  ...noiseWarnings(report.noise),
  ...rateWarnings(report.rates),
  ...(report.moved === null ? [] : movedWarnings(report.moved)),
  ...packingWarnings(report.packing),
  ...memoryWarnings(report.cost, machineBytes),
];
