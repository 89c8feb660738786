/**
 * A running instance as its supervisor holds it: what the API's requests come to, and what other programs' APIs and the
 * flow log are built on, without HTTP in between.
 */
import type { Forward } from "../engine/config.ts";
import type { Problem } from "../config/problem.ts";
import type { RecordStream } from "./records.ts";
import type { CountersResource, Flow, ForwardResource, LeaseResource, LogLevelName, State } from "./schema.ts";

/** What is asked for is not there (404), cannot be now (409), or is wrong (400): the message says so. */
export class ControlRefusal extends Error {
  override readonly name = "ControlRefusal";
  constructor(
    readonly status: 400 | 403 | 404 | 409 | 503,
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
   * Binds every port of `forward` with this process's rights and has the engine serve them: all or none. Host port 0 takes
   * a free one. Rejects with a StartError that names every port that cannot be had, or a ControlRefusal (409) when
   * --max-forwards is reached.
   */
  add(forward: Forward): Promise<ForwardResource>;
  /** Closes its listeners; `cut` resets what came by it, which stays otherwise. Rejects with a ControlRefusal (404). */
  remove(id: number, cut?: boolean): Promise<void>;
}

/** Which flows: all that hold. */
export interface FlowFilter {
  readonly protocol?: "tcp" | "udp";
  readonly state?: string;
  /** A remote's or guest's address as text, with a port where one is meant; or a name that DNS answered. */
  readonly host?: string;
}

export interface Instance {
  readonly records: RecordStream;
  readonly memories: Memories;
  readonly forwards: LiveForwards;
  state(): Promise<State>;
  /** Up to `limit` flows whose id is above `after`, by id; `next` is the `after` of the next page or null. */
  flows(filter: FlowFilter, after: number, limit: number): Promise<{ flows: Flow[]; next: number | null }>;
  /** Resets a flow on both sides. Returns whether there was one. */
  killFlow(id: number): Promise<boolean>;
  /** Resets every flow that holds. Returns how many. */
  killFlows(filter: FlowFilter): Promise<number>;
  leases(): Promise<LeaseResource[]>;
  counters(): Promise<CountersResource>;
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

/** Drops for one reason that concern one remote, told together. */
export interface Denial {
  readonly reason: string;
  readonly protocol: "tcp" | "udp";
  readonly guest: { readonly address: string; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number };
  readonly firstMs: number;
  readonly lastMs: number;
  readonly times: number;
}

/** What the supervisor remembers of the records, bounded: the least recently used gives way. */
export interface Memories {
  /** Names lately answered with `address`, the newest first. */
  namesOf(address: string): readonly KnownName[];
  /** Addresses lately answered for `name`, the newest first. */
  addressesOf(name: string): readonly string[];
  /** What connecting to `address`:`port` last came to, if it failed. */
  failureOf(address: string, port: number): HostFailure | undefined;
  /** Denials by target, the newest first. */
  denials(): readonly Denial[];
}
