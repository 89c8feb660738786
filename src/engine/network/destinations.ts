/**
 * Where the guest's packets may go (never to the host's own loopback, link-local or nonsense addresses unless the
 * operator allows it), and what the host side looks like from the guest. Every answer is an int; asked once per TCP
 * connection and per UDP datagram.
 */

import { ADDRESS_PORT, type AddressWords } from "../boundary.ts";
import { type EngineConfig, NOBODY } from "../config.ts";
import { QUESTIONS_MAX } from "../limits.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { isMulticast } from "../wire/ipv4.ts";
import { isMapped, setMapped } from "../wire/mapped-address.ts";
import { embedIpv4, type Nat64Prefix } from "../wire/translated-address.ts";
import { DNS_PORT } from "../wire/udp.ts";
import { isGlobal4, isLegitimate4 } from "./addresses.ts";
import type { ControlPorts } from "./control-ports.ts";
import type { FlowJudge, Wish } from "./judge.ts";

/**
 * A verdict is an int: 0 and more name the guest-forward that serves the address, GO says that the host may be asked, and
 * a refusal carries its drop reason.
 */
export const GO = -1;
/** The connection ends in the engine: DNS over TCP. (No refusal has this number: drop reason 0 is none.) */
export const HERE = -2;
/** The host may be asked, and the connection has to show a name before octets flow. (No drop reason has so high a number.) */
export const CHECK = -0x10000;
/**
 * The connection is refused, and ends in the engine, which says why once it has shown the name that its port's protocol says.
 * (No drop reason has so high a number either.)
 */
export const EXPLAIN = CHECK + 1;
/**
 * Verdicts for connections about which somebody has yet to decide carry the ticket by which the decision will come: one
 * range of numbers for those that are then to GO, and one below it for those that are to CHECK.
 */
const TICKETS = 0x100000;
/** The last of them are a policy's questions; an embedding program has those before. */
export const QUESTION_TICKETS = TICKETS - QUESTIONS_MAX;

export function wait(ticket: number, verdict: number): number {
  return (verdict === CHECK ? -2 * TICKETS : -TICKETS) - ticket;
}

/** The ticket of such a verdict, or -1. */
export function ticketOf(verdict: number): number {
  return verdict > -TICKETS ? -1 : -verdict & (TICKETS - 1);
}

/** Whether the connection has to show a name, now or once somebody has decided. */
export function isChecked(verdict: number): boolean {
  return verdict === CHECK || verdict <= -2 * TICKETS;
}

/** For a datagram: it may go to a group. */
export const GROUP = 0;
/** For a datagram: it may go to a global address, by a translator. */
export const TRANSLATED = 1;

/**
 * What is refused fails at once: TCP gets a reset (as from libslirp under restrict=on), UDP has no such word; both hear of it by
 * ICMP where that is wanted (unreachable.ts).
 */
export function refuse(reason: number): number {
  return -2 - reason;
}

/** The drop reason of a refusal. */
export function reasonOf(verdict: number): number {
  return -2 - verdict;
}

const LOOPBACK = 0x7f000001;

const REFUSED = dropReason("destination-refused");
const RESTRICTED = dropReason("destination-restricted");
const NO_SERVICE = dropReason("destination-no-service");
const SILENT = dropReason("destination-silent");
const CONTROL = dropReason("control-refused");
const NOT_LEGITIMATE = refuse(REFUSED);

/** Whether a packet dropped for `reason` was one that the guest may not send where it wanted to. */
export function isDenial(reason: number): boolean {
  return reason === REFUSED || reason === RESTRICTED || reason === NO_SERVICE || reason === CONTROL;
}

export class Destinations {
  private readonly netmask: number;
  /** Where global addresses go, or null: where they are. */
  private nat64: Nat64Prefix | null = null;
  /** Whatever may go out goes where it is addressed to. */
  private isDirect: boolean;
  /** The aliases of the host, and where each leads, by index. */
  private readonly aliases: Int32Array;
  private readonly aliasTargets: Int32Array;
  /** Where connections are refused whatever else is allowed; null: there is no such port. */
  controlPorts: ControlPorts | null = null;

  constructor(
    private readonly config: EngineConfig,
    private readonly judge: FlowJudge | null,
  ) {
    this.isDirect = !config.restrict;
    this.netmask = config.prefixLength === 0 ? 0 : (-1 << (32 - config.prefixLength)) | 0;
    this.aliases = Int32Array.from(config.hostAliases, ({ address }) => address);
    this.aliasTargets = Int32Array.from(config.hostAliases, ({ target }) => target);
  }

  /** From now on global addresses are reached by a translator with this prefix, or again as they are (null). */
  translate(nat64: Nat64Prefix | null): void {
    this.nat64 = nat64;
    this.isDirect = !this.config.restrict && nat64 === null;
  }

  /** Where this global address goes, four words; zeros while it goes out as it is. */
  translated(address: number): Int32Array {
    const words = new Int32Array(4);
    if (this.nat64 !== null) embedIpv4(this.nat64.words, this.nat64.length, address, words, 0);
    return words;
  }

