/**
 * The name in the first octets of connections that wait, whatever segments and records they come in. What was seen of one
 * is remembered, so that octets that come one by one are each looked at once.
 */
import { HELD_NAME_OCTETS } from "../../limits.ts";
import type { Name } from "../../policy/name.ts";
import type { TcpConnection } from "../../transport/tcp/connection.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import { peekOctet, peekOctets } from "../../transport/tcp/local.ts";
import {
  CLIENT_HELLO,
  ClientHello,
  HANDSHAKE_HEADER_OCTETS,
  isHandshakeRecord,
  NO_SERVER_NAME,
  NOT_A_CLIENT_HELLO,
  RECORD_HANDSHAKE,
  RECORD_HEADER_OCTETS,
} from "../../wire/client-hello.ts";
import {
  HEAD_ENDED,
  HOST_FOUND,
  headProgress,
  mayBeginRequest,
  NO_HOST,
  RequestHead,
} from "../../wire/http-head.ts";

/** What `look` found. */
export const NEEDS_MORE = 0;
export const SHOWN_NAME = 1;
/** The protocol, and no name in it. */
export const NO_NAME_SHOWN = 2;
/** The protocol, and what could be read in several ways, or not at all. */
export const UNREADABLE = 3;
export const NOT_THE_PROTOCOL = 4;

export class FirstOctets {
  readonly hello = new ClientHello();
  private readonly head = new RequestHead();
  private readonly isTls: Uint8Array;
  /** TLS: where the next record begins. HTTP: how far the octets have been looked at. */
  private readonly at: Int32Array;
  /** TLS: octets of the handshake before that. HTTP: how much of the head's end has been seen. */
  private readonly seen: Int32Array;
  /** TLS: octets of the ClientHello, 0 as long as that is not known. */
  private readonly total: Int32Array;
  /** Nothing can be said before so many octets have come. */
  private readonly need: Int32Array;
  private readonly octets = new Uint8Array(HELD_NAME_OCTETS);
  private foundTls = false;

  constructor(
    private readonly ctx: TcpContext,
    count: number,
  ) {
    this.isTls = new Uint8Array(count);
    this.at = new Int32Array(count);
    this.seen = new Int32Array(count);
    this.total = new Int32Array(count);
    this.need = new Int32Array(count);
  }

  /** Connection `n` begins; it shows a ClientHello, or a request. */
  begin(n: number, isTls: boolean): void {
    this.isTls[n] = isTls ? 1 : 0;
    this.at[n] = 0;
    this.seen[n] = 0;
    this.total[n] = 0;
    this.need[n] = 1;
  }

  /** Whether what was found last is a ClientHello with another one inside. */
  get isEncrypted(): boolean {
    return this.foundTls && this.hello.hasEncrypted;
  }

  look(n: number, c: TcpConnection): number {
    if (c.backlogOctets < this.need[n]) return NEEDS_MORE;
    this.foundTls = this.isTls[n] !== 0;
    return this.foundTls ? this.lookForHello(n, c) : this.lookForHead(n, c);
  }

  /** Takes the name that was found last in hand. False when it is none. */
  readName(name: Name): boolean {
    return this.foundTls
      ? name.readText(this.octets, this.hello.nameAt, this.hello.nameOctets)
      : name.readText(this.octets, this.head.hostAt, this.head.hostOctets);
  }

  // --- HTTP --------------------------------------------------------------------------------------------------------

  private lookForHead(n: number, c: TcpConnection): number {
    const { octets, ctx } = this;
    const from = this.at[n];
    const count = Math.min(c.backlogOctets, HELD_NAME_OCTETS) - from;
    peekOctets(ctx, c, from, count, octets);
    if (from === 0 && !mayBeginRequest(octets[0])) return NOT_THE_PROTOCOL;
    let seen = this.seen[n];
    let i = 0;
    while (i < count && seen < HEAD_ENDED) seen = headProgress(seen, octets[i++]);
    this.at[n] = from + i;
    this.seen[n] = seen;
    this.need[n] = from + i + 1;
    if (seen < HEAD_ENDED) return from + i >= HELD_NAME_OCTETS ? UNREADABLE : NEEDS_MORE;
    peekOctets(ctx, c, 0, from + i, octets);
    const result = this.head.read(octets, from + i);
    if (result === HOST_FOUND) return SHOWN_NAME;
    return result === NO_HOST ? NO_NAME_SHOWN : UNREADABLE;
  }

