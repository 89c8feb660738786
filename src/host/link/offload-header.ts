/** What a queued frame leaves to the guest (segments, a checksum), as the virtio_net_hdr in front of it. */
import {
  type TransmitQueue,
  TX_CHECKSUM_PARTIAL,
  TX_IPV6,
  TX_TCP_SEGMENTS,
  TX_UDP_SEGMENTS,
} from "../../engine/memory/transmit-queue.ts";
import { ETHERNET_HEADER_OCTETS } from "../../engine/wire/ethernet.ts";
import { PROTOCOL_TCP } from "../../engine/wire/ipv4.ts";
import { NEXT_HEADER } from "../../engine/wire/ipv6.ts";
import {
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_NEEDS_CSUM,
  writeVnetHeader,
} from "../../engine/wire/virtio-net.ts";

/** Offsets of the protocol field from the Ethernet header, and of the checksum in each transport header. */
const IPV4_PROTOCOL_OFFSET = ETHERNET_HEADER_OCTETS + 9;
const IPV6_PROTOCOL_OFFSET = ETHERNET_HEADER_OCTETS + NEXT_HEADER;
const TCP_CHECKSUM_OFFSET = 16;
const UDP_CHECKSUM_OFFSET = 6;

/** Writes the header of the queue's `entry` at `at`, VNET_HEADER_OCTETS long. */
export function writeOffloadHeader(view: DataView, at: number, queue: TransmitQueue, entry: number): void {
  const flags = queue.flags[entry];
  if (flags === 0) {
    writeVnetHeader(view, at, 0, VNET_GSO_NONE, 0, 0, 0, 0);
    return;
  }
  const partial = (flags & TX_CHECKSUM_PARTIAL) !== 0;
  const isIpv6 = (flags & TX_IPV6) !== 0;
  const protocolAt = queue.headerAt[entry] + (isIpv6 ? IPV6_PROTOCOL_OFFSET : IPV4_PROTOCOL_OFFSET);
  const tcp = view.getUint8(protocolAt) === PROTOCOL_TCP;
  let gsoType = VNET_GSO_NONE;
  if (flags & TX_TCP_SEGMENTS) gsoType = isIpv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
  else if (flags & TX_UDP_SEGMENTS) gsoType = VNET_GSO_UDP_L4;
  writeVnetHeader(
    view,
    at,
    partial ? VNET_NEEDS_CSUM : 0,
    gsoType,
    queue.headerLength[entry],
    gsoType === VNET_GSO_NONE ? 0 : queue.segmentSize[entry],
    partial ? queue.transportOffset[entry] : 0,
    partial ? (tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET) : 0,
  );
}
