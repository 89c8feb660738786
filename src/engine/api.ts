/** The engine core as its callers see it: what it is given, what it takes, what it tells. */

import type { ChecksumKernel, Entropy, FrameLink, FrameTap, HostNetwork, ServedFiles } from "./boundary.ts";
import type { EngineConfig, Forward, Ipv6Words, PolicyConfig, ResolverAddress } from "./config.ts";
import type { Arena } from "./memory/arena.ts";
import type { Counters } from "./metrics/counters.ts";
import type { Admit } from "./network/admission.ts";
import type { ControlPort } from "./network/control-ports.ts";
import type { DenialRow, PolicyCounts } from "./policy/denials.ts";
import type { PinRow } from "./policy/pins.ts";
import type { AnswerResult, QuestionEnd, QuestionRow } from "./policy/questions.ts";
import type { Recorder } from "./transport/recorder.ts";
import type { FrameEnds } from "./wire/frame-ends.ts";

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
  /** Told of each question that a policy asks. Optional. */
  readonly asked?: (row: QuestionRow) => void;
  /**
   * Of a program that is asked before people are: told of each question that it need not answer any more. Where it is given,
   * people have a question from `leaveQuestion` on. Optional.
   */
  readonly questionOver?: (id: number, end: QuestionEnd) => void;
  /** Asked once per new TCP connection and once per UDP remote while a mapping would live; false refuses. Optional. */
  readonly admit?: Admit;
}

/** Tokens: kind in the top bits, index below. The host loop hands events to `handleEvent` with the token it got. */
export const TOKEN_INDEX_MASK = 0x00ffffff;
export const TOKEN_TCP_FLOW = 0x01000000;
export const TOKEN_UDP_FLOW = 0x02000000;
export const TOKEN_DNS = 0x03000000;
/** Listening TCP socket or bound UDP socket of a forward; the index is its slot. */
export const TOKEN_FORWARD = 0x04000000;
/** The link of the engine. */
export const TOKEN_LINK = 0x05000000;
/** From here on tokens belong to the host loop (timer, watchers, control); the core never sees them. */
export const TOKEN_HOST = 0x10000000;

/** One line of the flow table, for people. */
export interface FlowRow {
  /** Numbers the flows of an engine from 1; never given twice. */
  readonly id: number;
  /** Of the flow. */
  readonly protocol: "tcp" | "udp";
  /** `out`: the guest began; `in`: a client came by a forward. */
  readonly direction: "out" | "in";
  /** Of a connection as RFC 9293 has it, such as `ESTABLISHED`, or `CONNECTING` while the host does; `MAPPED` for UDP. */
  readonly state: string;
  /** The guest's address and port. */
  readonly guest: string;
  /** The address the guest sees. */
  readonly remote: string;
  /** Where the host socket really goes. */
  readonly target: string;
  /** Id of the forward its client came by. */
  readonly forward: number | null;
  /** Payload, in order: nothing sent twice. */
  readonly octetsFromGuest: number;
  /** The same, the other way. */
  readonly octetsToGuest: number;
  /** Since it began. */
  readonly ageMs: number;
  /** Since anything was carried. */
  readonly idleMs: number;
}

/** What a socket serves: one port of a forward, under the id of the rule it belongs to. */
export interface ServedPort {
  readonly id: number;
  readonly forward: Forward;
  readonly guestPort: number;
}

/** How far a walk through the flow table has come. */
export interface RowCursor {
  /** The number its rows are told under. */
  readonly call: number;
  /** The place to look at next; -1 once all have been. */
  from: number;
  /** Places that may still be looked at, and rows that may still be told. */
  places: number;
  rows: number;
}

/** An address that a guest has by DHCP. */
export interface LeaseRow {
  /** Of IPv4 or IPv6. */
  readonly address: string;
  /** The guest's, such as `52:54:00:12:34:56`. */
  readonly mac: string;
  /** Null: it does not end. */
  readonly expiresInMs: number | null;
}

