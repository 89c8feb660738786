/** What an engine tells of its flows, drops and questions, written by the core and read by the supervisor's decoder. */
import { describe, expect, it } from "vitest";
import type { FlowEnded } from "../../src/control/records.ts";
import { ECONNREFUSED, EINPROGRESS } from "../../src/engine/boundary.ts";
import type { Forward } from "../../src/engine/config.ts";
import { GUEST, OpenConnection, REMOTE, tcp, udp } from "../hostile/guest-packets.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import { ip } from "../support/frames.ts";
import { ip6 } from "../support/frames6.ts";
import { openForward } from "../support/open-forward.ts";
import { RecordTap } from "../support/record-tap.ts";

const ACK = 0x10;
const FIN = 0x01;
const RST = 0x04;
const SYN = 0x02;
const DNS = ip("10.0.2.3");
const UDP_FORWARD: Forward = {
  protocol: "udp",
  hostAddress: 0,
  hostPort: 53,
  guestAddress: 0,
  guestPort: 53,
};

const text = (length: number): Uint8Array => new Uint8Array(Buffer.alloc(length, "x"));

function tapped(config: ConstructorParameters<typeof FrameExchange>[0] = {}) {
  const exchange = new FrameExchange(config);
  return { exchange, tap: new RecordTap(exchange.core, exchange.arena) };
}

const endsOf = (tap: RecordTap): FlowEnded[] => tap.records.filter((record) => record.type === "flow-ended");

describe("a TCP connection", () => {
  it.each(["guest", "host"] as const)(
    "is told as it opens, and once as it ends: the %s closes first",
    (first) => {
      const { exchange, tap } = tapped();
      exchange.pass(1000);
      const guest = new OpenConnection(exchange, 1000);
      expect(tap.read()).toMatchObject([
        {
          type: "flow-opened",
          flow: 1,
          protocol: "tcp",
          direction: "out",
          guest: { address: "10.0.2.15" },
          remote: { address: "198.51.100.7" },
          target: { address: "198.51.100.7" },
          forward: null,
          atMs: 1000,
        },
      ]);
      const [socket] = exchange.network.sockets;
      guest.send(ACK, text(300));
      socket.give(text(50));
      exchange.settle();
      guest.engine = (guest.engine + 50) | 0;
      guest.send(ACK);
      exchange.pass(2000);
      const close = {
        guest: () => guest.send(FIN | ACK),
        host: () => {
          socket.end();
          exchange.settle();
          guest.engine = (guest.engine + 1) | 0;
          guest.send(ACK);
        },
      };
      close[first]();
      close[first === "guest" ? "host" : "guest"]();
      tap.read();
      // TIME-WAIT is a wait of the engine's: nothing more is told when it is over.
      expect(exchange.core.usage().tcp).toBe(first === "host" ? 1 : 0);
      exchange.pass(120_000);
      tap.read();
      expect(endsOf(tap)).toEqual([
        expect.objectContaining({
          flow: 1,
          octetsFromGuest: 300,
          octetsToGuest: 50,
          startMs: 1000,
          atMs: 3000,
          connectMs: 0,
          retransmits: 0,
          reason: "closed",
          endedBy: first,
          hostError: null,
        }),
      ]);
      expect(exchange.core.usage().tcp).toBe(0);
    },
  );

  it("says what the host said when it is refused at once", () => {
    const { exchange, tap } = tapped();
    exchange.network.connectTo = () => ECONNREFUSED;
    exchange.exchange(tcp({ flags: SYN, sequence: 1, destinationPort: 81 }));
    expect(tap.read().map(({ type }) => type)).toEqual(["flow-opened", "flow-ended"]);
    expect(endsOf(tap)).toMatchObject([
      {
        reason: "refused",
        endedBy: "host",
        hostError: "ECONNREFUSED",
        connectMs: null,
        target: { port: 81 },
      },
    ]);
  });

  it.each([
    ["the guest resets it", "guest-reset", "guest", (guest: OpenConnection) => guest.send(RST | ACK)],
    [
      "the host's peer resets it",
      "host-reset",
      "host",
      (_guest: OpenConnection, exchange: FrameExchange) => {
        exchange.network.sockets[0].fail();
        exchange.settle();
      },
    ],
    [
      "the engine ends",
      "stopped",
      "sluice",
      (_guest: OpenConnection, exchange: FrameExchange) => exchange.core.close(exchange.now),
    ],
    [
      "somebody kills it",
      "killed",
      "sluice",
      (_guest: OpenConnection, exchange: FrameExchange) => {
        expect(exchange.core.killFlows([1, 77], exchange.now)).toBe(1);
        expect(exchange.network.sockets[0].state).toBe("reset");
        expect(exchange.settle()).toHaveLength(1);
      },
    ],
  ] as const)("ends once when %s", (_how, reason, endedBy, end) => {
    const { exchange, tap } = tapped();
    const guest = new OpenConnection(exchange, 5000);
    end(guest, exchange);
    tap.read();
    expect(endsOf(tap)).toMatchObject([{ flow: 1, reason, endedBy }]);
  });

  it("ends as timed out when the host's peer never answers", () => {
    const { exchange, tap } = tapped();
    exchange.network.connected = () => EINPROGRESS;
    exchange.exchange(tcp({ flags: SYN, sequence: 1 }));
    exchange.pass(300_000);
    tap.read();
    expect(endsOf(tap)).toMatchObject([{ reason: "timed-out", endedBy: "host", hostError: "ETIMEDOUT" }]);
  });

  it("that comes by a forward tells which", () => {
    const forward: Forward = {
      protocol: "tcp",
      hostAddress: 0,
      hostPort: 8080,
      guestAddress: 0,
      guestPort: 80,
    };
    const { exchange, tap } = tapped({ forwards: [forward] });
    exchange.core.openForward(0, 5, { id: 41, forward, guestPort: 83 });
    exchange.exchange(udp({ to: ip("10.0.2.2"), destinationPort: 9 }));
    exchange.network.call(0, [0, 0, 0xffff, REMOTE], 50_000);
    exchange.settle();
    expect(tap.read().find(({ type }) => type === "flow-opened")).toMatchObject({
      direction: "in",
      forward: 41,
      guest: { address: "10.0.2.15", port: 83 },
      target: { address: "198.51.100.7", port: 50_000 },
    });
    exchange.core.closeForward(41, true, exchange.now);
    tap.read();
    expect(endsOf(tap)).toMatchObject([{ reason: "killed", forward: 41 }]);
  });
});

