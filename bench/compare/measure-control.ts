/** What it costs the guest that somebody watches: the same work with and without a load on the control API. */
import { fileURLToPath } from "node:url";
import { controlSocketOf } from "./engines.ts";
import { allChecked, hold } from "./measure-scale.ts";
import { measureRoundTrip, measureStreams } from "./measure-tcp.ts";
import type { Measurement, RunContext } from "./measurement.ts";
import type { Program } from "./program.ts";

/** Beside this file, compiled. */
const LOAD = fileURLToPath(new URL("control-load.js", import.meta.url));
const READY_LIMIT_MS = 30_000;

/** With `count` open flows, and on an engine that has a control socket with watchers. */
async function watched(
  context: RunContext,
  count: number,
  measure: (context: RunContext) => Promise<Measurement>,
): Promise<Measurement> {
  const { session } = context;
  const flows = hold(session, count, ["--batch", "64", "--keep"]);
  await allChecked(flows, count);
  const load = session.engine.isWatched === true ? await startLoad(context) : undefined;
  const measurement = await measure(context);
  if (load === undefined) return measurement;
  load.signal("SIGTERM");
  const { scrapes, listings, flows: listed, late } = await load.report("result", READY_LIMIT_MS);
  return {
    ...measurement,
    more: {
      ...measurement.more,
      scrapes: Number(scrapes),
      listings: Number(listings),
      flowsListed: Number(listed),
      late: Number(late),
    },
  };
}

async function startLoad({ session }: RunContext): Promise<Program> {
  const { laboratory } = session;
  const load = laboratory.inHost([process.execPath, LOAD, controlSocketOf(laboratory)]);
  await load.report("ready", READY_LIMIT_MS);
  return load;
}

export function measureWatchedRoundTrip(context: RunContext, count: number): Promise<Measurement> {
  return watched(context, count, measureRoundTrip);
}

export function measureWatchedStream(context: RunContext, count: number): Promise<Measurement> {
  return watched(context, count, (each) => measureStreams(each, "down", 1));
}
