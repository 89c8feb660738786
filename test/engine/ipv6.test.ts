/** A guest with IPv6 and the whole engine: every frame of the guest's is made by hand, and every checksum of ours is checked. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../src/engine/boundary.ts";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type EngineConfig,
  type Forward,
  type Ipv6Config,
} from "../../src/engine/config.ts";
import { TX_CHECKSUM_PARTIAL, TX_IPV6, TX_TCP_SEGMENTS } from "../../src/engine/memory/transmit-queue.ts";
import { formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { asTcp, GATEWAY, tcp, udp } from "../hostile/guest-packets.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import {
  checksum6,
  frame6,
  GUEST6,
  groupOf,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  octets6,
  packet6,
  ROUTER6,
  tcp6,
  udp6,
} from "../support/frames6.ts";
import { openForward } from "../support/open-forward.ts";

const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const DNS6 = "fd71:1ae0:d44d:2::3";
const REMOTE = "2001:db8::1";
const MSS_1440 = [2, 4, 0x05, 0xa0];
const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16];

interface Packet6 {
  readonly mac: readonly number[];
  readonly source: string;
  readonly destination: string;
  readonly next: number;
  readonly hopLimit: number;
  readonly label: number;
  readonly payload: Uint8Array;
}

/** An IPv6 frame of ours; its transport checksum must be right unless it is a fragment's. */
function parse(frame: Uint8Array): Packet6 {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  expect(view.getUint16(12)).toBe(0x86dd);
  expect(view.getUint16(18)).toBe(frame.length - 54);
  const words = (at: number): string => formatIpv6([0, 4, 8, 12].map((offset) => view.getInt32(at + offset)));
  const packet = {
    mac: [...frame.slice(0, 6)],
    source: words(22),
    destination: words(38),
    next: frame[20],
    hopLimit: frame[21],
    label: view.getInt32(14) & 0xfffff,
    payload: frame.slice(54),
  };
  if (packet.next !== 44) {
    const sum = checksum6(packet.source, packet.destination, packet.next, [...packet.payload]);
    expect([0, 0xffff]).toContain(sum);
  }
  return packet;
}

function exchange6(over: Partial<EngineConfig> = {}, ipv6: Partial<Ipv6Config> = {}, offload = false) {
  const { gatewayMac } = defaultEngineConfig();
  const config = { ipv6: { ...defaultIpv6Config(gatewayMac), ...ipv6 }, ...over };
  const exchange = new FrameExchange(config, offload);
  // The three advertisements of the link's start are not what these tests are about.
  exchange.settle();
  const send = (packet: Uint8Array): Packet6[] =>
    exchange.exchange(frame6(packet, GATEWAY_MAC, GUEST_MAC)).map(parse);
  /** A datagram comes to a host socket; what the guest gets of it. */
  const arrive = (
    handle: number,
    from: string,
    port: number,
    octets: readonly number[] | Uint8Array,
  ): Packet6[] => {
    exchange.network.arriveFrom(handle, ip6(from), port, Uint8Array.from(octets));
    return exchange.settle().map(parse);
  };
  const drops = (): Record<string, number> => exchange.core.counters.snapshot().drops;
  return { exchange, network: exchange.network, core: exchange.core, send, arrive, drops };
}

function tcpOf({ payload }: Packet6) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const header = (payload[12] >>> 4) * 4;
  return {
    from: view.getUint16(0),
    to: view.getUint16(2),
    sequence: view.getInt32(4),
    acknowledgment: view.getInt32(8),
    flags: payload[13],
    options: [...payload.slice(20, header)],
    data: payload.slice(header),
  };
}

function udpOf({ payload }: Packet6) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return {
    from: view.getUint16(0),
    to: view.getUint16(2),
    sum: view.getUint16(6),
    data: [...payload.slice(8)],
  };
}

/** A connection of the guest, established; returns what has to be known of it. */
function connected(rig: ReturnType<typeof exchange6>, from = 40_000) {
  const [answer] = rig.send(tcp6({}, { from, to: 80, sequence: 1000, flags: SYN, options: MSS_1440 }));
  const { sequence } = tcpOf(answer);
  rig.send(tcp6({}, { from, to: 80, sequence: 1001, acknowledgment: sequence + 1, flags: ACK }));
  return { next: (sequence + 1) | 0, socket: rig.network.sockets.at(-1) };
}

