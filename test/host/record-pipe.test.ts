/** When an engine's records leave: the first at once, others gathered, and what was asked for without waiting. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { EngineCore } from "../../src/engine/api.ts";
import { FlowLedger } from "../../src/engine/transport/flow-ledger.ts";
import { Recorder, WANT_ENDED } from "../../src/engine/transport/recorder.ts";
import { CLOCK_OCTETS, ROWS_END_OCTETS } from "../../src/engine/wire/record.ts";
import type { EventLoop } from "../../src/host/event-loop.ts";
import { native } from "../../src/host/native/native.ts";
import { RecordPipe } from "../../src/host/record-pipe.ts";
import { LinkRig } from "../support/link-rig.ts";

const GATHER_MS = 50;
const rig = new LinkRig();
const recorder = new Recorder(rig.arena, new FlowLedger(4, () => 1000));
const core = { recordRows: () => {}, record: () => recorder, uptimeMs: 1000 } as unknown as EngineCore;
const loop = { afterTurn: null as ((nowMs: number) => boolean) | null, wake: vi.fn() };
let pipe: RecordPipe;
let receiving = -1;
let nowMs = 0;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const [sending, reader] = native.socketPair("stream");
  receiving = reader;
  pipe = new RecordPipe(core, loop as unknown as EventLoop, sending, WANT_ENDED);
  nowMs = native.nowMs();
  loop.wake.mockClear();
});
afterEach(() => {
  pipe.close();
  native.close(receiving);
  vi.useRealTimers();
});

/** A turn `ms` later. Returns how many octets have come. */
function turn(ms = 0): number {
  nowMs = (nowMs + ms) | 0;
  loop.afterTurn?.(nowMs);
  return Math.max(0, native.receive(receiving, rig.arena.scratchAt, 8192));
}

it("sends the first record after a pause at once, and others together", () => {
  recorder.clock(1);
  expect(turn()).toBe(CLOCK_OCTETS);
  for (let i = 0; i < 9; i++) {
    recorder.clock(1);
    expect(turn(1)).toBe(0);
  }
  expect(turn(GATHER_MS - 9)).toBe(9 * CLOCK_OCTETS);
  recorder.clock(1);
  expect(turn(10 * GATHER_MS)).toBe(CLOCK_OCTETS);
});

it("wakes the engine for what is gathered where no turn comes by itself, and not otherwise", () => {
  recorder.clock(1);
  turn();
  vi.advanceTimersByTime(10 * GATHER_MS);
  expect(loop.wake).not.toHaveBeenCalled();
  for (let time = 1; time <= 3; time++) {
    recorder.clock(1);
    expect(turn(1)).toBe(0);
    vi.advanceTimersByTime(GATHER_MS);
    expect(loop.wake).toHaveBeenCalledTimes(time);
    expect(turn(GATHER_MS)).toBe(CLOCK_OCTETS);
  }
});

it("sends sooner what fills its ring, and before the rows that somebody asks for", () => {
  recorder.clock(1);
  turn();
  let gathered = 0;
  let came = 0;
  while (came === 0) {
    recorder.clock(1);
    gathered += CLOCK_OCTETS;
    came = turn();
  }
  expect(gathered).toBeGreaterThan(16_384);
  expect(gathered).toBeLessThan(131_072);
  while (turn(GATHER_MS) > 0);
  recorder.clock(1);
  turn();
  recorder.clock(1);
  pipe.rows({ call: 1, from: 0, places: 0, rows: 0 });
  expect(turn()).toBe(CLOCK_OCTETS + ROWS_END_OCTETS);
});
