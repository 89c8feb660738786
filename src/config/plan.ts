/**
 * From parsed options to what the engine and its host are started with. The checks here are those that need more than
 * one option; each complaint goes to the option that has to change.
 */

import {
  type DhcpConfig,
  type DhcpOption,
  defaultEngineConfig,
  type EngineConfig,
  type HostAlias,
  LOOPBACK,
  macForGateway,
  NOBODY,
} from "../engine/config.ts";
import { GUESTS_MAX } from "../engine/limits.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { LEASE_TIME, OPTION_VALUE_MAX } from "../engine/wire/dhcp-options.ts";
import { formatMac, hostAddressProblem, inNetwork, type Network, netmask } from "./address.ts";
import type { AliasRule } from "./host-options.ts";
import type { FlowLogPlan, HostPlan, LinkPlan } from "./host-plan.ts";
import { MIB } from "./limit-options.ts";
import type { CommandName } from "./option-definition.ts";
import type { OptionSet } from "./option-set.ts";
import { defaultAddress, definitionOf, OPTION_NAMES, type OptionName } from "./option-table.ts";
import { checkBoot, nextServer4 } from "./plan-boot.ts";
import { planIpv4, planNat64 } from "./plan-families.ts";
import { planForwards, planListeningForwards } from "./plan-forwards.ts";
import { planOutbound } from "./plan-outbound.ts";
import { checkForwards6, isReservation4, planIpv6 } from "./plan6.ts";
import type { PortRange } from "./publish-grammar.ts";

const LINK_OPTIONS = [
  "tap",
  "tap-fd",
  "qemu-listen",
  "qemu-connect",
  "qemu-dgram",
  "vhost-user",
  "fd",
] as const;
const TAP_COMPANIONS = ["netns", "userns", "configure", "tun-device"] as const;

/** The one link, or undefined after complaining. */
export function planLink(options: OptionSet): LinkPlan | undefined {
  const given = LINK_OPTIONS.filter((name) => options.has(name));
  if (given.length !== 1) {
    const names = LINK_OPTIONS.map((name) => options.place(name)).join(", ");
    options.problems.push({
      place: "link",
      found: given.length === 0 ? "none" : given.map((name) => options.place(name)).join(" and "),
      allowed: `exactly one of ${names}`,
    });
    return undefined;
  }
  if (given[0] !== "tap") {
    for (const name of TAP_COMPANIONS) {
      if (options.has(name)) options.reject(name, `only with ${options.place("tap")}`);
    }
  }
  if (options.has("one-off") && (given[0] === "tap" || given[0] === "tap-fd")) {
    options.reject("one-off", "only with a QEMU link; a TAP has no connection that could end");
  }
  return linkOf(options);
}

function linkOf(options: OptionSet): LinkPlan | undefined {
  const listen = options.get("qemu-listen");
  if (listen) return { kind: "qemu-listen", address: listen };
  const connect = options.get("qemu-connect");
  if (connect) return { kind: "qemu-connect", address: connect };
  const addresses = options.get("qemu-dgram");
  if (addresses) return { kind: "qemu-dgram", addresses };
  const path = options.get("vhost-user");
  if (path !== undefined) return { kind: "vhost-user", path };
  const tapFd = options.get("tap-fd");
  if (tapFd !== undefined) return { kind: "tap-fd", fd: tapFd };
  const fd = options.get("fd");
  if (fd !== undefined) return { kind: "fd", fd };
  return tapLink(options);
}

function tapLink(options: OptionSet): LinkPlan | undefined {
  const name = options.get("tap");
  const namespace = options.get("netns");
  const userns = options.get("userns");
  if (options.has("userns") && !options.has("netns")) {
    options.reject("userns", `only with ${options.place("netns")} PATH`);
  }
  if (namespace && "pid" in namespace && options.has("userns")) {
    options.reject("userns", "a namespace path in --netns; a PID brings its own user namespace");
  }
  if (name === undefined) return undefined;
  return {
    kind: "tap",
    name,
    ...(namespace ? { netns: "path" in namespace ? namespace.path : namespace.pid } : {}),
    ...(userns === undefined ? {} : { userns }),
    configure: options.has("configure"),
    tunDevice: options.value("tun-device"),
  };
}

