/** `sluice metrics`: once as text, or served to a scraper until somebody ends it. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { parsePort } from "../config/address.ts";
import { Unacceptable } from "../config/unacceptable.ts";
import type { ControlClient } from "../control/client.ts";
import { formatEnd } from "../control/end-text.ts";
import { parseTarget } from "../control/target.ts";
import { keepFromGuest } from "./kept-port.ts";
import { jsonLine, VerbError, type VerbRequest } from "./verb-request.ts";

const LOOPBACK = "127.0.0.1";
const PATH = "/metrics";
const TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const REQUEST_MS = 10_000;
const CONNECTIONS_MAX = 64;
const END_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export async function metricsCommand({ flags, json, out, client }: VerbRequest): Promise<void> {
  const { listen } = flags;
  const where = typeof listen === "string" ? listenerOf(listen) : undefined;
  const asked = await client();
  if (where !== undefined)
    return serve(asked, where, (address) => out(json ? jsonLine({ address }) : `${address}\n`));
  out(json ? jsonLine(await asked.counters()) : await asked.metrics());
}

interface Listener {
  readonly host: string;
  readonly port: number;
}

function listenerOf(text: string): Listener {
  try {
    if (/^\d+$/.test(text)) return { host: LOOPBACK, port: parsePort(text) };
    const { host, isName, port } = parseTarget(text);
    if (!isName && port !== null) return { host, port };
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
  }
  throw new VerbError({ place: "--listen", found: text, allowed: "PORT, IPV4:PORT or [IPV6]:PORT" });
}

async function serve(
  client: ControlClient,
  { host, port }: Listener,
  ready: (address: string) => void,
): Promise<void> {
  const server = createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS },
    (request, response) => {
      request.resume();
      const { method = "", url = "" } = request;
      if (url.split("?")[0] !== PATH || (method !== "GET" && method !== "HEAD")) {
        response.writeHead(404, { "content-type": "text/plain" }).end(`nothing but GET ${PATH}\n`);
        return;
      }
      client.metrics().then(
        (text) => response.writeHead(200, { "content-type": TYPE }).end(method === "HEAD" ? undefined : text),
        (error: Error) => response.writeHead(502, { "content-type": "text/plain" }).end(`${error.message}\n`),
      );
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  let letGo = (): void => {};
  try {
    letGo = await keepFromGuest(client, host, bound);
    ready(`http://${formatEnd({ address: host, port: bound })}${PATH}`);
    await new Promise<void>((resolve) => {
      for (const signal of END_SIGNALS) process.once(signal, () => resolve());
    });
  } finally {
    letGo();
    server.close();
    server.closeAllConnections();
  }
}
