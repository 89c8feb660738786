/** The control API's client: what the command's verbs use, and any TypeScript program that steers an instance. */
import { type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import type { z } from "zod";
import { readEvents } from "./event-source.ts";
import type {
  answerSchema,
  CaptureResource,
  CaptureStreamQuery,
  CaptureWish,
  ControlEvent,
  ControlProblem,
  CountersResource,
  Dns,
  EventType,
  Flow,
  FlowPage,
  FlowQuery,
  ForwardResource,
  Killed,
  LeaseResource,
  LogLevelName,
  PolicyChangeResource,
  PolicyDenial,
  PolicyResource,
  PolicyRuleResource,
  policyRequestSchema,
  Question,
  ruleRequestSchema,
  State,
  Why,
} from "./schema.ts";

export type PolicyText = z.input<typeof policyRequestSchema>;

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
  policy(): Promise<PolicyResource>;
  /** Another policy in its place, only while it is of generation `expected` where that is given. */
  setPolicy(policy: PolicyText, expected?: number): Promise<PolicyChangeResource>;
  /** What it would change. */
  checkPolicy(policy: PolicyText): Promise<PolicyChangeResource>;
  policyDenials(): Promise<readonly PolicyDenial[]>;
  /** A rule in front of all others. */
  addRule(rule: z.input<typeof ruleRequestSchema>): Promise<PolicyRuleResource>;
  removeRule(id: number): Promise<void>;
  /** Gives a rule its octets anew (`limit: { bytes }`). */
  resetBudget(id: number): Promise<void>;
  /** The open ones first. */
  questions(): Promise<readonly Question[]>;
  answer(id: number, answer: z.input<typeof answerSchema>): Promise<void>;
  leases(): Promise<readonly LeaseResource[]>;
  /** Only what has to do with `address`, where one is given. */
  dns(address?: string): Promise<Dns>;
  counters(): Promise<CountersResource>;
  /** Why `target` (as for `sluice why`) is as it is; "" asks about the last denial or failure. */
  why(target: string): Promise<Why>;
  /** OpenMetrics text. */
  metrics(): Promise<string>;
  captures(): Promise<readonly CaptureResource[]>;
  /** Begins a capture into a file. */
  startCapture(wish: CaptureWish): Promise<CaptureResource>;
  stopCapture(id: number): Promise<CaptureResource>;
  /** Frames as pcapng from now on, until `signal` aborts or the stream is destroyed. */
  captureStream(wish?: CaptureStreamQuery, signal?: AbortSignal): Promise<Readable>;
  /** Keeps a port that listens on `address` from the guest until the stream is destroyed. */
  keepPort(address: string, port: number): Promise<Readable>;
  setLogLevel(level: LogLevelName): Promise<void>;
  /** Pulls the cable, or plugs it in. */
  setLink(up: boolean): Promise<void>;
  /** Events of `types` (all by default) until `signal` aborts or the instance ends; connects again where that was all. */
  events(types?: readonly EventType[], signal?: AbortSignal): AsyncIterable<ControlEvent>;
  /** Ends the instance. */
  stop(): Promise<void>;
}

/** Pause before a lost stream of events is asked for again, milliseconds. */
const AGAIN_MS = 1000;

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface Asked {
  readonly query?: Query;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

function pathWith(path: string, query: Query = {}): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] as [string, string]],
  );
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response as AsyncIterable<string>) text += chunk;
  return text;
}

/** A client of the socket at `path`. Nothing is asked before its first call. */
export function controlClient(path: string): ControlClient {
  return new SocketClient(path);
}

class SocketClient implements ControlClient {
  constructor(readonly path: string) {}

