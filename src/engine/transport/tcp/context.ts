/** What every part of the TCP layer works with. One per engine; `now` is set once per turn. */

import { ADDRESS_WORDS, type ChecksumKernel, type HostNetwork, PEER_STATUS_WORDS } from "../../boundary.ts";
import type { EngineConfig } from "../../config.ts";
import { RX_BATCH_MAX } from "../../limits.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import { ChunkPool, USE_SEND } from "../../memory/chunk-pool.ts";
import type { Counters } from "../../metrics/counters.ts";
import type { Destinations } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import type { Unreachable } from "../../network/unreachable.ts";
import { TimerWheel } from "../../time/timer-wheel.ts";
import type { FlowLedger } from "../flow-ledger.ts";
import { FlowQueue } from "../flow-queue.ts";
import { type FlowTable, NO_FLOW, powerOfTwo } from "../flow-table.ts";
import { type Ends, Path } from "../path.ts";
import { CLOSED, type TcpConnection } from "./connection.ts";
import { HeldResets } from "./held-resets.ts";
import type { LocalService, NameChecks } from "./local-service.ts";
import type { Waiting } from "./waiting.ts";
import type { Ways } from "./ways.ts";

/** Chunks that one read from a host socket may fill. */
export const READ_CHUNKS_MAX = 4;
/** Slices of guest payload gathered in one batch; a stretch of out-of-order chunks may join. */
export const GATHER_MAX = RX_BATCH_MAX * 2;
/** Entries of one sendmsg. */
export const GATHER_SEND_MAX = 256;

export interface TcpParts {
  readonly arena: Arena;
  readonly egress: Egress;
  readonly network: HostNetwork;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly flows: FlowTable;
  readonly ledger: FlowLedger;
  readonly destinations: Destinations;
  /** Null where the guest has no IPv6; then no segment of it comes up. */
  readonly destinations6: Destinations6 | null;
  /** Who tells the guest what it may not reach; null: a reset does. */
  readonly unreachable: Unreachable | null;
  readonly config: EngineConfig;
  readonly mtu: number;
  readonly secret0: number;
  readonly secret1: number;
  /** Kind of the tokens of host sockets; a flow's id is added. */
  readonly token: number;
}

/** What hears how the guest's ports answer. */
export interface PortAnswers {
  /** A segment of no connection: true when it answers a question of ours. */
  answered(ends: Ends, isOpen: boolean, acknowledgment: number): boolean;
  /** The guest has refused a client of a forward to this port of its. */
  refused(guestPort: number): void;
}

export class TcpContext {
  now: number;
  readonly view: DataView;
  readonly arena: Arena;
  readonly egress: Egress;
  readonly network: HostNetwork;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly flows: FlowTable;
  readonly ledger: FlowLedger;
  readonly pool: ChunkPool;
  readonly wheel: TimerWheel;
  readonly heldResets: HeldResets;
  readonly mtu: number;
  readonly secret0: number;
  readonly secret1: number;
  readonly token: number;

  /** By flow id; made on first use and kept for reuse. */
  readonly connections: (TcpConnection | null)[] = [];
  readonly maxHalfOpen: number;
  /** Connections that exist, and those among them that are half open or in TIME-WAIT, oldest first. */
  open = 0;
  readonly halfOpen: FlowQueue;
  readonly timeWaits: FlowQueue;

  /** Payload slices of this batch, linked per connection. */
  readonly gatherAt = new Int32Array(GATHER_MAX);
  readonly gatherLength = new Int32Array(GATHER_MAX);
  readonly gatherNext = new Int32Array(GATHER_MAX);
  gatherCount = 0;
  /** The ends of a client that is sent to the guest's IPv4 address. */
  readonly overIpv4 = new Path();
  /** Who serves the connections that end here. */
  local: LocalService | null = null;
  readonly gateway: number;
  /** Who asks the guest which of its ports are open; null where no forward goes by that. */
  openPorts: PortAnswers | null = null;
  /** Connections about which somebody has yet to decide; made for the first. */
  waiting: Waiting | null = null;
  /** An address for `HostNetwork.tcpConnect`. */
  readonly to = new Int32Array(ADDRESS_WORDS);
  /** Who looks at what connections show first; null without a policy. */
  checks: NameChecks | null = null;
  /** By what way connections leave; null where all go straight. */
  ways: Ways | null = null;
  /** Pairs for `HostNetwork.tcpSend`. */
  readonly sendList = new Int32Array(GATHER_SEND_MAX * 2);
  /** Pairs for `HostNetwork.tcpReceive`, and the chunks they lie in. */
  readonly receiveList = new Int32Array(READ_CHUNKS_MAX * 2);
  readonly receiveChunks = new Int32Array(READ_CHUNKS_MAX);
  /** Filled in by `HostNetwork.tcpStatus`. */
  readonly peerStatus = new Int32Array(PEER_STATUS_WORDS);
  /** Connections with gathered octets or an ACK to send, in order of arrival. */
  readonly touched: Int32Array;
  touchedCount = 0;
  /** The rings below have room for every flow, rounded up to a power of two. */
  private readonly ringMask: number;
  /** Ring of connections with host work. */
  private readonly readyRing: Int32Array;
  private readyHead = 0;
  readyCount = 0;
  /** Connections whose ACK waits, and since when the first of them does. */
  private readonly delayedRing: Int32Array;
  delayedAcks = 0;
  delayedSinceMs = 0;
  /** Ring of connections that wait for a chunk. */
  private readonly starvedRing: Int32Array;
  private starvedHead = 0;
  starvedCount = 0;
  /** Next IPv4 identification. */
  identification = 0;

