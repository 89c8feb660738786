/** What is known about a target, gathered once: the rules (rules.ts) make sentences of it and ask for nothing. */
import { parseIpv4 } from "../../config/address.ts";
import { readIpv6 } from "../../config/address6.ts";
import { ADDRESS_WORDS } from "../../engine/boundary.ts";
import type { EngineConfig } from "../../engine/config.ts";
import { DROP_REASONS, type DropReasonName } from "../../engine/metrics/drop-reasons.ts";
import { Destinations, reasonOf } from "../../engine/network/destinations.ts";
import { Destinations6 } from "../../engine/network/destinations6.ts";
import { formatIpv4 } from "../../engine/wire/address-text.ts";
import type {
  AskedName,
  Denial,
  HostFailure,
  Instance,
  KnownName,
  LiveForwards,
  LivePolicy,
  Memories,
} from "../instance.ts";
import type { Endpoint } from "../records.ts";
import type { Flow, ForwardResource, Question } from "../schema.ts";
import type { WhyTarget } from "./target.ts";

/** A failure of the host's socket, and where it wanted to go. */
export type TargetFailure = HostFailure & Endpoint;

export interface WhyFacts {
  readonly target: WhyTarget;
  readonly nowMs: number;
  readonly config: EngineConfig;
  readonly linkUp: boolean;
  /** The target's addresses: itself, or those its name was answered with. */
  readonly addresses: readonly string[];
  /** Names that its address was answered for. */
  readonly names: readonly KnownName[];
  /** Of a name: how it was answered last. */
  readonly question?: AskedName;
  /** A policy's question about it that nobody has answered yet. */
  readonly unanswered?: Question;
  /** Denials that concern it, the newest first. */
  readonly denials: readonly Denial[];
  /** Failures of the host's socket, the newest first. */
  readonly failures: readonly TargetFailure[];
  /** Flows with it that there are, the busiest first. */
  readonly flows: readonly Flow[];
  /** Forwards whose port of the host it is. */
  readonly forwards: readonly ForwardResource[];
  /** Why a connection to it would be refused if it were opened now; null when it would not, or is not known. */
  readonly refusedNow: DropReasonName | null;
  /** Frames of the guest that were dropped, by reason. */
  readonly drops: Readonly<Record<string, number>>;
}

/** What the facts are gathered from. */
export interface WhyInstance extends Pick<Instance, "memories" | "state" | "counters" | "flows"> {
  readonly forwards: Pick<LiveForwards, "list">;
  readonly policy: Pick<LivePolicy, "questions">;
}

export interface WhySources {
  readonly instance: WhyInstance;
  readonly config: EngineConfig;
  readonly nowMs: () => number;
}

const FLOWS_SHOWN = 3;
const FLOWS_READ = 1000;

/** Gathers what is known about a target. */
export async function gatherFacts(sources: WhySources, asked: WhyTarget): Promise<WhyFacts> {
  const { instance, config } = sources;
  const { memories } = instance;
  const [state, { drops }] = await Promise.all([instance.state(), instance.counters()]);
  const flow = asked.kind === "flow" ? await flowOf(instance, asked.id) : undefined;
  const target: WhyTarget = flow ? { kind: "address", ...flow.remote } : resolveLast(sources, asked);
  const addresses =
    target.kind === "address"
      ? [target.address]
      : target.kind === "name"
        ? memories.addressesOf(target.name)
        : [];
  const port = target.kind === "address" || target.kind === "name" ? target.port : null;
  const concerns = (end: { readonly address: string; readonly port: number }): boolean =>
    addresses.includes(end.address) && (port === null || end.port === port);
  const question = target.kind === "name" ? memories.questionOf(target.name) : undefined;
  const [address = ""] = addresses;
  const names = address === "" ? [] : memories.namesOf(address);
  const hosts = [
    ...addresses,
    ...names.map(({ name }) => name),
    ...(target.kind === "name" ? [target.name] : []),
  ];
  const isAbout = ({ host, port: asks }: Question): boolean =>
    target.kind === "last" || (hosts.includes(host) && (port === null || asks === port));
  const questions = await instance.policy.questions();
  const unanswered = questions.find((each) => each.state === "open" && isAbout(each));
  return {
    target: asked.kind === "flow" ? asked : target,
    nowMs: sources.nowMs(),
    config,
    linkUp: state.link.up,
    addresses,
    names,
    ...(question === undefined ? {} : { question }),
    ...(unanswered === undefined ? {} : { unanswered }),
    denials: denialsOf(memories).filter(({ remote, guest }) => concerns(remote) || concerns(guest)),
    failures: memories.failures().filter((end) => concerns(seenByGuest(end, config))),
    flows: flow ? [flow] : await flowsWith(instance, addresses, port),
    forwards: instance.forwards.list().filter((forward) => port !== null && hasPort(forward, port)),
    refusedNow: address === "" ? null : refusalOf(config, address, port ?? 0),
    drops,
  };
}

