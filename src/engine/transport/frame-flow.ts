/** Which flow a frame belongs to: for who watches frames. Packets in hand are found by their layers. */
import type { EngineConfig } from "../config.ts";
import type { FrameEnds } from "../wire/frame-ends.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4.ts";
import { type FlowTable, NO_FLOW, packPorts } from "./flow-table.ts";
import { PAIR_WORDS } from "./path.ts";
import { ANY_REMOTE, REMOTES_BY_NAT64 } from "./udp/udp.ts";

const pair = new Int32Array(PAIR_WORDS);

/** The flow's place in the table, or NO_FLOW. */
export function flowOfFrame(flows: FlowTable, { udpMapping }: EngineConfig, ends: FrameEnds): number {
  const { protocol, isIpv4, words, guestPort, remotePort } = ends;
  if ((protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP) || guestPort < 0) return NO_FLOW;
  const ports = packPorts(guestPort, remotePort);
  const own = isIpv4 ? flows.find(protocol, words[3], words[7], ports) : flows.find6(protocol, words, ports);
  if (own !== NO_FLOW || protocol === PROTOCOL_TCP) return own;
  // A mapping stands for many remotes.
  const byAddress = udpMapping !== "endpoint-independent";
  const keyPorts = udpMapping === "address-and-port-dependent" ? ports : packPorts(guestPort, 0);
  if (!isIpv4) {
    const known = byAddress ? PAIR_WORDS : PAIR_WORDS / 2;
    for (let word = 0; word < PAIR_WORDS; word++) pair[word] = word < known ? words[word] : 0;
    return flows.find6(protocol, pair, keyPorts);
  }
  if (byAddress) return flows.find(protocol, words[3], words[7], keyPorts);
  const mapping = flows.find(protocol, words[3], ANY_REMOTE, keyPorts);
  return mapping === NO_FLOW ? flows.find(protocol, words[3], REMOTES_BY_NAT64, keyPorts) : mapping;
}
