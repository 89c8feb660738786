/**
 * Opens what the outside reaches the guest by: a listening TCP socket or a bound UDP socket for each port of a forward, at
 * the start before the engine says that it is ready, or later. All that fail are told at once, each with its port.
 */

import { forwardHost, isOnEveryAddress } from "../config/forward-text.ts";
import { type EngineCore, TOKEN_FORWARD } from "../engine/api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  EADDRINUSE,
  EADDRNOTAVAIL,
  READABLE,
  V4_MAPPED,
} from "../engine/boundary.ts";
import type { Forward } from "../engine/config.ts";
import {
  EACCES,
  EAFNOSUPPORT,
  EDGE_TRIGGERED,
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  SO_KEEPALIVE,
  SOL_SOCKET,
} from "./native/linux.ts";
import { native } from "./native/native.ts";
import { describeErrno, StartError, type StartProblem } from "./start-error.ts";

/** Connections the kernel holds for us; net.core.somaxconn (4096 by default) bounds it. */
const BACKLOG = 4096;

/** Free ports tried for a rule of both families until one is free in both. */
const PORT_TRIES = 16;

/** Opens every forward's socket. Returns the handles in the forwards' order, or throws StartError for all that fail. */
export function openForwards(forwards: readonly Forward[]): number[] {
  const handles: number[] = [];
  const problems: StartProblem[] = [];
  for (let i = 0; i < forwards.length; ) {
    const rule = [forwards[i++]];
    while (forwards[i]?.sharesPort) rule.push(forwards[i++]);
    const opened = openRule(rule);
    if (Array.isArray(opened)) handles.push(...opened);
    else problems.push(opened);
  }
  if (problems.length > 0) {
    closeForwards(handles);
    throw new StartError(problems);
  }
  return handles;
}

/** All sockets of a rule, on one port, or why not. */
function openRule(rule: readonly Forward[]): number[] | StartProblem {
  for (let tries = 1; ; tries++) {
    const handles: number[] = [];
    let port = rule[0].hostPort;
    let handle = 0;
    for (const forward of rule) {
      handle = openForward(forward, port);
      if (handle < 0) break;
      handles.push(handle);
      port = forwardPort(handle);
    }
    if (handle >= 0) return handles;
    closeForwards(handles);
    const again = handle === EADDRINUSE && rule[0].hostPort === 0 && tries < PORT_TRIES;
    const failed = { ...rule[handles.length], hostPort: port };
    if (!again) return { place: describeForward(failed), reason: explain(handle, failed) };
  }
}

/** The local port of a forward's socket. */
export function forwardPort(handle: number): number {
  const words = new Int32Array(ADDRESS_WORDS);
  return native.localAddress(handle, words) === 0 ? words[ADDRESS_PORT] : 0;
}

/** The sockets of an engine's forwards, each in a slot of its core, and how they come and go. */
export class ForwardSockets {
  /** By rule's id: slots and handles, in the order of its ports. */
  private readonly open = new Map<number, { slots: number[]; handles: number[] }>();
  private readonly freeSlots: number[] = [];
  private slots = 0;

  constructor(private readonly core: EngineCore) {}

  /**
   * Serves these ports by these sockets, one each, which belong to us from now on, under `id`, which may have some already.
   * Edge-triggered: the core remembers what it left in the queue. Returns 0, or -errno when one of them is not served; then
   * `remove` undoes the rest.
   */
  add(id: number, forwards: readonly Forward[], handles: readonly number[]): number {
    const entry = this.open.get(id) ?? { slots: [], handles: [] };
    this.open.set(id, entry);
    for (const [i, handle] of handles.entries()) {
      const slot = this.freeSlots.pop() ?? this.slots++;
      const result = native.epollAdd(handle, READABLE | EDGE_TRIGGERED, TOKEN_FORWARD | slot);
      if (result < 0) {
        this.freeSlots.push(slot);
        for (const left of handles.slice(i)) native.close(left);
        return result;
      }
      entry.slots.push(slot);
      entry.handles.push(handle);
      this.core.openForward(slot, handle, { id, forward: forwards[i] });
    }
    return 0;
  }

  /** Closes the sockets of rule `id`; `cut` resets its connections. False when there is none. */
  remove(id: number, cut: boolean): boolean {
    const entry = this.open.get(id);
    if (entry === undefined) return false;
    this.open.delete(id);
    this.core.closeForward(id, cut, native.nowMs());
    closeForwards(entry.handles);
    this.freeSlots.push(...entry.slots);
    return true;
  }

  close(): void {
    for (const { handles } of this.open.values()) closeForwards(handles);
    this.open.clear();
  }
}

export function closeForwards(handles: readonly number[]): void {
  for (const handle of handles) native.close(handle);
}

function openForward(forward: Forward, port: number): number {
  const { protocol, hostAddress, hostAddress6 } = forward;
  const family = hostAddress6 === undefined ? 4 : 6;
  const fd = protocol === "tcp" ? native.tcpSocket(family) : native.udpSocket(family);
  if (fd < 0) return fd;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set([...(hostAddress6 ?? [0, 0, V4_MAPPED, hostAddress]), port]);
  let result = native.bind(fd, words, family, false);
  if (result === 0) result = protocol === "tcp" ? listen(fd) : setUpUdp(fd, forward);
  if (result === 0) return fd;
  native.close(fd);
  return result;
}

/**
 * A client of a host with several addresses is answered from the one it asked; one with a link-local address, by the
 * interface it is at. A group that another program of the host has joined is not what was forwarded.
 */
function setUpUdp(fd: number, forward: Forward): number {
  if (forward.hostAddress6 !== undefined) {
    // Linux 4.20; before that there is no such choice.
    native.setOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    return native.setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  const result = isOnEveryAddress(forward) ? native.setOption(fd, IPPROTO_IP, IP_PKTINFO, 1) : 0;
  return result < 0 ? result : native.setOption(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
}

/**
 * Accepted sockets have the listener's options: a client that vanished without a word is found by the kernel's keepalive,
 * when the kernel's own settings say (net.ipv4.tcp_keepalive_time, _intvl and _probes: 2 h and 11 min in all).
 */
function listen(fd: number): number {
  const result = native.setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  return result < 0 ? result : native.listen(fd, BACKLOG);
}

/** `forward tcp 127.0.0.1:2222`, `forward udp *:53` or `forward tcp [::]:80`. */
export function describeForward(forward: Forward): string {
  return `forward ${forward.protocol} ${forwardHost(forward)}:${forward.hostPort}`;
}

function explain(errno: number, forward: Forward): string {
  const said = describeErrno(errno);
  if (errno === EADDRINUSE) return `port ${forward.hostPort} is taken by another program: ${said}`;
  if (errno === EADDRNOTAVAIL) return `${forwardHost(forward)} is not an address of this host: ${said}`;
  if (errno === EAFNOSUPPORT) return `this host has no IPv6: ${said}`;
  if (errno === EACCES) {
    return `port ${forward.hostPort} is privileged: ${said}; take one from 1024 up or lower net.ipv4.ip_unprivileged_port_start`;
  }
  return `port ${forward.hostPort}: ${said}`;
}
