/**
 * A capture plays the guest: its frames arrive when they are released, what the engine answers is taken and thrown
 * away; record it with an output capture. For tests, and for bug reports that come with a file.
 */
import { readFileSync } from "node:fs";
import { RX_WINDOW_OCTETS } from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";
import type { FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import { ETHERNET_HEADER_OCTETS, ETHERNET_VLAN_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import { CaptureFormatError, LINKTYPE_ETHERNET, readCapture } from "../../engine/wire/pcap.ts";
import type { HostLink } from "../engine-options.ts";
import { StartError } from "../start-error.ts";

const SOURCE_OFFSET = 6;
const MAC_OCTETS = 6;
/** Frames start on 4n + 2, so that IP headers lie on 4n. */
const SLOT_OFFSET = 2;

/** A frame of the guest. */
export interface ReplayFrame {
  /** Milliseconds after the first one. */
  readonly atMs: number;
  readonly octets: Uint8Array;
}

/**
 * The guest's frames in a capture file: those from `guestMac`, by default from whoever sent the first frame. `fd`: where
 * it is open already, which `path` then only names. Throws StartError for a file that cannot be read, is no Ethernet capture, or has none.
 */
export function readReplay(path: string, guestMac?: Uint8Array, fd?: number): ReplayFrame[] {
  const place = `replay ${path}`;
  const frames: ReplayFrame[] = [];
  let mac = guestMac;
  let start = 0;
  try {
    for (const packet of readCapture(new Uint8Array(readFileSync(fd ?? path)))) {
      if (packet.linkType !== LINKTYPE_ETHERNET) {
        throw new CaptureFormatError(`Ethernet frames are needed; found link type ${packet.linkType}`);
      }
      if (packet.octets.length < ETHERNET_HEADER_OCTETS) continue;
      const source = packet.octets.subarray(SOURCE_OFFSET, SOURCE_OFFSET + MAC_OCTETS);
      mac ??= source;
      if (Buffer.compare(source, mac) !== 0) continue;
      if (frames.length === 0) start = packet.time;
      frames.push({ atMs: Math.max(0, (packet.time - start) * 1000), octets: packet.octets });
    }
  } catch (error) {
    throw new StartError([{ place, reason: (error as Error).message }]);
  }
  if (frames.length === 0) throw new StartError([{ place, reason: "no frame of the guest in it" }]);
  return frames;
}

export interface ReplayLinkOptions {
  readonly arena: Arena;
  readonly mtu: number;
}

/** Gives the frames that have been released so far. */
export class ReplayLink implements HostLink {
  readonly fd = -1;
  readonly mtu: number;
  readonly tcpOffload = false;
  readonly udpOffload = false;
  readonly queueFrames = 0;
  readonly wantsWritable = false;
  readonly failure = "";
  /** Frames the engine sent to the guest. */
  answered = 0;

  private next = 0;
  private released = 0;

  constructor(
    readonly name: string,
    private readonly frames: readonly ReplayFrame[],
    private readonly options: ReplayLinkOptions,
  ) {
    this.mtu = options.mtu;
  }

  /** Frames not yet read. */
  get left(): number {
    return this.frames.length - this.next;
  }

  /**
   * Lets the frames of the capture's first `elapsedMs` milliseconds arrive. Returns the milliseconds until the next
   * one is due, or -1 when that was the last.
   */
  release(elapsedMs: number): number {
    while (this.released < this.frames.length && this.frames[this.released].atMs <= elapsedMs)
      this.released++;
    if (this.released === this.frames.length) return -1;
    return this.frames[this.released].atMs - elapsedMs;
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    const { octets, rxWindowAt } = this.options.arena;
    const end = rxWindowAt + RX_WINDOW_OCTETS;
    let at = rxWindowAt + SLOT_OFFSET;
    while (this.next < this.released && batch.count < batch.capacity) {
      const frame = this.frames[this.next].octets;
      if (frame.length > this.mtu + ETHERNET_VLAN_HEADER_OCTETS) {
        batch.oversized++;
        this.next++;
        continue;
      }
      if (at + frame.length > end) break;
      octets.set(frame, at);
      batch.push(at, frame.length, 0, 0);
      at += (SLOT_OFFSET + frame.length + 3) & ~3;
      this.next++;
    }
    return batch.count;
  }

  transmit(queue: TransmitQueue): number {
    const count = queue.length;
    this.answered += count;
    queue.taken(count);
    return count;
  }

  resume(): void {}

  close(): void {}
}