/** Everything about the process of `command`. */
export function planHost(options: OptionSet, command: CommandName): HostPlan {
  const outboundDevice = options.get("outbound-device");
  const optional = <K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } =>
    value === undefined ? {} : ({ [key]: value } as { [P in K]: T });
  checkDescriptors(options);
  if (options.has("user") && options.has("no-sandbox")) {
    options.reject(
      "user",
      `nothing beside ${options.place("no-sandbox")}: becoming another user is part of the sandbox`,
    );
  }
  return {
    resolvers: options.has("no-dns") ? "none" : options.has("resolver") ? "listed" : "system",
    ...optional("outbound", planOutbound(options)),
    ...optional("outboundDevice", outboundDevice),
    udpPorts: options.value("udp-ports"),
    ...optional("pcap", options.get("pcap")),
    ...optional("tftp", options.get("tftp")),
    log: {
      level: options.value("log-level", command),
      format: options.value("log-format", command),
      ...optional("file", options.get("log-file")),
    },
    ...optional("readyFd", options.get("ready-fd")),
    ...optional("exitFd", options.get("exit-fd")),
    oneOff: options.has("one-off"),
    background: options.has("background"),
    outliveParent: options.has("outlive-parent") || options.has("background"),
    ...optional("pidFile", options.get("pid-file")),
    ...optional("user", options.get("user")),
    control: {
      ...optional("name", options.get("name")),
      ...optional("path", options.get("control")),
      maxForwards: options.value("max-forwards"),
    },
    ...optional("flowLog", planFlowLog(options)),
    ...optional("decide", options.get("decide")),
    listening: planListening(options, command),
    sandbox: !options.has("no-sandbox"),
  };
}

/** Ports that come and go with who listens are seen in a namespace of the guest's own. */
function planListening(options: OptionSet, command: CommandName): HostPlan["listening"] {
  const listening = planListeningForwards(options);
  if (listening.length > 0 && command !== "exec" && !options.has("netns")) {
    options.problems.push({
      place: options.place("publish"),
      found: "auto",
      allowed: `auto only with ${options.place("tap")} and ${options.place("netns")}, or for a command of sluice exec`,
    });
  }
  return listening;
}

function planFlowLog(options: OptionSet): FlowLogPlan | undefined {
  const target = options.get("flow-log");
  if (target !== undefined) return { target, level: options.value("flow-log-level") };
  if (options.value("flow-log-level") !== "ends") {
    options.reject("flow-log-level", `only with ${options.place("flow-log")}`);
  }
  return undefined;
}

const DESCRIPTOR_OPTIONS = ["fd", "tap-fd", "ready-fd", "exit-fd"] as const;

/** Descriptors of the process that options name, and which do. */
export function namedDescriptors(options: OptionSet): { readonly name: OptionName; readonly fd: number }[] {
  const named = DESCRIPTOR_OPTIONS.flatMap((name) => {
    const fd = options.get(name);
    return fd === undefined ? [] : [{ name, fd }];
  });
  const log = options.get("flow-log");
  return log !== undefined && "fd" in log ? [...named, { name: "flow-log", fd: log.fd }] : named;
}

/** Two options cannot use one descriptor. */
function checkDescriptors(options: OptionSet): void {
  const seen = new Map<number, OptionName>();
  for (const { name, fd } of namedDescriptors(options)) {
    const other = seen.get(fd);
    if (other) options.reject(name, `a descriptor of its own; ${options.place(other)} has ${fd} already`);
    seen.set(fd, name);
  }
}

/** Addresses that have an owner, with the option that says so. */
type Taken = Map<number, string>;

const NO_PORTS: PortRange = { first: 0, last: 0 };

