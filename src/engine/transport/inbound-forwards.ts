/**
 * Clients of the forwarded ports. Each port is a socket with a number, its slot; a forward has as many as it has ports, and
 * they come and go. Listening sockets are edge-triggered: what is left in one is remembered here and looked at again each
 * turn. TCP clients are accepted at once and wait, bounded, for a guest that has not shown itself
 * (their SYN is sent again until it has); datagrams wait for it in the kernel's buffer.
 */

import type { ServedPort } from "../api.ts";
import { ADDRESS_WORDS, EAGAIN, type HostNetwork } from "../boundary.ts";
import type { Ipv6Words } from "../config.ts";
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
import { OpenPorts } from "./open-ports.ts";
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

/** Slots there is room for at first. */
const SLOTS_MIN = 16;
const NO_HANDLE = -1;

export class InboundForwards {
  /** By slot. */
  private handles = new Int32Array(SLOTS_MIN).fill(NO_HANDLE);
  private state = new Uint8Array(SLOTS_MIN);
  private readonly served: (ServedPort | null)[] = [];
  /** Slots that are READY, each once. */
  private readySlots = new Int32Array(SLOTS_MIN);
  private readyCount = 0;
  /** Made for the first forward that goes by what the guest answers. */
  private openPorts: OpenPorts | null = null;
  private readonly peer = new Int32Array(ADDRESS_WORDS);
  private readonly path = new Path(new Int32Array(PAIR_WORDS));
  private nowMs = 0;
  private guest: number;
  private stalled = false;
  private retryAtMs = 0;

  constructor(private readonly parts: InboundParts) {
    this.guest = parts.followGuest ? 0 : parts.guestAddress;
  }

  /** Another guest may be at the link: which one forwards go to is to be found out anew. */
  linkAttached(): void {
    this.guest = this.parts.followGuest ? 0 : this.parts.guestAddress;
  }

  /** Slot `slot`, which is free, has this listening or bound socket. */
  open(slot: number, handle: number, port: ServedPort): void {
    while (this.served.length <= slot) this.served.push(null);
    if (slot >= this.handles.length) this.grow(slot + 1);
    this.served[slot] = port;
    this.handles[slot] = handle;
    if (port.forward.whenOpen === true) this.asking().add(slot, handle, port, this.nowMs);
    this.ready(slot);
  }

  private asking(): OpenPorts {
    const { tcp, network } = this.parts;
    this.openPorts ??= new OpenPorts(tcp.ctx, network, ({ forward }) =>
      forward.guestAddress === 0 ? this.guestOfAll() : forward.guestAddress,
    );
    return this.openPorts;
  }

  /** Forgets the sockets of forward `id`, which their owner closes then. Its clients are the transports' business. */
  close(id: number): void {
    this.openPorts?.remove(id);
    for (let slot = 0; slot < this.served.length; slot++) {
      if (this.served[slot]?.id !== id) continue;
      this.served[slot] = null;
      this.handles[slot] = NO_HANDLE;
    }
  }

  private grow(least: number): void {
    const room = Math.max(least, this.handles.length * 2);
    const { handles, state, readySlots } = this;
    this.handles = new Int32Array(room).fill(NO_HANDLE);
    this.handles.set(handles);
    this.state = new Uint8Array(room);
    this.state.set(state);
    this.readySlots = new Int32Array(room);
    this.readySlots.set(readySlots);
  }

  /** The socket in `slot` has something. */
  ready(slot: number): void {
    if (slot >= this.state.length || this.state[slot] === READY) return;
    this.state[slot] = READY;
    this.readySlots[this.readyCount++] = slot;
  }

  /** Serves the sockets that have clients. True when more may wait right now. */
  work(nowMs: number): boolean {
    let more = false;
    this.stalled = false;
    this.nowMs = nowMs;
    this.openPorts?.work(nowMs);
    let left = 0;
    for (let i = 0; i < this.readyCount; i++) {
      const slot = this.readySlots[i];
      const port = this.served[slot];
      const result = port === null ? DRAINED : this.serve(slot, port);
      if (result === DRAINED) {
        this.state[slot] = IDLE;
        continue;
      }
      this.readySlots[left++] = slot;
      if (result === MORE) more = true;
      else {
        this.stalled = true;
        this.retryAtMs = (nowMs + RETRY_MS) | 0;
      }
    }
    this.readyCount = left;
    return more;
  }

