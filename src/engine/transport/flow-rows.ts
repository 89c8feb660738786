/** The flow table as people read it. */
import { formatIpv4 } from "../../config/address.ts";
import type { FlowRow } from "../api.ts";
import { V4_MAPPED } from "../boundary.ts";
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
      guest: endpoint(c.guestAddress, c.guestPort),
      remote: endpoint(c.remoteAddress, c.remotePort),
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
      ? endpoint(m.remoteAddress, m.remotePort)
      : endpoint(seenByGuest(m.recentAddress), m.recentPort);
    rows.push({
      protocol: "udp",
      direction: m.inbound ? "in" : "out",
      state: "MAPPED",
      guest: endpoint(m.guestAddress, m.guestPort),
      remote,
      target: m.inbound ? target(m) : endpoint(m.recentAddress, m.recentPort),
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

function target({ target0, target1, target2, target3, targetPort }: Path): string {
  if (target0 === 0 && target1 === 0 && target2 === V4_MAPPED) return endpoint(target3, targetPort);
  const groups: string[] = [];
  for (const word of [target0, target1, target2, target3]) {
    groups.push((word >>> 16).toString(16), (word & 0xffff).toString(16));
  }
  return `[${groups.join(":")}]:${targetPort}`;
}
