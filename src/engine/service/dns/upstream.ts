/** What the two ways to a resolver have in common. */
import type { HostNetwork, UdpBatch } from "../../boundary.ts";
import type { Counters } from "../../metrics/counters.ts";
import type { Resolvers } from "./resolvers.ts";

/** Told of what comes back. */
export interface UpstreamListener {
  /**
   * A message from the resolver that entry `entry` asked, `length` octets at `at`. Returns true when nothing more is to be
   * read for this entry: it has ended, or asks another resolver.
   */
  message(entry: number, at: number, length: number): boolean;
  /** The resolver takes no questions: its port is closed, or it hung up without an answer. */
  refused(entry: number): void;
  /** Whether to read on for this entry, `round` reads after its event; if not, it will be read again a little later. */
  mayRead(entry: number, round: number): boolean;
}

export interface UpstreamParts {
  readonly octets: Uint8Array;
  readonly view: DataView;
  readonly network: HostNetwork;
  /** Where datagrams are received; shared with other users of `udpReceive`. */
  readonly batch: UdpBatch;
  readonly counters: Counters;
  /** Token of entry 0; entry n has `token + n`. */
  readonly token: number;
  readonly resolvers: Resolvers;
  /** A random int32. */
  readonly random: () => number;
}

/** Asks resolvers. Entries below DNS_QUERIES_MAX are asked over UDP, the others over TCP. */
export interface Upstream {
  /** Asks resolver `index` the entry's query of `length` octets. Returns 0 or more, or -errno when it failed at once. */
  ask(entry: number, index: number, length: number): number;
  /** The guest has asked again: says it again if a message can have been lost. False when that failed. */
  repeat(entry: number, length: number): boolean;
  /** The id the question was asked under. */
  askedId(entry: number): number;
  /** Reads what has come. Returns true when that settled the entry. */
  receive(entry: number): boolean;
  /** Where the entry's query lies. */
  queryAt(entry: number): number;
  /** The entry has its answer. */
  done(entry: number, nowMs: number): void;
  /** The entry has ended without one, or goes elsewhere. */
  close(entry: number): void;
}
