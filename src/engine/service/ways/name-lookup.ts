/** Asks a resolver for names that a guest has only a stand-in of, once a connection may go there straight. */
import { ADDRESS_PORT, type AddressWords } from "../../boundary.ts";
import type { PolicyWay } from "../../config.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { isLegitimate6 } from "../../network/addresses.ts";
import { type Destinations, GO, TRANSLATED } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import { Name } from "../../policy/name.ts";
import type { Policy } from "../../policy/policy.ts";
import { NO_RULE, PINNED, PINNED_PRIVATE } from "../../policy/rule-set.ts";
import { OVER_TCP } from "../../policy/targets.ts";
import {
  DNS_HEADER_OCTETS,
  flags,
  makeQuestion,
  questionEnd,
  RCODE_MASK,
  TYPE_A,
  TYPE_AAAA,
} from "../../wire/dns.ts";
import { DnsAnswer } from "../../wire/dns-answer.ts";
import { isMapped } from "../../wire/mapped-address.ts";
import { type Detour, FOUND_MAX, RESOLVED, TO_RESOLVE } from "./detour.ts";

const DENIED = dropReason("policy-denied");
const MISMATCH = dropReason("policy-name-mismatch");
const NAME_PRIVATE = dropReason("policy-name-private");

const WORDS = 4;
/** Numbers of places fit into as many bits of an id; the others tell questions of one place apart. */
const PLACE_BITS = 10;
const PLACE_MASK = (1 << PLACE_BITS) - 1;

export interface NameLookupParts {
  readonly view: DataView;
  readonly policy: Policy;
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
  readonly allowLinkLocal: boolean;
  /** Asks a question of our own. */
  readonly ask: (message: Uint8Array, nowMs: number) => void;
}

export class NameLookup {
  /** Told that place `n` has its answer. */
  found: () => void = () => {};
  private readonly answer = new DnsAnswer();
  private readonly name = new Name();
  private readonly pair = new Int32Array(2 * WORDS);
  private round = 0;

  constructor(private readonly parts: NameLookupParts) {}

  /** Whether a way leads to a port that no connection of the guest reaches. */
  isForbidden({ target }: PolicyWay): boolean {
    return this.parts.destinations.controlPorts?.isOperators(target) === true;
  }

  /** Asks for the name of `detour`, which has place `n`. */
  ask(n: number, { end, asksIpv6 }: Detour, nowMs: number): void {
    this.round = (this.round + 1) & (0xffff >> PLACE_BITS);
    const id = (this.round << PLACE_BITS) | n;
    const name = end.name.subarray(0, end.nameOctets);
    this.parts.ask(makeQuestion(id, name, asksIpv6 ? TYPE_AAAA : TYPE_A), nowMs);
  }

  /** Whether an answer to one of our own questions belongs to one of these; it is noted then. */
  answered(detours: readonly Detour[], at: number, length: number): boolean {
    const { view } = this.parts;
    const n = view.getUint16(at) & PLACE_MASK;
    if (n >= detours.length) return false;
    const detour = detours[n];
    const end = questionEnd(view, at, length);
    const { name, answer } = this;
    if (detour.step !== TO_RESOLVE || end === DNS_HEADER_OCTETS) return false;
    if (!name.readLabels(view, at + DNS_HEADER_OCTETS, at + end)) return false;
    if (!name.hasSuffix(name.labels, detour.end.name, 0, detour.end.nameOctets)) return false;
    detour.foundCount = 0;
    if ((flags(view, at) & RCODE_MASK) === 0) {
      answer.read(view, at, length, end);
      for (let i = 0; i < answer.count && i < FOUND_MAX; i++) {
        for (let word = 0; word < WORDS; word++)
          detour.found[i * WORDS + word] = answer.words[i * WORDS + word];
        detour.foundCount++;
      }
    }
    detour.step = RESOLVED;
    this.found();
    return true;
  }

  /**
   * Puts the first address found that the guest may reach into `to`. Returns 0, the drop reason of the last that it may not,
   * or -1 where there are none.
   */
  choose({ end, found, foundCount }: Detour, to: AddressWords): number {
    let reason = -1;
    for (let i = 0; i < foundCount; i++) {
      if (!this.isReachable(found, i * WORDS, end.port, to)) continue;
      if (!this.name.readText(end.name, 0, end.nameOctets)) return reason;
      reason = this.judge(found, i * WORDS, end.port);
      if (reason === 0) return 0;
    }
    return reason;
  }

  /** Whether a connection to `name` may go to this address of it straight. Returns 0, or the drop reason that says why not. */
  private judge(words: Int32Array, at: number, port: number): number {
    const { policy } = this.parts;
    const { flow, rules } = policy;
    const all = flow.candidates(words, at);
    for (let i = 0; i < all; i++) {
      flow.take(i, words, at);
      const isPrivate = rules.isPrivate(flow.words, 0);
      const named = rules.nameRule(this.name, port, OVER_TCP, isPrivate ? PINNED_PRIVATE : PINNED);
      const rule = Math.min(named, rules.addressRule(flow.words, 0, port, OVER_TCP));
      if (rule !== NO_RULE && !rules.allows(rule)) return DENIED;
      if (!rules.allows(rule) || policy.wayOf(rule) !== null) return isPrivate ? NAME_PRIVATE : MISMATCH;
    }
    return 0;
  }

  private isReachable(words: Int32Array, at: number, port: number, to: AddressWords): boolean {
    const { destinations, destinations6, allowLinkLocal } = this.parts;
    if (isMapped(words, at)) {
      const verdict = destinations.reach(words[at + 3], port, to);
      return verdict === GO || verdict === TRANSLATED;
    }
    for (let word = 0; word < WORDS; word++) this.pair[WORDS + word] = words[at + word];
    if (destinations6 !== null) return destinations6.reach(this.pair, port, to) === GO;
    for (let word = 0; word < WORDS; word++) to[word] = words[at + word];
    to[ADDRESS_PORT] = port;
    return isLegitimate6(words, at, allowLinkLocal) && !destinations.controlPorts?.has(to);
  }
}
