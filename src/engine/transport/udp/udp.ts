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
  V4_MAPPED,
} from "../../boundary.ts";
import type { EngineConfig } from "../../config.ts";
import { UDP_PEERS_MAX } from "../../limits.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import type { Packet } from "../../memory/packet.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { type Destinations, GO, GROUP, reasonOf } from "../../network/destinations.ts";
import { TimerWheel } from "../../time/timer-wheel.ts";
import { PROTOCOL_UDP, ttl } from "../../wire/ipv4.ts";
import { DNS_PORT } from "../../wire/udp.ts";
import { FlowQueue } from "../flow-queue.ts";
import { udpRows } from "../flow-rows.ts";
import { type FlowTable, NO_FLOW, packPorts, placeAt, powerOfTwo } from "../flow-table.ts";
import { type Ends, Path } from "../path.ts";
import { PeerRoom, UdpMapping } from "./mapping.ts";
import { UdpOutput } from "./output.ts";

const OPENED = counter("udp-mappings-opened");
const EXPIRED = counter("udp-mappings-expired");
const EVICTED = counter("udp-mappings-evicted");
const DATAGRAMS_FROM_GUEST = counter("udp-datagrams-from-guest");
const OCTETS_FROM_GUEST = counter("udp-octets-from-guest");
const TABLE_FULL = dropReason("flow-table-full");
const MAPPINGS_FULL = dropReason("udp-mappings-full");
const SOCKET_FAILED = dropReason("host-socket-failed");
const SEND_REFUSED = dropReason("host-send-refused");
const FILTERED = dropReason("inbound-filtered");
const TTL_EXPIRED = dropReason("ipv4-ttl-expired");

/** Port numbers tried when two clients of a forward look alike to the guest. */
const ALIAS_TRIES = 16;
/** Where to go on after port 65535. */
const ALIAS_FIRST = 1024;
/** Batches read from one socket before others get their turn. */
const BATCHES_PER_TURN = 4;
const READY_PER_TURN = 32;
/** RFC 4787 REQ-5: a mapping that is in use lives so long at least. REQ-5a: a name's answer is not waited for. */
const IN_USE_MS = 120_000;
const DNS_IN_USE_MS = 10_000;
/** The same when the host has no port or descriptor left: a conversation idle for a minute is hardly one any more. */
const IN_USE_SHORT_MS = 60_000;
/** 224.0.0.0/24, which no router forwards whatever the TTL (RFC 5771): mDNS asks for 255 there (RFC 6762 section 11). */
const LOCAL_BLOCK = 0xe00000;
/** What UPnP 1.0 sends SSDP with; 1.1 takes 2. */
const GROUP_TTL_MAX = 4;
/** SSDP asks for answers spread over 5 s (UPnP 1.1 section 1.3.2), mDNS sends them within one: with room for slow ones. */
const GROUP_ANSWERS_MS = 30_000;
/** Mappings looked at for one that may give way, per new one. */
const EVICTION_LOOKS = 16;

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
  readonly destinations: Destinations;
  readonly batch: UdpBatch;
  readonly config: EngineConfig;
}

export class Udp {
  readonly output: UdpOutput;
  /** By flow id; made on first use and kept for reuse. */
  readonly mappings: (UdpMapping | null)[] = [];
  private readonly peerRoom = new PeerRoom(UDP_PEERS_MAX);
  open = 0;
  /** The mappings by their last use. */
  private readonly uses: FlowQueue;
  private inboundOpen = 0;
  /** The address a datagram goes to, and the ends of the one at hand. */
  private readonly to = new Int32Array(ADDRESS_WORDS);
  private readonly path = new Path();
  /** The address of the host that a datagram leaves from. */
  private readonly from = new Int32Array(ADDRESS_WORDS);
  /** Ring of mappings whose sockets have datagrams: room for every flow, rounded up to a power of two. */
  private readonly readyRing: Int32Array;
  private readonly ringMask: number;
  private readyHead = 0;
  private readyCount = 0;
  private readonly wheel: TimerWheel;
  private readonly mappingByAddress: boolean;
  private readonly mappingByPort: boolean;
  private readonly filterByAddress: boolean;
  private readonly filterByPort: boolean;
  private queuedSends = false;
  private now: number;

