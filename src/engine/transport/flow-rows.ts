/** The flow table as people read it. */
import type { FlowRow } from "../api.ts";
import type { Destinations } from "../network/destinations.ts";
import type { Destinations6 } from "../network/destinations6.ts";
import { formatEndpoint, formatWordsEndpoint } from "../wire/address-text.ts";
import { IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import type { Ends, Path } from "./path.ts";
import { CLOSED, STATE_NAMES } from "./tcp/connection.ts";
import type { TcpContext } from "./tcp/context.ts";
import type { UdpMapping } from "./udp/mapping.ts";

export function tcpRows(ctx: TcpContext, nowMs: number): FlowRow[] {
  const rows: FlowRow[] = [];
  for (const c of ctx.connections) {
    if (c === null || c.state === CLOSED) continue;
    rows.push({
      protocol: "tcp",
      direction: c.outbound ? "out" : "in",
      state: STATE_NAMES[c.state],
      guest: guestEnd(c),
      remote: remoteEnd(c),
      target: target(c),
      octetsFromGuest: c.octetsFromGuest,
      octetsToGuest: c.octetsToGuest,
      idleMs: (nowMs - c.lastHeardMs) | 0,
    });
  }
  return rows;
}

interface Sides {
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
}

/** `sides` knows what addresses of the host side look like to the guest. */
export function udpRows(mappings: readonly (UdpMapping | null)[], sides: Sides, nowMs: number): FlowRow[] {
  const rows: FlowRow[] = [];
  for (const m of mappings) {
    if (!m?.live) continue;
    const [remote, to] = m.inbound ? [remoteEnd(m), target(m)] : recent(m, sides);
    rows.push({
      protocol: "udp",
      direction: m.inbound ? "in" : "out",
      state: "MAPPED",
      guest: guestEnd(m),
      remote,
      target: to,
      octetsFromGuest: m.octetsFromGuest,
      octetsToGuest: m.octetsToGuest,
      idleMs: (nowMs - m.refreshedMs) | 0,
    });
  }
  return rows;
}

/** The last remote the guest sent to, as it sees it and as it is. */
function recent(m: UdpMapping, { destinations, destinations6 }: Sides): [string, string] {
  if (m.ipOctets === IPV4_HEADER_OCTETS) {
    const { askedAddress, recentAddress, recentPort } = m;
    const seen = formatEndpoint(askedAddress, recentPort);
    if (m.hostFamily === 4) return [seen, formatEndpoint(recentAddress, recentPort)];
    const words = destinations.translated(recentAddress);
    return [seen, endpoint6(words, 0, recentPort)];
  }
  const address = new Int32Array(4);
  m.copyRecent6(address);
  const seen = address.slice();
  destinations6?.seenByGuest(address, 0, seen, 0);
  return [endpoint6(seen, 0, m.recentPort), endpoint6(address, 0, m.recentPort)];
}

function guestEnd({ ipOctets, guestAddress, guestPort, pair, pairAt }: Ends): string {
  return ipOctets === IPV4_HEADER_OCTETS
    ? formatEndpoint(guestAddress, guestPort)
    : endpoint6(pair, pairAt, guestPort);
}

function remoteEnd({ ipOctets, remoteAddress, remotePort, pair, pairAt }: Ends): string {
  return ipOctets === IPV4_HEADER_OCTETS
    ? formatEndpoint(remoteAddress, remotePort)
    : endpoint6(pair, pairAt + 4, remotePort);
}

function endpoint6(words: Int32Array, index: number, port: number): string {
  return formatWordsEndpoint(words[index], words[index + 1], words[index + 2], words[index + 3], port);
}

function target({ target0, target1, target2, target3, targetPort }: Path): string {
  return formatWordsEndpoint(target0, target1, target2, target3, targetPort);
}
