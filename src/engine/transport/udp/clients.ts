/** Clients of UDP forwards: which mapping is whose, and new ones. */
import { ADDRESS_WORDS, type UdpBatch } from "../../boundary.ts";
import type { Destinations } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import { PROTOCOL_UDP } from "../../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../../wire/ipv6.ts";
import { type FlowTable, NO_FLOW } from "../flow-table.ts";
import { PAIR_WORDS, Path } from "../path.ts";
import type { UdpMapping } from "./mapping.ts";
import type { UdpMappings } from "./mappings.ts";
import type { UdpTeller } from "./teller.ts";

/** Port numbers tried when two clients of a forward look alike to the guest. */
const ALIAS_TRIES = 16;
/** Where to go on after port 65535. */
const ALIAS_FIRST = 1024;

export interface UdpClientsParts {
  readonly flows: FlowTable;
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
  readonly batch: UdpBatch;
}

export class UdpClients {
  /** Those of the client that was looked for last. */
  readonly ends = new Path(new Int32Array(PAIR_WORDS));

  constructor(
    private readonly parts: UdpClientsParts,
    private readonly mappings: UdpMappings,
    private readonly teller: UdpTeller,
  ) {}

  /**
   * The mapping of the client that sent entry `i` to the guest's end of `to` by socket `handle` of `forward`, new if need be;
   * null when there is no room.
   */
  of(forward: number, handle: number, i: number, to: Path): UdpMapping | null {
    const { batch, destinations, destinations6, flows } = this.parts;
    const path = this.ends;
    const from = i * ADDRESS_WORDS;
    path.copyEnds(to);
    path.setTarget(batch.words, i);
    if (path.ipOctets === IPV6_HEADER_OCTETS) destinations6?.seenByGuest(batch.words, from, path.pair, 4);
    else path.remoteAddress = destinations.clientSeenByGuest(batch.words, from);
    path.remotePort = path.targetPort;
    for (let attempt = 0; attempt < ALIAS_TRIES; attempt++) {
      const id = flows.findEnds(PROTOCOL_UDP, path);
      if (id === NO_FLOW) return this.open(forward, handle, i);
      const known = this.mappings.byId[id];
      if (
        known?.inbound &&
        known.handle === handle &&
        known.isSameTarget(path) &&
        known.asked(batch.local, i)
      ) {
        return known;
      }
      // Another client looks the same to the guest (two loopback addresses, say, or one that asks two of ours): this
      // one gets another port.
      path.remotePort = path.remotePort < 0xffff ? path.remotePort + 1 : ALIAS_FIRST;
    }
    return null;
  }

  /** A mapping for the client that sent entry `i`, whose ends and address are in `path`. */
  private open(forward: number, handle: number, i: number): UdpMapping | null {
    if (!this.mappings.makeRoom()) return null;
    const path = this.ends;
    const id = this.parts.flows.insertEnds(PROTOCOL_UDP, path);
    if (id === NO_FLOW) return null;
    const client = this.mappings.take(id, path, handle, forward);
    client.inbound = true;
    client.setTargetOf(path);
    client.setLocal(this.parts.batch.local, i);
    this.mappings.inboundOpen++;
    this.teller.openedByClient(client);
    return client;
  }
}
