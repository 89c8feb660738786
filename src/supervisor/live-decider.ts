/** The program that decides, beside an engine process. */
import type { AnsweredQuestion } from "../control/records.ts";
import type { Question } from "../control/schema.ts";
import type { Logger } from "../engine/boundary.ts";
import type { EngineCalls } from "./calls.ts";
import type { Decider, DeciderParts } from "./decider.ts";

export type MakeDecider = (parts: DeciderParts) => Decider;

export interface LiveDeciderParts {
  /** Settles when the engine can be asked. */
  readonly calls: Promise<EngineCalls>;
  readonly left: (question: Question) => void;
  readonly answered: (answered: AnsweredQuestion) => void;
  readonly log: Logger;
}

/** What it has to do with the engine. An engine that has gone is nobody's to answer. */
export function deciderParts({ calls, ...others }: LiveDeciderParts): DeciderParts {
  return {
    ...others,
    answer: async (question, { allow, forMs, failed }) => {
      try {
        const call = { name: "answer", question, allow, forMs, failed } as const;
        return (await (await calls).call<"answer">(call)).result === "taken";
      } catch {
        return false;
      }
    },
    leave: async (question) => {
      try {
        return (await (await calls).call<"leave">({ name: "leave", question })).left;
      } catch {
        return false;
      }
    },
  };
}
