/** The engine's side of calls (calls.ts): what a running engine answers. In the engine's process. */
import type { LogLevel } from "../config/host-plan.ts";
import type { DenialRow } from "../engine/policy/denials.ts";
import type { EngineHost } from "../host/engine-host.ts";
import type { OpenPort } from "../host/forwards.ts";
import { native } from "../host/native/native.ts";
import type { RecordPipe } from "../host/record-pipe.ts";
import { describeErrno } from "../host/start-error.ts";
import type { Answers, Call, EngineDenial, EngineStatus } from "./calls.ts";

/** What the supervisor is told of denials. */
export function told(rows: readonly DenialRow[]): EngineDenial[] {
  return rows.map(({ rule: _, ruleName, ...row }) => ({ ...row, rule: ruleName }));
}

export interface CallParts {
  readonly host: EngineHost;
  /** A descriptor off the command socket, or -errno. */
  readonly receiveDescriptor: () => number;
  readonly setLogLevel: (level: LogLevel) => void;
}

export class CallAnswers {
  private records: RecordPipe | undefined;

  constructor(private readonly parts: CallParts) {}

  /** Does what call `id` asks and returns its answer. Throws what is to be told instead. */
  answer(id: number, call: Call): Answers[Call["name"]] {
    const { host } = this.parts;
    switch (call.name) {
      case "records":
        return this.record(call.wanted, call.first);
      case "rows":
        if (this.records === undefined) throw new Error("there are no records to tell rows among");
        this.records.rows({ call: id, from: call.from, places: call.places, rows: call.rows });
        return {};
      case "kill":
        return { killed: host.killFlows(call.flows) };
      case "status":
        return this.status();
      case "counters":
        return this.counters();
      case "leases":
        return { leases: host.core.leases() };
      case "forward-add":
        this.addForward(call);
        return {};
      case "discard":
        for (let i = 0; i < call.count; i++) native.close(this.descriptor());
        return {};
      case "forward-remove":
        return { removed: host.removeForward(call.forwardId, call.cut) };
      case "control-ports":
        host.core.setControlPorts(call.ports);
        return {};
      case "capture-start":
        host.captures.start(call.capture, this.descriptor(), call.spec);
        return {};
      case "capture-stop": {
        const stopped = host.captures.stop(call.capture);
        return { captures: stopped === undefined ? [] : [stopped] };
      }
      case "captures":
        return { captures: host.captures.list() };
      case "link":
        host.setLink(call.up);
        return {};
      case "policy-set":
        host.steer((core, nowMs) => core.setPolicy(call.policy, call.before, call.keepOpen, nowMs));
        return {};
      case "policy-counts":
        return this.policyCounts();
      case "reset-budget":
        return { reset: host.core.resetBudget(call.rule) };
      case "questions":
        return { questions: host.core.questions() };
      case "metrics":
        return { ...this.status(), ...this.counters(), ...host.core.tcpTally() };
      case "pins":
        return { pins: host.core.pins() };
      case "answer":
        return this.answerQuestion(call);
      case "leave":
        return { left: host.steer((core, nowMs) => core.leaveQuestion(call.question, nowMs)) };
      case "attended":
        host.core.setAttended(call.attended);
        return {};
      case "denials":
        return { denials: told(host.core.denials()) };
      case "log":
        this.parts.setLogLevel(call.level);
        return {};
    }
  }

  private status(): EngineStatus {
    const { host } = this.parts;
    return { uptimeMs: host.core.uptimeMs, linked: host.linked, usage: host.core.usage() };
  }

  private answerQuestion(call: Extract<Call, { name: "answer" }>): Answers["answer"] {
    const { question, allow, forMs, failed } = call;
    const { host } = this.parts;
    return {
      result: host.steer((core, nowMs) => core.answerQuestion(question, allow, forMs, nowMs, failed)),
    };
  }

  private counters(): Answers["counters"] {
    const { values, drops } = this.parts.host.core.counters;
    return { counters: Array.from(values), drops: Array.from(drops) };
  }

  private policyCounts(): Answers["policy-counts"] {
    const { core } = this.parts.host;
    return { ...(core.policyCounts() ?? { allowed: [], denied: [] }), waitedMs: core.limitWaits() ?? [] };
  }

  private record(wanted: number, isFirst: boolean): Answers["records"] {
    const { host } = this.parts;
    if (isFirst) this.records = host.openRecords(this.descriptor(), wanted);
    else this.records?.want(wanted);
    return { uptimeMs: host.core.uptimeMs };
  }

  private descriptor(): number {
    const fd = this.parts.receiveDescriptor();
    if (fd < 0) throw new Error(`a descriptor did not arrive: ${describeErrno(fd)}`);
    native.setNonBlocking(fd);
    return fd;
  }

  private addForward({ forwardId, forwards }: Extract<Call, { name: "forward-add" }>): void {
    const ports: OpenPort[] = [];
    try {
      for (const forward of forwards)
        ports.push({ forward, hostPort: forward.hostPort, handle: this.descriptor() });
    } catch (error) {
      for (const { handle } of ports) native.close(handle);
      throw error;
    }
    this.parts.host.addForward(forwardId, ports);
  }
}
