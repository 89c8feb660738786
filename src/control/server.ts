/**
 * The control API's server: HTTP/1.1 over connections that somebody else has accepted and looked at. Requests are checked by
 * the routes' schemas; errors are RFC 9457 problems with everything that is wrong at once.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { pipeline, Readable } from "node:stream";
import type { z } from "zod";
import type { Problem } from "../config/problem.ts";
import { EventStreams } from "./event-streams.ts";
import { ControlRefusal, type Instance } from "./instance.ts";
import type { LentOctets } from "./json-octets.ts";
import { problemsOf } from "./problems.ts";
import { ROUTES, type Route } from "./routes.ts";
import type { ControlProblem } from "./schema.ts";

/** Octets of a request's body. */
const BODY_MAX = 1_048_576;
/** How long a request may take to arrive, milliseconds. */
const REQUEST_MS = 30_000;
/** How often that is looked at. */
const CHECK_MS = 2000;
const JSON_TYPE = "application/json";
const PROBLEM_TYPE = "application/problem+json";

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** An answer that is no success. */
class HttpError extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly problems?: readonly Problem[],
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }
}

interface Match {
  readonly route: Route;
  readonly id: number;
}

const PATTERNS = ROUTES.map((route) => ({
  route,
  pattern: new RegExp(`^${route.path.replace("{id}", "([1-9]\\d{0,15})")}$`),
}));

function matchOf(method: string, path: string): Match {
  const fitting = PATTERNS.flatMap(({ route, pattern }) => {
    const match = pattern.exec(path);
    return match === null ? [] : [{ route, id: Number(match[1] ?? 0) }];
  });
  const found = fitting.find(({ route }) => route.method === method);
  if (found) return found;
  if (fitting.length === 0) throw new HttpError(404, `there is nothing at ${path}`);
  const allow = fitting.map(({ route }) => route.method).join(", ");
  throw new HttpError(405, `${path} takes ${allow}, not ${method}`, undefined, { Allow: allow });
}

function checked(type: z.ZodType | undefined, value: unknown, place: string): unknown {
  if (type === undefined) return undefined;
  const result = type.safeParse(value);
  if (result.success) return result.data;
  const problems = problemsOf(result.error, value, place);
  throw new HttpError(400, problems.map((p) => `${p.place}: ${p.allowed}`).join("\n"), problems);
}

function queryOf(search: URLSearchParams): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of search) {
    if (Object.hasOwn(query, name)) {
      throw new HttpError(400, `query.${name}: once`, [
        { place: `query.${name}`, found: value, allowed: "once" },
      ]);
    }
    query[name] = value;
  }
  return query;
}

/** The generation that an If-Match names; what is none of ours matches nothing. */
function generationOf(header: string | undefined): number | undefined {
  if (header === undefined || header === "*") return undefined;
  return Number(/^"(\d{1,15})"$/.exec(header)?.[1] ?? 0);
}

function tagOf({ isTagged }: Route, answer: unknown): Record<string, string> {
  return isTagged ? { ETag: `"${(answer as { generation: number }).generation}"` } : {};
}

async function bodyOf(request: IncomingMessage, most: number): Promise<unknown> {
  const [type = ""] = (request.headers["content-type"] ?? "").split(";");
  // Of one that says it is too long nothing is kept; it is read so far, since whoever still writes may not hear the answer.
  const isTooLong = Number(request.headers["content-length"] ?? 0) > most;
  const chunks: Buffer[] = [];
  let octets = 0;
  const arriving: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of arriving) {
    octets += chunk.length;
    if (octets > most) break;
    if (!isTooLong) chunks.push(chunk);
  }
  if (isTooLong || octets > most) throw new HttpError(413, `a body of at most ${most} octets`);
  if (octets === 0) return {};
  if (type.trim().toLowerCase() !== JSON_TYPE) throw new HttpError(415, `a body of ${JSON_TYPE}`);
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new HttpError(400, "body: JSON", [{ place: "body", allowed: "JSON" }]);
  }
}

export interface ControlServerOptions {
  readonly instance: Instance;
  /** Told of what went wrong here, for the log. */
  readonly failed: (message: string) => void;
}

export class ControlServer {
  private readonly http: Server;
  private readonly streams: EventStreams;
  private readonly refused = new WeakMap<Socket, string>();

