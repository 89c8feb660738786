/** The control API's client: what the command's verbs use, and any TypeScript program that steers an instance. */
import type {
  Capture,
  CaptureRequest,
  ControlEvent,
  ControlProblem,
  CountersResource,
  EventType,
  Flow,
  FlowPage,
  FlowQuery,
  ForwardResource,
  Killed,
  LeaseResource,
  LogLevelName,
  State,
} from "./schema.ts";

/** An answer that is an error: the message is its detail, with everything wrong one to a line. */
export class ControlError extends Error {
  override readonly name = "ControlError";
  readonly code = "ERR_SLUICE_CONTROL";
  constructor(readonly problem: ControlProblem) {
    super(problem.detail);
  }
}

/** Every call rejects with a ControlError for an answer that is one, and with the system's error when nobody answers. */
export interface ControlClient {
  /** The socket's path. */
  readonly path: string;
  state(): Promise<State>;
  /** One page; `flows` walks all of them. */
  flowPage(query?: FlowQuery): Promise<FlowPage>;
  flows(query?: Omit<FlowQuery, "after">): AsyncIterable<Flow>;
  killFlow(id: number): Promise<Killed>;
  /** Ends every flow with this host: ADDRESS, ADDRESS:PORT or NAME. */
  killHost(host: string): Promise<Killed>;
  forwards(): Promise<readonly ForwardResource[]>;
  addForward(rule: string): Promise<ForwardResource>;
  /** `cut` resets the connections it has let in. */
  removeForward(id: number, cut?: boolean): Promise<void>;
  leases(): Promise<readonly LeaseResource[]>;
  counters(): Promise<CountersResource>;
  /** OpenMetrics text. */
  metrics(): Promise<string>;
  captures(): Promise<readonly Capture[]>;
  /** Captures to a file of the supervisor's side. */
  startCapture(request: CaptureRequest & { readonly path: string }): Promise<Capture>;
  /** The capture itself, pcapng, until the reader goes away. */
  streamCapture(request: Omit<CaptureRequest, "path">): Promise<AsyncIterable<Uint8Array>>;
  stopCapture(id: number): Promise<Capture>;
  setLogLevel(level: LogLevelName): Promise<void>;
  /** Pulls the cable, or plugs it in. */
  setLink(up: boolean): Promise<void>;
  /** Events of `types` (all by default) until `signal` aborts or the instance ends; connects again where that was all. */
  events(types?: readonly EventType[], signal?: AbortSignal): AsyncIterable<ControlEvent>;
  /** Ends the instance. */
  stop(): Promise<void>;
}
