/** The targets of all rules in columns, those of one host side by side and in the order of their rules. */
import type { PolicyConfig, PolicyHost, PolicyTarget } from "../config.ts";

/** Bits. */
export const OVER_TCP = 1;
export const OVER_UDP = 2;
/** UDP that shows a name: what goes as UDP goes as QUIC too. */
export const OVER_QUIC = 4;

/** A host that targets have in common, and which of the sorted targets they are. */
export interface HostRow {
  readonly host: PolicyHost;
  readonly first: number;
  readonly end: number;
}

interface Member {
  readonly rule: number;
  readonly target: PolicyTarget;
}

export class Targets {
  readonly hosts: readonly HostRow[];
  readonly count: number;
  readonly rule: Int32Array;
  readonly protocols: Uint8Array;
  /** First and last port of each range; those of a target from `portsAt` to `portsEnd`. Equal lists lie there once. */
  readonly ports: Int32Array;
  readonly portsAt: Int32Array;
  readonly portsEnd: Int32Array;

  constructor({ rules }: PolicyConfig) {
    const byHost = new Map<string, { host: PolicyHost; members: Member[] }>();
    rules.forEach((each, rule) => {
      for (const target of each.targets) {
        const key = hostKey(target.host);
        const row = byHost.get(key) ?? { host: target.host, members: [] };
        row.members.push({ rule, target });
        byHost.set(key, row);
      }
    });
    const sorted = [...byHost.values()].flatMap(({ members }) => members);
    let first = 0;
    this.hosts = [...byHost.values()].map(({ host, members }) => {
      const row = { host, first, end: first + members.length };
      first = row.end;
      return row;
    });
    this.count = sorted.length;
    this.rule = Int32Array.from(sorted, ({ rule }) => rule);
    this.protocols = Uint8Array.from(
      sorted,
      ({ target: { tcp, udp, quic } }) =>
        (tcp ? OVER_TCP : 0) | (udp ? OVER_QUIC : 0) | (udp && quic !== true ? OVER_UDP : 0),
    );
    const ports: number[] = [];
    const seen = new Map<string, number>();
    this.portsAt = Int32Array.from(sorted, ({ target }) => {
      const text = target.ports.join();
      const at = seen.get(text) ?? ports.length;
      if (!seen.has(text)) ports.push(...target.ports.flat());
      seen.set(text, at);
      return at;
    });
    this.portsEnd = Int32Array.from(sorted, ({ target }, i) => this.portsAt[i] + target.ports.length * 2);
    this.ports = Int32Array.from(ports);
  }

  /** The end of the range of target `entry` that has the port, or -1. */
  rangeEnd(entry: number, port: number, protocol: number): number {
    if ((this.protocols[entry] & protocol) === 0) return -1;
    for (let i = this.portsAt[entry]; i < this.portsEnd[entry]; i += 2) {
      if (port >= this.ports[i] && port <= this.ports[i + 1]) return this.ports[i + 1];
    }
    return -1;
  }
}

function hostKey(host: PolicyHost): string {
  if (host.kind === "network") return `${host.words.join()}/${host.prefixLength}`;
  return "name" in host ? `${host.kind} ${host.name}` : host.kind;
}
