import { describe, expect, it } from "vitest";
import { RecordRing } from "../../../src/engine/transport/record-ring.ts";
import {
  LOST_COUNT,
  RECORD_LENGTH,
  RECORD_LOST,
  RECORD_PAD,
  RECORD_TYPE,
  writeRecord,
} from "../../../src/engine/wire/record.ts";

const AT = 64;
const SIZE = 256;
const TYPE = 9;

class Rig {
  readonly view = new DataView(new ArrayBuffer(AT + SIZE));
  readonly ring = new RecordRing(this.view, AT, SIZE);

  /** Puts a record of `length` octets with a mark in; whether it found room. */
  put(length: number, mark: number): boolean {
    const at = this.ring.reserve(length, mark);
    if (at < 0) return false;
    expect(at).toBeGreaterThanOrEqual(AT);
    expect(at + length).toBeLessThanOrEqual(AT + SIZE);
    writeRecord(this.view, at, TYPE, length, mark);
    return true;
  }

  /** Takes everything off: each record's mark, or "lost N". */
  take(): (number | string)[] {
    const gather = new Int32Array(4);
    const pieces = this.ring.pieces(gather, 0);
    const found: (number | string)[] = [];
    let octets = 0;
    for (let piece = 0; piece < pieces; piece++) {
      const end = gather[2 * piece] + gather[2 * piece + 1];
      for (let at = gather[2 * piece]; at < end; at += this.view.getUint16(at + RECORD_LENGTH)) {
        const type = this.view.getUint8(at + RECORD_TYPE);
        if (type === RECORD_LOST) found.push(`lost ${this.view.getUint32(at + LOST_COUNT)}`);
        else if (type !== RECORD_PAD) found.push(this.view.getFloat64(at + 4));
      }
      octets += gather[2 * piece + 1];
    }
    expect(this.ring.taken(octets)).toBe(0);
    return found;
  }
}

