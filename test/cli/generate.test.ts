import { describe, expect, it } from "vitest";
import { jsonLines, seedling, zeroth } from "./zeroth.js";

const asked = ["generate", "--model", seedling, "--prompt", "Once upon a time", "--threads", "1"];

describe("generate", { timeout: 240_000 }, () => {
  it("writes text alone to standard output, and how it went to standard error", async () => {
    const { code, stdout, stderr } = await zeroth([...asked, "--max-tokens", "40", "--stop", "never", " big"]);
    expect(code, stderr).toBe(0);
    const machine = await zeroth([...asked, "--max-tokens", "40", "--stop", "never", " big", "--json"]);
    const [result, ...others] = jsonLines(machine.stdout);
    expect(others).toEqual([]);
    expect(result).toMatchObject({ reason: "stop", promptTokens: 4 });
    expect(stdout).toBe(`${result?.text}\n`);
    expect(stdout).toMatch(/^, there was a little girl/);
    expect(stderr).toMatch(/^\d+ tokens after 4 of the prompt, [\d.e+]+ tokens\/s \(at a stop sequence\)\n$/);
  });

  it("refuses what cannot be", async () => {
    const { code, stderr } = await zeroth([...asked, "--top-p", "1.5"]);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining("--top-p must be") });
  });
});
