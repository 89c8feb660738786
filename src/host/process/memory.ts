/**
 * What a process has needed for its start and needs no more goes back to the kernel once it waits: many idle ones on one
 * host are to cost little. Nothing of it is in the way of packets.
 */
import { setFlagsFromString } from "node:v8";
import { native } from "../native/native.ts";

/** Tables with an octet and more for each of many flows, of which an idle engine touches nothing. */
const LARGE_BLOCK_OCTETS = 49_152;
/** How long a process has to have been at rest. */
const SUPERVISOR_REST_MS = 2000;
const ENGINE_REST_MS = 5000;

/** Before tables are made: those pages of them that nobody touches are never there. */
export function keepTablesUntouched(): void {
  native.mapLargeBlocks(LARGE_BLOCK_OCTETS);
}

/** Functions that are called again are compiled again, once: about ten milliseconds for a first connection. */
function release(): void {
  setFlagsFromString("--stress-flush-code");
  native.releaseMemory();
  setFlagsFromString("--no-stress-flush-code");
}

/** For a process that mostly waits: its start is over. */
export function releaseAfterStart(): void {
  setTimeout(release, SUPERVISOR_REST_MS).unref();
}

/** For a process with packets: once, after the first seconds in which `work` has not grown. */
export function releaseWhenIdle(work: () => number): void {
  let seen = 0;
  const timer = setInterval(() => {
    const now = work();
    if (now !== seen) {
      seen = now;
      return;
    }
    clearInterval(timer);
    release();
  }, ENGINE_REST_MS);
  timer.unref();
}
