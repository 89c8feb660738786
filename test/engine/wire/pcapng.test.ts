/** What is written as pcapng is what our own reader takes; Wireshark's: test/e2e/pcap-command.test.ts. */
import { expect, it } from "vitest";
import { readCapture } from "../../../src/engine/wire/pcap.ts";
import {
  FROM_GUEST,
  PACKET_OCTETS_AT,
  packetBlockOctets,
  STATISTICS_OCTETS,
  TO_GUEST,
  writeFileHead,
  writeName,
  writePacketBlock,
  writeStatistics,
} from "../../../src/engine/wire/pcapng.ts";

const MICROSECONDS = 1_700_000_000_123_456;

it("is read again, whatever the lengths of octets, names and comments", () => {
  const view = new DataView(new ArrayBuffer(65_536));
  const octets = new Uint8Array(view.buffer);
  // Where nothing is written nothing may be left: padding is zeros.
  octets.fill(0xee);
  let at = writeFileHead(view, 0, "sluice", "tap tap0", 1000);
  const frames: Uint8Array[] = [];
  for (let length = 0; length < 40; length++) {
    const frame = Uint8Array.from({ length }, (_, i) => i + length);
    const comment = "c".repeat(length % 7);
    octets.set(frame, at + PACKET_OCTETS_AT);
    writePacketBlock(view, at, MICROSECONDS, length, length + 5, length % 2 ? FROM_GUEST : TO_GUEST, comment);
    at += packetBlockOctets(length, comment.length);
    at += writeName(view, at, [0, 0, 0xffff, 0x0a000202], length % 2 === 0, "n".repeat(length));
    frames.push(frame);
  }
  writeStatistics(view, at, MICROSECONDS, 50, 10);
  at += STATISTICS_OCTETS;
  const read = [...readCapture(octets.subarray(0, at))];
  expect(read.map(({ octets: found }) => found)).toEqual(frames);
  expect(read.map(({ originalLength }) => originalLength)).toEqual(frames.map(({ length }) => length + 5));
  expect(read.every(({ time }) => Math.round(time * 1e6) === MICROSECONDS)).toBe(true);
});
