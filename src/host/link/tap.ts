/**
 * A TAP device as a FrameLink.
 *
 * With offload every frame has a virtio_net_hdr in front: the guest's kernel hands over TCP super-frames of up to
 * 64 KiB whose checksum nobody computed, and takes the same from us. One read(2) or write(2) moves one frame, so
 * super-frames are where the speed is; without them the same code moves plain frames.
 *
 * Reading: frame i of a batch goes to slot i of the receive window. The Ethernet header lands on 4n + 2, so that the
 * IP header behind it is on a 4-octet boundary: with the 10-octet header the slot starts on 4n, without on 4n + 2.
 *
 * Writing: the virtio_net_hdr is put into the headroom in front of the Ethernet header. The device takes frames at
 * once or never says why it cannot (its send buffer is unlimited by default), so a frame it refuses is dropped and
 * counted like on any wire: refused for its content (EINVAL), for want of memory, or because the interface is down
 * (EIO; it may come up again). Only a device that was removed (EBADFD) ends the link.
 *
 * The descriptor keeps working after the device has moved to another network namespace.
 */

import { EAGAIN, LINK_CLOSED, type Logger } from "../../engine/boundary.ts";
import {
  FRAME_MAX,
  HEADROOM_OCTETS,
  RX_BATCH_MAX,
  RX_SUPER_SLOT_OCTETS,
  RX_SUPER_SLOTS,
  RX_WINDOW_OCTETS,
} from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";
import { CHECKSUM_PARTIAL, CHECKSUM_VALID, type FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import type { Counters } from "../../engine/metrics/counters.ts";
import { dropReason } from "../../engine/metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERNET_VLAN_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import {
  VNET_DATA_VALID,
  VNET_GSO_NONE,
  VNET_HEADER_OCTETS,
  VNET_NEEDS_CSUM,
  vnetFlags,
  vnetGsoSize,
  vnetGsoType,
} from "../../engine/wire/virtio-net.ts";
import type { HostLink } from "../engine-options.ts";
import { EACCES, EBADF, EBADFD, EBUSY, EIO, ENODEV, ENOENT, EPERM } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { type Descriptors, FRAME_DESCRIPTOR_OCTETS, TX_BATCH_MAX } from "../native/shim-tables.ts";
import { describeErrno, StartError } from "../start-error.ts";
import { writeOffloadHeader } from "./offload-header.ts";

/** linux/if_tun.h */
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const TCP_OFFLOADS = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
/** Tried in this order: USO came with Linux 6.2; the kernel refuses the whole set for one bit it does not know. */
const OFFLOAD_SETS = [
  TCP_OFFLOADS | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
  TCP_OFFLOADS | TUN_F_TSO_ECN,
  TCP_OFFLOADS,
];

/** What a TAP queues towards us before it drops: its transmit queue length, by default. */
export const TAP_QUEUE_FRAMES = 1000;

const DROP_LINK_DOWN = dropReason("link-down");
const DROP_LINK_REFUSED = dropReason("link-refused");

export interface TapOptions {
  readonly arena: Arena;
  readonly descriptors: Descriptors;
  readonly counters: Counters;
  readonly log: Logger;
  /** Largest IP packet, octets. */
  readonly mtu: number;
  /** Ask for TSO and checksum offload. */
  readonly offload: boolean;
  /** The device's transmit queue length, TAP_QUEUE_FRAMES when it is not known. */
  readonly queueFrames?: number;
}

/** Attaches to TAP `name`, which is created if it does not exist. Throws StartError with what the kernel said. */
export function openTap(name: string, options: TapOptions, device = "/dev/net/tun"): TapLink {
  let fd = native.tapOpen(name, options.offload, device);
  if (fd < 0 && options.offload) {
    const refused = fd;
    fd = native.tapOpen(name, false, device);
    if (fd >= 0) {
      options.log.warn(
        `tap ${name}: no virtio header (${describeErrno(refused)}); plain frames from here on`,
      );
    }
  }
  if (fd < 0) {
    throw new StartError([{ place: `tap ${name}`, reason: `${describeErrno(fd)}${tapAdvice(fd, device)}` }]);
  }
  return openTapDescriptor(fd, options);
}

