/** The IPv6 side of the engine's configuration. */
import type { Dhcp6Config, DhcpOption, Ipv6Config } from "../engine/config.ts";
import { GUESTS_MAX, IPV6_MTU_MIN } from "../engine/limits.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import type { Ipv6 } from "./address6.ts";
import { CORE6 } from "./ipv6-options.ts";
import type { OptionSet } from "./option-set.ts";

const ADDRESSES = ["gateway6", "dns6", "guest-addr6", "dhcp6-start"] as const;
type AddressName = (typeof ADDRESSES)[number];

/** Null where the guest has IPv4 alone. Complaints go to `options.problems`. `mac`: the gateway's. */
export function planIpv6(options: OptionSet, mac: Uint8Array): Ipv6Config | null {
  const when = options.value("ipv6");
  if (when === "off") {
    for (const name of ["net6", "dhcp6-option", ...ADDRESSES] as const) {
      if (options.has(name)) options.reject(name, `only with ${options.place("ipv6")} auto or on`);
    }
    return null;
  }
  const mtu = options.value("mtu");
  if (when === "on" && mtu < IPV6_MTU_MIN) {
    options.reject(
      "ipv6",
      `auto or off: IPv6 needs an MTU of ${IPV6_MTU_MIN} (${options.place("mtu")} is ${mtu})`,
    );
  }
  const prefix: Ipv6 = options.get("net6") ?? CORE6.prefix;
  checkAddresses(options, prefix);
  const address = (name: AddressName, low: number): Ipv6 =>
    options.get(name) ?? [prefix[0], prefix[1], 0, low];
  const gateway = address("gateway6", CORE6.gateway[3]);
  const dns = options.has("no-dns") ? null : address("dns6", CORE6.gateway[3] + 1);
  const searchDomains = options.all("search").map((given) => given.value);
  const hostname = options.get("hostname");
  const domain = options.get("domain");
  return {
    ...CORE6,
    prefix,
    gateway,
    dns,
    guestAddress: options.get("guest-addr6") ?? null,
    defaultRouter: when,
    searchDomains,
    dhcp: {
      ...(CORE6.dhcp as Dhcp6Config),
      serverMac: mac,
      prefix,
      rangeStart:
        options.get("dhcp6-start") ?? options.get("guest-addr6") ?? address("dhcp6-start", FIRST_LEASE),
      rangeSize: GUESTS_MAX,
      ownAddresses: dns === null ? [gateway] : [gateway, dns],
      dnsServers: dns === null ? [] : [dns],
      ...(hostname === undefined ? {} : { hostname }),
      ...(domain === undefined ? {} : { domain }),
      searchDomains,
      extraOptions: extraOptions(options),
    },
  };
}

function extraOptions(options: OptionSet): DhcpOption[] {
  const codes = new Set<number>();
  return options.all("dhcp6-option").map(({ value }, i) => {
    if (codes.has(value.code)) options.reject("dhcp6-option", "each code once; join values with commas", i);
    codes.add(value.code);
    return value;
  });
}

/** The last 32 bits of the first address leased. */
const FIRST_LEASE = 0x15;

/** Addresses are of the prefix, not its first, which is every router's (RFC 4291 section 2.6.1), and nobody else's. */
function checkAddresses(options: OptionSet, prefix: Ipv6): void {
  if (options.broken("net6")) return;
  if (options.has("no-dns") && options.has("dns6")) {
    options.reject("dns6", `nothing beside ${options.place("no-dns")}`);
  }
  const taken = new Map<string, string>();
  for (const name of ADDRESSES) {
    const given = options.get(name);
    const usual = name === "gateway6" ? CORE6.gateway[3] : name === "dns6" ? CORE6.gateway[3] + 1 : undefined;
    const address = given ?? (usual === undefined ? undefined : ([prefix[0], prefix[1], 0, usual] as const));
    if (address === undefined || options.broken(name)) continue;
    const text = formatIpv6(address);
    const other = taken.get(text);
    if (given !== undefined && (address[0] !== prefix[0] || address[1] !== prefix[1])) {
      options.reject(name, `an address of ${formatIpv6(prefix)}/64`);
    } else if (given !== undefined && (address[2] | address[3]) === 0) {
      options.reject(name, "an address of a host, not the first of the prefix");
    } else if (other !== undefined && name !== "dhcp6-start") {
      options.reject(
        given === undefined ? "net6" : name,
        `an address of its own; ${text} is that of ${other}`,
      );
    } else if (other !== undefined && other !== options.place("guest-addr6")) {
      options.reject(name, `an address of its own; ${text} is that of ${other}`);
    } else {
      taken.set(text, options.place(name));
    }
  }
}

/** Forwards to an IPv6 address go to one of the prefix that is not ours. */
export function checkForwards6(options: OptionSet, ipv6: Ipv6Config | null): void {
  options.all("hostfwd").forEach(({ value: { guestAddress6: guest } }, i) => {
    if (guest === undefined || options.broken("ipv6", "net6")) return;
    if (ipv6 === null) {
      options.reject("hostfwd", `an IPv4 address of the guest, or ${options.place("ipv6")} auto or on`, i);
    } else if (guest !== null && !isGuests(guest, ipv6)) {
      options.reject(
        "hostfwd",
        `a guest address inside ${formatIpv6(ipv6.prefix)}/64 that is the guest's`,
        i,
      );
    }
  });
}

function isGuests(address: Ipv6, { prefix, gateway, dns }: Ipv6Config): boolean {
  if (address[0] !== prefix[0] || address[1] !== prefix[1]) return false;
  const ours = dns === null ? [prefix, gateway] : [prefix, gateway, dns];
  return !ours.some((one) => one.every((word, i) => word === address[i]));
}
