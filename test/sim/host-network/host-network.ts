/**
 * HostNetwork over simulated sockets. It may do whatever a kernel may do: take less than offered, say EAGAIN, run
 * out of descriptors and ports, refuse, hang, reset; and it holds the engine to what a kernel would not forgive:
 * using a descriptor after closing it, closing twice, changing octets that are still queued.
 *
 * Readiness is an edge: a socket that wakes joins a ready list once; `takeReady` computes the mask at the moment it
 * is fetched, as epoll_wait(2) does. Descriptors are given out lowest number first, so that a stale handle soon names
 * another socket.
 */

import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EADDRNOTAVAIL,
  EAGAIN,
  EINVAL,
  EMFILE,
  ENETUNREACH,
  type HostNetwork,
  PEER_QUIET_MS,
  PEER_SEGMENTS,
  PEER_UNACKNOWLEDGED,
  READABLE,
  type UdpBatch,
} from "../../../src/engine/boundary.ts";
import type { OperatorTarget } from "../../../src/engine/config.ts";
import { UDP_RX_SLOT_OCTETS, UDP_RX_SLOTS } from "../../../src/engine/limits.ts";
import type { Arena } from "../../../src/engine/memory/arena.ts";
import type { Random } from "../world/random.ts";
import type { World } from "../world/world.ts";
import { TcpSocket } from "./tcp-socket.ts";
import { UdpSocket } from "./udp-socket.ts";

export interface HostSettings {
  /** Probability that opening a socket fails for want of descriptors, ports or routes. */
  readonly exhaustion: number;
  /** Probability that the kernel refuses a datagram (ENOBUFS). */
  readonly refuseDatagram: number;
}

/** Answers a connection attempt to an address: makes the socket and decides its fate. */
export type TcpDestination = (handle: number, token: number) => TcpSocket | number;
/** A datagram that left the host. `reply` brings one back to the socket it came from. */
export type UdpDestination = (
  payload: Buffer,
  fromPort: number,
  reply: (payload: Buffer, delayMs: number) => void,
  to: { readonly ip: number; readonly port: number },
) => void;

/** Somebody outside who wants to connect to a forwarded port. */
export interface Caller {
  readonly ip: number;
  readonly port: number;
  accepted(handle: number, token: number): TcpSocket;
  refused(): void;
}

interface Listener {
  readonly handle: number;
  readonly forward: number;
  readonly waiting: Caller[];
  /** Somebody called since the last event. */
  edge: boolean;
}

interface QueuedDatagram {
  readonly socket: UdpSocket;
  readonly ip: number;
  readonly port: number;
  readonly at: number;
  readonly length: number;
  readonly before: Buffer;
}

const UDP_BATCH = 64;
/** First word of 2001:db8::/32. */
const DOCUMENTATION = 0x20010db8;
const FIRST_HANDLE = 3;
/** The address of the host that forwards are asked on, 203.0.113.7. */
const LOCAL_IP = 0xcb007107 | 0;
/** Listeners' descriptors lie apart from the others, so that those may be counted. */
const LISTENER_HANDLES = 1_000_000;

export class SimulatedHost implements HostNetwork {
  private readonly sockets = new Map<number, TcpSocket | UdpSocket>();
  private readonly listeners = new Map<number, Listener>();
  private readonly ready = new Set<TcpSocket | UdpSocket>();
  private readonly stale: { token: number; events: number }[] = [];
  private readonly tcpDestinations = new Map<string, TcpDestination>();
  private readonly udpDestinations = new Map<string, UdpDestination>();
  private readonly udpOut: QueuedDatagram[] = [];
  private readonly udpPorts = new Set<number>();
  private udpRefused = 0;
  private readonly random: Random;
  /** Called when something waits for the host's event loop. */
  onReady: () => void = () => {};
  /** A call failed for want of resources; the scenario then allows what follows from it. */
  onExhausted: (destination: string) => void = () => {};
  /** The last call failed for want of a descriptor: what is cut now gives way. */
  private short = false;
  /** Family of all its peers. */
  family: 4 | 6 = 4;
  connects = 0;
  calls = 0;
  /** So many calls of accept fail from now on, whatever the settings say. */
  acceptFailures = 0;

  constructor(
    private readonly world: World,
    private readonly arena: Arena,
    private readonly settings: HostSettings,
  ) {
    this.random = world.random.fork();
  }

  static key(ip: number, port: number): string {
    return `${ip >>> 0}:${port}`;
  }

