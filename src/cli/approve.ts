/** `sluice approve` and `sluice refuse`: what flows wait for somebody to say. */

import { chmodSync, chownSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { Problem } from "../config/problem.ts";
import type { ControlClient } from "../control/client.ts";
import { formatTargetEnd } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import type { Answer, Question } from "../control/schema.ts";
import { formatWhy } from "../control/why/rules.ts";
import { table } from "./table.ts";
import { idOf, jsonLine, textOf, VerbError, type VerbRequest } from "./verb-request.ts";
import { duration, secondsOf } from "./verb-table.ts";

const MINUTES = 600;
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const KEYS = "[a]llow once  [m]inutes  [f]or good  [d]eny  [w]hy  [q]uit";

function answerOf(verdict: Answer["verdict"], { flags }: VerbRequest): Answer {
  const { for: time, always, save } = flags;
  const given = Object.entries({ "--for": time, "--always": always, "--save": save });
  const [first, second] = given.filter(([, value]) => value !== undefined);
  if (first !== undefined && second !== undefined) {
    throw new VerbError({ place: second[0], allowed: `either it or ${first[0]}` });
  }
  if (typeof time === "string") return { verdict, for: secondsOf(time) };
  return { verdict, for: first === undefined ? "once" : "always" };
}

/** The policy's file with the answer in it, which is there at once or not at all. Throws VerbErrors. */
async function saved(path: string, verdict: Answer["verdict"], question: Question): Promise<() => void> {
  const { withAnswer } = await import("../config/policy/save-answer.ts");
  const problems: Problem[] = [];
  const text = textOf("--save", path);
  const next = withAnswer({ target: question, verdict, label: path, text }, problems);
  const [problem, ...others] = problems;
  if (next === undefined || problem !== undefined)
    throw new VerbError(problem ?? { place: path, allowed: "a policy" }, others);
  return () => {
    const file = realpathSync(path);
    const unfinished = `${file}.${process.pid}`;
    try {
      const { mode, uid, gid } = statSync(file);
      writeFileSync(unfinished, next, { flag: "wx", mode: 0o600 });
      chmodSync(unfinished, mode & 0o777);
      if (uid !== process.getuid?.()) chownSync(unfinished, uid, gid);
      renameSync(unfinished, file);
    } catch (error) {
      rmSync(unfinished, { force: true });
      throw new Error(`the answer counts, and is not in ${path}: ${(error as Error).message}`);
    }
  };
}

async function answer(verdict: Answer["verdict"], request: VerbRequest): Promise<void> {
  const [id = ""] = request.words;
  const number = idOf("question", id.replace("#", ""), "an id that sluice approve tells");
  const said = answerOf(verdict, request);
  const client = await request.client();
  const { save } = request.flags;
  const question =
    save === undefined ? undefined : (await client.questions()).find((each) => each.id === number);
  const keep = question === undefined ? undefined : await saved(String(save), verdict, question);
  // One that is not there is said to be so by who keeps them.
  await client.answer(number, said);
  keep?.();
  if (request.json) request.out(jsonLine({ id: number, ...said }));
}

export function refuseCommand(request: VerbRequest): Promise<void> {
  return answer("deny", request);
}

export async function approveCommand(request: VerbRequest): Promise<void> {
  const { words, json, out, client } = request;
  if (words.length > 0) return answer("allow", request);
  const [only] = Object.entries(request.flags).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  );
  if (only !== undefined) throw new VerbError({ place: `--${only}`, allowed: "an id before it" });
  const asked = await client();
  const { stdin, stdout } = process;
  if (!json && stdin.isTTY && stdout.isTTY) return new Desk(asked, out).serve();
  const questions = await asked.questions();
  if (json) {
    for (const each of questions) out(jsonLine(each));
    return;
  }
  const rows = questions.map((each) => [
    `#${each.id}`,
    formatTargetEnd(each),
    printable(each.rule),
    each.state,
    String(each.count),
    each.endsInMs === null ? "" : duration(each.endsInMs),
  ]);
  out(table(["ID", "TARGET", "RULE", "STATE", "FLOWS", "LEFT"], rows, "nothing waits for an answer"));
}

/** Somebody at a terminal who answers one question after the other. */
class Desk {
  private readonly news = new AbortController();
  private wake: (key: string) => void = () => {};
  private shown = 0;

  constructor(
    private readonly client: ControlClient,
    private readonly out: (text: string) => void,
  ) {}

  /** Until a q, Ctrl-C, or the instance's end. */
  async serve(): Promise<void> {
    const { stdin } = process;
    stdin.setRawMode(true);
    stdin.setEncoding("utf8").on("data", (key: string) => this.wake(key));
    const following = this.follow();
    try {
      for (let key = ""; key !== "q" && key !== CTRL_C && key !== CTRL_D; ) {
        const [first] = (await this.client.questions()).filter(({ state }) => state === "open");
        this.show(first);
        key = await this.next();
        if (first !== undefined) await this.take(first, key);
      }
    } finally {
      this.news.abort();
      await following;
      stdin.setRawMode(false);
      stdin.pause();
    }
  }

  /** A key, or nothing where something else has happened. */
  private next(): Promise<string> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  private async follow(): Promise<void> {
    try {
      const types = ["question", "question-answered"] as const;
      for await (const _ of this.client.events(types, this.news.signal)) this.wake("");
    } catch (error) {
      if (!this.news.signal.aborted) this.out(`${(error as Error).message}\n`);
    }
    this.wake("q");
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
