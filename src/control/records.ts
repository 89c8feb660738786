/**
 * What a running engine tells of what it does: flows that open and end, drops, DNS questions, and what happens to the
 * instance itself. The engine writes them in binary over a pipe of their own; the supervisor checks each one and hands it
 * to its readers in this form. An engine makes only the records that somebody reads.
 *
 * Times are milliseconds since the epoch. Octets are payload in order: no headers, nothing sent twice.
 */
import type { DropReasonName } from "../engine/metrics/drop-reasons.ts";
import type { FlowEndReason } from "../engine/metrics/flow-end.ts";

/** An address as text, IPv6 without brackets; and a port. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** Which flow, and between whom. */
export interface FlowEnds {
  /** Numbers the flows of an instance, from 1; never given twice. */
  readonly flow: number;
  readonly protocol: "tcp" | "udp";
  /** `out`: the guest began; `in`: a client of a forward. */
  readonly direction: "out" | "in";
  readonly guest: Endpoint;
  /** The other end as the guest sees it. A UDP mapping that stands for many remotes: the last one it sent to. */
  readonly remote: Endpoint;
  /** Where the host's socket really goes; of a client of a forward, the client. */
  readonly target: Endpoint;
  /** The forward its client came by, null for `out`. */
  readonly forward: number | null;
}

/** A TCP connection was begun, by a SYN or by a client of a forward; or a UDP mapping was made. */
export interface FlowOpened extends FlowEnds {
  readonly type: "flow-opened";
  readonly atMs: number;
}

/** It ended: exactly one per flow that was opened, also when the host would not connect. */
export interface FlowEnded extends FlowEnds {
  readonly type: "flow-ended";
  readonly atMs: number;
  readonly startMs: number;
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  /** Frames of the link; a super-frame counts as one. */
  readonly packetsFromGuest: number;
  readonly packetsToGuest: number;
  /** TCP: from the SYN until the other side had answered; null when it never did, and for UDP. */
  readonly connectMs: number | null;
  /** TCP: segments sent to the guest again. */
  readonly retransmits: number;
  readonly reason: FlowEndReason;
  /** Whose doing it was: for `closed`, who closed first. */
  readonly endedBy: "guest" | "host" | "sluice";
  /** What the host's socket said, such as `ECONNREFUSED`; null when it said nothing. */
  readonly hostError: string | null;
}

/** A frame or datagram that was not carried. Under a flood some are samples of many. */
export interface Dropped {
  readonly type: "drop";
  readonly atMs: number;
  readonly reason: DropReasonName;
  /** How many were dropped for this reason since the last record of it, this one included. */
  readonly times: number;
  /** From the guest, or from the host towards it. */
  readonly from: "guest" | "host";
  /** The frame's octets from its Ethernet header on, or as many as are kept; empty for `host`. */
  readonly sample: Uint8Array;
  /** Length of the whole frame. */
  readonly length: number;
  /** What the sample's headers say, as far as they can be read. */
  readonly protocol: "tcp" | "udp" | null;
  readonly guest: Endpoint | null;
  readonly remote: Endpoint | null;
}

/** A question the guest asked of the DNS address, when it has ended. */
export interface DnsQuestion {
  readonly type: "dns";
  readonly atMs: number;
  readonly guest: Endpoint;
  readonly transport: "udp" | "tcp";
  /** In presentation form (RFC 1035 section 5.1: octets that are not printable as \DDD), lower case, without a final dot. */
  readonly name: string;
  /** Such as `A`, or `TYPE65`. */
  readonly questionType: string;
  /** Of the answer: its RCODE's name such as `NOERROR` or `NXDOMAIN`; null when no resolver answered. */
  readonly rcode: string | null;
  /** Addresses of its A and AAAA records, the first sixteen. */
  readonly addresses: readonly string[];
  /** Least TTL of these, seconds; 0 without any. */
  readonly ttlSeconds: number;
  /** Who answered: one of the host's resolvers, sluice itself (a name for the host, a refusal), or nobody. */
  readonly answeredBy: "resolver" | "sluice" | "nobody";
  readonly durationMs: number;
}

/** The guest's link came up or went down. */
export interface LinkChanged {
  readonly type: "link";
  readonly atMs: number;
  readonly up: boolean;
  readonly name: string;
}

/** A forward was added or removed while running. */
export interface ForwardChanged {
  readonly type: "forward";
  readonly atMs: number;
  readonly action: "added" | "removed";
  readonly id: number;
  /** As one would write it for hostfwd, such as `tcp:127.0.0.1:2222-:22`. */
  readonly rule: string;
}

/** The policy is another one. */
export interface PolicyChanged {
  readonly type: "policy";
  readonly atMs: number;
  readonly generation: number;
  /** Names of rules. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** A flow waits for an answer. */
export interface QuestionAsked {
  readonly type: "question";
  readonly atMs: number;
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  readonly rule: string;
  /** Until it is refused for want of an answer. */
  readonly endsInMs: number;
}

/** What it was about, and who answered what. */
export interface AnsweredQuestion extends Pick<QuestionAsked, "id" | "host" | "port" | "protocol" | "rule"> {
  readonly verdict: "allow" | "deny";
  readonly by: "person" | "program";
  /** A program's, or null. */
  readonly reason: string | null;
}

export interface QuestionAnswered extends AnsweredQuestion {
  readonly type: "question-answered";
  readonly atMs: number;
}

/** Nobody read fast enough: so many records of the kinds above there were and are not told. */
export interface RecordsLost {
  readonly type: "records-lost";
  readonly atMs: number;
  readonly count: number;
}

export type EngineRecord =
  | FlowOpened
  | FlowEnded
  | Dropped
  | DnsQuestion
  | LinkChanged
  | ForwardChanged
  | PolicyChanged
  | QuestionAsked
  | QuestionAnswered
  | RecordsLost;
export type RecordType = EngineRecord["type"];

/** Where records are to be had. `records-lost` comes to every reader. */
export interface RecordStream {
  /**
   * Has `read` called with each record of `types`, in order, from now on. Returns what ends that. A reader that throws is
   * a bug, not a case.
   */
  subscribe(types: readonly RecordType[], read: (record: EngineRecord) => void): () => void;
  /** Somebody hears of questions who can answer them, or nobody any more. */
  attend(isAttended: boolean): void;
}