/** Of TCP connections: how many are in each state (STATE_NAMES), and how long connecting has taken (CONNECT_MS). */
export interface TcpTally {
  readonly states: readonly number[];
  readonly connects: readonly number[];
  /** Together, milliseconds. */
  readonly connectedMs: number;
}

/**
 * Call order: `attach` a link; then, whenever events wait or the deadline has passed: `handleEvent` for each event,
 * then `turn(now)` until it returns false. All methods are synchronous and never throw on guest or network input.
 */
export interface EngineCore {
  readonly counters: Counters;
  readonly config: EngineConfig;
  /** Milliseconds since the start, which do not wrap; as of the last turn. */
  readonly uptimeMs: number;
  /** Replaces the link (a guest that connects anew); null when it is gone. TCP flows stay, timers run. */
  attach(link: FrameLink | null, nowMs: number): void;
  /**
   * Hands over a socket of a forward, a listening TCP handle or a bound UDP handle, in a slot that is free. The host
   * registers it edge-triggered with token TOKEN_FORWARD | slot; clients wait in the kernel until the guest has shown itself.
   */
  openForward(slot: number, handle: number, port: ServedPort): void;
  /**
   * Forgets the sockets of forward `id`, which the host then closes. Its UDP clients go with their socket; TCP connections
   * stay unless `cut`.
   */
  closeForward(id: number, cut: boolean, nowMs: number): void;
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
  /** TCP ports that no connection of the guest reaches from now on, by whatever way. */
  setControlPorts(ports: readonly ControlPort[]): void;
  /** Has `tap` see every frame from now on; null nobody any more. Not within a turn. */
  setTap(tap: FrameTap | null): void;
  /** The id (FlowRow.id) of the flow that a frame with these ends belongs to; 0 when there is none. */
  flowOf(ends: FrameEnds): number;
  /** What tells of flows, drops and questions from now on; the first call makes it. */
  record(): Recorder;
  /** Writes some rows of the flow table and moves the cursor on, as far as there is room. `record` comes first. */
  recordRows(cursor: RowCursor, nowMs: number): void;
  /** Resets these flows on both sides, by id. Returns how many there were. */
  killFlows(ids: readonly number[], nowMs: number): number;
  leases(): LeaseRow[];
  /** Of TCP connections, those there are and those there were. */
  tcpTally(): TcpTally;
  /** The flow table, for SIGUSR2 and tests. */
  flows(nowMs: number): FlowRow[];
  /** The answer to what `admit` gave this ticket for. A turn is to follow. */
  decide(ticket: number, isAllowed: boolean, nowMs: number): void;
  /** What a policy denied, or would have: most tries first. */
  denials(): DenialRow[];
  /**
   * Another policy in place of the one there is: `before` says for each of its rules which rule of that it was, or -1, whose
   * counts it keeps. Flows that it does not allow are reset in the next turns, unless `keepOpen`. Without a policy: nothing.
   */
  setPolicy(policy: PolicyConfig, before: readonly number[], keepOpen: boolean, nowMs: number): void;
  /** Which names a policy takes to lead where, those of the last flows first; none without a policy. */
  pins(): PinRow[];
  /** What a policy asks, the open ones first. */
  questions(): QuestionRow[];
  /**
   * An answer to a question, for `forMs`, for those that wait (0) or until the end (null). `hasFailed`: it is denied since the
   * program that decides failed. A turn is to follow.
   */
  answerQuestion(
    id: number,
    isAllowed: boolean,
    forMs: number | null,
    nowMs: number,
    hasFailed?: boolean,
  ): AnswerResult;
  /** The program that decides leaves a question to people. Returns whether it waits for them. A turn is to follow. */
  leaveQuestion(id: number, nowMs: number): boolean;
  /** Whether somebody is there who answers questions. */
  setAttended(isAttended: boolean): void;
  /** Gives the rule of this index its budget of octets anew: flows may begin again. False where it has none, or under audit. */
  resetBudget(rule: number): boolean;
  /** What the rules have let through and denied; null without a policy. */
  policyCounts(): PolicyCounts | null;
  /** Of each rule, the milliseconds that flows have waited for its rate, together; null without a policy. */
  limitWaits(): readonly number[] | null;
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