  constructor(
    private readonly parts: UdpParts,
    nowMs: number,
    private readonly token: number,
  ) {
    const { config } = parts;
    this.now = nowMs;
    this.uses = new FlowQueue(parts.flows);
    this.output = new UdpOutput(parts.arena, parts.egress, parts.counters, parts.checksum, config.mtu);
    const flows = parts.flows.capacity;
    this.readyRing = new Int32Array(powerOfTwo(flows));
    this.ringMask = this.readyRing.length - 1;
    this.wheel = new TimerWheel(flows, nowMs, (id) => this.expire(id));
    this.mappingByAddress = config.udpMapping !== "endpoint-independent";
    this.mappingByPort = config.udpMapping === "address-and-port-dependent";
    this.filterByAddress = config.udpFiltering !== "endpoint-independent";
    this.filterByPort = config.udpFiltering === "address-and-port-dependent";
  }

  /** A checked datagram of the guest for the world. Returns HANDLED or a drop reason. */
  datagram(packet: Packet): number {
    if (this.inboundOpen > 0) {
      const { guestAddress, guestPort, remoteAddress, remotePort } = packet;
      const { flows } = this.parts;
      const id = flows.find(PROTOCOL_UDP, guestAddress, remoteAddress, packPorts(guestPort, remotePort));
      const client = id === NO_FLOW ? null : this.mappings[id];
      if (client?.inbound) return this.answerClient(client, packet);
    }
    const verdict = this.parts.destinations.udp(packet, this.to, packet.nowMs);
    if (verdict !== GO) return verdict === GROUP ? this.datagramToGroup(packet) : reasonOf(verdict);
    const id = this.mappingOf(packet);
    return id < 0 ? -id : this.send(id, packet);
  }

  /** The id of the mapping for this datagram, new if need be, or a drop reason negated. */
  private mappingOf(packet: Packet): number {
    const keyAddress = this.mappingByAddress ? packet.remoteAddress : 0;
    const keyPort = this.mappingByPort ? packet.remotePort : 0;
    const ports = packPorts(packet.guestPort, keyPort);
    const id = this.parts.flows.find(PROTOCOL_UDP, packet.guestAddress, keyAddress, ports);
    return id === NO_FLOW ? this.openMapping(packet, keyAddress, keyPort) : id;
  }

  /** The datagram leaves by mapping `id` for the address in `to`. Returns HANDLED or a drop reason. */
  private send(id: number, packet: Packet): number {
    const mapping = this.mappings[id];
    if (mapping === null) return TABLE_FULL;
    mapping.remember(this.to[3], packet.remotePort);
    this.refresh(mapping);
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
    const id = this.mappingOf(packet);
    const mapping = id < 0 ? null : this.mappings[id];
    if (mapping === null) return id < 0 ? -id : TABLE_FULL;
    const isLocal = packet.remoteAddress >>> 8 === LOCAL_BLOCK;
    const reach = isLocal ? wanted : Math.min(wanted, GROUP_TTL_MAX);
    if (mapping.groupTtl !== reach) {
      this.parts.network.udpToGroups(mapping.handle, reach);
      mapping.groupTtl = reach;
    }
    mapping.groupAtMs = this.now;
    return this.send(id, packet);
  }

  /** Whether what comes from anybody may be an answer to a datagram to a group. */
  private awaitsAnswers(mapping: UdpMapping): boolean {
    return mapping.groupTtl > 0 && ((this.now - mapping.groupAtMs) | 0) < GROUP_ANSWERS_MS;
  }

  /**
   * Queues the datagram, or each of a super-frame's, for the mapping's socket and the address in `to`; `from` is an
   * address of the host, null for the kernel's choice.
   */
  private queue(mapping: UdpMapping, packet: Packet, from: AddressWords | null): void {
    const { network, counters } = this.parts;
    const octets = packet.payloadOctets;
    const size = packet.segmentSize === 0 ? octets : packet.segmentSize;
    let sent = 0;
    do {
      const at = packet.payloadAt + sent;
      const length = Math.min(size, octets - sent);
      if (from === null) network.udpSend(mapping.handle, this.to, at, length);
      else network.udpSendFrom(mapping.handle, from, this.to, at, length);
      counters.add(DATAGRAMS_FROM_GUEST, 1);
      sent += size;
    } while (sent < octets);
    this.queuedSends = true;
    mapping.octetsFromGuest += octets;
    counters.add(OCTETS_FROM_GUEST, octets);
  }

  private answerClient(client: UdpMapping, packet: Packet): number {
    client.copyTarget(this.to);
    this.refresh(client);
    this.queue(client, packet, client.copyLocal(this.from) ? this.from : null);
    return HANDLED;
  }