describe("a UDP mapping", () => {
  it("ends once, when nobody has used it for its time", () => {
    const { exchange, tap } = tapped({ udpTimeoutMs: 120_000 });
    exchange.exchange(udp({ to: REMOTE, destinationPort: 4000, payload: text(7) }));
    exchange.exchange(udp({ to: REMOTE, destinationPort: 4000, payload: text(5) }));
    expect(tap.read()).toMatchObject([{ type: "flow-opened", protocol: "udp", remote: { port: 4000 } }]);
    exchange.pass(125_000);
    tap.read();
    expect(endsOf(tap)).toMatchObject([
      {
        protocol: "udp",
        remote: { address: "198.51.100.7", port: 4000 },
        octetsFromGuest: 12,
        packetsFromGuest: 2,
        reason: "expired",
        connectMs: null,
      },
    ]);
  });

  it("goes with the forward it came by", () => {
    const { exchange, tap } = tapped({ forwards: [UDP_FORWARD] });
    const handle = exchange.network.udpForward(0);
    openForward(exchange.core, handle);
    exchange.exchange(udp({ to: REMOTE, destinationPort: 9 }));
    exchange.network.arrive(handle, REMOTE, 7000, text(3));
    exchange.settle();
    expect(tap.read().at(-1)).toMatchObject({ type: "flow-opened", direction: "in", forward: 1 });
    exchange.core.closeForward(1, false, exchange.now);
    tap.read();
    expect(endsOf(tap)).toMatchObject([{ reason: "killed", direction: "in" }]);
    // What still waits in the closed socket finds nobody.
    exchange.network.arrive(handle, REMOTE, 7001, text(3));
    expect(exchange.settle()).toEqual([]);
  });
});

