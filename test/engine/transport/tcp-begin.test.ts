/** How a connection of the guest begins: its numbers, what a SYN agrees to, and what becomes of a host's answer. */
import { describe, expect, it } from "vitest";
import {
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  EHOSTUNREACH,
  EINPROGRESS,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ETIMEDOUT,
} from "../../../src/engine/boundary.ts";
import { WAITING_SYNS_MAX } from "../../../src/engine/limits.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { CHECK, GO, wait } from "../../../src/engine/network/destinations.ts";
import { hashEnds } from "../../../src/engine/transport/flow-table.ts";
import {
  CONNECTING,
  SYN_RECEIVED,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import { HALF_OPEN_MAX_MS } from "../../../src/engine/transport/tcp/deadline.ts";
import {
  connectOutbound,
  denyWaiting,
  newConnection,
  openOutbound,
  takeSyn,
} from "../../../src/engine/transport/tcp/open.ts";
import type { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { PENDING, STRAIGHT, type Ways } from "../../../src/engine/transport/tcp/ways.ts";
import { ACK, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { open, PAIR, PROTOCOL_TCP, syn, TO } from "./tcp-beginnings.ts";
import { SECRETS, TcpLayer } from "./tcp-layer.ts";

describe("a connection's numbers", () => {
  it("begin where a keyed hash and a clock of 4 us say (RFC 6528), and timestamps anywhere", () => {
    for (const [now, ticks] of [
      [0, 0],
      [1, 250],
      [0x7fffffff, (0x7fffffff * 250) | 0],
    ]) {
      const layer = new TcpLayer();
      layer.ctx.now = now;
      const c = layer.connection();
      expect(c.iss).toBe((hashEnds(SECRETS[0], SECRETS[1], PROTOCOL_TCP, c) + ticks) | 0);
      expect(c.tsOffset).toBe(hashEnds(SECRETS[1], SECRETS[0], PROTOCOL_TCP, c));
      expect(c).toMatchObject({
        sndUna: c.iss,
        sndNxt: c.iss,
        sndEnd: (c.iss + 1) | 0,
        recover: c.iss,
        retransmitNext: c.iss,
        windowTarget: 65_535,
        lastHeardMs: now,
        idleAt: (now + HALF_OPEN_MAX_MS) | 0,
        flowLabel: 0,
      });
      expect(layer.ctx.wheel.isSet(c.id)).toBe(true);
      expect(layer.ctx.open).toBe(1);
    }
  });

  it("are used again with their places, and the objects with them", () => {
    const layer = new TcpLayer({ flows: 2 });
    const first = layer.connection(1);
    first.state = SYN_RECEIVED;
    layer.connection(2).state = SYN_RECEIVED;
    const third = layer.connection(3);
    expect(third).toBe(first);
    expect(third.guestPort).toBe(3);
    expect(layer.counters.value("tcp-half-open-evicted")).toBe(1);
  });

  it("of one in TIME-WAIT are given up before those of one that is half open; of one in use not at all", () => {
    const layer = new TcpLayer({ flows: 3 });
    const waits = layer.opened(1);
    layer.connection(2).state = SYN_RECEIVED;
    layer.opened(3);
    layer.ctx.timeWaits.append(waits.id);
    waits.state = 10;
    expect(layer.connection(4).id).toBe(waits.id);
    expect(layer.counters.value("tcp-time-wait-evicted")).toBe(1);
    layer.ctx.halfOpen.remove(waits.id);
    layer.ctx.halfOpen.remove(layer.ctx.halfOpen.oldest);
    expect(newConnection(layer.ctx, layer.ends(5))).toBeNull();
    expect(DROP_REASONS[openOutbound(layer.ctx, layer.ends(5), syn(), TO, GO)]).toBe("flow-table-full");
  });

  it("bound the half-open: one more, and the oldest gives way", () => {
    const layer = new TcpLayer({ flows: 8, maxHalfOpen: 2 });
    const all = [1, 2].map((port) => layer.connection(port));
    for (const c of all) c.state = CONNECTING;
    expect(layer.counters.value("tcp-half-open-evicted")).toBe(0);
    layer.connection(3).state = CONNECTING;
    expect(layer.counters.value("tcp-half-open-evicted")).toBe(1);
    expect(all.map((c) => c.state)).toEqual([0, CONNECTING]);
    expect(layer.ctx.halfOpen.length).toBe(2);
  });

  it("over IPv6 have a flow label", () => {
    const c = new TcpLayer().connection(1, PAIR);
    expect(c.flowLabel).toBeGreaterThan(0);
  });
});

describe("what a SYN agrees to", () => {
  const taken = (s: Segment, over: { pair?: number[]; mtu?: number } = {}): TcpConnection => {
    const layer = new TcpLayer({ mtu: over.mtu ?? 1500 });
    layer.ctx.now = 77;
    const c = layer.connection(1, over.pair);
    takeSyn(layer.ctx, c, s);
    return c;
  };

  it("is its numbers", () => {
    const next = 0x7fffffff + 1;
    expect(taken(syn())).toMatchObject({
      irs: 0x7fffffff,
      rcvNxt: next | 0,
      rcvTaken: next | 0,
      rcvAdvertised: next | 0,
      sndWnd: 5000,
      sndWndMax: 5000,
      sndWl1: 0x7fffffff,
    });
  });

  it.each<[string, Parameters<typeof syn>[0], Partial<TcpConnection>]>([
    ["no scaling", {}, { sndShift: 0, rcvShift: 0 }],
    ["scaling, also by nothing", { shift: 0 }, { sndShift: 0, rcvShift: 7 }],
    [
      "scaling, and the window of the SYN is not scaled",
      { shift: 5 },
      { sndShift: 5, rcvShift: 7, sndWnd: 5000 },
    ],
    ["no SACK", {}, { sack: false }],
    ["SACK", { sack: true }, { sack: true }],
    ["no timestamps", {}, { timestamps: false, tsRecent: 0, tsRecentAtMs: 0 }],
    ["timestamps", { stamp: 9 }, { timestamps: true, tsRecent: 9, tsRecentAtMs: 77, mss: 1388 }],
  ])("is %s", (_, options, fields) => {
    expect(taken(syn(options))).toMatchObject(fields);
  });

  it.each<[number, number, number[] | undefined, number]>([
    [1400, 1500, undefined, 1400],
    [1461, 1500, undefined, 1460],
    [0, 1500, undefined, 536],
    [0, 1500, PAIR, 1220],
    [1460, 1500, PAIR, 1440],
    [1, 1500, undefined, 48],
    [48, 1500, undefined, 48],
    [49, 1500, undefined, 49],
    [0, 576, undefined, 536],
    [9000, 576, undefined, 536],
  ])("is segments of an MSS of %i on an MTU of %i", (mss, mtu, pair, octets) => {
    const c = taken(syn({ mss }), { mtu, ...(pair === undefined ? {} : { pair }) });
    expect([c.mss, c.cwnd]).toEqual([octets, 10 * octets]);
  });
});

describe("the guest's SYN", () => {
  it("connects the host, and is answered once that stands", () => {
    const layer = new TcpLayer();
    const { c, result } = open(layer);
    expect(result).toBe("handled");
    expect(c).toMatchObject({ state: SYN_RECEIVED, outbound: true, handle: 0, targetPort: 81 });
    expect(layer.network.sockets[0]).toMatchObject({
      token: layer.ctx.token | (c?.id ?? 0),
      to: [...TO.slice(0, 4)],
    });
    expect(layer.sent()).toMatchObject([{ flags: SYN | ACK, sequence: (c?.iss ?? 0) >>> 0 }]);
    expect(c).toMatchObject({ timerKind: 1, timerAt: 1000, rttTiming: true, rttStartMs: 0 });
    expect(layer.counters.value("tcp-opened")).toBe(1);
    expect(layer.told.opened).toEqual([40_000]);
    expect(layer.ctx.ledger.connectMs[c?.id ?? 0]).toBe(0);
  });

  it("waits while the host connects", () => {
    const layer = new TcpLayer();
    layer.network.connected = () => EINPROGRESS;
    const { c } = open(layer);
    expect(c).toMatchObject({ state: CONNECTING, handle: 0 });
    expect(layer.sent()).toEqual([]);
    expect(layer.ctx.ledger.connectMs[c?.id ?? 0]).toBe(-1);
  });

  it("to a service of the operator's goes there", () => {
    const layer = new TcpLayer();
    for (const service of [0, 3]) {
      const { c } = open(layer, 100 + service, service);
      expect(layer.network.sockets.at(-1)).toMatchObject({
        port: service,
        to: [],
        token: layer.ctx.token | (c?.id ?? -1),
      });
    }
  });

  it.each([EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN])(
    "is dropped in silence by a shortage (%i)",
    (errno) => {
      const layer = new TcpLayer();
      layer.network.connectTo = () => errno;
      expect(open(layer).result).toBe("host-socket-failed");
      expect(layer.sent()).toEqual([]);
      expect(layer.told.ended).toEqual([[40_000, "no-resources by sluice", errno]]);
      expect(layer.counters.value("tcp-refused")).toBe(0);
      expect(layer.counters.value("tcp-opened")).toBe(0);
    },
  );

  it.each<[number, string]>([
    [ECONNREFUSED, "refused by host"],
    [EHOSTUNREACH, "refused by host"],
    [ETIMEDOUT, "timed-out by host"],
  ])("is reset by what says something of the destination (%i), at once or later", (errno, end) => {
    for (const later of [false, true]) {
      const layer = new TcpLayer();
      if (later) layer.network.connected = () => errno;
      else layer.network.connectTo = () => errno;
      expect(open(layer).result).toBe("handled");
      expect(layer.sent()).toMatchObject([{ flags: RST | ACK, sequence: 0, acknowledgment: 0x8000_0000 }]);
      expect(layer.told.ended).toEqual([[40_000, end, errno]]);
      expect(layer.counters.value("tcp-refused")).toBe(1);
      expect(layer.ctx.open).toBe(0);
    }
  });

  it("without a descriptor takes that of a half-open connection that is a second old", () => {
    for (const errno of [EMFILE, ENFILE, ENOBUFS]) {
      for (const ageMs of [999, 1000]) {
        const layer = new TcpLayer();
        layer.network.connected = () => EINPROGRESS;
        open(layer, 1);
        layer.ctx.now = ageMs;
        let short = 1;
        layer.network.connectTo = () => (short-- > 0 ? errno : 0);
        const { c } = open(layer, 2);
        const gaveWay = ageMs === 1000 && errno !== ENOBUFS;
        expect(c !== undefined).toBe(gaveWay);
        expect(layer.counters.value("tcp-half-open-evicted")).toBe(gaveWay ? 1 : 0);
        expect(layer.network.sockets[0].state).toBe(gaveWay ? "reset" : "open");
      }
    }
  });

  it("that is looked at first is, with a policy; one to a service is not", () => {
    const layer = new TcpLayer();
    const begun: boolean[] = [];
    let held = 0;
    layer.ctx.checks = {
      begin: (c, isChecked) => {
        begun.push(isChecked);
        if (isChecked) c.check = 1;
      },
      hold: () => held++,
      explain: () => {},
    };
    open(layer, 1, GO);
    expect([begun, held]).toEqual([[false], 0]);
    open(layer, 2, CHECK);
    expect([begun, held]).toEqual([[false, true], 1]);
    open(layer, 3, 0);
    expect(begun.length).toBe(2);
  });
});

describe("a SYN that somebody has yet to decide about", () => {
  it("says nothing and connects nothing, until it is denied", () => {
    const layer = new TcpLayer();
    const { c, result } = open(layer, 1, wait(0, GO));
    expect(result).toBe("handled");
    expect(c).toMatchObject({ state: CONNECTING, handle: -1 });
    expect(layer.network.sockets).toEqual([]);
    expect(layer.sent()).toEqual([]);
    if (c !== undefined) denyWaiting(layer.ctx, c);
    expect(layer.sent()).toMatchObject([{ flags: RST | ACK, sequence: 0, acknowledgment: 0x8000_0000 }]);
    expect(layer.told.ended).toEqual([[1, "denied by sluice", 0]]);
    expect(layer.counters.value("tcp-refused")).toBe(0);
  });

  it("is refused where too many wait", () => {
    const layer = new TcpLayer({ flows: WAITING_SYNS_MAX + 1 });
    const service = wait(0, GO);
    for (let i = 0; i < WAITING_SYNS_MAX; i++) open(layer, 1 + i, service);
    expect(layer.sent()).toEqual([]);
    expect(open(layer, 5000, service).result).toBe("handled");
    expect(layer.sent()).toMatchObject([{ flags: RST | ACK, destinationPort: 5000 }]);
    expect(layer.told.ended).toEqual([[5000, "no-resources by sluice", 0]]);
  });
});

describe("connections that go another way", () => {
  function ways(over: Partial<Ways>): { layer: TcpLayer; calls: string[] } {
    const layer = new TcpLayer();
    const calls: string[] = [];
    layer.ctx.ways = {
      begin: () => void calls.push("begin"),
      connect: () => STRAIGHT,
      connected: () => true,
      failed: () => void calls.push("failed"),
      ...over,
    };
    return { layer, calls };
  }

  it("may go straight after all", () => {
    const { layer, calls } = ways({});
    expect(open(layer).c).toMatchObject({ state: SYN_RECEIVED });
    expect(layer.network.sockets.length).toBe(1);
    expect(calls).toEqual(["begin"]);
  });

  it("do not where a service of the operator's is meant", () => {
    const { layer, calls } = ways({ connect: () => expect.unreachable() });
    open(layer, 1, 0);
    expect(calls).toEqual([]);
    expect(layer.network.sockets.length).toBe(1);
  });

  it("wait while it is not known where to", () => {
    let result = PENDING;
    const { layer } = ways({ connect: () => result });
    const { c } = open(layer);
    expect(c).toMatchObject({ state: CONNECTING, handle: -1 });
    expect(layer.counters.value("tcp-opened")).toBe(0);
    result = STRAIGHT;
    if (c !== undefined) expect(DROP_REASONS[connectOutbound(layer.ctx, c, GO)]).toBe("handled");
    expect(c?.state).toBe(SYN_RECEIVED);
  });

  it("wait for octets where their socket stands and they do not", () => {
    const { layer } = ways({ connected: () => false });
    expect(open(layer).c?.state).toBe(CONNECTING);
    expect(layer.sent()).toEqual([]);
  });

  it("fail with the host", () => {
    const { layer, calls } = ways({ connect: () => ECONNREFUSED });
    open(layer);
    expect(calls).toEqual(["begin", "failed"]);
  });
});
