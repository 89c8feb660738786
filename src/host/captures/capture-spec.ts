/** What a capture is to hold: plain data, which travels to the engine. */

/** Who is at a flow's ends. */
export interface CaptureMatch {
  /** IP protocol; 0 for all. */
  readonly protocol: number;
  /** Four words, IPv4 as v4-mapped; null for all. */
  readonly guest: readonly number[] | null;
  /** 0 for all. */
  readonly guestPort: number;
  readonly remote: readonly number[] | null;
  readonly remotePort: number;
  /** The remote may be the guest, too: whoever is meant by an address alone. */
  readonly eitherEnd: boolean;
}

/** Whatever has this address and port (0: any) at either end. */
export function matchOfAddress(words: readonly number[], port: number): CaptureMatch {
  return { protocol: 0, guest: null, guestPort: 0, remote: words, remotePort: port, eitherEnd: true };
}

export interface CaptureSpec {
  /** Frames that fit one of these; all where there are none and no name. */
  readonly matches: readonly CaptureMatch[];
  /** A DNS name whose addresses join the matches as it is answered, with this port; absent: none. */
  readonly name?: { readonly name: string; readonly port: number };
  /** Only frames of the guest that were dropped. */
  readonly drops: boolean;
  /** Octets kept of each frame. */
  readonly snap: number;
  /** It ends with so many octets, frames, seconds; 0 for no such bound. */
  readonly octets: number;
  readonly frames: number;
  readonly seconds: number;
  /** Names that are known already. */
  readonly names: readonly { readonly address: readonly number[]; readonly name: string }[];
}

/** All there is, without a bound. */
export function everything(): CaptureSpec {
  return { matches: [], drops: false, snap: SNAP_MAX, octets: 0, frames: 0, seconds: 0, names: [] };
}

/** How one is. */
export interface CaptureState {
  readonly id: number;
  /** Of the file. */
  readonly octets: number;
  readonly frames: number;
  /** Frames that found no room, since their reader was too slow. */
  readonly lost: number;
  /** Why it has ended, in words; null while it goes on. */
  readonly ended: string | null;
}

/** The number of the capture that an engine begins by itself, with --pcap. */
export const OWN_ID = 0;
/** Others of an engine at a time, those that have ended and that nobody has stopped included. */
export const CAPTURES_MAX = 16;
/** Octets kept of a frame by default: all of any super-frame. */
export const SNAP_MAX = 262_144;
/** Of a file, by default. */
export const OCTETS_DEFAULT = 1_073_741_824;
/** Known names that go along at most. */
export const NAMES_MAX = 1024;
