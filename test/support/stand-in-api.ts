/** A control API that tells what a test wants told, on a Unix socket: for what is shown of it, and how fast. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlEvent, Flow, Question, State } from "../../src/control/schema.ts";
import { STATE as RIG_STATE } from "./control-rig.ts";

const PAGE_ROWS = 1000;

/** An instance that has been up for a while, to be looked at. */
const STATE: State = {
  ...RIG_STATE,
  version: "0.1.0",
  name: "agent-7",
  pid: 4711,
  enginePid: 4712,
  startedAt: "2026-12-01T09:30:00.000Z",
  uptimeMs: 8_100_000,
};

const HOSTS = ["packages", "registry", "api", "cdn", "time", "git"];

/** A flow with everything made of its number. */
export function standInFlow(id: number, more: Partial<Flow> = {}): Flow {
  const remote = { address: `203.0.113.${1 + (id % 250)}`, port: id % 3 === 0 ? 80 : 443 };
  return {
    id,
    protocol: id % 7 === 0 ? "udp" : "tcp",
    direction: id % 11 === 0 ? "in" : "out",
    state: id % 7 === 0 ? "MAPPED" : "ESTABLISHED",
    guest: { address: "10.0.2.15", port: 1024 + (id % 60_000) },
    remote,
    target: remote,
    names: id % 4 === 0 ? [] : [`${HOSTS[id % HOSTS.length]}-${id}.example.com`],
    forward: null,
    octetsFromGuest: id * 100,
    octetsToGuest: id * 1000,
    ageMs: 60_000,
    idleMs: (id % 100) * 500,
    ...more,
  };
}

export class StandInApi {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-api-"));
  readonly path = join(this.directory, "api.sock");
  flows: Flow[] = [];
  drops: Record<string, number> = {};
  why: { label: string; text: string }[] = [{ label: "open", text: "all is well" }];
  /** Ids in the order in which they were killed, and what was asked about. */
  readonly killed: number[] = [];
  readonly asked: string[] = [];
  questions: Question[] = [];
  readonly answers: { readonly id: number; readonly answer: unknown }[] = [];
  requests = 0;
  private readonly begun = performance.now();
  private readonly streams = new Set<ServerResponse>();
  private server: Server | undefined;
  private eventId = 0;

  async open(): Promise<this> {
    this.server = createServer((message, response) => this.answer(message, response));
    await new Promise<void>((resolve) => this.server?.listen(this.path, resolve));
    return this;
  }

  /** Every flow carries so much more with each second. */
  private now(flow: Flow): Flow {
    const seconds = (performance.now() - this.begun) / 1000;
    return {
      ...flow,
      octetsFromGuest: Math.round(flow.octetsFromGuest + seconds * (flow.id % 1000) * 10),
      octetsToGuest: Math.round(flow.octetsToGuest + seconds * (flow.id % 1000) * 40),
    };
  }

  private answer(message: IncomingMessage, response: ServerResponse): void {
    this.requests++;
    const url = new URL(message.url ?? "", "http://sluice");
    const say = (body: object, status = 200): void => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    const seconds = (performance.now() - this.begun) / 1000;
    switch (`${message.method} ${url.pathname}`) {
      case "GET /v1/state":
        say(STATE);
        return;
      case "GET /v1/counters":
        say({
          counters: {
            "link-octets-from-guest": Math.round(seconds * 1_200_000),
            "link-octets-to-guest": Math.round(seconds * 8_400_000 * (1 + Math.sin(seconds) / 2)),
            "dns-queries": 12,
          },
          drops: this.drops,
        });
        return;
      case "GET /v1/flows": {
        const after = Number(url.searchParams.get("after") ?? 0);
        const page = this.flows.filter(({ id }) => id > after).slice(0, PAGE_ROWS);
        const last = page.at(-1)?.id;
        const more = last !== undefined && last !== this.flows.at(-1)?.id;
        say({ flows: page.map((flow) => this.now(flow)), next: more ? last : null });
        return;
      }
      case "GET /v1/questions":
        say({ questions: this.questions });
        return;
      case "GET /v1/events":
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(":\n\n");
        this.streams.add(response);
        response.on("close", () => this.streams.delete(response));
        return;
      case "POST /v1/why":
        this.readBody(message, (body) => {
          this.asked.push(JSON.parse(body).target);
          say({ lines: this.why });
        });
        return;
      default:
        if (message.method === "POST" && url.pathname.startsWith("/v1/questions/")) {
          this.readBody(message, (body) =>
            this.takeAnswer(Number(url.pathname.split("/").at(-1)), body, response, say),
          );
          return;
        }
        this.kill(message.method ?? "", url.pathname, say);
    }
  }

  private takeAnswer(
    id: number,
    body: string,
    response: ServerResponse,
    say: (body: object, status?: number) => void,
  ): void {
    const question = this.questions.find((each) => each.id === id);
    if (question?.state !== "open") {
      const detail = `question ${id} has been answered`;
      say({ type: "about:blank", title: "Conflict", status: 409, detail }, 409);
      return;
    }
    const answer = JSON.parse(body);
    this.answers.push({ id, answer });
    const state = answer.verdict === "allow" ? "allowed" : "denied";
    this.questions = this.questions.map((each) => (each.id === id ? { ...each, state } : each));
    response.writeHead(204).end();
  }

  private kill(method: string, path: string, say: (body: object, status?: number) => void): void {
    const id = Number(/^\/v1\/flows\/(\d+)$/.exec(path)?.[1] ?? 0);
    if (method !== "DELETE" || !this.flows.some((flow) => flow.id === id)) {
      say({ type: "about:blank", title: "Not Found", status: 404, detail: `there is no flow ${id}` }, 404);
      return;
    }
    this.killed.push(id);
    this.flows = this.flows.filter((flow) => flow.id !== id);
    say({ killed: 1 });
  }

  private readBody(message: IncomingMessage, done: (body: string) => void): void {
    let body = "";
    message.on("data", (piece) => {
      body += piece;
    });
    message.on("end", () => done(body));
  }

  /** Tells every stream. */
  tell(event: ControlEvent): void {
    const id = ++this.eventId;
    for (const stream of this.streams) {
      stream.write(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    }
  }

  /** Nobody answers any more, until `open` again. */
  async close(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  async remove(): Promise<void> {
    await this.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