  /** Asks, and gives the answer when it is a success. */
  private ask(
    method: string,
    path: string,
    { query, body, headers, signal }: Asked = {},
  ): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          socketPath: this.path,
          method,
          path: pathWith(path, query),
          headers: { ...(text === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
          ...(signal === undefined ? {} : { signal }),
        },
        (response) => {
          if ((response.statusCode ?? 500) < 400) resolve(response);
          else
            textOf(response).then((problem) => reject(errorOf(problem, response.statusCode ?? 500)), reject);
        },
      );
      asked.on("error", reject);
      asked.end(text);
    });
  }

  private async json<T>(method: string, path: string, asked?: Asked): Promise<T> {
    return JSON.parse(await textOf(await this.ask(method, path, asked))) as T;
  }

  private async done(method: string, path: string, asked?: Asked): Promise<void> {
    (await this.ask(method, path, asked)).resume();
  }

  state(): Promise<State> {
    return this.json("GET", "/v1/state");
  }

  flowPage(query: FlowQuery = {}): Promise<FlowPage> {
    return this.json("GET", "/v1/flows", { query: query as Query });
  }

  async *flows(query: Omit<FlowQuery, "after"> = {}): AsyncGenerator<Flow> {
    for (let after: number | null = 0; after !== null; ) {
      const page: FlowPage = await this.flowPage({ ...query, after });
      yield* page.flows;
      after = page.next;
    }
  }

  killFlow(id: number): Promise<Killed> {
    return this.json("DELETE", `/v1/flows/${id}`);
  }

  killHost(host: string): Promise<Killed> {
    return this.json("DELETE", "/v1/flows", { query: { host } });
  }

  async forwards(): Promise<readonly ForwardResource[]> {
    return (await this.json<{ forwards: ForwardResource[] }>("GET", "/v1/forwards")).forwards;
  }

  addForward(rule: string): Promise<ForwardResource> {
    return this.json("POST", "/v1/forwards", { body: { rule } });
  }

  removeForward(id: number, cut = false): Promise<void> {
    return this.done("DELETE", `/v1/forwards/${id}`, { query: { cut } });
  }

  policy(): Promise<PolicyResource> {
    return this.json("GET", "/v1/policy");
  }

  setPolicy(policy: PolicyText, expected?: number): Promise<PolicyChangeResource> {
    const headers: Record<string, string> = expected === undefined ? {} : { "If-Match": `"${expected}"` };
    return this.json("PUT", "/v1/policy", { body: policy, headers });
  }

  checkPolicy(policy: PolicyText): Promise<PolicyChangeResource> {
    return this.json("POST", "/v1/policy/check", { body: policy });
  }

  async policyDenials(): Promise<readonly PolicyDenial[]> {
    return (await this.json<{ denials: PolicyDenial[] }>("GET", "/v1/policy/denials")).denials;
  }

  addRule(rule: z.input<typeof ruleRequestSchema>): Promise<PolicyRuleResource> {
    return this.json("POST", "/v1/rules", { body: rule });
  }

  removeRule(id: number): Promise<void> {
    return this.done("DELETE", `/v1/rules/${id}`);
  }

  resetBudget(id: number): Promise<void> {
    return this.done("POST", `/v1/rules/${id}/reset-budget`);
  }

  async questions(): Promise<readonly Question[]> {
    return (await this.json<{ questions: Question[] }>("GET", "/v1/questions")).questions;
  }

  answer(id: number, answer: z.input<typeof answerSchema>): Promise<void> {
    return this.done("POST", `/v1/questions/${id}`, { body: answer });
  }

  async leases(): Promise<readonly LeaseResource[]> {
    return (await this.json<{ leases: LeaseResource[] }>("GET", "/v1/leases")).leases;
  }

  dns(address?: string): Promise<Dns> {
    return this.json("GET", "/v1/dns", { query: address === undefined ? {} : { address } });
  }

  counters(): Promise<CountersResource> {
    return this.json("GET", "/v1/counters");
  }

  why(target: string): Promise<Why> {
    return this.json("POST", "/v1/why", { body: { target } });
  }

  async metrics(): Promise<string> {
    return textOf(await this.ask("GET", "/metrics"));
  }

  async captures(): Promise<readonly CaptureResource[]> {
    return (await this.json<{ captures: CaptureResource[] }>("GET", "/v1/captures")).captures;
  }

  startCapture(wish: CaptureWish): Promise<CaptureResource> {
    return this.json("POST", "/v1/captures", { body: wish });
  }

  stopCapture(id: number): Promise<CaptureResource> {
    return this.json("DELETE", `/v1/captures/${id}`);
  }

  captureStream(wish: CaptureStreamQuery = {}, signal?: AbortSignal): Promise<Readable> {
    return this.ask("GET", "/v1/captures/stream", { query: wish as Query, signal });
  }

  async keepPort(address: string, port: number): Promise<Readable> {
    const kept = await this.ask("POST", "/v1/control-ports", { body: { address, port } });
    return kept.on("error", () => {}).resume();
  }

  setLogLevel(level: LogLevelName): Promise<void> {
    return this.done("PUT", "/v1/log", { body: { level } });
  }

  setLink(up: boolean): Promise<void> {
    return this.done("PUT", "/v1/link", { body: { up } });
  }

  async *events(types?: readonly EventType[], signal?: AbortSignal): AsyncGenerator<ControlEvent> {
    let lastId: string | undefined;
    for (;;) {
      try {
        const headers: Record<string, string> = lastId === undefined ? {} : { "Last-Event-ID": lastId };
        const query = { types: types?.join(",") };
        const response = await this.ask("GET", "/v1/events", { query, headers, signal });
        for await (const { id, data } of readEvents(response)) {
          lastId = id;
          yield JSON.parse(data) as ControlEvent;
        }
      } catch (error) {
        if (signal?.aborted) return;
        // Without an answer ever there is nothing to come back to; with one, the instance has ended or will be back.
        if (lastId === undefined || isGone(error)) throw error;
      }
      if (signal?.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (!(await this.isServed())) return;
    }
  }

  private async isServed(): Promise<boolean> {
    try {
      await this.state();
      return true;
    } catch {
      return false;
    }
  }

  stop(): Promise<void> {
    return this.done("POST", "/v1/stop", { body: {} });
  }
}

/** Nobody is at the socket any more. */
function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ECONNREFUSED";
}

function errorOf(text: string, status: number): ControlError {
  try {
    return new ControlError(JSON.parse(text) as ControlProblem);
  } catch {
    return new ControlError({ type: "about:blank", title: "Error", status, detail: text.slice(0, 1000) });
  }
}
