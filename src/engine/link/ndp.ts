/**
 * ICMPv6 on the guest's link: Neighbour Discovery (RFC 4861), and nothing else.
 *
 * We answer for the addresses that are ours (the router's two, the resolver's, guest forwards) and for no other: least
 * of all for the guest's own, or its duplicate address detection would fail (RFC 4862 section 5.4). All of ours have
 * the gateway's MAC. A guest's message also teaches where its sender is, unless the sender has no address yet, claims
 * one of ours, or claims one outside the link. Whoever claims one of ours is told so, at most once a second.
 *
 * Routers advertise, guests do not: an advertisement or redirect of a guest is dropped (RFC 6105). Multicast Listener
 * Discovery is taken in silence, as a switch without snooping does. All other ICMPv6 is dropped.
 */

import type { ChecksumKernel } from "../boundary.ts";
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV6, writeEthernet } from "../wire/ethernet.ts";
import {
  finishIcmpv6,
  ICMPV6_HEADER_OCTETS,
  icmpv6Sum,
  isMld,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
  REDIRECT,
  ROUTER_ADVERTISEMENT,
  ROUTER_SOLICITATION,
  type,
} from "../wire/icmpv6.ts";
import {
  DESTINATION,
  HOP_LIMIT_ON_LINK,
  IPV6_HEADER_OCTETS,
  isLinkLocal,
  isMulticast,
  isUnspecified,
  multicastScope,
  NEXT_ICMPV6,
  readAddress,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";
import {
  checkNdp,
  FROM_ROUTER,
  flags,
  LINK_LAYER_OPTION_OCTETS,
  linkLayerOption,
  NEIGHBOUR_MESSAGE_OCTETS,
  OVERRIDE,
  SOLICITED,
  SOURCE_LINK_LAYER,
  solicitedNodeWord3,
  TARGET,
  TARGET_LINK_LAYER,
  writeLinkLayer,
  writeNeighbourMessage,
  writeSolicitedNode,
} from "../wire/ndp.ts";
import type { Egress } from "./egress.ts";
import type { Neighbours6 } from "./neighbours6.ts";

const MESSAGE_OCTETS = NEIGHBOUR_MESSAGE_OCTETS + LINK_LAYER_OPTION_OCTETS;
/** Octets of a whole frame with a neighbour message and its option. */
export const NDP_FRAME_OCTETS = ETHERNET_HEADER_OCTETS + IPV6_HEADER_OCTETS + MESSAGE_OCTETS;

const NDP_REPLIES = counter("ndp-replies");
const NDP_REQUESTS = counter("ndp-requests");
const LINK_FULL = dropReason("link-full");
const MALFORMED = dropReason("ndp-malformed");
const NOT_OURS = dropReason("ndp-not-ours");
const ROUTER = dropReason("ndp-router");
const MLD = dropReason("mld");
const ICMPV6 = dropReason("icmpv6");

/** The MAC of an IPv6 multicast address: 33:33 and its last word (RFC 2464 section 7). */
const MULTICAST_MAC_HIGH = 0x3333;
/** ff02::1 */
const ALL_NODES = Int32Array.of(0xff020000, 0, 0, 1);
const ALL_NODES_MAC_LOW = 1;
/** N17: how often we insist on an address of ours. */
const DEFENCE_INTERVAL_MS = 1000;
/** N19: a guest that is not known is asked for so often. */
const REQUEST_INTERVAL_MS = 1000;
/** Our addresses that are the router's. */
const ROUTER_ADDRESSES = 2;
/** Where the second of them is. */
const ROUTER_IN_PREFIX = 4;
/** Scopes below the link's never come from it (RFC 4291 section 2.7). */
const SCOPE_LINK = 2;

/** Who wants to know what a message said, besides the neighbour table. */
export interface NdpListener {
  /** A good router solicitation, whose source (maybe `::`) is at `ipAt`. Returns HANDLED or a drop reason. */
  routerSolicited(ipAt: number, macHigh: number, macLow: number): number;
  /** A guest showed that it has the address in the four words. */
  guestHeard(words: Int32Array, index: number, macHigh: number, macLow: number): void;
}

export interface NdpOptions {
  /** The arena's view: packets are read from it and replies written to it. */
  readonly view: DataView;
  readonly checksum: ChecksumKernel;
  readonly neighbours: Neighbours6;
  readonly listener: NdpListener;
  /** The addresses we answer for, four words each: the router's link-local one, its address in the prefix, others. */
  readonly ownAddresses: Int32Array;
  readonly gatewayMac: Uint8Array;
  /** The guest's /64. */
  readonly prefix: Int32Array;
  /** Addresses of the prefix that no guest has are other machines', and behind us. */
  readonly shared?: boolean;
}

/** Reads messages and writes answers; `Ndp` takes them from the link and puts them there. */
export class NeighbourDiscovery {
  private readonly view: DataView;
  private readonly checksum: ChecksumKernel;
  private readonly neighbours: Neighbours6;
  private readonly listener: NdpListener;
  /** Our addresses, and behind them the routers' anycast address (RFC 4291 section 2.6.1). */
  private readonly own: Int32Array;
  private readonly anycast: number;
  private readonly shared: boolean;
  private readonly prefix: Int32Array;
  private readonly macHigh: number;
  private readonly macLow: number;
  private readonly source = new Int32Array(4);
  private readonly target = new Int32Array(4);
  /** The MAC the message gives its sender, or that of its frame. */
  private senderHigh = 0;
  private senderLow = 0;
  private hasDefended = false;
  private defendedMs = 0;

  constructor(options: NdpOptions) {
    const mac = options.gatewayMac;
    this.view = options.view;
    this.checksum = options.checksum;
    this.neighbours = options.neighbours;
    this.listener = options.listener;
    this.anycast = options.ownAddresses.length;
    this.shared = options.shared ?? false;
    // Room behind them for another machine's.
    this.own = Int32Array.of(...options.ownAddresses, options.prefix[0], options.prefix[1], 0, 0, 0, 0, 0, 0);
    this.prefix = options.prefix;
    this.macHigh = (mac[0] << 8) | mac[1];
    this.macLow = (mac[2] << 24) | (mac[3] << 16) | (mac[4] << 8) | mac[5];
  }

  isOwn(words: Int32Array, index: number): boolean {
    return this.ownIndex(words, index) >= 0;
  }

  /** Index of the first word of our own address that this is, or -1. */
  ownIndex(words: Int32Array, index: number): number {
    const { own, anycast } = this;
    for (let i = 0; i < anycast; i += 4) {
      if (
        own[i + 3] === words[index + 3] &&
        own[i + 2] === words[index + 2] &&
        own[i + 1] === words[index + 1] &&
        own[i] === words[index]
      ) {
        return i;
      }
    }
    return -1;
  }

  /**
   * Handles the ICMPv6 message that is the transport of `packet`. Returns the length of the frame written at `replyAt`,
   * 0 when none is due, or a negative drop reason.
   */
  handle(packet: Packet, replyAt: number): number {
    const view = this.view;
    const { networkAt: ipAt, transportAt: at, transportOctets: octets, nowMs } = packet;
    if (octets < ICMPV6_HEADER_OCTETS) return -ICMPV6;
    const messageType = type(view, at);
    if (isMld(messageType)) return -MLD;
    if (messageType === ROUTER_ADVERTISEMENT || messageType === REDIRECT) return -ROUTER;
    if (
      messageType !== ROUTER_SOLICITATION &&
      messageType !== NEIGHBOUR_SOLICITATION &&
      messageType !== NEIGHBOUR_ADVERTISEMENT
    ) {
      return -ICMPV6;
    }
    if (!this.isForUs(ipAt + DESTINATION)) return -NOT_OURS;
    // RFC 6980: discovery never needs fragments, and who looks at it on its way must see all of it.
    if (packet.fragmented || checkNdp(view, ipAt, at, octets) !== HANDLED) return -MALFORMED;
    if (packet.verify && icmpv6Sum(this.checksum, view, ipAt, at, octets) !== 0xffff) return -MALFORMED;
    readAddress(view, ipAt + SOURCE, this.source, 0);
    const option = messageType === NEIGHBOUR_ADVERTISEMENT ? TARGET_LINK_LAYER : SOURCE_LINK_LAYER;
    const macAt = linkLayerOption(view, at, octets, option);
    this.senderHigh = macAt === 0 ? packet.sourceHigh : view.getUint16(macAt);
    this.senderLow = macAt === 0 ? packet.sourceLow : view.getInt32(macAt + 2);
    if (messageType === ROUTER_SOLICITATION) return this.routerSolicitation(ipAt);
    readAddress(view, at + TARGET, this.target, 0);
    return messageType === NEIGHBOUR_SOLICITATION
      ? this.solicitation(ipAt, replyAt, nowMs)
      : this.advertisement(flags(view, at), replyAt, nowMs);
  }

  /**
   * Writes a solicitation "who has this address?" from the router to the address's group at `requestAt`. Returns its
   * length.
   */
  request(requestAt: number, words: Int32Array, index: number): number {
    const view = this.view;
    const ipAt = requestAt + ETHERNET_HEADER_OCTETS;
    const at = ipAt + IPV6_HEADER_OCTETS;
    const group = solicitedNodeWord3(words[index + 3]);
    writeEthernet(view, requestAt, MULTICAST_MAC_HIGH, group, this.macHigh, this.macLow, ETHERTYPE_IPV6);
    writeSolicitedNode(view, ipAt + DESTINATION, words, index);
    const optionAt = writeNeighbourMessage(view, at, NEIGHBOUR_SOLICITATION, 0, words, index);
    writeLinkLayer(view, optionAt, SOURCE_LINK_LAYER, this.macHigh, this.macLow);
    return this.finish(ipAt, 0);
  }

  /** Takes note of the sender of a packet whose source is good. */
  learn(words: Int32Array, index: number, macHigh: number, macLow: number): void {
    if (this.neighbours.learn(words, index, macHigh, macLow)) {
      this.listener.guestHeard(words, index, macHigh, macLow);
    }
  }

  private routerSolicitation(ipAt: number): number {
    if (!isUnspecified(this.view, ipAt + SOURCE)) {
      if (this.ownIndex(this.source, 0) >= 0 || !this.isOnLink(ipAt + SOURCE, this.source)) return -NOT_OURS;
      this.learn(this.source, 0, this.senderHigh, this.senderLow);
    }
    return -this.listener.routerSolicited(ipAt, this.senderHigh, this.senderLow);
  }

  private solicitation(ipAt: number, replyAt: number, nowMs: number): number {
    const target = this.ownIndex(this.target, 0);
    if (isUnspecified(this.view, ipAt + SOURCE)) {
      if (target >= 0) return this.advertise(replyAt, target, ALL_NODES, 0);
      // Somebody asks whether the address is free. His own: silence says so. A guest that only listens says no more of it;
      // where it is will be asked for when a client comes.
      if (this.isInPrefix(this.target))
        this.listener.guestHeard(this.target, 0, this.senderHigh, this.senderLow);
      return 0;
    }
    const claimed = this.ownIndex(this.source, 0);
    if (claimed >= 0) return this.defend(replyAt, claimed, nowMs);
    if (!this.isOnLink(ipAt + SOURCE, this.source)) return -NOT_OURS;
    this.learn(this.source, 0, this.senderHigh, this.senderLow);
    const { source } = this;
    if (target >= 0) return this.advertise(replyAt, target, source, SOLICITED);
    if (!this.isAnycast()) return this.shared ? this.proxy(replyAt) : -NOT_OURS;
    // Any router of the link may say so: without the override flag (RFC 4861 section 7.2.7).
    const answer = FROM_ROUTER | SOLICITED;
    return this.write(replyAt, ROUTER_IN_PREFIX, this.anycast, answer, source);
  }

  /** Answers for another machine of the prefix: without the override flag (RFC 4861 section 7.2.8), so that a guest's own counts. */
  private proxy(replyAt: number): number {
    const { target, source, own, anycast } = this;
    const isGuests = this.neighbours.find(target, 0) >= 0;
    if (isGuests || !this.isInPrefix(target)) return -NOT_OURS;
    const at = anycast + 4;
    own.set(target, at);
    return this.write(replyAt, ROUTER_IN_PREFIX, at, SOLICITED, source);
  }

  /** Whether the message is for all of some kind on the link, or for one of our addresses. */
  private isForUs(destinationAt: number): boolean {
    const { view, target } = this;
    if (isMulticast(view, destinationAt)) return multicastScope(view, destinationAt) >= SCOPE_LINK;
    readAddress(view, destinationAt, target, 0);
    return this.ownIndex(target, 0) >= 0;
  }

  private isAnycast(): boolean {
    return this.isInPrefix(this.target) && (this.target[2] | this.target[3]) === 0;
  }

  private advertisement(messageFlags: number, replyAt: number, nowMs: number): number {
    const claimed = this.ownIndex(this.target, 0);
    if (claimed >= 0) return this.defend(replyAt, claimed, nowMs);
    if (!isLinkLocalWords(this.target) && !this.isInPrefix(this.target)) return -NOT_OURS;
    // Without the override flag what is known stands (RFC 4861 section 7.2.5).
    if ((messageFlags & OVERRIDE) === 0) {
      const known = this.neighbours.find(this.target, 0);
      if (
        known >= 0 &&
        (this.neighbours.macHigh[known] !== this.senderHigh ||
          this.neighbours.macLow[known] !== this.senderLow)
      ) {
        return 0;
      }
    }
    this.learn(this.target, 0, this.senderHigh, this.senderLow);
    return 0;
  }

  /** Tells everybody whose the address is. */
  private defend(replyAt: number, own: number, nowMs: number): number {
    if (this.hasDefended && ((nowMs - this.defendedMs) | 0) < DEFENCE_INTERVAL_MS) return -NOT_OURS;
    this.hasDefended = true;
    this.defendedMs = nowMs;
    return this.advertise(replyAt, own, ALL_NODES, 0);
  }

  private advertise(replyAt: number, own: number, to: Int32Array, solicited: number): number {
    const router = own < ROUTER_ADDRESSES * 4 ? FROM_ROUTER : 0;
    return this.write(replyAt, own, own, router | solicited | OVERRIDE, to);
  }

  /** An advertisement for our address at `target`, from that at `from`, to all nodes or to the sender of the message. */
  private write(replyAt: number, from: number, target: number, messageFlags: number, to: Int32Array): number {
    const view = this.view;
    const ipAt = replyAt + ETHERNET_HEADER_OCTETS;
    const at = ipAt + IPV6_HEADER_OCTETS;
    const toHigh = to === ALL_NODES ? MULTICAST_MAC_HIGH : this.senderHigh;
    const toLow = to === ALL_NODES ? ALL_NODES_MAC_LOW : this.senderLow;
    writeEthernet(view, replyAt, toHigh, toLow, this.macHigh, this.macLow, ETHERTYPE_IPV6);
    writeAddress(view, ipAt + DESTINATION, to, 0);
    const optionAt = writeNeighbourMessage(view, at, NEIGHBOUR_ADVERTISEMENT, messageFlags, this.own, target);
    writeLinkLayer(view, optionAt, TARGET_LINK_LAYER, this.macHigh, this.macLow);
    return this.finish(ipAt, from);
  }

  /** Header and checksum around a message that is written; from our address at `own`. */
  private finish(ipAt: number, own: number): number {
    const view = this.view;
    writeIpv6(view, ipAt, MESSAGE_OCTETS, NEXT_ICMPV6, HOP_LIMIT_ON_LINK, 0);
    writeAddress(view, ipAt + SOURCE, this.own, own);
    finishIcmpv6(this.checksum, view, ipAt, ipAt + IPV6_HEADER_OCTETS, MESSAGE_OCTETS);
    return NDP_FRAME_OCTETS;
  }

  private isOnLink(addressAt: number, words: Int32Array): boolean {
    return isLinkLocal(this.view, addressAt) || this.isInPrefix(words);
  }

  private isInPrefix(words: Int32Array): boolean {
    return words[0] === this.prefix[0] && words[1] === this.prefix[1];
  }
}

/** Neighbour Discovery on the link: answers what the guest asks, and asks for a guest that somebody waits for. */
export class Ndp {
  private askedMs: number;

  constructor(
    private readonly discovery: NeighbourDiscovery,
    private readonly egress: Egress,
    private readonly scratch: Scratch,
    private readonly counters: Counters,
    nowMs: number,
  ) {
    this.askedMs = (nowMs - REQUEST_INTERVAL_MS) | 0;
  }

  isOwn(words: Int32Array, index: number): boolean {
    return this.discovery.isOwn(words, index);
  }

  /** An ICMPv6 message. Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const replyAt = this.scratch.keep(NDP_FRAME_OCTETS);
    if (replyAt === 0) return LINK_FULL;
    const length = this.discovery.handle(packet, replyAt);
    if (length <= 0) return -length;
    if (!this.egress.sendWhole(replyAt, length)) return LINK_FULL;
    this.counters.add(NDP_REPLIES, 1);
    return HANDLED;
  }

  /**
   * Asks who has the address in `words`, once a second at most whatever the address. True when the question is on its
   * way.
   */
  ask(words: Int32Array, index: number, nowMs: number): boolean {
    const { egress } = this;
    if (egress.link === null || ((nowMs - this.askedMs) | 0) < REQUEST_INTERVAL_MS) return false;
    const at = this.scratch.keep(NDP_FRAME_OCTETS);
    if (at === 0 || !egress.sendWhole(at, this.discovery.request(at, words, index))) return false;
    this.askedMs = nowMs;
    this.counters.add(NDP_REQUESTS, 1);
    egress.flush();
    return true;
  }
}

function isLinkLocalWords(words: Int32Array): boolean {
  return (words[0] & 0xffc00000) === (0xfe800000 | 0);
}
