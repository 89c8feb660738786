/** The IPv6 side of the engine's configuration. */
import type { Dhcp6Config, DhcpOption, Ipv6Config, Reservation, Reservation6 } from "../engine/config.ts";
import { GUESTS_MAX, IPV6_MTU_MIN } from "../engine/limits.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import { formatMac } from "./address.ts";
import { type Ipv6, isLinkLocal6, parseIpv6 } from "./address6.ts";
import { CORE6 } from "./ipv6-options.ts";
import type { OptionSet } from "./option-set.ts";
import { bootUrl6, nextServer6 } from "./plan-boot.ts";

const ADDRESSES = ["gateway6", "dns6", "guest-addr6", "dhcp6-start"] as const;
type AddressName = (typeof ADDRESSES)[number];
const OPTIONS6 = ["ipv6", "net6", "dhcp6-option", ...ADDRESSES] as const;

/** Null where the guest has IPv4 alone. Complaints go to `options.problems`. `mac`: the gateway's. */
export function planIpv6(options: OptionSet, mac: Uint8Array): Ipv6Config | null {
  const when = options.value("ipv6");
  if (when === "off") {
    refuseAll(options);
    return null;
  }
  const mtu = options.value("mtu");
  // Who says nothing of IPv6 need not hear that the link is too small for it.
  const isWanted = OPTIONS6.some((name) => options.has(name)) || nextServer6(options) !== undefined;
  if (mtu < IPV6_MTU_MIN && !isWanted) return null;
  if (when === "on" && mtu < IPV6_MTU_MIN) {
    options.reject(
      "ipv6",
      `auto or off: IPv6 needs an MTU of ${IPV6_MTU_MIN} (${options.place("mtu")} is ${mtu})`,
    );
  }
  const prefix: Ipv6 = options.get("net6") ?? CORE6.prefix;
  const address = (name: AddressName, low: number): Ipv6 =>
    options.get(name) ?? [prefix[0], prefix[1], 0, low];
  const rangeStart =
    options.get("dhcp6-start") ?? options.get("guest-addr6") ?? address("dhcp6-start", FIRST_LEASE);
  const network: Network6 = { prefix, rangeStart, taken: checkAddresses(options, prefix) };
  const services = checkServices(options, network);
  const reservations = checkReservations(options, network);
  const router = options.get("gateway6");
  const isLinkLocal = router !== undefined && isLinkLocal6(router);
  const gateway = isLinkLocal ? standIn(options, prefix) : address("gateway6", CORE6.gateway[3]);
  const isCopied = options.has("copy-host");
  const isShared = (isCopied || options.has("shared-subnet")) && options.has("net6");
  const usualDns = isShared ? sharedDns(options, gateway) : address("dns6", CORE6.gateway[3] + 1);
  const dns = options.has("no-dns") ? null : (options.get("dns6") ?? usualDns);
  const searchDomains = options.all("search").map((given) => given.value);
  const hostname = options.get("hostname");
  const domain = options.get("domain");
  const bootUrl = bootUrl6(options, gateway);
  return {
    ...CORE6,
    prefix,
    ...(isLinkLocal ? { routerAddress: router } : {}),
    gateway,
    shared: isShared,
    fixedGateway: isCopied && options.has("gateway6") && !isLinkLocal ? gateway : null,
    dns,
    guestAddress: options.get("guest-addr6") ?? null,
    defaultRouter: when,
    searchDomains,
    dhcp: {
      ...(CORE6.dhcp as Dhcp6Config),
      serverMac: mac,
      prefix,
      rangeStart,
      rangeSize: GUESTS_MAX,
      ownAddresses: [gateway, ...(dns === null ? [] : [dns]), ...services],
      reservations,
      dnsServers: dns === null ? [] : [dns],
      ...(hostname === undefined ? {} : { hostname }),
      ...(domain === undefined ? {} : { domain }),
      ...(bootUrl === undefined ? {} : { bootUrl }),
      searchDomains,
      extraOptions: extraOptions(options),
    },
  };
}

/**
 * The gateway's address in the prefix where the router is known by its link-local one: whoever the guest could not answer
 * appears as this. Not as the link-local one: a guest's socket that is connected to that hears nothing at its other addresses.
 */
function standIn(options: OptionSet, prefix: Ipv6): Ipv6 {
  const [high, low] = prefix;
  const guest = options.get("guest-addr6");
  const usual = CORE6.gateway[3];
  const isTaken = guest?.[2] === 0 && guest[3] === usual;
  return [high, low, 0, isTaken ? usual + 2 : usual];
}

/** In a subnet that is really there no address is free for DNS: IPv4's is asked, or the gateway. */
function sharedDns(options: OptionSet, gateway: Ipv6): Ipv6 | null {
  return options.value("ipv4") === "on" ? null : gateway;
}

