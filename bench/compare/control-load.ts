/**
 * What watchers of a running sluice ask of it, at a steady rate: `control-load.js SOCKET`, in the engine's network namespace.
 * Ten scrapes of its metrics and two listings of its whole flow table a second, beside twenty streams of its events. Says
 * `ready` when all of it has been answered once; on SIGTERM how much was.
 */
import { type IncomingMessage, request } from "node:http";

const SCRAPE_MS = 100;
const LISTING_MS = 500;
const STREAMS = 20;

const [socketPath] = process.argv.slice(2);
const counts = { scrapes: 0, listings: 0, flows: 0, events: 0, late: 0 };

function ask(path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path }, (response) => {
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`${path}: ${response.statusCode}`));
    });
    asked.on("error", reject).end();
  });
}

async function textOf(path: string): Promise<string> {
  let text = "";
  for await (const chunk of (await ask(path)).setEncoding("utf8")) text += chunk;
  return text;
}

async function scrape(): Promise<void> {
  await textOf("/metrics");
  counts.scrapes++;
}

async function list(): Promise<void> {
  let flows = 0;
  for (let after: number | null = 0; after !== null; ) {
    const page = JSON.parse(await textOf(`/v1/flows?limit=1000&after=${after}`)) as {
      flows: unknown[];
      next: number | null;
    };
    flows += page.flows.length;
    after = page.next;
  }
  counts.listings++;
  counts.flows = flows;
}

async function follow(): Promise<void> {
  const events = await ask("/v1/events");
  events.on("data", (chunk: Buffer) => {
    counts.events += chunk.toString("latin1").split("\nid: ").length - 1;
  });
}

/** Does it every so often; what is not done by then is late, and not begun twice. */
function every(ms: number, work: () => Promise<void>): void {
  let isBusy = false;
  setInterval(() => {
    if (isBusy) {
      counts.late++;
      return;
    }
    isBusy = true;
    work().then(() => {
      isBusy = false;
    }, fail);
  }, ms);
}

function fail(error: Error): void {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

function say(event: string): void {
  process.stdout.write(`${JSON.stringify({ event, ...counts })}\n`);
}

async function main(): Promise<void> {
  for (let stream = 0; stream < STREAMS; stream++) await follow();
  await scrape();
  await list();
  every(SCRAPE_MS, scrape);
  every(LISTING_MS, list);
  say("ready");
  process.on("SIGTERM", () => {
    say("result");
    process.exit(0);
  });
}

main().catch(fail);