describe("the link", () => {
  it("carries IPv4 alone unless it is told otherwise", () => {
    const exchange = new FrameExchange();
    expect(exchange.exchange(frame6(udp6({}, 1000, 2000, [1]), GATEWAY_MAC, GUEST_MAC))).toEqual([]);
    expect(exchange.core.counters.snapshot().drops).toEqual({ "ipv6-off": 1 });
    expect(exchange.pass(20_000)).toEqual([]);
  });

  it("N12 answers a solicitation for the router, and learns whose it was", () => {
    const { send } = exchange6();
    const payload = neighbourMessage(135, 0, ROUTER6, macOption(1, GUEST_MAC));
    const [answer] = send(icmp6({ destination: groupOf(ROUTER6), payload }));
    expect(answer).toMatchObject({
      mac: GUEST_MAC,
      source: ROUTER6,
      destination: GUEST6,
      next: 58,
      hopLimit: 255,
    });
    expect(answer.payload[0]).toBe(136);
  });

  it("N1 N6 advertises the router at the link's start and when it is asked", () => {
    const { gatewayMac } = defaultEngineConfig();
    const exchange = new FrameExchange({ ipv6: defaultIpv6Config(gatewayMac) });
    const [first] = exchange.settle().map(parse);
    expect(first).toMatchObject({ source: "fe80::2", destination: "ff02::1", hopLimit: 255 });
    expect(first.payload[0]).toBe(134);
    const solicitation = icmp6({ source: "fe80::1234", payload: [133, 0, 0, 0, 0, 0, 0, 0] });
    const [answer] = exchange.exchange(frame6(solicitation, GATEWAY_MAC, GUEST_MAC)).map(parse);
    expect(answer).toMatchObject({ mac: GUEST_MAC, destination: "fe80::1234" });
    expect(exchange.pass(16_000).map(parse)).toMatchObject([{ destination: "ff02::1" }]);
  });

  it("N5 N7 says by the router's lifetime whether there is a way out, within a second, and takes it back", () => {
    const { exchange, core } = exchange6();
    const lifetimes = (frames: Uint8Array[]): number[] =>
      frames.map(parse).map(({ payload }) => (payload[6] << 8) | payload[7]);
    core.setUplinks(true, true, exchange.now);
    expect(lifetimes(exchange.pass(1000))).toEqual([1800]);
    core.setUplinks(true, false, exchange.now);
    expect(lifetimes(exchange.pass(1000))).toEqual([0]);
    core.setUplinks(true, true, exchange.now);
    exchange.pass(1000);
    core.close(exchange.now);
    expect(lifetimes(exchange.link.out.splice(0))).toEqual([0]);
  });

  it("N43 is no default router under restrict, and names no resolver", () => {
    const { gatewayMac } = defaultEngineConfig();
    const exchange = new FrameExchange({
      ipv6: { ...defaultIpv6Config(gatewayMac), defaultRouter: "on" },
      restrict: true,
    });
    exchange.core.setUplinks(true, true, 0);
    const [{ payload }] = exchange.settle().map(parse);
    expect([payload[6], payload[7]]).toEqual([0, 0]);
    const options: number[] = [];
    for (let at = 16; at < payload.length; at += payload[at + 1] * 8) options.push(payload[at]);
    expect(options).toEqual([1, 5, 3]);
  });

  it("N10 starts over on a new link", () => {
    const { exchange, core } = exchange6();
    core.attach(null, exchange.now);
    expect(exchange.pass(20_000)).toEqual([]);
    core.attach(exchange.link, exchange.now);
    expect(exchange.settle().map(parse)).toMatchObject([{ destination: "ff02::1" }]);
    expect(exchange.pass(16_000)).toHaveLength(1);
  });
});

describe("TCP over IPv6", () => {
  it("N58 connects, with an MSS of the MTU less 60 and a label that stays the same", () => {
    const rig = exchange6();
    const syn = tcp6({}, { from: 40_000, to: 80, sequence: 1000, flags: SYN, options: MSS_1440 });
    const [answer] = rig.send(syn);
    expect(answer).toMatchObject({
      mac: GUEST_MAC,
      source: REMOTE,
      destination: GUEST6,
      next: 6,
      hopLimit: 64,
    });
    expect(tcpOf(answer)).toMatchObject({ from: 80, to: 40_000, acknowledgment: 1001, flags: SYN | ACK });
    expect(tcpOf(answer).options.slice(0, 4)).toEqual(MSS_1440);
    expect(rig.network.sockets.map(({ to, port }) => [to, port])).toEqual([[ip6(REMOTE), 80]]);
    expect(answer.label).not.toBe(0);
    const acknowledgment = (tcpOf(answer).sequence + 1) | 0;
    rig.send(tcp6({}, { from: 40_000, to: 80, sequence: 1001, acknowledgment, flags: ACK }));
    rig.network.sockets[0].give(Uint8Array.of(1, 2, 3));
    const [data] = rig.exchange.settle().map(parse);
    expect(data.label).toBe(answer.label);
    expect([...tcpOf(data).data]).toEqual([1, 2, 3]);
    const payload = [7, 8, 9];
    rig.send(tcp6({}, { from: 40_000, to: 80, sequence: 1001, acknowledgment, flags: ACK | PSH, payload }));
    expect([...rig.network.sockets[0].octets]).toEqual(payload);
    expect(rig.core.flows(0)).toMatchObject([
      {
        protocol: "tcp",
        state: "ESTABLISHED",
        guest: "[fd71:1ae0:d44d:2::15]:40000",
        remote: "[2001:db8::1]:80",
        target: "[2001:db8::1]:80",
      },
    ]);
  });

  it("N58 takes 1220 octets a segment from a guest that says nothing", () => {
    const rig = exchange6();
    const [answer] = rig.send(tcp6({}, { from: 40_000, to: 80, sequence: 1000, flags: SYN }));
    const acknowledgment = (tcpOf(answer).sequence + 1) | 0;
    rig.send(tcp6({}, { from: 40_000, to: 80, sequence: 1001, acknowledgment, flags: ACK }));
    rig.network.sockets[0].give(new Uint8Array(4000));
    const lengths = rig.exchange.settle().map((frame) => tcpOf(parse(frame)).data.length);
    expect(lengths[0]).toBe(1220);
  });

  it("N59 tells flows apart by family and by the guest's address", () => {
    const rig = exchange6();
    for (const source of [GUEST6, "fd71:1ae0:d44d:2::16"]) {
      rig.send(tcp6({ source }, { from: 40_000, to: 80, sequence: 1000, flags: SYN }));
    }
    expect(rig.network.sockets).toHaveLength(2);
    expect(rig.core.usage().tcp).toBe(2);
  });

  it("N46 answers a refused connection, and whatever has none, with RST", () => {
    const rig = exchange6();
    rig.network.connectTo = () => ECONNREFUSED;
    const syn = { from: 40_000, to: 80, sequence: 1000, flags: SYN };
    expect(rig.send(tcp6({}, syn)).map(tcpOf)).toMatchObject([{ flags: RST | ACK, acknowledgment: 1001 }]);
    const stray = { from: 40_001, to: 80, sequence: 5, acknowledgment: 77, flags: ACK };
    const [reset] = rig.send(tcp6({}, stray));
    expect(tcpOf(reset)).toMatchObject({ flags: RST, sequence: 77 });
    expect(reset.label).not.toBe(0);
    expect(rig.core.usage().tcp).toBe(0);
  });

  it("refuses a broken checksum", () => {
    const rig = exchange6();
    const packet = tcp6({}, { from: 40_000, to: 80, sequence: 1000, flags: SYN });
    packet[packet.length - 1] ^= 1;
    expect(rig.send(packet)).toEqual([]);
    expect(rig.drops()).toEqual({ "tcp-bad-checksum": 1 });
  });

  it("keeps a reset for a guest whose link is gone, and sends it on the next one", () => {
    const rig = exchange6();
    const { next, socket } = connected(rig);
    rig.core.attach(null, rig.exchange.now);
    socket?.fail();
    rig.exchange.settle();
    expect(rig.core.usage().tcp).toBe(0);
    rig.core.attach(rig.exchange.link, rig.exchange.now);
    const segments = rig.exchange
      .settle()
      .map(parse)
      .filter(({ next: protocol }) => protocol === 6);
    expect(segments).toMatchObject([{ source: REMOTE, destination: GUEST6 }]);
    expect(tcpOf(segments[0])).toMatchObject({ flags: RST | ACK, sequence: next, to: 40_000 });
  });

  it("ends by FIN from both sides", () => {
    const rig = exchange6();
    const { next, socket } = connected(rig);
    socket?.end();
    expect(rig.exchange.settle().map(parse).map(tcpOf)).toMatchObject([{ flags: FIN | ACK, sequence: next }]);
    const fin = { from: 40_000, to: 80, sequence: 1001, acknowledgment: next + 1, flags: FIN | ACK };
    expect(rig.send(tcp6({}, fin)).map(tcpOf)).toMatchObject([{ acknowledgment: 1002 }]);
    expect(socket?.state).toBe("closed");
  });
});

