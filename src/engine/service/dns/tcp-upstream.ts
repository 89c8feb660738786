/**
 * Questions to resolvers over TCP: two octets of length, then the message (RFC 1035 section 4.2.2, RFC 7766). One question
 * is under way on a connection; when it has its answer the connection waits a moment for the next question to the same
 * resolver. One that was used before and breaks before it answered is opened anew (RFC 7766 section 6.2.4).
 *
 *   slot:  | 2: length | query, up to DNS_QUERY_OCTETS_MAX | ... | 2: length | answer, up to 65535 |
 */
import { EAGAIN, EINPROGRESS } from "../../boundary.ts";
import {
  DNS_QUERIES_MAX,
  DNS_QUERY_OCTETS_MAX,
  DNS_TCP_QUERIES_MAX,
  DNS_TCP_SLOT_OCTETS,
} from "../../limits.ts";
import { DNS_HEADER_OCTETS, id, setId } from "../../wire/dns.ts";
import type { Upstream, UpstreamListener, UpstreamParts } from "./upstream.ts";

/** In front of every message over TCP: its length. */
export const LENGTH_OCTETS = 2;

/** Where a slot's answer begins, behind the query and at a multiple of 64. */
const ANSWER_OFFSET = (LENGTH_OCTETS + DNS_QUERY_OCTETS_MAX + 63) & ~63;
const ANSWER_OCTETS = LENGTH_OCTETS + 65_535;
/** How long a connection without a question is kept. */
const IDLE_MS = 2000;
const NO_HANDLE = -1;

export class TcpUpstream implements Upstream {
  private readonly handle = new Int32Array(DNS_TCP_QUERIES_MAX).fill(NO_HANDLE);
  private readonly resolver = new Int32Array(DNS_TCP_QUERIES_MAX);
  private readonly connecting = new Uint8Array(DNS_TCP_QUERIES_MAX);
  /** It has answered a question before. */
  private readonly reused = new Uint8Array(DNS_TCP_QUERIES_MAX);
  private readonly idle = new Uint8Array(DNS_TCP_QUERIES_MAX);
  private readonly idleUntil = new Int32Array(DNS_TCP_QUERIES_MAX);
  private idleCount = 0;
  /** Octets of query and prefix, and how many of them the kernel has. */
  private readonly total = new Int32Array(DNS_TCP_QUERIES_MAX);
  private readonly sent = new Int32Array(DNS_TCP_QUERIES_MAX);
  /** Octets of the answer that are here. */
  private readonly got = new Int32Array(DNS_TCP_QUERIES_MAX);
  private readonly pair = new Int32Array(2);

  constructor(
    private readonly parts: UpstreamParts,
    /** DNS_TCP_QUERIES_MAX times DNS_TCP_SLOT_OCTETS octets of the arena. */
    private readonly regionAt: number,
    private readonly listener: UpstreamListener,
  ) {}

  queryAt(entry: number): number {
    return this.regionAt + (entry - DNS_QUERIES_MAX) * DNS_TCP_SLOT_OCTETS + LENGTH_OCTETS;
  }

  askedId(entry: number): number {
    return id(this.parts.view, this.queryAt(entry));
  }

  /** An entry whose connection waits for a question to that resolver, or -1. */
  idleTo(index: number): number {
    for (let slot = 0; this.idleCount > 0 && slot < DNS_TCP_QUERIES_MAX; slot++) {
      if (this.idle[slot] !== 0 && this.resolver[slot] === index) return slot + DNS_QUERIES_MAX;
    }
    return -1;
  }

  ask(entry: number, index: number, length: number): number {
    const slot = entry - DNS_QUERIES_MAX;
    const { view, random } = this.parts;
    setId(view, this.queryAt(entry), random() & 0xffff);
    view.setUint16(this.queryAt(entry) - LENGTH_OCTETS, length);
    this.total[slot] = LENGTH_OCTETS + length;
    if (this.idle[slot] !== 0 && this.resolver[slot] === index) {
      this.wake(slot);
      this.sent[slot] = 0;
      this.got[slot] = 0;
      const result = this.send(slot);
      if (result >= 0) return result;
    }
    return this.connect(entry, index);
  }

  private connect(entry: number, index: number): number {
    const slot = entry - DNS_QUERIES_MAX;
    this.close(entry);
    const { network, resolvers, token } = this.parts;
    const handle = network.tcpConnect(token + entry, resolvers.words(index));
    if (handle < 0) return handle;
    this.handle[slot] = handle;
    this.resolver[slot] = index;
    this.connecting[slot] = 1;
    this.reused[slot] = 0;
    this.sent[slot] = 0;
    this.got[slot] = 0;
    return this.send(slot);
  }

  /** Nothing of it can be lost. */
  repeat(): boolean {
    return true;
  }

  /** Sends what the kernel takes, once connected. Returns 0, or -errno. */
  private send(slot: number): number {
    const { network } = this.parts;
    if (this.connecting[slot] !== 0) {
      const result = network.connectResult(this.handle[slot]);
      if (result === EINPROGRESS) return 0;
      if (result < 0) return result;
      this.connecting[slot] = 0;
    }
    const at = this.queryAt(slot + DNS_QUERIES_MAX) - LENGTH_OCTETS;
    while (this.sent[slot] < this.total[slot]) {
      this.pair[0] = at + this.sent[slot];
      this.pair[1] = this.total[slot] - this.sent[slot];
      const taken = network.tcpSend(this.handle[slot], this.pair, 1);
      if (taken === EAGAIN) return 0;
      if (taken < 0) return taken;
      this.sent[slot] += taken;
    }
    return 0;
  }

