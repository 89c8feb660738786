/**
 * Floods, in virtual time, with an honest connection beside them. Each is answered by a ceiling: so many flows, chunks
 * and queues and no more, a heap that stays where it was, and a neighbour who hardly notices.
 */
import { describe, expect, it } from "vitest";
import {
  FLOWS_MAX,
  GUESTS_MAX,
  HALF_OPEN_MAX,
  LARGE_CHUNKS,
  REASSEMBLY_QUEUES_MAX,
  SMALL_CHUNKS,
  UDP_MAPPINGS_MAX,
} from "../../src/engine/limits.ts";
import { clientMessage, macOf } from "../support/dhcp-client.ts";
import { FloodRig, heapOctets, writeHeaders, writeSegment } from "./flood-rig.ts";
import { GATEWAY, GUEST, REMOTE } from "./guest-packets.ts";
import { FAR_MS, type Newcomers } from "./newcomers.ts";

const [FIN, SYN, ACK] = [1, 2, 16];
const [TCP, UDP] = [6, 17];
/** Frames of a flood; SLUICE_LONG=1 makes it a million, which takes a minute and changes nothing else. */
const MANY = process.env["SLUICE_LONG"] === "1" ? 1_000_000 : 200_000;
/** Twice the turns an answer takes when nothing else goes on, and room for a batch before and after. */
const DELAY_MAX_MS = 8;
const FIRST_LEASE = GUEST;
const MIB = 1 << 20;
/** Flow objects are kept for reuse: at most so much per flow that ever was at once. */
const FLOW_OCTETS = 1024;

/** After the flood: everything given back, and no more heap than the flow objects kept for reuse. */
function expectRest(rig: FloodRig, heapBefore: number, flows: number): void {
  rig.sleep(8400);
  expect(rig.core.usage()).toEqual({
    tcp: 0,
    udp: 0,
    dns: 0,
    tftp: 0,
    smallChunks: 0,
    largeChunks: 0,
    queuedFrames: 0,
    reassembly: 0,
  });
  // Beside the flows: compiled code and what V8 learned of it, 3 to 5 MiB by version.
  expect(heapOctets() - heapBefore).toBeLessThan(flows * FLOW_OCTETS + 6 * MIB);
}

function expectHonest(rig: FloodRig, answers: number, delayMaxMs = DELAY_MAX_MS): void {
  expect(rig.answers).toBeGreaterThan(answers);
  expect(rig.longestMs).toBeLessThanOrEqual(delayMaxMs);
}

/** Conversations that began during the flood went on undisturbed. */
function expectServed(newcomers: Newcomers, least: number, delayMaxMs: number): void {
  expect(newcomers.served).toBeGreaterThan(least);
  expect(newcomers.longestMs).toBeLessThanOrEqual(delayMaxMs);
}

