/**
 * UDP between the guest and the host's sockets (RFC 4787). Theory of operation:
 *
 * A mapping is a guest endpoint and an unconnected host socket. By default it is endpoint-independent: one socket per
 * guest address and port, whatever the remote; filtering is address-dependent: a remote is heard once the guest has
 * sent to its address. Both are selectable; the mapping's key simply holds more or less of the remote.
 *
 * Clients of a UDP forward are mappings too, keyed by the client, so that the guest's answers leave by the forward's
 * socket; and by the address of the host it asked where the forward has all of them, so that they leave from that one.
 * They are looked up first, and only when there are any.
 *
 * Guest to host: datagrams are queued by reference and leave in one sendmmsg after the batch. Host to guest: a socket
 * is read only while the transmit queue is empty, because frames point into the receive slots.
 */

import type { FlowRow } from "../../api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  type ChecksumKernel,
  EADDRINUSE,
  EMFILE,
  ENFILE,
  type HostNetwork,
  type UdpBatch,
} from "../../boundary.ts";
import type { EngineConfig } from "../../config.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import type { Packet } from "../../memory/packet.ts";
import { datagramsOf } from "../../memory/udp-batch.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { CHECK, type Destinations, GO, GROUP, reasonOf, TRANSLATED } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_UDP, ttl } from "../../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../../wire/ipv6.ts";
import { isMapped } from "../../wire/mapped-address.ts";
import { type Nat64Prefix, untranslated } from "../../wire/translated-address.ts";
import type { FlowLedger } from "../flow-ledger.ts";
import { udpRows } from "../flow-rows.ts";
import { type FlowTable, NO_FLOW, packPorts } from "../flow-table.ts";
import { PAIR_WORDS, Path } from "../path.ts";
import { type DatagramChecks, datagramOctets, type WayOut } from "./checks.ts";
import { UdpClients } from "./clients.ts";
import { awaitsAnswers, groupReach } from "./groups.ts";
import type { UdpMapping } from "./mapping.ts";
import { ANY_REMOTE, MappingKeys, REMOTES_BY_NAT64 } from "./mapping-keys.ts";
import { IN_USE_SHORT_MS, UdpMappings } from "./mappings.ts";
import { UdpOutput } from "./output.ts";
import { ReadyRing } from "./ready-ring.ts";
import { UdpTeller } from "./teller.ts";

const DATAGRAMS_FROM_GUEST = counter("udp-datagrams-from-guest");
const OCTETS_FROM_GUEST = counter("udp-octets-from-guest");
const TABLE_FULL = dropReason("flow-table-full");
const MAPPINGS_FULL = dropReason("udp-mappings-full");
const SOCKET_FAILED = dropReason("host-socket-failed");
const SEND_REFUSED = dropReason("host-send-refused");
const FILTERED = dropReason("inbound-filtered");
const TTL_EXPIRED = dropReason("ipv4-ttl-expired");
const NETWORK_CHANGED = flowEndBy("network-changed", "sluice");
const KILLED = flowEndBy("killed", "sluice");
const STOPPED = flowEndBy("stopped", "sluice");

/** Batches read from one socket before others get their turn. */
const BATCHES_PER_TURN = 4;
const READY_PER_TURN = 32;

/** The host has no descriptor or no port left. */
function isShortage(handle: number): boolean {
  return handle === EMFILE || handle === ENFILE || handle === EADDRINUSE;
}

export interface UdpParts {
  readonly arena: Arena;
  readonly egress: Egress;
  readonly network: HostNetwork;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly flows: FlowTable;
  readonly ledger: FlowLedger;
  readonly destinations: Destinations;
  /** Null where the guest has no IPv6; then no datagram of it comes up. */
  readonly destinations6: Destinations6 | null;
  readonly batch: UdpBatch;
  readonly config: EngineConfig;
  readonly secret0: number;
  readonly secret1: number;
}

