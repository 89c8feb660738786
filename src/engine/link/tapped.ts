/**
 * What stands between the link and the core while somebody watches what passes (boundary.ts:FrameTap): without one neither is
 * there.
 */
import type { FrameLink, FrameTap } from "../boundary.ts";
import type { FrameBatch } from "../memory/frame-batch.ts";
import type { Packet } from "../memory/packet.ts";
import type { TransmitQueue } from "../memory/transmit-queue.ts";

/** Takes a frame of the guest. Returns HANDLED or a drop reason. */
export interface FrameInput {
  frame(packet: Packet): number;
}

export class TappedInput implements FrameInput {
  constructor(
    private readonly inner: FrameInput,
    private readonly tap: FrameTap,
  ) {}

  frame(packet: Packet): number {
    this.tap.arriving(packet.frameAt, packet.frameOctets);
    const reason = this.inner.frame(packet);
    this.tap.arrived(reason);
    return reason;
  }
}

/** Has `link` transmit, and shows what it took: its octets stay in place until the queue is filled again. */
export function transmitShown(link: FrameLink, queue: TransmitQueue, tap: Pick<FrameTap, "sent">): number {
  const first = queue.headSequence;
  const result = link.transmit(queue);
  const taken = (queue.headSequence - first) | 0;
  for (let i = 0; i < taken; i++) {
    const entry = (first + i) & (queue.capacity - 1);
    tap.sent(
      queue.headerAt[entry],
      queue.headerLength[entry],
      queue.payloadAt[entry],
      queue.payloadLength[entry],
    );
  }
  return result;
}

export class TappedLink implements FrameLink {
  readonly name: string;
  readonly mtu: number;
  readonly tcpOffload: boolean;
  readonly udpOffload: boolean;
  readonly queueFrames: number;

  constructor(
    private readonly inner: FrameLink,
    private readonly tap: FrameTap,
  ) {
    this.name = inner.name;
    this.mtu = inner.mtu;
    this.tcpOffload = inner.tcpOffload;
    this.udpOffload = inner.udpOffload;
    this.queueFrames = inner.queueFrames;
  }

  receive(batch: FrameBatch): number {
    return this.inner.receive(batch);
  }

  transmit(queue: TransmitQueue): number {
    return transmitShown(this.inner, queue, this.tap);
  }

  close(): void {
    this.inner.close();
  }
}
