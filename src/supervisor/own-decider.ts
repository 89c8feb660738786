/** The program that decides, beside an engine in this process. */
import type { EngineRecord } from "../control/records.ts";
import type { Logger } from "../engine/boundary.ts";
import type { PolicyConfig } from "../engine/config.ts";
import type { EngineHost } from "../host/engine-host.ts";
import type { EngineHostOptions } from "../host/engine-options.ts";
import { type Decide, Decider, whyUnasked } from "./decider.ts";
import { answeredRecord, questionRecord } from "./question-record.ts";

export interface OwnDeciderParts {
  readonly policy: PolicyConfig;
  readonly log: Logger;
  readonly tell: (record: EngineRecord) => void;
}

export class OwnDecider {
  readonly isHeld: (question: number) => boolean;
  /** What the engine is to tell. */
  readonly hooks: Required<Pick<EngineHostOptions, "onQuestion" | "onQuestionOver">>;
  private readonly decider: Decider;
  private host: EngineHost | undefined;

  constructor(decide: Decide, { policy, log, tell }: OwnDeciderParts) {
    const unasked = whyUnasked(policy);
    if (unasked !== undefined) log.warn(`decide: ${unasked}`);
    this.decider = new Decider(decide, {
      answer: async (id, { allow, forMs, failed }) =>
        this.steer((core, nowMs) => core.answerQuestion(id, allow, forMs, nowMs, failed) === "taken"),
      leave: async (id) => this.steer((core, nowMs) => core.leaveQuestion(id, nowMs)),
      left: (question) => tell(questionRecord(question)),
      answered: (answered) => tell(answeredRecord(answered)),
      log,
    });
    this.isHeld = this.decider.holds;
    this.hooks = { onQuestion: this.decider.asked, onQuestionOver: this.decider.over };
  }

  /** One that has ended has nobody who waits. */
  private steer(act: Parameters<typeof EngineHost.prototype.steer<boolean>>[0]): boolean {
    return this.host !== undefined && !this.host.released && this.host.steer(act);
  }

  /** The engine serves. */
  follow(host: EngineHost): void {
    this.host = host;
    void host.ended.then(() => this.decider.close());
  }
}
