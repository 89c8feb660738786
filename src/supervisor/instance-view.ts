/**
 * A running engine as its watcher sees it, whoever began it: what the control API, the flow log and the library's own methods
 * are built on (live-instance.ts, own-watch.ts).
 */
import { formatNetwork } from "../config/address.ts";
import { FlowPage } from "../control/flow-page.ts";
import type { FlowFilter, LiveForwards, Measures } from "../control/instance.ts";
import type { LentOctets } from "../control/json-octets.ts";
import { BoundedMemories } from "../control/memories.ts";
import type { FlowRecord } from "../control/record-decoder.ts";
import type { DnsQuestion, EngineRecord } from "../control/records.ts";
import type {
  CountersResource,
  Dns,
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
import type { EngineCalls, EngineCounters, EngineStatus } from "./calls.ts";
import { EngineCaptures } from "./live-captures.ts";
import { EnginePolicy } from "./live-policy.ts";
import { LiveRecords, type TakeRow } from "./live-records.ts";

export interface ViewParts {
  readonly calls: EngineCalls;
  readonly sendDescriptor: (fd: number) => void;
  /** The engine said what is no record. */
  readonly distrust: () => void;
  readonly enginePid: number;
  readonly config: EngineConfig;
  readonly command: State["command"];
  readonly name: string;
  readonly version: string;
  readonly linkName: string;
  /** Of the control socket, where there is one. */
  readonly controlPath: string | undefined;
  /** The engine sees no more of the file system than its policy named when it was started. */
  readonly isConfined: boolean;
  readonly log: { readonly level: LogLevelName };
  /** Whether the program that decides has this question; absent without one. */
  readonly isHeld?: ((question: number) => boolean) | undefined;
}

/** Places of the flow table asked for in one call, and flows reset in one. */
const PLACES_PER_CALL = 16_384;
const KILLS_PER_CALL = 1024;

export abstract class InstanceView {
  readonly memories = new BoundedMemories();
  readonly records: LiveRecords;
  readonly policy: EnginePolicy;
  readonly captures: EngineCaptures;
  abstract readonly forwards: Pick<LiveForwards, "list">;
  /** The guest's cable was pulled. */
  abstract readonly isPulled: boolean;
  private readonly startedAtMs = Date.now();

  constructor(protected readonly view: ViewParts) {
    const { calls, sendDescriptor, distrust, config, controlPath, isConfined, isHeld } = view;
    const note = (record: EngineRecord): void => this.memories.note(record);
    this.records = new LiveRecords({ calls, sendDescriptor, distrust, note });
    const tell = (record: EngineRecord): void => this.tell(record);
    this.policy = new EnginePolicy({ calls, controlPath, isConfined, policy: config.policy, tell, isHeld });
    const flowOf = (id: number) => this.records.rowOf(id);
    this.captures = new EngineCaptures({ calls, sendDescriptor, memories: this.memories, flowOf });
  }

  /** The process that connects for the guest. */
  get enginePid(): number {
    return this.view.enginePid;
  }

  /** What the engine does not record itself: the link, mostly. */
  tell(record: EngineRecord): void {
    this.records.tell(record);
  }

  refresh(): Promise<void> {
    return this.records.refresh();
  }

  async state(): Promise<State> {
    return this.stateOf(await this.view.calls.call<"status">({ name: "status" }));
  }

  private stateOf({ uptimeMs, linked, usage }: EngineStatus): State {
    const { config, command, name, version, linkName, log, enginePid } = this.view;
    const chunks = chunksOf(config.payloadOctets);
    return {
      version,
      name,
      command,
      pid: process.pid,
      enginePid,
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
    const next = await this.walk(filter, after, limit, (row) => flows.push(this.flowOf(row)));
    return { flows, next };
  }

  async flowPage(filter: FlowFilter, after: number, limit: number): Promise<LentOctets> {
    const page = new FlowPage(this.memories, limit);
    return page.end(await this.walk(filter, after, limit, (row) => page.add(row)));
  }

  /** Hands on up to `limit` rows that hold. Returns the place of the next page, or null. */
  private async walk(
    filter: FlowFilter,
    after: number,
    limit: number,
    take: TakeRow,
  ): Promise<number | null> {
    let found = 0;
    /** More was looked at than fits the page: the rest, from here on, is looked at again. */
    let rest = 0;
    const look = (row: FlowRecord): void => {
      if (rest > 0 || !this.holds(row, filter)) return;
      if (found === limit) rest = row.place;
      else take(row);
      found++;
    };
    let from = after;
    do {
      const most = isEverything(filter) ? limit - found : PLACES_PER_CALL;
      from = await this.records.rows(from, PLACES_PER_CALL, most, look);
      if (rest > 0) return rest;
    } while (from > 0 && found < limit);
    return from === 0 ? null : from;
  }

  private holds(row: FlowRecord, { protocol, state, hosts }: FlowFilter): boolean {
    return (
      (protocol === undefined || row.protocol === protocol) &&
      (state === undefined || row.state.toLowerCase() === state.toLowerCase()) &&
      (hosts === undefined || hosts.some((host) => concerns(host, row, this.memories)))
    );
  }

  private flowOf(row: FlowRecord): Flow {
    const { flow: id, place: _, ...flow } = structuredClone(row);
    const names = this.memories.namesOf(flow.target.address).map(({ name }) => name);
    return { id, ...flow, names };
  }

  async killFlow(id: number): Promise<boolean> {
    return (await this.kill([id])) > 0;
  }

  async killFlows(filter: FlowFilter): Promise<number> {
    let killed = 0;
    let from = 0;
    do {
      const ids: number[] = [];
      const next = await this.records.rows(from, PLACES_PER_CALL, PLACES_PER_CALL, (row) => {
        if (this.holds(row, filter)) ids.push(row.flow);
      });
      for (let at = 0; at < ids.length; at += KILLS_PER_CALL) {
        killed += await this.kill(ids.slice(at, at + KILLS_PER_CALL));
      }
      from = next;
    } while (from > 0);
    return killed;
  }

  private async kill(flows: readonly number[]): Promise<number> {
    const { killed } = await this.view.calls.call<"kill">({ name: "kill", flows });
    return killed;
  }

  async leases(): Promise<LeaseResource[]> {
    const { leases } = await this.view.calls.call<"leases">({ name: "leases" });
    return leases.map((lease) => ({ ...lease }));
  }

  async dns(address?: string): Promise<Dns> {
    await this.refresh();
    const { pins } = await this.view.calls.call<"pins">({ name: "pins" });
    const questions = this.memories.questions();
    if (address === undefined) return { questions: questions.map(questionOf), pins: [...pins] };
    return {
      questions: questions.filter(({ addresses }) => addresses.includes(address)).map(questionOf),
      pins: pins.filter((pin) => pin.address === address),
    };
  }

  async counters(): Promise<CountersResource> {
    return countersOf(await this.view.calls.call<"counters">({ name: "counters" }));
  }

  async measures(): Promise<Measures> {
    const answer = await this.view.calls.call<"metrics">({ name: "metrics" });
    return { state: this.stateOf(answer), counters: countersOf(answer), tcp: answer };
  }

  async why(target: string): Promise<Why> {
    await this.refresh();
    return answerWhy({ instance: this, config: this.view.config, nowMs: Date.now }, target);
  }

  close(): void {
    this.records.close();
    this.policy.close();
  }
}

/** Those that are not 0, by name. */
function countersOf({ counters, drops }: EngineCounters): CountersResource {
  const { handled: _, ...reasons } = named(DROP_REASONS, drops);
  return { counters: named(COUNTER_NAMES, counters), drops: reasons };
}

function named(names: readonly string[], counts: readonly number[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [i, name] of names.entries()) {
    const count = counts[i] ?? 0;
    if (count !== 0) found[name] = count;
  }
  return found;
}

function questionOf({ type: _, atMs, addresses, ...question }: DnsQuestion): Dns["questions"][number] {
  return { at: new Date(atMs).toISOString(), ...question, addresses: [...addresses] };
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
