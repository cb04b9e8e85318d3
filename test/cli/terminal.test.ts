import { describe, expect, it } from "vitest";
import { bar, bytes, counted, duration, rate } from "../../src/cli/format.js";
import { commandLine } from "../../src/cli/shell.js";
import { createTerminal } from "../../src/cli/terminal.js";
import { drive } from "../../src/cli/training.js";
import type { FinetuneResult, Run, TrainEvent } from "../../src/index.js";

const stream = (isTTY: boolean, columns = 80) => {
  let text = "";
  return {
    isTTY,
    columns,
    write(part: string) {
      text += part;
      return true;
    },
    get text() {
      return text;
    },
  };
};

const result: FinetuneResult = {
  steps: 100,
  loss: 0.5,
  secondsPerStep: 0.1,
  peakRssBytes: 1e8,
  out: "tuned",
  keptStep: 100,
  outcome: "finished",
  chart: "tuned/run/loss.svg",
};

const fakeRun = (): Run => {
  const step = (i: number): TrainEvent => ({
    ...{ type: "step", step: i, steps: 100, loss: i, learningRate: 1e-3, projectedGradient: 2 },
    ...{ secondsPerStep: 0.1, rssBytes: 2e8 },
  });
  const counts = { steps: 100, resumedAt: 0, trainRows: 10, devRows: 2, trainableParameters: 5, parameters: 9 };
  const events: TrainEvent[] = [
    { type: "start", ...counts },
    ...Array.from({ length: 100 }, (_, i) => step(i + 1)),
    { type: "evaluation", step: 100, metric: "accuracy", value: 0.75, best: true },
    { type: "note", message: "heed" },
    { type: "done", result },
  ];
  return {
    result: Promise.resolve(result),
    save: () => Promise.resolve(),
    async *[Symbol.asyncIterator]() {
      yield* events;
    },
  };
};

describe("a terminal", () => {
  it("redraws the status line, within the window's width, and takes it away before a line", () => {
    const out = stream(true, 10);
    const terminal = createTerminal({ json: false, out, err: stream(true) });
    terminal.status("0123456789abc");
    terminal.line("done");
    expect(out.text).toBe("012345678\u001b[0m\r\u001b[2Kdone\n");
  });

  it("does not count colours as characters", () => {
    const out = stream(true, 6);
    createTerminal({ json: false, out, err: stream(true) }).status("\u001b[36mabcde\u001b[39m");
    expect(out.text).toContain("\u001b[36mabcde");
  });

  it("draws nothing when piped, and says nothing but JSON to machines", () => {
    const [piped, machine, err] = [stream(false), stream(false), stream(true)];
    createTerminal({ json: false, out: piped, err }).status("half");
    expect(piped.text).toBe("");
    const terminal = createTerminal({ json: true, out: machine, err });
    terminal.line("words");
    terminal.status("half");
    terminal.record({ a: 1 });
    expect(machine.text).toBe('{"a":1}\n');
    expect(err.text).toBe("");
  });
});

describe("drive", () => {
  const at = () => 0;
  it("shows a live line with mean loss, rate, time left and memory", async () => {
    const out = stream(true, 200);
    await drive(fakeRun(), createTerminal({ json: false, out, err: stream(false) }), new AbortController(), at);
    const states = out.text.split("\r\u001b[2K");
    const last = states.findLast((state) => state.includes("step 100/100")) ?? "";
    // The mean of the last 20 losses, 81 to 100.
    expect(last).toContain("loss 90.5000");
    expect(last).toContain("10.0 steps/s");
    expect(last).toContain("200 MB");
    expect(states.find((state) => state.includes("step 3/100"))).toContain("9.7 s left");
  });

  it("writes about fifty plain lines when piped, and evaluations and notes", async () => {
    const out = stream(false);
    await drive(fakeRun(), createTerminal({ json: false, out, err: stream(false) }), new AbortController(), at);
    expect(out.text.match(/^step \d+\/100 /gm)).toHaveLength(51);
    expect(out.text).toContain("on the dev rows: accuracy 75.0%, the best so far");
    expect(out.text).toContain("heed");
  });

  it("keeps the key step for step lines", async () => {
    const out = stream(false);
    const driven = await drive(
      fakeRun(),
      createTerminal({ json: true, out, err: stream(false) }),
      new AbortController(),
    );
    const lines = out.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.filter((line) => "step" in line)).toHaveLength(100);
    expect(lines.at(-1)).toEqual({ note: "heed" });
    expect(lines.at(-2)).toEqual({ evaluation: { step: 100, metric: "accuracy", value: 0.75, best: true } });
    expect(driven).toBe(result);
  });
});

describe("numbers for people", () => {
  it.each([
    [duration(4.23), "4.2 s"],
    [duration(59.6), "1 min 0 s"],
    [duration(192), "3 min 12 s"],
    [duration(7500), "2 h 5 min"],
    [bytes(8.12e8), "812 MB"],
    [bytes(1.234e9), "1.23 GB"],
    [rate(0.1), "10.0 steps/s"],
    [rate(2), "2.00 s/step"],
    [rate(Number.NaN), ""],
    [counted(1, "row"), "1 row"],
    [counted(12345, "row"), "12,345 rows"],
    [bar(0.5, 4), "██░░"],
    [bar(7, 4), "████"],
  ])("%s", (shown, expected) => {
    expect(shown).toBe(expected);
  });
});

describe("a command to type again", () => {
  it("quotes what a shell would change", () => {
    const words = ["finetune", "--prompt", "{a} it's", "--options", " no, yes", "--out", "runs/1"];
    expect(commandLine("zeroth", words)).toBe(
      "zeroth finetune --prompt '{a} it'\\''s' --options ' no, yes' --out runs/1",
    );
  });
});
