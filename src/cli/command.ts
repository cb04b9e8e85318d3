import { type Command, Option } from "commander";
import type { z } from "zod";
import { ZerothError } from "../errors.js";
import { readConfig } from "./config.js";
import { commonFlags, type Flag } from "./flags.js";
import { createTerminal, type Terminal } from "./terminal.js";

type Flags = Readonly<Record<string, Flag>>;
type Values<F extends Flags> = { [K in keyof F]: z.output<F[K]["schema"]> };

/** What a command has beside its options. */
export interface Context {
  readonly terminal: Terminal;
  /** How this program was called: `zeroth`, `npx zeroth` or `node bin/zeroth.js`. */
  readonly program: string;
  /** The arguments after it. */
  readonly args: readonly string[];
}

export interface CommandSpec<F extends Flags> {
  readonly name: string;
  readonly summary: string;
  readonly flags: F;
  /** Arguments after `zeroth NAME`, each with what it does. */
  readonly examples: readonly (readonly [args: string, what: string])[];
  /** Standard output carries data, with and without `--json`. */
  readonly quiet?: boolean;
  /** @returns the exit code */
  run(options: Values<F & typeof commonFlags>, context: Context): Promise<number>;
}

/** A command: how it is declared to the argument parser, options checked, and run. */
export interface RegisteredCommand {
  register(
    parent: Command,
    start: (run: () => Promise<number>) => Promise<void>,
    call: Pick<Context, "program" | "args">,
  ): void;
}

const isWord = ({ usage }: Flag): boolean => !usage.startsWith("-");
const flagName = (flag: Flag): string =>
  isWord(flag) ? flag.usage.replace(/\W/g, "").toUpperCase() : (flag.usage.split(" ", 1)[0] ?? flag.usage);

/**
 * Checks options against their flags.
 * @throws ZerothError (usage) naming the first flag that is missing or wrong
 */
const checked = <F extends Flags>(command: string, flags: F, given: Readonly<Record<string, unknown>>): Values<F> => {
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(flags)) {
    const parsed = flag.schema.safeParse(given[name]);
    if (parsed.success) {
      values[name] = parsed.data;
      continue;
    }
    const problem = given[name] === undefined ? "is needed" : (parsed.error.issues[0]?.message ?? "is not valid");
    throw new ZerothError(`${flagName(flag)} ${problem}.\nSee: zeroth ${command} --help`, { kind: "usage" });
  }
  return values as Values<F>;
};

export const defineCommand = <F extends Flags>(spec: CommandSpec<F>): RegisteredCommand => ({
  register(parent, start, call) {
    const flags: F & typeof commonFlags = { ...spec.flags, ...commonFlags };
    const command = parent
      .command(spec.name)
      .summary(spec.summary)
      .description(spec.summary)
      .allowExcessArguments(false);
    const words = Object.entries<Flag>(flags).filter(([, flag]) => isWord(flag));
    for (const [, { usage, help }] of words) command.argument(usage, help);
    for (const { usage, help, group, schema } of Object.values<Flag>(flags).filter((flag) => !isWord(flag))) {
      const needed = schema.safeParse(undefined).success ? "" : " (required)";
      command.addOption(new Option(usage, `${help}${needed}`).helpGroup(group));
    }
    command
      .addOption(
        new Option("--config <file>", "YAML or JSON file with any of these options; flags override it").helpGroup(
          "Output:",
        ),
      )
      .helpOption("-h, --help", "show this")
      .addHelpText("after", () => helpExamples(spec, call.program));
    command.action(() =>
      start(async () => {
        const { args } = command;
        const named = words.flatMap(([name, { usage }], i) =>
          i < args.length ? [[name, usage.includes("...") ? args.slice(i) : args[i]] as const] : [],
        );
        // The parser fills in "true" for a flag that begins with "no"; a configuration file may say otherwise.
        const said = Object.entries(command.opts<Record<string, unknown>>()).filter(
          ([name]) => command.getOptionValueSource(name) !== "default",
        );
        const { config, ...typed } = Object.fromEntries(said);
        const file = typeof config === "string" ? readConfig(config, Object.keys(flags)) : {};
        const options = checked(spec.name, flags, { ...file, ...typed, ...Object.fromEntries(named) });
        const terminal = createTerminal({ json: options.json, quiet: options.json || spec.quiet === true });
        return spec.run(options, { ...call, terminal });
      }),
    );
  },
});

const helpExamples = ({ name, examples }: Pick<CommandSpec<Flags>, "name" | "examples">, program: string): string =>
  [
    "",
    "Examples:",
    ...examples.flatMap(([args, what]) => [`  # ${what}`, `  ${program} ${name} ${args}`.trimEnd()]),
  ].join("\n");