/**
 * The engine's configuration. Complaints go to `options.problems`; the result is whole even then. `hostAddress`: what
 * aliases that lead to the host lead to, 0 when it has no address. `ephemeral`: the ports that it gives to its own connections.
 */
export function planEngine(options: OptionSet, hostAddress = 0, ephemeral = NO_PORTS): EngineConfig {
  const defaults = defaultEngineConfig();
  const net = options.value("net");
  const sharedSubnet = options.has("shared-subnet") || options.has("copy-host");
  const address = (name: "gateway" | "dns" | "dhcp-start"): number =>
    options.get(name) ?? defaultAddress(name, net);
  const { addresses: [declared, ...others] = [], any = false } = options.get("guest-addr") ?? {};
  const start = options.get("dhcp-start") ?? declared ?? address("dhcp-start");
  const addresses = {
    gateway: address("gateway"),
    dns: options.has("no-dns") ? 0 : address("dns"),
    guest: declared ?? start,
    others,
    start,
  };
  const taken = checkAddresses(options, net, addresses);
  checkNoDns(options);
  if (options.has("no-search") && !options.has("copy-host")) {
    options.reject("no-search", `only with ${options.place("copy-host")}`);
  }
  if (sharedSubnet && any)
    options.reject("guest-addr", `addresses by name: the subnet's others are not the guest's`);
  checkMacs(options, addresses.gateway);
  const guestMac = options.get("guest-mac");
  const ipv4 = planIpv4(options);
  const forwards = planForwards(options, net, addresses, ipv4, ephemeral);
  const gatewayMac = options.get("gateway-mac") ?? macForGateway(addresses.gateway);
  const ipv6 = planIpv6(options, gatewayMac);
  checkForwards6(options, ipv6);
  checkBoot(options, ipv6);
  return {
    ...defaults,
    ...net,
    ipv4,
    mtu: options.value("mtu"),
    gateway: addresses.gateway,
    dns: addresses.dns,
    guestAddress: addresses.guest,
    otherGuestAddresses: addresses.others,
    anyGuestAddress: any,
    forwardsFollowGuest: any && declared === undefined,
    gatewayMac,
    ...(guestMac ? { guestMac } : {}),
    dhcp: options.has("no-dhcp") ? planNoDhcp(options) : planDhcp(options, net, addresses, taken),
    ipv6,
    nat64: planNat64(options, ipv6),
    resolvers: options.all("resolver").map((given) => given.value),
    dnsHostNames: options.all("dns-host-name").map((given) => given.value),
    forwards,
    guestForwards: options.all("guestfwd").map((given) => given.value),
    hostAliases: planAliases(options, hostAddress),
    sharedSubnet,
    answerPing: options.has("answer-ping"),
    refuseWith: options.value("refuse-with"),
    restrict: options.has("restrict"),
    allowHostLoopback: options.has("allow-host-loopback"),
    allowLinkLocal: options.has("allow-link-local"),
    allowMulticast: options.has("allow-multicast"),
    udpMapping: options.value("udp-mapping"),
    udpFiltering: options.value("udp-filtering"),
    udpTimeoutMs: options.value("udp-timeout") * 1000,
    ...planLimits(options),
    offload: !options.has("no-offload"),
  };
}

/** The bounds of flows, those of a kind no more than that of all, and of memory. */
function planLimits(
  options: OptionSet,
): Pick<EngineConfig, "maxFlows" | "maxHalfOpen" | "maxUdpMappings" | "payloadOctets"> {
  const maxFlows = options.value("max-flows");
  const atMost = (name: "max-half-open" | "max-udp-mappings"): number => {
    const given = options.get(name) ?? 0;
    if (given > maxFlows && !options.broken("max-flows")) {
      options.reject(name, `at most the ${maxFlows} of ${options.place("max-flows")}`);
    }
    return Math.min(options.value(name), maxFlows);
  };
  return {
    maxFlows,
    maxHalfOpen: atMost("max-half-open"),
    maxUdpMappings: atMost("max-udp-mappings"),
    payloadOctets: options.value("memory") * MIB,
  };
}

