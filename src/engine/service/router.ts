/**
 * Router advertisements (RFC 4861 section 6.2): what the guest hears of its router, and when.
 *
 *   at the link's start        to all nodes, three of them 16 s apart
 *   from then on               to all nodes, every 200 to 600 s, at random
 *   solicited                  at once, to who asked; to all nodes when it has no address yet
 *   the host's way out changed to all nodes, within a second
 *   at the end                 to all nodes, lifetime 0
 *
 * Those to all nodes that guests ask for are 3 s apart at least, however many ask (section 10). The lifetime is 0 while
 * the host has no way out: guests keep their addresses, and do not try IPv6 in vain. What could not be sent, because
 * the link was full or away, stays due.
 */
import type { ChecksumKernel, Entropy } from "../boundary.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { HANDLED } from "../metrics/drop-reasons.ts";
import { encodeDomainList } from "../wire/domain-list.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV6, writeEthernet } from "../wire/ethernet.ts";
import { finishIcmpv6 } from "../wire/icmpv6.ts";
import {
  DESTINATION,
  HOP_LIMIT_DEFAULT,
  HOP_LIMIT_ON_LINK,
  IPV6_HEADER_OCTETS,
  isUnspecified,
  NEXT_ICMPV6,
  readAddress,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";
import * as ndp from "../wire/ndp.ts";
import type { Nat64Prefix } from "../wire/translated-address.ts";

const ADVERTISEMENTS = counter("router-advertisements");

const ROUTER_LIFETIME_SECONDS = 1800;
/** Three times the longest interval, as RFC 8106 section 5.1 has it. */
const RESOLVER_LIFETIME_SECONDS = 1800;
const INITIAL_ADVERTISEMENTS = 3;
const INITIAL_INTERVAL_MS = 16_000;
const INTERVAL_MIN_MS = 200_000;
const INTERVAL_MAX_MS = 600_000;
/** MIN_DELAY_BETWEEN_RAS. */
const SOLICITED_INTERVAL_MS = 3000;
const CHANGE_INTERVAL_MS = 1000;
const RETRY_MS = 100;
/** Octets of names in an advertisement, so that all of it fits into the smallest MTU. */
const NAMES_OCTETS_MAX = 1024;

const ALL_NODES = Int32Array.of(0xff020000, 0, 0, 1);
const ALL_NODES_MAC_HIGH = 0x3333;
const ALL_NODES_MAC_LOW = 1;

export interface RouterOptions {
  readonly view: DataView;
  readonly checksum: ChecksumKernel;
  readonly counters: Counters;
  readonly entropy: Entropy;
  /** The router's link-local address. */
  readonly address: Int32Array;
  readonly mac: Uint8Array;
  /** The guest's /64, and how long addresses made of it are good, seconds. */
  readonly prefix: Int32Array;
  readonly preferredSeconds: number;
  readonly validSeconds: number;
  readonly mtu: number;
  /** DHCPv6 answers on this link. */
  readonly managed: boolean;
  /** Who answers DNS, or null. */
  readonly resolver: Int32Array | null;
  readonly searchDomains: readonly string[];
  /** Room for a frame until it has been sent, or 0 when there is none. */
  readonly keep: (octets: number) => number;
  /** Sends the frame of `octets` at `at`. False when the link takes none now. */
  readonly send: (at: number, octets: number) => boolean;
}

export class RouterAdvertiser {
  private readonly names: Uint8Array;
  /** Of a message without NAT64 prefixes. */
  private readonly messageOctets: number;
  private readonly macHigh: number;
  private readonly macLow: number;
  private readonly to = new Int32Array(4);
  private hasLink = false;
  private isDefaultRouter = false;
  /** The NAT64 prefix that guests are told of, and the one before, which they are told to forget (RFC 8781 section 4). */
  private nat64: Nat64Prefix | null = null;
  private formerNat64: Nat64Prefix | null = null;
  /** Advertisements of the link's start that are still to come. */
  private initialLeft = 0;
  private nextMs = 0;
  private advertisedMs = 0;
  /** An advertisement to all is wanted besides those of the schedule, and when. */
  private isWanted = false;
  private wantedMs = 0;
  private hasFailed = false;
  private retryMs = 0;

  constructor(private readonly options: RouterOptions) {
    this.names = namesOf(options.searchDomains);
    this.messageOctets =
      ndp.ROUTER_ADVERTISEMENT_OCTETS +
      ndp.LINK_LAYER_OPTION_OCTETS +
      ndp.MTU_OPTION_OCTETS +
      ndp.PREFIX_OPTION_OCTETS +
      (options.resolver === null ? 0 : ndp.RDNSS_OPTION_OCTETS) +
      (this.names.length === 0 ? 0 : ndp.dnsslOctets(this.names.length));
    const mac = new DataView(options.mac.buffer, options.mac.byteOffset, 6);
    this.macHigh = mac.getUint16(0);
    this.macLow = mac.getInt32(2);
  }

  /** A link that is new to the guest, or none. */
  linkChanged(hasLink: boolean, nowMs: number): void {
    this.hasLink = hasLink;
    this.initialLeft = INITIAL_ADVERTISEMENTS;
    this.nextMs = nowMs;
    this.isWanted = false;
    this.hasFailed = false;
    this.formerNat64 = null;
  }

  /** Whether the host has a way out, and guests a default router in us. */
  setDefaultRouter(isDefaultRouter: boolean, nowMs: number): void {
    if (this.isDefaultRouter === isDefaultRouter) return;
    this.isDefaultRouter = isDefaultRouter;
    this.tellChange(nowMs);
  }

  /** The prefix by which guests reach IPv4, or null. */
  setNat64(nat64: Nat64Prefix | null, nowMs: number): void {
    if (nat64 === this.nat64) return;
    this.formerNat64 = this.nat64;
    this.nat64 = nat64;
    this.tellChange(nowMs);
  }

  /** A guest that knows nothing yet hears by the schedule of the link's start, which is due. */
  private tellChange(nowMs: number): void {
    this.want((this.advertisedMs + CHANGE_INTERVAL_MS) | 0, nowMs);
  }

  /** A good solicitation in the packet at `ipAt`; the MAC is its sender's. */
  solicited(ipAt: number, macHigh: number, macLow: number, nowMs: number): number {
    const view = this.options.view;
    if (isUnspecified(view, ipAt + SOURCE)) {
      this.want((this.advertisedMs + SOLICITED_INTERVAL_MS) | 0, nowMs);
      this.poll(nowMs);
      return HANDLED;
    }
    readAddress(view, ipAt + SOURCE, this.to, 0);
    this.advertise(this.to, macHigh, macLow, this.lifetime());
    return HANDLED;
  }

  /** Sends what is due. */
  poll(nowMs: number): void {
    if (!this.hasLink || this.dueInMs(nowMs) > 0) return;
    if (!this.advertise(ALL_NODES, ALL_NODES_MAC_HIGH, ALL_NODES_MAC_LOW, this.lifetime())) {
      this.hasFailed = true;
      this.retryMs = (nowMs + RETRY_MS) | 0;
      return;
    }
    this.hasFailed = false;
    this.isWanted = false;
    this.advertisedMs = nowMs;
    if (this.initialLeft > 0) this.initialLeft--;
    this.nextMs = (nowMs + (this.initialLeft > 0 ? INITIAL_INTERVAL_MS : this.randomInterval())) | 0;
  }

  /** Milliseconds from `nowMs` until `poll` has something to do: 0 or more, or -1 without a link. */
  nextDeadlineMs(nowMs: number): number {
    return this.hasLink ? this.dueInMs(nowMs) : -1;
  }

  /** The engine ends: takes the default route back. What does not fit into the link now is lost. */
  close(): void {
    if (this.hasLink) this.advertise(ALL_NODES, ALL_NODES_MAC_HIGH, ALL_NODES_MAC_LOW, 0);
    this.hasLink = false;
  }

  private want(atMs: number, nowMs: number): void {
    const wantedMs = ((atMs - nowMs) | 0) > 0 ? atMs : nowMs;
    if (!this.isWanted || ((wantedMs - this.wantedMs) | 0) < 0) this.wantedMs = wantedMs;
    this.isWanted = true;
  }

  private dueInMs(nowMs: number): number {
    let left = (this.nextMs - nowMs) | 0;
    if (this.isWanted) left = Math.min(left, (this.wantedMs - nowMs) | 0);
    if (this.hasFailed) left = Math.max(left, (this.retryMs - nowMs) | 0);
    return Math.max(left, 0);
  }

  private randomInterval(): number {
    const span = INTERVAL_MAX_MS - INTERVAL_MIN_MS + 1;
    return INTERVAL_MIN_MS + ((this.options.entropy.int32() >>> 0) % span);
  }

  private lifetime(): number {
    return this.isDefaultRouter ? ROUTER_LIFETIME_SECONDS : 0;
  }

  private advertise(to: Int32Array, macHigh: number, macLow: number, lifetime: number): boolean {
    const { options } = this;
    const { view } = options;
    const prefixes = (this.nat64 === null ? 0 : 1) + (this.formerNat64 === null ? 0 : 1);
    const messageOctets = this.messageOctets + prefixes * ndp.PREF64_OPTION_OCTETS;
    const octets = ETHERNET_HEADER_OCTETS + IPV6_HEADER_OCTETS + messageOctets;
    const frameAt = options.keep(octets);
    if (frameAt === 0) return false;
    const ipAt = frameAt + ETHERNET_HEADER_OCTETS;
    const at = ipAt + IPV6_HEADER_OCTETS;
    writeEthernet(view, frameAt, macHigh, macLow, this.macHigh, this.macLow, ETHERTYPE_IPV6);
    writeIpv6(view, ipAt, messageOctets, NEXT_ICMPV6, HOP_LIMIT_ON_LINK, 0);
    writeAddress(view, ipAt + SOURCE, options.address, 0);
    writeAddress(view, ipAt + DESTINATION, to, 0);
    this.writeMessage(at, lifetime);
    finishIcmpv6(options.checksum, view, ipAt, at, messageOctets);
    if (!options.send(frameAt, octets)) return false;
    options.counters.add(ADVERTISEMENTS, 1);
    return true;
  }

  private writeMessage(at: number, lifetime: number): void {
    const { options } = this;
    const { view } = options;
    const { nat64, formerNat64 } = this;
    const routerFlags = options.managed ? ndp.MANAGED | ndp.OTHER : 0;
    at = ndp.writeRouterAdvertisement(view, at, HOP_LIMIT_DEFAULT, routerFlags, lifetime);
    at = ndp.writeLinkLayer(view, at, ndp.SOURCE_LINK_LAYER, this.macHigh, this.macLow);
    at = ndp.writeMtu(view, at, options.mtu);
    const { validSeconds, preferredSeconds } = options;
    const prefixFlags = ndp.ON_LINK | ndp.AUTONOMOUS;
    at = ndp.writePrefix(view, at, prefixFlags, validSeconds, preferredSeconds, options.prefix);
    if (options.resolver !== null) {
      at = ndp.writeRdnss(view, at, RESOLVER_LIFETIME_SECONDS, options.resolver);
    }
    if (this.names.length > 0) at = ndp.writeDnssl(view, at, RESOLVER_LIFETIME_SECONDS, this.names);
    if (nat64 !== null) at = ndp.writePref64(view, at, lifetime, nat64.words, nat64.length);
    if (formerNat64 !== null) ndp.writePref64(view, at, 0, formerNat64.words, formerNat64.length);
  }
}

/** As many of the domains as fit, in their order; DHCPv6 has them all. */
function namesOf(domains: readonly string[]): Uint8Array {
  let names = encodeDomainList([]);
  for (let count = 1; count <= domains.length; count++) {
    const more = encodeDomainList(domains.slice(0, count));
    if (more.length > NAMES_OCTETS_MAX) break;
    names = more;
  }
  return names;
}
