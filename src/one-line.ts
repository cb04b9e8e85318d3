/** Text out of a file as a message may carry it: no line breaks or control characters, not long. */
export const oneLine = (text: string, longest = 200): string => {
  const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ");
  return line.length > longest ? `${line.slice(0, longest)}…` : line;
};
