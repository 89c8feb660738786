import { describe, expect, it } from "vitest";
import { TX_HEADER_SLOT_OCTETS } from "../../../src/engine/limits.ts";
import { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";

describe("TransmitQueue", () => {
  it("gives every queued frame a header slot of its own, over the wrap of its sequence", () => {
    const queue = new TransmitQueue(4, 4096);
    queue.headSequence = queue.tailSequence = 0x7ffffffe;
    const ends = new Set<number>();
    for (let i = 0; i < 4; i++) {
      const end = queue.nextHeaderEnd();
      ends.add(end);
      queue.push(54, 0, i, 0, 0, 0);
    }
    expect(ends.size).toBe(4);
    expect(Math.max(...ends)).toBe(4096 + 4 * TX_HEADER_SLOT_OCTETS);
    expect([queue.length, queue.room]).toEqual([4, 0]);
    expect(queue.payloadLength[queue.first]).toBe(0);
    queue.taken(3);
    expect(queue.payloadLength[queue.first]).toBe(3);
    expect([queue.length, queue.room]).toEqual([1, 3]);
  });

  it("keeps headers at the end of their slot", () => {
    const queue = new TransmitQueue(2, 0);
    queue.push(66, 0, 0, 0, 0, 0);
    expect(queue.headerAt[0]).toBe(TX_HEADER_SLOT_OCTETS - 66);
  });
});
