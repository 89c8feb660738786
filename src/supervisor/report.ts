/** Counters and the flow table as text: for SIGUSR2, the line at the end, and the demo. */

import { formatRuleTarget } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import type { FlowRow } from "../engine/api.ts";
import type { PolicyConfig } from "../engine/config.ts";
import type { CounterName } from "../engine/metrics/counters.ts";
import type { EngineDenial } from "./calls.ts";
import { formatOctets } from "./octets.ts";

/** What `Counters.snapshot()` gives: names and counts, without those that are zero. */
export interface Snapshot {
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
}

function formatIdle(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}

const HEADINGS = ["PROTO", "DIR", "STATE", "GUEST", "REMOTE", "HOST SIDE", "FROM GUEST", "TO GUEST", "IDLE"];

/** The flow table with aligned columns, or one line that says it is empty. */
export function formatFlows(rows: readonly FlowRow[]): string {
  if (rows.length === 0) return "no flows\n";
  const cells = rows.map((row) => [
    row.protocol,
    row.direction,
    row.state,
    row.guest,
    row.remote,
    row.target,
    formatOctets(row.octetsFromGuest),
    formatOctets(row.octetsToGuest),
    formatIdle(row.idleMs),
  ]);
  const widths = HEADINGS.map((heading, i) =>
    Math.max(heading.length, ...cells.map((row) => row[i]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`.trimEnd();
  return `${[line(HEADINGS), ...cells.map(line)].join("\n")}\n`;
}

/** Every counter that is not zero, then every drop reason that is not zero. */
export function formatCounters(snapshot: Snapshot): string {
  const section = (title: string, values: Readonly<Record<string, number>>): string[] => {
    const names = Object.keys(values);
    const width = Math.max(0, ...names.map((name) => name.length));
    if (names.length === 0) return [`${title}: none`];
    return [`${title}:`, ...names.map((name) => `  ${name.padEnd(width)}  ${values[name]}`)];
  };
  return `${[...section("counters", snapshot.counters), ...section("drops", snapshot.drops)].join("\n")}\n`;
}

/** JavaScript's own memory, octets. */
export interface HeapState {
  readonly used: number;
  readonly total: number;
  readonly external: number;
}

/** The heap, named as the counters are. Octets of packets are not part of it: they lie in the arena. */
export function formatHeap({ used, total, external }: HeapState): string {
  return `heap:\n  used      ${used}\n  total     ${total}\n  external  ${external}\n`;
}

/** What SIGUSR2 prints, besides the heap. */
export function formatState(snapshot: Snapshot, rows: readonly FlowRow[]): string {
  return `${formatCounters(snapshot)}flows (${rows.length}):\n${formatFlows(rows)}`;
}

const DENIALS_SHOWN = 10;

/** What a policy denied, most tries first, a line each; nothing where it was nothing. */
export function formatDenials({ audit }: Pick<PolicyConfig, "audit">, rows: readonly EngineDenial[]): string {
  const lines = rows.slice(0, DENIALS_SHOWN).map(({ host, port, protocol, reason, rule, count }) => {
    const target = protocol === "dns" ? host : formatRuleTarget({ host, port, protocol });
    const decided = rule === null ? "" : `, rule ${printable(rule)}`;
    const times = count === 1 ? "once" : `${count} times`;
    return `sluice: ${audit ? "would be denied" : "denied"}: ${target} (${reason}${decided}) ${times}\n`;
  });
  if (rows.length > DENIALS_SHOWN) lines.push(`sluice: and ${rows.length - DENIALS_SHOWN} targets more\n`);
  return lines.join("");
}

/** One line of what mattered, for the end. */
export function formatSummary({ counters, drops }: Snapshot): string {
  const count = (name: CounterName): number => counters[name] ?? 0;
  const dropped = Object.entries(drops).sort((a, b) => b[1] - a[1]);
  const total = dropped.reduce((sum, [, times]) => sum + times, 0);
  const worst = dropped.slice(0, 4).map(([name, times]) => `${name} ${times}`);
  const parts = [
    `${formatOctets(count("link-octets-from-guest"))} from the guest`,
    `${formatOctets(count("link-octets-to-guest"))} to it`,
    `${count("tcp-opened") + count("tcp-accepted")} TCP connections`,
    `${count("udp-mappings-opened")} UDP mappings`,
    `${count("dns-queries")} DNS queries`,
    total === 0
      ? "nothing dropped"
      : `${total} dropped (${worst.join(", ")}${dropped.length > 4 ? ", ..." : ""})`,
  ];
  return parts.join(", ");
}
