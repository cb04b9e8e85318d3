/**
 * An error the user can act on: its message names the file or option at fault and the fix, in at most four lines.
 * The command line prints the message alone; anything else that is thrown is a defect of ours and keeps its stack.
 */
export class ZerothError extends Error {
  override readonly name = "ZerothError";
  /** `"usage"` makes the command line exit with 2 instead of 1. */
  readonly kind: "usage" | "failure";

  constructor(message: string, options: { cause?: unknown; kind?: "usage" | "failure" } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = options.kind ?? "failure";
  }
}

/** The message of whatever was thrown, for embedding in another message. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
