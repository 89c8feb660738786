/**
 * Calls: what a running engine is asked, each with a number that its answer has too. They go over the control socket as
 * orders and news do (control.ts); rows and records go over a socket of their own, in binary. The engine is the less
 * trusted side: what it answers is checked here.
 */
import type { LogLevel } from "../config/host-plan.ts";
import type { LeaseRow, TcpTally } from "../engine/api.ts";
import type { Forward, PolicyConfig } from "../engine/config.ts";
import { DENIALS_MAX, PIN_ROWS_MAX, POLICY_RULES_MAX, QUESTIONS_MAX } from "../engine/limits.ts";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import type { ControlPort } from "../engine/network/control-ports.ts";
import type { DenialRow, PolicyCounts } from "../engine/policy/denials.ts";
import type { PinRow } from "../engine/policy/pins.ts";
import type { AnswerResult, QuestionRow } from "../engine/policy/questions.ts";
import { CONNECT_MS } from "../engine/transport/flow-ledger.ts";
import { STATE_NAMES } from "../engine/transport/tcp/connection.ts";
import { CAPTURES_MAX, type CaptureSpec, type CaptureState } from "../host/captures/capture-spec.ts";

export type Call =
  /** Tell of `wanted` (recorder.ts). The first time the socket to tell it over is on the command socket. */
  | { readonly name: "records"; readonly wanted: number; readonly first: boolean }
  /** Up to `rows` rows of up to `places` places of the flow table from place `from` on, over that socket. */
  | { readonly name: "rows"; readonly from: number; readonly places: number; readonly rows: number }
  | { readonly name: "kill"; readonly flows: readonly number[] }
  | { readonly name: "status" }
  | { readonly name: "counters" }
  | { readonly name: "leases" }
  /** Serve these ports, which belong to one rule; their sockets are on the command socket. */
  | { readonly name: "forward-add"; readonly forwardId: number; readonly forwards: readonly Forward[] }
  /** Close so many descriptors of the command socket: whoever sent them could not send all. */
  | { readonly name: "discard"; readonly count: number }
  | { readonly name: "forward-remove"; readonly forwardId: number; readonly cut: boolean }
  /** Ports of the host that the guest is refused; those of before are forgotten. */
  | { readonly name: "control-ports"; readonly ports: readonly ControlPort[] }
  /** Begin a capture; its file is on the command socket. */
  | { readonly name: "capture-start"; readonly capture: number; readonly spec: CaptureSpec }
  | { readonly name: "capture-stop"; readonly capture: number }
  | { readonly name: "captures" }
  | { readonly name: "link"; readonly up: boolean }
  /** Another policy; `before` and `keepOpen` as `EngineCore.setPolicy` has them. */
  | {
      readonly name: "policy-set";
      readonly policy: PolicyConfig;
      readonly before: readonly number[];
      readonly keepOpen: boolean;
    }
  | { readonly name: "policy-counts" }
  /** As `EngineCore.resetBudget` has it. */
  | { readonly name: "reset-budget"; readonly rule: number }
  | { readonly name: "denials" }
  | { readonly name: "questions" }
  | { readonly name: "pins" }
  /** What `status` and `counters` answer, and TCP's tally: all that a scrape wants, in one answer. */
  | { readonly name: "metrics" }
  /** As `EngineCore.answerQuestion` has it. */
  | {
      readonly name: "answer";
      readonly question: number;
      readonly allow: boolean;
      readonly forMs: number | null;
      readonly failed?: boolean;
    }
  /** As `EngineCore.leaveQuestion` has it. */
  | { readonly name: "leave"; readonly question: number }
  /** Somebody is there who answers questions, or nobody any more. */
  | { readonly name: "attended"; readonly attended: boolean }
  | { readonly name: "log"; readonly level: LogLevel };

/** How an engine is. */
export interface EngineStatus {
  readonly uptimeMs: number;
  readonly linked: boolean;
  /** Of each pool, what is in use. */
  readonly usage: {
    readonly tcp: number;
    readonly udp: number;
    readonly dns: number;
    readonly smallChunks: number;
    readonly largeChunks: number;
    readonly queuedFrames: number;
    readonly reassembly: number;
  };
}

/** By the places of their names in COUNTER_NAMES and DROP_REASONS. */
export interface EngineCounters {
  readonly counters: readonly number[];
  readonly drops: readonly number[];
}

