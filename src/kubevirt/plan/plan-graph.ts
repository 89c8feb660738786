/** A picture of a plan: who is connected to whom, as Mermaid or Graphviz. */
import { slirpAddresses } from "../spec/nat-addresses.ts";
import type { NicPlan, Plan } from "./plan.ts";
import { portText } from "./plan-text.ts";
import { formatAddress } from "./steps.ts";

interface GraphNode {
  readonly id: string;
  readonly lines: readonly string[];
}

interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label?: string;
}

interface Graph {
  readonly guest: readonly GraphNode[];
  readonly pod: readonly GraphNode[];
  readonly outside: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

function graphOf(plan: Plan): Graph {
  if (plan.nics.length === 0) {
    return { guest: [{ id: "lo", lines: ["lo", "no network interface"] }], pod: [], outside: [], edges: [] };
  }
  const parts = plan.nics.map((nic, index) =>
    nic.way === "slirp" ? slirpGraph(nic, index) : bridgeGraph(nic, index),
  );
  const outside = new Map(parts.flatMap((part) => part.outside).map((node) => [node.id, node]));
  return {
    guest: parts.flatMap((part) => part.guest),
    pod: parts.flatMap((part) => part.pod),
    outside: [...outside.values()],
    edges: parts.flatMap((part) => part.edges),
  };
}

const CLUSTER: GraphNode = { id: "cluster", lines: ["cluster network"] };

function slirpGraph(nic: NicPlan, index: number): Graph {
  const forwarded = nic.ports.map(portText).join(", ");
  return {
    guest: [
      {
        id: `nic${index}`,
        lines: [`${nic.name} (${nic.model})`, nic.mac, `${(nic.nat ?? slirpAddresses()).guest} by DHCP`],
      },
    ],
    pod: [
      { id: `engine${index}`, lines: ["sluice engine", "NAT, DHCP, DNS"] },
      { id: `sockets${index}`, lines: ["sockets of the pod"] },
    ],
    outside: [CLUSTER],
    edges: [
      {
        from: `nic${index}`,
        to: `engine${index}`,
        label: nic.netdev.kind === "vhost-user" ? "shared memory" : "framed socket",
      },
      { from: `engine${index}`, to: `sockets${index}`, label: "TCP and UDP out" },
      ...(forwarded === ""
        ? []
        : [{ from: `sockets${index}`, to: `engine${index}`, label: `in: ${forwarded}` }]),
      { from: `sockets${index}`, to: "cluster", label: "pod's address" },
    ],
  };
}

function bridgeGraph(nic: NicPlan, index: number): Graph {
  const tap = nic.netdev.kind === "tap" ? nic.netdev.device : "";
  const { offer } = nic;
  const address = offer === undefined ? [] : [`${offer.address}/${offer.prefixLength} by DHCP`];
  const dhcp = offer === undefined ? [] : [{ id: `dhcp${index}`, lines: ["DHCP server", offer.server] }];
  const kept = nic.keeps?.map(formatAddress) ?? [];
  const far = nic.network === "pod" ? CLUSTER : { id: `network${index}`, lines: [nic.network] };
  return {
    guest: [{ id: `nic${index}`, lines: [`${nic.name} (${nic.model})`, nic.mac, ...address] }],
    pod: [
      { id: `tap${index}`, lines: [`TAP ${tap}`] },
      { id: `bridge${index}`, lines: [`bridge ${nic.bridge ?? ""}`, ...kept] },
      ...dhcp,
      { id: `uplink${index}`, lines: [nic.device ?? "", "no address"] },
    ],
    outside: [far],
    edges: [
      { from: `nic${index}`, to: `tap${index}` },
      { from: `tap${index}`, to: `bridge${index}` },
      ...dhcp.map((node) => ({ from: node.id, to: `bridge${index}`, label: `to ${nic.mac} alone` })),
      { from: `bridge${index}`, to: `uplink${index}` },
      { from: `uplink${index}`, to: far.id, label: "Ethernet" },
    ],
  };
}

const GROUPS = [
  ["guest", "guest"],
  ["pod", "pod"],
] as const;

/** Mermaid flowchart source. */
export function planMermaid(plan: Plan): string {
  const graph = graphOf(plan);
  const label = (text: string): string => text.replace(/["<>#&]/g, (char) => `#${char.charCodeAt(0)};`);
  const node = ({ id, lines }: GraphNode): string => `${id}["${lines.map(label).join("<br/>")}"]`;
  const out = ["flowchart LR"];
  for (const [group, title] of GROUPS) {
    if (graph[group].length === 0) continue;
    out.push(`  subgraph ${title}`, ...graph[group].map((item) => `    ${node(item)}`), "  end");
  }
  out.push(...graph.outside.map((item) => `  ${node(item)}`));
  for (const { from, to, label: text } of graph.edges) {
    out.push(text === undefined ? `  ${from} --- ${to}` : `  ${from} -- "${label(text)}" --> ${to}`);
  }
  return `${out.join("\n")}\n`;
}

/** Graphviz source. */
export function planDot(plan: Plan): string {
  const graph = graphOf(plan);
  const quoted = (text: string): string => `"${text.replace(/["\\]/g, "\\$&")}"`;
  const node = ({ id, lines }: GraphNode): string =>
    `${id} [label="${lines.map((line) => line.replace(/["\\]/g, "\\$&")).join("\\n")}"];`;
  const out = [`digraph ${quoted(plan.vm)} {`, "  rankdir=LR;", "  node [shape=box];"];
  for (const [group, title] of GROUPS) {
    if (graph[group].length === 0) continue;
    out.push(
      `  subgraph cluster_${title} {`,
      `    label="${title}";`,
      ...graph[group].map((item) => `    ${node(item)}`),
      "  }",
    );
  }
  out.push(...graph.outside.map((item) => `  ${node(item)}`));
  for (const { from, to, label } of graph.edges) {
    out.push(`  ${from} -> ${to} [${label === undefined ? "dir=none" : `label=${quoted(label)}`}];`);
  }
  return `${[...out, "}"].join("\n")}\n`;
}
