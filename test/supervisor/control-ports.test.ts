/** Ports that are kept from the guest, while this host's addresses come and go. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { parseIpv4 } from "../../src/config/address.ts";
import { ControlRefusal } from "../../src/control/instance.ts";
import { type ControlPort, ControlPorts } from "../../src/engine/network/control-ports.ts";
import { type Call, EngineCalls } from "../../src/supervisor/calls.ts";
import { KeptPorts } from "../../src/supervisor/control-ports.ts";

const OF_IPV4 = [0, 0, 0xffff];
const words = (address: string): number[] => [...OF_IPV4, parseIpv4(address)];
let told: (readonly ControlPort[])[] = [];
let own: number[][] = [];
let failure: string | undefined;
let kept: KeptPorts;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  told = [];
  own = [words("192.0.2.7")];
  failure = undefined;
  const calls = new EngineCalls(
    (id, call: Call) => {
      if (call.name === "control-ports" && failure === undefined) told.push(call.ports);
      queueMicrotask(() => calls.answered(id, failure === undefined ? {} : undefined, failure));
    },
    { counters: 0, drops: 0 },
  );
  kept = new KeptPorts(calls, () => own);
});
afterEach(() => {
  kept.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

/** Whether the engine refuses it, by what it was told last. */
const refuses = (address: string, port: number): boolean =>
  new ControlPorts(told.at(-1) ?? []).has([...words(address), port]);
const later = (): Promise<unknown> => vi.advanceTimersByTimeAsync(10_000);
const closed = async (stream: { destroy(): unknown }): Promise<void> => {
  stream.destroy();
  await new Promise(setImmediate);
};

it.each(["0.0.0.0", "::"])(
  "%s is every address that this host has or gets, for as long as it is kept",
  async (any) => {
    const stream = await kept.keep({ address: any, port: 9090 });
    expect([refuses("192.0.2.7", 9090), refuses("127.0.0.9", 9090), refuses("198.51.100.1", 9090)]).toEqual([
      true,
      true,
      false,
    ]);
    await later();
    expect(told).toHaveLength(1);
    own = [words("192.0.2.7"), words("198.51.100.1")];
    await later();
    expect([refuses("192.0.2.7", 9090), refuses("198.51.100.1", 9090)]).toEqual([true, true]);
    own = [words("198.51.100.1")];
    await later();
    expect([refuses("192.0.2.7", 9090), refuses("198.51.100.1", 9090)]).toEqual([false, true]);
    await closed(stream);
    expect(refuses("198.51.100.1", 9090)).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  },
);

it("an address is that one alone, and nobody looks for others", async () => {
  const stream = await kept.keep({ address: "192.0.2.7", port: 9090 });
  expect([refuses("192.0.2.7", 9090), refuses("192.0.2.7", 9091), refuses("127.0.0.1", 9090)]).toEqual([
    true,
    false,
    false,
  ]);
  expect(vi.getTimerCount()).toBe(0);
  await closed(stream);
  expect(refuses("192.0.2.7", 9090)).toBe(false);
});

it("what the engine was not told is told again, and who could not be kept is not", async () => {
  failure = "the engine is busy";
  await expect(kept.keep({ address: "0.0.0.0", port: 9090 })).rejects.toThrow("the engine is busy");
  failure = undefined;
  await kept.keep({ address: "192.0.2.7", port: 9091 });
  expect([refuses("192.0.2.7", 9090), refuses("192.0.2.7", 9091)]).toEqual([false, true]);
  own = [];
  await kept.keep({ address: "0.0.0.0", port: 9092 });
  own = [words("192.0.2.8")];
  failure = "the engine is busy";
  await later();
  failure = undefined;
  await later();
  expect(refuses("192.0.2.8", 9092)).toBe(true);
});

it("are so many at most", async () => {
  for (let port = 1; port <= 64; port++) await kept.keep({ address: "127.0.0.1", port });
  await expect(kept.keep({ address: "127.0.0.1", port: 65 })).rejects.toThrow(ControlRefusal);
});
