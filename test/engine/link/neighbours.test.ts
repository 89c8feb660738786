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
