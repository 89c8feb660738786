/** The ends of a UDP mapping as people are told of them: it may have many remotes. */
import { V4_MAPPED } from "../../boundary.ts";
import type { Destinations } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import type { Path } from "../path.ts";
import type { UdpMapping } from "./mapping.ts";

const RECENT = new Int32Array(4);

/** Where remotes of the host side are seen by the guest. */
export interface Sides {
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
}

/**
 * The ends of a mapping for people, into `path`: its remote and target are the client of a forward, else the remote that
 * the guest sent to last.
 */
export function recentEnds(mapping: UdpMapping, { destinations, destinations6 }: Sides, path: Path): void {
  path.copyEnds(mapping);
  path.setTargetOf(mapping);
  if (mapping.inbound) return;
  path.remotePort = mapping.recentPort;
  path.targetPort = mapping.recentPort;
  if (mapping.ipOctets === IPV4_HEADER_OCTETS) {
    setTarget4(mapping, destinations, path);
    path.remoteAddress = mapping.askedAddress;
    return;
  }
  const { pair } = path;
  mapping.copyRecent6(RECENT);
  path.target0 = RECENT[0];
  path.target1 = RECENT[1];
  path.target2 = RECENT[2];
  path.target3 = RECENT[3];
  for (let word = 0; word < 4; word++) pair[4 + word] = RECENT[word];
  destinations6?.seenByGuest(RECENT, 0, pair, 4);
}

/** Where the last remote is reached: as it is, or through NAT64. */
function setTarget4({ recentAddress, hostFamily }: UdpMapping, destinations: Destinations, path: Path): void {
  const words = hostFamily === 6 ? destinations.translated(recentAddress) : null;
  path.target0 = words?.[0] ?? 0;
  path.target1 = words?.[1] ?? 0;
  path.target2 = words?.[2] ?? V4_MAPPED;
  path.target3 = words?.[3] ?? recentAddress;
}
