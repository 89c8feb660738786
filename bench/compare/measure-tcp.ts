/** TCP throughput, and the request/response cases. */
import { ECHO_PORT, ECHO_PORTS, STREAM_PORT } from "./laboratory.ts";
import type { Measurement, RunContext } from "./measurement.ts";
import { RunFailure } from "./program.ts";
import type { Mark, Session } from "./session.ts";

const BITS_PER_GBIT = 1e9;
const OCTETS_PER_GB = 1e9;
/** A stream without an octet for so long is a failure, whatever the mean. */
const STALL_MS = 1000;

/**
 * Bulk transfer over `streams` connections. The value is Gbit/s at the receiver; beside it the engine's CPU seconds
 * per gigabyte, frames the TAP dropped, and segments sent again.
 */
export async function measureStreams(
  context: RunContext,
  direction: "up" | "down",
  streams: number,
): Promise<Measurement> {
  const { session, options } = context;
  const { programs } = session.laboratory;
  const at = session.laboratory.at(STREAM_PORT);
  const timing = ["--warmup", String(options.warmupMs), "--window", String(options.windowMs)];
  const role = (receives: boolean, side: string) => [
    ...[programs["tcp-stream"], receives ? "recv" : "send", side, at, "--streams", String(streams)],
    ...(receives ? timing : []),
  ];
  const server = session.laboratory.inHost(role(direction === "up", "--listen"));
  await server.report("ready", 5000);
  const client = session.inGuest(role(direction === "down", "--connect"));
  const [receiver, sender] = direction === "up" ? [server, client] : [client, server];
  const limit = options.warmupMs + options.windowMs + 15_000;
  try {
    await receiver.report("window", limit);
  } catch (error) {
    // The sender usually knows better why nothing arrived.
    if (error instanceof RunFailure && !sender.running) throw new RunFailure(sender.lastWords);
    throw error;
  }
  const before = session.mark();
  const congestion = context.round === 1 ? session.congestionInUse() : [];
  const result = await receiver.report("result", limit);
  const spent = session.since(before);
  sender.signal("SIGTERM");
  const sent = await sender.report("result", 5000).catch(() => undefined);

  const octets = (result["octets"] as number[]).reduce((sum, n) => sum + n, 0);
  const seconds = Number(result["nanoseconds"]) / 1e9;
  if (Number(result["openStreams"]) < streams) throw new RunFailure("a stream was cut");
  if (Number(result["silenceMs"]) >= Math.min(STALL_MS, options.windowMs)) {
    throw new RunFailure(`stalled: ${Math.round(Number(result["silenceMs"]))} ms without an octet`);
  }
  const facts: Record<string, string> = { senderCongestion: String(sent?.["congestion"] ?? "unknown") };
  if (congestion.length > 0) facts["hostCongestion"] = congestion.join(" ");
  return {
    value: (octets * 8) / seconds / BITS_PER_GBIT,
    more: {
      cpuSecondsPerGb: spent.cpu / (octets / OCTETS_PER_GB),
      ...account(spent),
      senderResent: Number(sent?.["retransmits"] ?? 0),
      longestSilenceMs: Number(result["silenceMs"]),
      peakRssKb: session.memory("VmHWM").engineKb,
      peakRssAllKb: session.memory("VmHWM").allKb,
    },
    facts,
  };
}

/** Kernel counters as part of a measurement. */
export function account(spent: Mark): Record<string, number> {
  return { ...spent.counters, engineCpuSeconds: spent.cpu, bridgeCpuSeconds: spent.bridgeCpu };
}

/** One octet there and back. The value is the median in us; p99 beside it. */
export async function measureRoundTrip(context: RunContext): Promise<Measurement> {
  const { result, spent } = await request(context, "pingpong");
  return {
    value: Number(result["p50Us"]),
    more: { p99Us: Number(result["p99Us"]), maxUs: Number(result["maxUs"]), ...account(spent) },
  };
}

/** Connect, exchange one octet (or what `more` says), close; one after the other. The value is how many per second. */
export async function measureConnections(
  context: RunContext,
  more: readonly string[] = [],
): Promise<Measurement> {
  const { result, spent } = await request(context, "crr", more);
  const count = Number(result["count"]);
  const perSecond = count / (Number(result["nanoseconds"]) / 1e9);
  return { value: perSecond, more: { ...account(spent), cpuUsPerConnect: (spent.cpu * 1e6) / count } };
}

async function request(context: RunContext, kind: "pingpong" | "crr", more: readonly string[] = []) {
  const { session, options } = context;
  const client = session.inGuest([
    ...[session.laboratory.programs["tcp-request"], kind, "--connect", session.laboratory.at(ECHO_PORT)],
    ...["--ports", String(ECHO_PORTS), "--warmup", String(options.warmupMs)],
    ...["--window", String(options.windowMs), ...more],
  ]);
  const limit = options.warmupMs + options.windowMs + 10_000;
  await client.report("window", limit);
  const before = session.mark();
  const result = await client.report("result", limit);
  return { result, spent: session.since(before) };
}

/** Round-trip time with the connections of `session` as they are, for comparisons within one run. */
export async function roundTripUs(session: Session, windowMs: number): Promise<number> {
  const client = session.inGuest([
    ...[
      session.laboratory.programs["tcp-request"],
      "pingpong",
      "--connect",
      session.laboratory.at(ECHO_PORT),
    ],
    ...["--warmup", "300", "--window", String(windowMs)],
  ]);
  return Number((await client.report("result", windowMs + 15_000))["p50Us"]);
}
