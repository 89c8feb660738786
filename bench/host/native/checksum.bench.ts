/**
 * What a call of the shim costs, and the checksum kernels: C through the shim against JavaScript.
 * Run it with `npx tsc -p . && node dist/bench/checksum.bench.js`; it needs no privileges.
 */
import { openSync } from "node:fs";
import Benchmark from "benchmark";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { native } from "../../../src/host/native/native.ts";

const arena = new ArrayBuffer(1 << 20);
const view = new DataView(arena);
const ints = new Int32Array(arena);
const DESCRIPTORS = 4096;
const LENGTHS = 16_384;
const PACKETS = 65_536;
const IN = 262_144;
const FRAMES = 32;

native.registerArena(arena);
for (let i = PACKETS; i < PACKETS + 70_000; i += 4) view.setInt32(i, Math.imul(i, 2654435761) | 0);

const script = new JavaScriptChecksum(view);
const [here, there] = native.socketPair("stream");
const sink = openSync("/dev/null", "w");
const gather = Int32Array.of(PACKETS, 1460, PACKETS + 1460, 1460);
for (let i = 0; i < FRAMES; i++) ints.set([PACKETS, 66, PACKETS + 128, 1448], DESCRIPTORS / 4 + 4 * i);

/** Results go here, so that no call is optimised away. */
let last = 0;
const suite = new Benchmark.Suite();

suite
  .add("nowMs", () => {
    last = native.nowMs();
  })
  .add("randomInt32", () => {
    last = native.randomInt32();
  })
  .add("receive: EAGAIN", () => {
    last = native.receive(here, IN, 65_536);
  })
  .add("sendGather 2 + receive, 2920 octets, Unix stream", () => {
    last = native.sendGather(here, gather, 2);
    last = native.receive(there, IN, 65_536);
  })
  .add("readFrames: EAGAIN", () => {
    last = native.readFrames(here, IN, 2048, 2048, FRAMES, LENGTHS);
  })
  .add("writeFrames 1, to /dev/null", () => {
    last = native.writeFrames(sink, DESCRIPTORS, 1);
  })
  .add(`writeFrames ${FRAMES}, to /dev/null`, () => {
    last = native.writeFrames(sink, DESCRIPTORS, FRAMES);
  });

for (const octets of [20, 64, 128, 1460, 9000, 65_483]) {
  for (const [alignment, at] of [
    ["", PACKETS],
    [", odd halfword", PACKETS + 2],
  ] as const) {
    suite.add(`checksum ${octets}${alignment}: C`, () => {
      last = native.checksum(at, octets, 0);
    });
    suite.add(`checksum ${octets}${alignment}: JavaScript`, () => {
      last = script.sum(at, octets, 0);
    });
  }
}

suite
  .on("complete", () => {
    suite.forEach((bench: Benchmark) => {
      const nanoseconds = (1e9 / bench.hz).toFixed(0).padStart(8);
      console.log(`${bench.name?.padEnd(52)}${nanoseconds} ns  ±${bench.stats.rme.toFixed(1)} %`);
    });
    console.log(`(last result ${last})`);
  })
  .run();
