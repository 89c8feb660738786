/**
 * What the engine has seen, in plain integers. Doubles hold counts exactly up to 2^53; they live in typed arrays so
 * that counting allocates nothing.
 */
import { DROP_REASONS, type DropReasonName } from "./drop-reasons.ts";

export const COUNTER_NAMES = [
  "link-frames-from-guest",
  "link-octets-from-guest",
  "link-frames-to-guest",
  "link-octets-to-guest",
  "vhost-bad-ring",
  "vhost-unknown-request",
  "arp-replies",
  "echo-replies",
  "icmp-unreachable",
  "icmp-unreachable-limited",
  "dhcp-replies",
  "ndp-replies",
  "ndp-requests",
  "router-advertisements",
  "dhcp6-replies",
  "dns-queries",
  "dns-answers",
  "dns-resolver-noerror",
  "dns-resolver-nxdomain",
  "dns-resolver-servfail",
  "dns-resolver-refused",
  "dns-resolver-other",
  "dns-sluice-noerror",
  "dns-sluice-nxdomain",
  "dns-sluice-refused",
  "dns-nobody-none",
  "dns-truncated",
  "dns-merged",
  "dns-next-resolver",
  "dns-tcp-malformed",
  "tftp-requests",
  "tftp-refused",
  "tftp-completed",
  "tftp-octets",
  "tftp-retransmits",
  "fragments-from-guest",
  "datagrams-reassembled",
  "fragments-to-guest",
  "tcp-opened",
  "tcp-accepted",
  "tcp-refused",
  "tcp-closed",
  "tcp-half-open-evicted",
  "tcp-time-wait-evicted",
  "tcp-resets-from-guest",
  "tcp-resets-to-guest",
  "tcp-octets-from-guest",
  "tcp-octets-to-guest",
  "tcp-octets-peeked",
  "tcp-retransmits",
  "tcp-fast-retransmits",
  "tcp-recoveries-undone",
  "tcp-timeouts",
  "tcp-out-of-order",
  "tcp-duplicates",
  "tcp-zero-window-probes",
  "tcp-challenge-acks",
  "tcp-keepalives",
  "tcp-keepalives-relayed",
  "udp-mappings-opened",
  "udp-mappings-expired",
  "udp-mappings-evicted",
  "udp-datagrams-from-guest",
  "udp-datagrams-to-guest",
  "udp-octets-from-guest",
  "udp-octets-to-guest",
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];

/** The int of a counter, looked up once at module load. */
export function counter(name: CounterName): number {
  return COUNTER_NAMES.indexOf(name);
}

export class Counters {
  readonly values = new Float64Array(COUNTER_NAMES.length);
  /** Indexed by drop reason; entry 0 counts frames that were handled. */
  readonly drops = new Float64Array(DROP_REASONS.length);

  add(index: number, amount: number): void {
    this.values[index] += amount;
  }

  drop(reason: number): void {
    this.drops[reason]++;
  }

  value(name: CounterName): number {
    return this.values[counter(name)];
  }

  dropped(name: DropReasonName): number {
    return this.drops[DROP_REASONS.indexOf(name)];
  }

  /** Every counter that is not zero, by name, for people and for tests. */
  snapshot(): { counters: Record<string, number>; drops: Record<string, number> } {
    const counters: Record<string, number> = {};
    const drops: Record<string, number> = {};
    COUNTER_NAMES.forEach((name, i) => {
      if (this.values[i] !== 0) counters[name] = this.values[i];
    });
    DROP_REASONS.forEach((name, i) => {
      if (i !== 0 && this.drops[i] !== 0) drops[name] = this.drops[i];
    });
    return { counters, drops };
  }
}
