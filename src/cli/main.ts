import { createRequire } from "node:module";
import { basename, relative } from "node:path";
import { Command, CommanderError } from "commander";
import { messageOf, ZerothError } from "../errors.js";
import { doctor } from "./commands/doctor.js";
import { evaluate } from "./commands/evaluate.js";
import { exportCommand } from "./commands/export.js";
import { finetune } from "./commands/finetune.js";
import { generate } from "./commands/generate.js";
import { lab } from "./commands/lab.js";
import { merge } from "./commands/merge.js";
import { optimizers } from "./commands/optimizers.js";
import { predict } from "./commands/predict.js";
import { preview } from "./commands/preview.js";
import { quickstart } from "./commands/quickstart.js";
import { replay } from "./commands/replay.js";
import { onInterrupt } from "./interrupt.js";

const commands = [
  quickstart,
  doctor,
  finetune,
  evaluate,
  predict,
  generate,
  merge,
  exportCommand,
  replay,
  preview,
  optimizers,
  lab,
];

export const exitCodes = { done: 0, failure: 1, usage: 2, interrupted: 130 } as const;

const require = createRequire(import.meta.url);

/** How to call this program again from here. */
const programOf = (script: string): string => {
  if (/[\\/]node_modules[\\/]/.test(script)) return "npx zeroth";
  return basename(script) === "zeroth.js" ? `node ${relative(process.cwd(), script)}` : "zeroth";
};

/** What went wrong, as the user is told: the message alone if they can act on it, else that it is a bug. */
export const describeError = (error: unknown, debug: boolean): string => {
  const stack = debug && error instanceof Error ? `\n${error.stack ?? ""}` : "";
  if (error instanceof ZerothError) return `${error.message}${stack}`;
  const first = messageOf(error).split("\n", 1)[0] ?? "";
  return `Unexpected: ${first}\nThis is a bug in Zeroth. DEBUG=1 shows where it happened.${stack}`;
};

/**
 * Runs the command line.
 *
 * @param argv as `process.argv`: the interpreter, the script, the arguments
 * @returns the exit code: 0 done, 1 failure, 2 usage, 130 Ctrl-C
 */
export const main = async (argv: readonly string[]): Promise<number> => {
  const [, script = "zeroth", ...args] = argv;
  const call = { program: programOf(script), args };
  let code: number = exitCodes.done;
  const start = async (run: () => Promise<number>): Promise<void> => {
    code = await run();
  };

  const program = new Command("zeroth")
    .description("Fine-tune language models with forward passes only.")
    .version((require("../../package.json") as { version: string }).version, "-v, --version", "show the version")
    .helpOption("-h, --help", "show this")
    .helpCommand(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .addHelpText("after", `\nStart here:\n  ${call.program} quickstart\n  ${call.program} finetune --help`);
  for (const command of commands) {
    command.register(program, start, call);
  }

  // `zeroth predict | head` closes the pipe: that is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(exitCodes.done);
    throw error;
  });
  const ignore = onInterrupt(() => process.exit(exitCodes.interrupted));
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    // The parser has said what was wrong already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    process.stderr.write(`${describeError(error, (process.env.DEBUG ?? "") !== "")}\n`);
    return error instanceof ZerothError && error.kind === "usage" ? exitCodes.usage : exitCodes.failure;
  } finally {
    ignore();
  }
};
