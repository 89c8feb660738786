/** UDP: the highest rate with at most one percent lost. */
import { DATAGRAM_PORT } from "./laboratory.ts";
import { account } from "./measure-tcp.ts";
import type { Measurement, RunContext } from "./measurement.ts";
import type { Mark, Session } from "./session.ts";

const LOSS_ALLOWED = 0.01;
const STEP = 1.6;
const BISECTIONS = 3;
const FIRST_RATE = 50_000;
const LOWEST_RATE = 1000;
/** A sender that reaches less than this share of the rate is itself the limit. */
const SENDER_SHARE = 0.9;

interface Probe {
  readonly receivedPerSecond: number;
  readonly loss: number;
  readonly senderLimited: boolean;
  readonly disordered: number;
  readonly spent: Mark;
}

async function probe(
  session: Session,
  direction: "up" | "down",
  size: number,
  rate: number,
  windowMs: number,
): Promise<Probe> {
  const udp = session.laboratory.programs["udp-rate"];
  const at = session.laboratory.at(DATAGRAM_PORT);
  const amount = ["--rate", String(Math.round(rate)), "--size", String(size), "--window", String(windowMs)];
  const floodArguments = (side: string) => [udp, "flood", side, at, ...amount];
  const before = session.mark();
  const server = session.laboratory.inHost(
    direction === "up" ? [udp, "sink", "--bind", at] : floodArguments("--bind"),
  );
  await server.report("ready", 5000);
  const client = session.inGuest(
    direction === "up" ? floodArguments("--connect") : [udp, "sink", "--connect", at],
  );
  const [flood, sink] = direction === "up" ? [client, server] : [server, client];
  const sent = await flood.report("result", windowMs + 10_000);
  const received = await sink.report("result", 10_000);
  const seconds = Number(sent["nanoseconds"]) / 1e9;
  const count = Number(received["received"]);
  const total = Number(sent["sent"]);
  return {
    receivedPerSecond: count / seconds,
    loss: total === 0 ? 1 : 1 - count / total,
    senderLimited: total / seconds < rate * SENDER_SHARE,
    disordered: Number(received["disordered"]),
    spent: session.since(before),
  };
}

/**
 * Searches the highest rate of datagrams of `size` octets of payload that arrives with at most 1 % lost: in steps
 * until it fails, then by halving. The value is datagrams received per second, or Mbit/s of payload.
 */
export async function measureDatagrams(
  context: RunContext,
  direction: "up" | "down",
  size: number,
  unit: "packets" | "mbit",
): Promise<Measurement> {
  const { session, options } = context;
  const windowMs = options.quick ? 250 : 500;
  const scale = unit === "packets" ? 1 : (size * 8) / 1e6;
  const run = (rate: number) => probe(session, direction, size, rate, windowMs);
  let rate = context.previous === undefined ? FIRST_RATE : (context.previous / scale) * 0.8;
  // The first run warms the engine and the mapping; its loss does not count.
  await run(Math.min(rate, FIRST_RATE));
  let best: Probe | undefined;
  let low = 0;
  let high = 0;
  while (rate >= LOWEST_RATE && (low === 0 || high === 0)) {
    const result = await run(rate);
    if (result.loss <= LOSS_ALLOWED) {
      if (!best || result.receivedPerSecond > best.receivedPerSecond) best = result;
      low = rate;
      if (result.senderLimited) break;
      rate *= STEP;
    } else {
      high = rate;
      rate /= STEP;
    }
  }
  for (let i = 0; i < BISECTIONS && low > 0 && high > low; i++) {
    const middle = Math.sqrt(low * high);
    const result = await run(middle);
    if (result.loss <= LOSS_ALLOWED) {
      if (!best || result.receivedPerSecond > best.receivedPerSecond) best = result;
      low = middle;
      if (result.senderLimited) break;
    } else high = middle;
  }
  if (!best) return { value: 0, more: { lossAtLowestRate: 1 } };
  return {
    value: best.receivedPerSecond * scale,
    more: {
      loss: best.loss,
      senderLimited: best.senderLimited ? 1 : 0,
      disordered: best.disordered,
      ...account(best.spent),
    },
  };
}
