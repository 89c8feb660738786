import { endianness } from "node:os";
import { expect, it } from "vitest";
import {
  VNET_GSO_ECN,
  VNET_GSO_TCPV4,
  VNET_HEADER_OCTETS,
  VNET_NEEDS_CSUM,
  vnetChecksumOffset,
  vnetChecksumStart,
  vnetFlags,
  vnetGsoSize,
  vnetGsoType,
  vnetHeaderLength,
  writeVnetHeader,
} from "../../../src/engine/wire/virtio-net.ts";

/** As read from a TAP: a 65,160-octet TCP segment with timestamps (66 octets of headers) in pieces of 1448. */
const FROM_LINUX = [1, 1, 0x42, 0, 0xa8, 5, 0x22, 0, 0x10, 0];

it("reads what Linux writes", () => {
  const octets = Uint8Array.of(0xff, ...FROM_LINUX);
  // Fields of two octets are the host's; the recording is a little-endian host's.
  if (endianness() === "BE") for (let i = 3; i < octets.length; i += 2) octets.subarray(i, i + 2).reverse();
  const view = new DataView(octets.buffer);
  expect(vnetFlags(view, 1)).toBe(VNET_NEEDS_CSUM);
  expect(vnetGsoType(view, 1)).toBe(VNET_GSO_TCPV4);
  expect(vnetHeaderLength(view, 1)).toBe(66);
  expect(vnetGsoSize(view, 1)).toBe(1448);
  expect(vnetChecksumStart(view, 1)).toBe(34);
  expect(vnetChecksumOffset(view, 1)).toBe(16);
});

it("writes what it reads, and nothing beside it", () => {
  const octets = new Uint8Array(VNET_HEADER_OCTETS + 2).fill(0xee);
  const view = new DataView(octets.buffer);
  writeVnetHeader(view, 1, 1, 5, 42, 1472, 34, 6);
  expect([vnetFlags(view, 1), vnetGsoType(view, 1), vnetHeaderLength(view, 1)]).toEqual([1, 5, 42]);
  expect([vnetGsoSize(view, 1), vnetChecksumStart(view, 1), vnetChecksumOffset(view, 1)]).toEqual([
    1472, 34, 6,
  ]);
  expect([octets[0], octets[11]]).toEqual([0xee, 0xee]);
});

it("sees the type beside the ECN bit", () => {
  const view = new DataView(new ArrayBuffer(VNET_HEADER_OCTETS));
  view.setUint8(1, VNET_GSO_TCPV4 | VNET_GSO_ECN);
  expect(vnetGsoType(view, 0)).toBe(VNET_GSO_TCPV4);
});
