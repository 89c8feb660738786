/**
 * A plain pcap file of what passes over the link, both ways.
 *
 * Records collect in a buffer that is written whole, when it is full and at least every FLUSH_MS, so the file on disk
 * ends with a whole record between writes. A kill in the middle of a write can cut the last record, which readers
 * tell of and skip; all before it are whole. Super-frames are recorded as the one frame they are, with
 * the checksum field as the link carried it (wireshark can be told that it is partial). When the disk is full, or the
 * reader of a pipe has gone, recording stops with one warning and the guest does not notice.
 *
 * A record costs two small objects and a copy; without `--pcap` this file is not on the path at all.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import type { FrameTap, Logger } from "../../engine/boundary.ts";
import { FRAME_MAX } from "../../engine/limits.ts";
import {
  PCAP_FILE_HEADER_OCTETS,
  PCAP_PACKET_HEADER_OCTETS,
  pcapPacketLength,
  writePcapFileHeader,
  writePcapPacketHeader,
} from "../../engine/wire/pcap.ts";
import { StartError } from "../start-error.ts";

/** Four super-frames and their record headers. */
const BUFFER_OCTETS = 4 * (FRAME_MAX + PCAP_PACKET_HEADER_OCTETS);
const FLUSH_MS = 100;
/** The capture holds everything the guest sends: for its owner only. */
const FILE_MODE = 0o600;

/** Milliseconds since 1970 with a fraction; not moved by a change of the clock while the process runs. */
function wallClock(): number {
  return performance.timeOrigin + performance.now();
}

/** Whether a capture file of this name is pcapng (host/captures). */
export function isPcapng(path: string): boolean {
  return path.endsWith(".pcapng");
}

/** Creates or overwrites a capture file, if it is not open already. Throws StartError. */
export function openCaptureFile(path: string | number): number {
  if (typeof path === "number") return path;
  try {
    return openSync(path, "w", FILE_MODE);
  } catch (error) {
    throw new StartError([{ place: `pcap ${path}`, reason: (error as Error).message }]);
  }
}

/** An open pcap file. */
export class CaptureFile implements FrameTap {
  private readonly buffer = new Uint8Array(BUFFER_OCTETS);
  private readonly view = new DataView(this.buffer.buffer);
  private readonly timer: NodeJS.Timeout;
  private filled = 0;
  /** Octets of whole records on disk. */
  private written = 0;
  private recording = true;

  private constructor(
    private readonly fd: number,
    private readonly path: string,
    private readonly octets: Uint8Array,
    private readonly log: Logger,
    private readonly nowMs: () => number,
  ) {
    writePcapFileHeader(this.view, 0);
    this.filled = PCAP_FILE_HEADER_OCTETS;
    this.flush();
    this.timer = setInterval(() => this.flush(), FLUSH_MS);
    this.timer.unref();
  }

  /**
   * Creates or overwrites `path`, for frames that lie in `octets`. `nowMs` is the clock of the records, milliseconds since
   * 1970. Throws StartError.
   */
  static open(path: string | number, octets: Uint8Array, log: Logger, nowMs = wallClock): CaptureFile {
    const name = typeof path === "number" ? `descriptor ${path}` : path;
    return new CaptureFile(openCaptureFile(path), name, octets, log, nowMs);
  }

  arriving(at: number, octets: number): void {
    this.record(at, octets, 0, 0);
  }

  arrived(): void {}

  sent(at: number, octets: number, restAt: number, restOctets: number): void {
    this.record(at, octets, restAt, restOctets);
  }

  /** A frame that lies in two pieces, of which the second may be empty. */
  private record(at: number, length: number, restAt: number, restLength: number): void {
    if (!this.recording) return;
    const { octets } = this;
    const frameOctets = length + restLength;
    if (frameOctets > FRAME_MAX) return;
    if (this.filled + PCAP_PACKET_HEADER_OCTETS + frameOctets > BUFFER_OCTETS) this.flush();
    const now = this.nowMs();
    const seconds = Math.floor(now / 1000);
    const microseconds = Math.floor((now - seconds * 1000) * 1000);
    writePcapPacketHeader(this.view, this.filled, seconds, microseconds, frameOctets);
    this.filled += PCAP_PACKET_HEADER_OCTETS;
    this.buffer.set(octets.subarray(at, at + length), this.filled);
    this.filled += length;
    if (restLength > 0) this.buffer.set(octets.subarray(restAt, restAt + restLength), this.filled);
    this.filled += restLength;
  }

  /** Writes what is buffered. */
  flush(): void {
    if (!this.recording) return;
    const whole = this.filled;
    this.filled = 0;
    let at = 0;
    try {
      while (at < whole) at += writeSync(this.fd, this.buffer, at, whole - at);
      this.written += whole;
    } catch (error) {
      this.recording = false;
      this.log.warn(
        `pcap ${this.path}: ${(error as Error).message}; recording stops, the guest is served on`,
      );
      this.cutBack(at);
    }
  }

  /** Of a write that ended after `taken` octets of the buffer, removes the record that is not whole. */
  private cutBack(taken: number): void {
    let whole = 0;
    for (let at = this.written === 0 ? PCAP_FILE_HEADER_OCTETS : 0; at <= taken; ) {
      whole = at;
      at += PCAP_PACKET_HEADER_OCTETS + pcapPacketLength(this.view, at);
    }
    try {
      ftruncateSync(this.fd, this.written + whole);
    } catch {
      // A pipe cannot be cut, and its reader has gone anyway.
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.flush();
    this.recording = false;
    closeSync(this.fd);
  }
}
