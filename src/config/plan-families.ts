/** What of IPv4 a guest has, and how it gets out where the host has IPv6 alone. */
import type { EngineConfig, Forward, Ipv6Config } from "../engine/config.ts";
import { IPV6_MTU_MIN } from "../engine/limits.ts";
import type { OptionSet } from "./option-set.ts";
import type { OptionName } from "./option-table.ts";

/** Options that say something of IPv4 on the guest's link. */
const IPV4_OPTIONS = [
  "net",
  "host-alias",
  "gateway",
  "guest-addr",
  "dhcp-start",
  "dhcp-option",
  "no-dhcp",
  "no-dhcp-dns",
  "tftp-server-name",
  "dns",
  "dns-host-name",
  "allow-multicast",
  // The guest is asked over IPv4.
  "publish-when-open",
] as const satisfies readonly OptionName[];

/** Whether the guest has IPv4. Complaints go to `options.problems`. */
export function planIpv4(options: OptionSet): boolean {
  if (options.value("ipv4") === "on") return true;
  const mtu = options.value("mtu");
  const place = options.place("ipv4");
  if (options.value("ipv6") === "off" && !options.broken("ipv6")) {
    options.reject("ipv4", `on, or ${options.place("ipv6")} auto or on beside it: a guest has one of them`);
  } else if (options.value("ipv6") === "auto" && mtu < IPV6_MTU_MIN) {
    const found = `${options.place("mtu")} is ${mtu}`;
    options.reject("ipv4", `on: IPv6 alone needs an MTU of ${IPV6_MTU_MIN} (${found})`);
  }
  for (const name of IPV4_OPTIONS) {
    if (options.has(name)) options.reject(name, `only with ${place} on`);
  }
  const allowed = `an IPv6 address, with ${place} off`;
  options.all("reserve").forEach(({ value: { address } }, i) => {
    if (typeof address === "number") options.reject("reserve", allowed, i);
  });
  options.all("guestfwd").forEach(({ value: { address6 } }, i) => {
    if (address6 === undefined) options.reject("guestfwd", allowed, i);
  });
  return false;
}

/** The forwards of a guest that has IPv6 alone: those that name no address of its go there. */
export function forwardsOverIpv6(
  options: OptionSet,
  name: "publish" | "hostfwd",
  rule: readonly Forward[],
  index: number,
): Forward[] {
  return rule.map((forward) => {
    const { eitherFamily: _, ...alone } = forward;
    if (forward.guestAddress6 !== undefined) return alone;
    if (forward.guestAddress !== 0) {
      options.reject(name, `an IPv6 address of the guest, with ${options.place("ipv4")} off`, index);
    }
    return { ...alone, guestAddress6: null };
  });
}

/** The way to IPv4 of a host that has none. */
export function planNat64(options: OptionSet, ipv6: Ipv6Config | null): EngineConfig["nat64"] {
  const nat64 = options.value("nat64");
  if (nat64 === "off") return null;
  if (nat64 === "auto") {
    if (!options.has("no-dns")) return nat64;
    if (options.has("nat64") && !options.broken("nat64")) {
      options.reject(
        "nat64",
        `a prefix, or off: with ${options.place("no-dns")} no resolver is asked for one`,
      );
    }
    return null;
  }
  const [high, low] = nat64.prefix;
  const isGuests = nat64.length >= 64 && ipv6 !== null && high === ipv6.prefix[0] && low === ipv6.prefix[1];
  if (isGuests) options.reject("nat64", "a prefix outside the guest's own network");
  return nat64;
}
