/**
 * The rings of a virtio network card in shared memory as a FrameLink: what a vhost-user session (vhost-session.ts) has
 * attached to the core while both run.
 *
 * Reading: the shim copies frames out of the guest's buffers into the window, one behind the other, and gives the buffers
 * back at once. Each has its virtio_net_hdr in front, and its IP header on a 4-octet boundary. Kicks are asked for only
 * when a look has found nothing: while the guest is busy it makes no system call.
 *
 * Writing: headers and payload are copied into the guest's receive buffers, or the kernel has put payload there already
 * (`peek`). A guest without free ones is a full link: the
 * kick of the receive ring is its writable event.
 *
 * A ring that makes no sense, or memory that goes away under us, ends the link with a sentence, never the process.
 */
import { ENOBUFS, LINK_CLOSED } from "../../engine/boundary.ts";
import { FRAME_MAX, RX_WINDOW_OCTETS } from "../../engine/limits.ts";
import { CHECKSUM_PARTIAL, CHECKSUM_VALID, type FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import { counter } from "../../engine/metrics/counters.ts";
import { dropReason } from "../../engine/metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERNET_VLAN_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import {
  VNET_DATA_VALID,
  VNET_GSO_NONE,
  VNET_HEADER_OCTETS,
  VNET_HEADER_V1_OCTETS,
  VNET_NEEDS_CSUM,
  vnetFlags,
  vnetGsoSize,
  vnetGsoType,
} from "../../engine/wire/virtio-net.ts";
import type { HostLink } from "../engine-options.ts";
import { EBADMSG, EFAULT, EMSGSIZE } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { FRAME_DESCRIPTOR_OCTETS, PEEKED_FRAMES_MAX, RECEIVED_FRAME_OCTETS } from "../native/shim-tables.ts";
import { describeErrno } from "../start-error.ts";
import { writeOffloadHeader } from "./offload-header.ts";
import type { TapOptions } from "./tap.ts";
import {
  GUEST_CSUM,
  GUEST_TSO4,
  GUEST_TSO6,
  GUEST_USO4,
  GUEST_USO6,
  hasAll,
  MRG_RXBUF,
  VERSION_1,
} from "./vhost-protocol.ts";

/** Numbers of the rings. */
export const RECEIVE_RING = 0;
export const TRANSMIT_RING = 1;

const BAD_RING = counter("vhost-bad-ring");
const DROP_LINK_DOWN = dropReason("link-down");
const DROP_LINK_REFUSED = dropReason("link-refused");

/** Looks at a ring in one call: only a guest that adds buffers all the time, and too few, gets that far. */
const LOOKS_MAX = 64;

export function headerOctetsOf(features: bigint): number {
  return (features & (VERSION_1 | MRG_RXBUF)) === 0n ? VNET_HEADER_OCTETS : VNET_HEADER_V1_OCTETS;
}

export class VhostLink implements HostLink {
  readonly mtu: number;
  readonly tcpOffload: boolean;
  readonly udpOffload: boolean;
  readonly queueFrames = 0;
  /** A frame has as many buffers as it takes. */
  readonly canPeek: boolean;
  wantsWritable = false;
  failure = "";
  /** Whether the front-end lets each direction pass: a ring may be disabled while it runs. */
  toGuest = true;
  fromGuest = true;

  private readonly view: DataView;
  private readonly ints: Int32Array;
  private readonly headerOctets: number;
  private readonly windowAt: number;
  private readonly framesAt: number;
  private readonly txAt: number;
  private readonly peekedAt: number;
  /** Longest legal frame, octets from the Ethernet header on, that is no super-frame. */
  private readonly plainFrameMax: number;

