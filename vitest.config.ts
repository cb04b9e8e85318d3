import { defineConfig } from "vitest/config";

/** `.ci/run` names a file here and adds up what it finds in it. */
const report = process.env.ZEROTH_TEST_REPORT;

export default defineConfig({
  test: {
    setupFiles: ["test/setup.ts"],
    // The default leaves a core idle.
    maxWorkers: "100%",
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["test/**/*.test.ts"], testTimeout: 60_000, pool: "forks" },
      },
      {
        extends: true,
        test: { name: "durable", include: ["test-durable/**/*.test.ts"], testTimeout: 240_000, pool: "forks" },
      },
      {
        extends: true,
        test: {
          name: "real",
          include: ["test-real/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          pool: "forks",
          fileParallelism: false,
        },
      },
    ],
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      exclude: ["src/kernels/assembly/**", "src/kernels/noise.wasm.ts"],
      reporter: ["text-summary", "html"],
    },
  },
});
