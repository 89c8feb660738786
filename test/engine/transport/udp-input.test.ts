/** A datagram of the guest, checked, and who takes it: a service of the gateway, or the mappings to the world. */
import { describe, expect, it } from "vitest";
import { Arena } from "../../../src/engine/memory/arena.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { UdpInput } from "../../../src/engine/transport/udp/input.ts";
import type { Udp } from "../../../src/engine/transport/udp/udp.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { buildUdp } from "../../sim/guest-stack/codec.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("192.0.2.1");
const GATEWAY = ip("10.0.2.2");
const GUEST6 = ip6("2001:db8:1:2:3:4:5:6");
const REMOTE6 = ip6("2001:db8:a:b:c:d:e:f");
const GATEWAY6 = ip6("fe80::1:2:3:4");
const arena = new Arena();
const NETWORK_AT = arena.scratchAt;
const FULL = dropReason("udp-mappings-full");
const OTHER = dropReason("flow-table-full");

interface Sent {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly octets?: number;
  readonly checksum?: "full" | "none";
  readonly guest?: number;
  readonly remote?: number;
  readonly remote6?: readonly [number, number, number, number];
  readonly verify?: boolean;
  readonly reassembled?: boolean;
  /** Octets behind the IP header that are none of the datagram's. */
  readonly padding?: number;
  /** Changes what is on the wire. */
  readonly spoil?: (octets: Buffer) => void;
}

class Rig {
  /** What was asked, and with what in hand. */
  readonly calls: unknown[][] = [];
  /** How the way to the world goes, and what who answers queries makes of that. */
  result = HANDLED;
  dropped = OTHER;
  readonly input: UdpInput;

  constructor() {
    const call = (name: string, result: () => number) => (packet: Packet, reason?: number) => {
      const { guestPort, remotePort, payloadAt, payloadOctets } = packet;
      const numbers = [guestPort, remotePort, payloadAt, payloadOctets];
      this.calls.push([name, ...numbers, ...(reason === undefined ? [] : [reason])]);
      return result();
    };
    const service = (name: string) => ({ datagram: call(name, () => HANDLED) });
    const udp = {
      ...{ datagram: call("out", () => this.result), datagram6: call("out6", () => this.result) },
      endOfBatch: () => this.calls.push(["endOfBatch"]),
    } as unknown as Udp;
    this.input = new UdpInput(
      arena.view,
      new JavaScriptChecksum(arena.view),
      udp,
      [
        { address: GATEWAY, port: 67, service: service("dhcp") },
        { address: GATEWAY, port: 53, service: service("dns") },
      ],
      [
        { address: GATEWAY6, port: 547, service: service("dhcp6") },
        { address: GATEWAY6, port: 53, service: service("dns6") },
      ],
      { dropped: call("query", () => this.dropped) },
    );
  }

  private packet(sent: Sent, isIpv6: boolean): Packet {
    const { guest = GUEST, remote = REMOTE, remote6 = REMOTE6, octets = 20, checksum = "full" } = sent;
    const payload = Buffer.alloc(octets, 7);
    const { sourcePort = 4000, destinationPort = 80, padding = 0, verify = true, reassembled = false } = sent;
    const [source, destination] = isIpv6 ? [GUEST6, remote6] : [guest, remote];
    const datagram = buildUdp({ sourcePort, destinationPort, payload }, source, destination, checksum);
    sent.spoil?.(datagram);
    const transportAt = NETWORK_AT + (isIpv6 ? 40 : 20);
    arena.octets.set(datagram, transportAt);
    const packet = Object.assign(new Packet(), {
      ...{
        networkAt: NETWORK_AT,
        transportAt,
        transportOctets: datagram.length + padding,
        verify,
        reassembled,
      },
      ...{ guestAddress: guest, remoteAddress: remote, ipOctets: isIpv6 ? 40 : 20 },
    });
    packet.pair.set([...GUEST6, ...remote6]);
    return packet;
  }

  /** What becomes of it, and what was asked. */
  send(sent: Sent = {}): unknown[] {
    const result = this.input.packet(this.packet(sent, false));
    return [DROP_REASONS[result], ...this.calls.splice(0)];
  }

  send6(sent: Sent = {}, source = GUEST6): unknown[] {
    const packet = this.packet(sent, true);
    for (let word = 0; word < 4; word++) arena.view.setInt32(NETWORK_AT + 8 + 4 * word, source[word] ?? 0);
    return [DROP_REASONS[this.input.packet6(packet)], ...this.calls.splice(0)];
  }
}

const PAYLOAD_AT = NETWORK_AT + 28;
const PAYLOAD_AT_6 = NETWORK_AT + 48;

