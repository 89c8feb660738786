/**
 * One Ethernet frame per datagram (QEMU's `-netdev dgram` and `-netdev socket,udp=`) as a FrameLink, over a Unix or
 * UDP socket. The other side may start later, go away and come back: its absence is noticed only when a datagram is
 * refused, costs that frame, and never ends the link. A Unix socket has to be connected anew each time, because the
 * one behind the path is another one; a UDP socket stays connected and is only told of the refusal.
 *
 * A Unix socket pushes back when the other side's queue is full; UDP drops in its receive buffer.
 */

import { EAGAIN, ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE, LINK_CLOSED } from "../../engine/boundary.ts";
import { FRAME_MAX, RX_BATCH_MAX, RX_WINDOW_OCTETS } from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";
import type { FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import type { Counters } from "../../engine/metrics/counters.ts";
import { dropReason } from "../../engine/metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERNET_VLAN_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import type { HostLink } from "../engine-options.ts";
import { EBADF, EDESTADDRREQ, ENOENT } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { type Descriptors, FRAME_DESCRIPTOR_OCTETS, TX_BATCH_MAX } from "../native/shim-tables.ts";
import { describeErrno } from "../start-error.ts";

/** So that the IP header lies on a 4-octet boundary. */
const SLOT_OFFSET = 2;

/** Frames of 1500 octets that Linux's default UDP receive buffer holds (212,992 octets, 2,304 each): 92, rounded down. */
const UDP_QUEUE_FRAMES = 64;

const DROP_LINK_DOWN = dropReason("link-down");
const DROP_LINK_REFUSED = dropReason("link-refused");

export interface DatagramLinkOptions {
  readonly arena: Arena;
  readonly descriptors: Descriptors;
  readonly counters: Counters;
  /** Largest IP packet, octets. */
  readonly mtu: number;
  /** The datagram socket pushes back when the other side is slow (Unix), rather than dropping (UDP). */
  readonly pushesBack: boolean;
  /** Connects the socket to the other side once more; returns 0 or -errno. Absent when it stays connected. */
  readonly reconnect?: () => number;
  /**
   * An end of stream means the other side is gone for good (a socket pair, SEQPACKET). Otherwise a lost peer is
   * waited for.
   */
  readonly paired: boolean;
}

export class QemuDatagramLink implements HostLink {
  readonly mtu: number;
  readonly tcpOffload = false;
  readonly udpOffload = false;
  readonly queueFrames: number;
  wantsWritable = false;
  failure = "";

  private readonly ints: Int32Array;
  private readonly counters: Counters;
  private readonly slotsAt: number;
  private readonly slotOctets: number;
  private readonly frameMax: number;
  private readonly slots: number;
  private readonly lengthsAt: number;
  private readonly txAt: number;

  /** `fd` is a bound, non-blocking datagram socket; the link closes it. */
  constructor(
    readonly fd: number,
    readonly name: string,
    private readonly options: DatagramLinkOptions,
  ) {
    this.mtu = options.mtu;
    this.queueFrames = options.pushesBack ? 0 : UDP_QUEUE_FRAMES;
    this.ints = options.arena.ints;
    this.counters = options.counters;
    this.frameMax = Math.min(FRAME_MAX, options.mtu + ETHERNET_VLAN_HEADER_OCTETS);
    this.slotsAt = options.arena.rxWindowAt + SLOT_OFFSET;
    // Room for one octet more than is legal, so that a frame the read cut off shows by its length.
    this.slotOctets = (SLOT_OFFSET + this.frameMax + 1 + 63) & ~63;
    this.slots = Math.min(RX_BATCH_MAX, Math.floor(RX_WINDOW_OCTETS / this.slotOctets));
    this.lengthsAt = options.descriptors.rxLengthsAt;
    this.txAt = options.descriptors.txAt;
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    const max = Math.min(batch.capacity, this.slots);
    const count = native.receiveFrames(
      this.fd,
      this.slotsAt,
      this.slotOctets,
      this.frameMax + 1,
      max,
      this.lengthsAt,
    );
    if (count < 0) return this.receiveFailed(count);
    for (let i = 0; i < count; i++) {
      const length = this.ints[(this.lengthsAt >> 2) + i];
      if (length < ETHERNET_HEADER_OCTETS || length > this.frameMax) batch.oversized++;
      else batch.push(this.slotsAt + i * this.slotOctets, length, 0, 0);
    }
    batch.drained = count < max;
    return batch.count;
  }

  /** A refusal reported here belongs to a datagram sent earlier: the other side is not there now. */
  private receiveFailed(errno: number): number {
    if (errno === EAGAIN) return 0;
    const absent = errno === ECONNREFUSED || errno === ECONNRESET || errno === ENOTCONN || errno === EPIPE;
    if (absent && !this.options.paired) return 0;
    return this.fail(errno);
  }

  transmit(queue: TransmitQueue): number {
    const count = Math.min(queue.length, TX_BATCH_MAX);
    for (let i = 0; i < count; i++) this.describeTransmit(queue, i);
    let taken = 0;
    let reconnected = false;
    this.wantsWritable = false;
    while (taken < count) {
      const sent = native.sendFrames(this.fd, this.txAt + taken * FRAME_DESCRIPTOR_OCTETS, count - taken);
      if (sent > 0) {
        taken += sent;
      } else if (sent === EAGAIN || sent === 0) {
        this.wantsWritable = true;
        break;
      } else if (sent === EBADF) {
        queue.taken(taken);
        return this.fail(sent);
      } else if (!isAbsence(sent)) {
        this.counters.drop(DROP_LINK_REFUSED);
        queue.lose(taken++);
      } else if (this.options.paired) {
        queue.taken(taken);
        return this.fail(sent);
      } else if (this.options.reconnect !== undefined && !reconnected) {
        reconnected = true;
        if (this.options.reconnect() < 0) taken = this.dropRest(queue, taken, count);
      } else {
        // UDP reports the refusal of an earlier datagram once; the frame itself was not sent.
        this.counters.drop(DROP_LINK_DOWN);
        queue.lose(taken++);
      }
    }
    queue.taken(taken);
    return taken;
  }

  private dropRest(queue: TransmitQueue, taken: number, count: number): number {
    for (let i = taken; i < count; i++) {
      this.counters.drop(DROP_LINK_DOWN);
      queue.lose(i);
    }
    return count;
  }

  private describeTransmit(queue: TransmitQueue, i: number): void {
    const entry = (queue.first + i) & (queue.capacity - 1);
    const index = (this.txAt + i * FRAME_DESCRIPTOR_OCTETS) >> 2;
    this.ints[index] = queue.headerAt[entry];
    this.ints[index + 1] = queue.headerLength[entry];
    this.ints[index + 2] = queue.payloadAt[entry];
    this.ints[index + 3] = queue.payloadLength[entry];
  }

  resume(): void {
    this.wantsWritable = false;
  }

  private fail(errno: number): number {
    this.failure =
      isAbsence(errno) && this.options.paired
        ? `${this.name}: the other side closed the connection`
        : `${this.name}: ${describeErrno(errno)}`;
    return LINK_CLOSED;
  }

  close(): void {
    native.close(this.fd);
  }
}

/** The other side is not there: nobody bound to the path or port, or its socket closed. */
function isAbsence(errno: number): boolean {
  return (
    errno === ECONNREFUSED ||
    errno === ECONNRESET ||
    errno === ENOTCONN ||
    errno === ENOENT ||
    errno === EPIPE ||
    errno === EDESTADDRREQ
  );
}
