/** The links and the kernel's sockets allocate nothing per packet: a collection in mid-stream is a stall for the guest. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { FrameLink } from "../../src/engine/boundary.ts";
import { TX_CHECKSUM_PARTIAL, TX_TCP_SEGMENTS } from "../../src/engine/memory/transmit-queue.ts";
import { makeUdpBatch } from "../../src/engine/memory/udp-batch.ts";
import { QemuDatagramLink } from "../../src/host/link/qemu-dgram.ts";
import { QemuStreamLink } from "../../src/host/link/qemu-stream.ts";
import { TapLink } from "../../src/host/link/tap.ts";
import { native } from "../../src/host/native/native.ts";
import { KernelNetwork, OUTBOUND_ANY } from "../../src/host/sockets.ts";
import { boundPort } from "../support/bound-port.ts";
import { LinkRig } from "../support/link-rig.ts";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const WARM_UP = 5_000;
const ROUNDS = 20_000;
const STEP_ROUNDS = 500;
const PER_ROUND = 8;
const TRIES = 4;
/** One small object per packet would be 16 octets or more; compiled code and counters of the runtime are below 1. */
const OCTETS_MAX = 2;

/**
 * Heap octets that one packet costs, when `round` moves PER_ROUND of them: the best of a few tries, because the compiler
 * and the test runner allocate too, now and then. The heap is looked at in short steps and only its growth counts, for a
 * collection in between hides what was allocated before it.
 */
function octetsPerPacket(round: () => void): number {
  for (let i = 0; i < WARM_UP; i++) round();
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < TRIES && best >= OCTETS_MAX; attempt++) {
    collect();
    let last = process.memoryUsage().heapUsed;
    let grown = 0;
    for (let step = 0; step < ROUNDS; step += STEP_ROUNDS) {
      for (let i = 0; i < STEP_ROUNDS; i++) round();
      const now = process.memoryUsage().heapUsed;
      if (now > last) grown += now - last;
      last = now;
    }
    best = Math.min(best, grown / (ROUNDS * PER_ROUND));
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

type Link = FrameLink & { resume?(): void };
const options = { ...rig, pushesBack: true, paired: true };
/** TUN_F_CSUM and TUN_F_TSO4 of <linux/if_tun.h>. */
const OFFLOADS = 1 | 2;

/** PER_ROUND frames into `from` and out of `to`. Returns how many came. */
function exchange(from: Link, to: Link, octets: number, segment: number): number {
  const flags = segment > 0 ? TX_CHECKSUM_PARTIAL | TX_TCP_SEGMENTS : 0;
  for (let i = 0; i < PER_ROUND; i++) {
    rig.queue.push(54, rig.arena.largeChunksAt, octets, flags, segment, 34);
  }
  let moved = 0;
  while (rig.queue.length > 0) {
    from.resume?.();
    from.transmit(rig.queue);
    for (let count = to.receive(rig.batch); count > 0; count = to.receive(rig.batch)) moved += count;
  }
  return moved;
}

// A TAP gives and takes a frame per system call, as a datagram socket does: the link cannot tell them apart.
it.each<[string, "stream" | "dgram", (fd: number) => Link, number, number]>([
  ["a stream socket", "stream", (fd) => new QemuStreamLink(fd, "test", options), 1000, 0],
  ["a datagram socket", "dgram", (fd) => new QemuDatagramLink(fd, "test", options), 1000, 0],
  ["a TAP", "dgram", (fd) => new TapLink(fd, "test", false, 0, rig), 1000, 0],
  [
    "a TAP that takes super-frames",
    "dgram",
    (fd) => new TapLink(fd, "test", true, OFFLOADS, rig),
    8 * 1448,
    1448,
  ],
])("frames over %s", (_, type, make, octets, segment) => {
  const [a, b] = native.socketPair(type);
  native.setNonBlocking(a);
  native.setNonBlocking(b);
  const [from, to] = [make(a), make(b)];
  let moved = 0;
  const cost = octetsPerPacket(() => {
    moved += exchange(from, to, octets, segment);
  });
  expect(moved).toBeGreaterThanOrEqual((WARM_UP + ROUNDS) * PER_ROUND);
  expect(cost).toBeLessThan(OCTETS_MAX);
  from.close();
  to.close();
});

it("an object per packet would be seen", () => {
  const [a, b] = native.socketPair("dgram");
  const [from, to] = [a, b].map((fd) => new QemuDatagramLink(fd, "test", options));
  const kept: object[] = new Array(PER_ROUND);
  const cost = octetsPerPacket(() => {
    const moved = exchange(from, to, 1000, 0);
    for (let i = 0; i < moved; i++) kept[i % PER_ROUND] = { i };
  });
  expect(cost).toBeGreaterThan(OCTETS_MAX);
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
  const to = Int32Array.of(0, 0, 0xffff, 0x7f000001, boundPort(b));
  const batch = makeUdpBatch(16);
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
