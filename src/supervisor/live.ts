/**
 * What there is to see and steer of one instance: its control socket, and behind it, made when somebody first asks, the
 * instance itself. One of these belongs to each engine of a command.
 */
import { closeSync, fstatSync, openSync, type Stats } from "node:fs";
import type { ControlPlan, FlowLogPlan } from "../config/host-plan.ts";
import { formatRuleTarget } from "../control/end-text.ts";
import type { FlowLog } from "../control/flow-log/flow-log.ts";
import type { EngineConfig } from "../engine/config.ts";
import type { QuestionRow } from "../engine/policy/questions.ts";
import { native } from "../host/native/native.ts";
import { StartError } from "../host/start-error.ts";
import type { EngineCalls } from "./calls.ts";
import { type ControlSocket, openControlSocket } from "./control-socket.ts";
import type { Decider } from "./decider.ts";
import type { EngineLaunch } from "./launch.ts";
import { deciderParts, type MakeDecider } from "./live-decider.ts";
import type { InstanceParts, LiveInstance } from "./live-instance.ts";
import type { LineLog } from "./log.ts";
import { wayToSocket } from "./own-socket.ts";
import { answeredRecord, questionRecord } from "./question-record.ts";

export class Live {
  private readonly socket: ControlSocket | undefined;
  private readonly name: string;
  private parts: InstanceParts | undefined;
  private made: Promise<LiveInstance> | undefined;
  private instance: LiveInstance | undefined;
  private readonly flowLogFd: number | undefined;
  private flowLog: FlowLog | undefined;
  private readonly plan: ControlPlan;
  private hasAsked = false;
  private readonly decider: Decider | undefined;
  private served: (calls: EngineCalls) => void = () => {};

  /**
   * Binds the control socket, where there is to be one, and opens the flow log. Throws a StartError when one that was asked
   * for cannot be had, and when the guest would reach the socket by `config`. `makeDecider`: a program is asked before people.
   */
  constructor(
    private readonly plans: { readonly control: ControlPlan; readonly flowLog?: FlowLogPlan },
    private readonly log: LineLog,
    config: EngineConfig,
    makeDecider?: MakeDecider,
  ) {
    this.plan = plans.control;
    this.name = this.plan.name ?? String(process.pid);
    this.flowLogFd = plans.flowLog && openFlowLog(plans.flowLog);
    this.socket = openControlSocket(this.plan, log);
    const way = this.socket && wayToSocket(this.socket.path, config);
    if (way !== undefined) {
      this.socket?.close();
      throw new StartError([{ place: way, reason: "is the control socket, which the guest may not reach" }]);
    }
    this.decider = makeDecider?.(
      deciderParts({
        calls: new Promise((resolve) => {
          this.served = resolve;
        }),
        left: (question) => this.questionAsked(question),
        answered: (answered) => this.instance?.tell(answeredRecord(answered)),
        log,
      }),
    );
  }

  /** What an engine process is to tell. */
  get hooks(): Pick<EngineLaunch, "onLink" | "onQuestion" | "onQuestionOver"> {
    const { decider } = this;
    return {
      onLink: (up) => this.linkChanged(up),
      onQuestion: decider?.asked ?? ((question) => this.questionAsked(question)),
      ...(decider === undefined ? {} : { onQuestionOver: decider.over }),
    };
  }

  /** Whether somebody may ask for what happened before. */
  get isReachable(): boolean {
    return this.socket !== undefined;
  }

  /** The guest is served: from now on there is something to steer. Settles when the flow log, if there is one, has begun. */
  async serve(parts: Omit<InstanceParts, "name" | "maxForwards" | "controlPath">): Promise<void> {
    const { maxForwards } = this.plan;
    const isHeld = this.decider?.holds;
    this.parts = { ...parts, name: this.name, maxForwards, controlPath: this.socket?.path, isHeld };
    this.served(parts.client.calls);
    this.socket?.serve(() => this.get());
    if (this.socket) this.log.debug(`control API: ${this.socket.path}`);
    if (this.flowLogFd !== undefined) await this.startFlowLog(this.flowLogFd);
  }

  private async startFlowLog(fd: number): Promise<void> {
    const { startFlowLog } = await import("../control/flow-log/flow-log.ts");
    const { records, memories } = await this.get();
    this.flowLog = startFlowLog({
      instance: this.name,
      namesOf: (address) => memories.namesOf(address),
      records,
      fd,
      level: this.plans.flowLog?.level ?? "ends",
      warn: (message) => this.log.warn(message),
    });
    await records.refresh();
  }

  /** The instance; after `serve`. */
  get(): Promise<LiveInstance> {
    this.made ??= this.make();
    return this.made;
  }

  private async make(): Promise<LiveInstance> {
    const { LiveInstance } = await import("./live-instance.ts");
    if (this.parts === undefined) throw new Error("nothing is served yet");
    this.instance = new LiveInstance(this.parts);
    return this.instance;
  }

  /** The guest's link came up or went down. */
  private linkChanged(up: boolean): void {
    const name = this.parts?.linkName ?? "";
    this.instance?.tell({ type: "link", atMs: Date.now(), up, name });
  }

  /** A policy asks: whoever follows that is told, and who started this of the first. */
  private questionAsked(question: QuestionRow): void {
    this.instance?.tell(questionRecord(question));
    if (this.hasAsked || this.log.level === "error") return;
    this.hasAsked = true;
    const how = this.isReachable ? "sluice approve" : "nobody can, without a control socket";
    this.log.text(`sluice: ${formatRuleTarget(question)} waits for an answer: ${how}\n`);
  }

  /** What the policy denied, and how that could be allowed. */
  private async tellDenials(): Promise<void> {
    const { client, config } = this.parts ?? {};
    if (client === undefined || config === undefined || config.policy === null) return;
    const { denials = [] } = await client.ended;
    if (denials.length === 0) return;
    const policy = this.instance?.policy.config ?? config.policy;
    const { tellDenials } = await import("./tell-denials.ts");
    tellDenials(policy, denials, this.log);
  }

  /** After the engine has ended: what it recorded last is read first. */
  async close(): Promise<void> {
    this.socket?.close();
    this.decider?.close();
    if (this.flowLog !== undefined) {
      await this.instance?.records.drained();
      await this.flowLog.close();
    }
    await this.tellDenials();
    this.instance?.close();
    const { flowLog } = this.plans;
    if (this.flowLogFd !== undefined && flowLog !== undefined && "path" in flowLog.target)
      closeSync(this.flowLogFd);
  }
}

/** Throws a StartError. */
function openFlowLog({ target }: FlowLogPlan): number {
  const fd = "fd" in target ? target.fd : openLogFile(target.path);
  const kind = kindOf(fd);
  // A write that waits for its reader would keep this process from ending. Who gave the descriptor shares that with us.
  if (kind.isFIFO() || kind.isSocket()) native.setNonBlocking(fd);
  return fd;
}

function kindOf(fd: number): Stats {
  try {
    return fstatSync(fd);
  } catch {
    throw new StartError([{ place: `--flow-log fd:${fd}`, reason: "no descriptor of this number is open" }]);
  }
}

function openLogFile(path: string): number {
  try {
    return openSync(path, "a", 0o640);
  } catch (error) {
    throw new StartError([{ place: `--flow-log ${path}`, reason: (error as Error).message }]);
  }
}
