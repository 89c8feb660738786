import type { EngineCore } from "../../src/engine/api.ts";

/** Hands over the socket of the forward of the configuration that is number `slot`, under the id `slot + 1`, as a host does. */
export function openForward(core: EngineCore, handle: number, slot = 0): void {
  const forward = core.config.forwards[slot];
  core.openForward(slot, handle, { id: slot + 1, forward, guestPort: forward.guestPort });
}
