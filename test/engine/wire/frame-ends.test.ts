/** Whose a frame is, from its first octets. */
import { describe, expect, it } from "vitest";
import { formatAddress } from "../../../src/engine/wire/address-text.ts";
import { FRAME_ENDS_OCTETS, FrameEnds } from "../../../src/engine/wire/frame-ends.ts";

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

describe("a frame that stands anywhere, by a reader that has read others", () => {
  const ends = new FrameEnds();
  /** The frame between octets that would be ports if they were read. */
  function read(frame: Uint8Array, fromGuest = true, octets = frame.length) {
    const all = Uint8Array.of(...new Array<number>(7).fill(0x45), ...frame, ...new Array<number>(9).fill(1));
    ends.read(new DataView(all.buffer), 7, octets, fromGuest);
    const { protocol, isIpv4, words, guestPort, remotePort } = ends;
    if (protocol < 0) return [guestPort, remotePort];
    return [protocol, isIpv4, formatAddress(words), guestPort, formatAddress(words, 4), remotePort];
  }

  it("is read as one that stands by itself", () => {
    for (let i = 0; i < 2; i++) {
      expect(read(udp4())).toEqual([17, true, "10.0.2.15", 5000, "203.0.113.7", 53]);
      expect(read(udp6())).toEqual([17, false, "fd00::15", 5000, "2001:db8::7", 53]);
      expect(read(udp4(), false)).toEqual([17, true, "203.0.113.7", 53, "10.0.2.15", 5000]);
      // Neither ports nor a header are left from before.
      expect(read(udp4(0, 1))).toEqual([17, true, "10.0.2.15", -1, "203.0.113.7", -1]);
      expect(read(udp4(), true, 13)).toEqual([-1, -1]);
    }
  });

  it("has ports of TCP and UDP up to its last octet, and of nothing else", () => {
    expect(read(udp4().with(23, 6)).slice(0, 4)).toEqual([6, true, "10.0.2.15", 5000]);
    expect(read(udp4().with(23, 1)).slice(0, 4)).toEqual([1, true, "10.0.2.15", -1]);
    expect(read(udp4(), true, 38)[3]).toBe(5000);
    expect(read(udp4(), true, 37)[3]).toBe(-1);
    expect(read(udp4(), true, 34)[0]).toBe(17);
    expect(read(udp6().with(20, 58)).slice(0, 4)).toEqual([58, false, "fd00::15", -1]);
    expect(read(udp6(), true, 58)[3]).toBe(5000);
    expect(read(udp6(), true, 57)[3]).toBe(-1);
    expect(read(udp6(), true, 54)[0]).toBe(17);
    // The first of fragments has them, whatever its flags are.
    expect(read(udp4(0, 0xe000))[3]).toBe(5000);
    expect(read(udp4(0, 0x1000))[3]).toBe(-1);
  });

  it("is of no version that its type does not say", () => {
    expect(read(udp4().with(14, 0x65))).toEqual([-1, -1]);
    expect(read(udp6().with(14, 0x45))).toEqual([-1, -1]);
    expect(read(udp4().with(13, 6))).toEqual([-1, -1]);
    expect(read(udp6().with(12, 0x88))).toEqual([-1, -1]);
  });

  it("tells all there is to tell in its first octets", () => {
    expect(read(udp4(10), true, FRAME_ENDS_OCTETS)[3]).toBe(5000);
    expect(read(udp4(10), true, FRAME_ENDS_OCTETS - 1)[3]).toBe(-1);
    // Nothing is read of what is not there.
    ends.read(new DataView(new ArrayBuffer(7)), 7, 0, true);
    expect(ends.protocol).toBe(-1);
  });
});
