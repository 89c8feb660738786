import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { macForGateway } from "../../../src/engine/config.ts";
import { ARP_FRAME_OCTETS, ArpResponder } from "../../../src/engine/link/arp.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as arp from "../../../src/engine/wire/arp.ts";
import { ip } from "../../support/frames.ts";
import { recordedGuest } from "../../support/recorded-guest.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";

const GATEWAY = ip("10.0.2.2");
const DNS = ip("10.0.2.3");
const SERVICE = ip("10.0.2.100");
const GUEST = ip("10.0.2.15");
const REPLY_AT = 512;

function setUp() {
  const octets = new Uint8Array(1024);
  const view = new DataView(octets.buffer);
  const neighbours = new Neighbours();
  const responder = new ArpResponder({
    view,
    neighbours,
    ownAddresses: [GATEWAY, DNS, SERVICE],
    gatewayMac: macForGateway(GATEWAY),
    network: ip("10.0.2.0"),
    netmask: ip("255.255.255.0"),
  });
  const handle = (packet: Uint8Array): number => {
    octets.set(packet, 14);
    return responder.handle(14, packet.length, REPLY_AT);
  };
  const reply = (length: number): Uint8Array => octets.slice(REPLY_AT, REPLY_AT + length);
  return { octets, neighbours, responder, handle, reply };
}

function packet(operation: number, sender: number, target: number, macHigh = 0x5254, macLow = 0x00123456) {
  const octets = new Uint8Array(arp.ARP_OCTETS);
  const view = new DataView(octets.buffer);
  arp.writeArp(view, 0, operation);
  arp.writeSender(view, 0, macHigh, macLow, sender);
  arp.writeTarget(view, 0, 0, 0, target);
  return octets;
}

