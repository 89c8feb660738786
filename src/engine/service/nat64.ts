/**
 * The way to IPv4 on a host that has IPv6 alone: a translator of its network (NAT64, RFC 6146), which is reached by writing
 * IPv4 addresses as IPv6 ones of a prefix (RFC 6052). Decides which prefix that is, and when it is used:
 *
 *   prefix given      known from the start
 *   auto              while the host has IPv6 alone its resolvers are asked for ipv4only.arpa (nat64-discovery.ts); what they
 *                     know holds for the answer's TTL, and with other resolvers another may
 *
 *   known, and the host has IPv6 alone     the guest's IPv4 goes out by it
 *   known, and the host has IPv6           guests are told of it (RFC 8781), and that they can do without IPv4 (RFC 8925)
 */
import type { Nat64Config } from "../config.ts";
import type { Nat64Prefix } from "../wire/translated-address.ts";
import { IPV4ONLY_QUESTION, readPrefix } from "./nat64-discovery.ts";

/** An answer comes within the 10 s that a question lives, or not at all. */
const ANSWER_MS = 15_000;
/** When resolvers that had no answer are asked again, and how often at most those that had one. */
const AGAIN_MS = 60_000;
const AGAIN_MS_MAX = 86_400_000;

export interface Nat64Parts {
  readonly view: DataView;
  /** Has the host's resolvers asked; `answered` gets what comes of it. */
  readonly ask: (message: Uint8Array, nowMs: number) => void;
  /** What has changed: the prefix by which the guest's IPv4 goes out, and the one that guests may use. */
  readonly changed: (outward: Nat64Prefix | null, known: Nat64Prefix | null) => void;
  /** Whether translated addresses of the prefix, which a resolver gave, are somewhere outside. */
  readonly isOutside: (prefix: Nat64Prefix) => boolean;
}

export class Nat64 {
  private readonly given: Nat64Prefix | null;
  private found: Nat64Prefix | null = null;
  private outward: Nat64Prefix | null = null;
  private known: Nat64Prefix | null = null;
  private hasIpv4 = true;
  private hasIpv6 = false;
  private isAsking = false;
  /** The resolvers have changed since: the answer to come is not theirs. */
  private isStale = false;
  private dueMs = 0;

  constructor(
    config: Nat64Config | "auto",
    private readonly parts: Nat64Parts,
  ) {
    this.given = config === "auto" ? null : { words: Int32Array.from(config.prefix), length: config.length };
  }

  /** Whether the host has a way out, by family. */
  setUplinks(hasIpv4: boolean, hasIpv6: boolean, nowMs: number): void {
    const wasAlone = this.isAlone;
    this.hasIpv4 = hasIpv4;
    this.hasIpv6 = hasIpv6;
    if (this.given === null && this.isAlone !== wasAlone) {
      if (this.isAlone) this.ask(nowMs);
      else this.forget();
    }
    this.update();
  }

  /** Other resolvers, maybe of another network. */
  resolversChanged(nowMs: number): void {
    if (!this.seeks) return;
    if (this.isAsking) this.isStale = true;
    else this.dueMs = nowMs;
  }

  /** What came of a question: a message of `length` octets at `at`. */
  answered(at: number, length: number, nowMs: number): void {
    if (!this.isAsking) return;
    this.isAsking = false;
    if (this.isStale) {
      this.isStale = false;
      this.dueMs = nowMs;
      return;
    }
    const answer = readPrefix(this.parts.view, at, length);
    // Resolvers that fail say nothing about the network.
    if (answer !== null) {
      const { prefix } = answer;
      const found = prefix !== null && this.parts.isOutside(prefix) ? prefix : null;
      if (found === null || this.found === null || !isSame(found, this.found)) this.found = found;
    }
    const ttlMs = answer === null ? 0 : Math.min(answer.ttlSeconds, AGAIN_MS_MAX / 1000) * 1000;
    this.dueMs = (nowMs + Math.max(ttlMs, AGAIN_MS)) | 0;
    this.update();
  }

  /** Asks when it is time. */
  poll(nowMs: number): void {
    if (this.seeks && ((nowMs - this.dueMs) | 0) >= 0) this.ask(nowMs);
  }

  /** Milliseconds until `poll` has something to do, or -1. */
  nextDeadlineMs(nowMs: number): number {
    return this.seeks ? Math.max(0, (this.dueMs - nowMs) | 0) : -1;
  }

  private get isAlone(): boolean {
    return this.hasIpv6 && !this.hasIpv4;
  }

  private get seeks(): boolean {
    return this.given === null && this.isAlone;
  }

  private ask(nowMs: number): void {
    this.isAsking = true;
    this.isStale = false;
    this.dueMs = (nowMs + ANSWER_MS) | 0;
    this.parts.ask(IPV4ONLY_QUESTION, nowMs);
  }

  private forget(): void {
    this.isAsking = false;
    this.found = null;
  }

  private update(): void {
    const prefix = this.given ?? this.found;
    const known = this.hasIpv6 ? prefix : null;
    const outward = this.isAlone ? prefix : null;
    if (known === this.known && outward === this.outward) return;
    this.known = known;
    this.outward = outward;
    this.parts.changed(outward, known);
  }
}

function isSame(a: Nat64Prefix, b: Nat64Prefix): boolean {
  return a.length === b.length && a.words.every((word, i) => word === b.words[i]);
}
