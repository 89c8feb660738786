/** The flow table as people read it. */
import type { FlowRow } from "../api.ts";
import { formatEndpoint, formatWordsEndpoint } from "../wire/address-text.ts";
import type { Path } from "./path.ts";
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
      guest: formatEndpoint(c.guestAddress, c.guestPort),
      remote: formatEndpoint(c.remoteAddress, c.remotePort),
      target: target(c),
      octetsFromGuest: c.octetsFromGuest,
      octetsToGuest: c.octetsToGuest,
      idleMs: (nowMs - c.lastHeardMs) | 0,
    });
  }
  return rows;
}

/** `seenByGuest`: what a host-side address looks like to the guest. */
export function udpRows(
  mappings: readonly (UdpMapping | null)[],
  seenByGuest: (address: number) => number,
  nowMs: number,
): FlowRow[] {
  const rows: FlowRow[] = [];
  for (const m of mappings) {
    if (!m?.live) continue;
    const remote = m.inbound
      ? formatEndpoint(m.remoteAddress, m.remotePort)
      : formatEndpoint(seenByGuest(m.recentAddress), m.recentPort);
    rows.push({
      protocol: "udp",
      direction: m.inbound ? "in" : "out",
      state: "MAPPED",
      guest: formatEndpoint(m.guestAddress, m.guestPort),
      remote,
      target: m.inbound ? target(m) : formatEndpoint(m.recentAddress, m.recentPort),
      octetsFromGuest: m.octetsFromGuest,
      octetsToGuest: m.octetsToGuest,
      idleMs: (nowMs - m.refreshedMs) | 0,
    });
  }
  return rows;
}

function target({ target0, target1, target2, target3, targetPort }: Path): string {
  return formatWordsEndpoint(target0, target1, target2, target3, targetPort);
}
