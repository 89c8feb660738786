import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { EINVAL, HANGUP, READABLE, WRITABLE } from "../../../src/engine/boundary.ts";
import { native } from "../../../src/host/native/native.ts";
import { addonPath } from "../../../src/host/native/native-loader.ts";

const EBUSY = -16;
const EBADF = -9;
const ENOENT = -2;
const EEXIST = -17;
const EDGE = -0x80000000;
const arena = new ArrayBuffer(1 << 16);
const ints = new Int32Array(arena);
const EVENTS = 8192;
const OUT = Int32Array.of(4096, 1);
const open: number[] = [];
let calls = 0;
let onReady: () => void = () => {};

function pair(): [number, number] {
  const fds = native.socketPair("stream");
  open.push(...fds);
  return fds;
}

/** Waits at most `timeoutMs` and returns (events, token) pairs. */
function wait(timeoutMs: number, max = 16): [number, number][] {
  const count = native.epollWait(EVENTS, max, timeoutMs);
  expect(count).toBeGreaterThanOrEqual(0);
  return Array.from({ length: count }, (_, i) => [ints[EVENTS / 4 + 2 * i]!, ints[EVENTS / 4 + 2 * i + 1]!]);
}

/** Resolves when the event loop calls the ready function. */
function ready(): Promise<void> {
  return new Promise((resolve) => {
    onReady = resolve;
  });
}

/** Runs a script with the addon as `native` in a process of its own. */
function runScript(script: string): { status: number | null; output: string } {
  const preamble = `const native = require(${JSON.stringify(addonPath())});`;
  const run = spawnSync(process.execPath, ["-e", preamble + script], { encoding: "utf8", timeout: 30_000 });
  return { status: run.status, output: run.stdout + run.stderr };
}

beforeAll(() => {
  native.registerArena(arena);
});

beforeEach(() => {
  calls = 0;
  onReady = () => {};
  const fd = native.epollOpen(() => {
    calls++;
    onReady();
  });
  expect(fd).toBeGreaterThanOrEqual(0);
});

afterEach(() => {
  native.epollClose();
  for (const fd of open.splice(0)) native.close(fd);
});

describe("readiness", () => {
  it("carries the token back through the event loop", async () => {
    const [a, b] = pair();
    expect(native.epollAdd(b, READABLE | EDGE, -7)).toBe(0);
    expect(wait(0)).toEqual([]);
    const called = ready();
    native.sendGather(a, OUT, 1);
    await called;
    expect(wait(0)).toEqual([[READABLE, -7]]);
    expect(wait(0)).toEqual([]);
  });

  it("is called again until the event is taken, and not after", async () => {
    const [a, b] = pair();
    native.epollAdd(b, READABLE | EDGE, 1);
    native.sendGather(a, OUT, 1);
    await ready();
    await ready();
    expect(wait(0)).toHaveLength(1);
    const before = calls;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(calls).toBe(before);
  });

  it("waits in the call for what comes while it waits", () => {
    native.timerArm(12, 3);
    expect(wait(1000)).toEqual([[READABLE, 12]]);
  });

  it("reports level-triggered descriptors until they are drained", () => {
    const [a, b] = pair();
    native.epollAdd(b, READABLE, 5);
    native.sendGather(a, OUT, 1);
    expect(wait(0)).toEqual([[READABLE, 5]]);
    expect(wait(0)).toEqual([[READABLE, 5]]);
    native.receive(b, 0, 10);
    expect(wait(0)).toEqual([]);
  });

  it("modifies and removes", () => {
    const [a, b] = pair();
    expect(native.epollAdd(b, READABLE | EDGE, 1)).toBe(0);
    expect(native.epollAdd(b, READABLE | EDGE, 1)).toBe(EEXIST);
    expect(native.epollModify(b, READABLE | WRITABLE | EDGE, 2)).toBe(0);
    expect(wait(0)).toEqual([[WRITABLE, 2]]);
    expect(native.epollRemove(b)).toBe(0);
    native.sendGather(a, OUT, 1);
    expect(wait(0)).toEqual([]);
    expect(native.epollRemove(b)).toBe(ENOENT);
    expect(native.epollModify(b, READABLE, 1)).toBe(ENOENT);
    expect(native.epollAdd(-1, READABLE, 1)).toBe(EBADF);
  });

  it("tells a hang-up", () => {
    const [a, b] = native.socketPair("stream");
    open.push(b);
    native.epollAdd(b, READABLE | EDGE, 3);
    native.close(a);
    const [[events, token], ...rest] = wait(0) as [[number, number]];
    expect(rest).toEqual([]);
    expect(token).toBe(3);
    expect(events & HANGUP).toBe(HANGUP);
  });

  it("returns at most what was asked for, and keeps the rest", () => {
    const [a, b] = pair();
    native.epollAdd(a, WRITABLE | EDGE, 1);
    native.epollAdd(b, WRITABLE | EDGE, 2);
    const first = wait(0, 1);
    const second = wait(0, 1);
    expect([...first, ...second].map(([, token]) => token).sort()).toEqual([1, 2]);
  });

  it("can be asked again and again instead of sleeping", () => {
    const [a, b] = pair();
    native.epollAdd(b, READABLE | EDGE, 7);
    expect(native.epollSpin(EVENTS, 16, 100)).toBe(0);
    native.sendGather(a, OUT, 1);
    expect(native.epollSpin(EVENTS, 16, 0)).toBe(1);
    expect([ints[EVENTS / 4], ints[EVENTS / 4 + 1]]).toEqual([READABLE, 7]);
    expect(native.epollSpin(EVENTS, 16, 100)).toBe(0);
  });

  it("refuses a place for events outside the arena, and a second set", () => {
    expect(native.epollSpin(EVENTS + 2, 1, 0)).toBe(EINVAL);
    expect(native.epollSpin(EVENTS, 0, 0)).toBe(EINVAL);
    expect(native.epollWait(arena.byteLength - 8, 2, 0)).toBe(EINVAL);
    expect(native.epollWait(EVENTS + 2, 1, 0)).toBe(EINVAL);
    expect(native.epollWait(EVENTS, 0, 0)).toBe(EINVAL);
    expect(native.epollOpen(() => {})).toBe(EBUSY);
    expect(native.epollOpen(7 as unknown as () => void)).toBe(EINVAL);
  });
});

