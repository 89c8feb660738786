/** Many connections at once, idle ones, and the start of the process. */
import { ECHO_PORT, ECHO_PORTS } from "./laboratory.ts";
import { account, roundTripUs } from "./measure-tcp.ts";
import type { Measurement, RunContext } from "./measurement.ts";
import type { Program, Report } from "./program.ts";
import { RunFailure } from "./program.ts";
import type { Session } from "./session.ts";

const OPEN_LIMIT_MS = 30_000;
const HOLD_MS = 2000;
const OCTETS_PER_KIB = 1024;

export function hold(session: Session, count: number, more: readonly string[]): Program {
  return session.inGuest([
    ...[session.laboratory.programs["tcp-hold"], "--connect", session.laboratory.at(ECHO_PORT)],
    ...["--ports", String(ECHO_PORTS), "--count", String(count), "--limit", String(OPEN_LIMIT_MS), ...more],
  ]);
}

export async function allChecked(holder: Program, count: number): Promise<Report> {
  const result = await holder.report("result", OPEN_LIMIT_MS + 10_000);
  if (Number(result["checked"]) < count) {
    throw new RunFailure(
      `${result["checked"]} of ${count} connections answered within ${OPEN_LIMIT_MS / 1000} s`,
    );
  }
  return result;
}

/**
 * `count` connections opened at once, each with data of its own that must come back. The value is the time until
 * all are checked, ms. With `held` they stay open and are checked once more.
 */
export async function measureOpen(context: RunContext, count: number, held: boolean): Promise<Measurement> {
  const { session } = context;
  const first = hold(session, 50, []);
  await allChecked(first, 50);
  const before = session.mark();
  const holder = hold(session, count, ["--keep"]);
  const opened = await allChecked(holder, count);
  const more: Record<string, number> = {};
  if (held) {
    await new Promise((resolve) => setTimeout(resolve, HOLD_MS));
    holder.writeLine("again");
    more["againMs"] = Number((await allChecked(holder, count))["ms"]);
  }
  const rss = session.memory("VmHWM");
  return {
    value: Number(opened["ms"]),
    more: { ...more, ...account(session.since(before)), peakRssKb: rss.engineKb, peakRssAllKb: rss.allKb },
  };
}

/**
 * Idle connections. The value is the octets of resident memory that each takes in the engine; beside it the round
 * trip of one more connection with ten idle ones and with all of them.
 */
export async function measureIdle(context: RunContext, count: number): Promise<Measurement> {
  const { session, options } = context;
  const windowMs = Math.min(options.windowMs, 1000);
  // Everything that grows once has grown before the first look: code, buffers, tables.
  const warm = hold(session, 500, ["--batch", "64"]);
  await allChecked(warm, 500);
  const ten = hold(session, 10, ["--keep"]);
  await allChecked(ten, 10);
  const p50TenUs = await roundTripUs(session, windowMs);
  const before = session.memory("VmRSS");
  const mark = session.mark();
  const many = hold(session, count, ["--batch", "64", "--keep"]);
  const opened = await allChecked(many, count);
  const p50AllUs = await roundTripUs(session, windowMs);
  const after = session.memory("VmRSS");
  many.writeLine("again");
  await allChecked(many, count);
  return {
    value: ((after.engineKb - before.engineKb) * OCTETS_PER_KIB) / count,
    more: {
      p50TenUs,
      p50AllUs,
      ratio: p50AllUs / p50TenUs,
      rssKb: after.engineKb,
      openMs: Number(opened["ms"]),
      ...account(session.since(mark)),
    },
  };
}

/** From the start of the process to the first answered SYN, ms; beside it the memory of the idle process. */
export async function measureStart(context: RunContext): Promise<Measurement> {
  const { session } = context;
  await new Promise((resolve) => setTimeout(resolve, 500));
  const rss = session.memory("VmRSS");
  return { value: session.startMs, more: { idleRssKb: rss.engineKb, idleRssAllKb: rss.allKb } };
}
