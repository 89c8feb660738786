/** Addresses that stand for the host, addresses of ours outside of the subnet, and a subnet with other machines in it. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, type EngineConfig, NOBODY } from "../../../src/engine/config.ts";
import { asTcp, asUdp, GATEWAY, GUEST, GUEST_MAC, tcp, udp } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";

const [SYN, RST, ACK] = [2, 4, 16];
const V4_MAPPED = 0xffff;
const LOOPBACK = ip("127.0.0.1");
const HOST = ip("192.0.2.20");
const INSIDE = ip("10.0.2.4");
const OUTSIDE = ip("169.254.1.2");
const NOWHERE = ip("10.0.2.6");

const ALIASES: Partial<EngineConfig> = {
  hostAliases: [
    { address: INSIDE, target: LOOPBACK },
    { address: OUTSIDE, target: HOST },
    { address: NOWHERE, target: 0 },
  ],
};

function connect(exchange: AccountedExchange, to: number) {
  return exchange.send(tcp({ to, destinationPort: 80, flags: SYN, sequence: 41 }));
}

function arpFor(target: number, sender = GUEST): Uint8Array {
  const octets = (address: number) => [
    address >>> 24,
    (address >>> 16) & 255,
    (address >>> 8) & 255,
    address & 255,
  ];
  return Uint8Array.from([
    ...[255, 255, 255, 255, 255, 255, ...GUEST_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    ...[...GUEST_MAC, ...octets(sender), 0, 0, 0, 0, 0, 0, ...octets(target)],
  ]);
}

describe("an alias of the host", () => {
  it.each([
    ["inside of the subnet", INSIDE, LOOPBACK],
    ["outside, link-local", OUTSIDE, HOST],
  ])("%s leads connections to its target, and they answer from it", (_, alias, target) => {
    const exchange = new AccountedExchange(ALIASES);
    const { replies } = connect(exchange, alias);
    expect(replies.map(asTcp)).toMatchObject([{ flags: SYN | ACK }]);
    expect(exchange.network.sockets.map(({ to, port }) => [...to, port])).toEqual([
      [0, 0, V4_MAPPED, target, 80],
    ]);
  });

  it("answers datagrams by the address that was asked, and by its own to who asked its target", () => {
    const exchange = new AccountedExchange(ALIASES);
    const asked = (to: number, port: number): number => {
      exchange.send(udp({ to, destinationPort: 7, sourcePort: port }));
      const { handle, address } = exchange.network.datagrams.at(-1) ?? { handle: -1, address: 0 };
      expect(address).toBe(HOST);
      exchange.network.arrive(handle, HOST, 7, Buffer.from("me"));
      const [frame] = exchange.settle();
      return asUdp(frame as Uint8Array).source;
    };
    expect(asked(OUTSIDE, 5000)).toBe(OUTSIDE);
    expect(asked(HOST, 5001)).toBe(HOST);
    // Which of the two it was is known of the last one only.
    expect([asked(OUTSIDE, 5002), asked(HOST, 5002)]).toEqual([OUTSIDE, HOST]);
    expect(exchange.core.flows(exchange.now).map(({ remote, target }) => [remote, target])).toContainEqual([
      "169.254.1.2:7",
      "192.0.2.20:7",
    ]);
  });

  it("refuses where the host has no address", () => {
    const exchange = new AccountedExchange(ALIASES);
    const { verdict, replies } = connect(exchange, NOWHERE);
    expect(verdict).toBe("destination-no-service");
    expect(replies.map(asTcp)).toMatchObject([{ flags: RST | ACK }]);
  });

  it("of nobody is there and says nothing", () => {
    const exchange = new AccountedExchange({ hostAliases: [{ address: INSIDE, target: NOBODY }] });
    expect(exchange.send(arpFor(INSIDE)).replies).toHaveLength(1);
    expect(connect(exchange, INSIDE)).toEqual({ verdict: "destination-silent", replies: [] });
    const datagram = exchange.send(udp({ to: INSIDE, destinationPort: 53 }));
    expect(datagram).toEqual({ verdict: "destination-silent", replies: [] });
    expect(exchange.network.sockets).toEqual([]);
  });

  it("is answered for by ARP, and closed under restrict", () => {
    const exchange = new AccountedExchange({ ...ALIASES, restrict: true });
    expect(exchange.send(arpFor(INSIDE)).replies).toHaveLength(1);
    expect(exchange.send(arpFor(ip("10.0.2.5"))).replies).toEqual([]);
    expect(connect(exchange, INSIDE).verdict).toBe("destination-restricted");
    expect(exchange.network.sockets).toEqual([]);
  });
});

describe("a gateway outside of the subnet", () => {
  const gateway = ip("172.31.255.1");

  it("is answered for by ARP and is nobody on the host's side", () => {
    const exchange = new AccountedExchange({ gateway });
    expect(exchange.send(arpFor(gateway)).replies).toHaveLength(1);
    expect(connect(exchange, gateway).verdict).toBe("destination-no-service");
    const open = new AccountedExchange({ gateway, allowHostLoopback: true });
    connect(open, gateway);
    expect(open.network.sockets.map(({ to }) => to[3])).toEqual([LOOPBACK]);
  });
});

describe("a DNS address that is the gateway's", () => {
  it("answers DNS there, and nothing else", () => {
    const exchange = new AccountedExchange({ dns: GATEWAY });
    const question = Buffer.from("000101000001000000000000016101620000010001", "hex");
    // It has come to the DNS service, which has nobody to ask here.
    const asked = exchange.send(udp({ to: GATEWAY, destinationPort: 53, payload: question }));
    expect(asked.verdict).toBe("dns-no-resolver");
    expect(exchange.send(udp({ to: GATEWAY, destinationPort: 54 })).verdict).toBe("destination-no-service");
  });
});

describe("a subnet with other machines in it", () => {
  const NEIGHBOUR = ip("10.0.2.77");
  const shared: Partial<EngineConfig> = { sharedSubnet: true };

  it("has them answered for by ARP, but not the guest's own address, nor to who probes", () => {
    const exchange = new AccountedExchange(shared);
    expect(exchange.send(arpFor(NEIGHBOUR)).replies).toHaveLength(1);
    expect(exchange.send(arpFor(GATEWAY)).replies).toHaveLength(1);
    expect(exchange.send(arpFor(GUEST)).replies).toEqual([]);
    expect(exchange.send(arpFor(GUEST, 0)).replies).toEqual([]);
    expect(exchange.send(arpFor(NEIGHBOUR, 0)).replies).toEqual([]);
    expect(exchange.send(arpFor(NEIGHBOUR, NEIGHBOUR)).replies).toEqual([]);
    expect(exchange.send(arpFor(ip("10.0.3.1"))).replies).toEqual([]);
    expect(new AccountedExchange({}).send(arpFor(NEIGHBOUR)).replies).toEqual([]);
  });

  it("leads to them, the gateway too, but not to the guest's address or the broadcast address", () => {
    const exchange = new AccountedExchange(shared);
    connect(exchange, NEIGHBOUR);
    connect(exchange, GATEWAY);
    expect(exchange.network.sockets.map(({ to }) => to[3])).toEqual([NEIGHBOUR, GATEWAY]);
    expect(connect(exchange, ip("10.0.2.255")).verdict).toBe("destination-no-service");
    expect(connect(exchange, GUEST).verdict).toBe("destination-no-service");
    expect(connect(new AccountedExchange({}), NEIGHBOUR).verdict).toBe("destination-no-service");
  });

  it("shows them by their own addresses, and the host that has the guest's as the gateway", () => {
    const seen = new AccountedExchange({ ...shared, udpFiltering: "endpoint-independent" });
    seen.send(udp({ to: ip("198.51.100.7"), destinationPort: 7 }));
    const handle = seen.network.datagrams.at(-1)?.handle ?? -1;
    for (const [address, shown] of [
      [NEIGHBOUR, NEIGHBOUR],
      [GUEST, GATEWAY],
      [LOOPBACK, GATEWAY],
    ] as const) {
      seen.network.arrive(handle, address, 9, Buffer.from("x"));
      expect(asUdp(seen.settle()[0] as Uint8Array).source).toBe(shown);
    }
  });

  it("of two (RFC 3021) has no broadcast address", () => {
    const base = defaultEngineConfig();
    const exchange = new AccountedExchange({
      ...base,
      ...shared,
      network: ip("10.0.2.14"),
      prefixLength: 31,
      gateway: ip("10.0.2.14"),
      dns: 0,
      guestAddress: GUEST,
    });
    expect(connect(exchange, ip("10.0.2.14")).verdict).toBe("handled");
  });
});
