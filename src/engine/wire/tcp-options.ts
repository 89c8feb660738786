/**
 * TCP options (RFC 9293 section 3.2, RFC 7323, RFC 2018), parsed into one reused object.
 *
 * The layout almost every data segment has (NOP NOP timestamps) is recognised by one comparison.
 */

const END = 0;
const NOP = 1;
const MSS = 2;
const WINDOW_SCALE = 3;
const SACK_PERMITTED = 4;
const SACK = 5;
const TIMESTAMPS = 8;

/** NOP, NOP, kind 8, length 10 as one int32. */
const ALIGNED_TIMESTAMPS = 0x0101080a;
/** RFC 7323 section 2.3. */
const WINDOW_SHIFT_MAX = 14;
/** RFC 2018 section 3: 40 octets of options hold four blocks. */
const SACK_BLOCKS_MAX = 4;

/** What the last `parseTcpOptions` found. */
export class TcpOptions {
  /** 0 when absent. */
  mss = 0;
  /** -1 when absent. */
  windowShift = -1;
  sackPermitted = false;
  hasTimestamps = false;
  timestampValue = 0;
  timestampEcho = 0;
  sackBlocks = 0;
  /** Pairs of left and right edge. */
  readonly sackEdges = new Int32Array(SACK_BLOCKS_MAX * 2);

  private clear(): void {
    this.mss = 0;
    this.windowShift = -1;
    this.sackPermitted = false;
    this.hasTimestamps = false;
    this.sackBlocks = 0;
  }

  /** Reads the options between `at` and `end`. Malformed ones end the parse; what came before them stands. */
  parse(view: DataView, at: number, end: number): void {
    this.clear();
    if (end - at === 12 && view.getInt32(at) === ALIGNED_TIMESTAMPS) {
      this.hasTimestamps = true;
      this.timestampValue = view.getInt32(at + 4);
      this.timestampEcho = view.getInt32(at + 8);
      return;
    }
    while (at < end) {
      const kind = view.getUint8(at);
      if (kind === END) return;
      if (kind === NOP) {
        at++;
        continue;
      }
      if (end - at < 2) return;
      const octets = view.getUint8(at + 1);
      if (octets < 2 || octets > end - at) return;
      this.take(view, kind, octets, at);
      at += octets;
    }
  }

  private take(view: DataView, kind: number, octets: number, at: number): void {
    if (kind === MSS && octets === 4) {
      this.mss = view.getUint16(at + 2);
    } else if (kind === WINDOW_SCALE && octets === 3) {
      const shift = view.getUint8(at + 2);
      this.windowShift = Math.min(shift, WINDOW_SHIFT_MAX);
    } else if (kind === SACK_PERMITTED && octets === 2) {
      this.sackPermitted = true;
    } else if (kind === TIMESTAMPS && octets === 10) {
      this.hasTimestamps = true;
      this.timestampValue = view.getInt32(at + 2);
      this.timestampEcho = view.getInt32(at + 6);
    } else if (kind === SACK && (octets - 2) % 8 === 0) {
      const blocks = (octets - 2) >>> 3;
      this.sackBlocks = Math.min(blocks, SACK_BLOCKS_MAX);
      for (let i = 0; i < this.sackBlocks * 2; i++) this.sackEdges[i] = view.getInt32(at + 2 + i * 4);
    }
  }
}

export const TIMESTAMP_OPTION_OCTETS = 12;

/** NOP NOP timestamps, 12 octets. */
export function writeTimestamps(view: DataView, at: number, value: number, echo: number): void {
  view.setInt32(at, ALIGNED_TIMESTAMPS);
  view.setInt32(at + 4, value);
  view.setInt32(at + 8, echo);
}

/** 4 octets. */
export function writeMss(view: DataView, at: number, mss: number): void {
  view.setInt32(at, (MSS << 24) | (4 << 16) | mss);
}

/** NOP and window scale, 4 octets. */
export function writeWindowScale(view: DataView, at: number, shift: number): void {
  view.setInt32(at, (NOP << 24) | (WINDOW_SCALE << 16) | (3 << 8) | shift);
}

/** NOP NOP and SACK permitted, 4 octets. */
export function writeSackPermitted(view: DataView, at: number): void {
  view.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK_PERMITTED << 8) | 2);
}

/** NOP NOP and the head of a SACK option with `blocks` blocks; the edges follow at `at + 4`. */
export function writeSackHead(view: DataView, at: number, blocks: number): void {
  view.setInt32(at, (NOP << 24) | (NOP << 16) | (SACK << 8) | (2 + blocks * 8));
}
