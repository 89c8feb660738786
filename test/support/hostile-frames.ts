/** Frames that no kernel sends: a recorded guest's, cut off, overwritten and made up; connections nobody will finish. */
import { recordedGuest } from "./recorded-guest.ts";

const GATEWAY_MAC = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];
const ETHERNET_OCTETS = 14;
const SYN_FRAME_OCTETS = 54;
/** What a device of MTU 1500 takes. */
const FRAME_OCTETS_MAX = 1514;
/** Values that lengths, offsets and counts go wrong with. */
const EDGES = [0, 1, 0x7f, 0x80, 0xff] as const;

/** Mulberry32: small, and the same everywhere. */
function randomSequence(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/**
 * `count` frames from `mac`. The Ethernet header stays well formed, so that they get past the door; what is behind
 * it does not.
 */
export function malformedFrames(seed: number, count: number, mac: Uint8Array): Uint8Array[] {
  const random = randomSequence(seed);
  const samples = recordedGuest()
    .filter(({ fromGuest, octets }) => fromGuest && octets.length <= FRAME_OCTETS_MAX)
    .map(({ octets }) => octets);
  return Array.from({ length: count }, () => {
    const frame = samples[random(samples.length)].slice();
    frame.set(mac, 6);
    switch (random(4)) {
      case 0:
        return frame.subarray(0, ETHERNET_OCTETS + random(frame.length - ETHERNET_OCTETS));
      case 1:
        for (let i = ETHERNET_OCTETS; i < frame.length; i++) frame[i] = random(256);
        return frame;
      default:
        // The headers more often than what they carry.
        for (let changes = 1 + random(4); changes > 0; changes--) {
          const at = ETHERNET_OCTETS + random(Math.min(frame.length, ETHERNET_OCTETS + 60) - ETHERNET_OCTETS);
          frame[at] = random(2) === 0 ? EDGES[random(EDGES.length)] : random(256);
        }
        return frame;
    }
  });
}

function onesComplementSum(octets: Uint8Array, initial: number): number {
  let sum = initial;
  for (let i = 0; i < octets.length; i += 2) sum += (octets[i] << 8) | octets[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** A TCP SYN from 10.0.2.15 with nothing wrong about it. */
export function synFrame(mac: Uint8Array, destination: number, sourcePort: number, port: number): Uint8Array {
  const frame = new Uint8Array(SYN_FRAME_OCTETS);
  const view = new DataView(frame.buffer);
  frame.set(GATEWAY_MAC, 0);
  frame.set(mac, 6);
  frame.set([0x08, 0x00, 0x45, 0x00, 0x00, 40, 0, 0, 0x40, 0x00, 64, 6, 0, 0, 10, 0, 2, 15], 12);
  view.setInt32(30, destination);
  view.setUint16(24, 0xffff & ~onesComplementSum(frame.subarray(14, 34), 0));
  view.setUint16(34, sourcePort);
  view.setUint16(36, port);
  frame.set([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff], 38);
  view.setUint16(50, 0xffff & ~onesComplementSum(frame.subarray(26, 54), 6 + 20));
  return frame;
}
