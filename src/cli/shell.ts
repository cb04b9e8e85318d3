/** A word as a POSIX shell reads it back. */
const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** A command line that can be typed again. */
export const commandLine = (program: string, args: readonly string[]): string =>
  [program, ...args.map(quoted)].join(" ");