export class Udp implements WayOut {
  readonly output: UdpOutput;
  readonly mappings: UdpMappings;
  private readonly teller: UdpTeller;
  private readonly clients: UdpClients;
  /** The address a datagram goes to, and the ends of the one at hand. */
  private readonly to = new Int32Array(ADDRESS_WORDS);
  private readonly path = new Path(new Int32Array(PAIR_WORDS));
  /** The address of the host that a datagram leaves from. */
  private readonly from = new Int32Array(ADDRESS_WORDS);
  /** Mappings whose sockets have datagrams. */
  private readonly ready: ReadyRing;
  readonly keys: MappingKeys;
  private readonly filterByAddress: boolean;
  private readonly filterByPort: boolean;
  private queuedSends = false;
  private nat64: Nat64Prefix | null = null;
  /** Who is asked about datagrams to remotes that have to be shown a name; without one there are none. */
  checks: DatagramChecks | null = null;

  constructor(
    private readonly parts: UdpParts,
    nowMs: number,
    private readonly token: number,
  ) {
    const { config } = parts;
    this.mappings = new UdpMappings(parts, nowMs);
    this.teller = new UdpTeller(parts.ledger, parts, parts.batch);
    this.clients = new UdpClients(parts, this.mappings, this.teller);
    this.output = new UdpOutput({ ...parts, mtu: config.mtu });
    this.ready = new ReadyRing(parts.flows.capacity);
    this.keys = new MappingKeys(parts.flows, config);
    this.filterByAddress = config.udpFiltering !== "endpoint-independent";
    this.filterByPort = config.udpFiltering === "address-and-port-dependent";
  }

  /** Mappings there are. */
  get open(): number {
    return this.mappings.open;
  }

  /** A checked datagram of the guest for the world, over IPv4. Returns HANDLED or a drop reason. */
  datagram(packet: Packet): number {
    if (this.mappings.inboundOpen > 0) {
      const { guestAddress, guestPort, remoteAddress, remotePort } = packet;
      const { flows } = this.parts;
      const id = flows.find(PROTOCOL_UDP, guestAddress, remoteAddress, packPorts(guestPort, remotePort));
      const client = id === NO_FLOW ? null : this.mappings.byId[id];
      if (client?.inbound) return this.answerClient(client, packet);
    }
    const verdict = this.parts.destinations.udp(packet, this.to, packet.nowMs);
    if (verdict !== GO) return this.datagramElsewhere(packet, verdict);
    const id = this.mappingOf(packet, ANY_REMOTE, 4);
    return id < 0 ? -id : this.send(id, packet);
  }

  private datagramElsewhere(packet: Packet, verdict: number): number {
    if (verdict === GROUP) return this.datagramToGroup(packet);
    if (verdict === CHECK && this.checks !== null) return this.checks.datagram(packet, this);
    if (verdict !== TRANSLATED) return reasonOf(verdict);
    return this.passTranslated(packet);
  }

  private passTranslated(packet: Packet): number {
    // By a socket of IPv6. What goes out as it is has another one.
    const id = this.mappingOf(packet, REMOTES_BY_NAT64, 6);
    return id < 0 ? -id : this.send(id, packet);
  }

  /** The same over IPv6. */
  datagram6(packet: Packet): number {
    const { flows, destinations6 } = this.parts;
    if (this.mappings.inboundOpen > 0) {
      const id = flows.find6(PROTOCOL_UDP, packet.pair, packPorts(packet.guestPort, packet.remotePort));
      const client = id === NO_FLOW ? null : this.mappings.byId[id];
      if (client?.inbound) return this.answerClient(client, packet);
    }
    const verdict = destinations6?.udp(packet, this.to, packet.nowMs) ?? GO;
    if (verdict !== GO) return this.datagramElsewhere(packet, verdict);
    const id = this.mappingOf6(packet);
    return id < 0 ? -id : this.send(id, packet);
  }

  /** A datagram that need not show a name any more, to the address in `to`. */
  pass(packet: Packet): number {
    if (packet.ipOctets === IPV4_HEADER_OCTETS && !isMapped(this.to, 0)) return this.passTranslated(packet);
    const isIpv4 = packet.ipOctets === IPV4_HEADER_OCTETS;
    const id = isIpv4 ? this.mappingOf(packet, ANY_REMOTE, 4) : this.mappingOf6(packet);
    return id < 0 ? -id : this.send(id, packet);
  }

