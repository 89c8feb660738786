import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  EngineKeeper,
  RESTART_SPAN_MS,
  RESTARTS_MAX,
  type ServedGuest,
} from "../../../src/kubevirt/binding/engine-keeper.ts";

/** An engine that lives until it is told otherwise. */
class Played implements ServedGuest {
  readonly served: Promise<void>;
  readonly ended: Promise<void>;
  isStopped = false;
  die: () => void = () => {};
  serve: () => void = () => {};

  constructor(
    readonly argv: readonly string[],
    problem: string,
  ) {
    this.ended = new Promise((resolve) => {
      this.die = resolve;
    });
    const begun = new Promise<void>((resolve) => {
      this.serve = resolve;
    });
    const early = this.ended.then(() => Promise.reject(new Error(problem || "the engine has ended")));
    this.served = Promise.race([begun, early]);
    if (problem !== "") this.die();
    else if (!isSlow) this.serve();
  }

  stop(): void {
    this.isStopped = true;
    if (!isStubborn) this.die();
  }
}

let engines: Played[] = [];
let said: string[] = [];
let lost: string[] = [];
let problem = "";
/** Engines serve when they are told to, end when they are told to. */
let [isSlow, isStubborn] = [false, false];

const keeper = () =>
  new EngineKeeper({
    serve: (argv) => {
      const engine = new Played(argv, problem);
      engines.push(engine);
      return engine;
    },
    say: (message) => said.push(message),
    lost: (message) => lost.push(message),
    nowMs: () => Date.now(),
  });

const RECONNECTS = { argv: ["run", "a"], reconnects: true };

