/** What IPv6 leaves as it was: the sizes of a path, whatever the guest forges, and all of IPv4. */
import { describe, expect, it } from "vitest";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type EngineConfig,
  type Ipv6Config,
} from "../../src/engine/config.ts";
import { asTcp, GATEWAY_MAC, GUEST_MAC, tcp, udp } from "../hostile/guest-packets.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import { ip } from "../support/frames.ts";
import { frame6, GUEST6, groupOf, icmp6, neighbourMessage, packet6, tcp6, udp6 } from "../support/frames6.ts";

const [SYN, ACK] = [2, 16];
const REMOTE = ip("198.51.100.7");
const MSS_1440 = [2, 4, 0x05, 0xa0];

const ipv6 = (over: Partial<Ipv6Config> = {}): Ipv6Config => ({
  ...defaultIpv6Config(defaultEngineConfig().gatewayMac),
  ...over,
});
const frameOf = (packet: Uint8Array): Uint8Array => frame6(packet, [...GATEWAY_MAC], [...GUEST_MAC]);
const isIpv6 = (frame: Uint8Array): boolean => frame[12] === 0x86 && frame[13] === 0xdd;

describe("a forged Packet Too Big", () => {
  it("N65 is dropped, and makes no segment smaller", () => {
    const exchange = new FrameExchange({ ipv6: ipv6() });
    exchange.settle();
    const send = (packet: Uint8Array): Uint8Array[] => exchange.exchange(frameOf(packet));
    const [answer] = send(tcp6({}, { from: 40_000, to: 80, sequence: 1000, flags: SYN, options: MSS_1440 }));
    const sequence = new DataView(answer.buffer, answer.byteOffset).getInt32(14 + 40 + 4);
    const established = {
      from: 40_000,
      to: 80,
      sequence: 1001,
      acknowledgment: (sequence + 1) | 0,
      flags: ACK,
    };
    send(tcp6({}, established));
    // Type 2, an MTU of 1280, and the packet it is about (RFC 4443 section 3.2).
    const about = [
      ...packet6({ source: "2001:db8::1", destination: GUEST6, next: 6, payload: new Array(20).fill(0) }),
    ];
    for (const destination of ["fe80::2", "2001:db8::1", GUEST6]) {
      send(icmp6({ source: GUEST6, destination, payload: [2, 0, 0, 0, 0, 0, 5, 0, ...about] }));
    }
    expect(exchange.core.counters.snapshot().drops).toEqual({ icmpv6: 3 });
    exchange.network.sockets[0].give(new Uint8Array(1440));
    const lengths = exchange.settle().map((frame) => frame.length - 14 - 40 - 20);
    expect(lengths).toEqual([1440]);
  });
});

/** Frames of IPv6 that a hostile guest sends between two of IPv4. */
function flood(round: number): Uint8Array[] {
  const address = (n: number): string => `fd71:1ae0:d44d:2::1:${(round * 8 + n).toString(16)}`;
  return [0, 1, 2, 3].flatMap((n) => [
    frameOf(
      icmp6({
        source: "::",
        destination: groupOf(address(n)),
        payload: neighbourMessage(135, 0, address(n)),
      }),
    ),
    frameOf(udp6({ source: address(n) }, 5000 + n, 6000, [n])),
    frameOf(tcp6({ source: address(n) }, { from: 40_000 + n, to: 80, sequence: 1, flags: SYN })),
    frameOf(
      packet6({ source: address(n), next: 44, payload: [17, 0, 0, 1, 0, 0, 0, n, 1, 2, 3, 4, 5, 6, 7, 8] }),
    ),
  ]);
}

/** A TCP connection and a few datagrams over IPv4; every frame the guest gets of that family, and what left the host. */
function conversation(config: Partial<EngineConfig>, between: (round: number) => Uint8Array[] = () => []) {
  const exchange = new FrameExchange(config);
  const frames: Uint8Array[] = exchange.settle();
  const step = (frame: Uint8Array, round: number): Uint8Array[] => {
    for (const other of between(round)) frames.push(...exchange.exchange(other));
    const got = exchange.exchange(frame);
    frames.push(...got);
    return got;
  };
  const ends = { to: REMOTE, sourcePort: 41_000, destinationPort: 443 };
  const [synAck] = step(tcp({ ...ends, sequence: 1000, flags: SYN, options: { mss: 1460 } }), 0).filter(
    (frame) => !isIpv6(frame),
  );
  const acknowledgment = (asTcp(synAck).sequence + 1) >>> 0;
  step(tcp({ ...ends, sequence: 1001, acknowledgment, flags: ACK, payload: new Uint8Array(100).fill(7) }), 1);
  const socket = exchange.network.sockets.find(({ port }) => port === 443);
  socket?.give(new Uint8Array(5000).fill(9));
  frames.push(...exchange.settle());
  for (let round = 2; round < 20; round++) {
    step(udp({ to: REMOTE, sourcePort: 5353, destinationPort: 9, payload: Uint8Array.of(round) }), round);
  }
  frames.push(...exchange.pass(2000));
  const sent = exchange.network.datagrams.filter(({ port }) => port === 9);
  return {
    frames: frames.filter((frame) => !isIpv6(frame)).map((frame) => Buffer.from(frame).toString("hex")),
    received: Buffer.from(socket?.octets ?? []).toString("hex"),
    sent: sent.map(({ address, port, octets }) => [address, port, octets[0]]),
  };
}

describe("IPv4", () => {
  it("N68 is the same octet for octet with IPv6 off, on and under flood", () => {
    const without = conversation({});
    expect(without.frames.length).toBeGreaterThan(4);
    expect(without.sent).toHaveLength(18);
    for (const defaultRouter of ["auto", "on"] as const) {
      expect(conversation({ ipv6: ipv6({ defaultRouter }) })).toEqual(without);
    }
    expect(conversation({ ipv6: ipv6() }, flood)).toEqual(without);
  });

  it("N68 keeps its mappings where those of IPv6 fill the table", () => {
    const config = { ipv6: ipv6(), maxUdpMappings: 16 };
    const exchange = new FrameExchange(config);
    exchange.exchange(udp({ to: REMOTE, sourcePort: 5353, destinationPort: 9 }));
    const { handle } = exchange.network.datagrams[0];
    const answered = (): Uint8Array[] => {
      exchange.network.arrive(handle, REMOTE, 9, Uint8Array.of(1));
      return exchange.settle().filter((frame) => !isIpv6(frame));
    };
    expect(answered()).toHaveLength(1);
    for (let port = 6000; port < 6100; port++) exchange.exchange(frameOf(udp6({}, port, 7000, [1])));
    expect(answered()).toHaveLength(1);
  });
});
