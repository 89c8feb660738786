/**
 * One direction of a bad link: loses, duplicates, delays, reorders, cuts and corrupts frames, and has a rate and a
 * queue. Only what a checksum must catch is corrupted: one bit of the IPv4 packet of a frame whose checksum is
 * complete (ARP and offloaded frames never cross a wire that flips bits).
 */
import type { SimFrame } from "./guest-stack/guest.ts";
import type { World } from "./world/world.ts";

export interface Impairment {
  readonly loss: number;
  readonly duplicate: number;
  readonly corrupt: number;
  readonly truncate: number;
  /** Probability that a frame is held back by up to `reorderMs`. */
  readonly reorder: number;
  readonly reorderMs: number;
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Octets per millisecond; 0: no limit. */
  readonly rate: number;
  /** Frames that wait for the rate before one is dropped. */
  readonly queueFrames: number;
}

export const PERFECT: Impairment = {
  loss: 0,
  duplicate: 0,
  corrupt: 0,
  truncate: 0,
  reorder: 0,
  reorderMs: 0,
  delayMs: 0,
  jitterMs: 0,
  rate: 0,
  queueFrames: 1000,
};

const IPV4_AT = 14;
/** IPv4 and UDP header. */
const SMALLEST_OCTETS = 28;
/** What a place in the queue is worth, however short the frame at hand. */
const FULL_FRAME_OCTETS = 1514;

export class Pipe {
  /** Frames on their way. */
  inFlight = 0;
  lost = 0;
  damaged = 0;
  private busyUntilMs = 0;
  private lastArrivalMs = 0;
  private readonly random;

  constructor(
    private readonly world: World,
    private readonly name: string,
    readonly impairment: Impairment,
    /** `octets`: the frame's length when it was sent. */
    private readonly deliver: (frame: SimFrame, octets: number) => void,
  ) {
    this.random = world.random.fork();
  }

  /** Returns how many copies are on their way now: none when the frame is lost, two when it is duplicated. */
  send(frame: SimFrame): number {
    const { world, random, impairment } = this;
    if (random.chance(impairment.loss)) {
      this.lost++;
      world.note("lost", [frame.octets.length], () => `${this.name}: ${frame.octets.length} octets`);
      return 0;
    }
    let departMs = world.nowMs;
    if (impairment.rate > 0) {
      const takesMs = frame.octets.length / impairment.rate;
      const queueMs =
        (Math.max(frame.octets.length, FULL_FRAME_OCTETS) / impairment.rate) * impairment.queueFrames;
      if (this.busyUntilMs - world.nowMs > queueMs) {
        this.lost++;
        world.note("full", [frame.octets.length], () => `${this.name}: queue full`);
        return 0;
      }
      this.busyUntilMs = Math.max(this.busyUntilMs, world.nowMs) + takesMs;
      departMs = this.busyUntilMs;
    }
    this.launch(this.damage(frame), frame.octets.length, departMs);
    if (!random.chance(impairment.duplicate)) return 1;
    this.launch(frame, frame.octets.length, departMs);
    return 2;
  }

  private launch(frame: SimFrame, octets: number, departMs: number): void {
    const { impairment, random, world } = this;
    const held = random.chance(impairment.reorder);
    let atMs = departMs + impairment.delayMs + random.fraction() * impairment.jitterMs;
    if (held) atMs += random.fraction() * impairment.reorderMs;
    else {
      atMs = Math.max(atMs, this.lastArrivalMs);
      this.lastArrivalMs = atMs;
    }
    this.inFlight++;
    world.at(atMs, () => {
      this.inFlight--;
      this.deliver(frame, octets);
    });
  }

  private damage(frame: SimFrame): SimFrame {
    const { random, impairment } = this;
    const { octets } = frame;
    if (impairment.corrupt + impairment.truncate === 0) return frame;
    if (
      frame.partialChecksum ||
      octets.length < IPV4_AT + SMALLEST_OCTETS ||
      octets.readUInt16BE(12) !== 0x0800
    )
      return frame;
    // A UDP datagram without a checksum, or a later fragment, has nothing that could catch it.
    const protocol = octets[IPV4_AT + 9];
    const fragment = octets.readUInt16BE(IPV4_AT + 6) & 0x3fff;
    if (protocol !== 6 && (fragment !== 0 || octets.readUInt16BE(IPV4_AT + 26) === 0)) return frame;
    const corrupted = random.chance(impairment.corrupt);
    const truncated = random.chance(impairment.truncate);
    if (!corrupted && !truncated) return frame;
    this.damaged++;
    const copy = Buffer.from(octets);
    const total = octets.readUInt16BE(IPV4_AT + 2);
    if (truncated) {
      return { ...frame, octets: copy.subarray(0, random.between(1, IPV4_AT + total - 1)) };
    }
    const at = random.between(IPV4_AT, IPV4_AT + total - 1);
    copy[at] ^= 1 << random.between(0, 7);
    return { ...frame, octets: copy };
  }
}
