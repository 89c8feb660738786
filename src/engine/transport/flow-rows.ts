/** The flow table as people read it. */
import type { FlowRow } from "../api.ts";
import { formatEndpoint, formatWordsEndpoint } from "../wire/address-text.ts";
import { IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import { type FlowLedger, NO_FORWARD } from "./flow-ledger.ts";
import { type Ends, PAIR_WORDS, Path } from "./path.ts";
import { CLOSED, STATE_NAMES } from "./tcp/connection.ts";
import type { TcpContext } from "./tcp/context.ts";
import type { UdpMapping } from "./udp/mapping.ts";
import { recentEnds, type Sides } from "./udp/recent-ends.ts";

// A row is one literal: one put together of parts by spreading takes several times the memory, which thousands of them show.

export function tcpRows(ctx: TcpContext, nowMs: number): FlowRow[] {
  const { ledger } = ctx;
  const uptimeMs = ledger.uptimeMs();
  const rows: FlowRow[] = [];
  for (const c of ctx.connections) {
    if (c === null || c.state === CLOSED) continue;
    rows.push({
      id: ledger.serial[c.id],
      protocol: "tcp",
      direction: c.outbound ? "out" : "in",
      state: STATE_NAMES[c.state],
      guest: guestEnd(c),
      remote: remoteEnd(c),
      target: target(c),
      forward: forwardOf(ledger, c.id),
      octetsFromGuest: c.octetsFromGuest,
      octetsToGuest: c.octetsToGuest,
      ageMs: uptimeMs - ledger.startedMs[c.id],
      idleMs: (nowMs - c.lastHeardMs) | 0,
    });
  }
  return rows;
}

interface UdpRowParts extends Sides {
  readonly ledger: FlowLedger;
}

export function udpRows(
  mappings: readonly (UdpMapping | null)[],
  parts: UdpRowParts,
  nowMs: number,
): FlowRow[] {
  const { ledger } = parts;
  const uptimeMs = ledger.uptimeMs();
  const rows: FlowRow[] = [];
  const path = new Path(new Int32Array(PAIR_WORDS));
  for (const m of mappings) {
    if (!m?.live) continue;
    recentEnds(m, parts, path);
    rows.push({
      id: ledger.serial[m.id],
      protocol: "udp",
      direction: m.inbound ? "in" : "out",
      state: "MAPPED",
      guest: guestEnd(path),
      remote: remoteEnd(path),
      target: target(path),
      forward: forwardOf(ledger, m.id),
      octetsFromGuest: m.octetsFromGuest,
      octetsToGuest: m.octetsToGuest,
      ageMs: uptimeMs - ledger.startedMs[m.id],
      idleMs: (nowMs - m.refreshedMs) | 0,
    });
  }
  return rows;
}

function forwardOf({ forward }: FlowLedger, id: number): number | null {
  return forward[id] === NO_FORWARD ? null : forward[id];
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
