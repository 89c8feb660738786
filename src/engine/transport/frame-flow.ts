/** Which flow a frame belongs to: for who watches frames. Packets in hand are found by their layers. */
import type { FrameEnds } from "../wire/frame-ends.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4.ts";
import { type FlowTable, NO_FLOW, packPorts } from "./flow-table.ts";
import { ANY_REMOTE, type MappingKeys, REMOTES_BY_NAT64 } from "./udp/mapping-keys.ts";

/** The flow's place in the table, or NO_FLOW. */
export function flowOfFrame(flows: FlowTable, keys: MappingKeys, ends: FrameEnds): number {
  const { protocol, isIpv4, words, guestPort, remotePort } = ends;
  if ((protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) || guestPort < 0) return NO_FLOW;
  const ports = packPorts(guestPort, remotePort);
  const own = isIpv4 ? flows.find(protocol, words[3], words[7], ports) : flows.find6(protocol, words, ports);
  if (own !== NO_FLOW || protocol === PROTOCOL_TCP) return own;
  // A mapping stands for many remotes.
  if (!isIpv4) return keys.find6(words, guestPort, remotePort);
  const mapping = keys.find(words[3], words[7], guestPort, remotePort, ANY_REMOTE);
  return mapping === NO_FLOW
    ? keys.find(words[3], words[7], guestPort, remotePort, REMOTES_BY_NAT64)
    : mapping;
}