describe("floods", () => {
  it("half-open connections", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    const newcomers = rig.welcome("tcp");
    rig.flood(MANY, (_, view, at, n) => {
      writeHeaders(view, at, GUEST, REMOTE, TCP, 40);
      writeSegment(view, at, [1024 + (n % 64_000), 80 + ((n / 64_000) | 0)], SYN, n, 0, 65_535);
      return 54;
    });
    // The oldest have given way: those that begin meanwhile are served as if nothing were.
    expectServed(newcomers, rig.now / (FAR_MS + DELAY_MAX_MS) - 1, FAR_MS + DELAY_MAX_MS);
    expect(rig.core.usage().tcp).toBeLessThanOrEqual(HALF_OPEN_MAX + 2);
    expect(rig.network.tcpOpen).toBeLessThanOrEqual(HALF_OPEN_MAX + 2);
    expect(rig.core.counters.value("tcp-half-open-evicted")).toBeGreaterThanOrEqual(MANY - HALF_OPEN_MAX - 1);
    // They went without a word: nothing was sent to the flood.
    expect(rig.core.counters.value("tcp-resets-to-guest")).toBe(0);
    expectHonest(rig, 200);
    // RFC 5382 REQ-5: four minutes, then the places are free again.
    rig.sleep(300);
    expect(rig.network.tcpOpen).toBeLessThanOrEqual(1);
    expectRest(rig, heap, HALF_OPEN_MAX);
  });

  it("SYNs to hosts that answer, none of them ever completed", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.network.behaviour = "gives-for-ever";
    rig.befriend();
    const newcomers = rig.welcome("tcp");
    rig.flood(MANY, (_, view, at, n) => {
      writeHeaders(view, at, GUEST, REMOTE + (n >>> 16), TCP, 40);
      writeSegment(view, at, [1024 + (n % 64_000), 80], SYN, n, 0, 65_535);
      return 54;
    });
    expectServed(newcomers, rig.now / (FAR_MS + DELAY_MAX_MS) - 1, FAR_MS + DELAY_MAX_MS);
    expect(rig.core.usage().tcp).toBeLessThanOrEqual(HALF_OPEN_MAX + 2);
    expectHonest(rig, 200);
    expectRest(rig, heap, HALF_OPEN_MAX);
  });

  it("a table full of established connections: no more, and nothing taken from those there are", () => {
    const rig = new FloodRig();
    rig.network.behaviour = "echo";
    rig.befriend();
    const iss = new Int32Array(FLOWS_MAX);
    rig.link.sentToFlood = (view, at) => {
      if ((view.getUint8(at + 47) & SYN) !== 0) iss[view.getUint16(at + 36) - 1024] = view.getInt32(at + 38);
    };
    const segment =
      (flags: number, first = 0) =>
      (_: Uint8Array, view: DataView, at: number, n: number) => {
        const flow = first + n;
        writeHeaders(view, at, GUEST, REMOTE, TCP, 40);
        writeSegment(view, at, [1024 + flow, 80], flags, flags === SYN ? 0 : 1, (iss[flow] + 1) | 0, 65_535);
        return 54;
      };
    for (let first = 0; first < FLOWS_MAX - 1; first += HALF_OPEN_MAX) {
      const count = Math.min(HALF_OPEN_MAX, FLOWS_MAX - 1 - first);
      rig.flood(count, segment(SYN, first));
      rig.flood(count, segment(ACK, first));
    }
    const { counters } = rig.core;
    expect(rig.core.usage().tcp).toBe(FLOWS_MAX);
    expect(counters.dropped("flow-table-full")).toBe(0);
    rig.flood(1000, segment(SYN, FLOWS_MAX));
    expect(counters.dropped("flow-table-full")).toBe(1000);
    expect(rig.core.usage().tcp).toBe(FLOWS_MAX);
    // A turn serves 64 connections, and each of these has to be looked at once.
    expectHonest(rig, 30, FLOWS_MAX / 64 + DELAY_MAX_MS);
    // One that has ended and only waits makes room for a new one.
    const last = FLOWS_MAX - 2;
    rig.network.endsLatest();
    rig.pass(FLOWS_MAX / 64);
    rig.flood(1, segment(FIN | ACK, last));
    rig.flood(1, (octets, view, at, n) => {
      const length = segment(ACK, last)(octets, view, at, n);
      view.setInt32(at + 38, 2);
      view.setInt32(at + 42, (iss[last] + 2) | 0);
      return length;
    });
    rig.flood(1, segment(SYN, FLOWS_MAX));
    expect(counters.value("tcp-time-wait-evicted")).toBe(1);
    expect(counters.dropped("flow-table-full")).toBe(1000);
  });

  it("first fragments of datagrams that are never finished", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    rig.flood(MANY, (_, view, at, n) => {
      // Every 1000th is followed by its other half at once: an honest sender's.
      const last = n % 1000 === 999;
      writeHeaders(view, at, GUEST, REMOTE, UDP, 36, last ? n - 1 : n, last ? 2 : 0x2000);
      view.setInt32(at + 34, (40_000 << 16) | 7);
      view.setInt32(at + 38, 32 << 16);
      return 50;
    });
    expect(rig.core.usage().reassembly).toBeLessThanOrEqual(REASSEMBLY_QUEUES_MAX);
    expect(rig.network.datagrams).toBe(MANY / 1000);
    expect(rig.core.counters.dropped("ipv4-fragment-limit")).toBeGreaterThan(MANY * 0.99);
    expectHonest(rig, 200);
    expectRest(rig, heap, 1);
  });

  it("UDP from one port to more destinations than there are ports: one mapping, a bounded memory of its peers", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    rig.flood(MANY, (_, view, at, n) => {
      writeHeaders(view, at, GUEST, REMOTE + (n >>> 4), UDP, 28);
      view.setInt32(at + 34, (40_000 << 16) | (1 + (n % 60_000)));
      view.setInt32(at + 38, 8 << 16);
      return 42;
    });
    expect(rig.network.udpSockets).toBe(1);
    expect(rig.network.datagrams).toBe(MANY);
    expectHonest(rig, 200);
    expectRest(rig, heap, 1);
  });

  it("UDP from every port: no more mappings than there may be, and room for those that are in use", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    const newcomers = rig.welcome("udp");
    rig.flood(MANY, (_, view, at, n) => {
      writeHeaders(view, at, GUEST, REMOTE + ((n / 64_000) | 0), UDP, 28);
      view.setInt32(at + 34, ((1024 + (n % 64_000)) << 16) | (1 + (n % 60_000)));
      view.setInt32(at + 38, 8 << 16);
      return 42;
    });
    expectServed(newcomers, rig.now / DELAY_MAX_MS, DELAY_MAX_MS);
    expect(rig.network.udpSockets).toBe(UDP_MAPPINGS_MAX);
    const { counters } = rig.core;
    expect(counters.value("udp-mappings-opened") - counters.value("udp-mappings-evicted")).toBe(
      UDP_MAPPINGS_MAX,
    );
    expect(counters.dropped("udp-mappings-full")).toBe(0);
    expectHonest(rig, 200);
    // RFC 4787 REQ-5: five minutes later every port may be used again.
    rig.sleep(400);
    expect(rig.network.udpSockets).toBe(0);
    expectRest(rig, heap, UDP_MAPPINGS_MAX);
  });

  it("DHCP from ever new MACs: sixteen leases, and the guest keeps its own", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    const discover = clientMessage({ type: 1 });
    const request = clientMessage({ type: 3, requested: FIRST_LEASE, serverId: GATEWAY });
    const octetsOf = (n: number) => (n % 3 === 2 ? request : discover);
    rig.flood(MANY / 4, (octets, view, at, n) => {
      const dhcp = octetsOf(n);
      writeHeaders(view, at, 0, -1, UDP, 28 + dhcp.length);
      view.setInt32(at + 34, (68 << 16) | 67);
      view.setInt32(at + 38, (8 + dhcp.length) << 16);
      octets.set(dhcp, at + 42);
      octets.set(macOf(n), at + 42 + 28);
      if (dhcp === request) view.setInt32(at + 42 + 245, FIRST_LEASE + 1 + (n % GUESTS_MAX));
      return 42 + dhcp.length;
    });
    // Fifteen addresses went to whoever asked first; the guest's, which it uses by hand, was asked for by none.
    const { counters } = rig.core;
    const refused = counters.dropped("dhcp-no-address") + counters.dropped("link-full");
    expect(counters.value("dhcp-replies") + refused).toBe(MANY / 4);
    expect(refused).toBeGreaterThan(0);
    expectHonest(rig, 100);
    expectRest(rig, heap, 1);
  });

  // A turn serves 64 connections: with a thousand that always have something it is the honest one's every 16th. Five
  // thousand want more than there is: those that stay silent are given up for the others.
  it.each([
    [1000, 1000, 16 + DELAY_MAX_MS],
    [5000, 100, 10_000],
  ])("%i connections whose guest never reads", (connections, answers, delayMaxMs) => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.network.behaviour = "gives-for-ever";
    rig.befriend();
    const iss = new Int32Array(connections);
    rig.link.sentToFlood = (view, at) => {
      const flow = view.getUint16(at + 36) - 2000;
      if ((view.getUint8(at + 47) & SYN) !== 0) iss[flow] = view.getInt32(at + 38);
    };
    const segment = (flags: number) => (_: Uint8Array, view: DataView, at: number, n: number) => {
      writeHeaders(view, at, GUEST, REMOTE, TCP, 40);
      const sequence = flags === SYN ? 1000 : 1001;
      writeSegment(view, at, [2000 + n, 80], flags, sequence, (iss[n] + 1) | 0, 65_535);
      return 54;
    };
    rig.flood(connections, segment(SYN));
    rig.flood(connections, segment(ACK));
    rig.pass(20_000);
    // Each flow has what its window allows; whoever came last waits for memory, and nobody has more than the share.
    const usage = rig.core.usage();
    if (connections === 1000) expect(usage.tcp).toBe(1001);
    else expect(rig.core.counters.dropped("memory-exhausted")).toBeGreaterThan(0);
    expect(usage.smallChunks).toBeLessThanOrEqual((SMALL_CHUNKS * 5) / 8);
    expect(usage.largeChunks).toBeLessThanOrEqual((LARGE_CHUNKS * 5) / 8);
    expectHonest(rig, answers, delayMaxMs);
    // Retransmissions go unanswered for two minutes: they are ended, their memory comes back.
    rig.sleep(600);
    expect(rig.core.usage()).toMatchObject({ smallChunks: 0, largeChunks: 0 });
    expectRest(rig, heap, connections + 1);
  });

  it("a thousand connections whose host never reads", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.network.behaviour = "never-reads";
    rig.befriend();
    const iss = new Int32Array(1000);
    rig.link.sentToFlood = (view, at) => {
      const flow = view.getUint16(at + 36) - 2000;
      if ((view.getUint8(at + 47) & SYN) !== 0) iss[flow] = view.getInt32(at + 38);
    };
    rig.flood(1000, (_, view, at, n) => {
      writeHeaders(view, at, GUEST, REMOTE, TCP, 40);
      writeSegment(view, at, [2000 + n, 80], SYN, 1000, 0, 65_535);
      return 54;
    });
    // A hundred full segments each, whatever window they are told.
    rig.flood(100_000, (_, view, at, n) => {
      const flow = n % 1000;
      writeHeaders(view, at, GUEST, REMOTE, TCP, 1500);
      const sequence = 1001 + ((n / 1000) | 0) * 1460;
      writeSegment(view, at, [2000 + flow, 80], ACK, sequence, (iss[flow] + 1) | 0, 65_535);
      return 1514;
    });
    const usage = rig.core.usage();
    expect(usage.tcp).toBe(1001);
    // Backlogs and what came ahead of a hole; the shares of what hosts send are untouched but for the honest one's.
    expect(usage.smallChunks).toBeLessThanOrEqual((SMALL_CHUNKS * 3) / 8 + 1);
    expect(usage.largeChunks).toBeLessThanOrEqual((LARGE_CHUNKS * 3) / 8);
    expectHonest(rig, 100, 16 + DELAY_MAX_MS);
    expectRest(rig, heap, 1001);
  });

  it("garbage: every frame counted once", () => {
    const rig = new FloodRig();
    const heap = heapOctets();
    rig.befriend();
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      return state >>> 8;
    };
    rig.flood(MANY / 4, (octets, view, at) => {
      const length = 14 + (random() % 200);
      for (let i = 0; i < length; i++) octets[at + i] = random();
      // Most are for the gateway and called IPv4, and some of those begin like it.
      if (random() % 5 > 0) {
        view.setInt32(at, 0x52550a00);
        view.setInt32(at + 4, 0x02025254);
        view.setInt32(at + 8, 0x00123456);
        view.setUint16(at + 12, 0x0800);
        if (random() % 2 > 0) octets[at + 14] = 0x45;
      }
      return length;
    });
    const { drops } = rig.core.counters.snapshot();
    expect(Object.values(drops).reduce((sum, count) => sum + count, 0)).toBe(MANY / 4);
    expectHonest(rig, 50);
    expectRest(rig, heap, 1);
  });
});
