/**
 * What a guest is told by DHCP when it takes over a pod's IPv4 address: derived from the address and routes the pod's
 * network interface has, and from the pod's resolv.conf.
 */
import { inNetwork, netmask, parseIpv4, parseMac } from "../../config/address.ts";
import { parseDhcpOption } from "../../config/dhcp-option.ts";
import type { DhcpConfig } from "../../engine/config.ts";
import { formatIpv4 } from "../../engine/wire/address-text.ts";
import { DOMAIN_NAME, DOMAIN_SEARCH, encodeText, HOST_NAME } from "../../engine/wire/dhcp-options.ts";
import { encodeSearchList } from "../../engine/wire/domain-list.ts";
import type { ExtraOption } from "../spec/vm-model.ts";

/** An IPv4 address on a network interface. */
export interface InterfaceAddress {
  readonly address: string;
  readonly prefixLength: number;
  readonly broadcast?: string;
}

/** An IPv4 unicast route, as `ip -json route` tells it. */
export interface InterfaceRoute {
  /** `10.0.0.0/8`, or `0.0.0.0/0` for the default route. */
  readonly destination: string;
  /** Absent: on-link. */
  readonly gateway?: string;
  /** Metric, 0 when none is shown. */
  readonly metric: number;
  /** The kernel made it from an address, and makes it again wherever the address goes. */
  readonly fromAddress: boolean;
  /** Absent: the main table. */
  readonly table?: string;
  /** `link`, `global` ... and `prefsrc`, `protocol`, as `ip` names them; absent where it shows none. */
  readonly scope?: string;
  readonly source?: string;
  readonly protocol?: string;
  /** The gateway is taken to be on-link whatever the other routes say. */
  readonly onLink?: boolean;
}

export interface OfferedRoute {
  readonly destination: string;
  readonly gateway?: string;
}

/** A DHCP lease for one guest, in words. */
export interface DhcpOffer {
  /** The server's own address (option 54). */
  readonly server: string;
  /** The only client served. */
  readonly mac: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly router?: string;
  readonly dnsServers: readonly string[];
  readonly hostname?: string;
  readonly domain?: string;
  readonly searchDomains: readonly string[];
  readonly mtu: number;
  readonly leaseSeconds: number;
  /** Option 121, default route last; empty: not sent. */
  readonly routes: readonly OfferedRoute[];
  /** What the spec adds. */
  readonly options?: readonly ExtraOption[];
}

/** An option as `--dhcp-option` takes it. */
export function optionText({ code, form, value }: ExtraOption): string {
  return `${code}=${form}:${value}`;
}

/** 999 days: the pod's address does not change while the pod lives. */
export const LEASE_SECONDS = 999 * 86_400;

const DEFAULT_DESTINATION = "0.0.0.0/0";

/** The gateway of the default route that counts: the one with the lowest metric. */
export function defaultGateway(routes: readonly InterfaceRoute[]): string | undefined {
  const defaults = inMainTable(routes).filter(
    (route) => route.destination === DEFAULT_DESTINATION && route.gateway !== undefined,
  );
  return [...defaults].sort((a, b) => a.metric - b.metric)[0]?.gateway;
}

/**
 * The routes for option 121 (RFC 3442), default route last. The route to the address's own subnet is left out: the
 * netmask says it. A gateway nothing else leads to (Calico's 169.254.1.1 behind a /32) gets an on-link route first.
 */
export function offeredRoutes(own: InterfaceAddress, routes: readonly InterfaceRoute[]): OfferedRoute[] {
  const subnet = {
    network: parseIpv4(own.address) & netmask(own.prefixLength),
    prefixLength: own.prefixLength,
  };
  const subnetText = `${formatIpv4(subnet.network)}/${subnet.prefixLength}`;
  const wanted = lowestMetric(inMainTable(routes)).filter(
    (route) => route.gateway !== undefined || route.destination !== subnetText,
  );
  const ordered = [
    ...wanted.filter((route) => route.destination !== DEFAULT_DESTINATION),
    ...wanted.filter((route) => route.destination === DEFAULT_DESTINATION),
  ];
  const onLink = ordered
    .filter((route) => route.gateway === undefined)
    .map((route) => networkOf(route.destination));
  const missing = new Set<string>();
  for (const { gateway } of ordered) {
    if (gateway === undefined) continue;
    const address = parseIpv4(gateway);
    if (![subnet, ...onLink].some((net) => inNetwork(address, net))) missing.add(gateway);
  }
  const added = [...missing].map((gateway) => ({ destination: `${gateway}/32` }));
  return [
    ...added,
    ...ordered.map(({ destination, gateway }) => ({
      destination,
      ...(gateway === undefined ? {} : { gateway }),
    })),
  ];
}

/** Routes that policy rules pick are none of a guest's. */
export function inMainTable(routes: readonly InterfaceRoute[]): InterfaceRoute[] {
  return routes.filter((route) => route.table === undefined);
}

/** One route per destination: the one the kernel would take. */
function lowestMetric(routes: readonly InterfaceRoute[]): InterfaceRoute[] {
  const best = new Map<string, InterfaceRoute>();
  for (const route of routes) {
    const other = best.get(route.destination);
    if (other === undefined || route.metric < other.metric) best.set(route.destination, route);
  }
  return [...best.values()];
}

function networkOf(text: string): { network: number; prefixLength: number } {
  const slash = text.indexOf("/");
  return { network: parseIpv4(text.slice(0, slash)), prefixLength: Number(text.slice(slash + 1)) };
}

/** The offer as the DHCP server takes it. */
export function dhcpConfigOf(offer: DhcpOffer): DhcpConfig {
  const address = parseIpv4(offer.address);
  const mac = parseMac(offer.mac);
  return {
    serverAddress: parseIpv4(offer.server),
    netmask: netmask(offer.prefixLength),
    router: offer.router === undefined ? 0 : parseIpv4(offer.router),
    dnsServers: offer.dnsServers.map(parseIpv4),
    rangeStart: address,
    rangeSize: 1,
    reservations: [{ mac, address }],
    onlyMac: mac,
    leaseSeconds: offer.leaseSeconds,
    mtu: offer.mtu,
    sendBroadcast: false,
    routes: offer.routes.map((route) => ({
      destination: networkOf(route.destination).network,
      prefixLength: networkOf(route.destination).prefixLength,
      gateway: route.gateway === undefined ? 0 : parseIpv4(route.gateway),
    })),
    nextServer: 0,
    options: [
      ...(offer.hostname === undefined ? [] : [{ code: HOST_NAME, value: encodeText(offer.hostname) }]),
      ...(offer.domain === undefined ? [] : [{ code: DOMAIN_NAME, value: encodeText(offer.domain) }]),
      { code: DOMAIN_SEARCH, value: encodeSearchList(offer.searchDomains) },
    ],
    extraOptions: (offer.options ?? []).map((option) => parseDhcpOption(optionText(option))),
  };
}
