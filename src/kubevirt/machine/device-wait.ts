/** A device plugin moves its interface into the pod some time after the pod has started. */
import { setTimeout as sleep } from "node:timers/promises";
import { deviceExists } from "./device-state.ts";
import type { Kernel } from "./iproute.ts";
import { Refusal } from "./refusal.ts";

const POLL_MS = 100;

/** Resolves once the device is there. Throws Refusal after `seconds`, or when `signal` is aborted. */
export async function waitForDevice(
  kernel: Kernel,
  device: string,
  seconds: number,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  if (await deviceExists(kernel, device)) return;
  say(`waiting up to ${seconds} s for ${device}\n`);
  const deadline = performance.now() + seconds * 1000;
  while (!(await deviceExists(kernel, device))) {
    if (signal.aborted) throw new Refusal("interrupted; nothing was changed");
    if (performance.now() > deadline) {
      const reason = "its device plugin has not moved it into the pod";
      throw new Refusal(`${device} did not appear in ${seconds} s: ${reason}; nothing was changed`);
    }
    await sleep(POLL_MS);
  }
}
