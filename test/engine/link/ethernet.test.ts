/** Whose frames are taken, and which layer each goes to. */
import { describe, expect, it } from "vitest";
import { Ethernet, SILENT_IPV4 } from "../../../src/engine/link/ethernet.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const BROADCAST = [255, 255, 255, 255, 255, 255];
const [IPV4, ARP, IPV6] = [0x0800, 0x0806, 0x86dd];
const AT = 64;

function setUp(guestMac: readonly number[] | undefined = undefined, hasIpv6 = true) {
  const octets = new Uint8Array(256);
  const taken: string[] = [];
  const packet = new Packet();
  /** Notes where the layer's packet lies; each returns another number. */
  const layer = (name: string, result: number) => ({
    packet: ({ networkAt, networkOctets, sourceHigh, sourceLow }: Packet) => {
      taken.push(
        `${name} ${networkAt}+${networkOctets} ${sourceHigh.toString(16)} ${sourceLow.toString(16)}`,
      );
      return result;
    },
  });
  const ethernet = new Ethernet({
    view: new DataView(octets.buffer),
    egress: wayOut().egress,
    guestMac: guestMac && Uint8Array.from(guestMac),
    arp: layer("arp", 1001),
    ipv4: layer("ipv4", 1002),
    ipv6: hasIpv6 ? layer("ipv6", 1003) : null,
  });
  /** A layer's name with what it saw, or why the frame went no further. */
  const frame = (to: readonly number[], from: readonly number[], type: number, length = 60) => {
    octets.fill(0);
    octets.set([...to, ...from, type >>> 8, type & 255], AT);
    Object.assign(packet, { frameAt: AT, frameOctets: length });
    const result = ethernet.frame(packet);
    return taken.shift()?.concat(` -> ${result}`) ?? DROP_REASONS[result];
  };
  return { frame };
}

const OURS = [...GATEWAY_MAC];

describe("a frame", () => {
  it.each([
    [IPV4, "ipv4 78+46 5254 123456 -> 1002"],
    [ARP, "arp 78+46 5254 123456 -> 1001"],
    [IPV6, "ipv6 78+46 5254 123456 -> 1003"],
    [0x8100, "ethernet-unknown-type"],
    [0, "ethernet-unknown-type"],
  ])("of type %i goes to its layer, whose word is the last", (type, result) => {
    expect(setUp().frame(OURS, GUEST_MAC, type)).toBe(result);
  });

  it("of IPv6 is dropped where the link carries IPv4 alone", () => {
    expect(setUp(undefined, false).frame(OURS, GUEST_MAC, IPV6)).toBe("ipv6-off");
  });

  it("of IPv4 is dropped where the link carries IPv6 alone", () => {
    expect(DROP_REASONS[SILENT_IPV4.packet(new Packet())]).toBe("ipv4-off");
  });

  it.each([
    [0, "frame-truncated"],
    [13, "frame-truncated"],
    [14, "ipv4 78+0 5254 123456 -> 1002"],
  ])("of %i octets: %s", (length, result) => {
    expect(setUp().frame(OURS, GUEST_MAC, IPV4, length)).toBe(result);
  });

  it.each([
    ["ours", OURS, true],
    ["everybody's", BROADCAST, true],
    ["a group's", [0x33, 0x33, 0, 0, 0, 1], true],
    ["another station's by its first octets", OURS.with(1, 0x57), false],
    ["another station's by its last octets", OURS.with(5, 3), false],
  ])("to %s address", (_name, to, isTaken) => {
    const result = setUp().frame(to, GUEST_MAC, IPV4);
    expect(result).toBe(isTaken ? "ipv4 78+46 5254 123456 -> 1002" : "ethernet-not-for-us");
  });

  it.each([
    ["a group", GUEST_MAC.with(0, 0x53)],
    ["everybody", BROADCAST],
  ])("from %s is dropped", (_name, from) => {
    expect(setUp().frame(OURS, from, IPV4)).toBe("ethernet-bad-source");
  });

  it("from any station is taken where none is declared", () => {
    expect(setUp().frame(OURS, [2, 0, 0, 0, 0, 9], IPV4)).toBe("ipv4 78+46 200 9 -> 1002");
  });

  it.each([
    ["the declared station", GUEST_MAC, true],
    ["one that differs in its first octets", GUEST_MAC.with(0, 0x56), false],
    ["one that differs in its last octets", GUEST_MAC.with(5, 0x57), false],
  ])("from %s, where one is declared", (_name, from, isTaken) => {
    const result = setUp(GUEST_MAC).frame(OURS, from, IPV4);
    expect(result).toBe(isTaken ? "ipv4 78+46 5254 123456 -> 1002" : "ethernet-bad-source");
  });

  it("from the declared station is taken whatever its address starts with", () => {
    const low = [0, 0, 0, 0x12, 0x34, 0x56];
    expect(setUp(low).frame(OURS, low, IPV4)).toBe("ipv4 78+46 0 123456 -> 1002");
    expect(setUp(low).frame(OURS, GUEST_MAC, IPV4)).toBe("ethernet-bad-source");
  });
});
