/** Datagrams of the guest: by which socket each leaves, for where, and what becomes of those that may not. */
import { describe, expect, it } from "vitest";
import { EACCES, EADDRINUSE, EMFILE, ENFILE } from "../../../src/engine/boundary.ts";
import { dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { CHECK, GROUP, refuse, TRANSLATED } from "../../../src/engine/network/destinations.ts";
import { packPorts } from "../../../src/engine/transport/flow-table.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { drained, from4, GUEST, REMOTE, REMOTE6, TOKEN, UdpRig } from "./udp-rig.ts";

const to4 = (address: number, port = 80): number[] => [0, 0, 0xffff, address, port];
/** 192.0.2.1 under the prefix (RFC 6052 section 2.2). */
const PREFIX = { words: Int32Array.from(ip6("2001:db8:122::")), length: 48 };
const BEHIND = ip6("2001:db8:122:c000:2:100::");

describe("a datagram of the guest", () => {
  it("leaves by a socket of its own family with the guest's port, its octets where they are", () => {
    const rig = new UdpRig();
    expect([rig.out(), rig.udp.open]).toEqual(["handled", 1]);
    expect(rig.took("open", "send", "sendFrom", "flush")).toEqual([
      ["open", TOKEN | 0, 4, 4000],
      ["send", 500, to4(REMOTE), rig.arena.rxWindowAt, 100],
    ]);
    expect(rig.out6({ guestPort: 4001 })).toBe("handled");
    expect(rig.took("open", "send")).toEqual([
      ["open", TOKEN | 1, 6, 4001],
      ["send", 501, [...REMOTE6, 80], rig.arena.rxWindowAt, 100],
    ]);
    expect(rig.counters.value("udp-mappings-opened")).toBe(2);
  });

  it("leaves by the same socket wherever it goes, and by another one from another port", () => {
    const rig = new UdpRig();
    for (const over of [{}, { remotePort: 81 }, { remoteAddress: ip("192.0.2.2") }, { guestPort: 4001 }])
      rig.out(over);
    for (const remotePort of [80, 81]) rig.out6({ remotePort });
    expect(rig.took("send").map(([, handle]) => handle)).toEqual([500, 500, 500, 501, 502, 502]);
  });

  it("is sent with those of its batch, once", () => {
    const rig = new UdpRig();
    rig.udp.endOfBatch();
    expect(rig.took("flush")).toEqual([]);
    rig.out();
    rig.out({ guestPort: 4001 });
    rig.udp.endOfBatch();
    rig.udp.endOfBatch();
    expect(rig.took("flush")).toHaveLength(1);
    expect(rig.dropped("host-send-refused")).toEqual([0]);
    rig.refuses = 3;
    rig.out();
    rig.udp.endOfBatch();
    expect(rig.dropped("host-send-refused")).toEqual([3]);
  });

  it.each([
    [0, 0, [0]],
    [0, 100, [100]],
    [40, 100, [40, 40, 20]],
    [50, 100, [50, 50]],
    [100, 100, [100]],
  ])("in segments of %i, of %i octets, leaves as datagrams of %j", (segmentSize, payloadOctets, sizes) => {
    const rig = new UdpRig();
    rig.out({ segmentSize, payloadOctets });
    let at = rig.arena.rxWindowAt;
    const sent = sizes.map((size) => {
      const one = ["send", 500, to4(REMOTE), at, size];
      at += size;
      return one;
    });
    expect(rig.took("send")).toEqual(sent);
    expect(rig.counters.value("udp-datagrams-from-guest")).toBe(sizes.length);
    expect(rig.counters.value("udp-octets-from-guest")).toBe(payloadOctets);
    expect(rig.udp.mappings.byId[0]).toMatchObject({
      ...{ octetsFromGuest: payloadOctets, packetsFromGuest: sizes.length, refreshedMs: 0 },
    });
  });

  it("counts its packets in 32 bits", () => {
    const rig = new UdpRig();
    rig.out();
    Object.assign(rig.udp.mappings.byId[0] ?? {}, { packetsFromGuest: 0x7fffffff });
    rig.out();
    expect(rig.udp.mappings.byId[0]?.packetsFromGuest).toBe(-0x80000000);
  });

  it.each(["destination-refused", "control-refused"] as const)("that may not go is dropped as %s", (name) => {
    const rig = new UdpRig();
    rig.verdict = refuse(dropReason(name));
    expect([rig.out(), rig.out6()]).toEqual([name, name]);
    expect([rig.calls, rig.udp.open]).toEqual([[], 0]);
  });

  it("that has to show a name is handed to who looks, and leaves where it says", () => {
    const rig = new UdpRig();
    rig.verdict = CHECK;
    const asked: unknown[] = [];
    rig.udp.checks = {
      datagram: (packet, way) => {
        asked.push(packet.ipOctets);
        return way.pass(packet);
      },
    };
    rig.out();
    rig.out6();
    rig.to = ip6("64:ff9b::192.0.2.1");
    rig.out();
    expect(asked).toEqual([20, 40, 20]);
    expect(rig.took("open", "send").map(([name, , family]) => (name === "open" ? family : name))).toEqual([
      ...[4, "send", 6, "send", 6, "send"],
    ]);
    expect(rig.udp.mappings.byId.map((mapping) => mapping?.ipOctets)).toEqual([20, 40, 20]);
    // Nobody else's are looked at.
    rig.verdict = TRANSLATED;
    rig.out();
    rig.verdict = refuse(dropReason("destination-refused"));
    expect([rig.out(), asked.length]).toEqual(["destination-refused", 3]);
  });

  it.each([CHECK, TRANSLATED])(
    "that finds no socket is dropped where it was judged %i as well",
    (verdict) => {
      const rig = new UdpRig();
      rig.udp.checks = { datagram: (packet, way) => way.pass(packet) };
      rig.verdict = verdict;
      rig.openErrors = [EACCES, EACCES, EACCES];
      expect([rig.out(), rig.out6()]).toEqual(["host-socket-failed", "host-socket-failed"]);
      rig.to = ip6("64:ff9b::192.0.2.1");
      expect([rig.out(), rig.udp.open, rig.flows.count]).toEqual(["host-socket-failed", 0, 0]);
    },
  );

  it("may leave by the host's socket number 0", () => {
    const rig = new UdpRig();
    rig.firstHandle = 0;
    expect([rig.out(), rig.took("send").map(([, handle]) => handle)]).toEqual(["handled", [0]]);
  });

  it("behind a translator has a socket of IPv6, beside the one for the rest", () => {
    const rig = new UdpRig();
    rig.udp.translate(PREFIX);
    rig.out();
    rig.verdict = TRANSLATED;
    rig.to = BEHIND;
    rig.out();
    rig.out();
    expect(rig.took("open", "send")).toEqual([
      ["open", TOKEN | 0, 4, 4000],
      ["send", 500, to4(REMOTE), rig.arena.rxWindowAt, 100],
      ["open", TOKEN | 1, 6, 4000],
      ["send", 501, [...BEHIND, 80], rig.arena.rxWindowAt, 100],
      ["send", 501, [...BEHIND, 80], rig.arena.rxWindowAt, 100],
    ]);
    const [direct, behind] = rig.udp.mappings.byId;
    expect([direct?.hostFamily, behind?.hostFamily, behind?.recentAddress, behind?.askedAddress]).toEqual([
      ...[4, 6, REMOTE, REMOTE],
    ]);
  });

  it("is known by the address it goes to and the one it was sent to", () => {
    const rig = new UdpRig();
    rig.to = [0, 0, 0xffff, ip("127.0.0.1")];
    rig.out();
    const [mapping] = rig.udp.mappings.byId;
    expect([mapping?.recentAddress, mapping?.recentPort, mapping?.askedAddress]).toEqual([
      ...[ip("127.0.0.1"), 80, REMOTE],
    ]);
    expect(mapping?.knows(ip("127.0.0.1"), 80)).toBe(true);
  });
});

describe("a datagram to a group", () => {
  const GROUP_ADDRESS = ip("239.255.255.250");
  function rigWith(ttl: number): UdpRig {
    const rig = new UdpRig({ nowMs: 5000 });
    rig.verdict = GROUP;
    rig.arena.octets.fill(0xee, rig.arena.scratchAt, rig.arena.scratchAt + 20);
    rig.arena.octets[rig.arena.scratchAt + 8] = ttl;
    return rig;
  }
  const over = (rig: UdpRig) => ({ remoteAddress: GROUP_ADDRESS, networkAt: rig.arena.scratchAt });

  it("has its reach told to its socket when that changes", () => {
    const rig = rigWith(2);
    expect([rig.out(over(rig)), rig.out(over(rig))]).toEqual(["handled", "handled"]);
    rig.arena.octets[rig.arena.scratchAt + 8] = 9;
    rig.out(over(rig));
    expect(
      rig.took("toGroups", "send").map(([name, ...args]) => (name === "send" ? name : [name, ...args])),
    ).toEqual([...[["toGroups", 500, 2], "send", "send", ["toGroups", 500, 4], "send"]]);
    expect(rig.udp.mappings.byId[0]).toMatchObject({ groupTtl: 4, groupAtMs: 5000 });
  });

  it("stays here with a TTL of 0", () => {
    const rig = rigWith(0);
    expect([rig.out(over(rig)), rig.udp.open, rig.calls]).toEqual(["ipv4-ttl-expired", 0, []]);
  });

  it("is dropped where there is no socket for it", () => {
    const rig = rigWith(1);
    rig.openErrors = [EACCES];
    expect([rig.out(over(rig)), rig.udp.open]).toEqual(["host-socket-failed", 0]);
  });
});

describe("a new mapping", () => {
  it.each([
    ["no descriptor", EMFILE],
    ["no file", ENFILE],
    ["no port", EADDRINUSE],
  ])("takes the place of one that is not in use when the host has %s left", (_what, error) => {
    const rig = new UdpRig();
    rig.out();
    rig.openErrors = [error];
    expect(rig.out({ guestPort: 4001 })).toBe("handled");
    expect(rig.took("open", "close")).toEqual([
      ["open", TOKEN | 0, 4, 4000],
      ["open", TOKEN | 1, 4, 4001],
      ["close", 500],
      ["open", TOKEN | 1, 4, 4001],
    ]);
    expect([rig.udp.open, rig.flows.count, rig.counters.value("udp-mappings-evicted")]).toEqual([1, 1, 1]);
  });

  it.each([
    [EMFILE, "udp-mappings-full"],
    [EADDRINUSE, "udp-mappings-full"],
    [EACCES, "host-socket-failed"],
  ] as const)("that the host refuses with %i is none: %s", (error, reason) => {
    const rig = new UdpRig();
    rig.openErrors = [error, error];
    expect(rig.out()).toBe(reason);
    expect([rig.udp.open, rig.flows.count, rig.took("open").length]).toEqual([0, 0, 1]);
    rig.openErrors = [];
    rig.out();
    rig.openErrors = [error, error];
    expect(rig.out6()).toBe(reason);
    expect(rig.flows.count).toBe(error === EACCES ? 1 : 0);
  });

  it("finds no place in a full flow table", () => {
    const rig = new UdpRig({ flows: 1 });
    rig.flows.insert(6, 1, 2, packPorts(3, 4));
    expect([rig.out(), rig.out6(), rig.calls]).toEqual(["flow-table-full", "flow-table-full", []]);
  });

  /** A mapping with an answer from its remote, whose port this is. */
  function answered(rig: UdpRig, guestPort: number, remotePort: number): void {
    rig.out({ guestPort, remotePort });
    rig.arrive(499 + rig.opened.length, drained(from4(REMOTE, remotePort)));
    rig.seen();
  }

  it("gets its place from the one that is unused longest, where there are as many as may be", () => {
    const rig = new UdpRig({ maxUdpMappings: 2 });
    rig.out({ guestPort: 4000 });
    rig.out({ guestPort: 4001 });
    rig.out({ guestPort: 4000 });
    expect(rig.out({ guestPort: 4002 })).toBe("handled");
    expect(rig.took("close")).toEqual([["close", 501]]);
    expect([rig.udp.open, rig.counters.value("udp-mappings-evicted")]).toEqual([2, 1]);
  });

  it.each([
    [80, 119_999, "udp-mappings-full"],
    [80, 120_000, "handled"],
    [53, 9999, "udp-mappings-full"],
    [53, 10_000, "handled"],
  ])(
    "finds one in use, whose remote's port is %i, %i ms after its last use: %s",
    (remotePort, ms, verdict) => {
      const rig = new UdpRig({ maxUdpMappings: 1, nowMs: 0x7ffffff0 });
      answered(rig, 4000, remotePort);
      rig.pass(ms);
      expect(rig.out({ guestPort: 4001 })).toBe(verdict);
      expect(rig.udp.open).toBe(1);
    },
  );

  it.each([
    [59_999, "udp-mappings-full"],
    [60_000, "handled"],
  ])("finds one in use %i ms after its last use where the host has no port left: %s", (ms, verdict) => {
    const rig = new UdpRig();
    answered(rig, 4000, 80);
    rig.pass(ms);
    rig.openErrors = [EADDRINUSE];
    expect(rig.out({ guestPort: 4001 })).toBe(verdict);
  });

  it.each([
    [15, "handled"],
    [16, "udp-mappings-full"],
  ])("finds a place behind %i that are in use: %s", (inUse, verdict) => {
    const rig = new UdpRig({ maxUdpMappings: inUse + 1 });
    for (let i = 0; i < inUse; i++) answered(rig, 4000 + i, 80);
    rig.out({ guestPort: 5000 });
    expect(rig.out({ guestPort: 5001 })).toBe(verdict);
    // Those looked at are not looked at first again.
    expect(rig.out({ guestPort: 5002 })).toBe("handled");
  });
});

describe("a mapping ends", () => {
  it.each([
    [2000, 0],
    [120_000, 77_777],
    [300_000, 0x7ffffff0],
  ])("when the guest has not used it for %i ms, from %i on", (udpTimeoutMs, nowMs) => {
    const rig = new UdpRig({ udpTimeoutMs, nowMs });
    rig.out();
    rig.pass(udpTimeoutMs - 1000);
    rig.out();
    rig.pass(1000);
    expect([rig.udp.open, rig.took("close")]).toEqual([1, []]);
    rig.pass(udpTimeoutMs - 1001);
    expect(rig.udp.open).toBe(1);
    const wait = rig.udp.nextDeadlineMs(rig.now);
    expect(wait > 0 && wait < 80).toBe(true);
    rig.pass(100);
    expect([rig.udp.open, rig.took("close"), rig.flows.count]).toEqual([0, [["close", 500]], 0]);
    expect([rig.counters.value("udp-mappings-expired"), rig.udp.nextDeadlineMs(rig.now)]).toEqual([1, -1]);
  });

  it("when somebody kills it, once, and what it has queued leaves before", () => {
    const rig = new UdpRig();
    rig.out();
    rig.out({ guestPort: 4001 });
    rig.udp.kill(77);
    expect(rig.took("flush", "close")).toEqual([]);
    rig.udp.kill(0);
    expect([rig.took("flush", "close"), rig.udp.open]).toEqual([[["flush"], ["close", 500]], 1]);
    rig.udp.kill(0);
    expect([rig.took("flush", "close"), rig.udp.open]).toEqual([[], 1]);
    expect(rig.udp.nextDeadlineMs(rig.now) > 0).toBe(true);
  });

  it("with the engine, beside connections, and what it has queued leaves before", () => {
    const rig = new UdpRig();
    rig.flows.insert(6, 1, 2, packPorts(3, 4));
    rig.out();
    rig.out6();
    rig.udp.close();
    expect([rig.took("flush", "close"), rig.udp.open]).toEqual([
      [["flush"], ["close", 500], ["close", 501]],
      0,
    ]);
  });

  it("over IPv4 when the way to global addresses is another one", () => {
    const rig = new UdpRig();
    rig.out();
    rig.out6();
    rig.udp.translate(PREFIX);
    expect([rig.took("close"), rig.udp.open]).toEqual([[["close", 500]], 1]);
  });

  it("when the last of its remotes is forbidden", () => {
    const rig = new UdpRig();
    rig.out();
    rig.out({ remoteAddress: ip("192.0.2.2"), remotePort: 81 });
    const asked: unknown[] = [];
    const only =
      (port: number) =>
      (words: Int32Array, its: number): boolean => {
        asked.push([...words, its]);
        return its === port;
      };
    rig.udp.mappings.retain(5, 0, only(1));
    rig.udp.mappings.retain(0, 0, only(80));
    expect([rig.udp.open, asked]).toEqual([1, [to4(REMOTE), to4(ip("192.0.2.2"), 81)]]);
    rig.udp.mappings.retain(0, 0, only(81));
    expect([rig.udp.open, rig.took("close")]).toEqual([0, [["close", 500]]]);
    asked.length = 0;
    rig.udp.mappings.retain(0, 0, only(81));
    expect(asked).toEqual([]);
  });

  it("and begins anew under its id with nothing of before", () => {
    const rig = new UdpRig({ nowMs: 1000 });
    rig.out();
    rig.arrive(500, drained(from4(REMOTE, 80)));
    rig.udp.kill(0);
    rig.pass(50);
    rig.out({ guestPort: 4009 });
    expect(rig.udp.mappings.byId).toHaveLength(1);
    expect(rig.udp.mappings.byId[0]).toMatchObject({
      ...{
        live: true,
        handle: 501,
        guestAddress: GUEST,
        guestPort: 4009,
        octetsToGuest: 0,
        packetsToGuest: 0,
      },
      ...{ octetsFromGuest: 100, packetsFromGuest: 1, refreshedMs: 1050 },
    });
    expect(rig.ledger.serial[0]).toBe(2);
  });
});

it("flows over IPv6 have labels of their own", () => {
  const rig = new UdpRig();
  rig.out6();
  rig.out6({ guestPort: 4001 });
  rig.out({ guestPort: 4002 });
  const labels = rig.udp.mappings.byId.map((mapping) => mapping?.flowLabel ?? -1);
  expect(new Set(labels).size).toBe(3);
  expect([labels[2], labels.slice(0, 2).every((label) => label > 0 && label < 1 << 20)]).toEqual([0, true]);
});