describe("a datagram", () => {
  it("goes to the world with its ports and its payload, however the link pads it", () => {
    const rig = new Rig();
    for (const padding of [0, 9]) {
      expect(rig.send({ padding })).toEqual(["handled", ["out", 4000, 80, PAYLOAD_AT, 20]]);
      expect(rig.send6({ padding })).toEqual(["handled", ["out6", 4000, 80, PAYLOAD_AT_6, 20]]);
    }
    expect(rig.send({ octets: 0 })).toEqual(["handled", ["out", 4000, 80, PAYLOAD_AT, 0]]);
  });

  it.each([
    ["shorter than a header", 7],
    ["longer than its packet", 29],
  ])("whose length is %s is dropped", (_what, length) => {
    const rig = new Rig();
    const spoil = (octets: Buffer): void => void octets.writeUInt16BE(length, 4);
    expect([rig.send({ spoil }), rig.send6({ spoil })]).toEqual([["udp-malformed"], ["udp-malformed"]]);
  });

  const spoiled: Sent = { spoil: (octets) => octets.writeUInt16BE(octets.readUInt16BE(6) ^ 1, 6) };

  it("with a bad checksum is dropped, unless the link vouches for it", () => {
    const rig = new Rig();
    expect([rig.send(spoiled), rig.send6(spoiled)]).toEqual([["udp-bad-checksum"], ["udp-bad-checksum"]]);
    expect(rig.send({ ...spoiled, verify: false })).toHaveLength(2);
    expect(rig.send6({ ...spoiled, verify: false })).toHaveLength(2);
  });

  it("without a checksum goes over IPv4, and never over IPv6", () => {
    const rig = new Rig();
    for (const verify of [true, false]) {
      expect(rig.send({ checksum: "none", verify })).toHaveLength(2);
      expect(rig.send6({ checksum: "none", verify })).toEqual(["udp-bad-checksum"]);
    }
  });

  it.each([
    [{ sourcePort: 0 }, false],
    [{ destinationPort: 0 }, false],
    [{ sourcePort: 1, destinationPort: 65_535 }, true],
  ])("of ports %j goes: %s", (ports, goes) => {
    const rig = new Rig();
    expect(rig.send(ports)[0]).toBe(goes ? "handled" : "udp-port-zero");
    expect(rig.send6(ports)[0]).toBe(goes ? "handled" : "udp-port-zero");
  });

  it("for a service's address and port is the service's", () => {
    const rig = new Rig();
    const names = (sent: Sent): unknown[] =>
      [rig.send(sent)[1], rig.send6(sent)[1]].map((call) => (call as string[])[0]);
    const gateway: Sent = { remote: GATEWAY, remote6: GATEWAY6 };
    expect(names({ ...gateway, destinationPort: 53 })).toEqual(["dns", "dns6"]);
    expect(names({ ...gateway, destinationPort: 54 })).toEqual(["out", "out6"]);
    expect(names({ destinationPort: 53 })).toEqual(["out", "out6"]);
    expect(rig.send({ ...gateway, destinationPort: 67 })).toEqual([
      "handled",
      ["dhcp", 4000, 67, PAYLOAD_AT, 20],
    ]);
    expect(rig.send6({ ...gateway, destinationPort: 547 })).toEqual([
      ...["handled", ["dhcp6", 4000, 547, PAYLOAD_AT_6, 20]],
    ]);
  });

  it.each([0, 1, 2, 3])("is no service's of IPv6 whose address differs in word %i", (word) => {
    const rig = new Rig();
    const remote6: [number, number, number, number] = [...GATEWAY6];
    remote6[word] ^= 1;
    expect(rig.send6({ remote6, destinationPort: 53 })[1]).toEqual(["out6", 4000, 53, PAYLOAD_AT_6, 20]);
  });

  it("of a guest without an address goes to services alone", () => {
    const rig = new Rig();
    expect(rig.send({ guest: 0 })).toEqual(["dhcp-not-ours"]);
    expect(rig.send({ guest: 0, remote: GATEWAY, destinationPort: 67 })).toHaveLength(2);
  });

  it("of a link-local address to a DHCPv6 server is ours or nobody's", () => {
    const rig = new Rig();
    const local = ip6("fe80::5");
    expect(rig.send6({ destinationPort: 547 }, local)).toEqual(["dhcp6-not-ours"]);
    expect(rig.send6({ destinationPort: 548 }, local)).toHaveLength(2);
    expect(rig.send6({ destinationPort: 547 })).toHaveLength(2);
  });

  it("that was put together of fragments leaves before the next one is", () => {
    const rig = new Rig();
    const [out, out6] = [
      ["out", 4000, 80, PAYLOAD_AT, 20],
      ["out6", 4000, 80, PAYLOAD_AT_6, 20],
    ];
    expect(rig.send({ reassembled: true })).toEqual(["handled", out, ["endOfBatch"]]);
    expect(rig.send6({ reassembled: true })).toEqual(["handled", out6, ["endOfBatch"]]);
  });

  it("to another resolver that did not go out may be answered by who is told of it", () => {
    const rig = new Rig();
    rig.result = FULL;
    expect([rig.send(), rig.send6()].map(([name]) => name)).toEqual([
      "udp-mappings-full",
      "udp-mappings-full",
    ]);
    const query: Sent = { destinationPort: 53 };
    expect(rig.send(query)).toEqual([
      ...["flow-table-full", ["out", 4000, 53, PAYLOAD_AT, 20], ["query", 4000, 53, PAYLOAD_AT, 20, FULL]],
    ]);
    expect(rig.send6(query)[2]).toEqual(["query", 4000, 53, PAYLOAD_AT_6, 20, FULL]);
    rig.result = HANDLED;
    expect(rig.send(query)).toHaveLength(2);
  });
});
