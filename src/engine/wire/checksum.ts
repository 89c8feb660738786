/**
 * The Internet checksum (RFC 1071) in JavaScript: the fallback where the shim is absent, and the oracle its C kernel
 * is tested against. Sums 32-bit lanes, host order, and swaps at the end (section 2, byte order independence).
 */
import type { ChecksumKernel } from "../boundary.ts";

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export class JavaScriptChecksum implements ChecksumKernel {
  private readonly ints: Int32Array;

  constructor(private readonly view: DataView) {
    this.ints = new Int32Array(view.buffer, 0, view.buffer.byteLength >>> 2);
  }

  sum(at: number, length: number, initial: number): number {
    const view = this.view;
    const end = at + length;
    let sum = initial;
    if ((at & 3) === 0) {
      let low = 0;
      let high = 0;
      const lastLane = end >>> 2;
      for (let i = at >>> 2; i < lastLane; i++) {
        const lane = this.ints[i];
        low += lane & 0xffff;
        high += lane >>> 16;
      }
      at = Math.max(lastLane << 2, at);
      const lanes = fold(low + high);
      sum += LITTLE_ENDIAN ? ((lanes & 0xff) << 8) | (lanes >>> 8) : lanes;
    }
    for (; at + 1 < end; at += 2) sum += view.getUint16(at);
    if (at < end) sum += view.getUint8(at) << 8;
    return fold(sum);
  }
}

/** Folds a sum of 16-bit words (below 2^53) into 16 bits. */
function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}
