/**
 * A running instance as its supervisor holds it: what the API's requests come to, and what other programs' APIs and the
 * flow log are built on, without HTTP in between.
 */

import type { Readable } from "node:stream";
import type { Problem } from "../config/problem.ts";
import type { TcpTally } from "../engine/api.ts";
import type { Forward } from "../engine/config.ts";
import type { LentOctets } from "./json-octets.ts";
import type { DnsQuestion, Dropped, Endpoint, RecordStream } from "./records.ts";
import type {
  Answer,
  CaptureRequest,
  CaptureResource,
  ControlPortRequest,
  CountersResource,
  Dns,
  Flow,
  ForwardResource,
  LeaseResource,
  LogLevelName,
  PolicyChangeResource,
  PolicyDenial,
  PolicyRequest,
  PolicyResource,
  PolicyRuleResource,
  Question,
  RuleRequest,
  State,
  Why,
} from "./schema.ts";

/** What is asked for is not there (404), cannot be now (409), or is wrong (400): the message says so. */
export class ControlRefusal extends Error {
  override readonly name = "ControlRefusal";
  constructor(
    readonly status: 400 | 403 | 404 | 409 | 412 | 503,
    message: string,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
  }
}

/** Forwards that come and go while the guest is served. */
export interface LiveForwards {
  list(): readonly ForwardResource[];
  /**
   * Binds every port of a rule with this process's rights and has the engine serve them: all or none. Host port 0 takes a
   * free one; the forwards of a rule are those that `parseForwardRule` gives (config/forward-rule.ts). Rejects with a StartError that names every port that cannot be had, or a ControlRefusal (409) when
   * --max-forwards is reached.
   */
  add(...rule: Forward[]): Promise<ForwardResource>;
  /** Closes its listeners; `cut` resets what came by it, which stays otherwise. Rejects with a ControlRefusal (404). */
  remove(id: number, cut?: boolean): Promise<void>;
}

/** What a policy has decided so far. */
export interface PolicyTally {
  readonly generation: number;
  /** Of each rule, in order; the default last, without a name. */
  readonly rules: readonly RuleTally[];
  readonly openQuestions: number;
}

export interface RuleTally {
  readonly name: string | null;
  readonly allowed: number;
  readonly denied: number;
  /** How long flows have waited for its rate, together; null: it has none. */
  readonly waitedMs: number | null;
}

/** A policy as somebody wants it: as text, or as a value that has no lines. */
export type PolicyOrder = Omit<PolicyRequest, "text"> &
  ({ readonly text: string } | { readonly value: unknown });

/**
 * A policy that changes while it is kept. Where the instance has none, `denials` and `questions` are empty, `tally` is null, `answer` rejects
 * with a ControlRefusal (404), everything else with one (409).
 */
export interface LivePolicy {
  show(): Promise<PolicyResource>;
  /** What it would change, and what is wrong with it: rejects with a ControlRefusal (400) that has every problem. */
  check(order: PolicyOrder): Promise<PolicyChangeResource>;
  /**
   * Another policy in place of the one there is. Rejects like `check`. This and what adds and removes rules reject with a
   * ControlRefusal (412) when the policy is not of generation `expected` any more.
   */
  set(order: PolicyOrder, expected?: number): Promise<PolicyChangeResource>;
  /** A rule in front of all others. */
  addRule(request: RuleRequest, expected?: number): Promise<PolicyRuleResource>;
  /** Rejects with a ControlRefusal (404) when there is no such rule. */
  removeRule(id: number, expected?: number): Promise<void>;
  /** Gives a rule its octets anew. Rejects with a ControlRefusal: 404 when there is no such rule, 409 when it has no budget. */
  resetBudget(id: number): Promise<void>;
  /** What was denied, or under audit would have been. */
  denials(): Promise<readonly PolicyDenial[]>;
  /** Null without a policy. */
  tally(): Promise<PolicyTally | null>;
  /** What flows wait for, or waited for lately: the open ones first. */
  questions(): Promise<readonly Question[]>;
  /** Rejects with a ControlRefusal: 404 when there is no such question, 409 when somebody was quicker. */
  answer(id: number, answer: Answer): Promise<void>;
}

