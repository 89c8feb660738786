/**
 * QEMU's framing over a connected stream socket (Unix or TCP) as a FrameLink.
 *
 * Reading: one recv(2) takes up to READ_OCTETS into the window, behind what was cut off the time before; frames are
 * described where they lie. Only a frame the read cut in two is moved, to the front of the window, before the next
 * read. When a batch is full the rest of the window waits for the next call, which then reads nothing.
 *
 *     windowAt     parseAt            filledAt
 *        |.. done ..|== not described ==|........ room for a read ........|   tailAt |-- what we still owe --|
 *
 * A length over FRAME_MAX cannot be a frame: the two sides no longer agree where frames start, so the link closes.
 * A frame over the MTU, or too short for an Ethernet header, is skipped and counted.
 *
 * Writing: all queued frames leave in one sendmsg(2), the prefix in the headroom in front of each header. When the
 * kernel takes only part, the frame it cut counts as taken: its rest is copied to the tail area (header slot and
 * payload belong to others from then on) and leaves first next time. A stream pushes back and never drops. A Unix socket
 * gets a send buffer for several frames; over TCP the kernel finds the size itself, and setting one would stop that.
 */

import { EAGAIN, ECONNRESET, ENOBUFS, ENOMEM, EPIPE, LINK_CLOSED } from "../../engine/boundary.ts";
import { FRAME_MAX, RX_WINDOW_OCTETS } from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";
import type { FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import { ETHERNET_HEADER_OCTETS, ETHERNET_VLAN_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import {
  STREAM_PREFIX_OCTETS,
  setStreamFrameLength,
  streamFrameLength,
} from "../../engine/wire/qemu-stream.ts";
import type { HostLink } from "../engine-options.ts";
import { AF_UNIX, SO_DOMAIN, SO_SNDBUF, SOL_SOCKET } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { type Descriptors, FRAME_DESCRIPTOR_OCTETS, TX_BATCH_MAX } from "../native/shim-tables.ts";
import { describeErrno } from "../start-error.ts";

/** Octets asked of one recv(2). */
const READ_OCTETS = 262_144;
/**
 * Frames a Unix socket's send buffer should hold. The kernel's default of 208 KiB holds three at MTU 65520, and the far
 * end ran dry between our turns; at MTU 1500 it holds over a hundred, and stays.
 */
const SEND_BUFFER_FRAMES = 8;
/** Reads in one call that describe no frame (a flood of skipped ones) before the caller gets its turn back. */
const READS_MAX = 8;
/** Largest frame with its prefix: what a cut can leave over, on either side. */
const CUT_OCTETS_MAX = STREAM_PREFIX_OCTETS + FRAME_MAX;

const TAIL_OFFSET = READ_OCTETS + CUT_OCTETS_MAX;
if (TAIL_OFFSET + CUT_OCTETS_MAX > RX_WINDOW_OCTETS) throw new Error("the receive window is too small");

export interface StreamLinkOptions {
  readonly arena: Arena;
  readonly descriptors: Descriptors;
  /** Largest IP packet, octets. */
  readonly mtu: number;
}

export class QemuStreamLink implements HostLink {
  readonly mtu: number;
  readonly tcpOffload = false;
  readonly udpOffload = false;
  readonly queueFrames = 0;
  wantsWritable = false;
  failure = "";

  private readonly view: DataView;
  private readonly octets: Uint8Array;
  private readonly ints: Int32Array;
  private readonly txAt: number;
  private readonly windowAt: number;
  private readonly tailAt: number;
  private readonly frameMax: number;
  /** The window's octets from parseAt to filledAt are not described yet. */
  private parseAt: number;
  private filledAt: number;
  /** Octets that remain of a frame the kernel cut, from owedAt on. */
  private owedAt: number;
  private owed = 0;

  /** `fd` is a connected, non-blocking stream socket; the link closes it. */
  constructor(
    readonly fd: number,
    readonly name: string,
    options: StreamLinkOptions,
  ) {
    this.mtu = options.mtu;
    this.view = options.arena.view;
    this.octets = options.arena.octets;
    this.ints = options.arena.ints;
    this.txAt = options.descriptors.txAt;
    this.windowAt = options.arena.rxWindowAt;
    this.tailAt = this.windowAt + TAIL_OFFSET;
    this.frameMax = options.mtu + ETHERNET_VLAN_HEADER_OCTETS;
    this.parseAt = this.windowAt;
    this.filledAt = this.windowAt;
    this.owedAt = this.tailAt;
    widenSendBuffer(fd, SEND_BUFFER_FRAMES * (this.frameMax + STREAM_PREFIX_OCTETS));
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    if (this.failure !== "") return LINK_CLOSED;
    this.parse(batch);
    for (let reads = 0; batch.count === 0 && this.failure === "" && reads < READS_MAX; reads++) {
      this.keepCutFrame();
      const got = native.receive(this.fd, this.filledAt, READ_OCTETS);
      if (got === EAGAIN) return 0;
      if (got <= 0) return this.closed(got);
      this.filledAt += got;
      this.parse(batch);
      batch.drained = got < READ_OCTETS && batch.count < batch.capacity;
    }
    if (this.failure !== "" && batch.count === 0) return LINK_CLOSED;
    return batch.count;
  }

  /** Describes whole frames until the batch is full, none is left, or a length makes no sense. */
  private parse(batch: FrameBatch): void {
    let at = this.parseAt;
    const end = this.filledAt;
    while (batch.count < batch.capacity && end - at >= STREAM_PREFIX_OCTETS) {
      const length = streamFrameLength(this.view, at);
      if (length > FRAME_MAX) {
        this.failure = `${this.name}: frame length ${length} is over ${FRAME_MAX} octets; not QEMU's framing?`;
        break;
      }
      const frameAt = at + STREAM_PREFIX_OCTETS;
      if (end - frameAt < length) break;
      if (length < ETHERNET_HEADER_OCTETS || length > this.frameMax) batch.oversized++;
      else batch.push(frameAt, length, 0, 0);
      at = frameAt + length;
    }
    this.parseAt = at;
  }

  /** Moves what the last read cut off to the front of the window. */
  private keepCutFrame(): void {
    if (this.parseAt === this.windowAt) return;
    if (this.parseAt < this.filledAt) this.octets.copyWithin(this.windowAt, this.parseAt, this.filledAt);
    this.filledAt -= this.parseAt - this.windowAt;
    this.parseAt = this.windowAt;
  }

  private closed(result: number): number {
    if (this.failure === "") {
      // An end closed with frames of ours unread reads as a reset (unix(7)), and a write finds no reader.
      const closed = "the other side closed the connection";
      const errno = result === 0 ? "" : describeErrno(result);
      const isEnd = result === ECONNRESET || result === EPIPE;
      const how = result === 0 ? closed : isEnd ? `${closed}: ${errno}` : errno;
      const cut = this.filledAt - this.parseAt;
      const lost = cut === 0 ? "" : ` in the middle of a frame (its first ${cut} octets are lost)`;
      this.failure = `${this.name}: ${how}${lost}`;
    }
    return LINK_CLOSED;
  }

  transmit(queue: TransmitQueue): number {
    if (this.failure !== "") return LINK_CLOSED;
    const count = Math.min(queue.length, TX_BATCH_MAX);
    if (count === 0) return 0;
    const before = this.describeOwed();
    for (let i = 0; i < count; i++) this.describeTransmit(queue, i, before + i);
    const written = this.write(before + count);
    if (written < 0) return written === EAGAIN ? 0 : LINK_CLOSED;
    const taken = this.settle(queue, this.pay(written), count);
    queue.taken(taken);
    this.wantsWritable = this.owed > 0 || taken < count;
    return taken;
  }

  resume(): void {
    this.wantsWritable = false;
    if (this.owed === 0 || this.failure !== "") return;
    const written = this.write(this.describeOwed());
    if (written < 0) return;
    this.pay(written);
    this.wantsWritable = this.owed > 0;
  }

  /** Puts the rest of a cut frame first; returns how many descriptors that took. */
  private describeOwed(): number {
    if (this.owed === 0) return 0;
    const first = this.txAt >> 2;
    this.ints[first] = this.owedAt;
    this.ints[first + 1] = this.owed;
    this.ints[first + 2] = 0;
    this.ints[first + 3] = 0;
    return 1;
  }

  /** Octets written, EAGAIN when the socket is full (a writable event is asked for), or LINK_CLOSED. */
  private write(descriptors: number): number {
    const written = native.writeStream(this.fd, this.txAt, descriptors);
    if (written >= 0) return written;
    if (written !== EAGAIN && written !== ENOBUFS && written !== ENOMEM) return this.closed(written);
    this.wantsWritable = true;
    return EAGAIN;
  }

  /** Takes what was owed from `written` octets; returns what is left of them. */
  private pay(written: number): number {
    const paid = Math.min(this.owed, written);
    this.owed -= paid;
    this.owedAt += paid;
    return written - paid;
  }

  private describeTransmit(queue: TransmitQueue, i: number, descriptor: number): void {
    const entry = (queue.first + i) & (queue.capacity - 1);
    const headerLength = queue.headerLength[entry];
    const payloadLength = queue.payloadLength[entry];
    const at = queue.headerAt[entry] - STREAM_PREFIX_OCTETS;
    setStreamFrameLength(this.view, at, headerLength + payloadLength);
    const index = (this.txAt + descriptor * FRAME_DESCRIPTOR_OCTETS) >> 2;
    this.ints[index] = at;
    this.ints[index + 1] = headerLength + STREAM_PREFIX_OCTETS;
    this.ints[index + 2] = queue.payloadAt[entry];
    this.ints[index + 3] = payloadLength;
  }

  /** Counts the frames that `written` octets took with them and keeps the rest of a cut one. */
  private settle(queue: TransmitQueue, written: number, count: number): number {
    let left = written;
    let taken = 0;
    while (taken < count && left > 0) {
      const entry = (queue.first + taken) & (queue.capacity - 1);
      const headOctets = queue.headerLength[entry] + STREAM_PREFIX_OCTETS;
      const frameOctets = headOctets + queue.payloadLength[entry];
      taken++;
      if (left < frameOctets) {
        this.keepRest(queue, entry, headOctets, left);
        break;
      }
      left -= frameOctets;
    }
    return taken;
  }

  /** Copies what remains of a frame of which the kernel took `sent` octets. */
  private keepRest(queue: TransmitQueue, entry: number, headOctets: number, sent: number): void {
    const headAt = queue.headerAt[entry] - STREAM_PREFIX_OCTETS;
    const payloadAt = queue.payloadAt[entry];
    const payloadEnd = payloadAt + queue.payloadLength[entry];
    let end = this.tailAt;
    if (sent < headOctets) {
      this.octets.copyWithin(end, headAt + sent, headAt + headOctets);
      end += headOctets - sent;
    }
    const from = payloadAt + Math.max(0, sent - headOctets);
    this.octets.copyWithin(end, from, payloadEnd);
    this.owedAt = this.tailAt;
    this.owed = end + (payloadEnd - from) - this.tailAt;
  }

  close(): void {
    native.close(this.fd);
  }
}

/** The kernel doubles what is asked for, for its own account, and clamps it to net.core.wmem_max. */
function widenSendBuffer(fd: number, octets: number): void {
  if (native.getOption(fd, SOL_SOCKET, SO_DOMAIN) !== AF_UNIX) return;
  if (native.getOption(fd, SOL_SOCKET, SO_SNDBUF) >= 2 * octets) return;
  native.setOption(fd, SOL_SOCKET, SO_SNDBUF, octets);
}