describe("UDP over IPv6", () => {
  it("N60 goes out by a socket of the family, and answers come back from whom the guest asked", () => {
    const rig = exchange6();
    rig.send(udp6({}, 5000, 6000, [1, 2, 3]));
    expect(rig.network.datagrams).toMatchObject([
      { words: ip6(REMOTE), port: 6000, octets: Uint8Array.of(1, 2, 3) },
    ]);
    const { handle } = rig.network.datagrams[0];
    expect(rig.network.families.get(handle)).toBe(6);
    const [answer] = rig.arrive(handle, REMOTE, 6000, [4, 5]);
    expect(answer).toMatchObject({ mac: GUEST_MAC, source: REMOTE, destination: GUEST6, next: 17 });
    expect(udpOf(answer)).toMatchObject({ from: 6000, to: 5000, data: [4, 5] });
    expect(rig.core.flows(0)).toMatchObject([
      { guest: "[fd71:1ae0:d44d:2::15]:5000", remote: "[2001:db8::1]:6000", target: "[2001:db8::1]:6000" },
    ]);
    // Address-dependent filtering: another port of the same address is heard, another address is not.
    expect(rig.arrive(handle, REMOTE, 6001, [6])).toHaveLength(1);
    expect(rig.arrive(handle, "2001:db8::2", 6000, [7])).toEqual([]);
    expect(rig.drops()).toEqual({ "inbound-filtered": 1 });
  });

  it("N60 has one socket for a guest's address and port, whatever the remote, and another for another address", () => {
    const rig = exchange6();
    for (const destination of [
      REMOTE,
      "2001:db8::2",
      "2001:db8::3",
      "2001:db8::4",
      "2001:db8::5",
      "2001:db8::6",
    ]) {
      rig.send(udp6({ destination }, 5000, 6000, [1]));
    }
    rig.send(udp6({ source: "fd71:1ae0:d44d:2::16" }, 5000, 6000, [1]));
    expect(new Set(rig.network.datagrams.map(({ handle }) => handle)).size).toBe(2);
    expect(rig.core.usage().udp).toBe(2);
    // All of them are remembered.
    const { handle } = rig.network.datagrams[0];
    for (let n = 1; n <= 6; n++) expect(rig.arrive(handle, `2001:db8::${n}`, 6000, [n])).toHaveLength(1);
    expect(rig.arrive(handle, "2001:db8::7", 6000, [7])).toEqual([]);
  });

  it("N60 maps and filters as it is told to", () => {
    const handles = (udpMapping: EngineConfig["udpMapping"]): number[] => {
      const rig = exchange6({ udpMapping });
      for (const [destination, port] of [
        [REMOTE, 1],
        [REMOTE, 2],
        ["2001:db8::2", 1],
        [REMOTE, 1],
      ] as const) {
        rig.send(udp6({ destination }, 5000, port, [1]));
      }
      return rig.network.datagrams.map(({ handle }) => handle - 10_000);
    };
    expect(handles("endpoint-independent")).toEqual([0, 0, 0, 0]);
    expect(handles("address-dependent")).toEqual([0, 0, 1, 0]);
    expect(handles("address-and-port-dependent")).toEqual([0, 1, 2, 0]);
    const heard = (udpFiltering: EngineConfig["udpFiltering"]): number[] => {
      const rig = exchange6({ udpFiltering });
      rig.send(udp6({}, 5000, 1, [1]));
      const { handle } = rig.network.datagrams[0];
      return [
        rig.arrive(handle, REMOTE, 1, [1]).length,
        rig.arrive(handle, REMOTE, 2, [1]).length,
        rig.arrive(handle, "2001:db8::2", 1, [1]).length,
      ];
    };
    expect(heard("endpoint-independent")).toEqual([1, 1, 1]);
    expect(heard("address-dependent")).toEqual([1, 1, 0]);
    expect(heard("address-and-port-dependent")).toEqual([1, 0, 0]);
  });

  it("N60 has as many mappings as it may, of both families together, and forgets them after a while", () => {
    const rig = exchange6({ maxUdpMappings: 2 });
    for (const from of [5000, 5001, 5002]) rig.send(udp6({}, from, 6000, [1]));
    expect(rig.core.usage().udp).toBe(2);
    expect(rig.core.counters.value("udp-mappings-evicted")).toBe(1);
    rig.exchange.pass(300_000);
    expect(rig.core.usage().udp).toBe(0);
    // A place that was IPv6's is good for IPv4, and the other way round.
    rig.exchange.exchange(udp({ destinationPort: 6000 }));
    expect(rig.network.datagrams.at(-1)?.words.slice(0, 3)).toEqual([0, 0, 0xffff]);
    rig.send(udp6({}, 5000, 6000, [1]));
    const { handle } = rig.network.datagrams[rig.network.datagrams.length - 1];
    expect(rig.arrive(handle, REMOTE, 6000, [1])).toHaveLength(1);
  });

  it("N30 is dropped without a checksum", () => {
    const rig = exchange6();
    rig.send(udp6({}, 5000, 6000, [1], 0));
    rig.send(udp6({}, 5000, 6000, [1], 0x1234));
    expect(rig.network.datagrams).toEqual([]);
    expect(rig.drops()).toEqual({ "udp-bad-checksum": 2 });
  });

  it("N36 comes in fragments when it is longer than the MTU, with an identification of its own each time", () => {
    const rig = exchange6();
    rig.send(udp6({}, 5000, 6000, [1]));
    const { handle } = rig.network.datagrams[0];
    const octets = Uint8Array.from({ length: 65_527 }, (_, i) => i * 7);
    const identifications = new Set<number>();
    for (let round = 0; round < 2; round++) {
      const fragments = rig.arrive(handle, REMOTE, 6000, octets);
      const whole = new Uint8Array(octets.length + 8);
      for (const [i, { next, payload }] of fragments.entries()) {
        expect([next, payload[0]]).toEqual([44, 17]);
        const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
        const bits = view.getUint16(2);
        expect(bits & 1).toBe(i < fragments.length - 1 ? 1 : 0);
        expect(payload.length + 40).toBeLessThanOrEqual(1500);
        identifications.add(view.getInt32(4));
        whole.set(payload.slice(8), bits & 0xfff8);
      }
      expect(whole.slice(8)).toEqual(octets);
      expect(checksum6(REMOTE, GUEST6, 17, [...whole])).toBe(0);
    }
    expect(identifications.size).toBe(2);
  });

  it("N36 is whole up to the MTU, and never in one fragment", () => {
    const rig = exchange6();
    rig.send(udp6({}, 5000, 6000, [1]));
    const { handle } = rig.network.datagrams[0];
    const kinds = (length: number) =>
      rig.arrive(handle, REMOTE, 6000, new Uint8Array(length)).map(({ next }) => next);
    expect(kinds(1452)).toEqual([17]);
    expect(kinds(1453)).toEqual([44, 44]);
  });
});

