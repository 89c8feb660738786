/** TCP, UDP and what speaks over it at our addresses, frame by frame: RFC 8200 section 8, 9293, 768, 6437. */
import { describe, expect, it } from "vitest";
import {
  DNS6,
  GATEWAY_MAC,
  describe as inWords,
  MAC,
  outcome,
  REMOTE,
  rig6,
  SENT,
  SYN,
  syn,
} from "../../support/conformance6.ts";
import { checksum6, frame6, GUEST6, ip6, packet6, ROUTER6, tcp6, udp6 } from "../../support/frames6.ts";

const UDP = 17;
const TCP = 6;
const [RST, ACK] = [4, 16];

/** A UDP packet with this length field, of these octets in all, its checksum right for what the field says. */
function udpOfLength(length: number, octets: number, destination = REMOTE): Uint8Array {
  const datagram = [
    0x13,
    0x88,
    0x17,
    0x70,
    length >>> 8,
    length & 255,
    0,
    0,
    ...Array.from({ length: octets - 8 }, (_, i) => i + 1),
  ];
  const pseudo = checksum6(GUEST6, destination, UDP, datagram.slice(0, Math.max(length, 8)));
  return packet6({ destination, next: UDP, payload: datagram.with(6, pseudo >>> 8).with(7, pseudo & 255) });
}

describe("RFC 8200 section 8.1, UDP", () => {
  it.each<[string, Uint8Array, string]>([
    ["a right checksum", udp6({}, 5000, 6000, [1, 2]), SENT],
    ["none: dropped (8.1)", udp6({}, 5000, 6000, [1, 2], 0), "udp-bad-checksum"],
    ["a wrong one", udp6({}, 5000, 6000, [1, 2], 0x1234), "udp-bad-checksum"],
    ["no payload", udp6({}, 5000, 6000, []), `UDP to [${REMOTE}]:6000 `.trimEnd()],
    ["a length beyond the packet's (RFC 768)", udpOfLength(12, 10), "udp-malformed"],
    ["a length under 8", udpOfLength(7, 10), "udp-malformed"],
    ["a length of 0, a jumbogram's (RFC 2675)", udpOfLength(0, 10), "udp-malformed"],
    [
      "fewer than 8 octets",
      packet6({ next: UDP, payload: [0x13, 0x88, 0x17, 0x70, 0, 7, 0] }),
      "udp-malformed",
    ],
    ["from port 0", udp6({}, 0, 6000, [1]), "udp-port-zero"],
    ["to port 0", udp6({}, 5000, 0, [1]), "udp-port-zero"],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet).trimEnd()).toBe(expected);
  });

  it("octets behind its length are not the datagram's", () => {
    expect(outcome(udpOfLength(10, 14))).toBe(SENT);
  });

  it("a sum of zero is sent to the guest as all ones", () => {
    const { send, exchange } = rig6();
    send(udp6({}, 5000, 6000, [1]));
    const [{ handle }] = exchange.network.datagrams;
    const header = [0x17, 0x70, 0x13, 0x88, 0, 10, 0, 0];
    const need = checksum6(REMOTE, GUEST6, UDP, [...header, 0, 0]);
    exchange.network.arriveFrom(handle, ip6(REMOTE), 6000, Uint8Array.of(need >>> 8, need & 255));
    const [frame] = exchange.settle();
    expect([frame[60], frame[61]]).toEqual([0xff, 0xff]);
  });

  it("65,527 octets go both ways", () => {
    const { sendAll, exchange } = rig6();
    const data = Array.from({ length: 65_527 }, (_, i) => i & 255);
    // The length field of a datagram of 65,535 octets is full.
    const whole = [...udp6({}, 5000, 6000, data).slice(40)];
    const pieces: Uint8Array[] = [];
    for (let from = 0; from < whole.length; from += 1440) {
      const more = from + 1440 < whole.length ? 1 : 0;
      const header = [UDP, 0, from >>> 8, (from & 0xf8) | more, 0, 0, 0, 1];
      pieces.push(packet6({ next: 44, payload: [...header, ...whole.slice(from, from + 1440)] }));
    }
    sendAll(...pieces);
    expect(exchange.network.datagrams[0].octets).toEqual(Uint8Array.from(data));
    const { handle } = exchange.network.datagrams[0];
    exchange.network.arriveFrom(handle, ip6(REMOTE), 6000, Uint8Array.from(data));
    const frames = exchange.settle();
    const octets = frames.reduce((sum, frame) => sum + frame.length - 62, 0);
    expect(octets).toBe(65_535);
  });
});

