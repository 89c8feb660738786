/**
 * Why a frame or datagram was not carried. A reason is a small int, returned instead of an exception and counted;
 * the names are what people see in the counters.
 */
export const HANDLED = 0;
export const DROP_REASONS = [
  "handled",
  "frame-truncated",
  "frame-oversized",
  "ethernet-not-for-us",
  "ethernet-unknown-type",
  "ethernet-bad-source",
  "ipv6-unsupported",
  "arp-malformed",
  "arp-not-ours",
  "ipv4-malformed",
  "ipv4-bad-checksum",
  "ipv4-ttl-expired",
  "ipv4-spoofed-source",
  "ipv4-bad-source",
  "ipv4-options-source-route",
  "ipv4-unknown-protocol",
  "ipv4-fragment-malformed",
  "ipv4-fragment-overlap",
  "ipv4-fragment-limit",
  "ipv4-fragment-timeout",
  "icmp",
  "igmp",
  "udp-malformed",
  "udp-bad-checksum",
  "udp-port-zero",
  "tcp-malformed",
  "tcp-bad-checksum",
  "tcp-port-zero",
  "tcp-no-connection",
  "tcp-unacceptable",
  "tcp-paws",
  "tcp-window-full",
  "tcp-out-of-order-limit",
  "destination-refused",
  "destination-restricted",
  "destination-no-service",
  "dhcp-malformed",
  "dhcp-not-ours",
  "dhcp-no-address",
  "dns-malformed",
  "dns-no-resolver",
  "flow-table-full",
  "udp-mappings-full",
  "host-socket-failed",
  "host-send-refused",
  "memory-exhausted",
  "link-full",
  "link-down",
  "link-refused",
  "inbound-filtered",
  "inbound-no-guest",
  "inbound-too-long",
] as const;

export type DropReasonName = (typeof DROP_REASONS)[number];

/** The int of a reason, looked up once at module load. */
export function dropReason(name: DropReasonName): number {
  return DROP_REASONS.indexOf(name);
}