interface Addresses {
  readonly gateway: number;
  readonly dns: number;
  readonly guest: number;
  /** More that a guest may have without a lease. */
  readonly others: readonly number[];
  readonly start: number;
}

/** Which option to name for an address: the one given, or the subnet the default came from. */
function ownerOf(options: OptionSet, ...names: OptionName[]): OptionName {
  return names.find((name) => options.has(name)) ?? "net";
}

function checkAddresses(options: OptionSet, net: Network, addresses: Addresses): Taken {
  const taken: Taken = new Map();
  const check = (address: number, what: string, name: OptionName, index = 0, anywhere = false): void => {
    if (options.broken(name, "net")) return;
    const problem =
      anywhere && !inNetwork(address, net) ? unicastProblem(address) : hostAddressProblem(address, net);
    const other = taken.get(address);
    if (problem) options.reject(name, `${what} ${problem} (${formatIpv4(address)} is not)`, index);
    else if (other) options.reject(name, `${what} of its own; ${formatIpv4(address)} is ${other}`, index);
    else taken.set(address, what);
  };
  check(addresses.gateway, "a gateway address", ownerOf(options, "gateway"), 0, true);
  if (addresses.dns !== 0 && addresses.dns !== addresses.gateway)
    check(addresses.dns, "a DNS address", ownerOf(options, "dns"), 0, true);
  options.all("host-alias").forEach(({ value }, i) => {
    check(value.address, "an alias of the host", "host-alias", i, true);
  });
  const services = new Set<string>();
  options.all("guestfwd").forEach(({ value }, i) => {
    if (value.address6 !== undefined) return;
    const service = `${value.address}:${value.port}`;
    if (services.has(service)) options.reject("guestfwd", "an address and port that no other rule has", i);
    services.add(service);
    if (taken.get(value.address) !== "a guestfwd address")
      check(value.address, "a guestfwd address", "guestfwd", i);
  });
  const reservedMacs = new Set<string>();
  options.all("reserve").forEach(({ value }, i) => {
    if (!isReservation4(value)) return;
    check(value.address, "a reserved address", "reserve", i);
    const mac = formatMac(value.mac);
    if (reservedMacs.has(mac)) options.reject("reserve", "one address per MAC", i);
    reservedMacs.add(mac);
  });
  if (taken.get(addresses.guest) !== "a reserved address") {
    check(addresses.guest, "a guest address", ownerOf(options, "guest-addr", "dhcp-start"));
  }
  for (const other of addresses.others) {
    if (taken.get(other) !== "a reserved address") check(other, "another guest address", "guest-addr");
  }
  if (addresses.start !== addresses.guest)
    check(addresses.start, "a first lease", ownerOf(options, "dhcp-start"));
  return taken;
}

/** Why an address cannot be one of ours that may be outside of the subnet, where the guest reaches it by the gateway. */
function unicastProblem(address: number): string | undefined {
  const first = address >>> 24;
  return first === 0 || first === 127 || first >= 224 ? "that one host has" : undefined;
}

/** Where aliases lead. Two to the same place would have to share the answers that come from there. */
function planAliases(options: OptionSet, hostAddress: number): HostAlias[] {
  const targets = new Set<AliasRule["target"]>();
  if (options.has("allow-host-loopback")) targets.add(LOOPBACK);
  return options.all("host-alias").map(({ value }, i) => {
    const target = value.target === "host" ? hostAddress : value.target;
    // A host without an address is nobody else's target.
    const place = target === 0 ? value.target : target;
    if (place !== NOBODY && targets.has(place)) {
      const gateway = options.has("allow-host-loopback") && place === LOOPBACK;
      const other = gateway ? options.place("allow-host-loopback") : "another alias";
      options.reject("host-alias", `a target of its own; ${other} leads there`, i);
    }
    targets.add(place);
    return { address: value.address, target };
  });
}