describe("what is dropped", () => {
  it("is told with its reason, its ends and its first octets", () => {
    const { exchange, tap } = tapped({ restrict: true });
    const frame = tcp({ flags: SYN, sequence: 1, destinationPort: 443 });
    exchange.exchange(frame);
    expect(tap.read()).toEqual([
      {
        type: "drop",
        atMs: 0,
        reason: "destination-restricted",
        times: 1,
        from: "guest",
        sample: new Uint8Array(frame.subarray(0, 96)),
        length: frame.length,
        protocol: "tcp",
        guest: { address: "10.0.2.15", port: expect.any(Number) },
        remote: { address: "198.51.100.7", port: 443 },
      },
    ]);
  });

  it("is told by samples when it is a flood, and all of it is counted", () => {
    const { exchange, tap } = tapped({ restrict: true });
    for (let i = 0; i < 50; i++) exchange.exchange(tcp({ flags: SYN, sequence: i }));
    expect(tap.read()).toHaveLength(16);
    exchange.exchange(tcp({ flags: SYN, sequence: 51 }));
    tap.read();
    const times = tap.records.map((record) => (record.type === "drop" ? record.times : 0));
    expect(times.reduce((sum, n) => sum + n, 0)).toBe(51);
    expect(exchange.core.counters.dropped("destination-restricted")).toBe(51);
  });

  it("from the host is told without octets", () => {
    const { exchange, tap } = tapped();
    exchange.exchange(udp({ to: REMOTE, sourcePort: 4000, destinationPort: 4000 }));
    tap.read();
    exchange.network.arrive(10_000, ip("203.0.113.9"), 4000, text(9));
    exchange.settle();
    expect(tap.read()).toMatchObject([
      {
        reason: "inbound-filtered",
        from: "host",
        length: 9,
        protocol: "udp",
        guest: { address: "10.0.2.15", port: 4000 },
        remote: { address: "203.0.113.9", port: 4000 },
      },
    ]);
  });

  it("from the host by NAT64 is told with the guest's name for the remote", () => {
    const { exchange, tap } = tapped({ nat64: { prefix: ip6("2001:db8:122::"), length: 48 } });
    exchange.core.setUplinks(false, true, exchange.now);
    exchange.exchange(udp({ to: REMOTE, sourcePort: 4000, destinationPort: 4000 }));
    tap.read();
    const [{ handle }] = exchange.network.datagrams;
    // 203.0.113.9 of that prefix (RFC 6052 section 2.4), and one that is none of it.
    const remotes = ["2001:db8:122:cb00:71:900::", "2001:db8:9::1"].map((from) => {
      exchange.network.arriveFrom(handle, ip6(from), 4000, text(9));
      exchange.settle();
      tap.read();
      return tap.records.at(-1);
    });
    expect(remotes).toMatchObject([
      { reason: "inbound-filtered", remote: { address: "203.0.113.9", port: 4000 } },
      { reason: "inbound-filtered", remote: { address: "0.0.0.0", port: 4000 } },
    ]);
  });

  it("of a forward's client is told with its address as the guest sees it", () => {
    const { exchange, tap } = tapped({ forwards: [UDP_FORWARD], maxUdpMappings: 1 });
    const handle = exchange.network.udpForward(0);
    openForward(exchange.core, handle);
    exchange.exchange(udp({ to: REMOTE, sourcePort: 4000, destinationPort: 9 }));
    // The one mapping is in use from its first answer.
    exchange.network.arrive(exchange.network.datagrams[0].handle, REMOTE, 9, text(3));
    exchange.settle();
    tap.read();
    exchange.network.arrive(handle, ip("127.0.0.1"), 7000, text(5));
    exchange.settle();
    expect(tap.read()).toMatchObject([
      {
        reason: "udp-mappings-full",
        from: "host",
        length: 5,
        guest: { address: "10.0.2.15", port: 53 },
        remote: { address: "10.0.2.2", port: 7000 },
      },
    ]);
  });

  it("of a forward's client is told as well where there is a mapping for it", () => {
    const { exchange, tap } = tapped({ forwards: [UDP_FORWARD] });
    const handle = exchange.network.udpForward(0);
    openForward(exchange.core, handle);
    exchange.exchange(udp({ to: REMOTE, destinationPort: 9 }));
    exchange.network.arrive(handle, ip("203.0.113.9"), 7000, text(65_508));
    exchange.settle();
    tap.read();
    expect(tap.records.at(-1)).toMatchObject({
      type: "drop",
      reason: "inbound-too-long",
      from: "host",
      length: 65_508,
      remote: { address: "203.0.113.9", port: 7000 },
    });
  });
});

/** A query for NAME's A records. */
function query(id: number, name: string): Uint8Array {
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Uint8Array.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
}

/** Its answer: a CNAME, then two addresses. */
function answer(asked: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(asked);
  copy.set([id >> 8, id & 255, 0x81, 0x80, 0, 1, 0, 3]);
  const cname = [0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 0, 0, 4, 1, 0x79, 0xc0, 12];
  const address = (last: number, ttl: number): number[] => [
    0xc0,
    12,
    0,
    1,
    0,
    1,
    0,
    0,
    0,
    ttl,
    0,
    4,
    203,
    0,
    113,
    last,
  ];
  return new Uint8Array(
    Buffer.concat([copy, Uint8Array.from([...cname, ...address(7, 60), ...address(9, 30)])]),
  );
}