beforeEach(() => {
  [engines, said, lost, problem, isSlow, isStubborn] = [[], [], [], "", false, false];
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

describe("the engine's keeper", () => {
  it("K23 keeps the engine for the same wish, and has another for another", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    await kept.want({ ...RECONNECTS });
    expect(engines).toHaveLength(1);
    await Promise.all([kept.want({ ...RECONNECTS, argv: ["run", "b"] }), kept.want(RECONNECTS)]);
    expect(engines.map(({ argv, isStopped }) => [argv[1], isStopped])).toEqual([
      ["a", true],
      ["b", true],
      ["a", false],
    ]);
    await vi.runAllTimersAsync();
    expect([engines.length, lost]).toEqual([3, []]);
  });

  it("K22 says why an engine cannot be had, and tries again for the next call", async () => {
    const kept = keeper();
    problem = "a port is taken";
    await expect(kept.want(RECONNECTS)).rejects.toThrow("a port is taken");
    await expect(kept.want(RECONNECTS)).rejects.toThrow("a port is taken");
    problem = "";
    await kept.want(RECONNECTS);
    expect(engines).toHaveLength(3);
    await vi.runAllTimersAsync();
    expect(lost).toEqual([]);
  });

  it("K22 answers a wish between a death and the next beginning when the next engine serves", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    isSlow = true;
    engines[0]?.die();
    await vi.advanceTimersByTimeAsync(50);
    let answers = 0;
    const wish = kept.want({ ...RECONNECTS }).then(() => answers++);
    await vi.advanceTimersByTimeAsync(1000);
    expect([engines.length, answers]).toEqual([2, 0]);
    engines[1]?.serve();
    await wish;
    expect([engines.length, answers, lost]).toEqual([2, 1, []]);
  });

  it.each([true, false])(
    "K22 refuses a wish for an engine that is lost (QEMU reconnects: %s)",
    async (reconnects) => {
      const kept = keeper();
      const wanted = { ...RECONNECTS, reconnects };
      await kept.want(wanted);
      problem = "no port";
      engines[0]?.die();
      const during = expect(kept.want(wanted)).rejects.toThrow("the engine has ended");
      await vi.runAllTimersAsync();
      await during;
      await expect(kept.want(wanted)).rejects.toThrow("the engine has ended");
      expect(lost).toHaveLength(1);
    },
  );

  it("K29 starts an engine that has died again, five times a minute and no more", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    for (let n = 1; n <= RESTARTS_MAX; n++) {
      engines.at(-1)?.die();
      await vi.advanceTimersByTimeAsync(1000);
      expect([engines.length, lost]).toEqual([n + 1, []]);
    }
    engines.at(-1)?.die();
    await vi.advanceTimersByTimeAsync(1000);
    expect(engines).toHaveLength(RESTARTS_MAX + 1);
    expect(lost).toEqual([expect.stringContaining("6 times within 60 seconds")]);
  });

  it("K29 forgets deaths of more than a minute ago", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    for (let n = 1; n <= 3 * RESTARTS_MAX; n++) {
      engines.at(-1)?.die();
      await vi.advanceTimersByTimeAsync(RESTART_SPAN_MS / RESTARTS_MAX + 1);
    }
    expect([engines.length, lost]).toEqual([3 * RESTARTS_MAX + 1, []]);
  });

  it("K29 counts an engine that does not come up like one that died", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    problem = "no port";
    engines[0]?.die();
    await vi.runAllTimersAsync();
    expect(engines).toHaveLength(RESTARTS_MAX + 1);
    expect(said.filter((text) => text === "no port")).toHaveLength(RESTARTS_MAX);
    expect(lost).toHaveLength(1);
  });

  it("K29 gives up at once where QEMU would not find another engine", async () => {
    const kept = keeper();
    await kept.want({ ...RECONNECTS, reconnects: false });
    engines[0]?.die();
    await vi.runAllTimersAsync();
    expect(engines).toHaveLength(1);
    expect(lost).toEqual([expect.stringContaining("does not connect to another one")]);
  });

  it("K30 ends the engine, and starts none after that", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    await kept.close();
    await vi.runAllTimersAsync();
    expect(engines.map(({ isStopped }) => isStopped)).toEqual([true]);
    await expect(kept.want(RECONNECTS)).rejects.toThrow("the VM has ended");
    expect(lost).toEqual([]);
  });

  it("K30 starts none when the end comes between a death and the next beginning", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    engines[0]?.die();
    await vi.advanceTimersByTimeAsync(50);
    await kept.close();
    await vi.runAllTimersAsync();
    expect(engines).toHaveLength(1);
  });

  it.each([50, 500])(
    "K30 answers a wish that waits when the end comes %i ms after a death",
    async (elapsed) => {
      const kept = keeper();
      await kept.want(RECONNECTS);
      isSlow = true;
      engines[0]?.die();
      const wish = expect(kept.want(RECONNECTS)).rejects.toThrow("the VM has ended");
      await vi.advanceTimersByTimeAsync(elapsed);
      const closed = kept.close();
      await vi.runAllTimersAsync();
      await Promise.all([wish, closed]);
      expect([engines.at(-1)?.isStopped, lost]).toEqual([true, []]);
    },
  );

  it("K30 starts none when the end comes while another wish ends the engine", async () => {
    const kept = keeper();
    await kept.want(RECONNECTS);
    isStubborn = true;
    const wish = expect(kept.want({ ...RECONNECTS, argv: ["run", "b"] })).rejects.toThrow("the VM has ended");
    await vi.advanceTimersByTimeAsync(10);
    const closed = kept.close();
    engines[0]?.die();
    await closed;
    await wish;
    expect(engines.map(({ argv }) => argv[1])).toEqual(["a"]);
  });

  it("K30 has ended the engine of a wish that is being begun", async () => {
    const kept = keeper();
    isSlow = true;
    const wish = expect(kept.want(RECONNECTS)).rejects.toThrow("the engine has ended");
    await vi.advanceTimersByTimeAsync(10);
    await kept.close();
    await wish;
    expect(engines.map(({ isStopped }) => isStopped)).toEqual([true]);
  });
});
