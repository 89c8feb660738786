/** The addresses of user-mode NAT: what is at which place of the guest's subnet. */
import { Address4, Address6 } from "ip-address";
import { formatNetwork, type Network, netmask } from "../../config/address.ts";
import { CORE6 } from "../../config/ipv6-options.ts";
import { formatIpv4, formatIpv6 } from "../../engine/wire/address-text.ts";

export interface NatAddresses {
  /** `10.0.2.0/24`. */
  readonly network: string;
  readonly gateway: string;
  readonly guest: string;
  /** Absent where the subnet has no room for one. */
  readonly dns?: string;
}

/** The guest's IPv6 network, on pods that have IPv6. */
export const NAT_NETWORK6 = `${formatIpv6(CORE6.prefix)}/64`;

const DEFAULT_NETWORK: Network = { network: (10 << 24) | (2 << 8), prefixLength: 24 };

/** A /30 has room for the gateway and the guest alone. */
export const NAT_PREFIX_MAX = 30;
const NAT_PREFIX_MIN = 4;

/** What parses `vmNetworkCIDR`, octets with leading zeros included: they are decimal, as in a cluster. */
const CIDR = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})\/(\d{1,2})$/;

/** The network an IPv4 CIDR names, its host part cut off; undefined when it is none a guest can live in. */
export function parseGuestNetwork(text: string): Network | undefined {
  const match = CIDR.exec(text);
  if (match === null) return undefined;
  const octets = match.slice(1, 5).map(Number);
  const prefixLength = Number(match[5]);
  const [first = 0] = octets;
  if (octets.some((octet) => octet > 255) || prefixLength < NAT_PREFIX_MIN || prefixLength > NAT_PREFIX_MAX) {
    return undefined;
  }
  if (first === 0 || first === 127 || first >= 224) return undefined;
  const address = octets.reduce((value, octet) => (value << 8) | octet, 0);
  return { network: address & netmask(prefixLength), prefixLength };
}

/** An IPv4 address, with leading zeros or without, as a dotted quad; undefined when it is none. */
export function plainIpv4(text: string): string | undefined {
  if (!/^\d{1,9}(\.\d{1,9}){3}$/.test(text)) return undefined;
  const plain = text.split(".").map(Number).join(".");
  return Address4.isValid(plain) ? plain : undefined;
}

/** Whether a text is an IPv6 address, without a zone. */
export function isIpv6(text: string): boolean {
  return /^[0-9A-Fa-f:.]+$/.test(text) && Address6.isValid(text);
}

/** Whether a text is an IPv6 network a guest could live in. */
export function isIpv6Network(text: string): boolean {
  const slash = text.indexOf("/");
  const prefix = text.slice(slash + 1);
  return slash > 0 && isIpv6(text.slice(0, slash)) && /^\d{1,3}$/.test(prefix) && Number(prefix) <= 126;
}

/** Slirp's places: gateway second, DNS third, guest fifteenth, or as far as a small subnet goes. */
export function slirpAddresses(network = DEFAULT_NETWORK): NatAddresses {
  if (network.prefixLength === NAT_PREFIX_MAX) return addresses(network, 1, 2);
  return addresses(network, 2, network.prefixLength <= 27 ? 15 : 4, 3);
}

/** Masquerade's places: gateway first, guest second; DNS third, where the subnet has a third host. */
export function masqueradeAddresses(network = DEFAULT_NETWORK): NatAddresses {
  return network.prefixLength === NAT_PREFIX_MAX ? addresses(network, 1, 2) : addresses(network, 1, 2, 3);
}

function addresses(network: Network, gateway: number, guest: number, dns?: number): NatAddresses {
  const place = (offset: number): string => formatIpv4(network.network + offset);
  return {
    network: formatNetwork(network),
    gateway: place(gateway),
    guest: place(guest),
    ...(dns === undefined ? {} : { dns: place(dns) }),
  };
}
