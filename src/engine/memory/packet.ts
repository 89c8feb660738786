/**
 * The packet in hand: what each layer has found out about the frame it looks at, filled on the way up. There is one per
 * engine, written anew for each frame. Nobody keeps it; who needs a field after the call copies it.
 */
export class Packet {
  // Of the link.
  /** The turn it came in. */
  nowMs = 0;
  /** Offset of the Ethernet header, and octets from there on. */
  frameAt = 0;
  frameOctets = 0;
  /** Source MAC address: its top 16 bits and its low 32. */
  sourceHigh = 0;
  sourceLow = 0;
  /** The link does not vouch for the transport checksum. */
  verify = false;
  /** Payload octets of each segment or datagram of a super-frame, 0 for a plain frame. */
  segmentSize = 0;

  // Of the network layer.
  /** Offset of the ARP or IP header, and the octets that may belong to it (a link may pad). */
  networkAt = 0;
  networkOctets = 0;
  /** Octets of an IP header without options: 20 or 40, which tells the family. */
  ipOctets = 20;
  /** IPv4 source and destination: the guest's address and the one it wants. */
  guestAddress = 0;
  remoteAddress = 0;
  /** The same of IPv6, four words each. */
  readonly pair = new Int32Array(8);
  readonly pairAt = 0;
  /** Offset of the transport header, and octets from there on. */
  transportAt = 0;
  transportOctets = 0;
  /** It had a fragment header of IPv6, maybe of a fragment that is the whole datagram. */
  fragmented = false;
  /** It came in fragments: its octets lie in the reassembly buffer and are gone after the call. */
  reassembled = false;

  // Of the transport layer.
  guestPort = 0;
  remotePort = 0;
  payloadAt = 0;
  payloadOctets = 0;
}
