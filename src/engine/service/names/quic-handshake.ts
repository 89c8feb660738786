/**
 * What a client of QUIC says in its Initial packets, put together as they come: octets of CRYPTO frames, of which those that
 * have been judged are known for good, and the datagrams that are kept until the others are.
 *
 *   0 ------ judged ------ come ------ reach           judged: passed.   come: there, without a gap.   reach: the farthest
 */
import { QUIC_KEYS_OCTETS } from "../../boundary.ts";
import { QUIC_CRYPTO_OCTETS, QUIC_HELD_MAX, QUIC_HELD_OCTETS } from "../../limits.ts";
import { CLIENT_HELLO, HANDSHAKE_HEADER_OCTETS } from "../../wire/client-hello.ts";
import { QUIC_2, QUIC_ID_MAX } from "../../wire/quic.ts";
import type { QuicOpener } from "./quic-opener.ts";

/** Its place is free. */
export const NO_QUIC_FLOW = -1;
/** Of `messageOctets`: what comes is no ClientHello, or a longer one than any. */
export const NOT_A_HELLO = -1;

export class QuicHandshake {
  flow = NO_QUIC_FLOW;
  /** When it began to wait. */
  since = 0;
  judged = 0;
  /** The largest packet number that was opened. */
  largest = -1;
  /** Octets of all datagrams that are kept, and of each. */
  heldOctets = 0;
  heldCount = 0;
  readonly held = new Uint8Array(QUIC_HELD_OCTETS);
  readonly heldLengths = new Int32Array(QUIC_HELD_MAX);
  readonly stream = new Uint8Array(QUIC_CRYPTO_OCTETS);
  private readonly has = new Uint8Array(QUIC_CRYPTO_OCTETS);
  private come = 0;
  private reach = 0;
  /** The connection id from which its keys are derived. */
  private readonly id = new Uint8Array(QUIC_ID_MAX);
  private idOctets = 0;
  private readonly keys = [new Uint8Array(QUIC_KEYS_OCTETS), new Uint8Array(QUIC_KEYS_OCTETS)];
  private readonly hasKeys = [false, false];

  begin(flow: number, id: Uint8Array, nowMs: number): void {
    this.flow = flow;
    this.since = nowMs;
    this.judged = 0;
    this.largest = -1;
    this.come = 0;
    this.reach = 0;
    this.has.fill(0);
    this.forgetHeld();
    this.id.set(id);
    this.idOctets = id.length;
    this.hasKeys.fill(false);
  }

  isOf(flow: number, id: Uint8Array): boolean {
    if (this.flow !== flow || this.idOctets !== id.length) return false;
    for (let i = 0; i < id.length; i++) if (this.id[i] !== id[i]) return false;
    return true;
  }

  /** A client may go on in the other version than it began with (RFC 9368 section 2.3), with keys of that. */
  keysOf(version: number, opener: QuicOpener): Uint8Array {
    const which = version === QUIC_2 ? 1 : 0;
    if (!this.hasKeys[which]) opener.derive(version, this.id.subarray(0, this.idOctets), this.keys[which]);
    this.hasKeys[which] = true;
    return this.keys[which];
  }

  /** Something was said that has yet to be judged, or nothing at all. */
  get isWaiting(): boolean {
    return this.judged === 0 || this.reach > this.judged;
  }

  /** Takes octets of a CRYPTO frame. False when they are too many, or others than those that are there. */
  take(offset: number, octets: Uint8Array, at: number, length: number): boolean {
    if (offset + length > QUIC_CRYPTO_OCTETS) return false;
    const { stream, has } = this;
    for (let i = 0; i < length; i++) {
      if (has[offset + i] !== 0 && stream[offset + i] !== octets[at + i]) return false;
      stream[offset + i] = octets[at + i];
      has[offset + i] = 1;
    }
    if (length > 0 && offset + length > this.reach) this.reach = offset + length;
    while (this.come < this.reach && has[this.come] !== 0) this.come++;
    return true;
  }

  /** Octets of the message that follows what was judged, once it is there; 0 before, or NOT_A_HELLO. */
  messageOctets(): number {
    const { stream, judged, come } = this;
    if (come > judged && stream[judged] !== CLIENT_HELLO) return NOT_A_HELLO;
    if (come < judged + HANDSHAKE_HEADER_OCTETS) return 0;
    const length = (stream[judged + 1] << 16) | (stream[judged + 2] << 8) | stream[judged + 3];
    const octets = HANDSHAKE_HEADER_OCTETS + length;
    if (judged + octets > QUIC_CRYPTO_OCTETS) return NOT_A_HELLO;
    return come < judged + octets ? 0 : octets;
  }

  /** Keeps a datagram. False when there are too many. */
  hold(octets: Uint8Array, at: number, length: number): boolean {
    if (this.heldCount === QUIC_HELD_MAX || this.heldOctets + length > QUIC_HELD_OCTETS) return false;
    for (let i = 0; i < length; i++) this.held[this.heldOctets + i] = octets[at + i];
    this.heldOctets += length;
    this.heldLengths[this.heldCount++] = length;
    return true;
  }

  forgetHeld(): void {
    this.heldOctets = 0;
    this.heldCount = 0;
  }
}
