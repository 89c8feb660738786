/** The program that decides: what becomes of what it says, with an engine that is played. */
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AnsweredQuestion } from "../../src/control/records.ts";
import type { Question } from "../../src/control/schema.ts";
import { type Decide, Decider } from "../../src/supervisor/decider.ts";

const logged: string[] = [];
const done: string[] = [];
const answered: AnsweredQuestion[] = [];
const stray: unknown[] = [];
const note = (error: unknown): void => void stray.push(error);
let result = true;
let decider: Decider | undefined;

beforeEach(() => {
  for (const list of [logged, done, answered, stray]) list.length = 0;
  result = true;
  process.on("unhandledRejection", note);
});
afterEach(async () => {
  decider?.close();
  await turn();
  process.off("unhandledRejection", note);
  expect(stray).toEqual([]);
});

const question = (id: number, host = "a.example"): Question => ({
  ...{ id, host, port: 443, protocol: "tcp", rule: "people", state: "open", count: 1, endsInMs: 60_000 },
});

function start(decide: unknown): Decider {
  const log = (level: string) => (message: string) => void logged.push(`${level}: ${message}`);
  decider = new Decider(decide as Decide, {
    answer: async (id, { allow, forMs, failed }) => {
      done.push(`${id} ${allow ? "allow" : "deny"} ${forMs}${failed ? " failed" : ""}`);
      return result;
    },
    leave: async (id) => {
      done.push(`${id} leave`);
      return result;
    },
    left: ({ id }) => void done.push(`${id} people`),
    answered: (each) => void answered.push(each),
    log: { error: log("error"), warn: log("warn"), info: log("info"), debug: log("debug") },
  });
  return decider;
}

/** What becomes of one question. */
async function asked(decide: unknown, id = 1): Promise<string[]> {
  start(decide).asked(question(id));
  await turn();
  return done.splice(0);
}

describe("what a program says", () => {
  it.each([
    ["allow", "1 allow 0"],
    ["deny", "1 deny 0"],
    [{ verdict: "allow" }, "1 allow 0"],
    [{ verdict: "allow", for: "once" }, "1 allow 0"],
    [{ verdict: "allow", for: 600 }, "1 allow 600000"],
    [{ verdict: "deny", for: "always" }, "1 deny null"],
    [Promise.resolve({ verdict: "allow", for: "always", reason: undefined }), "1 allow null"],
  ])("P24 counts: %j", async (said, what) => {
    expect(await asked(() => said)).toEqual([what]);
    expect(answered).toMatchObject([
      { id: 1, host: "a.example", rule: "people", by: "program", reason: null },
    ]);
  });

  it("P24 has a reason, which is told and moves no cursor", async () => {
    expect(await asked(() => ({ verdict: "deny", reason: "no\x1b[2J" }))).toEqual(["1 deny 0"]);
    expect(logged).toEqual(["info: a.example:443/tcp is denied by the program that decides: no\\x1b[2J"]);
    expect(answered).toMatchObject([{ verdict: "deny", reason: "no\x1b[2J" }]);
  });

  it("P24 is nothing: people have it, where there are any", async () => {
    expect(await asked(async () => undefined)).toEqual(["1 leave", "1 people"]);
    result = false;
    expect(await asked(() => undefined)).toEqual(["1 leave"]);
    expect([logged, answered]).toEqual([[], []]);
  });

  it("P24 is told to nobody where somebody was quicker", async () => {
    result = false;
    expect(await asked(() => ({ verdict: "allow", reason: "late" }))).toEqual(["1 allow 0"]);
    expect([logged, answered]).toEqual([[], []]);
  });

  it.each([
    [true, "true"],
    [null, "null"],
    ["yes", "'yes'"],
    [{ verdict: "maybe" }, "{ verdict: 'maybe' }"],
    [{ verdict: "allow", for: 0 }, "{ verdict: 'allow', for: 0 }"],
    [{ verdict: "allow", fro: 60 }, "{ verdict: 'allow', fro: 60 }"],
    [{ verdict: "deny", reason: "x".repeat(301) }, "{ verdict: 'deny', reason: 'xxx"],
    [() => "allow", "[Function (anonymous)]"],
  ])("P24 is no decision: %s", async (said, found) => {
    expect(await asked(() => said)).toEqual(["1 deny 0 failed"]);
    expect(logged).toEqual([
      expect.stringContaining(`error: the program that decides says what is no decision: found ${found}`),
    ]);
    expect(logged[0]).toContain('allowed: "allow", "deny", undefined, or { verdict:');
    expect(answered).toMatchObject([{ verdict: "deny", by: "program", reason: null }]);
  });
});

