/**
 * A pcapng file, a pipe or a socket that frames are written to. Blocks collect in a buffer that is written whole, when it is
 * full and at least every FLUSH_MS. Who reads a pipe too slowly loses frames, which are counted; nobody waits.
 */
import { closeSync, writeSync } from "node:fs";
import { FRAME_MAX } from "../../engine/limits.ts";
import * as pcapng from "../../engine/wire/pcapng.ts";
import type { CaptureSpec } from "./capture-spec.ts";

/** Four super-frames with their blocks. */
const BUFFER_OCTETS = 4 * (FRAME_MAX + 512);
const FLUSH_MS = 100;
/** How long what is left of a capture that has ended may wait for its reader, milliseconds. */
const LINGER_MS = 2000;
/** Longer comments and names are cut: far more than any of ours. */
const TEXT_MAX = 400;

const plain = (text: string): string => text.slice(0, TEXT_MAX).replace(/[^\x20-\x7e]/g, "?");

export class PacketFile {
  frames = 0;
  lost = 0;
  /** Of the file, what is still to be written included. */
  octets = 0;
  /** Why nothing is taken any more; null while it is. */
  ended: string | null = null;
  private readonly buffer = new Uint8Array(BUFFER_OCTETS);
  private readonly view = new DataView(this.buffer.buffer);
  private readonly timer: NodeJS.Timeout;
  private readonly until: number;
  /** What waits: from where to where. */
  private from = 0;
  private filled = 0;
  private isOpen = true;
  private lingerUntil = 0;

  /** Takes `fd`, open for writing; `link` is the link's name. `onEnded` is called once, also from here, when it ends. */
  constructor(
    private readonly fd: number,
    link: string,
    private readonly spec: Pick<CaptureSpec, "snap" | "octets" | "frames" | "seconds">,
    private readonly nowMs: () => number,
    private readonly onEnded: () => void,
  ) {
    this.until = spec.seconds === 0 ? Number.POSITIVE_INFINITY : nowMs() + spec.seconds * 1000;
    this.grew(pcapng.writeFileHead(this.view, 0, "sluice", plain(link), spec.snap));
    this.timer = setInterval(() => this.tick(), FLUSH_MS);
    this.timer.unref();
    this.flush();
  }

  private grew(octets: number): void {
    this.filled += octets;
    this.octets += octets;
  }

  private get microseconds(): number {
    return Math.floor(this.nowMs() * 1000);
  }

  /** Writes the frame whose octets (as many as `snap` keeps) are at the beginning of `frame`; `length` it had. */
  packet(frame: Uint8Array, length: number, atMs: number, direction: number, comment: string): void {
    if (this.ended !== null) return;
    const captured = Math.min(length, this.spec.snap, frame.length);
    const text = comment === "" ? "" : plain(comment);
    const octets = pcapng.packetBlockOctets(captured, text.length);
    if (!this.hasRoom(octets)) {
      this.lost++;
      return;
    }
    const { filled } = this;
    this.buffer.set(frame.subarray(0, captured), filled + pcapng.PACKET_OCTETS_AT);
    pcapng.writePacketBlock(this.view, filled, Math.floor(atMs * 1000), captured, length, direction, text);
    this.grew(octets);
    this.frames++;
    if (this.spec.frames > 0 && this.frames >= this.spec.frames) this.end("it has the frames it was to have");
  }

  /** Says that an address has a name, if there is room: a name never ends a file. */
  name(words: ArrayLike<number>, isIpv4: boolean, name: string): void {
    if (this.ended !== null || !this.fits(TEXT_MAX + 64) || !this.hasBuffer(TEXT_MAX + 64)) return;
    this.grew(pcapng.writeName(this.view, this.filled, words, isIpv4, plain(name)));
  }

  /** Room for a block, of the buffer and of what the file may have. */
  private hasRoom(octets: number): boolean {
    if (this.fits(octets)) return this.hasBuffer(octets);
    this.end("it has the octets it was to have");
    return false;
  }

  private fits(octets: number): boolean {
    const { spec } = this;
    return spec.octets === 0 || this.octets + octets + pcapng.STATISTICS_OCTETS <= spec.octets;
  }

  private hasBuffer(octets: number): boolean {
    // The last block has its place kept.
    const most = BUFFER_OCTETS - pcapng.STATISTICS_OCTETS;
    if (this.filled + octets <= most) return true;
    this.flush();
    return this.filled + octets <= most;
  }

  private tick(): void {
    this.flush();
    if (this.ended === null && this.nowMs() >= this.until) this.end("its time is up");
    else if (this.ended !== null && performance.now() > this.lingerUntil) this.close();
  }

  private flush(): void {
    try {
      while (this.from < this.filled)
        this.from += writeSync(this.fd, this.buffer, this.from, this.filled - this.from);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") {
        this.from = 0;
        this.filled = 0;
        this.close();
        if (this.ended === null) this.over((error as Error).message);
        return;
      }
      this.buffer.copyWithin(0, this.from, this.filled);
    }
    this.filled -= this.from;
    this.from = 0;
    if (this.ended !== null && this.filled === 0) this.close();
  }

  /** Takes nothing any more; what waits is written. */
  end(why: string): void {
    if (this.ended !== null) return;
    this.over(why);
    this.grew(pcapng.STATISTICS_OCTETS);
    const at = this.filled - pcapng.STATISTICS_OCTETS;
    pcapng.writeStatistics(this.view, at, this.microseconds, this.frames + this.lost, this.lost);
    this.lingerUntil = performance.now() + LINGER_MS;
    this.flush();
  }

  private over(why: string): void {
    this.ended = why;
    this.onEnded();
  }

  /** At once: what its reader has not taken by then is left behind. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    clearInterval(this.timer);
    closeSync(this.fd);
  }
}
