/** `sluice approve` and `sluice refuse`: what flows wait for somebody to say. */

import { chmodSync, chownSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { Problem } from "../config/problem.ts";
import { formatTargetEnd } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import type { Answer, Question } from "../control/schema.ts";
import { Desk } from "./desk.ts";
import { table } from "./table.ts";
import { idOf, jsonLine, textOf, VerbError, type VerbRequest } from "./verb-request.ts";
import { duration, secondsOf } from "./verb-table.ts";

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
  if (!json && stdin.isTTY && stdout.isTTY) return new Desk(asked, out, stdin).serve();
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
