import { describe, expect, it } from "vitest";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";

const HIGH = 0x5254;

describe("neighbour table", () => {
  it("finds what it learned, and the last MAC wins", () => {
    const table = new Neighbours();
    expect(table.find(1)).toBe(-1);
    expect(table.learn(1, HIGH, 7)).toBe(true);
    expect(table.learn(2, HIGH, 8)).toBe(true);
    expect(table.learn(1, HIGH, 9)).toBe(true);
    const i = table.find(1);
    expect([table.address[i], table.macHigh[i], table.macLow[i]]).toEqual([1, HIGH, 9]);
    expect(table.size).toBe(2);
  });

  it("does not find address 0 in an empty table", () => {
    expect(new Neighbours().find(0)).toBe(-1);
  });

  it("refuses group and zero MACs", () => {
    const table = new Neighbours();
    expect(table.learn(1, 0x0100, 1)).toBe(false);
    expect(table.learn(1, 0xffff, -1)).toBe(false);
    expect(table.learn(1, 0, 0)).toBe(false);
    expect(table.size).toBe(0);
  });

  it("evicts the learned entry unused longest", () => {
    const table = new Neighbours(3);
    for (const address of [1, 2, 3]) table.learn(address, HIGH, address);
    table.find(1);
    table.learn(4, HIGH, 4);
    expect(table.find(2)).toBe(-1);
    expect([1, 3, 4].every((address) => table.find(address) >= 0)).toBe(true);
  });

  it("keeps leased and declared entries through a flood of 1,000,000 senders", () => {
    const table = new Neighbours();
    table.lease(10, HIGH, 10);
    table.declare(11, HIGH, 11);
    for (let address = 100; address < 1_000_100; address++) table.learn(address, HIGH, address);
    expect(table.size).toBe(table.capacity);
    expect(table.macLow[table.find(10)]).toBe(10);
    expect(table.macLow[table.find(11)]).toBe(11);
  });

  it("takes nothing new when every entry is pinned", () => {
    const table = new Neighbours(2);
    table.lease(1, HIGH, 1);
    table.declare(2, HIGH, 2);
    expect(table.learn(3, HIGH, 3)).toBe(false);
    expect(table.lease(3, HIGH, 3)).toBe(false);
    table.release(1);
    expect(table.learn(3, HIGH, 3)).toBe(true);
    expect(table.find(1)).toBe(-1);
  });

  it("lets a lease move to another NIC, a declaration never", () => {
    const table = new Neighbours();
    table.lease(1, HIGH, 1);
    table.declare(2, HIGH, 2);
    expect(table.learn(1, HIGH, 5)).toBe(true);
    expect(table.learn(2, HIGH, 5)).toBe(false);
    expect(table.lease(2, HIGH, 5)).toBe(false);
    expect(table.learn(2, HIGH, 2)).toBe(true);
    table.release(2);
    expect(table.learn(2, HIGH, 5)).toBe(false);
    expect(table.macLow[table.find(1)]).toBe(5);
    expect(table.macLow[table.find(2)]).toBe(2);
  });

  it("goes on counting uses when the count wraps", () => {
    const table = new Neighbours(2);
    Object.assign(table, { clock: 0x7ffffffe });
    table.learn(1, HIGH, 1);
    table.learn(2, HIGH, 2);
    table.find(1);
    table.learn(3, HIGH, 3);
    expect(table.find(2)).toBe(-1);
    expect(table.find(1)).toBeGreaterThanOrEqual(0);
  });
});

describe("what is new", () => {
  it("is told of once, however it is learned, and not when it was not taken", () => {
    const table = new Neighbours(2);
    const appeared: number[] = [];
    table.appeared = (address) => appeared.push(address);
    table.learn(1, HIGH, 1);
    table.learn(1, HIGH, 2);
    table.learn(3, 0, 0);
    table.lease(2, HIGH, 1);
    table.learn(2, HIGH, 1);
    table.declare(1, HIGH, 1);
    table.learn(4, HIGH, 1);
    expect(appeared).toEqual([1]);
  });

  it("is the source of a packet where either half of its MAC has changed", () => {
    const table = new Neighbours(3);
    const appeared: number[] = [];
    table.appeared = (address) => appeared.push(address);
    for (const [high, low] of [
      [HIGH, 7],
      [HIGH, 8],
      [HIGH + 2, 8],
      [HIGH, 9],
    ]) {
      table.noteSource(1, high, low);
      const i = table.find(1);
      expect([table.macHigh[i], table.macLow[i]]).toEqual([high, low]);
    }
    table.noteSource(2, 0, 0);
    table.noteSource(3, HIGH, 3);
    expect([appeared, table.size]).toEqual([[1, 3], 2]);
  });
});

