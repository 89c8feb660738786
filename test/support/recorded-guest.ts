/** The recorded boot of a Linux guest behind libslirp (test/fixtures), frame by frame. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readCapture } from "../../src/engine/wire/pcap.ts";
import { packageRoot } from "../../src/host/native/native-loader.ts";

/** From the package's root: this file may have been compiled to dist/. */
const FILE = join(packageRoot(), "test", "fixtures", "linux-6.1-guest-behind-libslirp.pcap");
const GUEST_MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

export interface RecordedFrame {
  readonly fromGuest: boolean;
  readonly octets: Uint8Array;
}

/** All frames of the capture in order. */
export function recordedGuest(): RecordedFrame[] {
  const file = new Uint8Array(readFileSync(FILE));
  return Array.from(readCapture(file), ({ octets }) => ({
    fromGuest: GUEST_MAC.every((octet, i) => octets[6 + i] === octet),
    octets,
  }));
}

/** Payloads of the UDP datagrams (no IP options) to `port`, in order. */
export function recordedUdpPayloads(port: number): Uint8Array[] {
  return recordedGuest()
    .map(({ octets }) => octets)
    .filter((f) => f[12] === 0x08 && f[13] === 0 && f[23] === 17 && ((f[36] << 8) | f[37]) === port)
    .map((frame) => frame.slice(42, 34 + ((frame[38] << 8) | frame[39])));
}
