/**
 * An engine in this process, watched and steered by its program: the channel that there is between supervisor and engine, with
 * both ends here, so that what is asked and told is checked and read by the same code.
 */
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import type { z } from "zod";
import type { PolicyDocument } from "../config/policy/schema.ts";
import { ConfigError, Unacceptable } from "../config/problem.ts";
import { eventOf } from "../control/events.ts";
import { ControlRefusal, type LiveForwards, type PolicyOrder } from "../control/instance.ts";
import { metricsOf } from "../control/metrics.ts";
import { problemsOf } from "../control/problems.ts";
import type { EngineRecord } from "../control/records.ts";
import {
  answerSchema,
  type CaptureResource,
  type CaptureStreamQuery,
  type ControlEvent,
  captureRequestSchema,
  type Dns,
  type EventType,
  type PolicyChangeResource,
  type PolicyResource,
  type PolicyRuleResource,
  type Question,
  ruleRequestSchema,
  type State,
  type Why,
} from "../control/schema.ts";
import { parseAddress, parseTarget } from "../control/target.ts";
import type { EngineConfig } from "../engine/config.ts";
import { COUNTER_NAMES } from "../engine/metrics/counters.ts";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import type { EngineHost } from "../host/engine-host.ts";
import { native } from "../host/native/native.ts";
import type { OwnForwards } from "../host/own-forwards.ts";
import { describeErrno } from "../host/start-error.ts";
import { ownVersion } from "../host/version.ts";
import { CallAnswers } from "./call-answers.ts";
import { EngineCalls } from "./calls.ts";
import { forwardResource } from "./forward-resource.ts";
import { InstanceView } from "./instance-view.ts";

export interface OwnParts {
  readonly host: EngineHost;
  readonly config: EngineConfig;
  readonly forwards: OwnForwards;
  /** Whether the program that decides has this question; absent without one. */
  readonly isHeld?: ((question: number) => boolean) | undefined;
}

/** A policy as a program has it. */
type PolicyInput = PolicyDocument | string;
export type RuleWish = z.input<typeof ruleRequestSchema>;
export type AnswerWish = z.input<typeof answerSchema>;

class OwnView extends InstanceView {
  readonly forwards: Pick<LiveForwards, "list">;

  constructor(
    private readonly own: OwnParts,
    calls: EngineCalls,
    sendDescriptor: (fd: number) => void,
  ) {
    const { host, config, forwards, isHeld } = own;
    super({
      calls,
      sendDescriptor,
      // What comes of a mistake of ours is not read any further.
      distrust: () => this.records.close(),
      enginePid: process.pid,
      config,
      command: "library",
      name: String(process.pid),
      version: ownVersion(),
      linkName: host.linkName,
      controlPath: undefined,
      isConfined: false,
      // The program's own log is told everything.
      log: { level: "debug" },
      isHeld,
    });
    this.forwards = { list: () => forwards.served().map(forwardResource) };
  }

  get isPulled(): boolean {
    return this.own.host.pulled;
  }
}

export class OwnWatch {
  private readonly view: InstanceView;
  /** Listeners to questions: who hears of them can answer. */
  private attending = 0;

  constructor(parts: OwnParts) {
    const { host } = parts;
    const [sending, receiving] = native.socketPair("stream");
    if (sending < 0) throw new Error(`no socket pair for the engine's records: ${describeErrno(sending)}`);
    const answers = new CallAnswers({
      host,
      receiveDescriptor: () => native.receiveDescriptor(receiving),
      setLogLevel: () => {},
    });
    const sizes = { counters: COUNTER_NAMES.length, drops: DROP_REASONS.length };
    const calls = new EngineCalls((id, call) => {
      try {
        calls.answered(id, answers.answer(id, call), undefined);
      } catch (error) {
        calls.answered(id, undefined, (error as Error).message);
      }
    }, sizes);
    const sendDescriptor = (fd: number): void => {
      const result = native.sendDescriptor(sending, fd);
      if (result < 0) throw new Error(`a descriptor for the engine: ${describeErrno(result)}`);
    };
    this.view = new OwnView(parts, calls, sendDescriptor);
    void host.ended.then(() => {
      calls.end("the engine has ended");
      this.view.policy.close();
      for (const fd of [sending, receiving]) native.close(fd);
    });
  }