  constructor(private readonly options: ControlServerOptions) {
    this.streams = new EventStreams(options.instance.records);
    this.http = createServer(
      {
        headersTimeout: REQUEST_MS,
        requestTimeout: REQUEST_MS,
        keepAliveTimeout: REQUEST_MS,
        connectionsCheckingInterval: CHECK_MS,
      },
      (request, response) => void this.serve(request, response),
    );
    // It never listens itself: its time limits and its list of connections begin with this event (node:http).
    this.http.emit("listening");
  }

  /** Takes a paused connection; whatever it asks is refused for `reason`, if there is one. */
  accept(socket: Socket, reason: string | undefined): void {
    if (reason !== undefined) this.refused.set(socket, reason);
    this.http.emit("connection", socket);
    socket.resume();
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.answer(request, response);
    } catch (error) {
      if (response.headersSent || response.destroyed) {
        response.destroy();
        return;
      }
      const problem = this.problemOf(error);
      // What is left of the body is not waited for, and who may not ask has no place to keep.
      if (problem.status === 413 || problem.status === 403) response.shouldKeepAlive = false;
      const headers = error instanceof HttpError ? error.headers : {};
      send(response, problem.status, `${JSON.stringify(problem)}\n`, PROBLEM_TYPE, headers);
    }
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reason = this.refused.get(request.socket);
    if (reason !== undefined) throw new HttpError(403, reason);
    const url = new URL(request.url ?? "/", "http://localhost");
    if (request.method === "GET" && url.pathname === "/v1/events") {
      this.streams.serve(request, response, queryOf(url.searchParams));
      return;
    }
    const { route, id } = matchOf(request.method ?? "GET", url.pathname);
    const query = checked(route.query, queryOf(url.searchParams), "query");
    const { bodyMax = BODY_MAX } = route;
    const body =
      route.body === undefined ? undefined : checked(route.body, await bodyOf(request, bodyMax), "body");
    const expected = generationOf(request.headers["if-match"]);
    const answer = await route.run({
      instance: this.options.instance,
      id,
      query,
      body,
      ...(expected === undefined ? {} : { expected }),
    });
    if (answer instanceof Readable) sendStream(response, route, answer);
    else if (route.mediaType !== undefined) send(response, route.status, String(answer), route.mediaType);
    else if (route.response === undefined) send(response, route.status, "", JSON_TYPE);
    else if (route.isLent) sendLent(response, route.status, answer as LentOctets);
    else send(response, route.status, `${JSON.stringify(answer)}\n`, JSON_TYPE, tagOf(route, answer));
  }

  private problemOf(error: unknown): ControlProblem {
    const [status, problems] =
      error instanceof HttpError
        ? [error.status, error.problems]
        : error instanceof ControlRefusal
          ? [error.status, error.problems]
          : error instanceof Error && error.name === "CallError"
            ? [503, undefined]
            : [500, undefined];
    const detail = error instanceof Error ? error.message : String(error);
    if (status === 500) this.options.failed(`the control API failed: ${detail}`);
    return {
      type: "about:blank",
      title: TITLES[status] ?? "Error",
      status,
      detail,
      ...(problems === undefined || problems.length === 0 ? {} : { problems: [...problems] }),
    };
  }

  close(): void {
    this.streams.close();
    this.http.closeAllConnections();
    this.http.close();
  }
}

/** As fast as it is read; whoever hangs up ends it. */
function sendStream(response: ServerResponse, { status, mediaType }: Route, stream: Readable): void {
  response.writeHead(status, {
    "Content-Type": mediaType ?? "application/octet-stream",
    "Cache-Control": "no-store",
  });
  pipeline(stream, response, () => stream.destroy());
}

function sendLent(response: ServerResponse, status: number, { octets, giveBack }: LentOctets): void {
  // Also where whoever asked has hung up: then nothing is sent any more.
  response.once("close", giveBack);
  send(response, status, octets, JSON_TYPE);
}

function send(
  response: ServerResponse,
  status: number,
  content: string | Buffer,
  type: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const octets = Buffer.byteLength(content);
  const described = status === 204 ? {} : { "Content-Type": type, "Content-Length": octets };
  response.writeHead(status, { ...described, "Cache-Control": "no-store", ...headers });
  // Text leaves with its head in one write; what is ASCII goes as it lies in memory.
  if (typeof content === "string") response.end(content, octets === content.length ? "latin1" : "utf8");
  else response.end(content);
}