/** The flow with this number, if there still is one: the table has no order by it. */
async function flowOf(instance: WhyInstance, id: number): Promise<Flow | undefined> {
  let after: number | null = 0;
  while (after !== null) {
    const page: Awaited<ReturnType<Instance["flows"]>> = await instance.flows({}, after, FLOWS_READ);
    const flow = page.flows.find((each) => each.id === id);
    if (flow !== undefined) return flow;
    after = page.next;
  }
  return undefined;
}

/** What is no denial but says no to a flow all the same: no room, no socket, nobody to hear it. */
const REFUSALS: readonly DropReasonName[] = [
  "flow-table-full",
  "udp-mappings-full",
  "host-socket-failed",
  "inbound-filtered",
  "inbound-no-guest",
];

/** Denials, and drops that come to the same, the newest first. */
function denialsOf(memories: Memories): Denial[] {
  const refusals = new Map<string, Denial>();
  for (const { reason, protocol, guest, remote, atMs, times } of memories.drops()) {
    if (!REFUSALS.includes(reason) || protocol === null || guest === null || remote === null) continue;
    const key = [reason, protocol, guest.address, remote.address, remote.port].join(" ");
    const newer = refusals.get(key);
    const denial = { reason, protocol, guest, remote, firstMs: atMs, lastMs: atMs, times };
    refusals.set(key, newer ? { ...newer, firstMs: atMs, times: newer.times + times } : denial);
  }
  return [...memories.denials(), ...refusals.values()].sort((a, b) => b.lastMs - a.lastMs);
}

/** An end of the host's as the guest knows it: this host's loopback is behind the gateway. */
function seenByGuest({ address, port }: Endpoint, { gateway, allowHostLoopback }: EngineConfig): Endpoint {
  return allowHostLoopback && address === "127.0.0.1"
    ? { address: formatIpv4(gateway), port }
    : { address, port };
}

/** Nothing was asked for: the newest denial or failure. */
function resolveLast({ instance, config }: WhySources, asked: WhyTarget): WhyTarget {
  if (asked.kind !== "last") return asked;
  const [denial] = denialsOf(instance.memories);
  const [failure] = instance.memories.failures();
  if (failure !== undefined && failure.atMs > (denial?.lastMs ?? 0)) {
    return { kind: "address", ...seenByGuest(failure, config) };
  }
  return denial === undefined ? asked : { kind: "address", ...denial.remote };
}

async function flowsWith(
  instance: WhyInstance,
  addresses: readonly string[],
  port: number | null,
): Promise<Flow[]> {
  if (addresses.length === 0) return [];
  // A name may have many addresses, and the table many flows: it is gone through once.
  const hosts = addresses.map((host) => ({ host, isName: false, port }));
  const { flows } = await instance.flows({ hosts }, 0, FLOWS_READ);
  const carried = (flow: Flow): number => flow.octetsFromGuest + flow.octetsToGuest;
  return flows.sort((a, b) => carried(b) - carried(a)).slice(0, FLOWS_SHOWN);
}

function hasPort({ hostPort, ports }: ForwardResource, port: number): boolean {
  return port >= hostPort && port < hostPort + ports;
}

/** What the engine's own rules say to a connection of the guest now. An embedding program's say is not known. */
function refusalOf(config: EngineConfig, address: string, remotePort: number): DropReasonName | null {
  const to = new Int32Array(ADDRESS_WORDS);
  const { guestAddress } = config;
  const words = readIpv6(address);
  let verdict: number;
  if (words === null) {
    const wish = { guestAddress, remoteAddress: parseIpv4(address), remotePort };
    verdict = new Destinations(config, null).tcp(wish, to);
  } else if (config.ipv6 === null) {
    return "ipv6-off";
  } else {
    const pair = Int32Array.of(0, 0, 0, 0, ...words);
    verdict = new Destinations6(config, config.ipv6, null).tcp({ pair, remotePort }, to);
  }
  const reason = reasonOf(verdict);
  return reason > 0 ? (DROP_REASONS[reason] ?? null) : null;
}
