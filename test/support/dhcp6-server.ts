/** A DHCPv6 configuration for tests: the default prefix and addresses. */
import type { Dhcp6Config } from "../../src/engine/config.ts";
import { ip6 } from "./frames6.ts";

export const PREFIX6 = "fd71:1ae0:d44d:2::";

export const defaultDhcp6: Dhcp6Config = {
  serverMac: Uint8Array.of(0x52, 0x55, 10, 0, 2, 2),
  prefix: ip6(PREFIX6),
  rangeStart: ip6(`${PREFIX6}15`),
  rangeSize: 16,
  ownAddresses: [ip6(`${PREFIX6}2`), ip6(`${PREFIX6}3`)],
  reservations: [],
  preferredSeconds: 14_400,
  validSeconds: 86_400,
  dnsServers: [ip6(`${PREFIX6}3`)],
  searchDomains: [],
  extraOptions: [],
};
