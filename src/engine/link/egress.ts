/**
 * The way out to the link: the transmit queue, Ethernet headers, and the moment frames are handed over.
 *
 * A frame to a guest whose MAC is not known yet cannot be sent: the sender is told, and ARP or Neighbour Discovery asks.
 */

import type { FrameLink, FrameTap } from "../boundary.ts";
import { TX_QUEUE_MAX } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import type { ChunkPool } from "../memory/chunk-pool.ts";
import { TransmitQueue } from "../memory/transmit-queue.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import {
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  macHigh,
  macLow,
  writeEthernet,
} from "../wire/ethernet.ts";
import type { Neighbours } from "./neighbours.ts";
import type { Neighbours6 } from "./neighbours6.ts";
import { TappedLink } from "./tapped.ts";

const FRAMES_TO_GUEST = counter("link-frames-to-guest");
const OCTETS_TO_GUEST = counter("link-octets-to-guest");
const LINK_DOWN = dropReason("link-down");
/** Frames kept back for ACKs and replies when payload has filled the queue. */
const RESERVED_FRAMES = 64;

/** What the link has for peeking, called as its own. */
function peekerOf(link: FrameLink | null): Egress["peeker"] {
  return link?.canPeek === true ? (link as NonNullable<Egress["peeker"]>) : null;
}

export class Egress {
  readonly queue: TransmitQueue;
  /** Whose way out it is, null while there is none; `attach` changes it and all that follows from it. */
  link: FrameLink | null = null;
  /** Plain frames the far end can queue before it drops (0: it pushes back), and super-frames it takes. */
  queueFrames = 0;
  tcpOffload = false;
  udpOffload = false;
  /** There was no room to peek into; cleared likewise. */
  peekBlocked = false;
  /** The link, if it can read a host's socket straight into the guest's memory. */
  peeker: Required<Pick<FrameLink, "peek" | "releasePeeked">> | null = null;
  /** The link took less than it was offered; cleared by its writable event. */
  blocked = false;
  /** Set by the engine once the pool exists; frames that left let chunks go. */
  pool: ChunkPool | null = null;
  readonly gatewayMacHigh: number;
  readonly gatewayMacLow: number;
  /** A guest address that was wanted and is not known, 0 when none: ARP asks for it. */
  unresolved = 0;
  /** The same of IPv6, and whether there is one. */
  readonly unresolved6 = new Int32Array(4);
  hasUnresolved6 = false;
  /** Set by the engine where the guest has IPv6. */
  neighbours6: Neighbours6 | null = null;

  /** The link itself, whoever watches. */
  private own: FrameLink | null = null;
  private tap: FrameTap | null = null;

  constructor(
    private readonly arena: Arena,
    private readonly neighbours: Neighbours,
    gatewayMac: Uint8Array,
    private readonly counters: Counters,
  ) {
    this.queue = new TransmitQueue(TX_QUEUE_MAX, arena.txHeadersAt);
    this.gatewayMacHigh = macHigh(gatewayMac);
    this.gatewayMacLow = macLow(gatewayMac);
  }

  /** Another link, or none: what still waits is offered to it. */
  attach(link: FrameLink | null): void {
    this.own = link;
    this.queueFrames = link?.queueFrames ?? 0;
    this.tcpOffload = link?.tcpOffload ?? false;
    this.udpOffload = link?.udpOffload ?? false;
    this.use(link);
    this.unblock();
    this.flush();
  }

  /** Has `tap` see what leaves; null nobody any more. */
  setTap(tap: FrameTap | null): void {
    this.flush();
    this.tap = tap;
    this.use(this.own);
  }

  /** Payload that the kernel puts into the guest's memory passes no tap: with one there is no peeking. */
  private use(link: FrameLink | null): void {
    const { tap } = this;
    this.link = link === null || tap === null ? link : new TappedLink(link, tap);
    this.peeker = this.tcpOffload && tap === null ? peekerOf(link) : null;
  }

  /** The link has room again. */
  unblock(): void {
    this.blocked = false;
    this.peekBlocked = false;
  }

