/** The engine core as its callers see it: what it is given, what it takes, what it tells. */

import type { ChecksumKernel, Entropy, FrameLink, HostNetwork, ServedFiles } from "./boundary.ts";
import type { EngineConfig, Ipv6Words, ResolverAddress } from "./config.ts";
import type { Arena } from "./memory/arena.ts";
import type { Counters } from "./metrics/counters.ts";
import type { Admit } from "./network/admission.ts";
import type { DenialRow } from "./policy/denials.ts";

/** Everything the core needs from outside. */
export interface EnginePorts {
  readonly arena: Arena;
  readonly network: HostNetwork;
  readonly entropy: Entropy;
  readonly checksum: ChecksumKernel;
  /** These arena octets hold nothing any more: their memory may go back to the host. Optional. */
  readonly discard?: (at: number, length: number) => void;
  /** What TFTP serves at the gateway's addresses. Optional: without it there is no TFTP. */
  readonly files?: ServedFiles;
  /** Takes a sentence for people, of which there are few, whatever the guest sends. Optional. */
  readonly warn?: (message: string) => void;
  /** Asked once per new TCP connection and once per UDP remote while a mapping would live; false refuses. Optional. */
  readonly admit?: Admit;
}

/** Tokens: kind in the top bits, index below. The host loop hands events to `handleEvent` with the token it got. */
export const TOKEN_INDEX_MASK = 0x00ffffff;
export const TOKEN_TCP_FLOW = 0x01000000;
export const TOKEN_UDP_FLOW = 0x02000000;
export const TOKEN_DNS = 0x03000000;
/** Listening TCP socket or bound UDP socket of `config.forwards[index]`. */
export const TOKEN_FORWARD = 0x04000000;
/** The link of the engine. */
export const TOKEN_LINK = 0x05000000;
/** From here on tokens belong to the host loop (timer, watchers, control); the core never sees them. */
export const TOKEN_HOST = 0x10000000;

/** One line of the flow table, for people. */
export interface FlowRow {
  readonly protocol: "tcp" | "udp";
  readonly direction: "out" | "in";
  readonly state: string;
  readonly guest: string;
  /** The address the guest sees. */
  readonly remote: string;
  /** Where the host socket really goes. */
  readonly target: string;
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  readonly idleMs: number;
}

/**
 * Call order: `attach` a link; then, whenever events wait or the deadline has passed: `handleEvent` for each event,
 * then `turn(now)` until it returns false. All methods are synchronous and never throw on guest or network input.
 */
export interface EngineCore {
  readonly counters: Counters;
  readonly config: EngineConfig;
  /** Replaces the link (a guest that connects anew); null when it is gone. TCP flows stay, timers run. */
  attach(link: FrameLink | null, nowMs: number): void;
  /**
   * Hands over the socket of forward `index`: a listening TCP handle or a bound UDP handle. The host registers it
   * edge-triggered with token TOKEN_FORWARD | index; clients wait in the kernel until the guest has shown itself.
   */
  openForward(index: number, handle: number): void;
  /**
   * Whether the host has a way out, by family. Over IPv6 a guest is told by the router's lifetime; where only that is left,
   * NAT64 is used if there is some. Before the first call the host has IPv4 alone.
   */
  setUplinks(hasIpv4: boolean, hasIpv6: boolean, nowMs: number): void;
  setResolvers(resolvers: readonly ResolverAddress[]): void;
  /** Notes readiness; the work happens in `turn`. */
  handleEvent(token: number, events: number, nowMs: number): void;
  /** Does a bounded amount of work. Returns true when more is waiting right now. */
  turn(nowMs: number): boolean;
  /** Milliseconds from `nowMs` until a timer is due: 0 or more, or -1 when none is set. */
  nextDeadlineMs(nowMs: number): number;
  /** The flow table, for SIGUSR2 and tests. */
  flows(nowMs: number): FlowRow[];
  /** What a policy denied, or would have: most tries first. */
  denials(): DenialRow[];
  /** The addresses this host has now, four words each: a policy takes them for private. */
  setHostAddresses(addresses: readonly Ipv6Words[]): void;
  /** How many flows, chunks and queue entries are in use: all 0 when idle (leases and ARP entries are not counted). */
  usage(): {
    tcp: number;
    udp: number;
    dns: number;
    tftp: number;
    smallChunks: number;
    largeChunks: number;
    queuedFrames: number;
    reassembly: number;
  };
  /** Resets every flow and closes every socket it opened. */
  close(nowMs: number): void;
}

export type CreateEngineCore = (config: EngineConfig, ports: EnginePorts, nowMs: number) => EngineCore;
