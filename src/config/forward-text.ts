/** The host's side of forwards as people read it. */
import type { Forward } from "../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";

type HostSide = Pick<Forward, "hostAddress" | "hostAddress6" | "hostDevice">;

/** All addresses of its family. */
export function isOnEveryAddress({ hostAddress, hostAddress6 }: HostSide): boolean {
  return hostAddress6 === undefined ? hostAddress === 0 : hostAddress6.every((word) => word === 0);
}

/** `127.0.0.1`, `[::1]`; all addresses are `*` over IPv4, `[::]` over IPv6; `*%eth0`, `[::%eth0]` of an interface. */
export function forwardHost(forward: HostSide): string {
  const onDevice = forward.hostDevice === undefined ? "" : `%${forward.hostDevice}`;
  if (forward.hostAddress6 !== undefined) return `[${formatIpv6(forward.hostAddress6)}${onDevice}]`;
  return `${isOnEveryAddress(forward) ? "*" : formatIpv4(forward.hostAddress)}${onDevice}`;
}
