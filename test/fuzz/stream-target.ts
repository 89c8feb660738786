/** QEMU's framing through the real link and a real socket pair, against a parser of five lines. */
import assert from "node:assert/strict";
import { LINK_CLOSED } from "../../src/engine/boundary.ts";
import { FRAME_MAX } from "../../src/engine/limits.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import { QemuStreamLink } from "../../src/host/link/qemu-stream.ts";
import { native } from "../../src/host/native/native.ts";
import { partitionDescriptors } from "../../src/host/native/shim-tables.ts";
import { type FuzzTarget, join } from "./target.ts";

const MTU = 1500;
const RUNT = 14;
const LONGEST = MTU + 18;
const WRITES_MAX = 200;

interface Outcome {
  readonly frames: string[];
  oversized: number;
  failed: boolean;
}

/** What the octets mean, without a window, a batch or a cut. */
function plainly(stream: Uint8Array): Outcome {
  const outcome: Outcome = { frames: [], oversized: 0, failed: false };
  const octets = Buffer.from(stream);
  for (let at = 0; at + 4 <= octets.length; ) {
    const length = octets.readUInt32BE(at);
    if (length > FRAME_MAX) return { ...outcome, failed: true };
    if (at + 4 + length > octets.length) break;
    if (length < RUNT || length > LONGEST) outcome.oversized++;
    else outcome.frames.push(octets.toString("latin1", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return outcome;
}

let rig: { readonly arena: Arena; readonly batch: FrameBatch; readonly small: FrameBatch } | null = null;

function theRig() {
  if (rig === null) {
    const arena = new Arena();
    native.registerArena(arena.buffer);
    rig = { arena, batch: new FrameBatch(256), small: new FrameBatch(2) };
  }
  return rig;
}

function drain(link: QemuStreamLink, batch: FrameBatch, outcome: Outcome): void {
  const { octets } = theRig().arena;
  for (;;) {
    const count = link.receive(batch);
    outcome.oversized += batch.oversized;
    if (count === LINK_CLOSED) {
      outcome.failed = link.failure.includes("framing");
      return;
    }
    for (let i = 0; i < count; i++) {
      const at = batch.at[i];
      outcome.frames.push(Buffer.from(octets.subarray(at, at + batch.length[i])).toString("latin1"));
    }
    if (count === 0 && batch.oversized === 0) return;
  }
}

/** The first octet says how the stream is cut into writes, and how large a batch is; the rest is the stream. */
function run(input: Uint8Array): void {
  const { arena, batch, small } = theRig();
  const stream = input.subarray(1);
  const wanted = [1, 3, 7, 64, 1000, 5000, 65_536][(input[0] ?? 0) % 7];
  const piece = Math.max(wanted, Math.ceil(stream.length / WRITES_MAX));
  const [engineFd, guestFd] = native.socketPair("stream");
  const descriptors = partitionDescriptors(arena);
  const link = new QemuStreamLink(engineFd, "fuzz", { arena, descriptors, mtu: MTU });
  const outcome: Outcome = { frames: [], oversized: 0, failed: false };
  const at = arena.largeChunksAt;
  try {
    for (let from = 0; from < stream.length && link.failure === ""; from += piece) {
      const part = stream.subarray(from, from + piece);
      arena.octets.set(part, at);
      arena.ints.set([at, part.length, 0, 0], descriptors.txAt >> 2);
      assert.equal(native.writeStream(guestFd, descriptors.txAt, 1), part.length);
      drain(link, (input[0] ?? 0) & 0x80 ? small : batch, outcome);
    }
  } finally {
    link.close();
    native.close(guestFd);
  }
  const expected = plainly(stream);
  assert.equal(outcome.failed, expected.failed);
  assert.deepEqual(outcome.frames, expected.frames);
  assert.equal(outcome.oversized, expected.oversized);
}

const frame = (length: number, fill: number): number[] => [
  0,
  0,
  length >>> 8,
  length,
  ...new Array<number>(length).fill(fill),
];

export const streamTarget: FuzzTarget = {
  name: "qemu-stream",
  seeds: () => [
    join([0], frame(60, 1), frame(14, 2)),
    join([0x83], frame(60, 1), frame(13, 2), frame(60, 3), frame(1518, 4), frame(1519, 5), frame(60, 6)),
    join([2], frame(0, 0), frame(60, 1)),
    join([4], frame(60, 1), [0, 1, 0, 0x12], [1, 2, 3]),
    join([5], frame(60, 1), [0xff, 0xff, 0xff, 0xff]),
    join([6], ...Array.from({ length: 40 }, (_, i) => frame(20 + i, i))),
  ],
  dictionary: [
    Uint8Array.of(0, 0, 0, 14),
    Uint8Array.of(0, 0, 5, 0xee),
    Uint8Array.of(0, 1, 0, 0x11),
    Uint8Array.of(0, 1, 0, 0x12),
    Uint8Array.of(0, 0, 0, 0),
  ],
  lengthMax: 6000,
  run,
  reset: () => {},
};
