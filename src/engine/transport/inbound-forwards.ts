/**
 * Clients of the declared ports. Listening sockets are edge-triggered: what is left in one is remembered here and
 * looked at again each turn. TCP clients are accepted at once and wait, bounded, for a guest that has not shown itself
 * (their SYN is sent again until it has); datagrams wait for it in the kernel's buffer.
 */

import { ADDRESS_WORDS, EAGAIN, type HostNetwork } from "../boundary.ts";
import type { Forward, Ipv6Words } from "../config.ts";
import type { Egress } from "../link/egress.ts";
import type { GuestAddresses } from "../link/guest-addresses.ts";
import type { Neighbours } from "../link/neighbours.ts";
import type { Neighbours6 } from "../link/neighbours6.ts";
import type { Destinations } from "../network/destinations.ts";
import type { Destinations6 } from "../network/destinations6.ts";
import type { Sources } from "../network/sources.ts";
import { IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../wire/ipv6.ts";
import { NO_FLOW } from "./flow-table.ts";
import { PAIR_WORDS, Path } from "./path.ts";
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
  readonly destinations6: Destinations6 | null;
  readonly neighbours: Neighbours;
  /** Null where the guest has no IPv6: clients of forwards there wait. */
  readonly v6: { readonly neighbours: Neighbours6; readonly guests: GuestAddresses } | null;
  readonly tcp: Tcp;
  readonly udp: Udp;
  /** Kind of the TCP flows' tokens. */
  readonly token: number;
}

export class InboundForwards {
  private readonly handles: Int32Array;
  private readonly state: Uint8Array;
  private readonly peer = new Int32Array(ADDRESS_WORDS);
  private readonly path = new Path(new Int32Array(PAIR_WORDS));
  private nowMs = 0;
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
    this.nowMs = nowMs;
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
    this.path.guestPort = forward.guestPort;
    if (forward.guestAddress6 !== undefined && !this.isWithout6(forward)) {
      return this.serve6(index, forward, forward.guestAddress6);
    }
    const guest = forward.guestAddress === 0 ? this.guestOfAll() : forward.guestAddress;
    if (guest === 0) {
      this.parts.egress.unresolved = this.parts.guestAddress;
      return STALLED;
    }
    this.path.ipOctets = IPV4_HEADER_OCTETS;
    this.path.guestAddress = guest;
    const known = this.parts.neighbours.find(guest) >= 0;
    if (forward.protocol === "tcp") return this.acceptTcp(index);
    if (!known) {
      this.parts.egress.unresolved = guest;
      return STALLED;
    }
    return this.receiveUdp(index);
  }

  /**
   * Whether a forward to the guest's own address goes to that of IPv4, if it may, since the guest has not shown that it
   * has the other: it is asked, for the clients to come.
   */
  private isWithout6({ eitherFamily }: Forward): boolean {
    if (!eitherFamily) return false;
    const { v6, egress } = this.parts;
    if (v6 === null || !v6.guests.choose(this.nowMs)) return true;
    const { chosen } = v6.guests;
    if (v6.neighbours.find(chosen, 0) >= 0) return false;
    egress.wantGuest6(chosen, 0);
    return true;
  }

  /** A forward to the guest's IPv6 address: `named`, or the one it turns out to have. */
  private serve6(index: number, forward: Forward, named: Ipv6Words | null): number {
    const { v6, egress } = this.parts;
    if (v6 === null || (named === null && !v6.guests.choose(this.nowMs))) return STALLED;
    const { path } = this;
    path.ipOctets = IPV6_HEADER_OCTETS;
    path.guestAddress = forward.eitherFamily ? this.knownGuest4() : 0;
    for (let word = 0; word < 4; word++) path.pair[word] = named?.[word] ?? v6.guests.chosen[word];
    const known = v6.neighbours.find(path.pair, 0) >= 0;
    if (forward.protocol === "tcp") return this.acceptTcp(index);
    if (!known) {
      egress.wantGuest6(path.pair, 0);
      return STALLED;
    }
    return this.receiveUdp(index);
  }

  /** The guest's IPv4 address for clients that it refuses over IPv6; 0 while it has shown none. */
  private knownGuest4(): number {
    const guest = this.guestOfAll();
    return guest !== 0 && this.parts.neighbours.find(guest) >= 0 ? guest : 0;
  }

  /** The guest of forwards that name none, 0 while nobody has been heard from. */
  private guestOfAll(): number {
    if (this.guest === 0) this.guest = this.parts.neighbours.latest(this.parts.sources);
    return this.guest;
  }

  /** The guest's end is in `path`. */
  private receiveUdp(index: number): number {
    if (!this.parts.udp.slotsFree()) return STALLED;
    return this.parts.udp.receiveForward(index, this.handles[index], this.path) ? MORE : DRAINED;
  }

  private acceptTcp(index: number): number {
    const { path } = this;
    const { destinations, destinations6 } = this.parts;
    for (let n = 0; n < ACCEPTS_PER_TURN; n++) {
      const id = this.parts.tcp.nextInboundId();
      if (id === NO_FLOW) return STALLED;
      const handle = this.parts.network.tcpAccept(this.handles[index], this.parts.token | id, this.peer);
      if (handle === EAGAIN) return DRAINED;
      // Out of descriptors or memory; the socket's edge has passed, so it is for us to look again.
      if (handle < 0) return STALLED;
      path.setTarget(this.peer);
      path.remoteAddress = destinations.clientSeenByGuest(this.peer);
      if (path.ipOctets === IPV6_HEADER_OCTETS) destinations6?.seenByGuest(this.peer, 0, path.pair, 4);
      path.remotePort = path.targetPort;
      this.parts.tcp.acceptInbound(path, handle);
    }
    return MORE;
  }
}