  serveTcp(ip: number, port: number, destination: TcpDestination): void {
    this.tcpDestinations.set(SimulatedHost.key(ip, port), destination);
  }

  serveUdp(ip: number, port: number, destination: UdpDestination): void {
    this.udpDestinations.set(SimulatedHost.key(ip, port), destination);
  }

  /** Descriptors in use apart from forwards'. */
  get openHandles(): number {
    return this.sockets.size;
  }

  readonly wake = (socket: TcpSocket | UdpSocket): void => {
    if (this.sockets.get(socket.handle) !== socket) return;
    this.ready.add(socket);
    this.onReady();
  };

  // --- for the event loop --------------------------------------------------------------------------------------------

  /** Events since the last call: edges of sockets and listeners, and late events of closed sockets. */
  takeReady(handle: (token: number, events: number) => void): void {
    for (const { token, events } of this.stale.splice(0)) handle(token, events);
    const sockets = [...this.ready];
    this.ready.clear();
    for (const socket of sockets) {
      if (this.sockets.get(socket.handle) !== socket) continue;
      const events = socket instanceof TcpSocket ? socket.readiness : socket.queue.length > 0 ? READABLE : 0;
      if (events === 0) continue;
      this.world.note(
        "event",
        [socket.token, events],
        () => `fd ${socket.handle} events 0x${events.toString(16)}`,
      );
      handle(socket.token, events);
    }
    for (const listener of this.listeners.values()) {
      if (listener.edge && listener.waiting.length > 0) handle(0x04000000 | listener.forward, READABLE);
      listener.edge = false;
    }
  }

  // --- for the scenario ------------------------------------------------------------------------------------------

  openListener(forward: number): number {
    const handle = LISTENER_HANDLES + forward;
    this.listeners.set(handle, { handle, forward, waiting: [], edge: false });
    return handle;
  }

  callListener(forward: number, caller: Caller): void {
    const listener = this.listeners.get(LISTENER_HANDLES + forward)!;
    listener.waiting.push(caller);
    listener.edge = true;
    this.onReady();
  }

  /** A bound UDP socket of a forward: level-triggered in the host, which an edge per datagram is a case of. */
  openUdpForward(forward: number, port: number): UdpSocket {
    const handle = LISTENER_HANDLES + forward;
    const socket = new UdpSocket(handle, 0x04000000 | forward, port, this.wake);
    this.sockets.set(handle, socket);
    return socket;
  }

  /** Events that were already fetched when their socket was closed: a token nobody expects any more. */
  addStaleEvent(token: number, events: number): void {
    this.stale.push({ token, events });
    this.onReady();
  }

  spuriousEvents(probability: number): void {
    for (const socket of this.sockets.values()) {
      if (socket instanceof TcpSocket && this.random.chance(probability)) socket.spuriousEvent();
    }
  }

  // --- HostNetwork, TCP ----------------------------------------------------------------------------------------------

  /** No descriptor below this is free. */
  private lowestFree = FIRST_HANDLE;

  private freeHandle(): number {
    let handle = this.lowestFree;
    while (this.sockets.has(handle)) handle++;
    this.lowestFree = handle;
    return handle;
  }

  private tcp(handle: number, call: string): TcpSocket {
    const socket = this.sockets.get(handle);
    if (!(socket instanceof TcpSocket)) {
      this.world.violation(`${call} on descriptor ${handle}, which is not an open TCP socket`);
    }
    this.calls++;
    return socket;
  }

  private udp(handle: number, call: string): UdpSocket {
    const socket = this.sockets.get(handle);
    if (!(socket instanceof UdpSocket)) {
      this.world.violation(`${call} on descriptor ${handle}, which is not an open UDP socket`);
    }
    this.calls++;
    return socket;
  }

  private call(name: string, handle: number, result: number): number {
    this.world.note("host", [handle, result], () => `${name} fd ${handle} = ${result}`);
    this.short = result === EMFILE;
    return result;
  }

  /** The address as destinations know it: IPv4, or the last word of one of 2001:db8::/96. */
  private known(to: AddressWords): number {
    if (this.family === 6) {
      if (to[0] !== DOCUMENTATION || (to[1] | to[2]) !== 0)
        this.world.violation("an address nobody asked for");
      return to[3];
    }
    if (to[0] !== 0 || to[1] !== 0 || to[2] !== 0xffff)
      this.world.violation("an address that is not v4-mapped");
    return to[3];
  }

