/** That a policy asks, for whoever follows events. */
import type { EngineRecord } from "../control/records.ts";
import type { QuestionRow } from "../engine/policy/questions.ts";

export function questionRecord({ id, host, port, protocol, rule, endsInMs }: QuestionRow): EngineRecord {
  return { type: "question", atMs: Date.now(), id, host, port, protocol, rule, endsInMs: endsInMs ?? 0 };
}