describe("records in a ring", () => {
  it("that found no room are told of without a next one", () => {
    const rig = new Rig();
    rig.ring.isRead = true;
    rig.ring.tellLost(1);
    expect(rig.ring.isEmpty).toBe(true);
    let kept = 0;
    for (let mark = 1; mark <= 10; mark++) if (rig.put(64, mark)) kept++;
    rig.ring.tellLost(11);
    expect(rig.take()).toHaveLength(kept);
    rig.ring.tellLost(11);
    expect(rig.take()).toEqual([`lost ${10 - kept}`]);
    rig.ring.tellLost(12);
    expect(rig.ring.isEmpty).toBe(true);
  });

  it("stay in order, none of them cut at the end of the ring", () => {
    const rig = new Rig();
    const taken: unknown[] = [];
    const put: number[] = [];
    rig.ring.isRead = true;
    for (let mark = 1; mark <= 200; mark++) {
      if (rig.put(12 + 4 * (mark % 13), mark)) put.push(mark);
      if (mark % 3 === 0) taken.push(...rig.take());
    }
    expect(taken).toEqual(put.slice(0, taken.length));
    expect(taken.length).toBe(198);
  });

  it("push out the oldest while nobody reads", () => {
    const rig = new Rig();
    for (let mark = 1; mark <= 100; mark++) expect(rig.put(32, mark)).toBe(true);
    expect(rig.take()).toEqual([93, 94, 95, 96, 97, 98, 99, 100]);
  });

  it("are lost and counted when a reader does not take them", () => {
    const rig = new Rig();
    rig.ring.isRead = true;
    for (let mark = 1; mark <= 13; mark++) rig.put(32, mark);
    expect(rig.take()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(rig.put(32, 14)).toBe(true);
    expect(rig.take()).toEqual(["lost 5", 14]);
  });

  it("are taken in part, and the rest of one comes first", () => {
    const rig = new Rig();
    rig.ring.isRead = true;
    rig.put(32, 1);
    rig.put(32, 2);
    expect(rig.ring.taken(40)).toBe(0);
    const gather = new Int32Array(4);
    expect(rig.ring.pieces(gather, 0)).toBe(1);
    expect([...gather.slice(0, 2)]).toEqual([AT + 40, 24]);
    expect(rig.ring.taken(100)).toBe(76);
    expect(rig.ring.isEmpty).toBe(true);
  });

  it("are sent rather than gathered once they fill more than a quarter", () => {
    const rig = new Rig();
    expect([rig.ring.isEmpty, rig.ring.isFilling]).toEqual([true, false]);
    rig.put(SIZE / 4, 1);
    expect([rig.ring.isEmpty, rig.ring.isFilling]).toEqual([false, false]);
    rig.put(12, 2);
    expect(rig.ring.isFilling).toBe(true);
  });

  it("fit for certain where there is room for twice as many octets", () => {
    const rig = new Rig();
    expect([rig.ring.hasRoom(128), rig.ring.hasRoom(129)]).toEqual([true, false]);
    rig.put(56, 1);
    expect([rig.ring.hasRoom(100), rig.ring.hasRoom(101)]).toEqual([true, false]);
  });

  /** A ring whose first `before` octets have been taken off, and the next `used` not. */
  function at(before: number, used: number): Rig {
    const rig = new Rig();
    rig.ring.isRead = true;
    rig.put(before, 1);
    rig.take();
    if (used > 0) rig.put(used, 2);
    return rig;
  }

  it.each([
    ["fills the ring to its end", 0, 192, 64, [[AT, 256]]],
    ["is one octet's breadth too long for the end", 100, 92, 68, null],
    ["begins anew where the end has too little", 100, 92, 72, null],
    ["fills the end exactly", 100, 92, 64, [[AT + 100, 156]]],
    [
      "fills all that is left behind a gap",
      100,
      92,
      100,
      [
        [AT + 100, 156],
        [AT, 100],
      ],
    ],
  ])("a record that %s", (_how, before, used, length, pieces) => {
    const rig = at(before, used);
    expect(rig.put(length, 3)).toBe(true);
    const gather = new Int32Array(8).fill(-7);
    const count = rig.ring.pieces(gather, 2);
    const found = Array.from({ length: count }, (_, i) => [gather[2 + 2 * i], gather[3 + 2 * i]]);
    expect(found).toEqual(
      pieces ?? [
        [AT + before, SIZE - before],
        [AT, length],
      ],
    );
    expect([...gather.subarray(0, 2), ...gather.subarray(2 + 2 * count)].every((int) => int === -7)).toBe(
      true,
    );
    expect(rig.take()).toEqual([2, 3]);
    expect([rig.ring.isEmpty, rig.ring.pieces(gather, 0)]).toEqual([true, 0]);
  });

  it.each([4, 8, 12, 16])("leave a gap of %i octets at the end, which readers pass over", (gap) => {
    const rig = at(100, 156 - gap);
    const gapAt = AT + SIZE - gap;
    for (let octet = gapAt - 4; octet < AT + SIZE; octet++) rig.view.setUint8(octet, 0xee);
    expect(rig.put(20, 3)).toBe(true);
    expect([rig.view.getUint16(gapAt), rig.view.getUint16(gapAt + 2)]).toEqual([gap, RECORD_PAD]);
    expect(rig.view.getUint32(gapAt - 4)).toBe(0xeeeeeeee);
    expect(rig.take()).toEqual([2, 3]);
  });

  it("that are in the way of a gap give way with it", () => {
    const rig = at(100, 136);
    rig.ring.isRead = false;
    // 20 octets at the end stay empty; behind them there is room for 100.
    expect(rig.put(104, 3)).toBe(true);
    expect(rig.take()).toEqual([3]);
  });

  it("are lost until what was lost has been told, even where they would fit", () => {
    const rig = new Rig();
    rig.ring.isRead = true;
    expect(rig.put(248, 1)).toBe(true);
    expect(rig.put(12, 2)).toBe(false);
    // The eight octets left are no room to tell it.
    expect(rig.put(8, 3)).toBe(false);
    expect(rig.take()).toEqual([1]);
    expect(rig.put(12, 4)).toBe(true);
    expect(rig.take()).toEqual(["lost 2", 4]);
  });

  it("tell when they were lost", () => {
    const rig = new Rig();
    rig.ring.isRead = true;
    rig.put(256, 1);
    rig.put(12, 2);
    rig.take();
    rig.ring.tellLost(77);
    const gather = new Int32Array(2);
    expect([rig.ring.pieces(gather, 0), gather[1]]).toEqual([1, 16]);
    const record = gather[0] ?? 0;
    expect([
      rig.view.getUint16(record),
      rig.view.getUint16(record + 2),
      rig.view.getFloat64(record + 4),
    ]).toEqual([...[16, RECORD_LOST << 8, 77]]);
  });
});