/** What speaks of the guest's IPv6 where it has none. */
function refuseAll(options: OptionSet): void {
  const only = `only with ${options.place("ipv6")} auto or on`;
  for (const name of ["net6", "dhcp6-option", ...ADDRESSES] as const) {
    if (options.has(name)) options.reject(name, only);
  }
  options.all("guestfwd").forEach(({ value }, i) => {
    if (value.address6 !== undefined) options.reject("guestfwd", `an IPv4 address; IPv6 ${only}`, i);
  });
  options.all("reserve").forEach(({ value }, i) => {
    if (!isReservation4(value)) options.reject("reserve", `an IPv4 address; IPv6 ${only}`, i);
  });
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

/** Addresses that have an owner, as text, with the option that says so. */
type Taken = Map<string, string>;

interface Network6 {
  readonly prefix: Ipv6;
  /** The first address leased, which is the guest's where none is named. */
  readonly rangeStart: Ipv6;
  readonly taken: Taken;
}

/** What keeps an address from being a guest's or a service's, or undefined. */
function addressProblem(address: Ipv6, prefix: Ipv6): string | undefined {
  if (address[0] !== prefix[0] || address[1] !== prefix[1]) return `an address of ${formatIpv6(prefix)}/64`;
  if ((address[2] | address[3]) === 0) return "an address of a host, not the first of the prefix";
  return undefined;
}

/** Addresses are of the prefix, not its first, which is every router's (RFC 4291 section 2.6.1), and nobody else's. */
function checkAddresses(options: OptionSet, prefix: Ipv6): Taken {
  const taken: Taken = new Map();
  if (options.broken("net6")) return taken;
  if (options.has("no-dns") && options.has("dns6")) {
    options.reject("dns6", `nothing beside ${options.place("no-dns")}`);
  }
  for (const name of ADDRESSES) {
    const said = options.get(name);
    const given =
      name === "gateway6" && said !== undefined && isLinkLocal6(said) ? standIn(options, prefix) : said;
    const hasUsual = name !== "dns6" || !options.has("copy-host");
    const usual = !hasUsual
      ? undefined
      : name === "gateway6"
        ? CORE6.gateway[3]
        : name === "dns6"
          ? CORE6.gateway[3] + 1
          : undefined;
    const address = given ?? (usual === undefined ? undefined : ([prefix[0], prefix[1], 0, usual] as const));
    if (address === undefined || options.broken(name)) continue;
    const text = formatIpv6(address);
    const other = taken.get(text);
    const problem = given && addressProblem(given, prefix);
    if (problem) {
      options.reject(name, problem);
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
  return taken;
}

/** The addresses that guest forwards serve; several ports of one are fine. */
function checkServices(options: OptionSet, { prefix, rangeStart, taken }: Network6): Ipv6[] {
  const services = new Map<string, Ipv6>();
  const ports = new Set<string>();
  options.all("guestfwd").forEach(({ value: { address6, port } }, i) => {
    if (address6 === undefined || options.broken("net6")) return;
    const text = formatIpv6(address6);
    const owner = taken.get(text) ?? (text === formatIpv6(rangeStart) ? "the first lease" : undefined);
    const other = services.has(text) ? undefined : owner;
    const problem =
      addressProblem(address6, prefix) ??
      (other && `an address of its own; ${text} is that of ${other}`) ??
      (ports.has(`${text} ${port}`) ? "an address and port that no other rule has" : undefined);
    if (problem) options.reject("guestfwd", problem, i);
    services.set(text, address6);
    taken.set(text, options.place("guestfwd", i));
    ports.add(`${text} ${port}`);
  });
  return [...services.values()];
}

export function isReservation4(reservation: Reservation | Reservation6): reservation is Reservation {
  return typeof reservation.address === "number";
}

/**
 * One address a MAC, which may be the guest's. The server knows addresses by their last 32 bits: two that are the same
 * there cannot be told apart.
 */
function checkReservations(options: OptionSet, { prefix, rangeStart, taken }: Network6): Reservation6[] {
  const reservations: Reservation6[] = [];
  const macs = new Set<string>();
  const endings = new Map([...taken.keys()].map((text) => [parseIpv6(text)[3], text]));
  options.all("reserve").forEach(({ value }, i) => {
    if (isReservation4(value) || options.broken("net6")) return;
    const text = formatIpv6(value.address);
    const other = taken.get(text) === options.place("guest-addr6") ? undefined : taken.get(text);
    const [, , middle, last] = value.address;
    const isLikeLease = (last - rangeStart[3]) >>> 0 < GUESTS_MAX && middle !== rangeStart[2];
    const ending = endings.get(last) ?? text;
    const problem =
      addressProblem(value.address, prefix) ??
      (other && `an address of its own; ${text} is that of ${other}`) ??
      (isLikeLease || ending !== text ? "an address whose last 32 bits are no other's" : undefined) ??
      (macs.has(formatMac(value.mac)) ? "one address per MAC" : undefined);
    if (problem) options.reject("reserve", problem, i);
    taken.set(text, options.place("reserve", i));
    endings.set(last, text);
    macs.add(formatMac(value.mac));
    reservations.push(value);
  });
  return reservations;
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

function isGuests(address: Ipv6, { prefix, dhcp }: Ipv6Config): boolean {
  const ours = dhcp?.ownAddresses ?? [];
  const isOurs = ours.some((one) => one.every((word, i) => word === address[i]));
  return addressProblem(address, prefix) === undefined && !isOurs;
}
