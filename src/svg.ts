/* What the pictures have in common, whoever draws them: a page that is light or dark as the viewer prefers, inks, and text. */

const pageStyle = `
.page{fill:#ffffff}.ink{fill:#1f2328}.muted{fill:#636c76}.grid{stroke:#d8dee4}.axis{stroke:#9aa4af}
@media (prefers-color-scheme:dark){
.page{fill:#0d1117}.ink{fill:#e6edf3}.muted{fill:#8d96a0}.grid{stroke:#252c35}.axis{stroke:#57606a}}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
.title{font-size:19px;font-weight:600}.subtitle{font-size:13px}.name,.value{font-size:13px;font-weight:600}`;

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
/** Text as it may stand between tags and in attributes. */
export const escaped = (text: string): string =>
  // Control characters are not allowed in XML, not even escaped.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  text.replace(/[&<>"]/g, (letter) => escapes[letter] ?? "").replace(/[\u0000-\u001f\ufffe\uffff]/g, " ");

/** Pixels, to a tenth. */
export const at = (pixels: number): string => pixels.toFixed(1).replace(/\.0$/, "");

/** About how wide a text of 12 pixels is at most: no font is known to measure with. */
export const widthOf = (text: string): number => 7 * text.length;

/** Data to pixels. */
export type Scale = (value: number) => number;

export interface Page {
  readonly width: number;
  readonly height: number;
  /** Where title and subtitle begin. */
  readonly left: number;
  readonly title: string;
  readonly subtitle: string;
  /** Rules for the classes of `body` that are its own. */
  readonly style: string;
}

/** A self-contained SVG. */
export const page = ({ width, height, left, title, subtitle, style }: Page, body: readonly string[]): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${pageStyle}${style}</style>`,
    `<rect class="page" width="${width}" height="${height}" rx="8"/>`,
    `<text class="ink title" x="${left}" y="38">${escaped(title)}</text>`,
    `<text class="muted subtitle" x="${left}" y="60">${escaped(subtitle)}</text>`,
    ...body,
    "</svg>\n",
  ].join("\n");