  /**
   * The id of the mapping for this datagram, new if need be with a socket of this family, or a drop reason negated.
   * `anyRemote` stands for all remotes that one socket reaches.
   */
  private mappingOf(packet: Packet, anyRemote: number, family: 4 | 6): number {
    const { guestAddress, guestPort, remoteAddress, remotePort } = packet;
    const id = this.keys.find(guestAddress, remoteAddress, guestPort, remotePort, anyRemote);
    return id === NO_FLOW ? this.openMapping(this.keys.path, packet, family) : id;
  }

  /** The same over IPv6. */
  private mappingOf6(packet: Packet): number {
    const id = this.keys.find6(packet.pair, packet.guestPort, packet.remotePort);
    return id === NO_FLOW ? this.openMapping(this.keys.path, packet, 6) : id;
  }

  /** The datagram leaves by mapping `id` for the address in `to`. Returns HANDLED or a drop reason. */
  private send(id: number, packet: Packet): number {
    const mapping = this.mappings.byId[id];
    if (mapping === null) return TABLE_FULL;
    mapping.askedAddress = packet.remoteAddress;
    if (mapping.ipOctets !== IPV4_HEADER_OCTETS) mapping.remember6(this.to, 0, packet.remotePort);
    else
      mapping.remember(
        mapping.hostFamily === 4 ? this.to[3] : untranslated(this.to, 0, this.nat64),
        packet.remotePort,
      );
    this.mappings.refresh(mapping);
    this.queue(mapping, packet, null);
    return HANDLED;
  }

  /**
   * A datagram to a group leaves as one of the host's own would, so far as the guest wanted it to go (RFC 1112), but
   * outside of the local network's block no farther than discovery needs. Whoever answers is heard for a while: nobody
   * can know who that will be.
   */
  private datagramToGroup(packet: Packet): number {
    const wanted = ttl(this.parts.arena.view, packet.networkAt);
    if (wanted === 0) return TTL_EXPIRED;
    const id = this.mappingOf(packet, ANY_REMOTE, 4);
    const mapping = id < 0 ? null : this.mappings.byId[id];
    if (mapping === null) return id < 0 ? -id : TABLE_FULL;
    const reach = groupReach(packet.remoteAddress, wanted);
    if (mapping.groupTtl !== reach) {
      this.parts.network.udpToGroups(mapping.handle, reach);
      mapping.groupTtl = reach;
    }
    mapping.groupAtMs = this.mappings.now;
    return this.send(id, packet);
  }

  /**
   * Queues the datagram, or each of a super-frame's, for the mapping's socket and the address in `to`; `from` is an
   * address of the host, null for the kernel's choice.
   */
  private queue(mapping: UdpMapping, packet: Packet, from: AddressWords | null): void {
    const { network, counters } = this.parts;
    const octets = packet.payloadOctets;
    const size = datagramOctets(packet);
    let sent = 0;
    do {
      const at = packet.payloadAt + sent;
      const length = Math.min(size, octets - sent);
      if (from === null) network.udpSend(mapping.handle, this.to, at, length);
      else network.udpSendFrom(mapping.handle, from, this.to, at, length);
      counters.add(DATAGRAMS_FROM_GUEST, 1);
      mapping.packetsFromGuest = (mapping.packetsFromGuest + 1) | 0;
      sent += size;
    } while (sent < octets);
    this.queuedSends = true;
    mapping.octetsFromGuest += octets;
    counters.add(OCTETS_FROM_GUEST, octets);
  }

  private answerClient(client: UdpMapping, packet: Packet): number {
    client.copyTarget(this.to);
    this.mappings.refresh(client);
    this.queue(client, packet, client.copyLocal(this.from) ? this.from : null);
    return HANDLED;
  }