/** Takes over an open TAP descriptor. Throws StartError if it is none. */
export function openTapDescriptor(fd: number, options: TapOptions): TapLink {
  const flags = native.tapFlags(fd);
  if (flags < 0) {
    throw new StartError([{ place: `fd ${fd}`, reason: `not an open TAP: ${describeErrno(flags)}` }]);
  }
  const name = native.tapName(fd);
  if ((flags & IFF_TAP) === 0 || (flags & IFF_NO_PI) === 0) {
    const reason = `${name} must be opened with IFF_TAP | IFF_NO_PI: Ethernet frames without packet information`;
    throw new StartError([{ place: `fd ${fd}`, reason }]);
  }
  native.setNonBlocking(fd);
  const vnetHeader = (flags & IFF_VNET_HDR) !== 0;
  let accepted = 0;
  if (vnetHeader) {
    accepted = negotiateOffload(fd, options.offload);
    if (accepted === 0 && options.offload) {
      options.log.warn(`tap ${name}: the kernel refused checksum and TCP offload; plain frames from here on`);
    }
  } else if (options.offload) {
    options.log.info(`tap ${name}: opened without IFF_VNET_HDR, so without offload`);
  }
  return new TapLink(fd, name, vnetHeader, accepted, options);
}

/** The offloads the device took, or 0. */
function negotiateOffload(fd: number, wanted: boolean): number {
  if (wanted) {
    for (const set of OFFLOAD_SETS) {
      if (native.tapSetOffload(fd, set) === 0) return set;
    }
  }
  native.tapSetOffload(fd, 0);
  return 0;
}

function tapAdvice(errno: number, device: string): string {
  if (errno === EPERM)
    return "; needs CAP_NET_ADMIN in the namespace, or a TAP created with this user as owner";
  if (errno === EACCES) return `; ${device} is not open to this user`;
  if (errno === ENOENT || errno === ENODEV) return `; is the tun module loaded and ${device} there?`;
  if (errno === EBUSY) return "; another process has it open";
  return "";
}

export class TapLink implements HostLink {
  readonly name: string;
  readonly mtu: number;
  readonly tcpOffload: boolean;
  readonly udpOffload: boolean;
  readonly queueFrames: number;
  wantsWritable = false;
  failure = "";

  private readonly view: DataView;
  private readonly ints: Int32Array;
  private readonly counters: Counters;
  private readonly prefixOctets: number;
  /** Where slot 0 takes its frame, octets from slot to slot, octets a read may take, slots in the window. */
  private readonly slotsAt: number;
  private readonly slotOctets: number;
  private readonly roomOctets: number;
  private readonly slots: number;
  private readonly lengthsAt: number;
  private readonly txAt: number;
  /** Longest legal frame, octets from the Ethernet header on, that is no super-frame. */
  private readonly plainFrameMax: number;

  constructor(
    readonly fd: number,
    readonly device: string,
    vnetHeader: boolean,
    offloads: number,
    options: TapOptions,
  ) {
    this.name = `tap ${device}`;
    this.mtu = options.mtu;
    this.tcpOffload = (offloads & TUN_F_TSO4) !== 0;
    this.udpOffload = (offloads & TUN_F_USO4) !== 0;
    this.queueFrames = options.queueFrames ?? TAP_QUEUE_FRAMES;
    this.view = options.arena.view;
    this.ints = options.arena.ints;
    this.counters = options.counters;
    this.lengthsAt = options.descriptors.rxLengthsAt;
    this.txAt = options.descriptors.txAt;
    this.prefixOctets = vnetHeader ? VNET_HEADER_OCTETS : 0;
    this.plainFrameMax = options.mtu + ETHERNET_VLAN_HEADER_OCTETS;
    const frameMax = this.tcpOffload ? FRAME_MAX : this.plainFrameMax;
    // One octet more than legal, so that a frame the read cut off shows by its length.
    this.roomOctets = this.prefixOctets + frameMax + 1;
    const windowAt = options.arena.rxWindowAt;
    if (this.tcpOffload) {
      this.slotsAt = windowAt + HEADROOM_OCTETS;
      this.slotOctets = RX_SUPER_SLOT_OCTETS;
      this.slots = RX_SUPER_SLOTS;
    } else {
      this.slotsAt = windowAt + (vnetHeader ? 4 : 2);
      this.slotOctets = (4 + this.roomOctets + 63) & ~63;
      this.slots = Math.min(RX_BATCH_MAX, Math.floor(RX_WINDOW_OCTETS / this.slotOctets));
    }
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    const max = Math.min(batch.capacity, this.slots);
    const count = native.readFrames(
      this.fd,
      this.slotsAt,
      this.slotOctets,
      this.roomOctets,
      max,
      this.lengthsAt,
    );
    if (count < 0) return this.readFailed(count);
    for (let i = 0; i < count; i++) this.describe(batch, i);
    batch.drained = count < max;
    return batch.count;
  }

