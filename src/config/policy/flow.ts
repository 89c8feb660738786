/** One flow, as people write it: `packages.example.com`, `203.0.113.9:443`, `time.example.net:123/udp`. */
import type { OfflineFlow } from "../../engine/policy/offline.ts";
import { Unacceptable } from "../unacceptable.ts";
import { parseTarget } from "./target.ts";

const ALLOWED =
  "one name or address and one port, such as packages.example.com, 203.0.113.9:443, ntp.example.net:123/udp or cdn.example.net:443/quic";

/** Reads a flow; a name without a port is 443/tcp. Throws Unacceptable. */
export function parseFlow(text: string): OfflineFlow {
  const { host, ports, udp, quic } = parseTarget(text, "allow");
  const [[first, last] = [0, 0], ...more] = ports;
  if (more.length > 0 || first !== last) throw new Unacceptable(ALLOWED);
  const protocol = quic === true ? "quic" : udp ? "udp" : "tcp";
  if (host.kind === "name") return { host: { name: host.name }, port: first, protocol };
  if (host.kind !== "network" || host.prefixLength !== 128) throw new Unacceptable(ALLOWED);
  return { host: { words: host.words }, port: first, protocol };
}
