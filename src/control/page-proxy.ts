/**
 * What `sluice ui` serves: the page's files, and behind them the part of the control API that the page uses, carried from
 * a port of 127.0.0.1 to the API's Unix socket. The supervisor itself never listens on TCP.
 *
 * Any program of this host may connect to the port, and any page in the user's browser may try to, so:
 *
 *   token     what asks for data has the token that only the printed address names (its fragment, which no browser sends)
 *   Host      must be this port by a name of this host: another name that leads here (DNS rebinding) is refused
 *   Origin    where there is one it must be ours: other pages are refused, whatever they know
 *   CSP       the page loads from here alone, runs what lies in its file alone, and is framed by nobody
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export interface PageProxyOptions {
  /** The control API's Unix socket. */
  readonly socketPath: string;
  /** The directory with the page's files. */
  readonly directory: string;
  /** 0: any that is free. */
  readonly port?: number;
}

export interface PageProxy {
  /** With the token in its fragment. */
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

const LOOPBACK = "127.0.0.1";
const TOKEN_OCTETS = 32;
const BODY_OCTETS_MAX = 65_536;
const HEADERS_MS = 10_000;
const CONNECTIONS_MAX = 64;

const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/page.js": ["page.js", "text/javascript; charset=utf-8"],
  "/page.css": ["page.css", "text/css; charset=utf-8"],
  "/icon.svg": ["icon.svg", "image/svg+xml"],
};

/** Method and path of what the page asks for; nothing else passes. */
const CARRIED: readonly RegExp[] = [
  /^GET \/v1\/(?:state|flows|counters|dns|leases|forwards|questions|events)(?:\?|$)/,
  /^POST \/v1\/why$/,
  /^POST \/v1\/questions\/\d+$/,
  /^DELETE \/v1\/flows\/\d+$/,
];

const HEADERS: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Starts to listen. Rejects with the port's error. */
export async function startPageProxy(options: PageProxyOptions): Promise<PageProxy> {
  const token = randomBytes(TOKEN_OCTETS).toString("base64url");
  const server = createServer(
    { requestTimeout: HEADERS_MS, headersTimeout: HEADERS_MS },
    (message, response) => {
      const { port } = server.address() as AddressInfo;
      void new Visit(message, response, { ...options, port, token }).serve();
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, LOOPBACK, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://${LOOPBACK}:${port}/#${token}`,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface VisitOptions extends PageProxyOptions {
  readonly port: number;
  readonly token: string;
}

class Visit {
  constructor(
    private readonly message: IncomingMessage,
    private readonly response: ServerResponse,
    private readonly options: VisitOptions,
  ) {}

  async serve(): Promise<void> {
    const { message, response } = this;
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    message.on("error", () => {});
    response.on("error", () => {});
    const { method = "", url = "" } = message;
    if (!this.isHostOurs()) return this.refuse(403, "the Host of a request must be this port of 127.0.0.1");
    if (!this.isOriginOurs()) return this.refuse(403, "requests of other pages are refused");
    const file = FILES[url];
    if (file !== undefined && (method === "GET" || method === "HEAD")) return this.sendFile(file);
    if (!CARRIED.some((pattern) => pattern.test(`${method} ${url}`)))
      return this.refuse(404, "nothing here by that name");
    if (!this.hasToken())
      return this.refuse(401, "the token of the address that sluice ui printed is missing");
    this.carry();
  }

  private names(): string[] {
    return [LOOPBACK, "localhost", "[::1]"].map((name) => `${name}:${this.options.port}`);
  }

  private isHostOurs(): boolean {
    return this.names().includes(this.message.headers.host ?? "");
  }

  private isOriginOurs(): boolean {
    const { origin } = this.message.headers;
    return origin === undefined || origin === `http://${this.message.headers.host}`;
  }

  /** Compared by digests: of one length, in the same time. */
  private hasToken(): boolean {
    const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
    const given = this.message.headers.authorization ?? "";
    return timingSafeEqual(digest(given), digest(`Bearer ${this.options.token}`));
  }

  /** An RFC 9457 problem. */
  private refuse(status: number, detail: string): void {
    if (this.response.headersSent) {
      // An answer that cannot go on is cut off; one that is complete is on its way.
      if (!this.response.writableEnded) this.response.destroy();
      return;
    }
    this.message.resume();
    this.response.writeHead(status, { "content-type": "application/problem+json" });
    this.response.end(JSON.stringify({ status, title: "the page's server refused a request", detail }));
  }

  private async sendFile([name, type]: readonly [string, string]): Promise<void> {
    try {
      const octets = await readFile(join(this.options.directory, name));
      this.response.writeHead(200, { "content-type": type, "content-length": octets.length });
      this.response.end(this.message.method === "HEAD" ? undefined : octets);
    } catch {
      this.refuse(500, `${name} is missing: build the program again`);
    }
  }

  private carry(): void {
    const { message, response, options } = this;
    const { method, url } = message;
    const { accept, "last-event-id": lastEventId, "content-type": contentType } = message.headers;
    const headers = { host: "sluice", accept, "last-event-id": lastEventId, "content-type": contentType };
    const onward = request({
      socketPath: options.socketPath,
      method,
      path: url,
      headers: Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)),
    });
    onward.on("error", (error: NodeJS.ErrnoException) =>
      this.refuse(
        502,
        `the control socket ${options.socketPath} does not answer (${error.code ?? error.message})`,
      ),
    );
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode ?? 502, {
        "content-type": answer.headers["content-type"] ?? "application/octet-stream",
      });
      answer.on("error", () => response.destroy());
      answer.pipe(response);
    });
    response.on("close", () => onward.destroy());
    this.sendBody(onward);
  }

  private sendBody(onward: ReturnType<typeof request>): void {
    let octets = 0;
    this.message.on("data", (chunk: Buffer) => {
      octets += chunk.length;
      if (octets > BODY_OCTETS_MAX) {
        onward.destroy();
        this.refuse(413, `a body of more than ${BODY_OCTETS_MAX} octets`);
        return;
      }
      onward.write(chunk);
    });
    this.message.on("end", () => onward.end());
  }
}