  /** Puts the frame of slot `i` into the batch, or counts it there if it is none. */
  private describe(batch: FrameBatch, i: number): void {
    const slotAt = this.slotsAt + i * this.slotOctets;
    const length = this.ints[(this.lengthsAt >> 2) + i] - this.prefixOctets;
    if (length < ETHERNET_HEADER_OCTETS) {
      batch.oversized++;
      return;
    }
    let flags = 0;
    let segmentSize = 0;
    if (this.prefixOctets !== 0) {
      const vnetBits = vnetFlags(this.view, slotAt);
      if (vnetBits & VNET_NEEDS_CSUM) flags = CHECKSUM_PARTIAL;
      else if (vnetBits & VNET_DATA_VALID) flags = CHECKSUM_VALID;
      if (vnetGsoType(this.view, slotAt) !== VNET_GSO_NONE) segmentSize = vnetGsoSize(this.view, slotAt);
    }
    if (length > (segmentSize === 0 ? this.plainFrameMax : FRAME_MAX)) {
      batch.oversized++;
      return;
    }
    batch.push(slotAt + this.prefixOctets, length, flags, segmentSize);
  }

  private readFailed(errno: number): number {
    if (errno === EAGAIN) return 0;
    return this.fail(errno);
  }

  transmit(queue: TransmitQueue): number {
    const count = Math.min(queue.length, TX_BATCH_MAX);
    for (let i = 0; i < count; i++) this.describeTransmit(queue, i);
    let taken = 0;
    this.wantsWritable = false;
    while (taken < count) {
      const written = native.writeFrames(this.fd, this.txAt + taken * FRAME_DESCRIPTOR_OCTETS, count - taken);
      if (written > 0) {
        taken += written;
      } else if (written === EAGAIN || written === 0) {
        this.wantsWritable = true;
        break;
      } else if (written === EBADFD || written === ENODEV || written === EBADF) {
        queue.taken(taken);
        return this.fail(written);
      } else {
        this.counters.drop(written === EIO ? DROP_LINK_DOWN : DROP_LINK_REFUSED);
        queue.lose(taken++);
      }
    }
    queue.taken(taken);
    return taken;
  }

  /** Writes the i-th queued frame's virtio header and descriptor. */
  private describeTransmit(queue: TransmitQueue, i: number): void {
    const entry = (queue.first + i) & (queue.capacity - 1);
    const frameAt = queue.headerAt[entry];
    const headerLength = queue.headerLength[entry];
    const at = frameAt - this.prefixOctets;
    if (this.prefixOctets !== 0) writeOffloadHeader(this.view, at, queue, entry);
    const descriptor = (this.txAt + i * FRAME_DESCRIPTOR_OCTETS) >> 2;
    this.ints[descriptor] = at;
    this.ints[descriptor + 1] = headerLength + this.prefixOctets;
    this.ints[descriptor + 2] = queue.payloadAt[entry];
    this.ints[descriptor + 3] = queue.payloadLength[entry];
  }

  resume(): void {
    this.wantsWritable = false;
  }

  private fail(errno: number): number {
    this.failure =
      errno === EBADFD || errno === ENODEV
        ? `${this.name} was removed`
        : `${this.name} failed: ${describeErrno(errno)}`;
    return LINK_CLOSED;
  }

  close(): void {
    native.close(this.fd);
  }
}
