/** What stands between link and core while somebody watches: everything is passed on, and shown. */
import { expect, it } from "vitest";
import type { FrameLink } from "../../../src/engine/boundary.ts";
import { TappedInput, TappedLink } from "../../../src/engine/link/tapped.ts";
import { FrameBatch } from "../../../src/engine/memory/frame-batch.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";

const EPIPE = -32;

function setUp() {
  const said: (string | number)[][] = [];
  const tap = {
    arriving: (...octets: number[]) => said.push(["arriving", ...octets]),
    arrived: (reason: number) => said.push(["arrived", reason]),
    sent: (...pieces: number[]) => said.push(["sent", ...pieces]),
  };
  const link = {
    name: "inner",
    mtu: 1400,
    tcpOffload: true,
    udpOffload: false,
    queueFrames: 500,
    takes: Number.POSITIVE_INFINITY,
    broken: 0,
    receive: (batch: FrameBatch) => {
      said.push(["receive", batch.capacity]);
      return 3;
    },
    transmit(queue: TransmitQueue): number {
      const count = Math.min(this.takes, queue.length);
      said.push(["transmit", queue.length]);
      queue.taken(count);
      return this.broken === 0 ? count : this.broken;
    },
    close: () => said.push(["close"]),
  } satisfies FrameLink & { takes: number; broken: number };
  return { said, tap, link, tapped: new TappedLink(link, tap) };
}

it("looks like the link it is in front of", () => {
  const { tapped } = setUp();
  const { name, mtu, tcpOffload, udpOffload, queueFrames } = tapped;
  expect({ name, mtu, tcpOffload, udpOffload, queueFrames }).toEqual({
    name: "inner",
    mtu: 1400,
    tcpOffload: true,
    udpOffload: false,
    queueFrames: 500,
  });
});

it("passes reading and closing on", () => {
  const { said, tapped } = setUp();
  expect(tapped.receive(new FrameBatch(5))).toBe(3);
  tapped.close();
  expect(said).toEqual([["receive", 5], ["close"]]);
});

it("shows the guest's frame before it is handled, and what became of it behind", () => {
  const { said, tap } = setUp();
  const packet = Object.assign(new Packet(), { frameAt: 4096, frameOctets: 60 });
  const input = new TappedInput(
    {
      frame: (taken) => {
        said.push(["frame", taken.frameAt]);
        return 7;
      },
    },
    tap,
  );
  expect(input.frame(packet)).toBe(7);
  expect(said).toEqual([
    ["arriving", 4096, 60],
    ["frame", 4096],
    ["arrived", 7],
  ]);
});

it("shows what the link took, header and payload, and nothing it left", () => {
  const { said, link, tapped } = setUp();
  const queue = new TransmitQueue(4, 8192);
  // The third frame lies at the ring's end, the fourth at its start, and the sequence wraps between them.
  queue.headSequence = queue.tailSequence = 0x7ffffffd;
  queue.push(54, 100, 1000, 0, 0, 0);
  queue.push(42, 0, 0, 0, 0, 0);
  queue.push(14, 300, 30, 0, 0, 0);
  queue.push(66, 400, 40, 0, 0, 0);
  link.takes = 3;
  expect(tapped.transmit(queue)).toBe(3);
  const slot = 256;
  expect(said).toEqual([
    ["transmit", 4],
    ["sent", 8192 + 2 * slot - 54, 54, 100, 1000],
    ["sent", 8192 + 3 * slot - 42, 42, 0, 0],
    ["sent", 8192 + 4 * slot - 14, 14, 300, 30],
  ]);
  said.length = 0;
  link.takes = 0;
  expect(tapped.transmit(queue)).toBe(0);
  expect(said).toEqual([["transmit", 1]]);
});

it("shows what a link took before it broke, and says that it broke", () => {
  const { said, link, tapped } = setUp();
  const queue = new TransmitQueue(4, 8192);
  queue.push(42, 0, 0, 0, 0, 0);
  queue.push(42, 0, 0, 0, 0, 0);
  Object.assign(link, { takes: 1, broken: EPIPE });
  expect(tapped.transmit(queue)).toBe(EPIPE);
  expect(said.map(([what]) => what)).toEqual(["transmit", "sent"]);
});
