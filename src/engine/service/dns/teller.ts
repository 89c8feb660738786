/** Tells whoever asked of DNS questions that have ended: who asked what, and what came of it. */
import type { FlowLedger } from "../../transport/flow-ledger.ts";
import type { Ends } from "../../transport/path.ts";
import type { DnsEnd } from "../../transport/recorder.ts";
import {
  DNS_HEADER_OCTETS,
  flags,
  QUESTION_FIXED_OCTETS,
  questionType,
  RCODE_MASK,
  takeAddresses,
} from "../../wire/dns.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import { setMapped } from "../../wire/mapped-address.ts";
import { ANSWERED_BY, DNS_ADDRESSES_MAX } from "../../wire/record.ts";

const BY_RESOLVER = ANSWERED_BY.indexOf("resolver");
export const BY_SLUICE = ANSWERED_BY.indexOf("sluice");
export const BY_NOBODY = ANSWERED_BY.indexOf("nobody");

export class DnsTeller implements DnsEnd {
  readonly guest = new Int32Array(4);
  guestPort = 0;
  overTcp = false;
  answeredBy = BY_NOBODY;
  type = 0;
  rcode = -1;
  ttl = 0;
  durationMs = 0;
  addressCount = 0;
  nameAt = 0;
  nameOctets = 0;
  private readonly addresses = new Int32Array(DNS_ADDRESSES_MAX * 4);
  private readonly leastTtl = new Uint32Array(1);

  constructor(
    private readonly view: DataView,
    private readonly ledger: FlowLedger,
  ) {}

  /** Whether anybody wants to hear of questions. */
  get isHeard(): boolean {
    return this.ledger.recorder?.wantsDns === true;
  }

  /** The answer to come is this message of a resolver, whose question ends after `end` octets. */
  answer(at: number, length: number, end: number): void {
    this.answeredBy = BY_RESOLVER;
    this.rcode = flags(this.view, at) & RCODE_MASK;
    this.leastTtl[0] = 0xffffffff;
    this.addressCount = takeAddresses(this.view, at, length, end, this.addresses, this.leastTtl);
    this.ttl = this.addressCount === 0 ? 0 : this.leastTtl[0];
  }

  /** The answer to come is our own, or none that somebody else gave: `rcode` is -1. */
  ownAnswer(by: number, rcode: number, address: number): void {
    this.answeredBy = by;
    this.rcode = rcode;
    this.ttl = 0;
    this.addressCount = address === 0 ? 0 : 1;
    setMapped(this.addresses, 0, address);
  }

  /** What was asked: the message at `at`, whose question ends after `end` octets. */
  question(at: number, end: number, durationMs: number): void {
    const hasQuestion = end > DNS_HEADER_OCTETS;
    this.type = hasQuestion ? questionType(this.view, at, end) : 0;
    this.nameAt = at + DNS_HEADER_OCTETS;
    this.nameOctets = hasQuestion ? end - DNS_HEADER_OCTETS - QUESTION_FIXED_OCTETS : 0;
    this.durationMs = durationMs;
  }

  /** Whoever has the address `words[index]` and on asked it over UDP. */
  toldTo(words: Int32Array, index: number, port: number): void {
    for (let word = 0; word < 4; word++) this.guest[word] = words[index + word];
    this.guestPort = port;
    this.overTcp = false;
    this.ledger.recorder?.dns(this, this.addresses);
  }

  /** It was asked on the TCP connection with these ends. */
  toldOnStream(ends: Ends | null): void {
    const { guest } = this;
    this.guestPort = ends?.guestPort ?? 0;
    this.overTcp = true;
    if (ends !== null && ends.ipOctets === IPV4_HEADER_OCTETS) {
      setMapped(guest, 0, ends.guestAddress);
    } else {
      for (let word = 0; word < 4; word++) guest[word] = ends === null ? 0 : ends.pair[ends.pairAt + word];
    }
    this.ledger.recorder?.dns(this, this.addresses);
  }
}
