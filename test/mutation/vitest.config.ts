/** The tests that mutants meet, as run.mjs says: unit tests in virtual time, none that starts a process or takes long. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { keptPool } from "./kept-pool.ts";

/** What took least time first: what is small is about the thing, and notices soonest. */
class ShortestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const ms = new Map(files.map((file) => [file, durations.get(file.moduleId) ?? 0]));
    return [...files].sort((a, b) => ms.get(a)! - ms.get(b)!);
  }
}
const durations = new Map<string, number>();

export default defineConfig({
  plugins: [
    {
      name: "kept-pool",
      // Stryker asks for threads, whatever stands here.
      configureVitest({ vitest, project }) {
        for (const config of [vitest.config, project.config])
          Object.assign(config, { pool: keptPool.name, poolRunner: keptPool });
      },
    },
  ],
  test: {
    include: process.env["MUTATION_TESTS"]?.split(" ") ?? [],
    isolate: false,
    reporters: [
      {
        onTestModuleEnd(module) {
          const { duration } = module.diagnostic();
          // A file that cannot be loaded has no test that fails: Stryker looks at errors besides.
          for (const error of module.errors()) module.project.vitest.state.errorsSet.add(error);
          if (!durations.has(module.moduleId)) durations.set(module.moduleId, duration);
        },
      },
    ],
    sequence: { sequencer: ShortestFirst },
    testTimeout: 60_000,
    // Not by `testNamePattern`, which Stryker sets.
    setupFiles: [fileURLToPath(new URL("setup.ts", import.meta.url))],
  },
});
