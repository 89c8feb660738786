/**
 * Whether the host itself uses addresses of the guest's subnet (a nested 10.0.2.0/24): the guest could then not reach
 * them, and the start says so with a subnet that is free.
 */
import { formatNetwork, type Network, netmask, prefixLengthOf } from "../config/address.ts";
import { type Route4, routes4 } from "../host/kernel-routes.ts";

function overlaps(a: Network, b: Network): boolean {
  const mask = netmask(Math.min(a.prefixLength, b.prefixLength));
  return (a.network & mask) === (b.network & mask);
}

const CANDIDATES: readonly Network[] = [
  ...Array.from({ length: 16 }, (_, i) => ({ network: 0x0a000200 + (i + 1) * 256, prefixLength: 24 })),
  ...Array.from({ length: 16 }, (_, i) => ({ network: (0xc0a86400 | 0) + i * 256, prefixLength: 24 })),
  ...Array.from({ length: 16 }, (_, i) => ({ network: (0xac1f0000 | 0) + i * 256, prefixLength: 24 })),
];

/** A sentence about a host route inside the guest's `subnet` of IPv4, if it has one, or undefined. */
export function overlapWarning(
  subnet: Network & { readonly ipv4?: boolean },
  routes: readonly Network[],
): string | undefined {
  if (subnet.ipv4 === false) return undefined;
  const route = routes.find((other) => overlaps(other, subnet));
  if (!route) return undefined;
  const free = CANDIDATES.find((candidate) => !routes.some((other) => overlaps(other, candidate)));
  const advice = free ? `; --net ${formatNetwork(free)} would avoid it` : "";
  return `the host has a route to ${formatNetwork(route)}, which the guest's subnet ${formatNetwork(subnet)} hides${advice}`;
}

/** The networks that this host has IPv4 routes to, but for default ones. */
export function hostRoutes(routes: readonly Route4[] = routes4()): Network[] {
  return routes.flatMap(({ destination, mask }) => {
    const prefixLength = prefixLengthOf(mask);
    return prefixLength ? [{ network: destination, prefixLength }] : [];
  });
}
