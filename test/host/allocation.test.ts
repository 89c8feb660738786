/** The links and the kernel's sockets allocate nothing per packet: a collection in mid-stream is a stall for the guest. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, it } from "vitest";
import { native } from "../../src/host/native.ts";
import { QemuDatagramLink } from "../../src/host/qemu-dgram.ts";
import { QemuStreamLink } from "../../src/host/qemu-stream.ts";
import { KernelNetwork, OUTBOUND_ANY } from "../../src/host/sockets.ts";
import type { FrameLink, UdpBatch } from "../../src/ports.ts";
import { LinkRig } from "../support/link-rig.ts";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const WARM_UP = 5_000;
const ROUNDS = 20_000;
const PER_ROUND = 8;
const TRIES = 4;
/** One small object per packet would be 16 octets or more; compiled code and counters of the runtime are below 1. */
const OCTETS_MAX = 2;

/**
 * Heap octets that one packet costs, when `round` moves PER_ROUND of them: the best of a few tries, because the compiler
 * and the test runner allocate too, now and then.
 */
function octetsPerPacket(round: () => void): number {
  for (let i = 0; i < WARM_UP; i++) round();
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < TRIES && best >= OCTETS_MAX; attempt++) {
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < ROUNDS; i++) round();
    best = Math.min(best, (process.memoryUsage().heapUsed - before) / (ROUNDS * PER_ROUND));
  }
  return best;
}

const rig = new LinkRig();

beforeAll(() => {
  native.epollOpen(() => {});
});
afterAll(() => {
  native.epollClose();
});

it.each(["stream", "dgram"] as const)("frames over a %s socket", (type) => {
  const [a, b] = native.socketPair(type);
  const options = { ...rig, pushesBack: true, paired: true };
  const make = (fd: number): FrameLink & { resume(): void } =>
    type === "stream" ? new QemuStreamLink(fd, "test", options) : new QemuDatagramLink(fd, "test", options);
  const [from, to] = [make(a), make(b)];
  let moved = 0;
  const cost = octetsPerPacket(() => {
    for (let i = 0; i < PER_ROUND; i++) rig.queue.push(54, rig.arena.largeChunksAt, 1000, 0, 0, 0);
    while (rig.queue.length > 0) {
      from.resume();
      from.transmit(rig.queue);
      for (let count = to.receive(rig.batch); count > 0; count = to.receive(rig.batch)) moved += count;
    }
  });
  expect(moved).toBeGreaterThanOrEqual((WARM_UP + ROUNDS) * PER_ROUND);
  expect(cost).toBeLessThan(OCTETS_MAX);
  from.close();
  to.close();
});

it("datagrams over the kernel's sockets", () => {
  const network = new KernelNetwork({
    ...rig,
    guestForwards: [],
    outbound: OUTBOUND_ANY,
    spawnCommand: () => -1,
  });
  const [a, b] = [network.udpOpen(1, 4, 0), network.udpOpen(2, 4, 0)];
  const to = Int32Array.of(0, 0, 0xffff, 0x7f000001, network.udpPort(b));
  const ints = (): Int32Array => new Int32Array(16);
  const batch: UdpBatch = {
    capacity: 16,
    at: ints(),
    length: ints(),
    segment: ints(),
    words: new Int32Array(80),
  };
  let moved = 0;
  const cost = octetsPerPacket(() => {
    for (let i = 0; i < PER_ROUND; i++) network.udpSend(a, to, rig.arena.largeChunksAt, 100 + i);
    moved += PER_ROUND - network.udpFlush();
    for (let count = network.udpReceive(b, batch); count > 0; ) count = network.udpReceive(b, batch);
  });
  expect(moved).toBeGreaterThanOrEqual((WARM_UP + ROUNDS) * PER_ROUND);
  expect(cost).toBeLessThan(OCTETS_MAX);
  network.udpClose(a);
  network.udpClose(b);
  network.close();
});
