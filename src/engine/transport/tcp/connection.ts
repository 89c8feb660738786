/**
 * One TCP connection with the guest: the state of RFC 9293 section 3.3.1, the host socket behind it, and the octets
 * on their way in either direction.
 *
 *   guest  --rcvNxt-->  gather (this batch)  -->  host socket          what the kernel does not take: backlog
 *   guest  <--sndNxt--  send chunks [sndUna, sndEnd)  <--  host socket
 *
 * Names are the RFC's; every octet count and sequence number is an int32. "Guest" is the TCP peer on the link,
 * "host" the kernel socket that carries the payload on.
 */

import { NO_CHUNK } from "../../memory/chunk-pool.ts";
import { ConnectionFlags } from "./connection-flags.ts";

/** No connection: what a free one is. */
export const CLOSED = 0;
/** The host connection is under way; nothing has been said to the guest yet. */
export const CONNECTING = 1;
export const SYN_SENT = 2;
export const SYN_RECEIVED = 3;
export const ESTABLISHED = 4;
export const FIN_WAIT_1 = 5;
export const FIN_WAIT_2 = 6;
export const CLOSE_WAIT = 7;
export const CLOSING = 8;
export const LAST_ACK = 9;
export const TIME_WAIT = 10;

export const STATE_NAMES = [
  "CLOSED",
  "CONNECTING",
  "SYN-SENT",
  "SYN-RECEIVED",
  "ESTABLISHED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSE-WAIT",
  "CLOSING",
  "LAST-ACK",
  "TIME-WAIT",
];

/** Which timer `timerAt` is. */
export const TIMER_NONE = 0;
export const TIMER_RETRANSMIT = 1;
export const TIMER_PERSIST = 2;
/** Octets beyond a hole have been acknowledged: how long the hole may be mere reordering. */
export const TIMER_REORDER = 3;

/** Loss recovery. */
export const RECOVERY_NONE = 0;
/** Fast retransmit and SACK recovery (RFC 6675). */
export const RECOVERY_FAST = 1;
/** After a retransmission timeout: everything up to `recover` counts as lost. */
export const RECOVERY_TIMEOUT = 2;

/** Ranges the guest has acknowledged selectively that are remembered at once. */
export const SACK_RANGES_MAX = 64;

export class TcpConnection extends ConnectionFlags {
  /** CLOSED while free. */
  state = CLOSED;
  /** Folded sum of both addresses, for checksums. */
  addressSum = 0;
  /** HostNetwork handle, -1 once closed; LOCAL and below for a connection that ends here (local.ts). */
  handle = -1;

  // Send: towards the guest.
  /** Initial send sequence number (RFC 6528). */
  iss = 0;
  /** Oldest octet the guest has not acknowledged. */
  sndUna = 0;
  /** Next octet to be sent for the first time. */
  sndNxt = 0;
  /** End of the octets in the send chunks; sndNxt..sndEnd is stored and not yet sent. */
  sndEnd = 0;
  /** Octets the guest allows beyond sndUna, scaled. */
  sndWnd = 0;
  sndWl1 = 0;
  sndWl2 = 0;
  /** The largest window the guest ever offered: sender's silly window avoidance (RFC 9293 section 3.8.6.2.1). */
  sndWndMax = 0;
  sndShift = 0;
  /** Payload octets of one full segment to the guest, options taken off. */
  mss = 536;
  sendHead = NO_CHUNK;
  sendTail = NO_CHUNK;
  /** The chunk that holds sndNxt, or NO_CHUNK when sndNxt = sndEnd. */
  sendCursor = NO_CHUNK;
  /** While peeking: the first octet that is still in the host socket's queue. */
  peekBase = 0;
  /** Octets the last read from the host gave: the guess for the next chunk's size. */
  lastRead = 0;