  /** Room for payload frames, with some kept back for what must not wait. Tries the link before saying none. */
  payloadRoom(): number {
    let room = this.queue.room - RESERVED_FRAMES;
    if (room <= 0 && !this.blocked) {
      this.flush();
      room = this.queue.room - RESERVED_FRAMES;
    }
    return Math.max(room, 0);
  }

  /** Whether one more frame fits at all. */
  hasRoom(): boolean {
    if (this.queue.room > 0) return true;
    if (!this.blocked) this.flush();
    return this.queue.room > 0;
  }

  /** Writes the Ethernet header in front of `ipAt`. False when the guest's MAC is not known. */
  writeHeader(ipAt: number, guestAddress: number): boolean {
    const i = this.neighbours.find(guestAddress);
    if (i < 0) {
      this.unresolved = guestAddress;
      return false;
    }
    writeEthernet(
      this.arena.view,
      ipAt - ETHERNET_HEADER_OCTETS,
      this.neighbours.macHigh[i],
      this.neighbours.macLow[i],
      this.gatewayMacHigh,
      this.gatewayMacLow,
      ETHERTYPE_IPV4,
    );
    return true;
  }

  /** The guest with this IPv6 address is wanted, and not known. */
  wantGuest6(words: Int32Array, index: number): void {
    for (let word = 0; word < 4; word++) this.unresolved6[word] = words[index + word];
    this.hasUnresolved6 = true;
  }

  /** `writeHeader` for the IPv6 address in four words. */
  writeHeader6(ipAt: number, words: Int32Array, index: number): boolean {
    const { neighbours6 } = this;
    if (neighbours6 === null) return false;
    const i = neighbours6.find(words, index);
    if (i < 0) {
      this.wantGuest6(words, index);
      return false;
    }
    writeEthernet(
      this.arena.view,
      ipAt - ETHERNET_HEADER_OCTETS,
      neighbours6.macHigh[i],
      neighbours6.macLow[i],
      this.gatewayMacHigh,
      this.gatewayMacLow,
      ETHERTYPE_IPV6,
    );
    return true;
  }

  /** Copies a whole small frame (ARP, at most one header slot) into the queue. */
  sendWhole(at: number, length: number): boolean {
    if (!this.hasRoom()) return false;
    const end = this.queue.nextHeaderEnd();
    this.arena.octets.copyWithin(end - length, at, at + length);
    this.queue.push(length, 0, 0, 0, 0, 0);
    return true;
  }

  /** Queues a whole frame that stays where it is until it has left (scratch memory): one too long for a header slot. */
  sendKept(at: number, length: number): boolean {
    if (!this.hasRoom()) return false;
    const end = this.queue.nextHeaderEnd();
    this.arena.octets.copyWithin(end - ETHERNET_HEADER_OCTETS, at, at + ETHERNET_HEADER_OCTETS);
    const payload = length - ETHERNET_HEADER_OCTETS;
    this.queue.push(ETHERNET_HEADER_OCTETS, at + ETHERNET_HEADER_OCTETS, payload, 0, 0, 0);
    return true;
  }

  /** Hands queued frames to the link. */
  flush(): void {
    const queue = this.queue;
    if (queue.length === 0) return;
    if (this.link === null) {
      this.discard();
      return;
    }
    const first = queue.headSequence;
    const taken = this.link.transmit(queue);
    const left = (queue.headSequence - first) | 0;
    let octets = 0;
    for (let i = 0; i < left; i++) {
      const slot = (first + i) & (queue.capacity - 1);
      octets += queue.headerLength[slot] + queue.payloadLength[slot];
    }
    this.counters.add(FRAMES_TO_GUEST, left);
    this.counters.add(OCTETS_TO_GUEST, octets);
    if (taken < 0) {
      this.discard();
      return;
    }
    this.blocked = queue.length > 0 || this.peekBlocked;
    if (this.pool !== null) this.pool.reclaim();
  }

  private discard(): void {
    const { queue } = this;
    for (let i = 0; i < queue.length; i++) {
      this.counters.drop(LINK_DOWN);
      queue.lose(i);
    }
    queue.taken(queue.length);
    if (this.pool !== null) this.pool.reclaim();
  }
}
