import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as arp from "../../../src/engine/wire/arp.ts";
import { ip } from "../../support/frames.ts";
import { recordedGuest } from "../../support/recorded-guest.ts";

const ETHERNET = 14;
const packets = recordedGuest()
  .filter(({ octets }) => octets[12] === 0x08 && octets[13] === 0x06)
  .map(({ octets }) => octets.slice(ETHERNET));

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

describe("ARP codec", () => {
  it("reads the recorded request and libslirp's reply", () => {
    const [request, reply] = packets.map(viewOf);
    expect(arp.checkArp(request, 0, request.byteLength)).toBe(0);
    expect(arp.operation(request, 0)).toBe(arp.REQUEST);
    expect(arp.senderMacHigh(request, 0)).toBe(0x5254);
    expect(arp.senderMacLow(request, 0)).toBe(0x00123456);
    expect(arp.senderAddress(request, 0)).toBe(ip("10.0.2.15"));
    expect(arp.targetAddress(request, 0)).toBe(ip("10.0.2.2"));
    expect(arp.checkArp(reply, 0, reply.byteLength)).toBe(0);
    expect(arp.operation(reply, 0)).toBe(arp.REPLY);
    expect(arp.targetMacHigh(reply, 0)).toBe(0x5254);
    expect(arp.targetMacLow(reply, 0)).toBe(0x00123456);
  });

  it("writes what was recorded, octet for octet", () => {
    const written = new Uint8Array(arp.ARP_OCTETS + 3);
    const view = viewOf(written);
    arp.writeArp(view, 3, arp.REQUEST);
    arp.writeSender(view, 3, 0x5254, 0x00123456, ip("10.0.2.15"));
    arp.writeTarget(view, 3, 0, 0, ip("10.0.2.2"));
    expect(written.slice(3)).toEqual(packets[0].slice(0, arp.ARP_OCTETS));
  });

  it("refuses a packet cut at any octet", () => {
    const view = viewOf(packets[0]);
    for (let length = 0; length < arp.ARP_OCTETS; length++) {
      expect(DROP_REASONS[arp.checkArp(view, 0, length)]).toBe("arp-malformed");
    }
  });

  it.each([
    ["hardware type", arp.HARDWARE_TYPE, [0, 6]],
    ["protocol type", arp.PROTOCOL_TYPE, [0x86, 0xdd]],
    ["hardware length 0", arp.HARDWARE_LENGTH, [0]],
    ["hardware length 255", arp.HARDWARE_LENGTH, [255]],
    ["protocol length 5", arp.PROTOCOL_LENGTH, [5]],
    ["operation 0", arp.OPERATION, [0, 0]],
    ["operation 3 (RARP)", arp.OPERATION, [0, 3]],
  ])("refuses a wrong %s", (_name, at, octets) => {
    const packet = packets[0].slice();
    packet.set(octets, at);
    expect(DROP_REASONS[arp.checkArp(viewOf(packet), 0, packet.length)]).toBe("arp-malformed");
  });
});