describe("a program that fails", () => {
  it.each([
    [
      "throws",
      () => {
        throw new TypeError("no\nsuch");
      },
      "failed: TypeError: no\\x0asuch;",
    ],
    ["rejects", () => Promise.reject(new Error("not now")), "failed: Error: not now;"],
    [
      "throws what is no error",
      () => {
        throw undefined;
      },
      "failed: undefined;",
    ],
    [
      "gives what cannot be read",
      () => ({
        get verdict() {
          throw new Error("no verdict");
        },
      }),
      "failed: Error: no verdict;",
    ],
  ])("P24 %s denies, and is told once", async (_, decide, said) => {
    const program = start(decide);
    for (const id of [1, 2, 3]) program.asked(question(id));
    await turn();
    expect(done).toEqual(["1 deny 0 failed", "2 deny 0 failed", "3 deny 0 failed"]);
    expect(logged).toEqual([expect.stringContaining(said)]);
  });

  it("P24 never settles: its signal aborts with its time, and what it is late with counts for nothing", async () => {
    const signals: AbortSignal[] = [];
    const late: { resolve: (said: unknown) => void; reject: (error: Error) => void }[] = [];
    const program = start((_: Question, signal: AbortSignal) => {
      signals.push(signal);
      return new Promise((resolve, reject) => late.push({ resolve, reject }));
    });
    program.asked(question(1));
    program.asked(question(2));
    await turn();
    expect([program.holds(1), program.holds(2), program.holds(3)]).toEqual([true, true, false]);
    program.over(1, "late");
    program.over(2, "late");
    // Never within the turn of the engine that tells it.
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
    expect(program.holds(1)).toBe(false);
    await turn();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    late[0]?.resolve("allow");
    late[1]?.reject(new Error("aborted"));
    await turn();
    expect(done).toEqual([]);
    expect(logged).toEqual([
      "error: the program that decides is late: it did not answer within the time of the rule; what it was asked about is denied (said once)",
    ]);
  });

  it("P24 is told of each kind of failure", async () => {
    const program = start(({ id }: Question) => {
      if (id === 1) throw new Error("one");
      return id === 2 ? 2 : new Promise(() => {});
    });
    for (const id of [1, 2, 3]) program.asked(question(id));
    await turn();
    program.over(3, "late");
    expect(logged.map((line) => /decides (\w+)/.exec(line)?.[1])).toEqual(["failed", "says", "is"]);
  });
});

describe("a question that is over", () => {
  it.each(["gone", "policy", "answered"] as const)(
    "P24 aborts the signal without a word: %s",
    async (end) => {
      let signal: AbortSignal | undefined;
      const program = start((_: Question, its: AbortSignal) => {
        signal = its;
        return new Promise((_resolve, reject) => its.addEventListener("abort", () => reject(its.reason)));
      });
      program.asked(question(1));
      await turn();
      program.over(1, end);
      await turn();
      expect(signal?.aborted).toBe(true);
      expect([done, logged]).toEqual([[], []]);
    },
  );

  it("P24 is not asked at all where that was before the program came to it", async () => {
    let calls = 0;
    const program = start(() => ++calls);
    program.asked(question(1));
    program.over(1, "gone");
    await turn();
    expect([calls, done]).toEqual([0, []]);
  });

  it("P24 comes again under its number: only the last call counts", async () => {
    const resolves: ((said: string) => void)[] = [];
    const program = start(() => new Promise<string>((resolve) => resolves.push(resolve)));
    program.asked(question(1));
    await turn();
    program.asked(question(1));
    await turn();
    resolves[0]?.("allow");
    await turn();
    expect(done).toEqual([]);
    resolves[1]?.("deny");
    await turn();
    expect(done).toEqual(["1 deny 0"]);
  });

  it("P24 ends with the engine, and nothing is asked any more", async () => {
    const signals: AbortSignal[] = [];
    const program = start((_: Question, signal: AbortSignal) => {
      signals.push(signal);
      return new Promise(() => {});
    });
    program.asked(question(1));
    await turn();
    program.close();
    program.asked(question(2));
    await turn();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });
});

it("P24 has 64 questions at a time: an engine that opens more has ended the first", async () => {
  const signals: AbortSignal[] = [];
  const program = start((_: Question, signal: AbortSignal) => {
    signals.push(signal);
    return new Promise(() => {});
  });
  for (let id = 1; id <= 1000; id++) program.asked(question(id));
  await turn();
  expect(signals.length).toBe(64);
  expect(signals.every(({ aborted }) => !aborted)).toBe(true);
  expect([program.holds(936), program.holds(937)]).toEqual([false, true]);
});

it("P24 gets a question of its own to keep", async () => {
  const original = question(1);
  start((its: { host: string }) => {
    its.host = "b.example";
    return "allow";
  }).asked(original);
  await turn();
  expect([original.host, answered[0]?.host]).toEqual(["a.example", "a.example"]);
});
