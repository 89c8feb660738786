/** Whose a frame is, from its first octets. */
import { expect, it } from "vitest";
import { formatAddress } from "../../../src/engine/wire/address-text.ts";
import { FrameEnds } from "../../../src/engine/wire/frame-ends.ts";

/** An IPv4 header with a UDP header's ports behind `optionWords` of options. */
function udp4(optionWords = 0, fragment = 0): Uint8Array {
  const octets = new Uint8Array(14 + 20 + optionWords * 4 + 8);
  const view = new DataView(octets.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45 + optionWords);
  view.setUint16(20, fragment);
  view.setUint8(23, 17);
  view.setUint32(26, 0x0a00020f);
  view.setUint32(30, 0xcb007107);
  view.setUint16(34 + optionWords * 4, 5000);
  view.setUint16(36 + optionWords * 4, 53);
  return octets;
}

function udp6(): Uint8Array {
  const octets = new Uint8Array(14 + 40 + 8);
  const view = new DataView(octets.buffer);
  view.setUint16(12, 0x86dd);
  view.setUint8(14, 0x60);
  view.setUint8(20, 17);
  view.setUint32(22, 0xfd000000);
  view.setUint32(34, 0x15);
  view.setUint32(38, 0x20010db8);
  view.setUint32(50, 7);
  view.setUint16(54, 5000);
  view.setUint16(56, 53);
  return octets;
}

function endsOf(frame: Uint8Array, fromGuest = true, octets = frame.length) {
  const ends = new FrameEnds();
  ends.read(new DataView(frame.buffer), 0, octets, fromGuest);
  const { protocol, words, guestPort, remotePort } = ends;
  if (protocol < 0) return null;
  return [protocol, formatAddress(words), guestPort, formatAddress(words, 4), remotePort];
}

it.each([0, 3, 10])("reads IPv4 with %i words of options", (words) => {
  expect(endsOf(udp4(words))).toEqual([17, "10.0.2.15", 5000, "203.0.113.7", 53]);
  expect(endsOf(udp4(words), false)).toEqual([17, "203.0.113.7", 53, "10.0.2.15", 5000]);
});

it("reads IPv6 both ways", () => {
  expect(endsOf(udp6())).toEqual([17, "fd00::15", 5000, "2001:db8::7", 53]);
  expect(endsOf(udp6(), false)).toEqual([17, "2001:db8::7", 53, "fd00::15", 5000]);
});

it("finds no ports in a later fragment, nor behind the end, and nothing where there is no header", () => {
  expect(endsOf(udp4(0, 185))).toEqual([17, "10.0.2.15", -1, "203.0.113.7", -1]);
  expect(endsOf(udp4(), true, 37)).toEqual([17, "10.0.2.15", -1, "203.0.113.7", -1]);
  expect(endsOf(udp6(), true, 57)).toEqual([17, "fd00::15", -1, "2001:db8::7", -1]);
  for (let octets = 0; octets < 34; octets++) expect(endsOf(udp4(), true, octets)).toBeNull();
  for (let octets = 0; octets < 54; octets++) expect(endsOf(udp6(), true, octets)).toBeNull();
  expect(endsOf(new Uint8Array(60))).toBeNull();
});