  /** Whether a datagram to `address` was dropped because the guest may not reach it, and one station could have that address. */
  isDenied(address: number, reason: number): boolean {
    return isDenial(reason) && this.isStation(address);
  }

  /** Whether one station could have this address. */
  isStation(address: number): boolean {
    const first = address >>> 24;
    return first !== 0 && first < 224 && !this.isGuestNetworkBroadcast(address);
  }

  onGuestNetwork(address: number): boolean {
    return (address & this.netmask) === (this.config.network & this.netmask);
  }

  isGuestNetworkBroadcast(address: number): boolean {
    if (address === -1) return true;
    return this.config.prefixLength < 31 && address === (this.config.network | ~this.netmask);
  }

  /** A new TCP connection. Fills `to` if it goes out. */
  tcp(wish: Wish, to: AddressWords): number {
    const services = this.config.guestForwards;
    for (let i = 0; i < services.length; i++) {
      const { address, address6, port } = services[i];
      if (address === wish.remoteAddress && port === wish.remotePort && address6 === undefined) {
        setTarget(to, wish.remoteAddress, wish.remotePort);
        return this.controlPorts?.isService(services[i]) ? refuse(CONTROL) : i;
      }
    }
    if (wish.remoteAddress === this.config.dns && wish.remotePort === DNS_PORT && this.config.dns !== 0) {
      return HERE;
    }
    const verdict = this.route(wish, to);
    const goes = verdict === GO || verdict === TRANSLATED;
    if (!goes) return verdict;
    if (this.controlPorts?.has(to)) return refuse(CONTROL);
    return this.judge === null ? GO : this.judge.tcp(wish);
  }

  /** A datagram to a remote. Fills `to` unless it is refused. */
  udp(wish: Wish, to: AddressWords, nowMs: number): number {
    let verdict = this.route(wish, to);
    if (verdict === NOT_LEGITIMATE && this.config.allowMulticast && isMulticast(wish.remoteAddress)) {
      setTarget(to, wish.remoteAddress, wish.remotePort);
      verdict = GROUP;
    }
    if (verdict >= GO && this.judge !== null) {
      const judged = this.judge.udp(wish, nowMs);
      if (judged !== GO) return judged;
    }
    return verdict;
  }

  /** Where a connection to an address leads by the rules for any address, whoever says it. Fills `to` if it goes out. */
  reach(remoteAddress: number, remotePort: number, to: AddressWords): number {
    const verdict = this.route({ guestAddress: 0, remoteAddress, remotePort }, to);
    const goes = verdict === GO || verdict === TRANSLATED;
    return goes && this.controlPorts?.has(to) ? refuse(CONTROL) : verdict;
  }

  /** The rules for any address. */
  private route(wish: Wish, to: AddressWords): number {
    return this.isDirect ? this.direct(wish, to) : this.indirect(wish, to);
  }

  private indirect(wish: Wish, to: AddressWords): number {
    if (this.config.restrict) return refuse(RESTRICTED);
    const verdict = this.direct(wish, to);
    const { nat64 } = this;
    // Private networks are where they are, if anywhere, and so is the host's loopback.
    if (verdict !== GO || nat64 === null || !isGlobal4(to[3])) return verdict;
    embedIpv4(nat64.words, nat64.length, to[3], to, 0);
    return TRANSLATED;
  }

  private direct(wish: Wish, to: AddressWords): number {
    const remote = wish.remoteAddress;
    const alias = this.aliases.length === 0 ? -1 : this.aliases.indexOf(remote);
    let target = remote;
    if (alias >= 0) target = this.aliasTargets[alias];
    else if (remote === this.config.gateway && this.config.allowHostLoopback) target = LOOPBACK;
    else if (this.isOurs(remote)) return refuse(NO_SERVICE);
    else if (!isLegitimate4(remote, this.config.allowLinkLocal)) return NOT_LEGITIMATE;
    if (target === 0) return refuse(NO_SERVICE);
    if (target === NOBODY) return refuse(SILENT);
    setTarget(to, target, wish.remotePort);
    return GO;
  }

  /** Whether nobody on the host's side can be meant by this address: it is of the guest's link. */
  private isOurs(address: number): boolean {
    const { config } = this;
    if (config.sharedSubnet) return address === config.guestAddress || this.isGuestNetworkBroadcast(address);
    return this.onGuestNetwork(address) || address === config.gateway;
  }

  /**
   * What a host-side IPv4 address looks like to the guest: one that an alias stands for as that alias, loopback and
   * others that the guest could not answer as the gateway.
   */
  seenByGuest(address: number): number {
    const alias = this.aliasTargets.length === 0 ? -1 : this.aliasTargets.indexOf(address);
    if (alias >= 0) return this.aliases[alias];
    return address >>> 24 === 127 || this.isOurs(address) ? this.config.gateway : address;
  }

  /** The same of a client in the four words, which may have an IPv6 address: it appears as the gateway then. */
  clientSeenByGuest(words: AddressWords, index = 0): number {
    return isMapped(words, index) ? this.seenByGuest(words[index + 3]) : this.config.gateway;
  }
}

function setTarget(to: AddressWords, address: number, port: number): void {
  setMapped(to, 0, address);
  to[ADDRESS_PORT] = port;
}
