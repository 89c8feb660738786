/**
 * Which UDP mappings there are: how many at once, how long each lives, and which gives way when there are too many.
 */
import type { HostNetwork } from "../../boundary.ts";
import type { EngineConfig } from "../../config.ts";
import { UDP_PEERS_MAX } from "../../limits.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { TimerWheel } from "../../time/timer-wheel.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_UDP } from "../../wire/ipv4.ts";
import { DNS_PORT } from "../../wire/udp.ts";
import { type FlowLedger, NO_FORWARD } from "../flow-ledger.ts";
import { FlowQueue } from "../flow-queue.ts";
import { type FlowTable, flowLabelOf, NO_FLOW, placeAt } from "../flow-table.ts";
import { type Ends, PAIR_WORDS, Path } from "../path.ts";
import { PeerRoom, UdpMapping } from "./mapping.ts";
import { recentEnds, type Sides } from "./recent-ends.ts";

const OPENED = counter("udp-mappings-opened");
const EXPIRED = counter("udp-mappings-expired");
const EVICTED = counter("udp-mappings-evicted");
const UNUSED = flowEndBy("expired", "sluice");
const GAVE_WAY = flowEndBy("evicted", "sluice");

/** RFC 4787 REQ-5: a mapping that is in use lives so long at least. REQ-5a: a name's answer is not waited for. */
const IN_USE_MS = 120_000;
const DNS_IN_USE_MS = 10_000;
/** The same when the host has no port or descriptor left: a conversation idle for a minute is hardly one any more. */
export const IN_USE_SHORT_MS = 60_000;
/** Mappings looked at for one that may give way, per new one. */
const EVICTION_LOOKS = 16;

export interface UdpMappingsParts extends Sides {
  readonly network: HostNetwork;
  readonly counters: Counters;
  readonly flows: FlowTable;
  readonly ledger: FlowLedger;
  readonly config: EngineConfig;
  readonly secret0: number;
  readonly secret1: number;
}

export class UdpMappings {
  /** By flow id; made on first use and kept for reuse. */
  readonly byId: (UdpMapping | null)[] = [];
  open = 0;
  /** Those among them that are clients of forwards. */
  inboundOpen = 0;
  now: number;
  private readonly peerRoom = new PeerRoom(UDP_PEERS_MAX);
  /** The mappings by their last use. */
  private readonly uses: FlowQueue;
  private readonly wheel: TimerWheel;
  /** The ends of a mapping as they are told. */
  private readonly told = new Path(new Int32Array(PAIR_WORDS));

  constructor(
    private readonly parts: UdpMappingsParts,
    nowMs: number,
  ) {
    this.now = nowMs;
    this.uses = new FlowQueue(parts.flows);
    this.wheel = new TimerWheel(parts.flows.capacity, nowMs, (id) => this.expire(id));
  }

  /** The guest used it. */
  refresh(mapping: UdpMapping): void {
    mapping.refreshedMs = this.now;
    this.uses.renew(mapping.id);
  }

  /**
   * Room for one more mapping: when there are too many, the least recently used of those not in use gives way. A mapping
   * is in use from its first answer until RFC 4787's least time has passed, so that a guest that sends to whatever it
   * likes takes nothing from a conversation, and new conversations find a place. False when all are in use.
   */
  makeRoom(): boolean {
    return this.open < this.parts.config.maxUdpMappings || this.giveWay(IN_USE_MS);
  }

  /** Ends the least recently used mapping that is not in use, or has not been used for `leastMs`. False without one. */
  giveWay(leastMs: number): boolean {
    for (let looks = 0; looks < EVICTION_LOOKS; looks++) {
      const oldest = this.uses.oldest;
      const mapping = oldest === NO_FLOW ? null : this.byId[oldest];
      if (mapping === null) return false;
      if (!this.inUse(mapping, leastMs)) {
        this.parts.counters.add(EVICTED, 1);
        this.remove(mapping, GAVE_WAY);
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

  /** The mapping of flow `id`, which is new, with its socket; `forward` is the one its client came by. */
  take(id: number, ends: Ends, handle: number, forward = NO_FORWARD): UdpMapping {
    this.parts.ledger.open(id, forward);
    let mapping = this.byId[id] ?? null;
    if (mapping === null) {
      mapping = new UdpMapping(id, this.peerRoom);
      placeAt(this.byId, id, mapping);
    }
    mapping.live = true;
    mapping.handle = handle;
    mapping.begin(ends, this.parts.flows.words);
    if (ends.ipOctets !== IPV4_HEADER_OCTETS) {
      mapping.flowLabel = flowLabelOf(this.parts.secret0, this.parts.secret1, mapping);
    }
    mapping.refreshedMs = this.now;
    this.open++;
    this.uses.append(id);
    this.parts.counters.add(OPENED, 1);
    this.wheel.set(id, (this.now + this.parts.config.udpTimeoutMs) | 0);
    return mapping;
  }

  advance(nowMs: number): void {
    this.now = nowMs;
    this.wheel.advance(nowMs);
  }

  nextDeadlineMs(nowMs: number): number {
    return this.wheel.nextMs(nowMs);
  }

  private expire(id: number): void {
    const mapping = this.byId[id];
    if (!mapping?.live) return;
    const due = (mapping.refreshedMs + this.parts.config.udpTimeoutMs) | 0;
    if (((due - this.now) | 0) > 0) {
      this.wheel.set(id, due);
      return;
    }
    this.parts.counters.add(EXPIRED, 1);
    this.remove(mapping, UNUSED);
  }

  /** Forgets it, and closes its socket. `end` says why (metrics/flow-end.ts). */
  remove(mapping: UdpMapping, end: number): void {
    if (this.parts.ledger.recorder !== null) this.tellEnd(mapping, end);
    if (mapping.inbound) this.inboundOpen--;
    else this.parts.network.udpClose(mapping.handle);
    mapping.reset();
    this.wheel.clear(mapping.id);
    this.uses.remove(mapping.id);
    this.parts.flows.remove(mapping.id);
    this.open--;
  }

  /** Removes those that `fits` says. */
  removeAll(end: number, fits: (mapping: UdpMapping) => boolean): void {
    for (const mapping of this.byId) if (mapping?.live && fits(mapping)) this.remove(mapping, end);
  }

  /** Leaves mapping `id` the remotes that `keeps` says yes of; it ends where none is left. */
  retain(id: number, end: number, keeps: (words: Int32Array, port: number) => boolean): void {
    const mapping = this.byId[id];
    if (!mapping?.live || mapping.inbound) return;
    if (mapping.retain(keeps) === 0) this.remove(mapping, end);
  }

  private tellEnd(mapping: UdpMapping, end: number): void {
    const { ledger } = this.parts;
    recentEnds(mapping, this.parts, this.told);
    ledger.recorder?.flowEnded(mapping.id, PROTOCOL_UDP, this.told, mapping, end, 0);
  }
}