  // --- TLS ---------------------------------------------------------------------------------------------------------

  private lookForHello(n: number, c: TcpConnection): number {
    for (;;) {
      const have = c.backlogOctets;
      const at = this.at[n];
      if (have < at + RECORD_HEADER_OCTETS) return this.lookAtHeader(n, c);
      const type = peekOctet(this.ctx, c, at);
      const length = (peekOctet(this.ctx, c, at + 3) << 8) | peekOctet(this.ctx, c, at + 4);
      if (!isHandshakeRecord(type, peekOctet(this.ctx, c, at + 1), length)) {
        return at === 0 ? NOT_THE_PROTOCOL : UNREADABLE;
      }
      const come = Math.min(have - at - RECORD_HEADER_OCTETS, length);
      const result = this.lookAtMessage(n, c, this.seen[n] + come, this.seen[n] + length);
      if (result !== NEEDS_MORE) return result;
      if (come < length) {
        this.need[n] = have + 1;
        return have >= HELD_NAME_OCTETS ? UNREADABLE : NEEDS_MORE;
      }
      this.at[n] = at + RECORD_HEADER_OCTETS + length;
      this.seen[n] += length;
    }
  }

  /** Less than a record's header is there. */
  private lookAtHeader(n: number, c: TcpConnection): number {
    const at = this.at[n];
    this.need[n] = c.backlogOctets + 1;
    if (c.backlogOctets > at && peekOctet(this.ctx, c, at) !== RECORD_HANDSHAKE) {
      return at === 0 ? NOT_THE_PROTOCOL : UNREADABLE;
    }
    return c.backlogOctets >= HELD_NAME_OCTETS ? UNREADABLE : NEEDS_MORE;
  }

  /** `come` octets of the handshake are there, and `inRecords` are or will be in records that have begun. */
  private lookAtMessage(n: number, c: TcpConnection, come: number, inRecords: number): number {
    if (this.total[n] === 0) {
      if (come < HANDSHAKE_HEADER_OCTETS) return NEEDS_MORE;
      this.gather(c, HANDSHAKE_HEADER_OCTETS);
      const { octets } = this;
      if (octets[0] !== CLIENT_HELLO) return NOT_THE_PROTOCOL;
      this.total[n] = HANDSHAKE_HEADER_OCTETS + ((octets[1] << 16) | (octets[2] << 8) | octets[3]);
      if (this.total[n] > HELD_NAME_OCTETS) return UNREADABLE;
    }
    const total = this.total[n];
    // A ClientHello is the last in its record (RFC 8446 section 5.1).
    if (inRecords > total) return UNREADABLE;
    if (come < total) return NEEDS_MORE;
    this.gather(c, total);
    const result = this.hello.read(this.octets, total);
    if (result === NO_SERVER_NAME) return NO_NAME_SHOWN;
    return result === NOT_A_CLIENT_HELLO ? UNREADABLE : SHOWN_NAME;
  }

  /** Puts the first `count` octets of the handshake together; they have come. */
  private gather(c: TcpConnection, count: number): void {
    const { ctx, octets } = this;
    let at = 0;
    for (let done = 0; done < count; ) {
      const length = (peekOctet(ctx, c, at + 3) << 8) | peekOctet(ctx, c, at + 4);
      const piece = Math.min(length, count - done);
      peekOctets(ctx, c, at + RECORD_HEADER_OCTETS, piece, this.piece);
      for (let i = 0; i < piece; i++) octets[done + i] = this.piece[i];
      done += piece;
      at += RECORD_HEADER_OCTETS + length;
    }
  }

  private readonly piece = new Uint8Array(HELD_NAME_OCTETS);
}
