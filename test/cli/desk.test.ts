/** The desk at which somebody answers a policy's questions, with an instance that does what a test says. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Desk } from "../../src/cli/desk.ts";
import type { Answer, ControlEvent, Question } from "../../src/control/schema.ts";

const question = (id: number): Question =>
  ({
    id,
    host: `host${id}.test`,
    port: 443,
    protocol: "tcp",
    rule: "people",
    state: "open",
    count: 1,
    endsInMs: 30_000,
  }) as Question;

/** Events as an instance tells them, until it ends. */
class Events {
  private waiting: (() => void) | undefined;
  private told = 0;
  private hasEnded = false;

  tell(): void {
    this.told++;
    this.waiting?.();
  }
  end(): void {
    this.hasEnded = true;
    this.waiting?.();
  }
  async *read(signal?: AbortSignal): AsyncGenerator<ControlEvent> {
    signal?.addEventListener("abort", () => this.end());
    for (;;) {
      while (this.told > 0) {
        this.told--;
        yield { type: "question" } as ControlEvent;
      }
      if (this.hasEnded) return;
      await new Promise<void>((resolve) => {
        this.waiting = resolve;
      });
    }
  }
}

let open: Question[];
let events: Events;
let answers: [number, Answer][];
let shown: string;
let isGone: boolean;
/** What happens while the questions are on their way. */
let meanwhile: () => void;
let press: (key: string) => void;
let isRaw: boolean;
let ended: Promise<void>;

function serve(): void {
  const client = {
    questions: async () => {
      if (isGone) throw new Error("connect ECONNREFUSED");
      const questions = [...open];
      await Promise.resolve();
      meanwhile();
      return questions;
    },
    events: (_types: unknown, signal?: AbortSignal) => events.read(signal),
    answer: async (id: number, answer: Answer) => {
      answers.push([id, answer]);
      open = open.filter((each) => each.id !== id);
    },
    why: async () => ({ lines: [] }) as never,
  };
  const keyboard = {
    setRawMode: (on: boolean) => {
      isRaw = on;
    },
    setEncoding: () => ({
      on: (_event: string, listener: (key: string) => void) => {
        press = listener;
      },
    }),
    pause: () => {},
  };
  ended = new Desk(client as never, (text) => (shown += text), keyboard).serve();
}

beforeEach(() => {
  open = [question(1)];
  events = new Events();
  answers = [];
  shown = "";
  isGone = false;
  meanwhile = () => {};
});
afterEach(() => vi.useRealTimers());

/** Has everything that is under way come to rest. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a desk", () => {
  it.each(["q", "\u0003", "\u0004"])("ends with %j, and the terminal is as before", async (key) => {
    serve();
    await settle();
    expect(isRaw).toBe(true);
    press(key);
    await ended;
    expect(isRaw).toBe(false);
    expect(answers).toEqual([]);
  });

  it.each([
    ["a", { verdict: "allow", for: "once" }, "allow once"],
    ["m", { verdict: "allow", for: 600 }, "allow 10 min"],
    ["f", { verdict: "allow", for: "always" }, "allow always"],
    ["d", { verdict: "deny", for: "once" }, "deny once"],
  ])("answers with %s", async (key, answer, said) => {
    serve();
    await settle();
    expect(shown).toMatch(/^#1 {2}host1\.test:443\/tcp {3}rule people {3}1 flow waits, 30 s left/);
    press(key);
    await settle();
    expect(answers).toEqual([[1, answer]]);
    expect(shown).toContain(`#1  ${said}\n`);
    press("q");
    await ended;
  });

  it("shows one question after the other, each once", async () => {
    open.push(question(2));
    serve();
    await settle();
    events.tell();
    await settle();
    press("a");
    await settle();
    expect(shown.match(/#\d+ {2}host/g)).toEqual(["#1  host", "#2  host"]);
    press("q");
    await ended;
  });

  it("misses no question that comes while it asks for them", async () => {
    open = [];
    let isFirst = true;
    meanwhile = () => {
      if (!isFirst) return;
      isFirst = false;
      open = [question(7)];
      events.tell();
    };
    serve();
    await settle();
    await settle();
    expect(shown).toContain("#7  host7.test:443/tcp");
    press("q");
    await ended;
  });

  it("takes no key for a question that is not shown yet", async () => {
    meanwhile = () => press("a");
    serve();
    await settle();
    expect(answers).toEqual([]);
    press("q");
    await ended;
  });

  it("ends with a key that comes while it asks for questions", async () => {
    meanwhile = () => press("q");
    serve();
    await ended;
    expect(answers).toEqual([]);
    expect(isRaw).toBe(false);
  });

  it("ends with its instance, also where that ends at once with the answer", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    serve();
    await settle();
    isGone = true;
    press("a");
    await settle();
    // The stream of events is given up a second later.
    vi.advanceTimersByTime(1000);
    events.end();
    await ended;
    expect(shown).toContain("#1  allow once\n");
    expect(isRaw).toBe(false);
  });

  it("says so when an instance that has not ended answers no more", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    isGone = true;
    serve();
    const failed = expect(ended).rejects.toThrow("ECONNREFUSED");
    await settle();
    vi.advanceTimersByTime(5000);
    await failed;
    expect(isRaw).toBe(false);
  });
});
