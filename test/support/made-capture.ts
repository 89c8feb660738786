/** A capture file made by a test. */
import { writeFileSync } from "node:fs";
import { writePcapFileHeader, writePcapPacketHeader } from "../../src/engine/wire/pcap.ts";

/** Writes `frames` to `path`; `seconds[i]` is when frame i was seen. Returns the path. */
export function writeCapture(
  path: string,
  frames: readonly Uint8Array[],
  seconds: readonly number[],
): string {
  const octets = new Uint8Array(24 + frames.reduce((sum, frame) => sum + 16 + frame.length, 0));
  const view = new DataView(octets.buffer);
  writePcapFileHeader(view, 0);
  let at = 24;
  frames.forEach((frame, i) => {
    const whole = Math.floor(seconds[i]);
    writePcapPacketHeader(view, at, whole, Math.round((seconds[i] - whole) * 1e6), frame.length);
    octets.set(frame, at + 16);
    at += 16 + frame.length;
  });
  writeFileSync(path, octets);
  return path;
}