  /**
   * A new mapping between these ends, with its socket of this family, for the datagram at hand, which goes to the address in
   * `to`. Returns its id, or a drop reason negated.
   */
  private openMapping(path: Path, packet: Packet, family: 4 | 6): number {
    const { mappings } = this;
    if (!mappings.makeRoom()) return -MAPPINGS_FULL;
    const { network, flows } = this.parts;
    const id = flows.insertEnds(PROTOCOL_UDP, path);
    if (id === NO_FLOW) return -TABLE_FULL;
    // Port preservation and parity (RFC 4787 REQ-3, REQ-4) are the host's to try.
    let handle = network.udpOpen(this.token | id, family, path.guestPort);
    if (isShortage(handle) && mappings.giveWay(IN_USE_SHORT_MS)) {
      handle = network.udpOpen(this.token | id, family, path.guestPort);
    }
    if (handle < 0) {
      flows.remove(id);
      return isShortage(handle) ? -MAPPINGS_FULL : -SOCKET_FAILED;
    }
    mappings.take(id, path, handle).hostFamily = family;
    this.teller.opened(id, packet, this.to);
    return id;
  }

  /** Sends what the batch queued. Called before the link's octets may be overwritten. */
  endOfBatch(): void {
    if (!this.queuedSends) return;
    this.queuedSends = false;
    for (let refused = this.parts.network.udpFlush(); refused > 0; refused--)
      this.parts.counters.drop(SEND_REFUSED);
  }

  hostEvent(id: number): void {
    const mapping = this.mappings.byId[id];
    if (!mapping?.live || mapping.ready) return;
    mapping.ready = true;
    this.ready.push(id);
  }

  /** Reads sockets that have datagrams. True when some are left. */
  work(): boolean {
    for (let i = 0; i < READY_PER_TURN && this.ready.count > 0; i++) {
      if (!this.slotsFree()) break;
      const mapping = this.mappings.byId[this.ready.shift()];
      if (mapping === null) continue;
      mapping.ready = false;
      if (mapping.live && !mapping.inbound && this.receive(mapping)) this.hostEvent(mapping.id);
    }
    return this.ready.count > 0 && !this.parts.egress.blocked;
  }

  /** Frames of the last read must have left before their slots are used again. */
  slotsFree(): boolean {
    this.parts.egress.flush();
    return this.parts.egress.queue.length === 0;
  }

  /** Reads one socket. True when it may have more. */
  private receive(mapping: UdpMapping): boolean {
    const batch = this.parts.batch;
    for (let round = 0; round < BATCHES_PER_TURN; round++) {
      if (!this.slotsFree()) return true;
      batch.drained = true;
      const count = this.parts.network.udpReceive(mapping.handle, batch);
      // An error is one a datagram of ours caused earlier; nothing of it is ours to tell.
      if (count < 0) return false;
      for (let i = 0; i < count; i++) {
        const result = this.toGuest(mapping, i);
        if (result === HANDLED) this.countToGuest(mapping, i);
        else {
          this.dropEntry(result, i);
          this.teller.dropped(mapping, result, i, this.nat64);
        }
      }
      if (batch.drained) return false;
    }
    return true;
  }

  /** Counts every datagram of a run. */
  private dropEntry(reason: number, entry: number): void {
    this.parts.counters.drops[reason] += datagramsOf(this.parts.batch, entry);
  }

  private toGuest(mapping: UdpMapping, entry: number): number {
    if (mapping.hostFamily !== 4) return this.fromIpv6(mapping, entry);
    return this.toGuest4(mapping, entry, this.parts.batch.words[entry * ADDRESS_WORDS + 3]);
  }

  private fromIpv6(mapping: UdpMapping, entry: number): number {
    if (mapping.ipOctets !== IPV4_HEADER_OCTETS) return this.toGuest6(mapping, entry);
    const address = untranslated(this.parts.batch.words, entry * ADDRESS_WORDS, this.nat64);
    return address === 0 ? FILTERED : this.toGuest4(mapping, entry, address);
  }

  private toGuest4(mapping: UdpMapping, entry: number, address: number): number {
    const { batch, destinations } = this.parts;
    const port = batch.words[entry * ADDRESS_WORDS + ADDRESS_PORT];
    if (this.filterByAddress && !mapping.knows(address, this.filterByPort ? port : -1)) {
      if (!awaitsAnswers(mapping, this.mappings.now)) return FILTERED;
    }
    const path = this.path;
    path.ipOctets = IPV4_HEADER_OCTETS;
    path.guestAddress = mapping.guestAddress;
    path.guestPort = mapping.guestPort;
    path.remoteAddress = mapping.nameOf(address) || destinations.seenByGuest(address);
    path.remotePort = port;
    return this.output.send(path, batch.at[entry], batch.length[entry], batch.segment[entry]);
  }

