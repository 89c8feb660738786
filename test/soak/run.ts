/**
 * npm run soak -- [--minutes N] [--out DIRECTORY] [--help]
 *
 * Mixed load on two engines for as long as asked; fails when memory or descriptors grow, when anything arrives wrong
 * or not at all, or when something is left at the end.
 */
import { setPriority } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Agent } from "../support/agent.ts";
import { DnsServer } from "../support/dns-server.ts";
import { until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { missing, TUN_DEVICE } from "../support/requirements.ts";
import { type Sample, type SoakGuest, sampleOf, streamGuest, tapGuest } from "./guests.ts";
import { Load, NAMED_ADDRESS, serveHost } from "./load.ts";
import { describeMachine, type SoakResults, writeResults } from "./report.ts";
import { problemsOf } from "./verdict.ts";

const HELP = `Usage: npm run soak -- [--minutes N] [--out DIRECTORY]

Mixed load, moderate and checked octet by octet, on two engines: one before a TAP, one before a QEMU
stream. Needs root, unshare, nsenter, ip and a C compiler. Ends with status 0 when it has passed.

  --minutes N      how long the load lasts (default 30, at least 5); the first few are warm-up
  --out DIRECTORY  where soak.md, soak.json and soak.svg go (default docs/performance)
`;
const SAMPLE_MS = 10_000;
/** After the load: TCP's last timers, and UDP mappings that live two minutes. */
const REST_MS = 300_000;
/** The warm-up: UDP mappings, two minutes each, have become as many as they will be. */
const WARM_UP_SECONDS_MIN = 150;
const WARM_UP_SECONDS_MAX = 300;
const MINUTES_MIN = 5;
const RELINKS = 10;
const RELINK_MS_MAX = 180_000;

interface Options {
  readonly minutes: number;
  readonly out: string;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: { minutes: { type: "string" }, out: { type: "string" }, help: { type: "boolean" } },
  });
  const minutes = Number(values.minutes ?? 30);
  if (values.help) {
    process.stdout.write(HELP);
    return undefined;
  }
  if (!(minutes >= MINUTES_MIN)) {
    throw new Error(`--minutes: found "${values.minutes}"; allowed: a number from ${MINUTES_MIN} on`);
  }
  return { minutes, out: values.out ?? join(PROJECT_ROOT, "docs/performance") };
}

function say(sentence: string): void {
  process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${sentence}\n`);
}

/** A guest, what it was before the load, and what it was since. */
interface Observed {
  readonly guest: SoakGuest;
  readonly before: Sample;
  readonly samples: Sample[];
}

function progress(guests: readonly Observed[], load: Load): string {
  const engines = guests.map(({ guest, samples }) => {
    const { rssOctets, heapOctets, descriptors, flows } = samples[samples.length - 1];
    const mib = (octets: number): string => (octets / 2 ** 20).toFixed(1);
    return `${guest.name} RSS ${mib(rssOctets)} heap ${mib(heapOctets)} MiB, ${descriptors} fds, ${flows} flows`;
  });
  const done = load.tallies.reduce((sum, tally) => sum + tally.done, 0);
  const failed = load.tallies.reduce((sum, tally) => sum + tally.failures.length, 0);
  return `${engines.join("; ")}; ${done} operations, ${failed} failed`;
}

async function observe(guests: readonly Observed[], load: Load, minutes: number): Promise<void> {
  const begun = performance.now();
  const elapsed = (): number => performance.now() - begun;
  for (let next = SAMPLE_MS; elapsed() < minutes * 60_000; next += SAMPLE_MS) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - elapsed())));
    for (const { guest, samples } of guests)
      samples.push(await sampleOf(guest, Math.round(elapsed() / 1000)));
    say(progress(guests, load));
  }
}

/** Waits until an engine has given everything back, as long as that may take. */
async function rested({ guest, before }: Observed, seconds: number): Promise<Sample> {
  let last = await sampleOf(guest, seconds);
  const calm = async (): Promise<boolean> => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    last = await sampleOf(guest, seconds);
    return last.flows === 0 && last.descriptors <= before.descriptors;
  };
  await until(calm, "rest", REST_MS).catch((error: Error) => say(`${guest.name}: ${error.message}`));
  return last;
}

async function soak({ minutes, out }: Options): Promise<boolean> {
  const started = new Date().toISOString();
  const dns = await new DnsServer(NAMED_ADDRESS).listen();
  const host = new Agent();
  const guests: Observed[] = [];
  try {
    for (const open of [tapGuest, streamGuest]) {
      const guest = await open(`127.0.0.1:${dns.port}`);
      guests.push({ guest, before: await sampleOf(guest, 0), samples: [] });
    }
    const ports = await serveHost(host);
    const load = new Load(say);
    const relinkMs = Math.min(RELINK_MS_MAX, (minutes * 60_000) / RELINKS);
    for (const { guest } of guests) await load.start(guest, host, ports, relinkMs);
    say(`load for ${minutes} minutes`);
    await observe(guests, load, minutes);
    say("the load ends; everything should be given back now");
    await load.stop();
    const engines: SoakResults["engines"][number][] = [];
    for (const each of guests) {
      const after = await rested(each, Math.round(minutes * 60));
      engines.push({ guest: each.guest.name, samples: each.samples, before: each.before, after });
    }
    const results: SoakResults = {
      command: `npm run soak -- --minutes ${minutes}`,
      started,
      minutes,
      warmUpSeconds: Math.round(Math.min(WARM_UP_SECONDS_MAX, Math.max(WARM_UP_SECONDS_MIN, minutes * 10))),
      machine: describeMachine(),
      engines,
      tallies: load.tallies,
    };
    writeResults(results, out);
    const problems = problemsOf(engines, load.tallies, results.warmUpSeconds);
    for (const problem of problems) say(`FAILED ${problem}`);
    say(`${problems.length === 0 ? "passed" : `${problems.length} problems`}; written to ${out}`);
    return problems.length === 0;
  } finally {
    for (const { guest } of guests) await guest.close();
    await host.close();
    dns.close();
  }
}

const options = readOptions();
if (options !== undefined) {
  const lacks = missing({ root: true, tun: true, commands: ["unshare", "nsenter", "ip", "cc"] });
  if (lacks.length > 0) throw new Error(`a soak needs ${lacks.join(" and ")} (${TUN_DEVICE})`);
  // Others use this machine too.
  setPriority(10);
  process.exitCode = (await soak(options)) ? 0 : 1;
}