describe("the timer", () => {
  it("fires its token once, through the event loop", async () => {
    native.timerArm(99, 2);
    await ready();
    expect(wait(0)).toEqual([[READABLE, 99]]);
    expect(wait(10)).toEqual([]);
  });

  it("fires with 0 too", () => {
    native.timerArm(1, 0);
    expect(wait(1000)).toEqual([[READABLE, 1]]);
  });

  it("is replaced by arming it again, with another token, also after it ran out", () => {
    native.timerArm(1, 60_000);
    native.timerArm(2, 1);
    expect(wait(1000)).toEqual([[READABLE, 2]]);
    native.timerArm(3, 1);
    const until = native.nowMs() + 5;
    while (((native.nowMs() - until) | 0) < 0);
    native.timerArm(4, 60_000);
    expect(wait(0)).toEqual([]);
    native.timerArm(5, 1);
    expect(wait(1000)).toEqual([[READABLE, 5]]);
  });

  it("is disarmed by -1", () => {
    native.timerArm(1, 1);
    native.timerArm(1, -1);
    expect(wait(10)).toEqual([]);
  });
});

describe("the process", () => {
  it("lives while the set is open and ends when it is closed", () => {
    const script = `
      native.registerArena(new ArrayBuffer(65536));
      native.epollOpen(() => { native.epollWait(0, 8, 0); console.log("fired"); native.epollClose(); });
      native.timerArm(1, 20);`;
    expect(runScript(script)).toEqual({ status: 0, output: "fired\n" });
  });

  it("sees what the ready function throws as an uncaught exception", () => {
    const script = `
      process.on("uncaughtException", (error) => { console.log("caught", error.message); native.epollClose(); });
      native.registerArena(new ArrayBuffer(65536));
      native.epollOpen(() => { native.epollWait(0, 8, 0); throw new Error("in ready"); });
      native.timerArm(1, 1);`;
    expect(runScript(script)).toEqual({ status: 0, output: "caught in ready\n" });
    const uncaught = runScript(script.replace(/process\.on.*\n/, ""));
    expect(uncaught.status).toBe(1);
    expect(uncaught.output).toContain("in ready");
  });

  it("runs promise jobs of the ready function", () => {
    const script = `
      native.registerArena(new ArrayBuffer(65536));
      native.epollOpen(() => {
        native.epollWait(0, 8, 0);
        Promise.resolve().then(() => { console.log("job"); native.epollClose(); });
      });
      native.timerArm(1, 1);`;
    expect(runScript(script)).toEqual({ status: 0, output: "job\n" });
  });

  it("may use it from a worker that ends with the set open", async () => {
    native.epollClose();
    const script = `
      const native = require(${JSON.stringify(addonPath())});
      native.registerArena(new ArrayBuffer(65536));
      native.epollOpen(() => { native.epollWait(0, 8, 0); process.exit(5); });
      native.timerArm(1, 1);`;
    const worker = new Worker(script, { eval: true });
    const [code] = await once(worker, "exit");
    expect(code).toBe(5);
    native.registerArena(arena);
    expect(native.epollOpen(() => {})).toBeGreaterThanOrEqual(0);
  });
});

describe("clocks and randomness", () => {
  it("give int32 milliseconds that move on", async () => {
    const [monotonic, boot] = [native.nowMs(), native.bootMs()];
    await new Promise((resolve) => setTimeout(resolve, 15));
    for (const [before, after] of [
      [monotonic, native.nowMs()],
      [boot, native.bootMs()],
    ] as const) {
      expect(after | 0).toBe(after);
      expect((after - before) | 0).toBeGreaterThanOrEqual(14);
    }
    const exact = Number(process.hrtime.bigint() / 1_000_000n) | 0;
    expect(Math.abs((native.nowMs() - exact) | 0)).toBeLessThan(5000);
  });

  it("give int32 that do not repeat", () => {
    const drawn = Array.from({ length: 1000 }, () => native.randomInt32());
    expect(drawn.every((value) => (value | 0) === value)).toBe(true);
    expect(new Set(drawn).size).toBeGreaterThan(990);
    expect(drawn.some((value) => value < 0) && drawn.some((value) => value > 0)).toBe(true);
  });
});
