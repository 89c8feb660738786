/** A hundred thousand of anything takes minutes where every line counts itself: left out. */
import { afterAll, beforeEach } from "vitest";

beforeEach((context) => {
  if (/\b\d{3},000\b/.test(context.task.name)) context.skip();
});

/**
 * No mutant is on between runs: a test file that the kept thread has not loaded yet would be loaded with the last one, and
 * one that breaks then is broken for good, which notices nothing any more.
 */
afterAll(() => {
  const { __stryker__: stryker } = globalThis as { __stryker__?: { activeMutant?: string | undefined } };
  if (stryker !== undefined) stryker.activeMutant = undefined;
});