  // Receive: from the guest.
  irs = 0;
  /** Next octet expected; everything before it is gathered, in the backlog, or with the kernel. */
  rcvNxt = 0;
  /** What may be acknowledged: rcvNxt as of the last flush. */
  rcvTaken = 0;
  /** Right edge of the window the guest has been told; it never moves left. */
  rcvAdvertised = 0;
  rcvShift = 0;
  /** Octets we are willing to have under way: grows while the host keeps up. */
  windowTarget = 0;
  /** Octets delivered since windowTarget last changed. */
  windowUsed = 0;
  /** The interval this connection was last counted as a receiver in. */
  receiverInterval = 0;
  gatherHead = -1;
  gatherTail = -1;
  gatherOctets = 0;
  backlogHead = NO_CHUNK;
  backlogTail = NO_CHUNK;
  /** Octets of the first backlog chunk the host already took. */
  backlogOffset = 0;
  backlogOctets = 0;
  outOfOrderHead = NO_CHUNK;
  outOfOrderOctets = 0;
  /** Sequence number of the newest out-of-order arrival: its block is reported first (RFC 2018 section 4). */
  outOfOrderRecent = 0;
  /** Where the guest's FIN is, once one came ahead of a hole. */
  finAt = 0;
  /** Octets the guest sent twice, to be reported with the next ACK; equal when there are none. */
  dsackLeft = 0;
  dsackRight = 0;

  // Options.
  tsRecent = 0;
  tsRecentAtMs = 0;
  /** Added to the clock for our timestamp values, so that they start anywhere. */
  tsOffset = 0;

  // Round trips and retransmission (RFC 6298), milliseconds.
  /** Smoothed round trip times 8; 0 before the first sample. */
  srtt8 = 0;
  /** Variance times 4. */
  rttvar4 = 0;
  rtoMs = 1000;
  backoff = 0;
  /** Octet whose acknowledgment will be timed when there are no timestamps; rttTiming says whether one is. */
  rttSequence = 0;
  rttStartMs = 0;
  timerKind = TIMER_NONE;
  timerAt = 0;
  /** Keepalive, TIME-WAIT end, or the bound of a half-open connection. */
  idleAt = 0;
  keepaliveProbes = 0;
  /** How often the guest was asked since it closed its half. */
  halfClosedProbes = 0;
  /** Of a forward's client: how often it is looked at, 0 for other peers; when it last was, and its segments then. */
  clientPaceMs = 0;
  clientLookedAtMs = 0;
  clientSegments = -1;
  /** When the peer was last asked for a sign of life; peerAsked says whether an answer is awaited. */
  peerAskedAtMs = 0;
  lastHeardMs = 0;

  // Congestion (RFC 5681, 6582, 6675).
  cwnd = 0;
  ssthresh = 0x7fffffff;
  dupAcks = 0;
  recovery = 0;
  /** Recovery ends when this is acknowledged. */
  recover = 0;
  /** Next octet recovery will look at for retransmission. */
  retransmitNext = 0;
  /** Unacknowledged octets below this count as lost. */
  lossUntil = 0;
  sackedOctets = 0;
  sackCount = 0;
  /** Octets reported in ranges that found no place in the list: they have left the link, wherever they lie. */
  sackOverflow = 0;
  /** Segments that may overtake one before it counts as lost. */
  reordering = 3;
  /** What to go back to if recovery was for nothing; undoCwnd is 0 when there is nothing to undo. */
  undoCwnd = 0;
  undoSsthresh = 0;
  /** sndUna and our timestamp when recovery began. */
  undoFrom = 0;
  undoStamp = 0;
  /** Octets sent again since, and not yet reported as duplicates. */
  undoOctets = 0;
  /** Sorted pairs of edges; made when the guest first reports a hole. */
  sackEdges: Int32Array | null = null;

  // Host readiness as last heard (edge-triggered), and bookkeeping of the turn.
  /** Octets taken since the last segment that acknowledged any. */
  unacknowledged = 0;
  octetsFromGuest = 0;
  octetsToGuest = 0;
  /** Frames of the link, a super-frame as one; they wrap. */
  packetsFromGuest = 0;
  packetsToGuest = 0;
  challengeAtMs = 0;
  challenges = 0;

  constructor(readonly id: number) {
    super();
  }
}

/** Makes a recycled connection as new, but for its id. */
export function resetConnection(c: TcpConnection): void {
  Object.assign(c, BLANK, { id: c.id });
}

const BLANK = new TcpConnection(-1);