describe("ARP responder", () => {
  it("answers the recorded guest as libslirp did, octet for octet", () => {
    const { handle, reply, neighbours } = setUp();
    const [request, answer] = recordedGuest()
      .filter(({ octets }) => octets[12] === 0x08 && octets[13] === 0x06)
      .map(({ octets }) => octets);
    expect(handle(request.slice(14))).toBe(ARP_FRAME_OCTETS);
    // libslirp pads its frame to 64 octets.
    expect(reply(ARP_FRAME_OCTETS)).toEqual(answer.slice(0, ARP_FRAME_OCTETS));
    expect(neighbours.macLow[neighbours.find(GUEST)]).toBe(0x00123456);
  });

  it.each([
    ["gateway", GATEWAY],
    ["DNS", DNS],
    ["guestfwd", SERVICE],
  ])("answers for the %s address with the gateway's MAC", (_name, address) => {
    const { handle, reply } = setUp();
    expect(handle(packet(arp.REQUEST, GUEST, address))).toBe(ARP_FRAME_OCTETS);
    const view = new DataView(reply(ARP_FRAME_OCTETS).buffer);
    expect(arp.senderAddress(view, 14)).toBe(address);
    expect(arp.senderMacHigh(view, 14)).toBe(0x5255);
    expect(arp.senderMacLow(view, 14)).toBe(GATEWAY);
  });

  it("is silent about the guest's own and any other address, and learns who asked", () => {
    const { handle, neighbours } = setUp();
    for (const target of [ip("10.0.2.16"), ip("10.0.2.255"), ip("192.0.2.1"), 0]) {
      expect(DROP_REASONS[-handle(packet(arp.REQUEST, GUEST, target))]).toBe("arp-not-ours");
    }
    expect(neighbours.find(GUEST)).toBeGreaterThanOrEqual(0);
  });

  it("answers a probe for one of our addresses without learning, and leaves one for the guest's alone", () => {
    const { handle, neighbours, reply } = setUp();
    expect(handle(packet(arp.REQUEST, 0, GATEWAY))).toBe(ARP_FRAME_OCTETS);
    const view = new DataView(reply(ARP_FRAME_OCTETS).buffer);
    expect(arp.targetAddress(view, 14)).toBe(0);
    expect(DROP_REASONS[-handle(packet(arp.REQUEST, 0, GUEST))]).toBe("arp-not-ours");
    expect(neighbours.size).toBe(0);
  });

  it("learns from announcements, as request and as reply, without an answer", () => {
    const { handle, neighbours } = setUp();
    expect(handle(packet(arp.REQUEST, GUEST, GUEST))).toBe(0);
    expect(neighbours.macLow[neighbours.find(GUEST)]).toBe(0x00123456);
    expect(handle(packet(arp.REPLY, GUEST, GUEST, 0x5254, 99))).toBe(0);
    expect(neighbours.macLow[neighbours.find(GUEST)]).toBe(99);
  });

  it("never believes a sender that claims our address, and tells it of the conflict", () => {
    const { handle, neighbours } = setUp();
    expect(handle(packet(arp.REQUEST, GATEWAY, GATEWAY))).toBe(ARP_FRAME_OCTETS);
    expect(handle(packet(arp.REPLY, GATEWAY, GUEST))).toBe(0);
    expect(neighbours.size).toBe(0);
  });

  it("does not learn senders outside the guest's network", () => {
    const { handle, neighbours } = setUp();
    expect(handle(packet(arp.REQUEST, ip("192.0.2.9"), GATEWAY))).toBe(ARP_FRAME_OCTETS);
    expect(neighbours.size).toBe(0);
  });

  it.each([
    ["group", 0x0100, 1],
    ["broadcast", 0xffff, -1],
    ["zero", 0, 0],
  ])("refuses a %s sender MAC", (_name, high, low) => {
    const { handle, neighbours } = setUp();
    expect(DROP_REASONS[-handle(packet(arp.REQUEST, GUEST, GATEWAY, high, low))]).toBe("arp-malformed");
    expect(neighbours.size).toBe(0);
  });

  it("asks for a guest by broadcast, as tshark reads it", (context) => {
    needs(context, { commands: ["tshark"] });
    const { octets, responder, handle, reply } = setUp();
    const request = octets.slice(256, 256 + responder.request(256, GUEST));
    const answer = reply(handle(packet(arp.REQUEST, GUEST, DNS)));
    const fields = [
      "eth.dst",
      "eth.src",
      "arp.opcode",
      "arp.src.proto_ipv4",
      "arp.dst.proto_ipv4",
      "arp.dst.hw_mac",
    ];
    const [asked, answered] = readWithTshark([request, answer], fields);
    expect(asked).toEqual({
      fields: {
        "eth.src": ["52:55:0a:00:02:02"],
        "arp.opcode": ["1"],
        "arp.src.proto_ipv4": ["10.0.2.2"],
        "arp.dst.proto_ipv4": ["10.0.2.15"],
        "arp.dst.hw_mac": ["00:00:00:00:00:00"],
        "eth.dst": ["ff:ff:ff:ff:ff:ff"],
      },
      complaints: [],
    });
    expect(answered.fields["arp.src.proto_ipv4"]).toEqual(["10.0.2.3"]);
    expect(answered.fields["eth.dst"]).toEqual(["52:54:00:12:34:56"]);
    expect(answered.complaints).toEqual([]);
  });

  it("takes any octets without throwing, and writes nothing but whole replies", () => {
    const { octets, handle, neighbours } = setUp();
    const any = fc.uint8Array({ minLength: 0, maxLength: 64 });
    const nearly = fc
      .tuple(
        fc.constantFrom(0, 1, 2),
        fc.integer(),
        fc.constantFrom(GATEWAY, GUEST, 0),
        fc.nat(27),
        fc.nat(255),
      )
      .map(([operation, sender, target, at, octet]) => packet(operation, sender, target).with(at, octet));
    fc.assert(
      fc.property(fc.oneof(any, nearly), (input) => {
        octets.fill(0xee, REPLY_AT);
        const result = handle(input);
        expect(result === 0 || result === ARP_FRAME_OCTETS || -result < DROP_REASONS.length).toBe(true);
        expect(octets.subarray(REPLY_AT + Math.max(0, result)).every((octet) => octet === 0xee)).toBe(true);
        expect(neighbours.size).toBeLessThanOrEqual(neighbours.capacity);
      }),
      { numRuns: 2000 },
    );
  });
});
