/** The fixed part of DHCP's messages, to the octet. */
import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as dhcp from "../../../src/engine/wire/dhcp.ts";
import { ip } from "../../support/frames.ts";

const AT = 7;
/** Of op, hardware type and length, hops. */
const REQUEST = [1, 1, 6, 0];
const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/** A request at AT, of `length` octets, in which each field's octets tell where they are. */
function request(length = 300): Uint8Array {
  const octets = Uint8Array.from({ length: AT + length }, (_, i) => i);
  octets.set(REQUEST, AT);
  octets.set(MAC, AT + 28);
  if (length >= 240) octets.set([0x63, 0x82, 0x53, 0x63], AT + 236);
  return octets;
}
const viewOf = (octets: Uint8Array): DataView => new DataView(octets.buffer);
const check = (octets: Uint8Array, length = 300): string =>
  DROP_REASONS[dhcp.checkDhcpRequest(viewOf(octets), AT, length)];

describe("a request", () => {
  it("is read by place", () => {
    const view = viewOf(request());
    expect(dhcp.flags(view, AT)).toBe(((AT + 10) << 8) | (AT + 11));
    expect(dhcp.ciaddr(view, AT)).toBe(ip([12, 13, 14, 15].map((at) => AT + at).join(".")));
    expect(dhcp.giaddr(view, AT)).toBe(ip([24, 25, 26, 27].map((at) => AT + at).join(".")));
    expect([dhcp.CHADDR, dhcp.SNAME, dhcp.FILE, dhcp.COOKIE, dhcp.OPTIONS]).toEqual([28, 44, 108, 236, 240]);
  });

  it("has options behind a cookie, which must be there whole", () => {
    const octets = request();
    expect(dhcp.hasCookie(viewOf(octets), AT, 240)).toBe(true);
    expect(dhcp.hasCookie(viewOf(octets), AT, 239)).toBe(false);
    for (let i = 0; i < 4; i++)
      expect(dhcp.hasCookie(viewOf(octets.with(AT + 236 + i, 0)), AT, 240)).toBe(false);
    // Nothing is read of a message that ends before it.
    expect(dhcp.hasCookie(viewOf(request(236)), AT, 236)).toBe(false);
  });

  it("is taken from 236 octets on", () => {
    expect(check(request())).toBe("handled");
    expect(check(request(236), 236)).toBe("handled");
    expect(check(request(), 235)).toBe("dhcp-malformed");
    expect(check(request().slice(0, AT), 0)).toBe("dhcp-malformed");
  });

  it.each([
    ["a reply", 0, [2]],
    ["no operation", 0, [0]],
    ["other hardware", 1, [6]],
    ["an address of 0 octets", 2, [0]],
    ["an address of 16 octets", 2, [16]],
    ["a group address", 28, [0x53]],
    ["the broadcast address", 28, [255, 255, 255, 255, 255, 255]],
    ["no address at all", 28, [0, 0, 0, 0, 0, 0]],
  ])("is refused with %s", (_name, at, octets) => {
    const message = request();
    message.set(octets, AT + at);
    expect(check(message)).toBe("dhcp-malformed");
  });

  it.each([
    ["top", [0x52, 0x54, 0, 0, 0, 0]],
    ["end", [0, 0, 0, 0, 0, 1]],
  ])("is taken with an address of which only the %s is not zero", (_name, mac) => {
    const message = request();
    message.set(mac, AT + 28);
    expect(check(message)).toBe("handled");
  });
});

describe("a reply", () => {
  it("has what it must have of its request, and nothing else", () => {
    const octets = new Uint8Array(310);
    const to = 4;
    dhcp.writeReplyHeader(viewOf(octets), to, viewOf(request()), AT);
    const expected = new Uint8Array(310);
    expected.set([2, 1, 6], to);
    expected.set([AT + 4, AT + 5, AT + 6, AT + 7], to + 4);
    expected.set([AT + 10, AT + 11], to + 10);
    expected.set([0x63, 0x82, 0x53, 0x63], to + 236);
    expect(octets).toEqual(expected);
  });

  it("has addresses by place", () => {
    const octets = new Uint8Array(40);
    const view = viewOf(octets);
    dhcp.setCiaddr(view, 4, 0x01020304);
    dhcp.setYiaddr(view, 4, 0x05060708);
    dhcp.setSiaddr(view, 4, 0x090a0b0c);
    expect([...octets.slice(4)]).toEqual([
      ...new Array<number>(12).fill(0),
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
      ...new Array<number>(12).fill(0),
    ]);
  });
});
