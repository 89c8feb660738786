/**
 * ARP on the guest's link (RFC 826, RFC 5227).
 *
 * We answer for the addresses that are ours (gateway, DNS, guestfwd) and for no other: least of all for the guest's
 * own, or its duplicate address detection would fail. All of ours have the gateway's MAC. A guest's packet also
 * teaches where its sender is, unless the sender has no address yet (a probe), claims one of ours, or claims one
 * outside the guest's network. Where the subnet is shared with machines of the host's network, we answer for these too:
 * for every address that is not a guest's. A guest that announces one of our addresses as its own gets the reply that tells it
 * of the conflict.
 */
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import {
  ARP_OCTETS,
  checkArp,
  operation,
  REPLY,
  REQUEST,
  senderAddress,
  senderMacHigh,
  senderMacLow,
  targetAddress,
  writeArp,
  writeSender,
  writeTarget,
} from "../wire/arp.ts";
import {
  BROADCAST_HIGH,
  BROADCAST_LOW,
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_ARP,
  isGroup,
  macHigh,
  macLow,
  writeEthernet,
} from "../wire/ethernet.ts";
import type { Egress } from "./egress.ts";
import type { Neighbours } from "./neighbours.ts";

/** Octets of a whole ARP frame. Ethernet's minimum of 60 is the wire's business; virtual links need no padding. */
export const ARP_FRAME_OCTETS = ETHERNET_HEADER_OCTETS + ARP_OCTETS;

/** A guest that is not known is asked for so often. */
const REQUEST_INTERVAL_MS = 1000;

const ARP_REPLIES = counter("arp-replies");
const LINK_FULL = dropReason("link-full");
const MALFORMED = dropReason("arp-malformed");
const NOT_OURS = dropReason("arp-not-ours");

export interface ArpOptions {
  /** The arena's view: packets are read from it and replies written to it. */
  readonly view: DataView;
  readonly neighbours: Neighbours;
  /** The addresses we answer for; the first is the gateway's. */
  readonly ownAddresses: readonly number[];
  readonly gatewayMac: Uint8Array;
  /** The guest's subnet: only senders inside it are learned. */
  readonly network: number;
  readonly netmask: number;
  /** There where other machines have addresses of the subnet: tells which are the guest's. */
  readonly sharedWith?: { isGuest(address: number): boolean };
}

export class ArpResponder {
  private readonly view: DataView;
  private readonly neighbours: Neighbours;
  private readonly own: Int32Array;
  private readonly macHigh: number;
  private readonly macLow: number;
  private readonly network: number;
  private readonly netmask: number;
  private readonly shared: { isGuest(address: number): boolean } | null;

  constructor(options: ArpOptions) {
    this.view = options.view;
    this.neighbours = options.neighbours;
    this.own = Int32Array.from(new Set(options.ownAddresses));
    this.macHigh = macHigh(options.gatewayMac);
    this.macLow = macLow(options.gatewayMac);
    this.network = options.network;
    this.netmask = options.netmask;
    this.shared = options.sharedWith ?? null;
  }

  /** Whether `address` is one of ours. */
  isOwn(address: number): boolean {
    const own = this.own;
    for (let i = 0; i < own.length; i++) if (own[i] === address) return true;
    return false;
  }

  /**
   * Handles the ARP packet at `at` (behind the Ethernet header), `length` octets long with padding. Returns the length
   * of the reply frame written at `replyAt`, 0 when none is due, or a negative drop reason.
   */
  handle(at: number, length: number, replyAt: number): number {
    const view = this.view;
    if (checkArp(view, at, length) !== 0) return -MALFORMED;
    const high = senderMacHigh(view, at);
    const low = senderMacLow(view, at);
    if (isGroup(high) || (high === 0 && low === 0)) return -MALFORMED;
    const sender = senderAddress(view, at);
    const target = targetAddress(view, at);
    if (!this.isOwn(sender) && this.onLink(sender)) this.neighbours.learn(sender, high, low);
    if (operation(view, at) !== REQUEST) return 0;
    if (this.isOwn(target) || this.isNeighbour(sender, target))
      return this.writeReply(replyAt, target, high, low, sender);
    return sender === target ? 0 : -NOT_OURS;
  }

  /**
   * Writes a broadcast request "who has `target`?" from the gateway at `requestAt`, for a guest that has not shown
   * itself. Returns its length.
   */
  request(requestAt: number, target: number): number {
    const view = this.view;
    const arpAt = requestAt + ETHERNET_HEADER_OCTETS;
    writeEthernet(view, requestAt, BROADCAST_HIGH, BROADCAST_LOW, this.macHigh, this.macLow, ETHERTYPE_ARP);
    writeArp(view, arpAt, REQUEST);
    writeSender(view, arpAt, this.macHigh, this.macLow, this.own[0]);
    writeTarget(view, arpAt, 0, 0, target);
    return ARP_FRAME_OCTETS;
  }

  /** Whether another machine is asked for. A probe (RFC 5227) finds every address free: what the guest may have is told it. */
  private isNeighbour(sender: number, target: number): boolean {
    if (this.shared === null || sender === 0 || sender === target) return false;
    return this.onLink(target) && !this.shared.isGuest(target);
  }

  private onLink(address: number): boolean {
    return (address & this.netmask) === (this.network & this.netmask);
  }

  private writeReply(at: number, address: number, toHigh: number, toLow: number, toAddress: number): number {
    const view = this.view;
    const arpAt = at + ETHERNET_HEADER_OCTETS;
    writeEthernet(view, at, toHigh, toLow, this.macHigh, this.macLow, ETHERTYPE_ARP);
    writeArp(view, arpAt, REPLY);
    writeSender(view, arpAt, this.macHigh, this.macLow, address);
    writeTarget(view, arpAt, toHigh, toLow, toAddress);
    return ARP_FRAME_OCTETS;
  }
}

/** ARP on the link: answers what the guest asks, and asks for a guest that somebody waits for. */
export class Arp {
  private askedMs: number;

  constructor(
    private readonly responder: ArpResponder,
    private readonly egress: Egress,
    private readonly scratch: Scratch,
    private readonly counters: Counters,
    nowMs: number,
  ) {
    this.askedMs = (nowMs - REQUEST_INTERVAL_MS) | 0;
  }

  isOwn(address: number): boolean {
    return this.responder.isOwn(address);
  }

  /** Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const replyAt = this.scratch.keep(ARP_FRAME_OCTETS);
    if (replyAt === 0) return LINK_FULL;
    const length = this.responder.handle(packet.networkAt, packet.networkOctets, replyAt);
    if (length <= 0) return -length;
    if (!this.egress.sendWhole(replyAt, length)) return LINK_FULL;
    this.counters.add(ARP_REPLIES, 1);
    return HANDLED;
  }

  /** A frame wanted to go to a guest whose MAC is not known: asks, once a second. */
  ask(nowMs: number): void {
    const { egress } = this;
    const guest = egress.unresolved;
    if (guest === 0 || egress.link === null) return;
    if (((nowMs - this.askedMs) | 0) < REQUEST_INTERVAL_MS) return;
    egress.unresolved = 0;
    this.askedMs = nowMs;
    const at = this.scratch.keep(ARP_FRAME_OCTETS);
    if (at === 0) return;
    egress.sendWhole(at, this.responder.request(at, guest));
    egress.flush();
  }
}
