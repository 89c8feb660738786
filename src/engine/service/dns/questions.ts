/** The table of questions under way, and when something is due for one of them. Bounded; nothing is allocated. */
import { DNS_QUERIES_MAX, DNS_TCP_QUERIES_MAX } from "../../limits.ts";
import { RCODE_SERVFAIL } from "../../wire/dns.ts";
import type { Query } from "./query.ts";

/** Entries: those below DNS_QUERIES_MAX are asked over UDP, the others over TCP. */
export const QUESTIONS_MAX = DNS_QUERIES_MAX + DNS_TCP_QUERIES_MAX;
export const NO_QUESTION = -1;

export function isOverTcp(entry: number): boolean {
  return entry >= DNS_QUERIES_MAX;
}

export class Questions {
  inUse = 0;
  tcpInUse = 0;
  readonly used = new Uint8Array(QUESTIONS_MAX);
  /** Octets of the kept query, its hash, and where its question ends. */
  readonly length = new Int32Array(QUESTIONS_MAX);
  readonly hash = new Int32Array(QUESTIONS_MAX);
  readonly end = new Int32Array(QUESTIONS_MAX);
  /** Index of the resolver that is asked; -1 when that is none of the present ones. */
  readonly resolver = new Int32Array(QUESTIONS_MAX);
  /** Index of the resolver asked first, and how many have been asked since. */
  readonly first = new Int32Array(QUESTIONS_MAX);
  readonly attempts = new Int32Array(QUESTIONS_MAX);
  /** Resolvers in a row that failed, and the code the guest gets if that was the last one. */
  readonly refusals = new Int32Array(QUESTIONS_MAX);
  readonly failure = new Uint8Array(QUESTIONS_MAX);
  readonly startedAt = new Int32Array(QUESTIONS_MAX);
  private readonly dueAt = new Int32Array(QUESTIONS_MAX);
  /** Zone transfers are answered by many messages, to one asker; whether there have been some. */
  readonly transfer = new Uint8Array(QUESTIONS_MAX);
  readonly passed = new Uint8Array(QUESTIONS_MAX);
  /** It is due to be read again, not to be given up. */
  readonly held = new Uint8Array(QUESTIONS_MAX);
  /** No entry is due before this; it may be early. Meaningless while `inUse` is 0. */
  private earliestDue = 0;

  /** A question begins with the resolver of number `first`. */
  begin(entry: number, query: Query, first: number): void {
    this.used[entry] = 1;
    this.inUse++;
    if (isOverTcp(entry)) this.tcpInUse++;
    this.length[entry] = query.length;
    this.hash[entry] = query.hash;
    this.end[entry] = query.end;
    this.resolver[entry] = -1;
    this.first[entry] = first;
    this.attempts[entry] = 0;
    this.refusals[entry] = 0;
    this.failure[entry] = RCODE_SERVFAIL;
    this.transfer[entry] = 0;
    this.passed[entry] = 0;
    this.held[entry] = 0;
    this.startedAt[entry] = query.nowMs;
  }

  remove(entry: number): void {
    this.used[entry] = 0;
    this.inUse--;
    if (isOverTcp(entry)) this.tcpInUse--;
  }

  /** A free entry for a question over UDP or over TCP, or NO_QUESTION. */
  free(overTcp: boolean): number {
    const entry = this.used.indexOf(0, overTcp ? DNS_QUERIES_MAX : 0);
    return entry < 0 || isOverTcp(entry) !== overTcp ? NO_QUESTION : entry;
  }

  /** The question among entries `from` to `to` that has been under way longest, but for `except`; or NO_QUESTION. */
  oldest(from: number, to: number, except: number): number {
    let oldest = NO_QUESTION;
    for (let entry = from; entry < to; entry++) {
      if (this.used[entry] === 0 || entry === except) continue;
      if (oldest < 0 || ((this.startedAt[entry] - this.startedAt[oldest]) | 0) < 0) oldest = entry;
    }
    return oldest;
  }

  /** The resolvers are others: every question begins anew with them once it is done with the one it asked. */
  restart(): void {
    this.first.fill(0);
    this.attempts.fill(0);
    this.refusals.fill(0);
    this.resolver.fill(-1);
  }

  schedule(entry: number, due: number): void {
    this.dueAt[entry] = due;
    if (this.inUse === 1 || ((due - this.earliestDue) | 0) < 0) this.earliestDue = due;
  }

  /** Whether a look at all entries may find one that is due. */
  anyDue(nowMs: number): boolean {
    return this.inUse > 0 && ((nowMs - this.earliestDue) | 0) >= 0;
  }

  isDue(entry: number, nowMs: number): boolean {
    return this.used[entry] !== 0 && ((nowMs - this.dueAt[entry]) | 0) >= 0;
  }

  findEarliest(): void {
    let found = false;
    for (let entry = 0; entry < QUESTIONS_MAX; entry++) {
      if (this.used[entry] === 0) continue;
      if (!found || ((this.dueAt[entry] - this.earliestDue) | 0) < 0) this.earliestDue = this.dueAt[entry];
      found = true;
    }
  }

  /** Milliseconds until something is due, or -1. */
  nextDeadlineMs(nowMs: number): number {
    return this.inUse === 0 ? -1 : Math.max(0, (this.earliestDue - nowMs) | 0);
  }
}
