import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["test/**/*.test.ts"], testTimeout: 60_000, pool: "forks" } },
      { test: { name: "real", include: ["test-real/**/*.test.ts"], testTimeout: 600_000, hookTimeout: 600_000, pool: "forks", fileParallelism: false } },
    ],
    coverage: { provider: "v8", include: ["src/**/*.ts"], exclude: ["src/kernels/assembly/**", "src/kernels/noise.wasm.ts"], reporter: ["text-summary", "html"] },
  },
});
