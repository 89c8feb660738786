/** What a TCP of the simulated guest can be told, and what it tells. */

export interface TcpSettings {
  /** Largest payload of a segment we accept, announced as MSS. */
  readonly mss: number;
  /** Shift count, or -1: not offered. */
  readonly windowScale: number;
  readonly sack: boolean;
  readonly timestamps: boolean;
  /** Octets received but not read by the application that we hold at most. */
  readonly receiveBuffer: number;
  readonly delayedAckMs: number;
  readonly nagle: boolean;
  readonly minRtoMs: number;
  readonly maxRtoMs: number;
  readonly maxRetries: number;
  readonly timeWaitMs: number;
  /** Idle time before a keepalive; 0: none. */
  readonly keepaliveMs: number;
  /** How a zero window is probed: with the next octet, or with an old sequence number and none (Linux). */
  readonly probe: "octet" | "old";
  /** Congestion window at start, in segments. */
  readonly initialWindow: number;
  /** Largest payload given to the link in one piece; more than the MSS makes super-frames. */
  readonly superPayload: number;
  /** Probability that SACKed out-of-order data is thrown away again, as RFC 2018 section 8 allows. */
  readonly renege: number;
  /** Takes a part of an announced window back, which RFC 9293 3.8.6 discourages and asks senders to bear. */
  readonly shrinks: boolean;
  /** Answer a SYN with a SYN first, as if both sides had opened at once (RFC 9293 figure 7). */
  readonly crossSyn: boolean;
}

export type TcpState =
  | "SYN-SENT"
  | "SYN-RECEIVED"
  | "ESTABLISHED"
  | "FIN-WAIT-1"
  | "FIN-WAIT-2"
  | "CLOSE-WAIT"
  | "CLOSING"
  | "LAST-ACK"
  | "TIME-WAIT"
  | "CLOSED";

/** How a connection ended for the application. */
export type Ending = "closed" | "refused" | "reset" | "aborted" | "timeout";

/** What the application wants to hear. */
export interface TcpUser {
  connected(): void;
  /** More in-order octets, or the end of the stream. */
  readable(): void;
  /** Octets were acknowledged. */
  acknowledged(): void;
  ended(ending: Ending): void;
}

export interface TcpAddress {
  readonly localIp: number;
  readonly localPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
}
