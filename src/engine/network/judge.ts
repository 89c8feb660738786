/** Who has a say about a flow that could go out, or a DNS question, and what is asked. */

/** A flow over IPv4. */
export interface Wish {
  readonly guestAddress: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

/** The same over IPv6: the guest's address and the remote's, four words each. */
export interface Wish6 {
  readonly pair: Int32Array;
  readonly remotePort: number;
}

/** Asked once per TCP connection and per UDP datagram. Returns a verdict of destinations.ts. */
export interface FlowJudge {
  tcp(wish: Wish): number;
  tcp6(wish: Wish6): number;
  udp(wish: Wish, nowMs: number): number;
  udp6(wish: Wish6, nowMs: number): number;
}

/** What becomes of a DNS question: it leaves. */
export const PASSES = 0;
/** There is no such name. */
export const DENIED = 1;
/** The name exists, and nothing is said of this type: no keys that would hide a name, no addresses past the pins. */
export const NO_DATA = 2;
/** Not for us. */
export const REFUSED = 3;
/** It has the address `QuestionJudge.standIn`, of the question's type. */
export const STANDS_IN = 4;
/** How long the guest may remember that; the pin lasts longer. */
export const STAND_IN_SECONDS = 5;
/** Too many were asked. */
export const LIMITED = 5;

/** Asked once per question that we would forward. `end`: octets of its header and question. */
export interface QuestionJudge {
  /** Why the last question was denied: a drop reason. */
  readonly reason: number;
  /** A denied name is refused, and not said not to exist. */
  readonly refuses: boolean;
  /** What stands for the last name that got STANDS_IN: an IPv4 address, which AAAA questions get in 64:ff9b::/96. */
  readonly standIn: number;
  question(view: DataView, at: number, end: number): number;
  /** Why the last one was denied, for people. */
  explain(): string;
  /** An answer of `length` octets at `at` to the question that is kept at `queryAt`. */
  answered(view: DataView, queryAt: number, end: number, at: number, length: number): void;
  /** A question for a name of ours was answered with this IPv4 address. */
  answeredHere(view: DataView, at: number, end: number, address: number): void;
}
