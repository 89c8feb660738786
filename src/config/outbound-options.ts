/** The option of the table that says what the guest's traffic leaves by. */
import { parseIpv4 } from "./address.ts";
import { parseHostAddress6, readIpv6 } from "./address6.ts";
import type { Outbound } from "./host-plan.ts";
import { parseDeviceName } from "./link-grammar.ts";
import { option } from "./option-definition.ts";

function parseOutbound(text: string): Outbound {
  if (/^[\d.]+$/.test(text)) return { kind: "address", address: parseIpv4(text) };
  if (readIpv6(text) !== null) return { kind: "address6", address: parseHostAddress6(text) };
  return { kind: "interface", name: parseDeviceName(text) };
}

export const OUTBOUND_OPTIONS = {
  "outbound-addr": option({
    group: "Policy",
    commands: ["run", "exec", "qemu"],
    placeholder: "ADDRESS|INTERFACE",
    repeat: true,
    oneWithoutList: true,
    help: "Outbound sockets leave from this address, of IPv4 or IPv6 (one of each), or from the addresses of this interface; a family it has none of does not leave.",
    parse: parseOutbound,
  }),
} as const;