/** Captures that come and go while the guest is served. */
export interface LiveCaptures {
  list(): Promise<readonly CaptureResource[]>;
  /**
   * Begins one into the file that the request names. Rejects with a ControlRefusal: 404 for a flow there is not, 409 for a file
   * that cannot be written, or when there are too many.
   */
  start(request: CaptureRequest): Promise<CaptureResource>;
  /** Ends it and closes its file. Rejects with a ControlRefusal (404). */
  stop(id: number): Promise<CaptureResource>;
  /** Begins one whose octets are read from here; destroying the stream ends it. Rejects as `start`. */
  stream(request: Omit<CaptureRequest, "path">): Promise<Readable>;
}

export interface Measures {
  readonly state: State;
  readonly counters: CountersResource;
  readonly tcp: TcpTally;
}

/** Whose flows are meant (target.ts). */
export interface Target {
  /** As text; a name when `isName`. */
  readonly host: string;
  readonly isName: boolean;
  readonly port: number | null;
}

/** Which flows: all that hold. */
export interface FlowFilter {
  readonly protocol?: "tcp" | "udp";
  readonly state?: string;
  /** One of these is at one of its ends. */
  readonly hosts?: readonly Target[];
}

export interface Instance {
  readonly records: RecordStream;
  readonly memories: Memories;
  readonly forwards: LiveForwards;
  readonly policy: LivePolicy;
  readonly captures: LiveCaptures;
  /** Keeps a port of the host's from the guest until the stream is destroyed. */
  keepPort(request: ControlPortRequest): Promise<Readable>;
  state(): Promise<State>;
  /** Settles when all that the engine has recorded so far has been read: memories are as good as they get. */
  refresh(): Promise<void>;
  /** Up to `limit` flows from place `after` of the flow table on, by place; `next` is the `after` of the next page or null. */
  flows(filter: FlowFilter, after: number, limit: number): Promise<{ flows: Flow[]; next: number | null }>;
  /** The same as JSON, and a line's end. */
  flowPage(filter: FlowFilter, after: number, limit: number): Promise<LentOctets>;
  /** Resets a flow on both sides. Returns whether there was one. */
  killFlow(id: number): Promise<boolean>;
  /** Resets every flow that holds. Returns how many. */
  killFlows(filter: FlowFilter): Promise<number>;
  leases(): Promise<LeaseResource[]>;
  /** The last questions of DNS and the pins of the policy; only what has to do with `address` where one is given. */
  dns(address?: string): Promise<Dns>;
  counters(): Promise<CountersResource>;
  /** What metrics are made of, of one moment. */
  measures(): Promise<Measures>;
  /** Why `target`, as people write it, is as it is. Rejects with Unacceptable for what is no target. */
  why(target: string): Promise<Why>;
  setLogLevel(level: LogLevelName): Promise<void>;
  setLink(up: boolean): Promise<void>;
  /** Begins the end; the process ends soon after. */
  stop(): void;
}

/** A name of an address, as DNS answered it. */
export interface KnownName {
  readonly name: string;
  readonly answeredAtMs: number;
}

/** What a target's host socket said last. */
export interface HostFailure {
  readonly atMs: number;
  readonly hostError: string;
  readonly times: number;
}

/** A name that was asked for: what its last question came to. */
export interface AskedName {
  readonly atMs: number;
  readonly rcode: DnsQuestion["rcode"];
  readonly answeredBy: DnsQuestion["answeredBy"];
  readonly questionType: string;
  /** Questions there have been. */
  readonly times: number;
}

/** Drops for one reason that concern one remote, told together. */
export interface Denial {
  readonly reason: string;
  readonly protocol: "tcp" | "udp";
  readonly guest: Endpoint;
  readonly remote: Endpoint;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly times: number;
}

/** What the supervisor remembers of the records, bounded: the least recently used gives way. */
export interface Memories {
  /** Names lately answered with `address`, the newest first. */
  namesOf(address: string): readonly KnownName[];
  /** Addresses with their newest name, at most `most`, the newest first. */
  known(most: number): readonly { readonly address: string; readonly name: string }[];
  /** Addresses lately answered for `name`, the newest first. */
  addressesOf(name: string): readonly string[];
  /** What connecting to an address and port last came to where it failed, the newest first. */
  failures(): readonly (HostFailure & Endpoint)[];
  /** The last question asked for `name`. */
  questionOf(name: string): AskedName | undefined;
  /** The last questions of DNS, the newest first. */
  questions(): readonly DnsQuestion[];
  /** Denials by target, the newest first. */
  denials(): readonly Denial[];
  /** The last drops of whatever reason, the newest first. */
  drops(): readonly Dropped[];
}