  receive(entry: number): boolean {
    const slot = entry - DNS_QUERIES_MAX;
    if (this.handle[slot] === NO_HANDLE) return false;
    const at = this.queryAt(entry) - LENGTH_OCTETS + ANSWER_OFFSET;
    if (this.idle[slot] !== 0) {
      this.pair[0] = at;
      this.pair[1] = ANSWER_OCTETS;
      // The resolver hung up, or says what nobody asked for. An event alone means neither.
      if (this.parts.network.tcpReceive(this.handle[slot], this.pair, 1) !== EAGAIN) this.close(entry);
      return false;
    }
    if (this.sent[slot] < this.total[slot] && this.send(slot) < 0) return this.broken(entry);
    if (this.connecting[slot] !== 0) return false;
    for (let round = 0; this.listener.mayRead(entry, round); round++) {
      this.pair[0] = at + this.got[slot];
      this.pair[1] = ANSWER_OCTETS - this.got[slot];
      const count = this.parts.network.tcpReceive(this.handle[slot], this.pair, 1);
      if (count === EAGAIN) return false;
      if (count <= 0) return this.broken(entry);
      this.got[slot] += count;
      if (this.passOn(entry, slot, at)) return true;
    }
    return false;
  }

  /** Hands on the messages that are complete. Returns true when that settled the entry. */
  private passOn(entry: number, slot: number, at: number): boolean {
    const { view, octets } = this.parts;
    while (this.got[slot] >= LENGTH_OCTETS) {
      const length = view.getUint16(at);
      if (length < DNS_HEADER_OCTETS) return this.broken(entry);
      const whole = LENGTH_OCTETS + length;
      if (this.got[slot] < whole) return false;
      if (this.listener.message(entry, at + LENGTH_OCTETS, length)) return true;
      octets.copyWithin(at, at + whole, at + this.got[slot]);
      this.got[slot] -= whole;
    }
    return false;
  }

  /** The connection is of no use any more. One that had been kept is opened anew, once. */
  private broken(entry: number): boolean {
    const slot = entry - DNS_QUERIES_MAX;
    if (this.reused[slot] !== 0 && this.got[slot] === 0 && this.resolver[slot] >= 0) {
      if (this.connect(entry, this.resolver[slot]) >= 0) return false;
    }
    this.listener.refused(entry);
    return true;
  }

  /** The question has its answer, the last octets that came: the connection may serve another one. */
  done(entry: number, nowMs: number): void {
    const slot = entry - DNS_QUERIES_MAX;
    const answerAt = this.queryAt(entry) - LENGTH_OCTETS + ANSWER_OFFSET;
    const isClean =
      this.handle[slot] !== NO_HANDLE &&
      this.resolver[slot] >= 0 &&
      this.got[slot] === LENGTH_OCTETS + this.parts.view.getUint16(answerAt);
    if (!isClean) {
      this.close(entry);
      return;
    }
    this.reused[slot] = 1;
    this.idle[slot] = 1;
    this.idleCount++;
    this.idleUntil[slot] = (nowMs + IDLE_MS) | 0;
  }

  /** Closes connections that have waited long enough. */
  poll(nowMs: number): void {
    for (let slot = 0; this.idleCount > 0 && slot < DNS_TCP_QUERIES_MAX; slot++) {
      if (this.idle[slot] !== 0 && ((nowMs - this.idleUntil[slot]) | 0) >= 0)
        this.close(slot + DNS_QUERIES_MAX);
    }
  }

  /** Milliseconds until `poll` has something to do, or -1. */
  nextDeadlineMs(nowMs: number): number {
    let soonest = -1;
    for (let slot = 0; this.idleCount > 0 && slot < DNS_TCP_QUERIES_MAX; slot++) {
      if (this.idle[slot] === 0) continue;
      const left = Math.max(0, (this.idleUntil[slot] - nowMs) | 0);
      if (soonest < 0 || left < soonest) soonest = left;
    }
    return soonest;
  }

  /** Resolvers have other numbers now, or are gone. */
  forgetResolvers(): void {
    this.resolver.fill(-1);
    this.closeIdle();
  }

  closeIdle(): void {
    for (let slot = 0; slot < DNS_TCP_QUERIES_MAX; slot++) {
      if (this.idle[slot] !== 0) this.close(slot + DNS_QUERIES_MAX);
    }
  }

  private wake(slot: number): void {
    if (this.idle[slot] === 0) return;
    this.idle[slot] = 0;
    this.idleCount--;
  }

  close(entry: number): void {
    const slot = entry - DNS_QUERIES_MAX;
    this.wake(slot);
    if (this.handle[slot] !== NO_HANDLE) this.parts.network.tcpClose(this.handle[slot], false);
    this.handle[slot] = NO_HANDLE;
    this.connecting[slot] = 0;
  }
}
