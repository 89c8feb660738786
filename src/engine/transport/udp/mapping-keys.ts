/** By which mapping a datagram of the guest leaves: its key, as the mapping behaviour has it (RFC 4787 section 4.1). */
import type { EngineConfig } from "../../config.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_UDP } from "../../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../../wire/ipv6.ts";
import { type FlowTable, packPorts } from "../flow-table.ts";
import { PAIR_WORDS, Path } from "../path.ts";

/**
 * Stand for the remote in the key of a mapping that serves any: those that are reached as they are, and those that are
 * reached by NAT64. Neither is anybody's address.
 */
export const ANY_REMOTE = 0;
export const REMOTES_BY_NAT64 = 1;

export class MappingKeys {
  /** The key that was looked for last. */
  readonly path = new Path(new Int32Array(PAIR_WORDS));
  private readonly byAddress: boolean;
  private readonly byPort: boolean;

  constructor(
    private readonly flows: FlowTable,
    { udpMapping }: EngineConfig,
  ) {
    this.byAddress = udpMapping !== "endpoint-independent";
    this.byPort = udpMapping === "address-and-port-dependent";
  }

  /** The mapping of a datagram between these ends, or NO_FLOW; `anyRemote` stands for all remotes that one socket reaches. */
  find(
    guestAddress: number,
    remoteAddress: number,
    guestPort: number,
    remotePort: number,
    anyRemote: number,
  ): number {
    const { path } = this;
    path.ipOctets = IPV4_HEADER_OCTETS;
    path.guestAddress = guestAddress;
    path.guestPort = guestPort;
    path.remoteAddress = this.byAddress ? remoteAddress : anyRemote;
    path.remotePort = this.byPort ? remotePort : 0;
    const ports = packPorts(guestPort, path.remotePort);
    return this.flows.find(PROTOCOL_UDP, guestAddress, path.remoteAddress, ports);
  }

  /** The same over IPv6; `pair` are the ends' addresses. */
  find6(pair: Int32Array, guestPort: number, remotePort: number): number {
    const { path } = this;
    path.ipOctets = IPV6_HEADER_OCTETS;
    path.guestPort = guestPort;
    path.remotePort = this.byPort ? remotePort : 0;
    const known = this.byAddress ? PAIR_WORDS : PAIR_WORDS / 2;
    for (let word = 0; word < PAIR_WORDS; word++) path.pair[word] = word < known ? pair[word] : 0;
    return this.flows.find6(PROTOCOL_UDP, path.pair, packPorts(guestPort, path.remotePort));
  }
}
