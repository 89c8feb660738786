/**
 * Opens what the outside reaches the guest by: a listening TCP socket or a bound UDP socket for each forward, before
 * the engine says that it is ready. All that fail are told at once, each with its port.
 */

import { TOKEN_FORWARD } from "../engine/api.ts";
import { ADDRESS_PORT, ADDRESS_WORDS, EADDRINUSE, EADDRNOTAVAIL, READABLE } from "../engine/boundary.ts";
import type { Forward } from "../engine/config.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import {
  EACCES,
  EDGE_TRIGGERED,
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPPROTO_IP,
  SO_KEEPALIVE,
  SOL_SOCKET,
} from "./native/linux.ts";
import { native } from "./native/native.ts";
import { describeErrno, StartError, type StartProblem } from "./start-error.ts";

/** Connections the kernel holds for us; net.core.somaxconn (4096 by default) bounds it. */
const BACKLOG = 4096;

/** Opens every forward's socket. Returns the handles in the forwards' order, or throws StartError for all that fail. */
export function openForwards(forwards: readonly Forward[]): number[] {
  const handles: number[] = [];
  const problems: StartProblem[] = [];
  for (const forward of forwards) {
    const handle = openForward(forward);
    if (handle >= 0) handles.push(handle);
    else problems.push({ place: describeForward(forward), reason: explain(handle, forward) });
  }
  if (problems.length > 0) {
    closeForwards(handles);
    throw new StartError(problems);
  }
  return handles;
}

/** The local port of a forward's socket. */
export function forwardPort(handle: number): number {
  const words = new Int32Array(ADDRESS_WORDS);
  return native.localAddress(handle, words) === 0 ? words[ADDRESS_PORT] : 0;
}

/** Puts the sockets into the epoll set, edge-triggered: the core remembers what it left in the queue. */
export function registerForwards(handles: readonly number[]): void {
  handles.forEach((handle, index) => {
    const result = native.epollAdd(handle, READABLE | EDGE_TRIGGERED, TOKEN_FORWARD | index);
    if (result < 0) throw new Error(`epoll_ctl: ${describeErrno(result)}`);
  });
}

export function closeForwards(handles: readonly number[]): void {
  for (const handle of handles) native.close(handle);
}

function openForward(forward: Forward): number {
  const tcp = forward.protocol === "tcp";
  const fd = tcp ? native.tcpSocket(4) : native.udpSocket(4);
  if (fd < 0) return fd;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set([0, 0, 0xffff, forward.hostAddress, forward.hostPort]);
  let result = native.bind(fd, words, 4, false);
  if (result === 0 && tcp) result = listen(fd);
  // A client of a host with several addresses is answered from the one it asked.
  if (result === 0 && !tcp && forward.hostAddress === 0)
    result = native.setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
  // A group that another program of the host has joined is not what was forwarded.
  if (result === 0 && !tcp) result = native.setOption(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
  if (result === 0) return fd;
  native.close(fd);
  return result;
}

/**
 * Accepted sockets have the listener's options: a client that vanished without a word is found by the kernel's keepalive,
 * when the kernel's own settings say (net.ipv4.tcp_keepalive_time, _intvl and _probes: 2 h and 11 min in all).
 */
function listen(fd: number): number {
  const result = native.setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  return result < 0 ? result : native.listen(fd, BACKLOG);
}

/** `forward tcp 127.0.0.1:2222`, or `forward udp *:53`. */
export function describeForward(forward: Forward): string {
  const address = forward.hostAddress === 0 ? "*" : formatIpv4(forward.hostAddress);
  return `forward ${forward.protocol} ${address}:${forward.hostPort}`;
}

function explain(errno: number, forward: Forward): string {
  const said = describeErrno(errno);
  if (errno === EADDRINUSE) return `port ${forward.hostPort} is taken by another program: ${said}`;
  if (errno === EADDRNOTAVAIL)
    return `${formatIpv4(forward.hostAddress)} is not an address of this host: ${said}`;
  if (errno === EACCES) {
    return `port ${forward.hostPort} is privileged: ${said}; take one from 1024 up or lower net.ipv4.ip_unprivileged_port_start`;
  }
  return `port ${forward.hostPort}: ${said}`;
}
