import { describe, expect, it } from "vitest";
import { NEIGHBOURS6_PER_MAC_MAX } from "../../../src/engine/limits.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";

const HIGH = 0x5254;
/** Address number `n`; any of its words may be the one that differs. */
const address = (n: number, word = 3): Int32Array => new Int32Array(4).fill(7).with(word, n);

describe("IPv6 neighbour table", () => {
  it("finds what it learned by all four words, and the last MAC wins", () => {
    const table = new Neighbours6();
    const wide = Int32Array.of(0, ...address(1));
    expect(table.find(wide, 1)).toBe(-1);
    expect(table.learn(wide, 1, HIGH, 9)).toBe(true);
    expect(table.learn(wide, 1, HIGH, 5)).toBe(true);
    const i = table.find(address(1), 0);
    expect([table.macHigh[i], table.macLow[i], ...table.words.slice(i * 4, i * 4 + 4)]).toEqual([
      HIGH,
      5,
      ...address(1),
    ]);
    for (let word = 0; word < 4; word++) {
      expect(table.find(address(1).with(word, 99), 0)).toBe(-1);
    }
    expect(table.size).toBe(1);
  });

  it("tells of an address once, when it is new, and notes sources without more", () => {
    const table = new Neighbours6();
    const appeared: number[] = [];
    table.appeared = (words, index) => appeared.push(words[index + 3]);
    table.noteSource(address(1), 0, HIGH, 1);
    table.noteSource(address(1), 0, HIGH, 1);
    table.noteSource(address(1), 0, HIGH, 2);
    table.noteSource(address(2), 0, 0, 0);
    expect(appeared).toEqual([1]);
    expect(table.macLow[table.find(address(1), 0)]).toBe(2);
  });

  it("does not find :: in an empty table", () => {
    expect(new Neighbours6().find(new Int32Array(4), 0)).toBe(-1);
  });

  it("N18 refuses group and zero MACs", () => {
    const table = new Neighbours6();
    expect(table.learn(address(1), 0, 0x3333, 1)).toBe(false);
    expect(table.learn(address(1), 0, 0xffff, -1)).toBe(false);
    expect(table.learn(address(1), 0, 0, 0)).toBe(false);
    expect(table.size).toBe(0);
  });

  it("N20 keeps a live flow's address, leases and declarations through 100,000 inventions of one MAC", () => {
    const table = new Neighbours6();
    table.lease(address(1), 0, HIGH, 1);
    table.declare(address(2), 0, HIGH, 2);
    table.learn(address(3), 0, HIGH, 3);
    for (let n = 0; n < 100_000; n++) table.learn(address(1000 + n), 0, HIGH, 666);
    expect(table.size).toBe(3 + NEIGHBOURS6_PER_MAC_MAX);
    for (const n of [1, 2, 3]) expect(table.macLow[table.find(address(n), 0)]).toBe(n);
  });

  it("N20 lets the learned entry unused longest give way to many MACs", () => {
    const table = new Neighbours6(3, 2);
    for (const n of [1, 2, 3]) table.learn(address(n), 0, HIGH, n);
    table.find(address(1), 0);
    table.learn(address(4), 0, HIGH, 4);
    expect(table.find(address(2), 0)).toBe(-1);
    for (const n of [1, 3, 4]) expect(table.find(address(n), 0)).toBeGreaterThanOrEqual(0);
  });

  it("N20 counts leases into the quota, and takes no more when all of a MAC's entries are pinned", () => {
    const table = new Neighbours6(8, 2);
    table.lease(address(1), 0, HIGH, 1);
    table.lease(address(2), 0, HIGH, 1);
    expect(table.learn(address(3), 0, HIGH, 1)).toBe(false);
    expect(table.learn(address(3), 0, HIGH, 2)).toBe(true);
    table.release(address(1), 0);
    expect(table.learn(address(4), 0, HIGH, 1)).toBe(true);
    expect(table.find(address(1), 0)).toBe(-1);
  });

  it("N20 lets a MAC with its quota take over no address of others", () => {
    const table = new Neighbours6(8, 2);
    for (const n of [1, 2]) table.learn(address(n), 0, HIGH, 666);
    table.learn(address(3), 0, HIGH, 3);
    expect(table.learn(address(3), 0, HIGH, 666)).toBe(false);
    expect(table.learn(address(2), 0, HIGH, 666)).toBe(true);
    expect(table.macLow[table.find(address(3), 0)]).toBe(3);
  });

  it("N20 takes nothing new when every entry is pinned", () => {
    const table = new Neighbours6(2, 2);
    table.lease(address(1), 0, HIGH, 1);
    table.declare(address(2), 0, HIGH, 2);
    expect(table.learn(address(3), 0, HIGH, 3)).toBe(false);
    expect(table.lease(address(3), 0, HIGH, 3)).toBe(false);
  });

  it("N20 moves a lease by a lease alone, a declaration never", () => {
    const table = new Neighbours6();
    table.lease(address(1), 0, HIGH, 1);
    table.declare(address(2), 0, HIGH, 2);
    expect(table.learn(address(1), 0, HIGH, 5)).toBe(false);
    expect(table.learn(address(1), 0, HIGH, 1)).toBe(true);
    expect(table.lease(address(1), 0, HIGH, 6)).toBe(true);
    expect(table.lease(address(2), 0, HIGH, 5)).toBe(false);
    table.release(address(2), 0);
    expect(table.learn(address(2), 0, HIGH, 5)).toBe(false);
    expect([1, 2].map((n) => table.macLow[table.find(address(n), 0)])).toEqual([6, 2]);
    table.release(address(1), 0);
    expect(table.learn(address(1), 0, HIGH, 7)).toBe(true);
  });

  it("goes on counting uses when the count wraps", () => {
    const table = new Neighbours6(2);
    Object.assign(table, { clock: 0x7ffffffe });
    table.learn(address(1), 0, HIGH, 1);
    table.learn(address(2), 0, HIGH, 2);
    table.find(address(1), 0);
    table.learn(address(3), 0, HIGH, 3);
    expect(table.find(address(2), 0)).toBe(-1);
    expect(table.find(address(1), 0)).toBeGreaterThanOrEqual(0);
  });
});

