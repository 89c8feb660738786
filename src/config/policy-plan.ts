/** The policy that options ask for. What reads it is loaded only where they do. */
import { readFileSync } from "node:fs";
import type { PolicyConfig, PolicyWay } from "../engine/config.ts";
import { formatNetwork, netmask } from "./address.ts";
import type { OptionSet } from "./option-set.ts";
import { Unacceptable } from "./unacceptable.ts";

const ASKING = ["allow", "deny", "ask", "policy", "policy-default", "audit", "via"] as const;

/** Null where nothing is asked for. Complaints go to `options.problems`. */
export async function planPolicy(options: OptionSet): Promise<PolicyConfig | null> {
  if (!ASKING.some((name) => options.has(name))) {
    if (options.has("decide"))
      options.reject("decide", "only with a policy whose rules ask, such as --ask '*'");
    return null;
  }
  const { readPolicy } = await import("./policy/read.ts");
  const via = await planVia(options);
  const rules = (["allow", "deny", "ask"] as const).flatMap((verdict) =>
    options
      .all(verdict)
      .map(({ text, order }, i) => ({ verdict, text, order, place: options.place(verdict, i) })),
  );
  const path = options.get("policy");
  const text = path === undefined ? undefined : readFile(path, options);
  const read = readPolicy(
    {
      flags: rules.sort((a, b) => a.order - b.order),
      source: path === undefined || text === undefined ? undefined : { label: path, text },
      fallback: options.get("policy-default"),
      audit: options.has("audit"),
      via,
    },
    options.problems,
  );
  const config = read?.config ?? null;
  if (config !== null) checkStandIns(config, options);
  return config;
}

/** Addresses of the guest's own network cannot stand for names. */
export function checkStandIns({ way, rules, standIns }: PolicyConfig, options: OptionSet): void {
  if (way === undefined && rules.every((rule) => rule.way === undefined)) return;
  const net = options.value("net");
  const prefixLength = Math.min(net.prefixLength, standIns.prefixLength);
  if (((net.network ^ standIns.address) & netmask(prefixLength)) !== 0) return;
  const network = formatNetwork({ network: standIns.address, prefixLength: standIns.prefixLength });
  options.problems.push({
    place: options.place("policy"),
    found: `stand-ins: ${network}`,
    allowed: `a network apart from the guest's (${formatNetwork(net)})`,
  });
}

async function planVia(options: OptionSet): Promise<PolicyWay | undefined> {
  const text = options.get("via");
  if (text === undefined) return undefined;
  const { parseVia } = await import("./policy/way.ts");
  try {
    return parseVia(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    options.reject("via", error.allowed);
    return undefined;
  }
}

function readFile(path: string, options: OptionSet): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    options.reject("policy", `a file that can be read (${(error as Error).message})`);
    return undefined;
  }
}
