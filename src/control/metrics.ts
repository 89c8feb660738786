/**
 * Counters as OpenMetrics text (version 1.0.0): base units, labels that are bounded (directions, reasons, pools), never names
 * or addresses of anybody but those that a rule is called by.
 */
import type { TcpTally } from "../engine/api.ts";
import { CONNECT_MS } from "../engine/transport/flow-ledger.ts";
import { CLOSED, STATE_NAMES } from "../engine/transport/tcp/connection.ts";
import type { Instance, Measures, PolicyTally, RuleTally } from "./instance.ts";
import type { CountersResource, State } from "./schema.ts";

export interface MeasuredInstance extends Pick<Instance, "measures"> {
  readonly policy: Pick<Instance["policy"], "tally">;
}

interface Sample {
  /** In place of what the family's kind says. */
  readonly suffix?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Measured extends Measures {
  readonly tally: PolicyTally | null;
}

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "info" | "histogram";
  readonly help: string;
  readonly unit?: string;
  readonly samples: readonly Sample[];
}

/** What a family's samples are called beyond its name. */
const SUFFIX: Readonly<Record<Family["type"], string>> = {
  counter: "_total",
  gauge: "",
  info: "_info",
  histogram: "_bucket",
};

const escaped = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

function familyText({ name, type, help, unit, samples }: Family): string {
  const lines = samples.map(({ labels = {}, value, suffix = SUFFIX[type] }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    return `${name}${suffix}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
  });
  return [
    `# TYPE ${name} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
    `# HELP ${name} ${help}`,
    ...lines,
  ].join("\n");
}

/** Counters that are one family with a label each: what they count is told in two directions. */
const DIRECTED: readonly (readonly [
  family: string,
  unit: string | undefined,
  help: string,
  counter: string,
])[] = [
  ["sluice_link_octets", "octets", "Octets of frames on the guest's link.", "link-octets"],
  ["sluice_link_frames", "frames", "Frames on the guest's link.", "link-frames"],
  ["sluice_tcp_octets", "octets", "Payload of TCP connections.", "tcp-octets"],
  ["sluice_udp_octets", "octets", "Payload of UDP mappings.", "udp-octets"],
  ["sluice_udp_datagrams", "datagrams", "Datagrams of UDP mappings.", "udp-datagrams"],
];

function directedFamilies({ counters }: CountersResource): Family[] {
  return DIRECTED.map(([name, unit, help, counter]) => ({
    name,
    type: "counter",
    help,
    ...(unit === undefined ? {} : { unit }),
    samples: ["from", "to"].map((way) => ({
      labels: { direction: `${way}_guest` },
      value: counters[`${counter}-${way}-guest`] ?? 0,
    })),
  }));
}

/** Questions by who answered them and how: `dns-resolver-nxdomain`. */
const DNS_COUNTER = /^dns-(resolver|sluice|nobody)-([a-z]+)$/;

function dnsFamily({ counters }: CountersResource): Family {
  return {
    name: "sluice_dns_questions",
    type: "counter",
    help: "Questions that have ended, by who answered and the response code.",
    samples: Object.entries(counters).flatMap(([name, value]) => {
      const [, answeredBy, rcode] = DNS_COUNTER.exec(name) ?? [];
      return answeredBy === undefined || rcode === undefined
        ? []
        : [{ labels: { answered_by: answeredBy, rcode }, value }];
    }),
  };
}

function hasFamily(name: string): boolean {
  return DNS_COUNTER.test(name) || DIRECTED.some(([, , , counter]) => name.startsWith(`${counter}-`));
}

/** Rules of one name are told together: a label's value stands once. */
function byName(rules: readonly RuleTally[], take: (rule: RuleTally) => number): Map<string, number> {
  const values = new Map<string, number>();
  for (const rule of rules) {
    const name = rule.name ?? "default";
    values.set(name, (values.get(name) ?? 0) + take(rule));
  }
  return values;
}

function policyFamilies({ generation, rules, openQuestions }: PolicyTally): Family[] {
  const limited = rules.filter(({ waitedMs }) => waitedMs !== null);
  const verdicts = (["allowed", "denied"] as const).flatMap((verdict) =>
    [...byName(rules, (rule) => rule[verdict])].map(([rule, value]) => ({
      labels: { rule, verdict },
      value,
    })),
  );
  return [
    {
      name: "sluice_policy_generation",
      type: "gauge",
      help: "How often the policy has changed, and one.",
      samples: [{ value: generation }],
    },
    {
      name: "sluice_policy_verdicts",
      type: "counter",
      help: "Flows, questions and names shown that a rule decided about; default: no rule did.",
      samples: verdicts,
    },
    {
      name: "sluice_limit_wait_seconds",
      type: "counter",
      unit: "seconds",
      help: "Time that flows of a rule have waited for its rate, together.",
      samples: [...byName(limited, ({ waitedMs }) => (waitedMs ?? 0) / 1000)].map(([rule, value]) => ({
        labels: { rule },
        value,
      })),
    },
    {
      name: "sluice_questions_open",
      type: "gauge",
      help: "What flows wait for somebody to say.",
      samples: [{ value: openQuestions }],
    },
  ];
}

/** Pools by the name of their label. */
const POOLS = {
  tcpFlows: "tcp_flows",
  udpMappings: "udp_mappings",
  dnsQuestions: "dns_questions",
  smallChunks: "small_chunks",
  largeChunks: "large_chunks",
  transmitQueue: "transmit_queue",
  reassembly: "reassembly",
} as const satisfies Record<keyof State["pools"], string>;

function poolFamily(state: State, name: string, help: string, field: "used" | "size"): Family {
  const pools = Object.keys(POOLS) as (keyof typeof POOLS)[];
  return {
    name,
    type: "gauge",
    help,
    samples: pools.map((pool) => ({ labels: { pool: POOLS[pool] }, value: state.pools[pool][field] })),
  };
}

function flowFamily(state: State, { states }: TcpTally): Family {
  const tcp = states.flatMap((value, i) =>
    i === CLOSED ? [] : [{ labels: { transport: "tcp", state: stateLabel(STATE_NAMES[i]) }, value }],
  );
  const mapped = { labels: { transport: "udp", state: "mapped" }, value: state.pools.udpMappings.used };
  return {
    name: "sluice_flows",
    type: "gauge",
    help: "Flows there are, by state.",
    samples: [...tcp, mapped],
  };
}

const stateLabel = (name = ""): string => name.toLowerCase().replaceAll("-", "_");

/** As OpenMetrics has numbers in labels: `0.005`, `1.0`. */
const secondsLabel = (ms: number): string => (ms % 1000 === 0 ? (ms / 1000).toFixed(1) : String(ms / 1000));

/** How long it took until the other side of a TCP connection had answered: the host's of the guest's, or the guest. */
function connectFamily({ connects, connectedMs }: TcpTally): Family {
  let count = 0;
  const buckets = connects.map((more, i) => {
    count += more;
    const ms = CONNECT_MS[i];
    return { labels: { le: ms === undefined ? "+Inf" : secondsLabel(ms) }, value: count };
  });
  return {
    name: "sluice_connect_seconds",
    type: "histogram",
    unit: "seconds",
    help: "Time until the other side of a TCP connection had answered.",
    samples: [...buckets, { suffix: "_count", value: count }, { suffix: "_sum", value: connectedMs / 1000 }],
  };
}

/** The whole exposition. */
function metricsText(measured: Measured): string {
  const { state, counters: resource, tally: policy, tcp } = measured;
  const families: Family[] = [
    {
      name: "sluice_build",
      type: "info",
      help: "The version that serves.",
      samples: [{ labels: { version: state.version, command: state.command }, value: 1 }],
    },
    {
      name: "sluice_uptime_seconds",
      type: "gauge",
      help: "Time since the engine's start.",
      unit: "seconds",
      samples: [{ value: state.uptimeMs / 1000 }],
    },
    {
      name: "sluice_link_up",
      type: "gauge",
      help: "Whether a guest is attached.",
      samples: [{ value: state.link.up ? 1 : 0 }],
    },
    {
      name: "sluice_forwards",
      type: "gauge",
      help: "Forwards there are.",
      samples: [{ value: state.forwards }],
    },
    flowFamily(state, tcp),
    connectFamily(tcp),
    poolFamily(state, "sluice_pool_in_use", "Entries of a pool in use.", "used"),
    poolFamily(state, "sluice_pool_size", "Entries a pool has.", "size"),
    ...directedFamilies(resource),
    {
      name: "sluice_events",
      type: "counter",
      help: "What the engine has done, by the counter's name.",
      samples: Object.entries(resource.counters)
        .filter(([name]) => !hasFamily(name))
        .map(([event, value]) => ({ labels: { event }, value })),
    },
    {
      name: "sluice_drops",
      type: "counter",
      help: "Frames and datagrams that were not carried, by reason.",
      samples: Object.entries(resource.drops).map(([reason, value = 0]) => ({ labels: { reason }, value })),
    },
    {
      name: "sluice_records_lost",
      type: "counter",
      help: "Records of flows, drops and DNS that nobody read in time.",
      samples: [{ value: state.records.lost }],
    },
    dnsFamily(resource),
    ...(policy === null ? [] : policyFamilies(policy)),
  ];
  return `${families.map(familyText).join("\n")}\n# EOF\n`;
}

/** The exposition of an instance as it is now. */
export async function metricsOf(instance: MeasuredInstance): Promise<string> {
  const [measures, tally] = await Promise.all([instance.measures(), instance.policy.tally()]);
  return metricsText({ ...measures, tally });
}
