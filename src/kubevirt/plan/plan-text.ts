/** A plan for a person to read before anything happens. */
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
      `  guest address      10.0.2.15 by DHCP (gateway 10.0.2.2, DNS 10.0.2.3)`,
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

/** `http 80/TCP`. */
export function portText(port: {
  readonly name?: string;
  readonly port: number;
  readonly protocol: string;
}): string {
  const name = port.name === undefined ? "" : ` (${port.name})`;
  return `${port.port}/${port.protocol.toUpperCase()}${name}`;
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
  ];
  return rows.map(([what, value]) => `  ${what.padEnd(18)} ${value}`);
}
