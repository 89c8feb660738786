/** SYNs of ours: clients of forwards, and connections that are open. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../../src/engine/boundary.ts";
import { CLIENT_LOOK_MS } from "../../../src/engine/transport/tcp/client-keepalive.ts";
import {
  CONNECTING,
  ESTABLISHED,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import {
  established,
  failConnect,
  openClient,
  openOverIpv4,
  sendSyn,
} from "../../../src/engine/transport/tcp/open.ts";
import { enterTimeWait } from "../../../src/engine/transport/tcp/teardown.ts";
import { SYN } from "../../sim/guest-stack/codec.ts";
import { open, PAIR, TO } from "./tcp-beginnings.ts";
import { GUEST_IP, REMOTE_IP, TcpLayer } from "./tcp-layer.ts";

describe("a SYN of ours", () => {
  it("is timed once, not where it is sent again", () => {
    for (const [over, start] of [
      [{}, 50],
      [{ rttTiming: true, rttStartMs: 7 }, 7],
      [{ backoff: 1, rttStartMs: 7 }, 7],
    ] as const) {
      const layer = new TcpLayer();
      layer.ctx.now = 50;
      const c = layer.connection();
      Object.assign(c, { state: SYN_SENT }, over);
      sendSyn(layer.ctx, c);
      expect(c.rttStartMs).toBe(start);
      expect(c.rttTiming).toBe(!("backoff" in over));
      if (start === 50) expect(c.rttSequence).toBe((c.iss + 1) | 0);
      expect(c.sndNxt).toBe((c.iss + 1) | 0);
      expect(layer.sent()[0].flags).toBe(SYN);
    }
  });
});

describe("a client of a forward", () => {
  function client(layer: TcpLayer, remotePort = 50_000, pair?: number[]): TcpConnection | undefined {
    const path = layer.ends(8080, pair);
    path.remotePort = remotePort;
    path.setTarget(TO);
    const handle = layer.network.tcpConnect(0, TO);
    const before = layer.ctx.open;
    openClient(layer.ctx, path, handle, 9);
    if (layer.ctx.open === before) return undefined;
    return layer.ctx.connections.findLast((c) => c !== null && c.handle === handle) ?? undefined;
  }

  it("is shown to the guest, with all that we can do", () => {
    const layer = new TcpLayer();
    const c = client(layer);
    expect(c).toMatchObject({
      state: SYN_SENT,
      outbound: false,
      handle: 0,
      mss: 1448,
      rcvShift: 7,
      targetPort: 81,
    });
    expect(c).toMatchObject({ timestamps: true, sack: true, timerKind: 1, timerAt: 1000 });
    expect(layer.ctx.ledger.forward[c?.id ?? -1]).toBe(9);
    const [segment] = layer.sent();
    expect(segment).toMatchObject({ flags: SYN, sourcePort: 50_000, destinationPort: 8080 });
    expect(segment.options).toMatchObject({ mss: 1460, sackPermitted: true, windowScale: 7 });
    expect(layer.counters.value("tcp-accepted")).toBe(1);
    expect(layer.told.opened).toEqual([8080]);
    expect(client(new TcpLayer(), 50_000, PAIR)?.mss).toBe(1428);
  });

  it("has another port where that pair is taken, sixteen in all, and after the last the first that is nobody's", () => {
    const layer = new TcpLayer({ flows: 32 });
    const ports = Array.from({ length: 17 }, () => client(layer, 50_000)?.remotePort);
    expect(ports).toEqual([...Array.from({ length: 16 }, (_, i) => 50_000 + i), undefined]);
    expect(layer.network.sockets.map(({ state }) => state)).toEqual([...new Array(16).fill("open"), "reset"]);
    expect([65_535, 65_535, 65_535].map((port) => client(layer, port)?.remotePort)).toEqual([
      65_535, 1024, 1025,
    ]);
    expect(client(layer, 0)?.remotePort).toBe(1);
  });

  it("is turned away where there is no room", () => {
    const layer = new TcpLayer({ flows: 1 });
    layer.opened();
    expect(client(layer)).toBeUndefined();
    expect(layer.network.sockets.at(-1)?.state).toBe("reset");
    expect(layer.sent()).toEqual([]);
  });

  it("that the guest refuses over IPv6 is taken to its IPv4 address, with the same socket", () => {
    const layer = new TcpLayer();
    const c = client(layer, 50_000, PAIR);
    if (c === undefined) throw new Error("no connection");
    layer.sent();
    // As forwards that chose IPv6 themselves have it.
    Object.assign(c, { guestAddress: GUEST_IP, remoteAddress: REMOTE_IP });
    expect(openOverIpv4(layer.ctx, c)).toBe(true);
    expect(layer.network.sockets[0].state).toBe("open");
    expect(layer.told.ended).toEqual([[8080, "guest-reset by guest", 0]]);
    expect(layer.sent()).toMatchObject([{ flags: SYN, sourcePort: 81, destinationPort: 8080 }]);
    const again = layer.ctx.connections.find((some) => some?.state === SYN_SENT);
    expect(again).toMatchObject({
      ipOctets: 20,
      handle: 0,
      guestAddress: GUEST_IP,
      remoteAddress: REMOTE_IP,
    });
    expect(again).toMatchObject({ targetPort: 81, target3: REMOTE_IP });
    expect(layer.ctx.ledger.forward[again?.id ?? -1]).toBe(9);
  });

  it("that it refuses over IPv4, or without an address there, is not", () => {
    const layer = new TcpLayer();
    const plain = client(layer);
    const alone = client(layer, 50_001, PAIR);
    for (const c of [plain, alone]) {
      expect(c && openOverIpv4(layer.ctx, c)).toBe(false);
      expect(c?.state).toBe(SYN_SENT);
    }
  });
});

describe("a connection that is open", () => {
  it("is no longer half open, and has its host read", () => {
    for (const outbound of [true, false]) {
      const layer = new TcpLayer();
      layer.ctx.now = 500;
      const c = layer.connection();
      Object.assign(c, {
        state: SYN_RECEIVED,
        outbound,
        backoff: 3,
        timerKind: 1,
        handle: 4,
        lastHeardMs: 400,
      });
      established(layer.ctx, c);
      expect(c).toMatchObject({ state: ESTABLISHED, sndUna: (c.iss + 1) | 0, backoff: 0, timerKind: 0 });
      expect(c).toMatchObject({
        hostReadable: true,
        ready: true,
        clientPaceMs: outbound ? 0 : CLIENT_LOOK_MS,
      });
      expect(c.idleAt).toBe(400 + (outbound ? 7_200_000 : CLIENT_LOOK_MS));
      expect(layer.ctx.halfOpen.length).toBe(0);
      expect(layer.ctx.ledger.connectMs[c.id]).toBe(0);
    }
  });

  it("and ends here has a service that is told, and no host", () => {
    const layer = new TcpLayer();
    layer.ctx.local = { opened: () => 6, arrived: () => {}, gone: () => {} };
    const c = layer.connection();
    Object.assign(c, { state: SYN_RECEIVED, handle: LOCAL });
    established(layer.ctx, c);
    expect(c).toMatchObject({ handle: LOCAL - 6, hostReadable: false, ready: false });
  });

  it("in TIME-WAIT is no obstacle to others", () => {
    const layer = new TcpLayer();
    enterTimeWait(layer.ctx, layer.opened());
    expect(open(layer, 2).result).toBe("handled");
    const c = layer.connection(3);
    expect(failConnect(layer.ctx, Object.assign(c, { state: CONNECTING }), ECONNREFUSED)).toBe(0);
  });
});
