/** What a policy costs: the same work without one, and under a thousand rules and thousands of pins. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { clientHello } from "../client-hello.ts";
import { SERVER_ADDRESS } from "./laboratory.ts";
import { measureConnections } from "./measure-tcp.ts";
import type { Measurement, RunContext } from "./measurement.ts";
import { PINNED_ZONE, SERVER_NAME } from "./policy-file.ts";
import { RunFailure } from "./program.ts";
import type { Session } from "./session.ts";

const NAMES = fileURLToPath(new URL("dns-names.js", import.meta.url));
const PINS = 8000;
const DNS_ADDRESS = "10.0.2.3";
const LIMIT_MS = 60_000;

/**
 * `measure`, where the engine keeps a policy with that many pins. Only with the `servers` among them are connections to these
 * judged by a name.
 */
export async function underPolicy(
  context: RunContext,
  measure: (context: RunContext) => Promise<Measurement>,
  servers: readonly string[] = [],
): Promise<Measurement> {
  const { session } = context;
  if (session.engine.hasPolicy !== true) return measure(context);
  const pinned = await pin(session, [`0-${PINS - 1}.${PINNED_ZONE}`, ...servers]);
  if (pinned !== PINS + servers.length) throw new RunFailure(`${pinned} names were answered`);
  const measurement = await measure(context);
  return { ...measurement, more: { ...measurement.more, pinned } };
}

/** Has the guest ask for names. Returns how many were answered. */
async function pin({ laboratory }: Session, names: readonly string[]): Promise<number> {
  const server = laboratory.inHost([process.execPath, NAMES, "serve", SERVER_ADDRESS, SERVER_NAME]);
  await server.report("ready", LIMIT_MS);
  const guest = laboratory.inGuest([process.execPath, NAMES, "ask", DNS_ADDRESS, names.join(",")]);
  return Number((await guest.report("result", LIMIT_MS))["answered"]);
}

/**
 * Connect, send a ClientHello, get it back, close; one after the other. Under a policy the servers' name is pinned, so each
 * connection is held until its ClientHello has shown that name.
 */
export async function measureNamed(context: RunContext): Promise<Measurement> {
  const path = join(context.session.laboratory.directory, "hello");
  writeFileSync(path, await clientHello(SERVER_NAME));
  return underPolicy(context, (each) => measureConnections(each, ["--send", path]), [SERVER_NAME]);
}
