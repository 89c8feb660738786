/** Who sent a frame of the guest to whom, as text. The octets are the guest's: nothing about them is sure. */
import { formatAddress } from "../engine/wire/address-text.ts";
import { FrameEnds as Ends } from "../engine/wire/frame-ends.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../engine/wire/ipv4.ts";
import type { Endpoint } from "./records.ts";

export interface FrameEnds {
  readonly protocol: "tcp" | "udp" | null;
  readonly guest: Endpoint | null;
  readonly remote: Endpoint | null;
}

const UNKNOWN: FrameEnds = { protocol: null, guest: null, remote: null };
const ends = new Ends();

/** Ports are 0 where they cannot be read. */
export function endsOfFrame(frame: Uint8Array): FrameEnds {
  ends.read(new DataView(frame.buffer, frame.byteOffset, frame.length), 0, frame.length, true);
  const { protocol, words, guestPort, remotePort } = ends;
  if (protocol < 0) return UNKNOWN;
  const endpoint = (from: number, port: number): Endpoint => ({
    address: formatAddress(Array.from(words.subarray(from, from + 4))),
    port: Math.max(port, 0),
  });
  return {
    protocol: protocol === PROTOCOL_TCP ? "tcp" : protocol === PROTOCOL_UDP ? "udp" : null,
    guest: endpoint(0, guestPort),
    remote: endpoint(4, remotePort),
  };
}