function checkNoDns(options: OptionSet): void {
  if (options.has("no-dns")) {
    for (const name of ["dns", "resolver", "dns-host-name"] as const) {
      if (options.has(name)) options.reject(name, `nothing beside ${options.place("no-dns")}`);
    }
  }
}

function checkMacs(options: OptionSet, gateway: number): void {
  const guest = options.get("guest-mac");
  if (!guest || options.broken("gateway-mac")) return;
  const ours = options.get("gateway-mac") ?? macForGateway(gateway);
  if (formatMac(guest) === formatMac(ours)) options.reject("guest-mac", "a MAC other than the gateway's");
}

/** The options of the table that are DHCP options, as octets. */
function namedDhcpOptions(options: OptionSet): DhcpOption[] {
  const named: DhcpOption[] = [];
  for (const name of OPTION_NAMES) {
    const { dhcp } = definitionOf(name);
    const values = options.all(name).map((given) => String(given.value));
    if (dhcp === undefined || values.length === 0) continue;
    const value = dhcp.encode(values);
    if (value.length > OPTION_VALUE_MAX) {
      options.reject(name, `at most ${OPTION_VALUE_MAX} octets together (these are ${value.length})`);
    }
    named.push({ code: dhcp.code, value });
  }
  return named;
}

/** What only DHCP would tell. (A host name, search domains and a boot file IPv6 tells too.) */
const DHCP_ALONE = ["dhcp-start", "dhcp-option", "reserve", "tftp-server-name", "no-dhcp-dns"] as const;

function planNoDhcp(options: OptionSet): null {
  for (const name of DHCP_ALONE) {
    if (options.has(name)) options.reject(name, `nothing beside ${options.place("no-dhcp")}`);
  }
  return null;
}

function planDhcp(options: OptionSet, net: Network, addresses: Addresses, taken: Taken): DhcpConfig {
  const restrict = options.has("restrict");
  const isShared = options.has("shared-subnet") || options.has("copy-host");
  const isOutside = !restrict && !inNetwork(addresses.gateway, net);
  const defaults = defaultEngineConfig().dhcp as DhcpConfig;
  const extra = options.all("dhcp-option").map((given) => given.value);
  const codes = new Set<number>();
  extra.forEach((option, i) => {
    if (codes.has(option.code)) options.reject("dhcp-option", "each code once; join values with commas", i);
    codes.add(option.code);
  });
  const lease = extra.find((option) => option.code === LEASE_TIME);
  return {
    ...defaults,
    serverAddress: addresses.gateway,
    netmask: netmask(net.prefixLength),
    router: restrict ? 0 : addresses.gateway,
    dnsServers: restrict || addresses.dns === 0 || options.has("no-dhcp-dns") ? [] : [addresses.dns],
    rangeStart: addresses.start,
    // Addresses beside the guest's are other machines'.
    rangeSize: isShared ? 1 : rangeSize(net, addresses.start, taken),
    reservations: options
      .all("reserve")
      .map((given) => given.value)
      .filter(isReservation4),
    leaseSeconds: lease ? new DataView(lease.value.buffer).getUint32(0) : defaults.leaseSeconds,
    mtu: options.value("mtu"),
    // A gateway outside of the subnet is on the link all the same.
    routes: isOutside ? [{ destination: addresses.gateway, prefixLength: 32, gateway: 0 }] : [],
    nextServer: nextServer4(options, addresses.gateway),
    options: namedDhcpOptions(options),
    extraOptions: extra.filter((option) => option.code !== LEASE_TIME),
  };
}

/** Addresses from `start` that can be leased: up to the subnet's end, or to the next one that has an owner. */
function rangeSize(net: Network, start: number, taken: Taken): number {
  let size = 0;
  while (size < GUESTS_MAX) {
    const address = (start + size) | 0;
    const owner = taken.get(address);
    const free = owner === undefined || owner === "a guest address" || owner === "a first lease";
    if (!free || hostAddressProblem(address, net)) break;
    size++;
  }
  return size;
}