  /** Connections that filled windows lately. */
  activeReceivers = 1;
  private receivers = 0;
  private receiverInterval = 1;

  constructor(parts: TcpParts, nowMs: number, fire: (id: number) => void) {
    this.now = nowMs;
    this.arena = parts.arena;
    this.view = parts.arena.view;
    this.egress = parts.egress;
    this.network = parts.network;
    this.counters = parts.counters;
    this.checksum = parts.checksum;
    this.flows = parts.flows;
    this.ledger = parts.ledger;
    this.halfOpen = new FlowQueue(parts.flows);
    this.timeWaits = new FlowQueue(parts.flows);
    this.mtu = parts.mtu;
    this.secret0 = parts.secret0;
    this.secret1 = parts.secret1;
    this.token = parts.token;
    this.pool = new ChunkPool(parts.arena, parts.egress.queue, parts.config.payloadOctets);
    parts.egress.pool = this.pool;
    this.heldResets = new HeldResets(this.view, parts.egress, parts.flows);
    const flows = parts.flows.capacity;
    const ring = powerOfTwo(flows);
    this.wheel = new TimerWheel(flows, nowMs, fire);
    this.touched = new Int32Array(flows);
    this.delayedRing = new Int32Array(flows);
    this.readyRing = new Int32Array(ring);
    this.starvedRing = new Int32Array(ring);
    this.ringMask = ring - 1;
    this.maxHalfOpen = parts.config.maxHalfOpen;
    this.gateway = parts.config.gateway;
  }

  /** The ACK of this connection may wait a little. */
  delayAck(c: TcpConnection): void {
    if (c.ackDelayed) return;
    c.ackDelayed = true;
    if (this.delayedAcks === 0) this.delayedSinceMs = this.now;
    this.delayedRing[this.delayedAcks++] = c.id;
  }

  /** Takes one connection whose ACK waits off the list, or null. It may have been acknowledged since. */
  nextDelayedAck(): TcpConnection | null {
    while (this.delayedAcks > 0) {
      const c = this.connections[this.delayedRing[--this.delayedAcks]];
      if (c === null) continue;
      c.ackDelayed = false;
      return c;
    }
    return null;
  }

  /** A connection delivered octets in this interval. */
  noteReceiver(c: TcpConnection): void {
    if (c.receiverInterval === this.receiverInterval) return;
    c.receiverInterval = this.receiverInterval;
    this.receivers++;
  }

  endReceiverInterval(): void {
    this.activeReceivers = this.receivers > 0 ? this.receivers : 1;
    this.receivers = 0;
    this.receiverInterval = (this.receiverInterval + 1) | 0;
  }

  /** No chunk was to be had: the connection is looked at again once one has been given back. */
  waitForMemory(c: TcpConnection): void {
    if (c.starved) return;
    c.starved = true;
    this.starvedRing[(this.starvedHead + this.starvedCount) & this.ringMask] = c.id;
    this.starvedCount++;
  }

  /** Wakes up to `most` connections that wait for memory. */
  wakeStarved(most: number): void {
    while (this.starvedCount > 0 && most-- > 0 && this.pool.hasRoom(USE_SEND)) {
      const c = this.connections[this.starvedRing[this.starvedHead]];
      this.starvedHead = (this.starvedHead + 1) & this.ringMask;
      this.starvedCount--;
      if (c === null) continue;
      c.starved = false;
      if (c.state !== CLOSED) this.makeReady(c);
    }
  }

  /** Puts a connection on the list of those to be flushed after the batch. */
  touch(c: TcpConnection): void {
    if (c.touched) return;
    c.touched = true;
    this.touched[this.touchedCount++] = c.id;
  }

  /** Puts a connection at the end of the ring of those with host work. */
  makeReady(c: TcpConnection): void {
    if (c.ready) return;
    c.ready = true;
    this.readyRing[(this.readyHead + this.readyCount) & this.ringMask] = c.id;
    this.readyCount++;
  }

  /** The connection that has stood in `queue` longest, or null. */
  oldestOf(queue: FlowQueue): TcpConnection | null {
    const id = queue.oldest;
    return id === NO_FLOW ? null : this.connections[id];
  }

  /** Takes the first of the ring; the caller has checked `readyCount`. */
  nextReady(): TcpConnection | null {
    const id = this.readyRing[this.readyHead];
    this.readyHead = (this.readyHead + 1) & this.ringMask;
    this.readyCount--;
    const c = this.connections[id];
    if (c !== null) c.ready = false;
    return c;
  }
}
