/** Datagrams of the host: which sockets are read when, what the guest hears of them, and clients of forwards. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../../src/engine/boundary.ts";
import { GROUP, TRANSLATED } from "../../../src/engine/network/destinations.ts";
import { packPorts } from "../../../src/engine/transport/flow-table.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import type { Recorder } from "../../../src/engine/transport/recorder.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import {
  type Arriving,
  drained,
  from4,
  GUEST,
  GUEST6,
  more,
  REMOTE,
  REMOTE6,
  SEEN_BIT,
  seenByGuest,
  UdpRig,
} from "./udp-rig.ts";

const TWO = ip("192.0.2.2");
const TWO6 = ip6("2001:db8:a:b:c:d:e:2");
const PREFIX = { words: Int32Array.from(ip6("64:ff9b::")), length: 96 };
const seen6 = (words: readonly number[]): number[] => words.map((word) => word ^ SEEN_BIT);
const from6 = (words: readonly number[], port: number, octets = 9): Arriving => ({ words, port, octets });

describe("a datagram for a mapping", () => {
  it("reaches the guest from the address that it was asked at, or as the guest sees who sent it", () => {
    const rig = new UdpRig({ udpFiltering: "endpoint-independent" });
    rig.to = [0, 0, 0xffff, ip("127.0.0.1")];
    rig.out();
    const left = rig.arrive(500, drained(from4(ip("127.0.0.1"), 80, 5), from4(TWO, 81, 0)));
    expect([left, rig.seen()]).toEqual([
      false,
      [
        { from: REMOTE, fromPort: 80, toPort: 4000, octets: 5 },
        { from: seenByGuest(TWO), fromPort: 81, toPort: 4000, octets: 0 },
      ],
    ]);
    expect(rig.udp.mappings.byId[0]).toMatchObject({ octetsToGuest: 5, packetsToGuest: 2 });
  });

  it("reaches the guest over IPv6 with the mapping's flow label", () => {
    const rig = new UdpRig();
    rig.out6();
    rig.arrive(500, drained(from6(REMOTE6, 81, 5)));
    rig.egress.flush();
    expect(rig.frames[0]?.readUInt32BE(14)).toBe(0x60000000 + (rig.udp.mappings.byId[0]?.flowLabel ?? 0));
    expect([22, 26, 30, 34].map((at) => rig.frames[0]?.readInt32BE(at + 16))).toEqual([...GUEST6]);
    expect(rig.seen()).toEqual([{ from: seen6(REMOTE6), fromPort: 81, toPort: 4000, octets: 5 }]);
  });

  it("counts as many as there are in its run, in 32 bits", () => {
    const rig = new UdpRig();
    rig.out();
    rig.arrive(500, drained({ ...from4(REMOTE, 80, 250), segment: 100 }));
    expect(rig.seen()).toMatchObject([{ octets: 250 }]);
    const [mapping] = rig.udp.mappings.byId;
    expect(mapping).toMatchObject({ octetsToGuest: 250, packetsToGuest: 3 });
    Object.assign(mapping ?? {}, { packetsToGuest: 0x7ffffffe });
    rig.arrive(500, drained({ ...from4(REMOTE, 80, 250), segment: 100 }));
    expect(mapping?.packetsToGuest).toBe(-0x7fffffff);
  });

  const heard = (
    udpFiltering: "endpoint-independent" | "address-dependent" | "address-and-port-dependent",
  ) => {
    const rig = new UdpRig({ udpFiltering });
    rig.out();
    rig.out6();
    const list4 = [from4(REMOTE, 80), from4(REMOTE, 81), from4(TWO, 80)];
    const list6 = [from6(REMOTE6, 80), from6(REMOTE6, 81), from6(TWO6, 80)];
    rig.arrive(500, drained(...list4));
    rig.arrive(501, drained(...list6));
    const ports = rig.seen().map(({ fromPort }) => fromPort);
    expect(rig.udp.mappings.byId.map((m) => (m?.packetsToGuest ?? 0) * 2)).toEqual([
      ports.length,
      ports.length,
    ]);
    return [ports, ...rig.dropped("inbound-filtered")];
  };

  it("is filtered by who sent it, as the configuration says", () => {
    expect(heard("endpoint-independent")).toEqual([[80, 81, 80, 80, 81, 80], 0]);
    expect(heard("address-dependent")).toEqual([[80, 81, 80, 81], 2]);
    expect(heard("address-and-port-dependent")).toEqual([[80, 80], 4]);
  });

  it("by NAT64 is the IPv4 remote's, and none's from outside of the prefix", () => {
    const rig = new UdpRig({ udpFiltering: "endpoint-independent" });
    rig.udp.translate(PREFIX);
    rig.verdict = TRANSLATED;
    rig.to = ip6("64:ff9b::192.0.2.1");
    rig.out();
    rig.arrive(500, drained(from6(ip6("64:ff9b::192.0.2.1"), 80), from6(ip6("64:ff9b::192.0.2.2"), 80)));
    expect(rig.seen().map(({ from }) => from)).toEqual([REMOTE, seenByGuest(TWO)]);
    rig.arrive(500, drained(from6(ip6("2001:db8::192.0.2.1"), 80)));
    expect([rig.seen(), rig.dropped("inbound-filtered")]).toEqual([[], [1]]);
  });

  it("to whoever asked a group is heard from anybody for half a minute", () => {
    const rig = new UdpRig();
    rig.verdict = GROUP;
    rig.arena.octets[rig.arena.scratchAt + 8] = 1;
    rig.out({ networkAt: rig.arena.scratchAt });
    rig.pass(29_999);
    rig.arrive(500, drained(from4(TWO, 81)));
    expect(rig.seen()).toMatchObject([{ fromPort: 81 }]);
    rig.pass(1);
    rig.arrive(500, drained(from4(TWO, 81)));
    expect([rig.seen(), rig.dropped("inbound-filtered")]).toEqual([[], [1]]);
  });

  it("that is dropped counts as many as there are in its run, and is told of", () => {
    const rig = new UdpRig();
    const told: unknown[][] = [];
    rig.out();
    rig.ledger.recorder = {
      droppedToGuest: (
        reason: number,
        protocol: number,
        { remoteAddress, remotePort }: Path,
        octets: number,
      ) => told.push([reason > 0, protocol, remoteAddress, remotePort, octets]),
    } as unknown as Recorder;
    rig.arrive(500, drained({ ...from4(TWO, 81, 250), segment: 100 }, from4(REMOTE, 80, 65_508)));
    expect(rig.dropped("inbound-filtered", "inbound-too-long")).toEqual([3, 1]);
    expect(told).toEqual([
      [true, 17, TWO, 81, 250],
      [true, 17, REMOTE, 80, 65_508],
    ]);
    expect(rig.udp.mappings.byId[0]).toMatchObject({ octetsToGuest: 0, packetsToGuest: 0 });
  });
});

describe("sockets with datagrams", () => {
  const one = drained(from4(REMOTE, 80));
  const some = more(from4(REMOTE, 80));

  it("are read once for each time they have some", () => {
    const rig = new UdpRig();
    rig.out();
    rig.udp.hostEvent(0);
    rig.udp.hostEvent(0);
    rig.udp.hostEvent(9);
    rig.reads.set(500, [one, one]);
    expect([rig.udp.work(), rig.udp.work(), rig.took("read").length]).toEqual([false, false, 1]);
    rig.udp.hostEvent(0);
    expect([rig.udp.work(), rig.took("read").length, rig.seen().length]).toEqual([false, 1, 2]);
  });

  it("are read until they say that they are empty, or an error", () => {
    const rig = new UdpRig();
    rig.out();
    expect([rig.arrive(500, some, some, one, some), rig.took("read").length]).toEqual([false, 3]);
    expect([rig.arrive(500, some, ECONNREFUSED, some), rig.took("read").length]).toEqual([false, 2]);
    expect([rig.udp.work(), rig.seen().length, rig.dropped("inbound-filtered")]).toEqual([false, 4, [0]]);
  });

  it("are read on after a read that gave nothing and left some, and not where it says nothing", () => {
    const rig = new UdpRig();
    rig.out();
    expect([rig.arrive(500, more(), one), rig.took("read").length]).toEqual([false, 2]);
    rig.batch.drained = false;
    expect([rig.arrive(500), rig.took("read").length]).toEqual([false, 1]);
  });

  it("are read once for a mapping that took an id over with what was to be read of its socket", () => {
    const rig = new UdpRig();
    rig.out();
    rig.udp.hostEvent(0);
    rig.udp.kill(0);
    rig.out();
    rig.udp.hostEvent(0);
    rig.reads.set(501, [one, one]);
    expect([rig.udp.work(), rig.took("read")]).toEqual([false, [["read", 501]]]);
  });

  it("give four batches before others get their turn", () => {
    const rig = new UdpRig();
    rig.out();
    rig.out({ guestPort: 4001 });
    rig.udp.hostEvent(0);
    rig.udp.hostEvent(1);
    rig.reads.set(500, [some, some, some, some, one]);
    rig.reads.set(501, [one]);
    expect(rig.udp.work()).toBe(false);
    expect(rig.took("read").map(([, handle]) => handle)).toEqual([500, 500, 500, 500, 501, 500]);
  });

  it("are thirty-two in one turn", () => {
    const rig = new UdpRig({ flows: 64 });
    for (let i = 0; i < 40; i++) {
      rig.out({ guestPort: 4000 + i });
      rig.reads.set(500 + i, [one]);
      rig.udp.hostEvent(i);
    }
    expect([rig.udp.work(), rig.took("read").length]).toEqual([true, 32]);
    expect([rig.udp.work(), rig.took("read").length]).toEqual([false, 8]);
    expect(rig.seen().map(({ toPort }) => toPort)).toEqual(Array.from({ length: 40 }, (_, i) => 4000 + i));
  });

  it("wait while frames of the last read have not left", () => {
    const rig = new UdpRig();
    for (let i = 0; i < 3; i++) rig.out({ guestPort: 4000 + i });
    rig.room = 1;
    expect([rig.arrive(500, some, some, one), rig.took("read").length]).toEqual([false, 2]);
    // The link pushes back: no turn is asked for, its writable event makes one.
    expect([rig.udp.slotsFree(), rig.arrive(501, one), rig.arrive(502, one)]).toEqual([false, false, false]);
    expect(rig.took("read")).toEqual([]);
    rig.room = Number.POSITIVE_INFINITY;
    rig.egress.unblock();
    expect([rig.udp.slotsFree(), rig.udp.work()]).toEqual([true, false]);
    expect(rig.took("read").map(([, handle]) => handle)).toEqual([500, 501, 502]);
    expect(rig.seen()).toHaveLength(5);
  });

  it("of mappings that have ended are not read", () => {
    const rig = new UdpRig();
    rig.out();
    rig.out({ guestPort: 4001 });
    rig.udp.hostEvent(0);
    rig.udp.hostEvent(1);
    rig.udp.kill(0);
    rig.udp.hostEvent(0);
    rig.reads.set(501, [one]);
    expect([rig.udp.work(), rig.took("read")]).toEqual([false, [["read", 501]]]);
    // The next mapping with that id hears of its own socket.
    rig.out({ guestPort: 4002 });
    expect([rig.arrive(502, one), rig.took("read")]).toEqual([false, [["read", 502]]]);
  });

  it("are read for the mapping that has the id by now, if it has one of its own", () => {
    const rig = new UdpRig();
    rig.out();
    rig.udp.hostEvent(0);
    rig.udp.kill(0);
    rig.reads.set(800, [one]);
    rig.udp.receiveForward(41, 800, new Path(new Int32Array(8)));
    rig.took();
    expect([rig.udp.mappings.byId[0]?.inbound, rig.udp.work(), rig.took("read")]).toEqual([true, false, []]);
  });
});

describe("clients of a forward", () => {
  const HANDLE = 800;
  const CLIENT = ip("203.0.113.9");
  const LOCAL = [0, 0, 0xffff, ip("198.51.100.1"), 3];
  const OTHER_LOCAL = [0, 0, 0xffff, ip("198.51.100.2"), 3];

  function guestEnd(isIpv6 = false): Path {
    const path = new Path(Int32Array.of(...GUEST6, 0, 0, 0, 0));
    Object.assign(path, { ipOctets: isIpv6 ? 40 : 20, guestAddress: GUEST, guestPort: 53 });
    return path;
  }

  /** What they send by the forward's socket; whether it may have more. */
  function ask(
    rig: UdpRig,
    list: Arriving[],
    { isDrained = true, isIpv6 = false, forward = 41 } = {},
  ): boolean {
    rig.reads.set(HANDLE, [isDrained ? drained(...list) : more(...list)]);
    return rig.udp.receiveForward(forward, HANDLE, guestEnd(isIpv6));
  }

  it("are mappings of their own, and of their forward", () => {
    const rig = new UdpRig({ nowMs: 500 });
    const list = [from4(CLIENT, 5000, 5), from4(CLIENT, 5001, 6), from4(CLIENT, 5000, 7)];
    expect(ask(rig, list)).toBe(false);
    const from = seenByGuest(CLIENT);
    expect(rig.seen()).toEqual([
      { from, fromPort: 5000, toPort: 53, octets: 5 },
      { from, fromPort: 5001, toPort: 53, octets: 6 },
      { from, fromPort: 5000, toPort: 53, octets: 7 },
    ]);
    const [first, second] = rig.udp.mappings.byId;
    expect([rig.udp.open, rig.udp.mappings.inboundOpen, rig.ledger.forward[0]]).toEqual([2, 2, 41]);
    expect(first).toMatchObject({
      ...{ inbound: true, handle: HANDLE, octetsToGuest: 12, packetsToGuest: 2, refreshedMs: 500 },
      ...{ target0: 0, target1: 0, target2: 0xffff, target3: CLIENT, targetPort: 5000, remotePort: 5000 },
    });
    expect(second).toMatchObject({ octetsToGuest: 6, packetsToGuest: 1, targetPort: 5001 });
  });

  it("may have more to read where the socket is not drained, and have none after an error", () => {
    const rig = new UdpRig();
    expect(ask(rig, [from4(CLIENT, 5000)], { isDrained: false })).toBe(true);
    expect(ask(rig, [], { isDrained: false })).toBe(true);
    rig.reads.set(HANDLE, [ECONNREFUSED]);
    expect(rig.udp.receiveForward(41, HANDLE, guestEnd())).toBe(false);
    // Nothing to read is said by a batch that stays as it was before the call.
    rig.batch.drained = false;
    expect(rig.udp.receiveForward(41, HANDLE, guestEnd())).toBe(false);
  });

  it("are answered by their forward's socket, from the address they asked", () => {
    const rig = new UdpRig({ nowMs: 500 });
    ask(rig, [{ ...from4(CLIENT, 5000), local: LOCAL }]);
    rig.now = 900;
    rig.udp.advance(900);
    const out = { guestPort: 53, remoteAddress: seenByGuest(CLIENT), remotePort: 5000 };
    expect(rig.out(out)).toBe("handled");
    expect(rig.took("open", "send", "sendFrom")).toEqual([
      ["sendFrom", HANDLE, LOCAL, [0, 0, 0xffff, CLIENT, 5000], rig.arena.rxWindowAt, 100],
    ]);
    expect(rig.udp.mappings.byId[0]).toMatchObject({ octetsFromGuest: 100, refreshedMs: 900 });
    // Others the guest reaches by itself.
    rig.out({ ...out, remotePort: 5001 });
    rig.out({ ...out, guestPort: 54 });
    expect(rig.took("open", "sendFrom").map(([name]) => name)).toEqual(["open", "open"]);
  });

  it("are answered by the kernel's choice of address where the forward has one", () => {
    const rig = new UdpRig();
    ask(rig, [from4(CLIENT, 5000)]);
    rig.out({ guestPort: 53, remoteAddress: seenByGuest(CLIENT), remotePort: 5000 });
    expect(rig.took("send", "sendFrom")).toEqual([
      ["send", HANDLE, [0, 0, 0xffff, CLIENT, 5000], rig.arena.rxWindowAt, 100],
    ]);
  });

  it("over IPv6 are seen and answered in the same way", () => {
    const rig = new UdpRig();
    ask(rig, [from6(REMOTE6, 5000, 5)], { isIpv6: true });
    expect(rig.seen()).toEqual([{ from: seen6(REMOTE6), fromPort: 5000, toPort: 53, octets: 5 }]);
    const pair = Int32Array.of(...GUEST6, ...seen6(REMOTE6));
    expect(rig.out6({ pair, guestPort: 53, remotePort: 5000 })).toBe("handled");
    expect(rig.took("open", "send")).toEqual([
      ["send", HANDLE, [...REMOTE6, 5000], rig.arena.rxWindowAt, 100],
    ]);
    rig.out6({ pair, guestPort: 53, remotePort: 5001 });
    expect(rig.took("open")).toHaveLength(1);
  });

  it.each([
    ["another address of the host", { ...from4(CLIENT, 5000), local: OTHER_LOCAL }, HANDLE],
    // Both are the same to the guest here: only one bit of the address is not.
    [
      "an address that the guest sees as the same",
      { ...from6([1, 0, 0xffff, CLIENT], 5000), local: LOCAL },
      HANDLE,
    ],
    ["another forward's socket", { ...from4(CLIENT, 5000), local: LOCAL }, HANDLE + 1],
  ])("are told apart by their port where one asks by %s", (_how, other, handle) => {
    const rig = new UdpRig();
    const first = { ...from4(CLIENT, 5000), local: LOCAL };
    const ports = [
      [HANDLE, first],
      [handle, other],
      [HANDLE, first],
      [handle, other],
    ].map(([at, one]) => {
      rig.reads.set(at as number, [drained(one as Arriving)]);
      rig.udp.receiveForward(41, at as number, guestEnd());
      return rig.seen()[0]?.fromPort;
    });
    expect(ports).toEqual([5000, 5001, 5000, 5001]);
    expect(rig.udp.open).toBe(2);
  });

  it("get ports from 1024 on behind the last one", () => {
    const rig = new UdpRig();
    const port = (n: number): number | undefined => {
      ask(rig, [{ ...from4(CLIENT, 65_534), local: [0, 0, 0xffff, n, 0] }]);
      return rig.seen()[0]?.fromPort;
    };
    expect([1, 2, 3, 4].map(port)).toEqual([65_534, 65_535, 1024, 1025]);
    expect([1, 2, 3, 4].map(port)).toEqual([65_534, 65_535, 1024, 1025]);
  });

  it("are sixteen at most that look the same but for that", () => {
    const rig = new UdpRig();
    const told: unknown[][] = [];
    rig.ledger.recorder = {
      flowOpened: () => {},
      droppedToGuest: (_reason: number, _protocol: number, ends: Path, octets: number) =>
        told.push([ends.guestPort, ends.remoteAddress, octets]),
    } as unknown as Recorder;
    for (let n = 1; n <= 17; n++) ask(rig, [{ ...from4(CLIENT, 5000, n), local: [0, 0, 0xffff, n, 0] }]);
    expect(rig.seen().map(({ fromPort }) => fromPort)).toEqual(
      Array.from({ length: 16 }, (_, i) => 5000 + i),
    );
    expect(rig.dropped("udp-mappings-full")).toEqual([1]);
    expect(told).toEqual([[53, seenByGuest(CLIENT), 17]]);
  });

  it("do not look like a mapping of the guest's own", () => {
    const rig = new UdpRig({ udpMapping: "address-and-port-dependent" });
    rig.out({ guestPort: 53, remoteAddress: seenByGuest(CLIENT), remotePort: 5000 });
    ask(rig, [from4(CLIENT, 5000)]);
    expect(rig.seen()).toMatchObject([{ fromPort: 5001 }]);
  });

  it("find no place where all are in use, or the flow table is full", () => {
    const full = new UdpRig({ maxUdpMappings: 1 });
    full.out();
    full.arrive(500, drained(from4(REMOTE, 80)));
    full.seen();
    ask(full, [{ ...from4(CLIENT, 5000, 250), segment: 100 }, from4(CLIENT, 5001)]);
    expect([full.seen(), full.dropped("udp-mappings-full")]).toEqual([[], [4]]);
    const table = new UdpRig({ flows: 1 });
    table.flows.insert(6, 1, 2, packPorts(3, 4));
    ask(table, [from4(CLIENT, 5000)]);
    expect([table.seen(), table.dropped("udp-mappings-full"), table.udp.open]).toEqual([[], [1], 0]);
  });

  it("are in use from the guest's first answer on", () => {
    const rig = new UdpRig({ maxUdpMappings: 1 });
    ask(rig, [from4(CLIENT, 5000)]);
    ask(rig, [from4(CLIENT, 5001)]);
    expect([rig.seen().length, rig.udp.open, rig.took("close")]).toEqual([2, 1, []]);
    rig.out({ guestPort: 53, remoteAddress: seenByGuest(CLIENT), remotePort: 5001 });
    ask(rig, [from4(CLIENT, 5002)]);
    expect([rig.seen(), rig.dropped("udp-mappings-full")]).toEqual([[], [1]]);
    // A name's answer is not waited for by clients: 53 is the guest's port here.
    rig.pass(119_000);
    ask(rig, [from4(CLIENT, 5002)]);
    expect(rig.dropped("udp-mappings-full")).toEqual([2]);
    rig.pass(1000);
    ask(rig, [from4(CLIENT, 5002)]);
    expect(rig.seen()).toMatchObject([{ fromPort: 5002 }]);
  });

  it("whose datagram does not fit are told of, and not counted as heard", () => {
    const rig = new UdpRig();
    const told: unknown[] = [];
    rig.ledger.recorder = {
      flowOpened: () => {},
      droppedToGuest: (_reason: number, _protocol: number, { remotePort }: Path, octets: number) =>
        told.push([remotePort, octets]),
    } as unknown as Recorder;
    ask(rig, [from4(CLIENT, 5000, 65_508)]);
    expect([rig.dropped("inbound-too-long"), told]).toEqual([[1], [[5000, 65_508]]]);
    expect(rig.udp.mappings.byId[0]).toMatchObject({ octetsToGuest: 0, packetsToGuest: 0 });
  });

  it("are forgotten with their forward, whose socket others close", () => {
    const rig = new UdpRig();
    rig.out();
    rig.took();
    rig.udp.forwardRemoved(41);
    expect(rig.took("flush")).toEqual([]);
    ask(rig, [from4(CLIENT, 5000)]);
    ask(rig, [from4(CLIENT, 5001)], { forward: 42 });
    rig.udp.forwardRemoved(41);
    expect([rig.took("flush", "close"), rig.udp.open, rig.udp.mappings.inboundOpen]).toEqual([
      [["flush"]],
      2,
      1,
    ]);
    expect(rig.udp.mappings.byId.map((m) => m?.live)).toEqual([true, false, true]);
    rig.udp.translate(PREFIX);
    expect([rig.udp.open, rig.took("close")]).toEqual([1, [["close", 500]]]);
    rig.udp.mappings.retain(2, 0, () => false);
    expect(rig.udp.open).toBe(1);
    rig.udp.kill(2);
    expect([rig.udp.open, rig.udp.mappings.inboundOpen, rig.took("close")]).toEqual([0, 0, []]);
    // The guest's answers leave by a socket of their own from now on.
    rig.out({ guestPort: 53, remoteAddress: seenByGuest(CLIENT), remotePort: 5000 });
    expect(rig.took("open")).toHaveLength(1);
  });
});

describe("who asks is told of mappings", () => {
  it("in rows while they live, and as they begin and end", () => {
    const rig = new UdpRig();
    const told: unknown[][] = [];
    const numbers = (name: string) =>
      function record(...args: unknown[]): void {
        told.push([name, ...args.filter((arg) => typeof arg === "number")]);
      };
    rig.ledger.recorder = {
      ...{ flowOpened: numbers("opened"), flowEnded: numbers("ended"), row: numbers("row") },
    } as unknown as Recorder;
    rig.out();
    rig.udp.tellRow(9, 0, rig.now);
    rig.udp.tellRow(9, 5, rig.now);
    expect(rig.udp.rows(rig.now)).toMatchObject([{ id: 1, remote: "192.0.2.1:80", guest: "10.0.2.15:4000" }]);
    rig.udp.kill(0);
    rig.udp.tellRow(9, 0, rig.now);
    expect(told).toEqual([
      ["opened", 0, 17],
      ["row", 9, 0, 17, 0],
      ["ended", 0, 17, expect.any(Number), 0],
    ]);
    expect(rig.udp.rows(rig.now)).toEqual([]);
  });
});