  /** Milliseconds until a stalled socket is due, or -1. */
  nextDeadlineMs(nowMs: number): number {
    const stalled = this.stalled ? Math.max((this.retryAtMs - nowMs) | 0, 0) : -1;
    const asking = this.openPorts === null ? -1 : this.openPorts.nextDeadlineMs(nowMs);
    return stalled < 0 || (asking >= 0 && asking < stalled) ? asking : stalled;
  }

  private serve(slot: number, port: ServedPort): number {
    const { forward } = port;
    if (forward.whenOpen === true && this.openPorts?.isOpen(slot, port.guestPort) !== true) return DRAINED;
    this.path.guestPort = port.guestPort;
    if (forward.guestAddress6 !== undefined && !this.isWithout6(forward)) {
      return this.serve6(slot, port, forward.guestAddress6);
    }
    const guest = forward.guestAddress === 0 ? this.guestOfAll() : forward.guestAddress;
    if (guest === 0) {
      this.parts.egress.unresolved = this.parts.guestAddress;
      return STALLED;
    }
    this.path.ipOctets = IPV4_HEADER_OCTETS;
    this.path.guestAddress = guest;
    const known = this.parts.neighbours.find(guest) >= 0;
    if (forward.protocol === "tcp") return this.acceptTcp(slot, port);
    if (!known) {
      this.parts.egress.unresolved = guest;
      return STALLED;
    }
    return this.receiveUdp(slot, port);
  }

  /**
   * Whether a forward to the guest's own address goes to that of IPv4, if it may, since the guest has not shown that it
   * has the other: it is asked, for the clients to come.
   */
  private isWithout6({ eitherFamily }: ServedPort["forward"]): boolean {
    if (!eitherFamily) return false;
    const { v6, egress } = this.parts;
    if (v6 === null || !v6.guests.choose(this.nowMs)) return true;
    const { chosen } = v6.guests;
    if (v6.neighbours.find(chosen, 0) >= 0) return false;
    egress.wantGuest6(chosen, 0);
    return true;
  }

  /** A forward to the guest's IPv6 address: `named`, or the one it turns out to have. */
  private serve6(slot: number, port: ServedPort, named: Ipv6Words | null): number {
    const { v6, egress } = this.parts;
    if (v6 === null || (named === null && !v6.guests.choose(this.nowMs))) return STALLED;
    const { path } = this;
    path.ipOctets = IPV6_HEADER_OCTETS;
    path.guestAddress = port.forward.eitherFamily ? this.knownGuest4() : 0;
    for (let word = 0; word < 4; word++) path.pair[word] = named?.[word] ?? v6.guests.chosen[word];
    const known = v6.neighbours.find(path.pair, 0) >= 0;
    if (port.forward.protocol === "tcp") return this.acceptTcp(slot, port);
    if (!known) {
      egress.wantGuest6(path.pair, 0);
      return STALLED;
    }
    return this.receiveUdp(slot, port);
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
  private receiveUdp(slot: number, { id }: ServedPort): number {
    if (!this.parts.udp.slotsFree()) return STALLED;
    return this.parts.udp.receiveForward(id, this.handles[slot], this.path) ? MORE : DRAINED;
  }

  private acceptTcp(slot: number, { id: forward }: ServedPort): number {
    const { path } = this;
    const { destinations, destinations6 } = this.parts;
    for (let n = 0; n < ACCEPTS_PER_TURN; n++) {
      const id = this.parts.tcp.nextInboundId();
      if (id === NO_FLOW) return STALLED;
      const handle = this.parts.network.tcpAccept(this.handles[slot], this.parts.token | id, this.peer);
      if (handle === EAGAIN) return DRAINED;
      // Out of descriptors or memory; the socket's edge has passed, so it is for us to look again.
      if (handle < 0) return STALLED;
      path.setTarget(this.peer);
      path.remoteAddress = destinations.clientSeenByGuest(this.peer);
      if (path.ipOctets === IPV6_HEADER_OCTETS) destinations6?.seenByGuest(this.peer, 0, path.pair, 4);
      path.remotePort = path.targetPort;
      this.parts.tcp.acceptInbound(path, handle, forward);
    }
    return MORE;
  }
}
