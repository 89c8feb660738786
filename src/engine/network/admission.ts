/**
 * What an embedding program says of each flow: asked once per TCP connection and once per remote of UDP, whose verdict
 * stands for as long as a mapping would. Exists only where a program wants to be asked.
 */
import { dropReason } from "../metrics/drop-reasons.ts";
import { formatIpv4, formatIpv6 } from "../wire/address-text.ts";
import { GO, refuse, wait } from "./destinations.ts";
import type { FlowJudge, Wish, Wish6 } from "./judge.ts";

/**
 * The program's own say. Addresses are text: dotted quads, or IPv6 by RFC 5952. A number is a ticket, 0 to TICKETS - 1: the
 * answer comes later (`EngineCore.decide`), and a datagram does not go meanwhile.
 */
export type Admit = (
  protocol: "tcp" | "udp",
  guestAddress: string,
  remoteAddress: string,
  remotePort: number,
) => boolean | number;

const PAIR_WORDS = 8;
/** In `port`: the verdict is about addresses of IPv6. */
const FAMILY_IPV6 = 0x10000;

/** Verdicts remembered: a power of two. Two remotes that share a place are asked about in turn, no more. */
const VERDICTS_MAX = 8192;
const UNKNOWN = 0;
const ALLOWED = 1;
const REFUSED = 2;

export class Admission {
  private readonly guest = new Int32Array(VERDICTS_MAX);
  private readonly remote = new Int32Array(VERDICTS_MAX);
  /** Both addresses of IPv6: memory that only they touch. */
  private readonly pairs = new Int32Array(VERDICTS_MAX * PAIR_WORDS);
  private readonly port = new Int32Array(VERDICTS_MAX);
  private readonly verdict = new Uint8Array(VERDICTS_MAX);
  private readonly askedAtMs = new Int32Array(VERDICTS_MAX);

  constructor(
    private readonly admit: Admit,
    private readonly udpTimeoutMs: number,
  ) {}

  tcp(wish: Wish): boolean | number {
    return this.admit("tcp", formatIpv4(wish.guestAddress), formatIpv4(wish.remoteAddress), wish.remotePort);
  }

  tcp6({ pair, remotePort }: Wish6): boolean | number {
    return this.admit("tcp", formatIpv6(pair, 0), formatIpv6(pair, 4), remotePort);
  }

  udp(wish: Wish, nowMs: number): boolean {
    const { guestAddress, remoteAddress, remotePort } = wish;
    const mixed = Math.imul(remoteAddress ^ Math.imul(remotePort, 0x9e3779b1) ^ guestAddress, 0x85ebca6b);
    const i = (mixed >>> 16) & (VERDICTS_MAX - 1);
    if (
      this.verdict[i] !== UNKNOWN &&
      this.remote[i] === remoteAddress &&
      this.port[i] === remotePort &&
      this.guest[i] === guestAddress &&
      ((nowMs - this.askedAtMs[i]) | 0) < this.udpTimeoutMs
    ) {
      return this.verdict[i] === ALLOWED;
    }
    const allowed = this.admit("udp", formatIpv4(guestAddress), formatIpv4(remoteAddress), remotePort);
    if (typeof allowed === "number") return false;
    this.guest[i] = guestAddress;
    this.remote[i] = remoteAddress;
    return this.note(i, remotePort, allowed, nowMs);
  }

  udp6({ pair, remotePort }: Wish6, nowMs: number): boolean {
    let mixed = Math.imul(remotePort, 0x9e3779b1);
    for (let word = 0; word < PAIR_WORDS; word++) mixed = Math.imul(mixed ^ pair[word], 0x85ebca6b);
    const i = (mixed >>> 16) & (VERDICTS_MAX - 1);
    const at = i * PAIR_WORDS;
    let isKnown = this.verdict[i] !== UNKNOWN && this.port[i] === (remotePort | FAMILY_IPV6);
    for (let word = 0; word < PAIR_WORDS && isKnown; word++) isKnown = this.pairs[at + word] === pair[word];
    if (isKnown && ((nowMs - this.askedAtMs[i]) | 0) < this.udpTimeoutMs) return this.verdict[i] === ALLOWED;
    const allowed = this.admit("udp", formatIpv6(pair, 0), formatIpv6(pair, 4), remotePort);
    if (typeof allowed === "number") return false;
    for (let word = 0; word < PAIR_WORDS; word++) this.pairs[at + word] = pair[word];
    return this.note(i, remotePort | FAMILY_IPV6, allowed, nowMs);
  }

  private note(i: number, port: number, allowed: boolean, nowMs: number): boolean {
    this.port[i] = port;
    this.verdict[i] = allowed ? ALLOWED : REFUSED;
    this.askedAtMs[i] = nowMs;
    return allowed;
  }
}

const NOT_ADMITTED = refuse(dropReason("destination-refused"));

function verdictOf(said: boolean | number): number {
  if (typeof said === "number") return wait(said, GO);
  return said ? GO : NOT_ADMITTED;
}

/** The program's say as a verdict. */
export class AdmissionJudge implements FlowJudge {
  constructor(private readonly admission: Admission) {}

  tcp(wish: Wish): number {
    return verdictOf(this.admission.tcp(wish));
  }

  tcp6(wish: Wish6): number {
    return verdictOf(this.admission.tcp6(wish));
  }

  udp(wish: Wish, nowMs: number): number {
    return this.admission.udp(wish, nowMs) ? GO : NOT_ADMITTED;
  }

  udp6(wish: Wish6, nowMs: number): number {
    return this.admission.udp6(wish, nowMs) ? GO : NOT_ADMITTED;
  }
}