describe("the address used last", () => {
  const anybody = { isGuest: () => true };

  it("is none in an empty table, whoever is a guest", () => {
    expect(new Neighbours().latest(anybody)).toBe(0);
  });

  it("is the one that was found or heard of last, of those that are guests'", () => {
    const table = new Neighbours(4);
    for (const address of [11, 12, 13]) table.learn(address, HIGH, address);
    expect(table.latest(anybody)).toBe(13);
    table.find(11);
    expect(table.latest(anybody)).toBe(11);
    expect(table.latest({ isGuest: (address) => address !== 11 })).toBe(13);
    expect(table.latest({ isGuest: (address) => address === 12 })).toBe(12);
    table.noteSource(12, HIGH, 12);
    expect(table.latest(anybody)).toBe(12);
    expect(table.latest({ isGuest: () => false })).toBe(0);
  });

  it("is the later one where the count of uses wraps", () => {
    const table = new Neighbours(3);
    Object.assign(table, { clock: 0x7ffffffe });
    table.learn(11, HIGH, 1);
    table.learn(12, HIGH, 1);
    expect(table.latest(anybody)).toBe(12);
    table.find(11);
    expect(table.latest(anybody)).toBe(11);
  });
});

describe("an entry", () => {
  it("takes a MAC of which half is zero", () => {
    const table = new Neighbours();
    expect([table.learn(1, 0, 7), table.learn(2, HIGH, 0)]).toEqual([true, true]);
  });

  it("is declared by a MAC of six octets", () => {
    const table = new Neighbours();
    expect(table.declareMac(1, Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56))).toBe(true);
    const i = table.find(1);
    expect([table.macHigh[i], table.macLow[i]]).toEqual([HIGH, 0x00123456]);
    expect(table.learn(1, HIGH, 5)).toBe(false);
  });

  it("that is declared keeps both halves of its MAC, until it is declared anew", () => {
    const table = new Neighbours();
    table.declare(1, HIGH, 1);
    expect([table.learn(1, HIGH + 2, 1), table.learn(1, HIGH, 2), table.learn(1, HIGH, 1)]).toEqual([
      false,
      false,
      true,
    ]);
    expect(table.declare(1, HIGH, 2)).toBe(true);
    expect(table.macLow[table.find(1)]).toBe(2);
  });

  it.each(["lease", "declare"] as const)("that was learned stays once there is a %s", (pin) => {
    const table = new Neighbours(2);
    table.learn(1, HIGH, 1);
    table[pin](1, HIGH, 1);
    for (let address = 10; address < 20; address++) table.learn(address, HIGH, address);
    expect(table.find(1)).toBeGreaterThanOrEqual(0);
  });

  it("that is leased stays though it is heard of again", () => {
    const table = new Neighbours(2);
    table.lease(1, HIGH, 1);
    table.learn(1, HIGH, 1);
    table.lease(1, HIGH, 1);
    for (let address = 10; address < 20; address++) table.learn(address, HIGH, address);
    expect(table.find(1)).toBeGreaterThanOrEqual(0);
  });

  it("gives way by age, whichever place it has", () => {
    for (const [used, gone] of [
      [[2, 3], 1],
      [[1, 3], 2],
      [[1, 2], 3],
    ] as const) {
      const table = new Neighbours(3);
      for (const address of [1, 2, 3]) table.learn(address, HIGH, address);
      for (const address of used) table.find(address);
      table.learn(4, HIGH, 4);
      expect([1, 2, 3, 4].filter((address) => table.find(address) < 0)).toEqual([gone]);
    }
  });

  it("gives way though the first places are pinned, and pinned ones never", () => {
    const table = new Neighbours(4);
    table.lease(1, HIGH, 1);
    table.declare(2, HIGH, 2);
    table.learn(3, HIGH, 3);
    table.learn(4, HIGH, 4);
    for (const address of [3, 5, 6, 7]) table.learn(address, HIGH, address);
    expect([1, 2, 3, 4, 5, 6, 7].filter((address) => table.find(address) >= 0)).toEqual([1, 2, 6, 7]);
  });

  it("whose lease never was is not touched by its end", () => {
    const table = new Neighbours(2);
    table.declare(1, HIGH, 1);
    table.lease(2, HIGH, 2);
    for (const address of [1, 3]) table.release(address);
    for (let address = 10; address < 20; address++) expect(table.learn(address, HIGH, 1)).toBe(false);
    expect(table.size).toBe(2);
  });
});
