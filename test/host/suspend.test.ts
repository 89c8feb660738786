/** A machine that slept: the clock that counts suspends is ahead, the one that timers go by is not. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { type EngineHost, startEngine } from "../../src/host/engine-host.ts";
import { native } from "../../src/host/native/native.ts";
import { ArpCore, arpRequest } from "../support/arp-core.ts";
import { KeptLog, until } from "../support/link-rig.ts";

const HOUR_MS = 3_600_000;
let engine: EngineHost;
let core: ArpCore;
let log: KeptLog;
let guest: number;
const ARP_OCTETS = 42;

beforeEach(async () => {
  log = new KeptLog();
  const [ours, theirs] = native.socketPair("stream");
  guest = theirs;
  engine = await startEngine(
    { config: defaultEngineConfig(), link: { kind: "fd", fd: ours }, log },
    (config, ports) => {
      core = new ArpCore(config, ports);
      return core;
    },
  );
});
afterEach(async () => {
  vi.restoreAllMocks();
  await engine.stop();
  native.close(guest);
});

/** Has the engine run once more. */
async function ask(): Promise<void> {
  const { arena } = core.ports;
  const at = arena.largeChunksAt;
  const ints = new Int32Array(arena.buffer);
  arena.view.setUint32(at, ARP_OCTETS);
  arena.octets.set(arpRequest(), at + 4);
  const descriptor = (at + 1024) >> 2;
  ints.set([at, ARP_OCTETS + 4, 0, 0], descriptor);
  const before = core.turns;
  expect(native.writeStream(guest, descriptor << 2, 1)).toBe(ARP_OCTETS + 4);
  await until(() => core.turns > before, "a turn");
}

const slept = (): string[] => log.lines.filter((line) => line.includes("slept"));

it("is told of once, for as long as it was, and the guest is served on", async () => {
  await ask();
  const bootMs = native.bootMs.bind(native);
  vi.spyOn(native, "bootMs").mockImplementation(() => (bootMs() + HOUR_MS) | 0);
  await ask();
  await until(() => slept().length > 0, "the line about it");
  await ask();
  await ask();
  expect(slept()).toEqual(["info: this machine slept for 3600 s"]);
  expect(engine.linked).toBe(true);
});

it("is not told of clocks that differ by less than a second", async () => {
  await ask();
  const bootMs = native.bootMs.bind(native);
  for (let ahead = 1; ahead < 10; ahead++) {
    vi.spyOn(native, "bootMs").mockImplementation(() => (bootMs() + ahead * 900) | 0);
    await ask();
  }
  expect(slept()).toEqual([]);
});
