/** tshark as the judge of what we emit: an independent reading of the same octets. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  PCAP_FILE_HEADER_OCTETS,
  PCAP_PACKET_HEADER_OCTETS,
  writePcapFileHeader,
  writePcapPacketHeader,
} from "../../src/engine/wire/pcap.ts";

/** A capture file with these Ethernet frames. */
export function captureOf(frames: readonly Uint8Array[]): Uint8Array {
  const octets = frames.reduce((sum, frame) => sum + PCAP_PACKET_HEADER_OCTETS + frame.length, 0);
  const file = new Uint8Array(PCAP_FILE_HEADER_OCTETS + octets);
  const view = new DataView(file.buffer);
  writePcapFileHeader(view, 0);
  let at = PCAP_FILE_HEADER_OCTETS;
  frames.forEach((frame, i) => {
    writePcapPacketHeader(view, at, 1_700_000_000, i, frame.length);
    file.set(frame, at + PCAP_PACKET_HEADER_OCTETS);
    at += PCAP_PACKET_HEADER_OCTETS + frame.length;
  });
  return file;
}

/** What tshark found in a frame: the values of each field, and its complaints (checksums, malformed parts). */
export interface Reading {
  readonly fields: Record<string, string[]>;
  readonly complaints: string[];
}

/** Lets tshark read the frames; `fields` as `tshark -G fields` names them. */
export function readWithTshark(frames: readonly Uint8Array[], fields: readonly string[]): Reading[] {
  const directory = mkdtempSync(join(tmpdir(), "sluice-tshark-"));
  try {
    const file = join(directory, "frames.pcap");
    writeFileSync(file, captureOf(frames));
    const wanted = [...fields, "_ws.expert.message", "_ws.malformed"];
    const out = execFileSync(
      "tshark",
      [
        ...["-r", file, "-n", "-T", "json", "--no-duplicate-keys"],
        ...["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"],
        ...["-o", "tcp.check_checksum:TRUE"],
        ...wanted.flatMap((field) => ["-e", field]),
      ],
      { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    );
    const packets = JSON.parse(out) as { _source: { layers: Record<string, string[]> } }[];
    return packets.map(({ _source: { layers } }) => ({
      fields: Object.fromEntries(fields.map((field) => [field, layers[field] ?? []])),
      complaints: [...(layers["_ws.expert.message"] ?? []), ...(layers["_ws.malformed"] ?? [])],
    }));
  } finally {
    rmSync(directory, { recursive: true });
  }
}