describe("a link with offload", () => {
  it("N37 is given TCP and UDP frames of IPv6 with a partial checksum, and TCP super-frames", () => {
    const rig = exchange6({}, {}, true);
    const partial = (frame: Uint8Array, checksumAt: number): void => {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
      const words = [
        ...octets6(REMOTE),
        ...octets6(GUEST6),
        0,
        0,
        (frame.length - 54) >>> 8,
        (frame.length - 54) & 255,
      ];
      let sum = frame[20];
      for (let i = 0; i < words.length; i += 2) sum += (words[i] << 8) | words[i + 1];
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      expect(view.getUint16(checksumAt)).toBe(sum);
    };
    const raw = (packet: Uint8Array): Uint8Array[] =>
      rig.exchange.exchange(frame6(packet, GATEWAY_MAC, GUEST_MAC));
    const [answer] = raw(tcp6({}, { from: 40_000, to: 80, sequence: 1000, flags: SYN, options: MSS_1440 }));
    partial(answer, 54 + 16);
    expect(rig.exchange.link.last).toEqual({
      flags: TX_CHECKSUM_PARTIAL | TX_IPV6,
      segmentSize: 0,
      transportOffset: 54,
    });
    const acknowledgment = (new DataView(answer.buffer).getInt32(58) + 1) | 0;
    raw(tcp6({}, { from: 40_000, to: 80, sequence: 1001, acknowledgment, flags: ACK }));
    rig.network.sockets[0].give(new Uint8Array(1440 * 6));
    const [whole] = rig.exchange.settle();
    partial(whole, 54 + 16);
    // As many segments as the first chunk read from the host has room for.
    expect(whole.length).toBe(74 + 1440 * 2);
    expect(rig.exchange.link.last).toMatchObject({
      flags: TX_CHECKSUM_PARTIAL | TX_TCP_SEGMENTS | TX_IPV6,
      segmentSize: 1440,
    });
    raw(udp6({}, 5000, 6000, [1]));
    rig.network.arriveFrom(rig.network.datagrams[0].handle, ip6(REMOTE), 6000, Uint8Array.of(1, 2));
    const [datagram] = rig.exchange.settle();
    partial(datagram, 54 + 6);
    expect(rig.exchange.link.last.flags).toBe(TX_CHECKSUM_PARTIAL | TX_IPV6);
  });
});