describe("a DNS question", () => {
  const resolvers = [{ words: [0, 0, 0xffff, ip("192.0.2.53")] as const, port: 53, scope: 0 }];

  it("is told with its answer's addresses", () => {
    const { exchange, tap } = tapped({ resolvers });
    exchange.exchange(
      udp({ to: DNS, sourcePort: 5555, destinationPort: 53, payload: query(7, "WWW.Example.com") }),
    );
    const asked = exchange.network.datagrams[0];
    exchange.now += 40;
    exchange.network.arrive(
      asked.handle,
      ip("192.0.2.53"),
      53,
      answer(asked.octets, (asked.octets[0] << 8) | asked.octets[1]),
    );
    exchange.settle();
    expect(tap.read()).toEqual([
      {
        type: "dns",
        atMs: 40,
        guest: { address: "10.0.2.15", port: 5555 },
        transport: "udp",
        name: "www.example.com",
        questionType: "A",
        rcode: "NOERROR",
        addresses: ["203.0.113.7", "203.0.113.9"],
        ttlSeconds: 30,
        answeredBy: "resolver",
        durationMs: expect.any(Number),
      },
    ]);
  });

  it("that nobody answers has no code", () => {
    const { exchange, tap } = tapped({ resolvers: [] });
    exchange.exchange(udp({ to: DNS, destinationPort: 53, payload: query(7, "example.com") }));
    const dns = tap.read().filter(({ type }) => type === "dns");
    expect(dns).toMatchObject([{ rcode: null, answeredBy: "nobody", addresses: [] }]);
  });

  it("that is answered here says so, and odd names come escaped", () => {
    const { exchange, tap } = tapped({ restrict: true, dnsHostNames: ["host.internal"] });
    exchange.exchange(udp({ to: DNS, destinationPort: 53, payload: query(7, "host.internal") }));
    exchange.exchange(udp({ to: DNS, destinationPort: 53, payload: query(8, "\u001b[31m<b>.x") }));
    expect(tap.read().filter(({ type }) => type === "dns")).toMatchObject([
      { name: "host.internal", answeredBy: "sluice", rcode: "NOERROR", addresses: ["10.0.2.2"] },
      { name: "\\027\\09131m\\060b\\062.x", answeredBy: "sluice", rcode: "REFUSED", addresses: [] },
    ]);
  });
});

describe("rows", () => {
  it("tell every flow once, page by page, with the forward's and the flow's numbers", () => {
    const { exchange, tap } = tapped();
    for (let port = 0; port < 20; port++) {
      exchange.exchange(udp({ to: REMOTE, sourcePort: 2000 + port, destinationPort: 4000 }));
    }
    exchange.exchange(tcp({ flags: SYN, sequence: 1 }));
    const cursor = { call: 9, from: 0, places: 1000, rows: 8 };
    while (cursor.from >= 0) {
      cursor.rows = 8;
      exchange.core.recordRows(cursor, exchange.now);
    }
    tap.read();
    expect(tap.rows.map(({ flow }) => flow)).toEqual(Array.from({ length: 21 }, (_, i) => i + 1));
    expect(tap.rows.map(({ place }) => place)).toEqual(Array.from({ length: 21 }, (_, i) => i));
    expect(tap.rows[3]).toMatchObject({
      protocol: "udp",
      state: "MAPPED",
      guest: { port: 2003 },
      remote: { port: 4000 },
    });
    expect(tap.rows[20]).toMatchObject({
      protocol: "tcp",
      state: "SYN-RECEIVED",
      guest: { address: "10.0.2.15" },
    });
    expect(
      exchange.core
        .flows(exchange.now)
        .map(({ id }) => id)
        .sort((a, b) => a - b),
    ).toEqual(tap.rows.map(({ flow }) => flow));
    expect(GUEST).toBe(ip("10.0.2.15"));
  });
});

describe("who asks for nothing", () => {
  it("later gets what failed, was dropped or asked, and nothing else", () => {
    const exchange = new FrameExchange({ restrict: false });
    exchange.core.record();
    new OpenConnection(exchange, 1).send(RST | ACK);
    exchange.network.connectTo = () => ECONNREFUSED;
    exchange.exchange(tcp({ flags: SYN, sequence: 1, sourcePort: 999, destinationPort: 81 }));
    const tap = new RecordTap(exchange.core, exchange.arena);
    expect(tap.read()).toMatchObject([{ type: "flow-ended", reason: "refused" }]);
  });
});
