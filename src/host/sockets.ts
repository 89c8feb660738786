/**
 * The host's sockets behind `HostNetwork`: file descriptors are the handles, the shim makes the calls. Nothing here
 * decides whether a guest may go somewhere; that was settled before.
 *
 * - TCP and UDP sockets are edge-triggered in the epoll set under the caller's token; `forwards.ts` opens forwards'.
 * - UDP goes out in batches: `udpSend` writes a descriptor, `udpFlush` hands all of them to one shim call.
 * - A UDP mapping gets a port of the host's ephemeral range with the parity of the guest's (RFC 4787 REQ-4): a port that
 *   a program of the host may want to listen on is never taken, and some of the range is left. The guest's own port is
 *   tried first where the user chose that (REQ-3a).
 * - One descriptor is kept in reserve: without any left, it is given up for one accept, so that a waiting client is refused.
 */
import { closeSync, openSync } from "node:fs";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EADDRINUSE,
  EAGAIN,
  EINPROGRESS,
  EINVAL,
  EMFILE,
  ENETUNREACH,
  ENFILE,
  ENOTCONN,
  type HostNetwork,
  PEER_CLOSED,
  PEER_QUIET_MS,
  PEER_SEGMENTS,
  PEER_UNACKNOWLEDGED,
  READABLE,
  type UdpBatch,
  URGENT,
  V4_MAPPED,
  WRITABLE,
} from "../engine/boundary.ts";
import type { GuestForward, Ipv6Words, OperatorTarget, ResolverAddress } from "../engine/config.ts";
import { UDP_RX_RUN_OCTETS, UDP_RX_SLOT_OCTETS, UDP_RX_SLOTS } from "../engine/limits.ts";
import type { Arena } from "../engine/memory/arena.ts";
import type { UdpPorts } from "./engine-options.ts";
import { setListening } from "./forwards.ts";
import {
  EDGE_TRIGGERED,
  IP_BIND_ADDRESS_NO_PORT,
  IP_MULTICAST_ALL,
  IP_MULTICAST_TTL,
  IPPROTO_IP,
  IPPROTO_TCP,
  SO_BINDTOIFINDEX,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from "./native/linux.ts";
import { native } from "./native/native.ts";
import { startPeeking, stopPeeking } from "./native/peeking.ts";
import { DATAGRAM_DESCRIPTOR_OCTETS, type Descriptors, UDP_TX_MAX } from "./native/shim-tables.ts";
import { familyOf, isLinkLocal6, isLoopback } from "./socket-addresses.ts";

const TCP_EVENTS = READABLE | URGENT | WRITABLE | PEER_CLOSED | EDGE_TRIGGERED;
const UDP_EVENTS = READABLE | EDGE_TRIGGERED;

/** The largest the kernel takes (MAX_TCP_KEEPCNT, MAX_TCP_KEEPINTVL). */
const KEEPCNT_MAX = 127;
const KEEPINTVL_MAX_S = 32_767;

/** Index of each int32 that `tcpInfo` fills in. */
const INFO_DATA_AGO_MS = 0;
const INFO_ACK_AGO_MS = 1;
const INFO_UNACKNOWLEDGED = 2;
const INFO_NOT_SENT = 3;
const INFO_SEGMENTS_IN = 4;

/** Ports the kernel is asked for until one has the guest's parity: all in vain once in a million. */
const PARITY_TRIES = 20;

/** Index of each int32 in a datagram descriptor (see udpSendBatch and udpReceiveBatch). */
const DATAGRAM_INTS = DATAGRAM_DESCRIPTOR_OCTETS / 4;
const OUT_PORT = 5;
const IN_LENGTH = 0;
const IN_ADDRESS = 1;
const IN_SEGMENT = 6;
const IN_AT = 7;
/** In the port of a datagram to send: its entry of the table of sources counts. */
const HAS_SOURCE = 0x10000;

/** Where guest traffic leaves the host. */
export interface OutboundBinding {
  /** IPv4 source address, int32; 0 lets routing choose, null lets nothing out. */
  readonly address: number | null;
  /** The same of IPv6; by default routing chooses. */
  readonly address6?: Ipv6Words | null;
  /** Interface index, or 0. */
  readonly deviceIndex: number;
}

const ANY_OF: Readonly<Record<4 | 6, Ipv6Words>> = { 4: [0, 0, V4_MAPPED, 0], 6: [0, 0, 0, 0] };

export const OUTBOUND_ANY: OutboundBinding = { address: 0, deviceIndex: 0 };

const UDP_PORTS_EPHEMERAL: UdpPorts = { preserve: false, ephemeralMax: 65_535 };

export interface KernelNetworkOptions {
  readonly arena: Arena;
  readonly descriptors: Descriptors;
  readonly guestForwards: readonly GuestForward[];
  readonly outbound: OutboundBinding;
  /** By default ephemeral ones, as many as there are. */
  readonly udpPorts?: UdpPorts;
  /** Starts a guest-forward's command; returns the connected socket or -errno. */
  readonly spawnCommand: (command: string) => number;
}

export class KernelNetwork implements HostNetwork {
  readonly tcpListen = setListening;
  private readonly ints: Int32Array;
  private readonly udpSlotsAt: number;
  private readonly udpRunAt: number;
  private readonly udpOutIndex: number;
  private readonly udpOutAt: number;
  private readonly udpSourcesAt: number;
  private readonly udpSourcesIndex: number;
  private readonly udpInIndex: number;
  private readonly udpInAt: number;
  private readonly udpLocalsAt: number;
  private readonly udpLocalsIndex: number;
  private udpQueued = 0;
  /** Some of what is queued has a source. */
  private udpSourced = false;
  private udpRefused = 0;
  private readonly words = new Int32Array(ADDRESS_WORDS);
  private readonly source4: [number, number, number, number] = [0, 0, V4_MAPPED, 0];
  private readonly bound = new Int32Array(ADDRESS_WORDS);
  private udpSockets = 0;
  private readonly tcpInfo = new Int32Array(5);
  private reserve: number;
  private resolvers: readonly ResolverAddress[] = [];

  constructor(private readonly options: KernelNetworkOptions) {
    this.ints = options.arena.ints;
    this.udpSlotsAt = options.arena.udpSlotsAt;
    this.udpRunAt = options.arena.udpRunAt;
    this.udpOutAt = options.descriptors.udpOutAt;
    this.udpOutIndex = this.udpOutAt >> 2;
    this.udpSourcesAt = options.descriptors.udpSourcesAt;
    this.udpSourcesIndex = this.udpSourcesAt >> 2;
    this.udpInAt = options.descriptors.udpInAt;
    this.udpInIndex = this.udpInAt >> 2;
    this.udpLocalsAt = options.descriptors.udpLocalsAt;
    this.udpLocalsIndex = this.udpLocalsAt >> 2;
    this.reserve = openSync("/dev/null", "r");
  }

  // --- TCP -----------------------------------------------------------------------------------------------------

  tcpConnect(token: number, to: AddressWords): number {
    const family = familyOf(to);
    const fd = native.tcpSocket(family);
    if (fd < 0) return fd;
    return this.startConnect(fd, token, to, this.bindOutbound(fd, family, to));
  }

  tcpConnectService(token: number, index: number): number {
    const target = this.options.guestForwards[index]?.target;
    if (target === undefined) return EINVAL;
    if (target.kind === "tcp") {
      const { host, host6 = [0, 0, V4_MAPPED, host] as const, port } = target;
      const to = this.hostWords(host6, port);
      const fd = native.tcpSocket(familyOf(to));
      return fd < 0 ? fd : this.startConnect(fd, token, to, 0);
    }
    const fd =
      target.kind === "unix"
        ? native.unixConnect(target.path, "stream")
        : this.options.spawnCommand(target.command);
    if (fd < 0) return fd;
    return this.register(fd, TCP_EVENTS, token);
  }

  tcpConnectOperator(token: number, target: OperatorTarget): number {
    if (target.kind === "unix") {
      const fd = native.unixConnect(target.path, "stream");
      return fd < 0 ? fd : this.register(fd, TCP_EVENTS, token);
    }
    const to = Int32Array.of(...target.words, target.port);
    const family = familyOf(to);
    const fd = native.tcpSocket(family);
    return fd < 0
      ? fd
      : this.startConnect(fd, token, to, isLoopback(to) ? 0 : this.bindOutbound(fd, family, to));
  }

  private startConnect(fd: number, token: number, to: AddressWords, prepared: number): number {
    let result = prepared;
    if (result === 0) result = this.connect(fd, to);
    if (result < 0 && result !== EINPROGRESS) {
      native.close(fd);
      return result;
    }
    return this.register(fd, TCP_EVENTS, token);
  }

  private register(fd: number, events: number, token: number): number {
    const result = native.epollAdd(fd, events, token);
    if (result === 0) return fd;
    native.close(fd);
    return result;
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.resolvers = resolvers;
  }

  /** Address words carry no scope; link-local addresses are only ever resolvers', which have theirs. */
  private connect(fd: number, to: AddressWords): number {
    if (!isLinkLocal6(to)) return native.connect(fd, to);
    return native.connectScoped(fd, to, this.resolverAt(to)?.scope ?? 0);
  }

  private resolverAt(to: AddressWords): ResolverAddress | undefined {
    return this.resolvers.find(({ words }) => words.every((word, i) => word === to[i]));
  }

  /** Source address and interface of an outbound socket. Returns 0 or -errno. */
  private bindOutbound(fd: number, family: 4 | 6, to: AddressWords): number {
    const { deviceIndex } = this.options.outbound;
    if (deviceIndex !== 0) {
      const result = native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, deviceIndex);
      if (result < 0) return result;
    }
    const source = this.sourceOf(family);
    // Names are asked for where the host's resolvers are.
    if (source === null) return this.resolverAt(to) ? 0 : ENETUNREACH;
    if (source[3] === 0 && source[0] === 0) return 0;
    // The port is chosen at connect, when the whole four-tuple is known, so one address serves more than 28k flows.
    native.setOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return native.bind(fd, this.hostWords(source, 0), family, false);
  }

  /** What sockets of a family leave from: all zeros (of IPv4, v4-mapped) for the kernel's choice; null: none does. */
  private sourceOf(family: 4 | 6): Ipv6Words | null {
    const { address, address6 = ANY_OF[6] } = this.options.outbound;
    if (family === 6) return address6;
    if (address === null) return null;
    this.source4[3] = address;
    return this.source4;
  }

  private hostWords(address: Ipv6Words, port: number): AddressWords {
    this.words.set(address);
    this.words[ADDRESS_PORT] = port;
    return this.words;
  }

  connectResult(handle: number): number {
    const connected = native.isConnected(handle);
    if (connected === 0) return 0;
    const error = native.socketError(handle);
    return error === 0 && connected === ENOTCONN ? EINPROGRESS : error || connected;
  }

  tcpAccept(listener: number, token: number, from: AddressWords): number {
    const fd = native.accept(listener, from);
    if (fd >= 0) return this.register(fd, TCP_EVENTS, token);
    if (fd === EMFILE || fd === ENFILE) this.refuseOne(listener, from);
    return fd;
  }

  /** Out of descriptors: spends the reserve on taking one connection off the queue and resetting it. */
  private refuseOne(listener: number, from: AddressWords): void {
    if (this.reserve < 0) return;
    closeSync(this.reserve);
    this.reserve = -1;
    const fd = native.accept(listener, from);
    if (fd >= 0) native.closeReset(fd);
    try {
      this.reserve = openSync("/dev/null", "r");
    } catch {
      this.reserve = -1; // Another thread took the descriptor; the next accept that works without will do.
    }
  }

  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    return native.receiveScatter(handle, scatter, count);
  }

  tcpStartPeeking(handle: number): boolean {
    return startPeeking(handle);
  }

  tcpStopPeeking(handle: number): void {
    stopPeeking(handle);
  }

  tcpDiscard(handle: number, octets: number): number {
    return native.discard(handle, octets);
  }

  tcpSend(handle: number, gather: Int32Array, count: number): number {
    return native.sendGather(handle, gather, count);
  }

  tcpShutdown(handle: number): void {
    native.shutdownWrite(handle);
  }

  tcpStatus(handle: number, status: Int32Array): number {
    const info = this.tcpInfo;
    const result = native.tcpInfo(handle, info);
    if (result < 0) return result;
    status[PEER_QUIET_MS] = Math.min(info[INFO_DATA_AGO_MS], info[INFO_ACK_AGO_MS]);
    status[PEER_UNACKNOWLEDGED] = info[INFO_UNACKNOWLEDGED] | info[INFO_NOT_SENT];
    status[PEER_SEGMENTS] = info[INFO_SEGMENTS_IN];
    return 0;
  }

  /**
   * With SO_KEEPALIVE on, setting TCP_KEEPIDLE to what has passed already makes the kernel probe at once, and an interval
   * as long as can be keeps it from doing so again before it is asked to. After 127 probes without an answer it ends the
   * connection.
   */
  tcpProbe(handle: number): number {
    native.setOption(handle, IPPROTO_TCP, TCP_KEEPCNT, KEEPCNT_MAX);
    native.setOption(handle, IPPROTO_TCP, TCP_KEEPINTVL, KEEPINTVL_MAX_S);
    native.setOption(handle, SOL_SOCKET, SO_KEEPALIVE, 1);
    return native.setOption(handle, IPPROTO_TCP, TCP_KEEPIDLE, 1);
  }

  tcpClose(handle: number, reset: boolean): void {
    if (reset) native.closeReset(handle);
    else native.close(handle);
  }

  // --- UDP -----------------------------------------------------------------------------------------------------

  udpOpen(token: number, family: 4 | 6, port: number): number {
    const fd = native.udpSocket(family);
    if (fd < 0) return fd;
    const bound = this.bindUdp(fd, family, port);
    if (bound < 0) {
      native.close(fd);
      return bound;
    }
    const handle = this.register(fd, UDP_EVENTS, token);
    if (handle >= 0) this.udpSockets++;
    return handle;
  }

  private bindUdp(fd: number, family: 4 | 6, port: number): number {
    const source = this.sourceOf(family);
    // Port 0 is for questions to the host's resolvers.
    if (source === null && port !== 0) return ENETUNREACH;
    const words = this.hostWords(source ?? ANY_OF[family], port);
    if (port === 0) return this.bindOnce(fd, family);
    const { preserve, ephemeralMax } = this.options.udpPorts ?? UDP_PORTS_EPHEMERAL;
    if (preserve) {
      const result = this.bindOnce(fd, family);
      if (result === 0) return 0;
    } else if (this.udpSockets >= ephemeralMax) {
      return EADDRINUSE;
    }
    words[ADDRESS_PORT] = 0;
    return this.bindEphemeral(fd, family, port & 1);
  }

  /** Binds to `words`, on the interface everything leaves by. Returns 0 or -errno. */
  private bindOnce(fd: number, family: 4 | 6): number {
    const { deviceIndex } = this.options.outbound;
    if (deviceIndex !== 0) {
      const result = native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, deviceIndex);
      if (result < 0) return result;
    }
    return native.bind(fd, this.words, family, false);
  }

  /** Has the kernel choose (ip_local_port_range without ip_local_reserved_ports) until the parity is as wanted. */
  private bindEphemeral(fd: number, family: 4 | 6, parity: number): number {
    for (let tries = 1; ; tries++) {
      const result = this.bindOnce(fd, family);
      if (result < 0 || tries === PARITY_TRIES) return result;
      if (native.localAddress(fd, this.bound) < 0 || (this.bound[ADDRESS_PORT] & 1) === parity) return 0;
      if (native.udpUnbind(fd) < 0) return 0;
    }
  }

  udpSendFrom(handle: number, from: AddressWords, to: AddressWords, at: number, length: number): void {
    this.udpSend(handle, to, at, length);
    const queued = this.udpQueued - 1;
    const source = this.udpSourcesIndex + queued * ADDRESS_WORDS;
    for (let i = 0; i < ADDRESS_WORDS; i++) this.ints[source + i] = from[i];
    this.ints[this.udpOutIndex + queued * DATAGRAM_INTS + OUT_PORT] = to[ADDRESS_PORT] | HAS_SOURCE;
    this.udpSourced = true;
  }

  udpSend(handle: number, to: AddressWords, at: number, length: number): void {
    if (this.udpQueued === UDP_TX_MAX) this.sendQueued();
    const index = this.udpOutIndex + this.udpQueued * DATAGRAM_INTS;
    this.ints[index] = handle;
    this.ints[index + 1] = to[0];
    this.ints[index + 2] = to[1];
    this.ints[index + 3] = to[2];
    this.ints[index + 4] = to[3];
    // A socket to a link-local address is connected, which keeps the scope; port 0 sends to that remote.
    this.ints[index + 5] = isLinkLocal6(to) ? 0 : to[ADDRESS_PORT];
    this.ints[index + 6] = at;
    this.ints[index + 7] = length;
    this.udpQueued++;
  }

  private sendQueued(): void {
    const sourcesAt = this.udpSourced ? this.udpSourcesAt : 0;
    this.udpRefused += native.udpSendBatch(this.udpOutAt, this.udpQueued, sourcesAt);
    this.udpQueued = 0;
    this.udpSourced = false;
  }

  udpFlush(): number {
    if (this.udpQueued > 0) this.sendQueued();
    const refused = this.udpRefused;
    this.udpRefused = 0;
    return refused;
  }

  udpReceive(handle: number, batch: UdpBatch): number {
    return this.receiveBatch(handle, batch, 0);
  }

  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    return this.receiveBatch(handle, batch, this.udpLocalsAt);
  }

  private receiveBatch(handle: number, batch: UdpBatch, localsAt: number): number {
    const max = Math.min(batch.capacity, UDP_RX_SLOTS);
    const count = native.udpReceiveBatch(
      handle,
      this.udpSlotsAt,
      UDP_RX_SLOT_OCTETS,
      UDP_RX_SLOT_OCTETS,
      max,
      this.udpInAt,
      this.udpRunAt,
      UDP_RX_RUN_OCTETS,
      localsAt,
    );
    if (count <= 0) return count === EAGAIN ? 0 : count;
    batch.drained = count < max;
    let entries = 0;
    for (let i = 0; i < count; i++) {
      const index = this.udpInIndex + i * DATAGRAM_INTS;
      if (this.ints[index + IN_LENGTH] < 0) continue;
      const words = entries * ADDRESS_WORDS;
      batch.at[entries] = this.ints[index + IN_AT];
      batch.length[entries] = this.ints[index + IN_LENGTH];
      batch.segment[entries] = this.ints[index + IN_SEGMENT];
      for (let word = 0; word < ADDRESS_WORDS; word++) {
        batch.words[words + word] = this.ints[index + IN_ADDRESS + word];
      }
      if (localsAt !== 0) this.copyLocal(batch, words, this.udpLocalsIndex + i * ADDRESS_WORDS);
      entries++;
    }
    return entries;
  }

  private copyLocal(batch: UdpBatch, words: number, local: number): void {
    for (let word = 0; word < ADDRESS_WORDS; word++) batch.local[words + word] = this.ints[local + word];
  }

  udpConnect(handle: number, to: AddressWords): number {
    return this.connect(handle, to);
  }

  /** The interface is the routing table's choice, or the one everything leaves by; programs of the host hear it too. */
  udpToGroups(handle: number, ttl: number): void {
    this.sendQueuedOf(handle);
    native.setOption(handle, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    native.setOption(handle, IPPROTO_IP, IP_MULTICAST_TTL, ttl);
  }

  udpClose(handle: number): void {
    this.sendQueuedOf(handle);
    this.udpSockets--;
    native.close(handle);
  }

  /** What a socket has queued goes before it changes: a closed one's number may be another socket's a moment later. */
  private sendQueuedOf(handle: number): void {
    for (let i = 0; i < this.udpQueued; i++) {
      if (this.ints[this.udpOutIndex + i * DATAGRAM_INTS] === handle) {
        this.sendQueued();
        return;
      }
    }
  }

  /** Gives back what the network itself holds; sockets belong to whoever opened them. */
  close(): void {
    if (this.reserve >= 0) closeSync(this.reserve);
    this.reserve = -1;
  }
}