describe("what is new", () => {
  it("is told of when it is learned for the first time, in whichever place, and taken", () => {
    const table = new Neighbours6(1);
    const appeared: number[] = [];
    table.appeared = (words, index) => appeared.push(words[index + 3]);
    expect(table.learn(address(1), 0, HIGH, 1)).toBe(true);
    expect(appeared).toEqual([1]);
    table.learn(address(1), 0, HIGH, 1);
    table.learn(address(2), 0, 0, 0);
    expect(appeared).toEqual([1]);
    table.lease(address(1), 0, HIGH, 1);
    expect(table.learn(address(2), 0, HIGH, 1)).toBe(false);
    expect(appeared).toEqual([1]);
  });

  it("is the source of a packet where either half of its MAC has changed", () => {
    const table = new Neighbours6(2);
    for (const [high, low] of [
      [HIGH, 7],
      [HIGH, 8],
      [HIGH + 2, 8],
      [HIGH, 9],
    ]) {
      table.noteSource(address(1), 0, high, low);
      const i = table.find(address(1), 0);
      expect([table.macHigh[i], table.macLow[i], table.size]).toEqual([high, low, 1]);
    }
  });
});

describe("an entry", () => {
  const left = (table: Neighbours6, numbers: readonly number[]): number[] =>
    numbers.filter((n) => table.find(address(n), 0) >= 0);

  it("takes a MAC of which half is zero", () => {
    const table = new Neighbours6();
    expect([table.learn(address(1), 0, 0, 7), table.learn(address(2), 0, HIGH, 0)]).toEqual([true, true]);
  });

  it("is one, whichever place it has, and gives way by age", () => {
    for (const [used, gone] of [
      [[2, 3], 1],
      [[1, 3], 2],
      [[1, 2], 3],
    ] as const) {
      for (const order of [
        [1, 2, 3],
        [3, 2, 1],
      ]) {
        const table = new Neighbours6(3, 3);
        for (const n of [1, 2, 3, ...order]) table.learn(address(n), 0, HIGH, n);
        expect([table.size, left(table, [1, 2, 3])]).toEqual([3, [1, 2, 3]]);
        for (const n of [...order, ...used]) table.find(address(n), 0);
        table.learn(address(4), 0, HIGH, 4);
        expect(left(table, [1, 2, 3, 4])).toEqual([1, 2, 3, 4].filter((n) => n !== gone));
      }
    }
  });

  it("that is released gives way, whichever place it has", () => {
    for (const released of [1, 2, 3]) {
      const table = new Neighbours6(3, 3);
      for (const n of [1, 2, 3]) table.lease(address(n), 0, HIGH, n);
      table.release(address(9), 0);
      table.release(address(released), 0);
      expect(table.learn(address(4), 0, HIGH, 4)).toBe(true);
      expect(left(table, [1, 2, 3, 4])).toEqual([1, 2, 3, 4].filter((n) => n !== released));
    }
  });

  it("that is declared keeps both halves of its MAC", () => {
    const table = new Neighbours6();
    table.declare(address(1), 0, HIGH, 1);
    expect([HIGH, HIGH + 2].map((high) => table.learn(address(1), 0, high, 1))).toEqual([true, false]);
    expect([1, 2].map((low) => table.learn(address(1), 0, HIGH, low))).toEqual([true, false]);
  });

  it.each([
    ["the first half", HIGH + 2, 1],
    ["the second half", HIGH, 2],
  ])(
    "of a MAC that differs in %s is another's: it is not taken over, nor given way to, nor counted",
    (_name, high, low) => {
      const table = new Neighbours6(8, 2);
      for (const n of [1, 2]) table.learn(address(n), 0, HIGH, 1);
      // In between in age, and before and behind in the table.
      table.learn(address(3), 0, high, low);
      table.find(address(1), 0);
      table.find(address(2), 0);
      expect(table.learn(address(3), 0, HIGH, 1)).toBe(false);
      expect(table.learn(address(4), 0, HIGH, 1)).toBe(true);
      expect(left(table, [1, 2, 3, 4])).toEqual([2, 3, 4]);
      expect(table.learn(address(5), 0, high, low)).toBe(true);
      expect(left(table, [2, 3, 4, 5])).toEqual([2, 3, 4, 5]);
      expect(table.learn(address(6), 0, high, low)).toBe(true);
      expect(left(table, [2, 3, 4, 5, 6])).toEqual([2, 4, 5, 6]);
    },
  );

  it("is learned again in its place, and in nobody else's", () => {
    for (const again of [1, 2]) {
      const table = new Neighbours6(2, 2);
      for (const n of [1, 2, again]) table.learn(address(n), 0, HIGH, n);
      expect([table.size, left(table, [1, 2])]).toEqual([2, [1, 2]]);
    }
  });

  it("that was found last stays, be it in the table's first place", () => {
    const table = new Neighbours6(2, 2);
    for (const n of [1, 2]) table.learn(address(n), 0, HIGH, n);
    table.find(address(1), 0);
    table.find(address(2), 0);
    table.learn(address(3), 0, HIGH, 3);
    expect(left(table, [1, 2, 3])).toEqual([2, 3]);
    const turned = new Neighbours6(2, 2);
    for (const n of [2, 1]) turned.learn(address(n), 0, HIGH, n);
    turned.find(address(2), 0);
    turned.learn(address(3), 0, HIGH, 3);
    expect(left(turned, [1, 2, 3])).toEqual([2, 3]);
  });

  it("of a MAC with its quota gives way by age among its own", () => {
    for (const [used, gone] of [
      [[2, 3], 1],
      [[1, 3], 2],
      [[1, 2], 3],
    ] as const) {
      const table = new Neighbours6(3, 3);
      for (const n of [1, 2, 3]) table.learn(address(n), 0, HIGH, 1);
      for (const n of used) table.find(address(n), 0);
      table.learn(address(4), 0, HIGH, 1);
      expect(left(table, [1, 2, 3, 4])).toEqual([1, 2, 3, 4].filter((n) => n !== gone));
    }
  });
});
