/** A plan for a person to read before anything happens. */
import { quote } from "../../config/problem.ts";
import { slirpAddresses } from "../spec/nat-addresses.ts";
import { formatSpecNote, type SpecNote } from "../spec/spec-problem.ts";
import type { DhcpOffer } from "./delegation.ts";
import type { NicPlan, Plan } from "./plan.ts";
import { shellQuoted } from "./qemu-args.ts";
import { describeStep, formatAddress, formatRoute } from "./steps.ts";

/** The whole plan as text. */
export function planText(plan: Plan): string {
  const out = [`VM ${plan.vm}: ${count(plan.nics.length, "network interface")}`];
  for (const nic of plan.nics) out.push("", ...nicLines(nic));
  out.push("", plan.steps.length === 0 ? "Nothing to do on this machine." : "Step by step:");
  plan.steps.forEach((step, index) => {
    out.push(`  ${String(index + 1).padStart(2)}. ${describeStep(step)}`);
    if (step.do === "start-engine") out.push(`      sluice ${shellQuoted(step.argv)}`);
  });
  out.push("", "QEMU gets:", `  ${qemuLines(plan.qemuArguments)}`);
  for (const text of plan.unknown) out.push("", `not known here: ${text}`);
  for (const text of plan.warnings) out.push("", `warning: ${text}`);
  for (const { place, found, allowed } of plan.problems) {
    out.push("", `error: ${place}: found ${found}; allowed: ${allowed}`);
  }
  return `${out.join("\n")}\n`;
}

/** The plan and the notes about its spec. */
export function planReport(plan: Plan, notes: readonly SpecNote[]): string {
  return [planText(plan), ...notes.map((note) => `note: ${formatSpecNote(note)}\n`)].join("\n");
}

function count(number: number, what: string): string {
  return `${number === 0 ? "no" : number} ${what}${number === 1 ? "" : "s"}`;
}

/** An option and its value on a line. */
function qemuLines(args: readonly string[]): string {
  const lines: string[] = [];
  for (let i = 0; i < args.length; i += 2) lines.push(shellQuoted(args.slice(i, i + 2)));
  return lines.join(" \\\n  ");
}

function nicLines(nic: NicPlan): string[] {
  const head = `${nic.name}: ${nic.model} ${nic.mac}`;
  if (nic.way === "slirp") {
    return [
      `${head}, user-mode NAT behind the pod`,
      `  guest address      ${natText(nic.nat)}`,
      ...(nic.ports.length === 0
        ? ["  ports              none: nothing reaches the guest from outside"]
        : []),
      ...nic.ports.map(
        (port) => `  port               ${portText(port)} of the pod -> the same of the guest`,
      ),
    ];
  }
  if (nic.way === "delegated")
    return [`${head}, on ${nic.device} with the pod's IPv4 address`, ...offerLines(nic.offer)];
  const kept = nic.keeps?.map(formatAddress).join(", ");
  return [
    `${head}, plain Ethernet on ${nic.device} (${nic.network}), MTU ${nic.mtu}`,
    ...(kept === undefined ? [] : [`  the pod keeps      ${kept}, on the bridge`]),
  ];
}

function natText({ guest, gateway, dns } = slirpAddresses()): string {
  return `${guest} by DHCP (gateway ${gateway}, ${dns === undefined ? "no DNS" : `DNS ${dns}`})`;
}

/** `80/TCP (http)`, or `8000-8010/TCP`. */
export function portText(port: {
  readonly name?: string;
  readonly port: number;
  readonly end?: number;
  readonly protocol: string;
}): string {
  const name = port.name === undefined ? "" : ` (${port.name})`;
  const last = port.end === undefined ? "" : `-${port.end}`;
  return `${port.port}${last}/${port.protocol.toUpperCase()}${name}`;
}

function offerLines(offer: DhcpOffer | undefined): string[] {
  if (offer === undefined) return [];
  const rows: readonly (readonly [string, string])[] = [
    ["guest address", `${offer.address}/${offer.prefixLength}, lease ${offer.leaseSeconds / 86_400} days`],
    ["router", offer.router ?? "none (no default route)"],
    ["routes", offer.routes.map(formatRoute).join(", ") || "none"],
    ["DNS", [...offer.dnsServers, ...offer.searchDomains.map((domain) => `search ${domain}`)].join(", ")],
    ["host name", offer.hostname ?? "none"],
    ["MTU", String(offer.mtu)],
    ...(offer.options ?? []).map(({ code, value }) => [`DHCP option ${code}`, quote(value)] as const),
  ];
  return rows.map(([what, value]) => `  ${what.padEnd(18)} ${value}`);
}
