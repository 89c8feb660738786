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
});
