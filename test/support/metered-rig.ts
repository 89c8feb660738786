/** A metered network between the test and a host that notes what it is asked to do, with a clock that the test moves. */
import { TOKEN_TCP_FLOW } from "../../src/engine/api.ts";
import { ADDRESS_WORDS, type HostNetwork } from "../../src/engine/boundary.ts";
import type { PolicyLimit } from "../../src/engine/config.ts";
import { Counters } from "../../src/engine/metrics/counters.ts";
import { GO } from "../../src/engine/network/destinations.ts";
import type { RuleLimit } from "../../src/engine/policy/limits.ts";
import { Policy } from "../../src/engine/policy/policy.ts";
import { MeteredNetwork } from "../../src/engine/service/metered-network.ts";
import { ESTABLISHED, type TcpConnection } from "../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../src/engine/transport/tcp/context.ts";
import { ip } from "./frames.ts";
import { policyOf } from "./policy-rig.ts";

export const FLOW = 3;
export const OTHER_FLOW = 4;
export const TOKEN = TOKEN_TCP_FLOW | FLOW;
export const REMOTE = [0, 0, 0xffff, ip("203.0.113.7")] as const;
export const PORT = 9;
/** What may be saved up of a slow rate. */
export const BURST = 65_536;
const MAX_FLOWS = 16;

/** A host that notes what it is asked to do, and says what the test has it say. */
class NotedHost {
  readonly calls: string[] = [];
  result = 0;
  /** Entries of the last list, as offsets and lengths. */
  entries: number[] = [];

  private note(name: string, ...values: readonly unknown[]): number {
    this.calls.push(
      `${name} ${values.map((value) => (ArrayBuffer.isView(value) ? "list" : value)).join(" ")}`,
    );
    return this.result;
  }

  readonly network: HostNetwork = {
    tcpConnect: (token, to) => this.note("tcpConnect", token, to),
    tcpConnectService: (token, index) => this.note("tcpConnectService", token, index),
    tcpConnectOperator: (token, { kind }) => this.note("tcpConnectOperator", token, kind),
    connectResult: (handle) => this.note("connectResult", handle),
    tcpListen: (handle, on) => this.note("tcpListen", handle, on),
    tcpAccept: (listener, token, from) => this.note("tcpAccept", listener, token, from),
    tcpReceive: (handle, scatter, count) => {
      this.entries = [...scatter.subarray(0, 2 * count)];
      return this.note("tcpReceive", handle, scatter, count);
    },
    tcpSend: (handle, gather, count) => {
      this.entries = [...gather.subarray(0, 2 * count)];
      return this.note("tcpSend", handle, gather, count);
    },
    tcpStartPeeking: (handle) => this.note("tcpStartPeeking", handle) === 1,
    tcpStopPeeking: (handle) => void this.note("tcpStopPeeking", handle),
    tcpDiscard: (handle, octets) => this.note("tcpDiscard", handle, octets),
    tcpShutdown: (handle) => void this.note("tcpShutdown", handle),
    tcpStatus: (handle, status) => this.note("tcpStatus", handle, status),
    tcpProbe: (handle) => this.note("tcpProbe", handle),
    tcpClose: (handle, reset) => void this.note("tcpClose", handle, reset),
    udpOpen: (token, family, port) => this.note("udpOpen", token, family, port),
    udpSend: (handle, to, at, length) => void this.note("udpSend", handle, to, at, length),
    udpSendFrom: (handle, from, to, at, length) =>
      void this.note("udpSendFrom", handle, from, to, at, length),
    udpFlush: () => this.note("udpFlush"),
    udpReceive: (handle, batch) => this.note("udpReceive", handle, batch.at),
    udpReceiveLocal: (handle, batch) => this.note("udpReceiveLocal", handle, batch.at),
    udpConnect: (handle, to) => this.note("udpConnect", handle, to),
    udpToGroups: (handle, ttl) => void this.note("udpToGroups", handle, ttl),
    udpClose: (handle) => void this.note("udpClose", handle),
  };
}

export interface Flow {
  state: number;
  handle: number;
  hostReadable: boolean;
  hostWritable: boolean;
  peekEnds: boolean;
  readonly id: number;
}

export type Metered = ReturnType<typeof meter>;

/** Two rules: the first with the limits, the second with none. */
export function meter(limit: PolicyLimit | null = { rate: 1000 }) {
  const host = new NotedHost();
  const counters = new Counters();
  const clock = { ms: 0 };
  const read = policyOf({ rules: [{ allow: "203.0.113.0/24" }, { allow: "198.51.100.0/24" }] });
  const [first, second] = read.rules;
  const policy = new Policy({
    config: { ...read, rules: [limit === null ? first : { ...first, limit }, second] },
    uptimeMs: () => clock.ms,
    narrower: null,
    udpTimeoutMs: 60_000,
    hasDns: false,
    maxFlows: MAX_FLOWS,
  });
  const metered = new MeteredNetwork(host.network, policy, counters);
  const used = policy.limits.ofRule(0) as RuleLimit;
  const woken: number[] = [];
  const connections = new Array<Flow | null>(MAX_FLOWS).fill(null);
  metered.over({
    connections,
    makeReady: ({ id }: TcpConnection) => woken.push(id),
  } as unknown as TcpContext);
  /** A connection that counts for a rule. */
  const open = (flow = FLOW, handle = 10 + flow, rule = 0): number => {
    policy.limits.bind(flow, rule);
    host.result = handle;
    metered.tcpConnect(TOKEN_TCP_FLOW | flow, new Int32Array(ADDRESS_WORDS));
    connections[flow] = {
      id: flow,
      state: ESTABLISHED,
      handle,
      hostReadable: false,
      hostWritable: false,
      peekEnds: false,
    };
    host.result = 0;
    return handle;
  };
  /** Reads or sends a list with these lengths, of which the host takes `result`; what comes of it. */
  const move = (
    how: "tcpReceive" | "tcpSend",
    handle: number,
    lengths: readonly number[],
    result?: number,
  ) => {
    const list = Int32Array.from(lengths.flatMap((length, i) => [1000 * i, length]));
    host.entries = [];
    host.result = result ?? lengths.reduce((sum, length) => sum + length, 0);
    const got = metered[how](handle, list, lengths.length);
    return { got, list: Array.from(lengths, (_, i) => list[2 * i + 1]), entries: host.entries };
  };
  /** A remote of UDP that has been judged. */
  const judge = (words: readonly number[], port: number, rule: number, verdict = GO): void => {
    const place = policy.remotes.take(Int32Array.from(words), 0, port, clock.ms, 0);
    policy.remotes.verdict[place] = verdict;
    policy.remotes.rule[place] = rule;
  };
  return { host, counters, clock, policy, metered, used, woken, connections, open, move, judge };
}
