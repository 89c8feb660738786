/**
 * What watchers of a running sluice ask of it, at a steady rate: `control-load.js SOCKET`, in the engine's network namespace.
 * Ten scrapes of its metrics and two listings of its whole flow table a second, beside twenty streams of its events. Says
 * `ready` when all of it has been answered once, and read; on SIGTERM how much was. Later answers are read to their end and
 * only measured: what a watcher makes of them is not the engine's, and takes the same cores.
 */
import { type IncomingMessage, request } from "node:http";

const SCRAPE_MS = 100;
const LISTING_MS = 500;
const STREAMS = 20;
const PAGE = "/v1/flows?limit=1000&after=";
/** Of an answer, what is looked at. */
const TAIL_OCTETS = 40;
/** The same flows take about as many octets again: their times grow. */
const SHORTEST = 0.95;

const [socketPath] = process.argv.slice(2);
const counts = { scrapes: 0, listings: 0, flows: 0, octets: 0, events: 0, late: 0 };

function ask(path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path }, (response) => {
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`${path}: ${response.statusCode}`));
    });
    asked.on("error", reject).end();
  });
}

/** An answer's length, and its last octets. */
async function read(path: string): Promise<{ octets: number; tail: string }> {
  const response = await ask(path);
  let octets = 0;
  let tail = "";
  for await (const chunk of response as AsyncIterable<Buffer>) {
    octets += chunk.length;
    tail = (tail + chunk.toString("latin1", Math.max(0, chunk.length - TAIL_OCTETS))).slice(-TAIL_OCTETS);
  }
  return { octets, tail };
}

async function scrape(): Promise<void> {
  const { tail } = await read("/metrics");
  if (!tail.endsWith("# EOF\n")) throw new Error(`a scrape ends in ${JSON.stringify(tail)}`);
  counts.scrapes++;
}

async function list(): Promise<void> {
  let octets = 0;
  for (let after = "0"; after !== "null"; ) {
    const page = await read(`${PAGE}${after}`);
    octets += page.octets;
    const next = /"next":(\d+|null)\}\n$/.exec(page.tail)?.[1];
    if (next === undefined) throw new Error(`a page ends in ${JSON.stringify(page.tail)}`);
    after = next;
  }
  if (octets < counts.octets * SHORTEST)
    throw new Error(`${octets} octets where there were ${counts.octets}`);
  counts.octets = octets;
  counts.listings++;
}

/** How many flows a listing has. */
async function flowsListed(): Promise<number> {
  let flows = 0;
  for (let after: number | null = 0; after !== null; ) {
    let text = "";
    for await (const chunk of (await ask(`${PAGE}${after}`)).setEncoding("utf8")) text += chunk;
    const page = JSON.parse(text) as { flows: unknown[]; next: number | null };
    flows += page.flows.length;
    after = page.next;
  }
  return flows;
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
  counts.flows = await flowsListed();
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