  private countToGuest(mapping: UdpMapping, entry: number): void {
    mapping.octetsToGuest += this.parts.batch.length[entry];
    mapping.packetsToGuest = (mapping.packetsToGuest + datagramsOf(this.parts.batch, entry)) | 0;
  }

  private toGuest6(mapping: UdpMapping, entry: number): number {
    const { batch, destinations6 } = this.parts;
    const from = entry * ADDRESS_WORDS;
    const port = batch.words[from + ADDRESS_PORT];
    if (this.filterByAddress && !mapping.knows6(batch.words, from, this.filterByPort ? port : -1)) {
      return FILTERED;
    }
    const path = this.path;
    path.ipOctets = IPV6_HEADER_OCTETS;
    path.flowLabel = mapping.flowLabel;
    path.guestPort = mapping.guestPort;
    for (let word = 0; word < 4; word++) path.pair[word] = mapping.pair[mapping.pairAt + word];
    destinations6?.seenByGuest(batch.words, from, path.pair, 4);
    path.remotePort = port;
    return this.output.send(path, batch.at[entry], batch.length[entry], batch.segment[entry]);
  }

  /**
   * Datagrams of clients of UDP forward `forward`, at its socket `handle`, for the guest's end of `to`. True when the socket
   * may have more.
   */
  receiveForward(forward: number, handle: number, to: Path): boolean {
    const batch = this.parts.batch;
    batch.drained = true;
    const count = this.parts.network.udpReceiveLocal(handle, batch);
    for (let i = 0; i < count; i++) {
      const client = this.clients.of(forward, handle, i, to);
      if (client === null) {
        this.dropEntry(MAPPINGS_FULL, i);
        this.teller.droppedOf(this.clients.ends, MAPPINGS_FULL, i);
        continue;
      }
      const result = this.output.send(client, batch.at[i], batch.length[i], batch.segment[i]);
      if (result === HANDLED) this.countToGuest(client, i);
      else {
        this.dropEntry(result, i);
        this.teller.droppedOf(client, result, i);
      }
    }
    return count >= 0 && !batch.drained;
  }

  /** Global addresses are reached by this prefix from now on, or as they are: open sockets lead elsewhere. */
  translate(nat64: Nat64Prefix | null): void {
    this.nat64 = nat64;
    this.mappings.removeAll(NETWORK_CHANGED, (m) => !m.inbound && m.ipOctets === IPV4_HEADER_OCTETS);
  }

  advance(nowMs: number): void {
    this.mappings.advance(nowMs);
  }

  nextDeadlineMs(nowMs: number): number {
    return this.mappings.nextDeadlineMs(nowMs);
  }

  rows(nowMs: number): FlowRow[] {
    return udpRows(this.mappings.byId, this.parts, nowMs);
  }

  /** Ends a mapping for an operator. */
  kill(id: number): void {
    const mapping = this.mappings.byId[id];
    if (!mapping?.live) return;
    this.endOfBatch();
    this.mappings.remove(mapping, KILLED);
  }

  /** The sockets of this forward are about to be closed: its clients are forgotten. */
  forwardRemoved(forward: number): void {
    if (this.mappings.inboundOpen === 0) return;
    this.endOfBatch();
    const { ledger } = this.parts;
    this.mappings.removeAll(KILLED, ({ id, inbound }) => inbound && ledger.forward[id] === forward);
  }

  /** Writes the row of mapping `id` for call `call`. */
  tellRow(call: number, id: number, nowMs: number): void {
    const mapping = this.mappings.byId[id];
    if (mapping?.live) this.teller.row(call, mapping, nowMs);
  }

  close(): void {
    this.endOfBatch();
    this.mappings.removeAll(STOPPED, () => true);
  }
}
