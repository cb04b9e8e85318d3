/** What Ctrl-C does now; the latest in charge wins. */
const handlers: (() => void)[] = [];

const handle = (): void => handlers.at(-1)?.();

/** Puts a handler in charge of Ctrl-C. @returns takes it out again */
export const onInterrupt = (handler: () => void): (() => void) => {
  if (handlers.length === 0) process.on("SIGINT", handle);
  handlers.push(handler);
  return () => {
    handlers.splice(handlers.lastIndexOf(handler), 1);
    if (handlers.length === 0) process.off("SIGINT", handle);
  };
};