/** What each call answers. */
export interface Answers {
  readonly records: { readonly uptimeMs: number };
  readonly rows: Record<string, never>;
  readonly kill: { readonly killed: number };
  readonly status: EngineStatus;
  readonly counters: EngineCounters;
  readonly leases: { readonly leases: readonly LeaseRow[] };
  readonly "forward-add": Record<string, never>;
  readonly discard: Record<string, never>;
  readonly "forward-remove": { readonly removed: boolean };
  readonly "control-ports": Record<string, never>;
  readonly "capture-start": Record<string, never>;
  readonly "capture-stop": { readonly captures: readonly CaptureState[] };
  readonly captures: { readonly captures: readonly CaptureState[] };
  readonly link: Record<string, never>;
  readonly "policy-set": Record<string, never>;
  /** `waitedMs` as `EngineCore.limitWaits` has it. */
  readonly "policy-counts": PolicyCounts & { readonly waitedMs: readonly number[] };
  readonly "reset-budget": { readonly reset: boolean };
  readonly questions: { readonly questions: readonly QuestionRow[] };
  readonly metrics: EngineStatus & EngineCounters & TcpTally;
  readonly pins: { readonly pins: readonly PinRow[] };
  readonly answer: { readonly result: AnswerResult };
  readonly leave: { readonly left: boolean };
  readonly attended: Record<string, never>;
  readonly denials: { readonly denials: readonly EngineDenial[] };
  readonly log: Record<string, never>;
}

