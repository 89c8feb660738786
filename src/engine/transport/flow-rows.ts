/** The flow table as people read it. */
import { formatIpv4 } from "../../config/address.ts";
import type { FlowRow } from "../api.ts";
import { CLOSED, STATE_NAMES } from "./tcp/connection.ts";
import type { TcpContext } from "./tcp/context.ts";
import type { UdpMapping } from "./udp/mapping.ts";

const V4_MAPPED = 0xffff;

export function tcpRows(ctx: TcpContext, nowMs: number): FlowRow[] {
  const rows: FlowRow[] = [];
  for (const c of ctx.connections) {
    if (c === null || c.state === CLOSED) continue;
    rows.push({
      protocol: "tcp",
      direction: c.outbound ? "out" : "in",
      state: STATE_NAMES[c.state],
      guest: endpoint(c.guestAddress, c.guestPort),
      remote: endpoint(c.remoteAddress, c.remotePort),
      target: wordsEndpoint(c.target0, c.target1, c.target2, c.target3, c.targetPort),
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
      ? endpoint(m.remoteAddress, m.remotePort)
      : endpoint(seenByGuest(m.recentAddress), m.recentPort);
    rows.push({
      protocol: "udp",
      direction: m.inbound ? "in" : "out",
      state: "MAPPED",
      guest: endpoint(m.guestAddress, m.guestPort),
      remote,
      target: m.inbound
        ? wordsEndpoint(m.client0, m.client1, m.client2, m.client3, m.clientPort)
        : endpoint(m.recentAddress, m.recentPort),
      octetsFromGuest: m.octetsFromGuest,
      octetsToGuest: m.octetsToGuest,
      idleMs: (nowMs - m.refreshedMs) | 0,
    });
  }
  return rows;
}

function endpoint(address: number, port: number): string {
  return `${formatIpv4(address)}:${port}`;
}

function wordsEndpoint(a: number, b: number, c: number, d: number, port: number): string {
  if (a === 0 && b === 0 && c === V4_MAPPED) return endpoint(d, port);
  const groups: string[] = [];
  for (const word of [a, b, c, d]) groups.push((word >>> 16).toString(16), (word & 0xffff).toString(16));
  return `[${groups.join(":")}]:${port}`;
}
