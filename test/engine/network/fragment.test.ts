import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FragmentCutter } from "../../../src/engine/network/fragment.ts";
import { MORE_FRAGMENTS } from "../../../src/engine/wire/ipv4.ts";

function cut(payload: number, header: number, mtu: number) {
  const cutter = new FragmentCutter();
  const pieces: { offset: number; length: number; more: boolean; bits: number }[] = [];
  for (cutter.start(payload, header, mtu); cutter.next(); ) {
    const { offset, length, more, bits } = cutter;
    pieces.push({ offset, length, more, bits });
  }
  return pieces;
}

describe("fragment cutter", () => {
  it("leaves alone what fits, to the octet", () => {
    expect(cut(1480, 20, 1500)).toEqual([{ offset: 0, length: 1480, more: false, bits: 0 }]);
    expect(cut(557, 20, 577)).toEqual([{ offset: 0, length: 557, more: false, bits: 0 }]);
  });

  it("cuts one octet more in two", () => {
    expect(cut(1481, 20, 1500)).toEqual([
      { offset: 0, length: 1480, more: true, bits: MORE_FRAGMENTS },
      { offset: 1480, length: 1, more: false, bits: 185 },
    ]);
  });

  it("rounds down to 8 octets where the MTU is odd", () => {
    expect(cut(1200, 20, 577).map(({ length }) => length)).toEqual([552, 552, 96]);
  });

  it("cuts the recorded 4000-octet datagram as Linux did", () => {
    expect(cut(4008, 20, 1500).map(({ length }) => length)).toEqual([1480, 1480, 1048]);
  });

  it("covers every payload once, in order, in legal pieces", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 65515 }),
        fc.constantFrom(20, 24, 60),
        fc.integer({ min: 576, max: 65521 }),
        (payload, header, mtu) => {
          const pieces = cut(payload, header, mtu);
          let next = 0;
          pieces.forEach(({ offset, length, more }, i) => {
            expect(offset).toBe(next);
            expect(length).toBeGreaterThan(0);
            expect(header + length).toBeLessThanOrEqual(mtu);
            expect(more).toBe(i < pieces.length - 1);
            if (more) expect(length % 8).toBe(0);
            next += length;
          });
          expect(next).toBe(payload);
        },
      ),
    );
  });

  it("starts over in the middle of an iteration", () => {
    const cutter = new FragmentCutter();
    cutter.start(5000, 20, 1500);
    cutter.next();
    cutter.start(10, 20, 1500);
    expect([cutter.next(), cutter.offset, cutter.length, cutter.next()]).toEqual([true, 0, 10, false]);
  });

  it("has nothing before it is started, and of an empty payload", () => {
    const cutter = new FragmentCutter();
    expect([cutter.next(), cutter.more]).toEqual([false, false]);
    cutter.start(0, 20, 1500);
    expect(cutter.next()).toBe(false);
  });

  it("says offset and more as the header of IPv6 does", () => {
    const cutter = new FragmentCutter();
    const bits: number[] = [];
    for (cutter.start(2500, 48, 1280); cutter.next(); ) bits.push(cutter.bits6);
    expect(bits).toEqual([0 | 1, 1232 | 1, 2464]);
  });
});
