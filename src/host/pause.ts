const NOTHING = new Int32Array(new SharedArrayBuffer(4));

/** Stands still for so many milliseconds, and the whole process with it: for the end, where nothing else is to be done. */
export function pause(ms: number): void {
  Atomics.wait(NOTHING, 0, 0, ms);
}
