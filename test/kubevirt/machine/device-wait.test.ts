import { describe, expect, it } from "vitest";
import { waitForDevice } from "../../../src/kubevirt/machine/device-wait.ts";
import type { Kernel } from "../../../src/kubevirt/machine/iproute.ts";
import { Refusal } from "../../../src/kubevirt/machine/refusal.ts";

/** A kernel that has the device from the `after`-th look on. */
function kernelWith(device: string, after: number): Kernel {
  let looks = 0;
  return {
    run: async () => {
      looks++;
      const names = looks > after ? ["lo", device] : ["lo"];
      return Buffer.from(JSON.stringify(names.map((ifname) => ({ ifname }))));
    },
    writeSysctl: () => Promise.reject(new Error("nothing is written while waiting")),
  };
}

const never = new AbortController().signal;

describe("waiting for a device plugin's interface", () => {
  it("D14 one that is there is not waited for, one that comes late is", async () => {
    const said: string[] = [];
    const say = (text: string): void => void said.push(text);
    await waitForDevice(kernelWith("eth-red01", 0), "eth-red01", 60, say, never);
    expect(said).toEqual([]);
    await waitForDevice(kernelWith("eth-red01", 3), "eth-red01", 60, say, never);
    expect(said).toEqual(["waiting up to 60 s for eth-red01\n"]);
  });

  it("D14 one that does not come in time is a sentence that names it", async () => {
    const waiting = waitForDevice(kernelWith("eth-red01", 1e9), "eth-red01", 0.2, () => {}, never);
    await expect(waiting).rejects.toThrow(/^eth-red01 did not appear in 0\.2 s: .* nothing was changed$/);
  });

  it("a signal ends the waiting", async () => {
    const controller = new AbortController();
    const waiting = waitForDevice(kernelWith("eth-red01", 1e9), "eth-red01", 60, () => {}, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toBeInstanceOf(Refusal);
  });
});