type Name = Call["name"];

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const isCounts = (value: unknown, length: number): boolean =>
  Array.isArray(value) && value.length === length && value.every(isCount);
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const areAll = (value: unknown, most: number, isOne: (value: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length <= most && value.every(isOne);

const areRuleCounts = (value: unknown): boolean =>
  Array.isArray(value) && value.length <= POLICY_RULES_MAX + 1 && value.every(isCount);

const USAGE = ["tcp", "udp", "dns", "smallChunks", "largeChunks", "queuedFrames", "reassembly"];
/** More than any table has. */
const LEASES_MAX = 65_536;

const ADDRESS = /^[0-9a-f.:]{2,45}$/;
const NAME = /^[a-z0-9_.-]{1,253}$/;

function isLease(value: unknown): boolean {
  return (
    isObject(value) &&
    typeof value["address"] === "string" &&
    ADDRESS.test(value["address"]) &&
    typeof value["mac"] === "string" &&
    /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(value["mac"]) &&
    (value["expiresInMs"] === null || isCount(value["expiresInMs"]))
  );
}

/** What a policy denied: the engine's row, with the rule's name for its number. */
export interface EngineDenial extends Omit<DenialRow, "rule" | "ruleName"> {
  /** Null: the default. */
  readonly rule: string | null;
}

/** An address, or a name as policies have them. */
const DENIED_HOST = /^([0-9a-f.:]{2,45}|[a-z0-9_.-]{1,253})?$/;
const RULE_NAME_MAX = 1100;

function isDenial(value: unknown): value is EngineDenial {
  return (
    isObject(value) &&
    typeof value["host"] === "string" &&
    DENIED_HOST.test(value["host"]) &&
    isCount(value["port"]) &&
    value["port"] <= 65_535 &&
    ["tcp", "udp", "dns"].includes(String(value["protocol"])) &&
    DROP_REASONS.some((reason) => reason === value["reason"]) &&
    (value["rule"] === null ||
      (typeof value["rule"] === "string" && value["rule"].length <= RULE_NAME_MAX)) &&
    isCount(value["count"]) &&
    typeof value["isPrivate"] === "boolean"
  );
}

/** What a policy asks, as an engine tells it. */
export function isQuestion(value: unknown): value is QuestionRow {
  return (
    isObject(value) &&
    isCount(value["id"]) &&
    value["id"] > 0 &&
    typeof value["host"] === "string" &&
    DENIED_HOST.test(value["host"]) &&
    isCount(value["port"]) &&
    value["port"] <= 65_535 &&
    ["tcp", "udp"].includes(String(value["protocol"])) &&
    typeof value["rule"] === "string" &&
    value["rule"].length <= RULE_NAME_MAX &&
    ["open", "allowed", "denied", "expired"].includes(String(value["state"])) &&
    isCount(value["count"]) &&
    (value["endsInMs"] === null || isCount(value["endsInMs"]))
  );
}

const isTcpTally = ({ states, connects, connectedMs }: Record<string, unknown>): boolean =>
  isCounts(states, STATE_NAMES.length) && isCounts(connects, CONNECT_MS.length + 1) && isCount(connectedMs);

/** An address, and a name as policies have them. */
function isPin(value: unknown): boolean {
  return (
    isObject(value) &&
    typeof value["address"] === "string" &&
    ADDRESS.test(value["address"]) &&
    typeof value["name"] === "string" &&
    NAME.test(value["name"]) &&
    isCount(value["endsInMs"]) &&
    typeof value["isStandIn"] === "boolean"
  );
}

export function areDenials(value: unknown): value is readonly EngineDenial[] {
  return Array.isArray(value) && value.length <= DENIALS_MAX && value.every(isDenial);
}

/** A sentence. */
const TEXT = /^[\x20-\x7e]{1,300}$/;

function isCapture(value: unknown): boolean {
  return (
    isObject(value) &&
    ["id", "octets", "frames", "lost"].every((name) => isCount(value[name])) &&
    (value["ended"] === null || (typeof value["ended"] === "string" && TEXT.test(value["ended"])))
  );
}

/** How many counters and drop reasons there are. */
export interface AnswerSizes {
  readonly counters: number;
  readonly drops: number;
}

const isStatus = ({ uptimeMs, linked, usage }: Record<string, unknown>): boolean =>
  isCount(uptimeMs) &&
  typeof linked === "boolean" &&
  isObject(usage) &&
  USAGE.every((pool) => isCount(usage[pool]));

const areCounters = ({ counters, drops }: Record<string, unknown>, sizes: AnswerSizes): boolean =>
  isCounts(counters, sizes.counters) && isCounts(drops, sizes.drops);

/** Whether `value` is what an engine answers to a call of this name. */
export function isAnswer(name: Name, value: unknown, sizes: AnswerSizes): boolean {
  if (!isObject(value)) return false;
  switch (name) {
    case "records":
      return isCount(value["uptimeMs"]);
    case "kill":
      return isCount(value["killed"]);
    case "status":
      return isStatus(value);
    case "counters":
      return areCounters(value, sizes);
    case "metrics":
      return isStatus(value) && areCounters(value, sizes) && isTcpTally(value);
    case "leases":
      return areAll(value["leases"], LEASES_MAX, isLease);
    case "forward-remove":
      return typeof value["removed"] === "boolean";
    case "policy-counts":
      return ["allowed", "denied", "waitedMs"].every((counts) => areRuleCounts(value[counts]));
    case "reset-budget":
      return typeof value["reset"] === "boolean";
    case "questions":
      return areAll(value["questions"], QUESTIONS_MAX, isQuestion);
    case "pins":
      return areAll(value["pins"], PIN_ROWS_MAX, isPin);
    case "answer":
      return ["taken", "answered", "unknown"].includes(String(value["result"]));
    case "leave":
      return typeof value["left"] === "boolean";
    case "denials":
      return areDenials(value["denials"]);
    case "captures":
    case "capture-stop":
      return areAll(value["captures"], CAPTURES_MAX, isCapture);
    case "rows":
    case "capture-start":
    case "control-ports":
    case "forward-add":
    case "discard":
    case "link":
    case "policy-set":
    case "attended":
    case "log":
      return true;
  }
}

/** Calls that an engine has at a time; others wait here. */
const UNDER_WAY_MAX = 16;
/** Calls that may wait. */
const WAITING_MAX = 1024;

/** The engine is gone, or has too much to do. */
export class CallError extends Error {
  override readonly name = "CallError";
}

interface Pending {
  readonly id: number;
  readonly call: Call;
  /** Right before it is sent: descriptors go first. Throws what the caller is to get. */
  readonly prepare: () => void;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class EngineCalls {
  private readonly underWay = new Map<number, Pending>();
  private readonly waiting: Pending[] = [];
  private lastId = 0;
  private ended: string | undefined;

  constructor(
    private readonly send: (id: number, call: Call) => void,
    private readonly sizes: AnswerSizes,
  ) {}

  /** The number the next call will have. */
  get nextId(): number {
    return this.lastId + 1;
  }

  /** Asks; rejects with a CallError, or with what `prepare` throws. */
  call<N extends Name>(
    call: Extract<Call, { name: N }>,
    prepare: () => void = () => {},
  ): Promise<Answers[N]> {
    return new Promise((resolve, reject) => {
      if (this.ended !== undefined) return reject(new CallError(this.ended));
      if (this.waiting.length >= WAITING_MAX) return reject(new CallError("too many calls wait"));
      const settle = resolve as (answer: unknown) => void;
      this.waiting.push({ id: ++this.lastId, call, prepare, resolve: settle, reject });
      this.proceed();
    });
  }

  private proceed(): void {
    while (this.underWay.size < UNDER_WAY_MAX) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      try {
        next.prepare();
      } catch (error) {
        next.reject(error as Error);
        continue;
      }
      this.underWay.set(next.id, next);
      this.send(next.id, next.call);
    }
  }

  /** The engine answered call `id`. False when that is no answer to anything that was asked. */
  answered(id: unknown, answer: unknown, failure: unknown): boolean {
    const pending = typeof id === "number" ? this.underWay.get(id) : undefined;
    if (pending === undefined) return false;
    if (
      failure === undefined ? !isAnswer(pending.call.name, answer, this.sizes) : typeof failure !== "string"
    )
      return false;
    this.underWay.delete(pending.id);
    if (failure === undefined) pending.resolve(answer);
    else pending.reject(new CallError(String(failure)));
    this.proceed();
    return true;
  }

  /** No more answers come. */
  end(why: string): void {
    this.ended = why;
    for (const { reject } of [...this.underWay.values(), ...this.waiting]) reject(new CallError(why));
    this.underWay.clear();
    this.waiting.length = 0;
  }
}
