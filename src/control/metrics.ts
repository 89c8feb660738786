/**
 * Counters as OpenMetrics text (version 1.0.0): base units, labels that are bounded (directions, reasons, pools), never names
 * or addresses of anybody.
 */
import type { Instance } from "./instance.ts";
import type { CountersResource, State } from "./schema.ts";

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "info";
  readonly help: string;
  readonly unit?: string;
  readonly samples: readonly Sample[];
}

/** What a family's samples are called beyond its name. */
const SUFFIX: Readonly<Record<Family["type"], string>> = { counter: "_total", gauge: "", info: "_info" };

const escaped = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

function familyText({ name, type, help, unit, samples }: Family): string {
  const lines = samples.map(({ labels = {}, value }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
    return `${name}${SUFFIX[type]}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
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

function isDirected(name: string): boolean {
  return DIRECTED.some(([, , , counter]) => name.startsWith(`${counter}-`));
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

/** The whole exposition. */
function metricsText(state: State, resource: CountersResource): string {
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
    {
      name: "sluice_flows",
      type: "gauge",
      help: "Flows there are.",
      samples: [
        { labels: { transport: "tcp" }, value: state.pools.tcpFlows.used },
        { labels: { transport: "udp" }, value: state.pools.udpMappings.used },
      ],
    },
    poolFamily(state, "sluice_pool_in_use", "Entries of a pool in use.", "used"),
    poolFamily(state, "sluice_pool_size", "Entries a pool has.", "size"),
    ...directedFamilies(resource),
    {
      name: "sluice_events",
      type: "counter",
      help: "What the engine has done, by the counter's name.",
      samples: Object.entries(resource.counters)
        .filter(([name]) => !isDirected(name))
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
  ];
  return `${families.map(familyText).join("\n")}\n# EOF\n`;
}

/** The exposition of an instance as it is now. */
export async function metricsOf(instance: Pick<Instance, "state" | "counters">): Promise<string> {
  const [state, counters] = await Promise.all([instance.state(), instance.counters()]);
  return metricsText(state, counters);
}
