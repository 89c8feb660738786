/** How far datagrams to groups go, and for how long their answers are waited for. */
import type { UdpMapping } from "./mapping.ts";

/** 224.0.0.0/24, which no router forwards whatever the TTL (RFC 5771): mDNS asks for 255 there (RFC 6762 section 11). */
const LOCAL_BLOCK = 0xe00000;
/** What UPnP 1.0 sends SSDP with; 1.1 takes 2. */
const GROUP_TTL_MAX = 4;
/** SSDP asks for answers spread over 5 s (UPnP 1.1 section 1.3.2), mDNS sends them within one: with room for slow ones. */
const GROUP_ANSWERS_MS = 30_000;

/** The TTL of a datagram to group `address` for which the guest wants this one. */
export function groupReach(address: number, wanted: number): number {
  return address >>> 8 === LOCAL_BLOCK ? wanted : Math.min(wanted, GROUP_TTL_MAX);
}

/** Whether what comes from anybody may be an answer to a datagram to a group. */
export function awaitsAnswers(mapping: UdpMapping, nowMs: number): boolean {
  return mapping.groupTtl > 0 && ((nowMs - mapping.groupAtMs) | 0) < GROUP_ANSWERS_MS;
}
