/** The tests that mutants meet, as run.mjs says: unit tests in virtual time, none that starts a process or takes long. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: process.env["MUTATION_TESTS"]?.split(" ") ?? [],
    testTimeout: 60_000,
    // A hundred thousand of anything takes minutes where every line counts itself.
    testNamePattern: /^(?!.*\b\d{3},000\b)/,
  },
});