  /** `fd` and `roomFd` are the kicks of the transmit and the receive ring; the session closes them. */
  constructor(
    readonly fd: number,
    readonly roomFd: number,
    readonly name: string,
    features: bigint,
    private readonly options: TapOptions,
  ) {
    this.mtu = options.mtu;
    this.tcpOffload = hasAll(features, GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6);
    this.udpOffload = hasAll(features, GUEST_CSUM | GUEST_USO4 | GUEST_USO6);
    this.canPeek = hasAll(features, MRG_RXBUF);
    this.headerOctets = headerOctetsOf(features);
    this.view = options.arena.view;
    this.ints = options.arena.ints;
    this.windowAt = options.arena.rxWindowAt;
    this.framesAt = options.descriptors.rxFramesAt;
    this.txAt = options.descriptors.txAt;
    this.peekedAt = options.descriptors.peekedAt;
    this.plainFrameMax = options.mtu + ETHERNET_VLAN_HEADER_OCTETS;
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    if (this.failure !== "") return LINK_CLOSED;
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      const count = this.take(batch.capacity);
      if (count < 0) return this.fail(count);
      if (count === 0) {
        if (native.vhostWant(TRANSMIT_RING) <= 0) return 0;
      } else if (this.fromGuest) {
        for (let i = 0; i < count; i++) this.describe(batch, i);
        return batch.count;
      } else {
        for (let i = 0; i < count; i++) this.options.counters.drop(DROP_LINK_DOWN);
      }
    }
    return 0;
  }

  private take(max: number): number {
    const skew = (2 - this.headerOctets) & 3;
    return native.vhostTake(this.windowAt, RX_WINDOW_OCTETS, skew, max, this.framesAt);
  }

  /** Puts frame `i` of the window into the batch, or counts it there if it is none. */
  private describe(batch: FrameBatch, i: number): void {
    const index = (this.framesAt + i * RECEIVED_FRAME_OCTETS) >> 2;
    const at = this.ints[index];
    const length = this.ints[index + 1] - this.headerOctets;
    if (length < ETHERNET_HEADER_OCTETS) {
      batch.oversized++;
      return;
    }
    let flags = 0;
    const vnetBits = vnetFlags(this.view, at);
    if (vnetBits & VNET_NEEDS_CSUM) flags = CHECKSUM_PARTIAL;
    else if (vnetBits & VNET_DATA_VALID) flags = CHECKSUM_VALID;
    const segmentSize = vnetGsoType(this.view, at) === VNET_GSO_NONE ? 0 : vnetGsoSize(this.view, at);
    if (length > (segmentSize === 0 ? this.plainFrameMax : FRAME_MAX)) {
      batch.oversized++;
      return;
    }
    batch.push(at + this.headerOctets, length, flags, segmentSize);
  }

  transmit(queue: TransmitQueue): number {
    if (this.failure !== "") return LINK_CLOSED;
    const count = queue.length;
    this.wantsWritable = false;
    if (!this.toGuest) return this.discard(queue, count);
    for (let i = 0; i < count; i++) this.describeTransmit(queue, i);
    let taken = 0;
    let looks = 0;
    while (taken < count && !this.wantsWritable) {
      const sent = native.vhostSend(this.txAt + taken * FRAME_DESCRIPTOR_OCTETS, count - taken);
      if (sent > 0) {
        taken += sent;
      } else if (sent === 0) {
        this.wantsWritable = native.vhostWant(RECEIVE_RING) <= 0 || ++looks === LOOKS_MAX;
      } else if (sent === EMSGSIZE) {
        this.options.counters.drop(DROP_LINK_REFUSED);
        queue.lose(taken++);
      } else {
        queue.taken(taken);
        return this.fail(sent);
      }
    }
    queue.taken(taken);
    return taken;
  }

  /** As FrameLink.peek says. */
  peek(handle: number, headerOctets: number, each: number, octets: number, frames: Int32Array): number {
    if (this.failure !== "" || !this.toGuest) return ENOBUFS;
    const header = headerOctets + this.headerOctets;
    const max = Math.min(PEEKED_FRAMES_MAX, frames.length >> 1);
    let got = ENOBUFS;
    this.wantsWritable = false;
    for (let looks = 0; got === ENOBUFS && !this.wantsWritable; looks++) {
      got = native.vhostPeek(handle, header, each, octets, this.peekedAt, max);
      if (got === ENOBUFS) this.wantsWritable = native.vhostWant(RECEIVE_RING) <= 0 || looks === LOOKS_MAX;
    }
    if (got === EBADMSG || got === EFAULT) {
      this.fail(got);
      return ENOBUFS;
    }
    const index = this.peekedAt >> 2;
    for (let i = 0, left = got; left > 0; left -= frames[i + 1], i += 2) {
      frames[i] = this.ints[index + i];
      frames[i + 1] = this.ints[index + i + 1];
    }
    return got;
  }

  releasePeeked(at: number): void {
    native.vhostRelease(at);
  }

  private discard(queue: TransmitQueue, count: number): number {
    for (let i = 0; i < count; i++) {
      this.options.counters.drop(DROP_LINK_DOWN);
      queue.lose(i);
    }
    queue.taken(count);
    return count;
  }

  /** Writes the i-th queued frame's virtio header and descriptor; the shim fills in num_buffers. */
  private describeTransmit(queue: TransmitQueue, i: number): void {
    const entry = (queue.first + i) & (queue.capacity - 1);
    const at = queue.headerAt[entry] - this.headerOctets;
    writeOffloadHeader(this.view, at, queue, entry);
    const descriptor = (this.txAt + i * FRAME_DESCRIPTOR_OCTETS) >> 2;
    this.ints[descriptor] = at;
    this.ints[descriptor + 1] = queue.headerLength[entry] + this.headerOctets;
    this.ints[descriptor + 2] = queue.payloadAt[entry];
    this.ints[descriptor + 3] = queue.payloadLength[entry];
  }

  resume(): void {
    this.wantsWritable = false;
  }

  private fail(errno: number): number {
    this.options.counters.add(BAD_RING, 1);
    const why =
      errno === EBADMSG
        ? "a ring of the guest makes no sense"
        : errno === EFAULT
          ? "the guest's memory went away: its file became shorter"
          : describeErrno(errno);
    this.failure = `${this.name}: ${why}`;
    return LINK_CLOSED;
  }

  /** The session owns what the link works with. */
  close(): void {}
}
