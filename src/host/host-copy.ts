/** What the guest's network takes over from the host's: `--copy-host`, and the address behind `--host-alias …=host`. */
import { networkInterfaces } from "node:os";
import { formatNetwork, netmask, parseIpv4, prefixLengthOf } from "../config/address.ts";
import { isLinkLocal6, parseIpv6, parseNetwork6 } from "../config/address6.ts";
import { parseDomainName } from "../config/domain-name.ts";
import { CORE6 } from "../config/ipv6-options.ts";
import type { OptionSet } from "../config/option-set.ts";
import { ADDRESS_PORT, ADDRESS_WORDS } from "../engine/boundary.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { defaultDevice, defaultRoutes, defaultRoutes6 } from "./kernel-routes.ts";
import { SO_BINDTOIFINDEX, SOL_SOCKET } from "./native/linux.ts";
import { native } from "./native/native.ts";
import { RESOLV_CONF, readResolvConf } from "./resolv-conf.ts";

/** The host's IPv4 configuration on an interface. */
export interface HostNetwork {
  readonly address: number;
  readonly prefixLength: number;
  /** 0: none. */
  readonly gateway: number;
}

/** What a guest has where the host has no network, and a gateway for an interface without one: link-local, so nobody's. */
const ALONE: HostNetwork = { address: 0xa9fe0201 | 0, prefixLength: 16, gateway: 0xa9fe0202 | 0 };

/** What the host has on `device`, or where its default route goes; undefined when that has no IPv4 address. */
export function hostNetwork(device: string | "auto"): HostNetwork | undefined {
  const routes = defaultRoutes();
  const name = device === "auto" ? routes[0]?.device : device;
  if (name === undefined) return ALONE;
  const found = networkInterfaces()[name]?.find(({ family }) => family === "IPv4");
  const prefixLength = found === undefined ? undefined : prefixLengthOf(parseIpv4(found.netmask));
  if (found === undefined || prefixLength === undefined) return undefined;
  return {
    address: parseIpv4(found.address),
    prefixLength,
    gateway: routes.find((route) => route.device === name)?.gateway ?? 0,
  };
}

/** Gives the options that `--copy-host` stands for, but for those that are there. */
export function copyHost(options: OptionSet): void {
  const device = options.get("copy-host");
  if (device === undefined) return;
  if (options.value("ipv4") === "on") copyHost4(options, device);
  if (options.value("ipv6") !== "off") copyHost6(options, device);
  if (options.has("search") || options.has("no-search")) return;
  for (const name of searchDomains()) options.add("search", name);
}

function copyHost4(options: OptionSet, device: string | "auto"): void {
  // A network that was said whole asks nothing of the host's.
  const isWhole = (["net", "guest-addr", "gateway"] as const).every((name) => options.has(name));
  const host = isWhole ? ALONE : hostNetwork(device);
  if (host === undefined) {
    options.reject("copy-host", "an interface of this host that has an IPv4 address, or auto");
    return;
  }
  const { address, prefixLength } = host;
  const add = (name: "net" | "guest-addr" | "gateway" | "dns", text: string): void => {
    if (!options.has(name)) options.add(name, text);
  };
  add("net", formatNetwork({ network: address & netmask(prefixLength), prefixLength }));
  add("guest-addr", formatIpv4(address));
  add("gateway", formatIpv4(host.gateway === 0 ? ALONE.gateway : host.gateway));
  const gateway = options.get("gateway");
  if (gateway !== undefined && !options.has("no-dns")) add("dns", formatIpv4(gateway));
}

/** The router of a guest whose gateway is of no use to it: fe80::2, as everywhere else. */
const ROUTER6 = formatIpv6(CORE6.routerAddress);

/** The host's IPv6 of an interface; what it does not have is not copied. A /128 is taken for one of a /64. */
function copyHost6(options: OptionSet, device: string | "auto"): void {
  if ((["net6", "guest-addr6"] as const).some((name) => options.has(name))) return;
  const routes = defaultRoutes6();
  const name = device === "auto" ? (routes[0]?.device ?? defaultDevice()) : device;
  const address = networkInterfaces()
    [name ?? ""]?.filter(({ family }) => family === "IPv6")
    .map((found) => parseIpv6(found.address))
    .find((words) => !isLinkLocal6(words) && (words[2] | words[3]) !== 0);
  if (address === undefined) return;
  const prefix = formatIpv6([address[0], address[1], 0, 0]);
  if (!isGuestNetwork6(`${prefix}/64`)) return;
  options.add("net6", `${prefix}/64`);
  options.add("guest-addr6", formatIpv6(address));
  if (options.has("gateway6")) return;
  const gateway = routes.find((route) => route.device === name)?.gateway;
  const isOnLink = gateway?.[0] === address[0] && gateway[1] === address[1];
  options.add(
    "gateway6",
    gateway !== undefined && (isOnLink || isLinkLocal6(gateway)) ? formatIpv6(gateway) : ROUTER6,
  );
}

/** Whether `--net6` takes it. */
function isGuestNetwork6(text: string): boolean {
  try {
    parseNetwork6(text);
    return true;
  } catch {
    return false;
  }
}

/** The host's search domains that are names; a root dot alone is none. */
function searchDomains(): string[] {
  return readResolvConf(RESOLV_CONF).search.filter((name) => {
    try {
      parseDomainName(name);
      return true;
    } catch {
      return false;
    }
  });
}

/** 192.0.2.1, which is nobody's (RFC 5737). */
const OUTSIDE = 0xc0000201 | 0;
const DISCARD_PORT = 9;

/** The address the host reaches others with, by `device` where one is named; 0 without a route. Sends nothing. */
export function outboundAddress(device?: string): number {
  const fd = native.udpSocket(4);
  if (fd < 0) return 0;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set([0, 0, 0xffff, OUTSIDE]);
  words[ADDRESS_PORT] = DISCARD_PORT;
  const index = device === undefined ? 0 : native.deviceIndex(device);
  const bound = index === 0 || (index > 0 && native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, index) === 0);
  const found = bound && native.connect(fd, words) === 0 && native.localAddress(fd, words) === 0;
  native.close(fd);
  return found ? (words[3] ?? 0) : 0;
}

/** The host's address for aliases that lead to it: that of --outbound-addr, or what the routes say. 0: it has none. */
export function aliasedHost(options: OptionSet): number {
  if (!options.all("host-alias").some(({ value }) => value.target === "host")) return 0;
  for (const { value } of options.all("outbound-addr")) {
    if (value.kind === "address") return value.address;
    if (value.kind === "interface") return hostNetwork(value.name)?.address ?? 0;
  }
  return outboundAddress(options.get("outbound-device"));
}
