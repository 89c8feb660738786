/** That a policy asks, and what was answered, for whoever follows events. */
import type { AnsweredQuestion, EngineRecord } from "../control/records.ts";
import type { QuestionRow } from "../engine/policy/questions.ts";

export function answeredRecord(answered: AnsweredQuestion): EngineRecord {
  return { type: "question-answered", atMs: Date.now(), ...answered };
}

export function questionRecord({ id, host, port, protocol, rule, endsInMs }: QuestionRow): EngineRecord {
  return { type: "question", atMs: Date.now(), id, host, port, protocol, rule, endsInMs: endsInMs ?? 0 };
}