describe("forwards to the guest's IPv6", () => {
  const forward = (protocol: "tcp" | "udp"): Forward => ({
    protocol,
    hostAddress: 0x7f000001,
    hostPort: 8080,
    guestAddress: 0,
    guestAddress6: null,
    guestPort: 80,
  });
  /** The guest shows that it has this address. */
  const appear = (rig: ReturnType<typeof exchange6>, source: string): Packet6[] => {
    const payload = neighbourMessage(135, 0, ROUTER6, macOption(1, GUEST_MAC));
    return rig.send(icmp6({ source, destination: groupOf(ROUTER6), payload }));
  };
  const ofTcp = (packets: Packet6[]): Packet6[] => packets.filter(({ next }) => next === 6);
  const ofUdp = (packets: Packet6[]): Packet6[] => packets.filter(({ next }) => next === 17);

  it.each([
    ["2001:db8::77", "2001:db8::77"],
    ["::1", ROUTER6],
    ["fe80::9", ROUTER6],
    ["fd71:1ae0:d44d:2::9", ROUTER6],
    ["::ffff:198.51.100.7", ROUTER6],
  ])("N45 N63 a TCP client at %s is seen as %s", (client, seen) => {
    const rig = exchange6({ forwards: [forward("tcp")] });
    openForward(rig.core, 999);
    appear(rig, GUEST6);
    rig.network.call(0, ip6(client), 5000);
    const [syn] = ofTcp(rig.exchange.settle().map(parse));
    expect(syn).toMatchObject({ source: seen, destination: GUEST6, mac: GUEST_MAC });
    expect(tcpOf(syn)).toMatchObject({ from: 5000, to: 80, flags: SYN });
    expect(tcpOf(syn).options.slice(0, 4)).toEqual(MSS_1440);
  });

  it("N63 a client with an IPv6 address is the gateway to a guest of IPv4", () => {
    const { guestAddress6: _, ...forward4 } = forward("tcp");
    const exchange = new FrameExchange({ forwards: [forward4], guestMac: Uint8Array.from(GUEST_MAC) });
    openForward(exchange.core, 999);
    exchange.network.call(0, ip6("2001:db8::77"), 5000);
    const [frame] = exchange.settle();
    expect([...frame.slice(26, 30)]).toEqual([10, 0, 2, 2]);
  });

  it("N21 N64 clients wait for a guest that has shown no address, then go to the one that lasts", () => {
    const rig = exchange6({ forwards: [forward("tcp")] });
    openForward(rig.core, 999);
    rig.network.call(0, ip6("2001:db8::77"), 5000);
    expect(ofTcp(rig.exchange.settle().map(parse))).toEqual([]);
    appear(rig, "fe80::1");
    const [first] = ofTcp(appear(rig, "fd71:1ae0:d44d:2::aaaa"));
    expect(first).toMatchObject({ destination: "fd71:1ae0:d44d:2::aaaa" });
    // The EUI-64 address, once it is seen, and not the temporary one seen after it.
    appear(rig, "fd71:1ae0:d44d:2:5054:ff:fe12:3456");
    appear(rig, "fd71:1ae0:d44d:2:1234:5678:9abc:def0");
    rig.network.call(0, ip6("2001:db8::77"), 5001);
    const [second] = ofTcp(rig.exchange.settle().map(parse));
    expect(second).toMatchObject({ destination: "fd71:1ae0:d44d:2:5054:ff:fe12:3456" });
  });

  it("N62 clients of a forward that may be either go to IPv4 until the guest has shown an address of IPv6", () => {
    const rig = exchange6({ forwards: [{ ...forward("tcp"), eitherFamily: true }] });
    openForward(rig.core, 999);
    // The guest is known over IPv4.
    rig.exchange.exchange(udp({ to: 0xc6336407 | 0, destinationPort: 9 }));
    rig.network.call(0, ip6("2001:db8::77"), 5000);
    const [over4] = rig.exchange.settle();
    expect([...over4.slice(12, 14), ...over4.slice(26, 34)]).toEqual([8, 0, 10, 0, 2, 2, 10, 0, 2, 15]);
    appear(rig, GUEST6);
    rig.network.call(0, ip6("2001:db8::77"), 5001);
    const [over6] = ofTcp(rig.exchange.settle().map(parse));
    expect(over6).toMatchObject({ source: "2001:db8::77", destination: GUEST6 });
  });

  it("N62 clients that the guest refuses over IPv6 are let in over IPv4, where the forward may be either", () => {
    const both = { ...forward("tcp"), eitherFamily: true };
    for (const forwards of [[both], [forward("tcp")]]) {
      const rig = exchange6({ forwards });
      openForward(rig.core, 999);
      rig.exchange.exchange(udp({ to: 0xc6336407 | 0, destinationPort: 9 }));
      appear(rig, GUEST6);
      rig.network.call(0, ip6("2001:db8::77"), 5000);
      const [over6] = ofTcp(rig.exchange.settle().map(parse));
      const { sequence } = tcpOf(over6);
      const refusal = { from: 80, to: 5000, sequence: 0, acknowledgment: sequence + 1, flags: RST | ACK };
      const frames = rig.exchange.exchange(
        frame6(tcp6({ destination: "2001:db8::77" }, refusal), GATEWAY_MAC, GUEST_MAC),
      );
      const [{ state }] = rig.network.sockets.slice(-1);
      if (forwards[0] !== both) {
        expect([frames, state, rig.core.usage().tcp]).toEqual([[], "reset", 0]);
        continue;
      }
      expect(frames).toHaveLength(1);
      const over4 = asTcp(frames[0]);
      expect(over4).toMatchObject({ sourcePort: 5000, destinationPort: 80, flags: SYN });
      const ends = { to: GATEWAY, sourcePort: 80, destinationPort: 5000 };
      const acknowledgment = over4.sequence + 1;
      rig.exchange.exchange(tcp({ ...ends, sequence: 700, acknowledgment, flags: SYN | ACK }));
      rig.network.sockets.at(-1)?.give(Uint8Array.of(1, 2, 3));
      const [data] = rig.exchange.settle();
      expect([...asTcp(data).payload]).toEqual([1, 2, 3]);
      expect(rig.core.flows(0)).toMatchObject([
        { guest: "10.0.2.15:80", remote: "10.0.2.2:5000", target: "[2001:db8::77]:5000" },
        {},
      ]);
      expect([state, rig.core.usage().tcp]).toEqual(["open", 1]);
    }
  });

  it("N62 clients over IPv6 go to a guest that has IPv4 alone", () => {
    const forwards = [{ ...forward("tcp"), eitherFamily: true }];
    const exchange = new FrameExchange({ forwards, guestMac: Uint8Array.from(GUEST_MAC) });
    openForward(exchange.core, 999);
    exchange.network.call(0, ip6("2001:db8::77"), 5000);
    const [frame] = exchange.settle();
    expect([...frame.slice(26, 34)]).toEqual([10, 0, 2, 2, 10, 0, 2, 15]);
  });

  it("N21 a guest that only listens is known by its duplicate address probe, and asked for", () => {
    const rig = exchange6({ forwards: [forward("tcp")] });
    openForward(rig.core, 999);
    const probe = neighbourMessage(135, 0, GUEST6);
    expect(rig.send(icmp6({ source: "::", destination: groupOf(GUEST6), payload: probe }))).toEqual([]);
    rig.network.call(0, ip6("2001:db8::77"), 5000);
    const [solicitation] = rig.exchange.settle().map(parse);
    expect(solicitation).toMatchObject({ destination: groupOf(GUEST6), next: 58 });
    const payload = neighbourMessage(136, 0x60, GUEST6, macOption(2, GUEST_MAC));
    expect(ofTcp(rig.send(icmp6({ destination: "fe80::2", payload })))).toMatchObject([
      { destination: GUEST6 },
    ]);
  });

  it("N64 sends the SYN to an address that is configured as soon as the guest is there", () => {
    const rig = exchange6({ forwards: [forward("tcp")] }, { guestAddress: ip6(GUEST6) });
    openForward(rig.core, 999);
    rig.network.call(0, ip6("2001:db8::77"), 5000);
    const [solicitation] = rig.exchange.settle().map(parse);
    expect(solicitation).toMatchObject({ destination: groupOf(GUEST6), next: 58 });
    const [syn] = ofTcp(appear(rig, GUEST6));
    expect(tcpOf(syn)).toMatchObject({ to: 80, flags: SYN });
  });

  it("UDP goes there and back, to every client its answers", () => {
    const rig = exchange6({ forwards: [forward("udp")] });
    const handle = rig.network.udpForward(0);
    openForward(rig.core, handle);
    appear(rig, GUEST6);
    const [one] = ofUdp(rig.arrive(handle, "2001:db8::77", 5000, [1]));
    const [loop] = ofUdp(rig.arrive(handle, "::1", 5000, [2]));
    const [local] = ofUdp(rig.arrive(handle, "fe80::9", 5000, [3]));
    expect([one, loop, local].map(({ source }) => source)).toEqual(["2001:db8::77", ROUTER6, ROUTER6]);
    // Two clients that look alike have different ports.
    expect(udpOf(loop).from).not.toBe(udpOf(local).from);
    for (const { source, payload } of [one, loop, local]) {
      const from = udpOf({ payload } as Packet6).from;
      rig.send(udp6({ destination: source }, 80, from, [payload[8]]));
    }
    expect(rig.network.datagrams.map(({ words, port, octets }) => [words, port, octets[0]])).toEqual([
      [ip6("2001:db8::77"), 5000, 1],
      [ip6("::1"), 5000, 2],
      [ip6("fe80::9"), 5000, 3],
    ]);
    expect(rig.core.usage().udp).toBe(3);
  });
});

