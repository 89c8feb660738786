/** A running instance, as the control API and what else is built on it see it. */

import type { Readable } from "node:stream";
import { formatNetwork } from "../config/address.ts";
import type { FlowFilter, Instance } from "../control/instance.ts";
import { BoundedMemories } from "../control/memories.ts";
import type { FlowRecord } from "../control/record-decoder.ts";
import type { EngineRecord } from "../control/records.ts";
import type {
  ControlPortRequest,
  CountersResource,
  Flow,
  LeaseResource,
  LogLevelName,
  State,
  Why,
} from "../control/schema.ts";
import { concerns } from "../control/target.ts";
import { answerWhy } from "../control/why/why.ts";
import type { EngineConfig } from "../engine/config.ts";
import {
  DNS_QUERIES_MAX,
  DNS_TCP_QUERIES_MAX,
  REASSEMBLY_QUEUES_MAX,
  TX_QUEUE_MAX,
} from "../engine/limits.ts";
import { chunksOf } from "../engine/memory/chunk-pool.ts";
import { COUNTER_NAMES } from "../engine/metrics/counters.ts";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { KeptPorts } from "./control-ports.ts";
import type { EngineClient } from "./engine-client.ts";
import { EngineCaptures } from "./live-captures.ts";
import { EngineForwards } from "./live-forwards.ts";
import { EnginePolicy } from "./live-policy.ts";
import { LiveRecords } from "./live-records.ts";
import type { LineLog } from "./log.ts";

export interface InstanceParts {
  readonly client: EngineClient;
  readonly config: EngineConfig;
  readonly command: State["command"];
  readonly name: string;
  readonly version: string;
  readonly linkName: string;
  /** Host ports of the configuration's forwards, as bound. */
  readonly forwardPorts: readonly number[];
  /** Of the control socket, where there is one. */
  readonly controlPath: string | undefined;
  /** Ports that may be forwarded. */
  readonly maxForwards: number;
  readonly log: LineLog;
  /** Begins the end. */
  readonly stop: () => void;
}

/** Places of the flow table asked for in one call, and flows reset in one. */
const PLACES_PER_CALL = 16_384;
const KILLS_PER_CALL = 1024;

export class LiveInstance implements Instance {
  readonly memories = new BoundedMemories();
  readonly records: LiveRecords;
  readonly forwards: EngineForwards;
  readonly policy: EnginePolicy;
  readonly captures: EngineCaptures;
  private readonly keptPorts: KeptPorts;
  private readonly startedAtMs = Date.now();
  private isPulled = false;

  /** The process that connects for the guest. */
  get enginePid(): number {
    return this.parts.client.pid;
  }

  constructor(private readonly parts: InstanceParts) {
    const { client, config, forwardPorts, maxForwards } = parts;
    const { calls } = client;
    const sendDescriptor = (fd: number): void => client.sendDescriptor(fd);
    this.records = new LiveRecords({
      calls,
      sendDescriptor,
      distrust: () => client.distrust(),
      note: (record) => this.memories.note(record),
    });
    this.forwards = new EngineForwards({
      calls,
      sendDescriptor,
      config,
      forwardPorts,
      most: maxForwards,
      tell: (record) => this.records.tell(record),
    });
    const { policy } = config;
    const tell = (record: EngineRecord): void => this.records.tell(record);
    this.policy = new EnginePolicy({ calls, controlPath: parts.controlPath, policy, tell });
    this.keptPorts = new KeptPorts(calls);
    this.captures = new EngineCaptures({
      calls,
      sendDescriptor,
      memories: this.memories,
      flowOf: (id) => this.records.rowOf(id),
    });
  }

  /** The supervisor's own records: the link, mostly. */
  tell(record: EngineRecord): void {
    this.records.tell(record);
  }

  keepPort(request: ControlPortRequest): Promise<Readable> {
    return this.keptPorts.keep(request);
  }

  refresh(): Promise<void> {
    return this.records.refresh();
  }

  async state(): Promise<State> {
    const { client, config, command, name, version, linkName, log } = this.parts;
    const chunks = chunksOf(config.payloadOctets);
    const { uptimeMs, linked, usage } = await client.calls.call<"status">({ name: "status" });
    return {
      version,
      name,
      command,
      pid: process.pid,
      enginePid: client.pid,
      startedAt: new Date(this.startedAtMs).toISOString(),
      uptimeMs: Math.round(uptimeMs),
      link: { name: linkName, up: linked && !this.isPulled, pulled: this.isPulled },
      network: networkOf(config),
      logLevel: log.level,
      forwards: this.forwards.list().length,
      pools: {
        tcpFlows: { used: usage.tcp, size: config.maxFlows },
        udpMappings: { used: usage.udp, size: config.maxUdpMappings },
        dnsQuestions: { used: usage.dns, size: DNS_QUERIES_MAX + DNS_TCP_QUERIES_MAX },
        smallChunks: { used: usage.smallChunks, size: chunks.small },
        largeChunks: { used: usage.largeChunks, size: chunks.large },
        transmitQueue: { used: usage.queuedFrames, size: TX_QUEUE_MAX },
        reassembly: { used: usage.reassembly, size: REASSEMBLY_QUEUES_MAX },
      },
      records: { lost: this.records.lost },
    };
  }