  /** Calls `listener` with each event of this type from now on. Returns what ends that. */
  on(type: EventType, listener: (event: ControlEvent) => void): () => void {
    const { records } = this.view;
    const off = records.subscribe([type], (record) => {
      if (record.type === type) listener(eventOf(record));
    });
    if (type !== "question") return off;
    records.attend(++this.attending > 0);
    return () => {
      off();
      records.attend(--this.attending > 0);
    };
  }

  /** What the engine does not record itself. */
  tell(record: EngineRecord): void {
    this.view.tell(record);
  }

  state(): Promise<State> {
    return this.view.state();
  }

  metrics(): Promise<string> {
    return metricsOf(this.view);
  }

  why(target: string): Promise<Why> {
    return told("target", target, () => this.view.why(target));
  }

  dns(address?: string): Promise<Dns> {
    return told("address", address ?? "", async () =>
      this.view.dns(address === undefined ? undefined : parseAddress(address)),
    );
  }

  killHost(target: string): Promise<number> {
    return told("target", target, async () => this.view.killFlows({ hosts: [parseTarget(target)] }));
  }

  // --- captures ----------------------------------------------------------------------------------------------------

  captures(): Promise<readonly CaptureResource[]> {
    return this.view.captures.list();
  }

  async startCapture(path: string, wish: CaptureStreamQuery): Promise<CaptureResource> {
    const request = checked(captureRequestSchema, { path: resolve(path), ...wish }, "capture");
    return told("path", path, () => this.view.captures.start(request));
  }

  streamCapture(wish: CaptureStreamQuery): Promise<Readable> {
    const request = checked(captureRequestSchema.omit({ path: true }), { octets: 0, ...wish }, "capture");
    return told("capture", "", () => this.view.captures.stream(request));
  }

  stopCapture(id: number): Promise<CaptureResource> {
    return this.view.captures.stop(id);
  }

  // --- policy ------------------------------------------------------------------------------------------------------

  policy(): Promise<PolicyResource> {
    return this.view.policy.show();
  }

  checkPolicy(policy: PolicyInput): Promise<PolicyChangeResource> {
    return told("policy", "", () => this.view.policy.check(orderOf(policy, false)));
  }

  setPolicy(policy: PolicyInput, keepOpen: boolean, generation?: number): Promise<PolicyChangeResource> {
    return told("policy", "", () => this.view.policy.set(orderOf(policy, keepOpen), generation));
  }

  async addRule(wish: RuleWish, generation?: number): Promise<PolicyRuleResource> {
    const request = checked(ruleRequestSchema, wish, "rule");
    return told("rule.target", wish.target, () => this.view.policy.addRule(request, generation));
  }

  removeRule(id: number, generation?: number): Promise<void> {
    return this.view.policy.removeRule(id, generation);
  }

  resetBudget(id: number): Promise<void> {
    return this.view.policy.resetBudget(id);
  }

  questions(): Promise<readonly Question[]> {
    return this.view.policy.questions();
  }

  async answer(id: number, wish: AnswerWish): Promise<void> {
    await this.view.policy.answer(id, checked(answerSchema, wish, "answer"));
  }
}

/** Lists of targets that it names lie where the program runs, as at its start. */
function orderOf(policy: PolicyInput, keepOpen: boolean): PolicyOrder {
  const given = typeof policy === "string" ? { text: policy } : { value: policy };
  return { ...given, label: "policy", directory: process.cwd(), keepOpen };
}

function checked<T extends z.ZodType>(schema: T, value: unknown, place: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ConfigError(problemsOf(result.error, value, place));
}

/** What is wrong with what was asked, as wrong options are told. */
async function told<T>(place: string, found: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Unacceptable)
      throw new ConfigError([{ place, found: error.found ?? found, allowed: error.allowed }]);
    if (error instanceof ControlRefusal && error.problems.length > 0) throw new ConfigError(error.problems);
    throw error;
  }
}
