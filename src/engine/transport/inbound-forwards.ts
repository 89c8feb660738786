/**
 * Clients of the declared ports. Listening sockets are edge-triggered: what is left in one is remembered here and
 * looked at again each turn. TCP clients are accepted at once and wait, bounded, for a guest that has not shown itself
 * (their SYN is sent again until it has); datagrams wait for it in the kernel's buffer.
 */

import { ADDRESS_WORDS, EAGAIN, type HostNetwork } from "../boundary.ts";
import type { Forward } from "../config.ts";
import type { Egress } from "../link/egress.ts";
import type { Neighbours } from "../link/neighbours.ts";
import type { Destinations } from "../network/destinations.ts";
import type { Sources } from "../network/sources.ts";
import { NO_FLOW } from "./flow-table.ts";
import { Path } from "./path.ts";
import type { Tcp } from "./tcp/tcp.ts";
import type { Udp } from "./udp/udp.ts";

/** Clients accepted from one listener per turn. */
const ACCEPTS_PER_TURN = 64;

/** Milliseconds after which a stalled socket is looked at again, if nothing else makes a turn. */
const RETRY_MS = 250;

/** What is known of a forward's socket. */
const IDLE = 0;
const READY = 1;

/** How serving one socket went. */
const DRAINED = 0;
const MORE = 1;
/** It has clients and the engine no room: a later turn looks again, this one need not. */
const STALLED = 2;

export interface InboundParts {
  readonly forwards: readonly Forward[];
  /** The guest of forwards that name none. */
  readonly guestAddress: number;
  /** Rather the one heard from last when the first client comes; `guestAddress` is asked for while there is none. */
  readonly followGuest: boolean;
  readonly sources: Sources;
  readonly network: HostNetwork;
  readonly egress: Egress;
  readonly destinations: Destinations;
  readonly neighbours: Neighbours;
  readonly tcp: Tcp;
  readonly udp: Udp;
  /** Kind of the TCP flows' tokens. */
  readonly token: number;
}

export class InboundForwards {
  private readonly handles: Int32Array;
  private readonly state: Uint8Array;
  private readonly peer = new Int32Array(ADDRESS_WORDS);
  private readonly path = new Path();
  private guest: number;
  private stalled = false;
  private retryAtMs = 0;

  constructor(private readonly parts: InboundParts) {
    this.handles = new Int32Array(parts.forwards.length).fill(-1);
    this.state = new Uint8Array(parts.forwards.length);
    this.guest = parts.followGuest ? 0 : parts.guestAddress;
  }

  /** Another guest may be at the link: which one forwards go to is to be found out anew. */
  linkAttached(): void {
    this.guest = this.parts.followGuest ? 0 : this.parts.guestAddress;
  }

  /** Forward `index` has this listening or bound socket. */
  open(index: number, handle: number): void {
    this.handles[index] = handle;
    this.state[index] = READY;
  }

  /** The socket of forward `index` has something. */
  ready(index: number): void {
    if (index < this.state.length) this.state[index] = READY;
  }

  /** Serves the sockets that have clients. True when more may wait right now. */
  work(nowMs: number): boolean {
    let more = false;
    this.stalled = false;
    for (let i = 0; i < this.state.length; i++) {
      if (this.state[i] === IDLE || this.handles[i] < 0) continue;
      const result = this.serve(i, this.parts.forwards[i]);
      if (result === DRAINED) this.state[i] = IDLE;
      else if (result === MORE) more = true;
      else {
        this.stalled = true;
        this.retryAtMs = (nowMs + RETRY_MS) | 0;
      }
    }
    return more;
  }

  /** Milliseconds until a stalled socket is due, or -1. */
  nextDeadlineMs(nowMs: number): number {
    return this.stalled ? Math.max((this.retryAtMs - nowMs) | 0, 0) : -1;
  }

  private serve(index: number, forward: Forward): number {
    const guest = forward.guestAddress === 0 ? this.guestOfAll() : forward.guestAddress;
    if (guest === 0) {
      this.parts.egress.unresolved = this.parts.guestAddress;
      return STALLED;
    }
    const known = this.parts.neighbours.find(guest) >= 0;
    if (forward.protocol === "tcp") return this.acceptTcp(index, guest, forward.guestPort);
    if (!known) {
      this.parts.egress.unresolved = guest;
      return STALLED;
    }
    return this.receiveUdp(index, guest, forward.guestPort);
  }

  /** The guest of forwards that name none, 0 while nobody has been heard from. */
  private guestOfAll(): number {
    if (this.guest === 0) this.guest = this.parts.neighbours.latest(this.parts.sources);
    return this.guest;
  }

  private receiveUdp(index: number, guest: number, guestPort: number): number {
    if (!this.parts.udp.slotsFree()) return STALLED;
    return this.parts.udp.receiveForward(index, this.handles[index], guest, guestPort) ? MORE : DRAINED;
  }

  private acceptTcp(index: number, guest: number, guestPort: number): number {
    for (let n = 0; n < ACCEPTS_PER_TURN; n++) {
      const id = this.parts.tcp.nextInboundId();
      if (id === NO_FLOW) return STALLED;
      const handle = this.parts.network.tcpAccept(this.handles[index], this.parts.token | id, this.peer);
      if (handle === EAGAIN) return DRAINED;
      // Out of descriptors or memory; the socket's edge has passed, so it is for us to look again.
      if (handle < 0) return STALLED;
      const path = this.path;
      path.setTarget(this.peer);
      path.guestAddress = guest;
      path.guestPort = guestPort;
      path.remoteAddress = this.parts.destinations.seenByGuest(path.target3);
      path.remotePort = path.targetPort;
      this.parts.tcp.acceptInbound(path, handle);
    }
    return MORE;
  }
}