describe("policy over IPv6", () => {
  const NOWHERE: readonly (readonly [string, string])[] = [
    ["::1", "destination-refused"],
    ["fe80::1", "destination-refused"],
    ["ff02::fb", "destination-refused"],
    ["100::1", "destination-refused"],
    ["64:ff9b::7f00:1", "destination-refused"],
    ["fd00:ec2::254", "destination-refused"],
    ["fd71:1ae0:d44d:2::99", "destination-no-service"],
    [ROUTER6, "destination-no-service"],
    ["::ffff:127.0.0.1", "ipv6-mapped-address"],
  ];

  it.each(NOWHERE)("N39 N40 N41 N42 lets nothing reach %s", (destination, reason) => {
    const rig = exchange6();
    rig.send(udp6({ destination }, 5000, 6000, [1]));
    rig.send(tcp6({ destination }, { from: 40_000, to: 80, sequence: 1, flags: SYN }));
    expect(rig.network.datagrams).toEqual([]);
    expect(rig.network.sockets).toEqual([]);
    expect(rig.drops()).toEqual({ [reason]: 2 });
  });

  it("leads to other machines of a prefix that is really there, and shows the guest their addresses", () => {
    const guestAddress = [...ip6(GUEST6)] as [number, number, number, number];
    const rig = exchange6({}, { shared: true, guestAddress });
    const machine = "fd71:1ae0:d44d:2::99";
    const payload = neighbourMessage(135, 0, machine, macOption(1, GUEST_MAC));
    const [answer] = rig.send(icmp6({ destination: groupOf(machine), payload }));
    expect(answer).toMatchObject({ destination: GUEST6, mac: GUEST_MAC });
    rig.send(udp6({ destination: machine }, 5000, 6000, [1]));
    const [{ words, handle }] = rig.network.datagrams;
    expect(words).toEqual(ip6(machine));
    expect(rig.arrive(handle, machine, 6000, [1])).toMatchObject([{ source: machine }]);
    for (const ours of [ROUTER6, GUEST6]) rig.send(udp6({ destination: ours }, 5000, 6000, [1]));
    expect(rig.drops()["destination-no-service"]).toBe(2);
  });

  it("leads from the router's address to the host's ::1 where that is allowed", () => {
    const rig = exchange6({ allowHostLoopback: true });
    rig.send(tcp6({ destination: ROUTER6 }, { from: 40_000, to: 80, sequence: 1, flags: SYN }));
    rig.send(udp6({ destination: ROUTER6 }, 5000, 6000, [1]));
    expect(rig.network.sockets[0].to).toEqual([0, 0, 0, 1]);
    const [{ words, handle }] = rig.network.datagrams;
    expect(words).toEqual([0, 0, 0, 1]);
    expect(rig.arrive(handle, "::1", 6000, [1])).toMatchObject([{ source: ROUTER6 }]);
  });

  it("N42 opens metadata services where link-local addresses are allowed, and never those themselves", () => {
    const rig = exchange6({ allowLinkLocal: true });
    rig.send(udp6({ destination: "fd00:ec2::254" }, 5000, 80, [1]));
    rig.send(udp6({ destination: "fe80::1" }, 5000, 80, [1]));
    expect(rig.network.datagrams).toHaveLength(1);
  });

  it("N43 lets nothing out under restrict", () => {
    const rig = exchange6({ restrict: true });
    rig.send(udp6({}, 5000, 6000, [1]));
    const answers = rig.send(tcp6({}, { from: 40_000, to: 80, sequence: 1, flags: SYN }));
    expect(answers.map(tcpOf)).toMatchObject([{ flags: RST | ACK }]);
    expect(rig.drops()).toEqual({ "destination-restricted": 2 });
  });

  it("N38 lets a link-local source have DHCPv6 and nothing else", () => {
    const rig = exchange6({}, { dhcp: null });
    for (const port of [547, 6000]) rig.send(udp6({ source: "fe80::1" }, 546, port, [1]));
    expect(rig.network.datagrams).toEqual([]);
    expect(rig.drops()).toEqual({ "dhcp6-not-ours": 1, "ipv6-spoofed-source": 1 });
  });
});