  /** A new mapping with its socket. Returns its id, or a drop reason negated. */
  private openMapping(packet: Packet, keyAddress: number, keyPort: number): number {
    if (!this.makeRoom()) return -MAPPINGS_FULL;
    const path = this.path;
    path.guestAddress = packet.guestAddress;
    path.guestPort = packet.guestPort;
    path.remoteAddress = keyAddress;
    path.remotePort = keyPort;
    const id = this.insert(path);
    if (id === NO_FLOW) return -TABLE_FULL;
    // Port preservation and parity (RFC 4787 REQ-3, REQ-4) are the host's to try.
    const { network, flows } = this.parts;
    let handle = network.udpOpen(this.token | id, 4, packet.guestPort);
    if (isShortage(handle) && this.giveWay(IN_USE_SHORT_MS)) {
      handle = network.udpOpen(this.token | id, 4, packet.guestPort);
    }
    if (handle < 0) {
      flows.remove(id);
      return isShortage(handle) ? -MAPPINGS_FULL : -SOCKET_FAILED;
    }
    this.take(id, path, handle);
    return id;
  }

  private refresh(mapping: UdpMapping): void {
    mapping.refreshedMs = this.now;
    this.uses.renew(mapping.id);
  }

  /**
   * Room for one more mapping: when there are too many, the least recently used of those not in use gives way. A mapping
   * is in use from its first answer until RFC 4787's least time has passed, so that a guest that sends to whatever it
   * likes takes nothing from a conversation, and new conversations find a place. False when all are in use.
   */
  private makeRoom(): boolean {
    return this.open < this.parts.config.maxUdpMappings || this.giveWay(IN_USE_MS);
  }

  /** Ends the least recently used mapping that is not in use, or has not been used for `leastMs`. False without one. */
  private giveWay(leastMs: number): boolean {
    for (let looks = 0; looks < EVICTION_LOOKS; looks++) {
      const oldest = this.uses.oldest;
      const mapping = oldest === NO_FLOW ? null : this.mappings[oldest];
      if (mapping === null) return false;
      if (!this.inUse(mapping, leastMs)) {
        this.parts.counters.add(EVICTED, 1);
        this.remove(mapping);
        return true;
      }
      this.uses.renew(mapping.id);
    }
    return false;
  }

  private inUse(mapping: UdpMapping, leastMs: number): boolean {
    if ((mapping.inbound ? mapping.octetsFromGuest : mapping.octetsToGuest) === 0) return false;
    const least = !mapping.inbound && mapping.recentPort === DNS_PORT ? DNS_IN_USE_MS : leastMs;
    return ((this.now - mapping.refreshedMs) | 0) < least;
  }

  private insert(ends: Ends): number {
    const ports = packPorts(ends.guestPort, ends.remotePort);
    return this.parts.flows.insert(PROTOCOL_UDP, ends.guestAddress, ends.remoteAddress, ports);
  }

  private take(id: number, ends: Ends, handle: number): UdpMapping {
    let mapping = this.mappings[id] ?? null;
    if (mapping === null) {
      mapping = new UdpMapping(id, this.peerRoom);
      placeAt(this.mappings, id, mapping);
    }
    mapping.live = true;
    mapping.handle = handle;
    mapping.setEnds(ends);
    mapping.refreshedMs = this.now;
    this.open++;
    this.uses.append(id);
    this.parts.counters.add(OPENED, 1);
    this.wheel.set(id, (this.now + this.parts.config.udpTimeoutMs) | 0);
    return mapping;
  }

  /** Sends what the batch queued. Called before the link's octets may be overwritten. */
  endOfBatch(): void {
    if (!this.queuedSends) return;
    this.queuedSends = false;
    for (let refused = this.parts.network.udpFlush(); refused > 0; refused--)
      this.parts.counters.drop(SEND_REFUSED);
  }

  hostEvent(id: number): void {
    const mapping = this.mappings[id];
    if (!mapping?.live || mapping.ready) return;
    mapping.ready = true;
    this.readyRing[(this.readyHead + this.readyCount) & this.ringMask] = id;
    this.readyCount++;
  }

