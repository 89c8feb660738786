/** Somebody at a terminal who answers the questions of a policy, one after the other. */
import type { ControlClient } from "../control/client.ts";
import { formatTargetEnd } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import type { Answer, Question } from "../control/schema.ts";
import { formatWhy } from "../control/why/rules.ts";
import { duration } from "./verb-table.ts";

const MINUTES = 600;
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const QUITS: readonly string[] = ["q", CTRL_C, CTRL_D];
const KEYS = "[a]llow once  [m]inutes  [f]or good  [d]eny  [w]hy  [q]uit";
/** An instance that ends takes no requests any more at once, and the stream of its events is given up a second later. */
const END_MS = 5000;

/** What a desk needs of `process.stdin`. */
export interface Keyboard {
  setRawMode(on: boolean): unknown;
  setEncoding(encoding: "utf8"): { on(event: "data", listener: (key: string) => void): unknown };
  pause(): unknown;
}

export class Desk {
  private readonly stop = new AbortController();
  private wake: (key: string) => void = () => {};
  /** Something has happened since the questions were last asked for. */
  private hasNews = false;
  private isOver = false;
  private shown = 0;

  constructor(
    private readonly client: Pick<ControlClient, "questions" | "events" | "answer" | "why">,
    private readonly out: (text: string) => void,
    private readonly keyboard: Keyboard,
  ) {}

  /** Until a q, Ctrl-C, or the instance's end. Rejects when the instance gives no answer any more, and has not ended. */
  async serve(): Promise<void> {
    const { keyboard } = this;
    keyboard.setRawMode(true);
    keyboard.setEncoding("utf8").on("data", (key) => this.press(key));
    const following = this.follow();
    try {
      while (!this.isOver) {
        this.hasNews = false;
        const question = await this.open(following);
        this.show(question);
        const key = await this.next();
        if (question !== undefined) await this.take(question, key);
      }
    } finally {
      this.stop.abort();
      await following;
      keyboard.setRawMode(false);
      keyboard.pause();
    }
  }

  /** A key counts for what is shown: while nothing is waited for, only one that ends it all does. */
  private press(key: string): void {
    if (QUITS.includes(key)) {
      this.isOver = true;
      this.stop.abort();
    }
    this.wake(key);
  }

  /** The question that waits longest; none once the instance has ended. */
  private async open(following: Promise<void>): Promise<Question | undefined> {
    try {
      return (await this.client.questions()).find(({ state }) => state === "open");
    } catch (error) {
      await Promise.race([following, new Promise((resolve) => setTimeout(resolve, END_MS).unref())]);
      if (this.isOver) return undefined;
      throw error;
    }
  }

  /** A key, or nothing where something else has happened. */
  private async next(): Promise<string> {
    if (this.hasNews || this.isOver) return "";
    const key = await new Promise<string>((resolve) => {
      this.wake = resolve;
    });
    this.wake = () => {};
    return key;
  }

  private async follow(): Promise<void> {
    try {
      const types = ["question", "question-answered"] as const;
      for await (const _ of this.client.events(types, this.stop.signal)) {
        this.hasNews = true;
        this.wake("");
      }
    } catch (error) {
      if (!this.stop.signal.aborted) this.out(`${(error as Error).message}\n`);
    }
    this.isOver = true;
    this.wake("");
  }

  private show(question: Question | undefined): void {
    if (question === undefined || question.id === this.shown) return;
    this.shown = question.id;
    const { id, rule, count, endsInMs } = question;
    const left = duration(endsInMs ?? 0);
    const flows = count === 1 ? "1 flow waits" : `${count} flows wait`;
    this.out(
      `#${id}  ${formatTargetEnd(question)}   rule ${printable(rule)}   ${flows}, ${left} left   ${KEYS}\n`,
    );
  }

  private async take(question: Question, key: string): Promise<void> {
    const answers: Readonly<Record<string, Answer>> = {
      a: { verdict: "allow", for: "once" },
      m: { verdict: "allow", for: MINUTES },
      f: { verdict: "allow", for: "always" },
      d: { verdict: "deny", for: "once" },
    };
    const said = Object.hasOwn(answers, key) ? answers[key] : undefined;
    try {
      if (said !== undefined) await this.client.answer(question.id, said);
      else if (key === "w")
        this.out(formatWhy((await this.client.why(`${question.host}:${question.port}`)).lines));
      if (said !== undefined)
        this.out(`#${question.id}  ${said.verdict} ${said.for === MINUTES ? "10 min" : said.for}\n`);
    } catch (error) {
      this.out(`#${question.id}  ${(error as Error).message}\n`);
    }
  }
}