  tcpConnect(token: number, to: AddressWords): number {
    const key = SimulatedHost.key(this.known(to), to[ADDRESS_PORT]);
    this.connects++;
    if (this.random.chance(this.settings.exhaustion)) {
      this.onExhausted(key);
      return this.call(`connect ${key}`, -1, this.random.pick([EMFILE, EADDRNOTAVAIL, ENETUNREACH]));
    }
    const destination = this.tcpDestinations.get(key);
    if (destination === undefined) this.world.violation(`connection to ${key}, which no guest asked for`);
    const handle = this.freeHandle();
    const made = destination(handle, token);
    if (typeof made === "number") return this.call(`connect ${key}`, -1, made);
    this.sockets.set(handle, made);
    return this.call(`connect ${key}`, handle, handle);
  }

  tcpConnectService(_token: number, _index: number): number {
    return EINVAL;
  }

  tcpConnectOperator(_token: number, _target: OperatorTarget): number {
    return EINVAL;
  }

  connectResult(handle: number): number {
    return this.call("SO_ERROR", handle, this.tcp(handle, "connectResult").connectResult());
  }

  tcpAccept(listener: number, token: number, from: AddressWords): number {
    const queue = this.listeners.get(listener);
    if (queue === undefined) this.world.violation(`accept on descriptor ${listener}, which does not listen`);
    const caller = queue.waiting.shift();
    if (caller === undefined) return this.call("accept", listener, EAGAIN);
    const failing = this.acceptFailures > 0;
    if (failing) this.acceptFailures--;
    if (failing || this.random.chance(this.settings.exhaustion)) {
      // The host spends its reserve descriptor on refusing the one in front.
      caller.refused();
      return this.call("accept", listener, EMFILE);
    }
    const handle = this.freeHandle();
    const socket = caller.accepted(handle, token);
    this.sockets.set(handle, socket);
    from.fill(0);
    if (this.family === 6) from[0] = DOCUMENTATION;
    else from[2] = 0xffff;
    from[3] = caller.ip;
    from[ADDRESS_PORT] = caller.port;
    socket.connected();
    return this.call("accept", listener, handle);
  }

  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    const socket = this.tcp(handle, "recv");
    let room = 0;
    for (let i = 0; i < count; i++) {
      if (scatter[2 * i + 1] <= 0) this.world.violation(`recv of ${scatter[2 * i + 1]} octets`);
      room += scatter[2 * i + 1];
    }
    const octets = new Uint8Array(room);
    const got = socket.receive(octets);
    for (let i = 0, done = 0; done < got; i++) {
      const end = Math.min(got, done + scatter[2 * i + 1]);
      this.arena.octets.set(octets.subarray(done, end), scatter[2 * i]);
      done = end;
    }
    return this.call("recv", handle, got);
  }

  tcpSend(handle: number, gather: Int32Array, count: number): number {
    const socket = this.tcp(handle, "send");
    const parts: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      parts.push(this.arena.octets.subarray(gather[2 * i], gather[2 * i] + gather[2 * i + 1]));
    }
    return this.call("send", handle, socket.send(parts));
  }

  tcpShutdown(handle: number): void {
    this.tcp(handle, "shutdown").shutdown();
    this.call("shutdown", handle, 0);
  }

  tcpStatus(handle: number, status: Int32Array): number {
    const socket = this.tcp(handle, "tcpStatus");
    status[PEER_QUIET_MS] = socket.quietMs;
    status[PEER_UNACKNOWLEDGED] = socket.unacknowledged;
    status[PEER_SEGMENTS] = socket.segments;
    return this.call("TCP_INFO", handle, 0);
  }

  tcpProbe(handle: number): number {
    this.tcp(handle, "tcpProbe").probe();
    return this.call("probe", handle, 0);
  }

  tcpClose(handle: number, reset: boolean): void {
    const socket = this.tcp(handle, "close");
    if (reset && this.short) this.onExhausted(socket.name);
    socket.close(reset);
    this.forget(socket);
    this.call(reset ? "close with RST" : "close", handle, 0);
  }

  private forget(socket: TcpSocket | UdpSocket): void {
    // One close in twenty comes while an event of the socket is already on its way to the engine.
    if (this.random.chance(0.05)) this.addStaleEvent(socket.token, READABLE | 0x4);
    this.sockets.delete(socket.handle);
    this.lowestFree = Math.min(this.lowestFree, socket.handle);
    if (socket instanceof UdpSocket) this.udpPorts.delete(socket.port);
    this.ready.delete(socket);
  }

  // --- HostNetwork, UDP ----------------------------------------------------------------------------------------------

  udpOpen(token: number, family: 4 | 6, port: number): number {
    this.calls++;
    if (this.random.chance(this.settings.exhaustion)) return this.call("udp open", family, EMFILE);
    if (family !== this.family) this.world.violation(`a socket of family ${family}`);
    const handle = this.freeHandle();
    let bound = port;
    while (bound === 0 || this.udpPorts.has(bound)) bound = this.random.between(1024, 65_535);
    this.udpPorts.add(bound);
    this.sockets.set(handle, new UdpSocket(handle, token, bound, this.wake));
    return this.call("udp open", bound, handle);
  }

  udpSend(handle: number, to: AddressWords, at: number, length: number): void {
    const socket = this.udp(handle, "udpSend");
    const before = Buffer.from(this.arena.octets.subarray(at, at + length));
    if (this.udpOut.length === UDP_BATCH) this.sendQueued();
    this.udpOut.push({ socket, ip: this.known(to), port: to[ADDRESS_PORT], at, length, before });
  }

  private sendQueued(): void {
    for (const { socket, ip, port, at, length, before } of this.udpOut.splice(0)) {
      if (!before.equals(this.arena.octets.subarray(at, at + length))) {
        this.world.violation("octets of a queued datagram changed before udpFlush");
      }
      this.call("sendmsg", socket.handle, length);
      if (this.random.chance(this.settings.refuseDatagram)) {
        this.udpRefused++;
        continue;
      }
      const reply = (payload: Buffer, delayMs: number): void => {
        this.world.after(delayMs, () => {
          if (this.sockets.get(socket.handle) === socket) {
            socket.arrives({ fromIp: ip, fromPort: port, payload });
          }
        });
      };
      this.udpDestinations.get(SimulatedHost.key(ip, port))?.(before, socket.port, reply, { ip, port });
    }
  }

  udpSendFrom(handle: number, from: AddressWords, to: AddressWords, at: number, length: number): void {
    if (this.known(from) !== LOCAL_IP)
      this.world.violation("a datagram from an address the host does not have");
    this.udpSend(handle, to, at, length);
  }

  udpFlush(): number {
    this.sendQueued();
    const refused = this.udpRefused;
    this.udpRefused = 0;
    return refused;
  }

  udpReceive(handle: number, batch: UdpBatch): number {
    const socket = this.udp(handle, "udpReceive");
    if (socket.error !== 0) {
      const error = socket.error;
      socket.error = 0;
      return this.call("recvmmsg", handle, error);
    }
    const count = Math.min(socket.queue.length, batch.capacity, UDP_RX_SLOTS);
    batch.drained = count < batch.capacity;
    for (let i = 0; i < count; i++) {
      const { fromIp, fromPort, payload } = socket.queue.shift()!;
      const at = this.arena.udpSlotsAt + i * UDP_RX_SLOT_OCTETS;
      // The core may only count on headroom in front of what it was told; the slot starts with it.
      this.arena.octets.set(payload, at);
      batch.at[i] = at;
      batch.length[i] = payload.length;
      batch.segment[i] = 0;
      batch.words.fill(0, i * ADDRESS_WORDS, (i + 1) * ADDRESS_WORDS);
      if (this.family === 6) batch.words[i * ADDRESS_WORDS] = DOCUMENTATION;
      else batch.words[i * ADDRESS_WORDS + 2] = 0xffff;
      batch.words[i * ADDRESS_WORDS + 3] = fromIp;
      batch.words[i * ADDRESS_WORDS + ADDRESS_PORT] = fromPort;
    }
    return this.call("recvmmsg", handle, count);
  }

  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    const count = this.udpReceive(handle, batch);
    for (let i = 0; i < count; i++) batch.local.set([0, 0, 0xffff, LOCAL_IP, 0], i * ADDRESS_WORDS);
    return count;
  }

  udpConnect(handle: number, to: AddressWords): number {
    const socket = this.udp(handle, "udpConnect");
    socket.connectedIp = this.known(to);
    socket.connectedPort = to[ADDRESS_PORT];
    return 0;
  }

  udpToGroups(handle: number): void {
    this.udp(handle, "udpToGroups");
  }

  udpClose(handle: number): void {
    const socket = this.udp(handle, "udpClose");
    if (this.udpOut.some((queued) => queued.socket === socket)) this.sendQueued();
    this.forget(socket);
    this.call("udp close", handle, 0);
  }
}
