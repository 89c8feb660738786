/** What the guest's network takes over from the host's: `--copy-host`, and the address behind `--host-alias …=host`. */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { formatNetwork, netmask, parseIpv4 } from "../config/address.ts";
import { parseDomainName } from "../config/domain-name.ts";
import type { OptionSet } from "../config/option-set.ts";
import { ADDRESS_PORT, ADDRESS_WORDS } from "../engine/boundary.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { SO_BINDTOIFINDEX, SOL_SOCKET } from "./native/linux.ts";
import { native } from "./native/native.ts";
import { RESOLV_CONF, readResolvConf } from "./resolv-conf.ts";

/** An IPv4 default route: its interface and gateway (0: on the link). */
interface DefaultRoute {
  readonly device: string;
  readonly gateway: number;
  readonly metric: number;
}

/** The host's IPv4 configuration on an interface. */
export interface HostNetwork {
  readonly address: number;
  readonly prefixLength: number;
  /** 0: none. */
  readonly gateway: number;
}

const ROUTE_UP = 1;
/** What a guest has where the host has no network, and a gateway for an interface without one: link-local, so nobody's. */
const ALONE: HostNetwork = { address: 0xa9fe0201 | 0, prefixLength: 16, gateway: 0xa9fe0202 | 0 };

/** The default routes in the text of /proc/net/route, the best first. Addresses are in host byte order there. */
export function defaultRoutes(text: string): DefaultRoute[] {
  const routes = text
    .split("\n")
    .slice(1)
    .map((line) => line.split("\t"))
    .filter((fields) => fields.length > 7 && fields[1] === "00000000" && fields[7] === "00000000")
    .filter((fields) => (Number.parseInt(fields[3] ?? "", 16) & ROUTE_UP) !== 0)
    .map(([device = "", , gateway = "", , , , metric]) => ({
      device,
      gateway: swapped(Number.parseInt(gateway, 16)),
      metric: Number(metric),
    }));
  return routes.sort((a, b) => a.metric - b.metric);
}

/** Octets in the other order. */
function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function readDefaultRoutes(): DefaultRoute[] {
  try {
    return defaultRoutes(readFileSync("/proc/net/route", "utf8"));
  } catch {
    return [];
  }
}

/** The interface of the host's best default route, or undefined. */
export function defaultDevice(): string | undefined {
  return readDefaultRoutes()[0]?.device;
}

/** What the host has on `device`, or where its default route goes; undefined when that has no IPv4 address. */
export function hostNetwork(device: string | "auto"): HostNetwork | undefined {
  const routes = readDefaultRoutes();
  const name = device === "auto" ? routes[0]?.device : device;
  if (name === undefined) return ALONE;
  const found = networkInterfaces()[name]?.find(({ family }) => family === "IPv4");
  if (found === undefined) return undefined;
  const mask = parseIpv4(found.netmask);
  return {
    address: parseIpv4(found.address),
    prefixLength: 32 - Math.log2((~mask >>> 0) + 1),
    gateway: routes.find((route) => route.device === name)?.gateway ?? 0,
  };
}

/** Gives the options that `--copy-host` stands for, but for those that are there. */
export function copyHost(options: OptionSet): void {
  const device = options.get("copy-host");
  if (device === undefined) return;
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
  if (options.has("search") || options.has("no-search")) return;
  for (const name of searchDomains()) options.add("search", name);
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