describe("services over IPv6", () => {
  /** A query for the address of a host, under this id. */
  const query = (id: number): number[] => [
    ...[id >>> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ...[1, 0x78, 0, 0, 1, 0, 1],
  ];

  it("N61 answers DNS at the resolver's address of either family, the same port and id not confused", () => {
    const rig = exchange6({ resolvers: [{ words: [0, 0, 0xffff, 0x01010101], port: 53, scope: 0 }] });
    rig.send(udp6({ destination: DNS6 }, 5000, 53, query(7)));
    rig.send(udp6({ destination: DNS6, source: "fd71:1ae0:d44d:2::16" }, 5000, 53, query(7)));
    expect(rig.network.datagrams).toHaveLength(1);
    const { handle, octets } = rig.network.datagrams[0];
    const answer = octets.slice();
    answer[2] |= 0x80;
    rig.network.arriveFrom(handle, [0, 0, 0xffff, 0x01010101], 53, answer);
    const answers = rig.exchange.settle().map(parse);
    expect(answers.map(({ source, destination }) => [source, destination])).toEqual(
      expect.arrayContaining([
        [DNS6, GUEST6],
        [DNS6, "fd71:1ae0:d44d:2::16"],
      ]),
    );
    expect(answers.map((one) => udpOf(one))).toMatchObject([
      { from: 53, to: 5000 },
      { from: 53, to: 5000 },
    ]);
    expect(answers.map((one) => udpOf(one).data.slice(0, 2))).toEqual([
      [0, 7],
      [0, 7],
    ]);
  });

  it("N61 takes DNS over TCP at that address", () => {
    const rig = exchange6();
    const syn = { from: 40_000, to: 53, sequence: 1000, flags: SYN };
    expect(rig.send(tcp6({ destination: DNS6 }, syn)).map(tcpOf)).toMatchObject([{ flags: SYN | ACK }]);
    expect(rig.network.sockets).toEqual([]);
    expect(rig.core.flows(0)).toMatchObject([{ remote: `[${DNS6}]:53`, target: `[${DNS6}]:53` }]);
  });

  it("refuses a query to a resolver the guest may not reach, in its name", () => {
    const rig = exchange6({ restrict: true });
    const [answer] = rig.send(udp6({ destination: REMOTE }, 5000, 53, query(9)));
    expect(answer).toMatchObject({ source: REMOTE, destination: GUEST6 });
    expect(udpOf(answer).data[3] & 15).toBe(5);
  });

  it("N47 leases an address by DHCPv6, which the guest then may use and forwards go to", () => {
    const rig = exchange6();
    const duid = [0, 3, 0, 1, ...GUEST_MAC];
    const message = [
      ...[1, 0, 0, 1],
      ...[0, 1, 0, duid.length, ...duid],
      ...[0, 14, 0, 0],
      ...[0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    const [reply] = rig.send(udp6({ source: "fe80::1", destination: "ff02::1:2" }, 546, 547, message));
    expect(reply).toMatchObject({ source: "fe80::2", destination: "fe80::1", mac: GUEST_MAC });
    const { data, to } = udpOf(reply);
    expect([to, data[0]]).toEqual([546, 7]);
    const leased = octets6(GUEST6).join();
    expect(data.join()).toContain(leased);
    expect(rig.core.counters.value("dhcp6-replies")).toBe(1);
  });
});

describe("guest forwards over IPv6", () => {
  const SERVICE6 = "fd71:1ae0:d44d:2::100";
  const target = { kind: "tcp", host: 0x7f000001, port: 7777 } as const;
  const guestForwards = [
    { address: 0x0a000264, port: 7, target },
    { address: 0, address6: ip6(SERVICE6), port: 7, target },
  ];
  const synTo = (destination: string, to = 7): Uint8Array =>
    tcp6({ destination }, { from: 40_000, to, sequence: 1000, flags: SYN, options: MSS_1440 });

  it("serves the address and port, also under restrict, and nothing else of the address", () => {
    for (const restrict of [false, true]) {
      const rig = exchange6({ guestForwards, restrict });
      expect(rig.send(synTo(SERVICE6)).map(tcpOf)).toMatchObject([{ from: 7, to: 40_000, flags: SYN | ACK }]);
      // Its number among the guest forwards.
      expect(rig.network.sockets.map(({ port }) => port)).toEqual([1]);
      expect(rig.core.flows(0)).toMatchObject([{ remote: `[${SERVICE6}]:7`, target: `[${SERVICE6}]:7` }]);
      expect(rig.send(synTo(SERVICE6, 8)).map(tcpOf)).toMatchObject([{ flags: RST | ACK }]);
    }
  });

  it("is no address of IPv4, and 0.0.0.0 none of IPv6", () => {
    const rig = exchange6({ guestForwards });
    rig.exchange.exchange(tcp({ to: 0, destinationPort: 7, sequence: 1000, flags: SYN }));
    expect(rig.network.sockets).toEqual([]);
  });

  it("N12 answers solicitations for it", () => {
    const rig = exchange6({ guestForwards });
    const payload = neighbourMessage(135, 0, SERVICE6, macOption(1, GUEST_MAC));
    const [answer] = rig.send(icmp6({ destination: groupOf(SERVICE6), payload }));
    expect(answer).toMatchObject({ source: SERVICE6, next: 58 });
    expect(answer.payload[0]).toBe(136);
  });
});

describe("a guest that is not known", () => {
  it("N19 is asked for when something is for it", () => {
    const rig = exchange6();
    rig.send(udp6({}, 5000, 6000, [1]));
    const { handle } = rig.network.datagrams[0];
    // Inventions push the guest's address out of the table.
    for (let n = 0; n < 200; n++) {
      const mac = [2, 0, 0, 0, 0, n];
      const packet = packet6({ source: `fd71:1ae0:d44d:2::1:${n.toString(16)}`, next: 59, payload: [0] });
      rig.exchange.exchange(frame6(packet, GATEWAY_MAC, mac));
    }
    const [solicitation] = rig.arrive(handle, REMOTE, 6000, [1]);
    expect(solicitation).toMatchObject({ source: "fe80::2", destination: groupOf(GUEST6), hopLimit: 255 });
    expect(solicitation.payload[0]).toBe(135);
    expect(rig.drops()).toMatchObject({ "inbound-no-guest": 1 });
    const payload = neighbourMessage(136, 0x60, GUEST6, macOption(2, GUEST_MAC));
    rig.send(icmp6({ destination: "fe80::2", payload }));
    expect(rig.arrive(handle, REMOTE, 6000, [2]).map((one) => udpOf(one).data)).toEqual([[2]]);
  });
});