/** A TCP packet with octets of the segment changed and its checksum made right again. */
function segment(change: (octets: number[]) => number[], flags = SYN, destination = REMOTE): Uint8Array {
  const octets = change([...tcp6({ destination }, { from: 40_000, to: 80, sequence: 1, flags }).slice(40)]);
  if (octets.length < 18) return packet6({ destination, next: TCP, payload: octets });
  const sum = checksum6(GUEST6, destination, TCP, octets.with(16, 0).with(17, 0));
  return packet6({ destination, next: TCP, payload: octets.with(16, sum >>> 8).with(17, sum & 255) });
}

const SYN_ACK = `TCP to [${REMOTE}]:80; TCP SYN-ACK ${REMOTE} > ${GUEST6}`;

describe("RFC 9293 over IPv6", () => {
  it.each<[string, Uint8Array, string]>([
    ["a SYN", syn(), SYN_ACK],
    ["a wrong checksum", syn().with(40 + 17, 0x55), "tcp-bad-checksum"],
    [
      "no checksum",
      syn()
        .with(40 + 16, 0)
        .with(40 + 17, 0),
      "tcp-bad-checksum",
    ],
    ["a header length under 5", segment((octets) => octets.with(12, 0x40)), "tcp-malformed"],
    ["a header longer than the segment", segment((octets) => octets.with(12, 0xf0)), "tcp-malformed"],
    ["19 octets", segment((octets) => octets.slice(0, 19)), "tcp-malformed"],
    ["from port 0", segment((octets) => octets.with(0, 0).with(1, 0)), "tcp-port-zero"],
    ["to port 0", segment((octets) => octets.with(2, 0).with(3, 0)), "tcp-port-zero"],
    [
      "an ACK of no connection: reset",
      segment((octets) => octets, ACK),
      `tcp-no-connection; TCP RST ${REMOTE} > ${GUEST6}`,
    ],
    ["a RST of no connection: silence", segment((octets) => octets, RST), "tcp-no-connection"],
    [
      "an ACK to a group: silence (3.9.2.3)",
      segment((octets) => octets, ACK, "ff02::1"),
      "destination-refused",
    ],
    ["a SYN to the router", syn(ROUTER6), `destination-no-service; TCP RST-ACK ${ROUTER6} > ${GUEST6}`],
    [
      "a SYN to the resolver, port 53",
      tcp6({ destination: DNS6 }, { from: 40_000, to: 53, sequence: 1, flags: SYN }),
      `TCP SYN-ACK ${DNS6} > ${GUEST6}`,
    ],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });

  it("one flow has one label, which is not 0 (RFC 6437 section 3), and hop limit 64", () => {
    const { exchange } = rig6();
    const { replies } = exchange.send(frame6(syn(), GATEWAY_MAC, MAC));
    // The SYN-ACK, and again when nobody acknowledges it.
    const frames = [...replies, ...exchange.pass(1000), ...exchange.pass(2000)];
    const labels = frames.map((frame) => (frame[15] & 15) * 65_536 + frame[16] * 256 + frame[17]);
    expect(frames.map(inWords)).toEqual(new Array(3).fill(`TCP SYN-ACK ${REMOTE} > ${GUEST6}`));
    expect([new Set(labels).size, labels.includes(0)]).toEqual([1, false]);
    expect(new Set(frames.map((frame) => frame[21]))).toEqual(new Set([64]));
  });
});

describe("our addresses over UDP", () => {
  const query = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x78, 0, 0, 28, 0, 1];

  it("the resolver answers from the address that was asked", () => {
    const { send, exchange } = rig6({ resolvers: [{ words: ip6("2001:db8::53"), port: 53, scope: 0 }] });
    expect(send(udp6({ destination: DNS6 }, 5000, 53, query))).toMatch(/^UDP to \[2001:db8::53\]:53 /);
    const [{ handle, octets }] = exchange.network.datagrams;
    exchange.network.arriveFrom(handle, ip6("2001:db8::53"), 53, octets.with(2, 0x81));
    expect(exchange.settle().map(inWords)).toEqual([`UDP ${DNS6} > ${GUEST6} 53 > 5000`]);
  });

  it.each([
    ["the router, a port nobody has", ROUTER6, 9],
    ["the router, port 53", ROUTER6, 53],
    ["the resolver, another port", DNS6, 54],
  ])("%s: no service, no ICMPv6", (_name, destination, port) => {
    expect(outcome(udp6({ destination }, 5000, port, [1, 2, 3]))).toBe("destination-no-service");
  });
});