  async flows(
    filter: FlowFilter,
    after: number,
    limit: number,
  ): Promise<{ flows: Flow[]; next: number | null }> {
    const flows: Flow[] = [];
    let from = after;
    do {
      const most = isEverything(filter) ? limit - flows.length : PLACES_PER_CALL;
      const { rows, next } = await this.records.rows(from, PLACES_PER_CALL, most);
      for (const row of rows) {
        if (!this.holds(row, filter)) continue;
        // More was looked at than fits the page: the rest is looked at again.
        if (flows.length === limit) return { flows, next: row.place };
        flows.push(this.flowOf(row));
      }
      from = next;
    } while (from > 0 && flows.length < limit);
    return { flows, next: from === 0 ? null : from };
  }

  private holds(row: FlowRecord, { protocol, state, hosts }: FlowFilter): boolean {
    return (
      (protocol === undefined || row.protocol === protocol) &&
      (state === undefined || row.state.toLowerCase() === state.toLowerCase()) &&
      (hosts === undefined || hosts.some((host) => concerns(host, row, this.memories)))
    );
  }

  private flowOf({ flow: id, place: _, ...row }: FlowRecord): Flow {
    const names = this.memories.namesOf(row.target.address).map(({ name }) => name);
    return { id, ...row, names };
  }

  async killFlow(id: number): Promise<boolean> {
    return (await this.kill([id])) > 0;
  }

  async killFlows(filter: FlowFilter): Promise<number> {
    let killed = 0;
    let from = 0;
    do {
      const { rows, next } = await this.records.rows(from, PLACES_PER_CALL, PLACES_PER_CALL);
      const ids = rows.filter((row) => this.holds(row, filter)).map(({ flow }) => flow);
      for (let at = 0; at < ids.length; at += KILLS_PER_CALL) {
        killed += await this.kill(ids.slice(at, at + KILLS_PER_CALL));
      }
      from = next;
    } while (from > 0);
    return killed;
  }

  private async kill(flows: readonly number[]): Promise<number> {
    const { killed } = await this.parts.client.calls.call<"kill">({ name: "kill", flows });
    return killed;
  }

  async leases(): Promise<LeaseResource[]> {
    const { leases } = await this.parts.client.calls.call<"leases">({ name: "leases" });
    return leases.map((lease) => ({ ...lease }));
  }

  async counters(): Promise<CountersResource> {
    const { counters, drops } = await this.parts.client.calls.call<"counters">({ name: "counters" });
    const named = (names: readonly string[], counts: readonly number[]): Record<string, number> =>
      Object.fromEntries(names.map((name, i) => [name, counts[i] ?? 0] as const).filter(([, n]) => n !== 0));
    const { handled: _, ...reasons } = named(DROP_REASONS, drops);
    return { counters: named(COUNTER_NAMES, counters), drops: reasons };
  }

  async why(target: string): Promise<Why> {
    await this.refresh();
    return answerWhy({ instance: this, config: this.parts.config, nowMs: Date.now }, target);
  }

  async setLogLevel(level: LogLevelName): Promise<void> {
    await this.parts.client.calls.call<"log">({ name: "log", level });
    this.parts.log.level = level;
  }

  async setLink(up: boolean): Promise<void> {
    await this.parts.client.calls.call<"link">({ name: "link", up });
    if (this.isPulled === !up) return;
    this.isPulled = !up;
    this.tell({ type: "link", atMs: Date.now(), up, name: this.parts.linkName });
  }

  stop(): void {
    this.parts.stop();
  }

  close(): void {
    this.records.close();
    this.policy.close();
    this.keptPorts.close();
  }
}

function isEverything({ protocol, state, hosts }: FlowFilter): boolean {
  return protocol === undefined && state === undefined && hosts === undefined;
}

function networkOf({
  mtu,
  network,
  prefixLength,
  gateway,
  dns,
  guestAddress,
  ipv6,
}: EngineConfig): State["network"] {
  return {
    mtu,
    subnet: formatNetwork({ network, prefixLength }),
    gateway: formatIpv4(gateway),
    dns: dns === 0 ? null : formatIpv4(dns),
    guest: formatIpv4(guestAddress),
    ipv6: ipv6 && {
      prefix: `${formatIpv6(ipv6.prefix)}/64`,
      gateway: formatIpv6(ipv6.gateway),
      dns: ipv6.dns && formatIpv6(ipv6.dns),
    },
  };
}
