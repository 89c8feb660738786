/** Which addresses this host has: a policy takes them for private, and who listens on all of them is found there. */
import { networkInterfaces } from "node:os";
import { isIpv4, parseIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import type { EngineCore } from "../engine/api.ts";
import type { Ipv6Words } from "../engine/config.ts";

/** An interface that comes up is noticed within this. */
export const LOOK_MS = 5000;

/** Four words each. */
export function hostAddresses(): Ipv6Words[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ address }): Ipv6Words[] => {
      if (isIpv4(address)) return [[0, 0, 0xffff, parseIpv4(address)]];
      const words = readIpv6(address.split("%")[0] ?? "");
      return words === null ? [] : [words];
    });
}

/** Tells the core now, and when that has changed. Returns how to stop. */
export function followHostAddresses(core: EngineCore): () => void {
  const tell = (): void => core.setHostAddresses(hostAddresses());
  tell();
  const timer = setInterval(tell, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
