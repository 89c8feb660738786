import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";

const arena = new ArrayBuffer(1 << 18);
const octets = new Uint8Array(arena);

/** RFC 1071 as it is written: 16-bit words, end-around carry after each. */
function naiveSum(bytes: Uint8Array, initial: number): number {
  let sum = initial;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
    sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

beforeAll(() => {
  native.registerArena(arena);
  let state = 1;
  for (let i = 0; i < octets.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    octets[i] = state >>> 16;
  }
});

describe("checksum", () => {
  it("gives the sum of RFC 1071, section 3", () => {
    octets.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0);
    expect(native.checksum(0, 8, 0)).toBe(0xddf2);
  });

  it("agrees with the naive sum at any offset, length and initial sum", () => {
    const sizes = fc.oneof(
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 0, max: 2000 }),
      fc.integer({ min: 0, max: 65_600 }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 70 }),
        sizes,
        fc.integer({ min: 0, max: 0x7fffffff }),
        (at, length, initial) => {
          expect(native.checksum(at, length, initial)).toBe(
            naiveSum(octets.subarray(at, at + length), initial),
          );
        },
      ),
      { numRuns: 500 },
    );
  });

  it("carries without loss when every octet is 255", () => {
    const at = 100_000;
    octets.fill(0xff, at, at + 65_535);
    for (const length of [1, 2, 7, 8, 63, 64, 127, 128, 129, 4096, 65_534, 65_535]) {
      expect(native.checksum(at, length, 0xffff)).toBe(naiveSum(octets.subarray(at, at + length), 0xffff));
    }
  });

  it("is 0 for zeros only", () => {
    octets.fill(0, 200_000, 201_000);
    expect(native.checksum(200_000, 1000, 0)).toBe(0);
    expect(native.checksum(200_000, 1000, 0xffff)).toBe(0xffff);
    expect(native.checksum(200_000, 0, 7)).toBe(7);
  });

  it("refuses octets outside the arena", () => {
    const end = arena.byteLength;
    expect(native.checksum(end - 4, 4, 0)).toBeGreaterThanOrEqual(0);
    for (const [at, length] of [
      [end - 4, 5],
      [end + 1, 0],
      [-1, 2],
      [0, -1],
      [0x7fffffff, 0x7fffffff],
    ] as const) {
      expect(native.checksum(at, length, 0)).toBe(-22);
    }
  });
});
