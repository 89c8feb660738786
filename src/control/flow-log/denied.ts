/** What a flow log says was denied: flows by address, with the name that led there; questions for names that no rule has. */
import { isIpv4, parseIpv4 } from "../../config/address.ts";
import { readIpv6 } from "../../config/address6.ts";
import type { Wanted } from "../../config/policy/suggest.ts";
import { isPrivate4, isPrivate6 } from "../../engine/network/addresses.ts";
import { flowLogEntrySchema } from "./schema.ts";

const ADDRESS_TYPES: readonly string[] = ["A", "AAAA"];
const DENIED_RCODES: readonly string[] = ["NXDOMAIN", "REFUSED"];

/** Each target once. Lines that are none of a flow log are passed over. */
export function deniedInFlowLog(text: string): Wanted[] {
  const found = new Map<string, Wanted>();
  const add = (wanted: Wanted): void => {
    const key = `${wanted.protocol} ${wanted.host} ${wanted.port}`;
    const before = found.get(key)?.count ?? 0;
    found.set(key, { ...wanted, count: before + wanted.count });
  };
  for (const line of text.split("\n")) {
    const wanted = deniedBy(line);
    if (wanted !== undefined) add(wanted);
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

function deniedBy(line: string): Wanted | undefined {
  const { success, data } = flowLogEntrySchema.safeParse(parsed(line));
  if (!success) return undefined;
  const { event, network, destination, dns, sluice } = data;
  if (event.action === "flow-denied" && network !== undefined && destination !== undefined) {
    const { transport: protocol } = network;
    const { ip, port, domain } = destination;
    const { reason = "" } = event;
    const isPrivateName = domain !== undefined && isPrivateAddress(ip);
    return {
      host: domain ?? ip,
      port,
      protocol,
      reason,
      rule: null,
      count: sluice?.times ?? 1,
      isPrivate: isPrivateName,
    };
  }
  const isDenied =
    sluice?.answered_by === "sluice" &&
    dns !== undefined &&
    ADDRESS_TYPES.includes(dns.question.type) &&
    DENIED_RCODES.includes(dns.response_code ?? "");
  if (!isDenied) return undefined;
  const { name: host } = dns.question;
  return { host, port: 0, protocol: "dns", reason: "policy-no-rule", rule: null, count: 1, isPrivate: false };
}

function isPrivateAddress(text: string): boolean {
  if (isIpv4(text)) return isPrivate4(parseIpv4(text));
  const words = readIpv6(text);
  return words !== null && isPrivate6(Int32Array.from(words), 0);
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