  /** Reads sockets that have datagrams. True when some are left. */
  work(): boolean {
    for (let i = 0; i < READY_PER_TURN && this.readyCount > 0; i++) {
      if (!this.slotsFree()) break;
      const mapping = this.mappings[this.readyRing[this.readyHead]];
      this.readyHead = (this.readyHead + 1) & this.ringMask;
      this.readyCount--;
      if (mapping === null) continue;
      mapping.ready = false;
      if (mapping.live && !mapping.inbound && this.receive(mapping)) this.hostEvent(mapping.id);
    }
    return this.readyCount > 0 && !this.parts.egress.blocked;
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
      const count = this.parts.network.udpReceive(mapping.handle, batch);
      // An error is one a datagram of ours caused earlier; nothing of it is ours to tell.
      if (count <= 0) return false;
      for (let i = 0; i < count; i++) {
        const result = this.toGuest(mapping, i);
        if (result !== HANDLED) this.dropEntry(result, i);
      }
      if (batch.drained) return false;
    }
    return true;
  }

  /** Counts every datagram of a run. */
  private dropEntry(reason: number, entry: number): void {
    const { segment, length } = this.parts.batch;
    this.parts.counters.drops[reason] += segment[entry] === 0 ? 1 : Math.ceil(length[entry] / segment[entry]);
  }

  private toGuest(mapping: UdpMapping, entry: number): number {
    const { batch, destinations } = this.parts;
    const address = batch.words[entry * ADDRESS_WORDS + 3];
    const port = batch.words[entry * ADDRESS_WORDS + ADDRESS_PORT];
    if (this.filterByAddress && !mapping.knows(address, this.filterByPort ? port : -1)) {
      if (!this.awaitsAnswers(mapping)) return FILTERED;
    }
    mapping.octetsToGuest += batch.length[entry];
    const path = this.path;
    path.guestAddress = mapping.guestAddress;
    path.guestPort = mapping.guestPort;
    path.remoteAddress = destinations.seenByGuest(address);
    path.remotePort = port;
    return this.output.send(path, batch.at[entry], batch.length[entry], batch.segment[entry]);
  }

  /** Datagrams of clients of UDP forward `index`, for the guest's end given. True when the socket may have more. */
  receiveForward(index: number, handle: number, guest: number, guestPort: number): boolean {
    const batch = this.parts.batch;
    const count = this.parts.network.udpReceiveLocal(handle, batch);
    for (let i = 0; i < count; i++) {
      this.path.guestAddress = guest;
      this.path.guestPort = guestPort;
      const client = this.clientOf(index, handle, i);
      if (client === null) {
        this.dropEntry(MAPPINGS_FULL, i);
        continue;
      }
      client.octetsToGuest += batch.length[i];
      const result = this.output.send(client, batch.at[i], batch.length[i], batch.segment[i]);
      if (result !== HANDLED) this.dropEntry(result, i);
    }
    return count > 0 && !batch.drained;
  }

  /**
   * The mapping of the client that sent entry `i` to the guest's end in `path`, new if need be; null when there is no
   * room.
   */
  private clientOf(index: number, handle: number, i: number): UdpMapping | null {
    const { batch, destinations, flows } = this.parts;
    const path = this.path;
    path.setTarget(batch.words, i);
    if (path.target0 === 0 && path.target2 === 0) path.target2 = V4_MAPPED;
    path.remoteAddress = destinations.seenByGuest(path.target3);
    path.remotePort = path.targetPort;
    for (let attempt = 0; attempt < ALIAS_TRIES; attempt++) {
      const ports = packPorts(path.guestPort, path.remotePort);
      const id = flows.find(PROTOCOL_UDP, path.guestAddress, path.remoteAddress, ports);
      if (id === NO_FLOW) return this.openClient(index, handle, i);
      const known = this.mappings[id];
      if (
        known?.inbound &&
        known.forward === index &&
        known.target3 === path.target3 &&
        known.targetPort === path.targetPort &&
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
  private openClient(index: number, handle: number, i: number): UdpMapping | null {
    if (!this.makeRoom()) return null;
    const path = this.path;
    const id = this.insert(path);
    if (id === NO_FLOW) return null;
    const client = this.take(id, path, handle);
    client.inbound = true;
    client.forward = index;
    client.setTargetOf(path);
    client.setLocal(this.parts.batch.local, i);
    this.inboundOpen++;
    return client;
  }

  advance(nowMs: number): void {
    this.now = nowMs;
    this.wheel.advance(nowMs);
  }

  nextDeadlineMs(nowMs: number): number {
    return this.wheel.nextMs(nowMs);
  }

  private expire(id: number): void {
    const mapping = this.mappings[id];
    if (!mapping?.live) return;
    const due = (mapping.refreshedMs + this.parts.config.udpTimeoutMs) | 0;
    if (((due - this.now) | 0) > 0) {
      this.wheel.set(id, due);
      return;
    }
    this.parts.counters.add(EXPIRED, 1);
    this.remove(mapping);
  }

  private remove(mapping: UdpMapping): void {
    if (mapping.inbound) this.inboundOpen--;
    else this.parts.network.udpClose(mapping.handle);
    mapping.reset();
    this.wheel.clear(mapping.id);
    this.uses.remove(mapping.id);
    this.parts.flows.remove(mapping.id);
    this.open--;
  }

  rows(nowMs: number): FlowRow[] {
    const { destinations } = this.parts;
    return udpRows(this.mappings, (address) => destinations.seenByGuest(address), nowMs);
  }

  close(): void {
    this.endOfBatch();
    for (const mapping of this.mappings) if (mapping?.live) this.remove(mapping);
  }
}
