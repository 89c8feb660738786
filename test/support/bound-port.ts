import { native } from "../../src/host/native/native.ts";

/** The local port of a socket of the shim. */
export function boundPort(handle: number): number {
  const words = new Int32Array(5);
  return native.localAddress(handle, words) === 0 ? words[4] : 0;
}
