/**
 * Opens what the outside reaches the guest by: a listening TCP socket or a bound UDP socket for each port of a forward, at
 * the start before the engine says that it is ready, or later. All that fail are told at once, each with its port.
 */

import { readFileSync } from "node:fs";
import { asRule, forwardRules, groupsOf, guestPortOf, withoutOptional } from "../config/forward-rule.ts";
import { forwardHost, isOnEveryAddress } from "../config/forward-text.ts";
import type { PortRange } from "../config/publish-grammar.ts";
import { type EngineCore, TOKEN_FORWARD } from "../engine/api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EMFILE,
  READABLE,
  V4_MAPPED,
} from "../engine/boundary.ts";
import type { Forward } from "../engine/config.ts";
import {
  EACCES,
  EAFNOSUPPORT,
  EDGE_TRIGGERED,
  ENODEV,
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  SO_BINDTOIFINDEX,
  SO_KEEPALIVE,
  SO_REUSEADDR,
  SOL_SOCKET,
} from "./native/linux.ts";
import { native } from "./native/native.ts";
import { describeErrno, StartError, type StartProblem } from "./start-error.ts";

/** Connections the kernel holds for us; net.core.somaxconn (4096 by default) bounds it. */
const BACKLOG = 4096;

/** Free ports tried for a rule of both families until one is free in both. */
const PORT_TRIES = 16;

/** A socket of a forward, and the port that it got. */
export interface OpenPort {
  readonly forward: Forward;
  readonly hostPort: number;
  readonly handle: number;
}

/**
 * Opens the ports of every forward; of optional ones those that can be had, after all others. Returns what each forward
 * has, in their order, or throws StartError for all that fail.
 */
export function openForwards(forwards: readonly Forward[]): OpenPort[][] {
  const rules = forwardRules(forwards);
  const opened = new Map<Forward, OpenPort[]>(forwards.map((forward) => [forward, []]));
  const problems: StartProblem[] = [];
  const keep = (ports: readonly OpenPort[]): void => {
    for (const port of ports) opened.get(port.forward)?.push(port);
  };
  for (const isOptional of [false, true]) {
    const open = isOptional ? openOptional : openAll;
    for (const rule of rules.filter(([first]) => (first?.optional ?? false) === isOptional)) {
      problems.push(...open(groupsOf(rule), keep));
    }
  }
  const result = [...opened.values()];
  if (problems.length > 0) {
    closeForwards(result.flat().map(({ handle }) => handle));
    throw new StartError(problems);
  }
  return result;
}

type Keep = (ports: readonly OpenPort[]) => void;

/** Every port of a rule. Returns what is wrong. */
function openAll(groups: readonly (readonly Forward[])[], keep: Keep): StartProblem[] {
  const problems: StartProblem[] = [];
  for (const group of groups) {
    for (let offset = 0; offset < (group[0].ports ?? 1); offset++) {
      const opened = openPort(group, group[0].hostPort + offset);
      if (Array.isArray(opened)) keep(opened);
      else problems.push(problemOf(opened));
    }
  }
  return problems;
}

/** What keeps a single port from being had; anything else keeps all of them. */
const PASSED_OVER = [EADDRINUSE, EACCES];

/** The ports of a rule that nobody else has: at least one. Returns what is wrong. */
function openOptional(groups: readonly (readonly Forward[])[], keep: Keep): StartProblem[] {
  let count = 0;
  let last: PortFailure | undefined;
  for (const group of groups) {
    const [{ hostPort: first, ports = 1 }] = group;
    for (let port = first; port < first + ports; port++) {
      const opened = openPort(group, port);
      if (Array.isArray(opened)) {
        keep(opened);
        count++;
      } else if (PASSED_OVER.includes(opened.errno)) last = opened;
      else return [problemOf(opened)];
    }
  }
  return count > 0 || last === undefined ? [] : [problemOf(last)];
}

/** The ports that the kernel gives to this host's own connections, of both families (ip-sysctl.rst). */
export function ephemeralPorts(): PortRange {
  const [first = 0, last = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")
    .trim()
    .split(/\s+/)
    .map(Number);
  return { first, last };
}

/** A rule without optional ports that the host gives to its own connections. Throws StartError when that leaves nothing. */
export function openable(rule: readonly Forward[]): Forward[] {
  const [first] = rule;
  if (!first?.optional) return [...rule];
  const ephemeral = ephemeralPorts();
  const left = withoutOptional(rule, ephemeral);
  if (left.length > 0) return asRule(left);
  const reason = `all of them are the host's own connections' (${ephemeral.first}-${ephemeral.last})`;
  throw new StartError([{ place: describeForward(first), reason }]);
}

interface PortFailure {
  readonly forward: Forward;
  readonly hostPort: number;
  readonly errno: number;
}

function problemOf({ forward, hostPort, errno }: PortFailure): StartProblem {
  const failed = { ...forward, hostPort };
  return { place: describeForward(failed), reason: explain(errno, failed) };
}

/** The sockets of forwards that share a port, on this one (0: any), or why not. */
function openPort(group: readonly Forward[], hostPort: number): OpenPort[] | PortFailure {
  for (let tries = 1; ; tries++) {
    const opened: OpenPort[] = [];
    let port = hostPort;
    let handle = 0;
    for (const forward of group) {
      handle = openForward(forward, port);
      if (handle < 0) break;
      if (port === 0) port = forwardPort(handle);
      opened.push({ forward, hostPort: port, handle });
    }
    if (handle >= 0) return opened;
    closeForwards(opened.map((each) => each.handle));
    const again = handle === EADDRINUSE && hostPort === 0 && tries < PORT_TRIES;
    if (!again) return { forward: group[opened.length], hostPort: port, errno: handle };
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
   * Serves these ports by their sockets, which belong to us from now on, under `id`, which may have some already.
   * Edge-triggered: the core remembers what it left in the queue. Returns 0, or -errno when one of them is not served; then
   * `remove` undoes the rest.
   */
  add(id: number, ports: readonly OpenPort[]): number {
    const entry = this.open.get(id) ?? { slots: [], handles: [] };
    this.open.set(id, entry);
    for (const [i, { forward, hostPort, handle }] of ports.entries()) {
      const slot = this.freeSlots.pop() ?? this.slots++;
      const result = native.epollAdd(handle, READABLE | EDGE_TRIGGERED, TOKEN_FORWARD | slot);
      if (result < 0) {
        this.freeSlots.push(slot);
        closeForwards(ports.slice(i).map((left) => left.handle));
        return result;
      }
      entry.slots.push(slot);
      entry.handles.push(handle);
      this.core.openForward(slot, handle, { id, forward, guestPort: guestPortOf(forward, hostPort) });
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
  const { protocol, hostAddress, hostAddress6, hostDevice } = forward;
  const family = hostAddress6 === undefined ? 4 : 6;
  const fd = protocol === "tcp" ? native.tcpSocket(family) : native.udpSocket(family);
  if (fd < 0) return fd;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set([...(hostAddress6 ?? [0, 0, V4_MAPPED, hostAddress]), port]);
  let result = bindToDevice(fd, hostDevice);
  if (result === 0) result = native.bind(fd, words, family, false);
  if (result === 0) result = protocol === "tcp" ? setUpTcp(fd, forward) : setUpUdp(fd, forward);
  if (result === 0) return fd;
  native.close(fd);
  return result;
}

/** Clients come by this interface alone; before the bind, which asks it for link-local addresses. */
function bindToDevice(fd: number, device: string | undefined): number {
  if (device === undefined) return 0;
  const index = native.deviceIndex(device);
  return index < 0 ? index : native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, index);
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
function setUpTcp(fd: number, { whenOpen }: Forward): number {
  let result = native.setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  if (result === 0) result = native.listen(fd, BACKLOG);
  // The core has it listen again once the guest does.
  return result === 0 && whenOpen === true ? setListening(fd, false) : result;
}

/**
 * Has a bound socket listen, or no more. Only a listener keeps others from a port that was bound with SO_REUSEADDR; one that
 * does not listen keeps it by being without. Returns 0 or -errno.
 */
export function setListening(fd: number, on: boolean): number {
  const first = on ? native.setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1) : native.shutdownRead(fd);
  if (first < 0) return first;
  return on ? native.listen(fd, BACKLOG) : native.setOption(fd, SOL_SOCKET, SO_REUSEADDR, 0);
}

/** `forward tcp 127.0.0.1:2222`, `forward udp *:53` or `forward tcp [::%eth0]:80`. */
export function describeForward(forward: Forward): string {
  return `forward ${forward.protocol} ${forwardHost(forward)}:${forward.hostPort}`;
}

function explain(errno: number, forward: Forward): string {
  const said = describeErrno(errno);
  if (errno === EADDRINUSE) return `port ${forward.hostPort} is taken by another program: ${said}`;
  if (errno === EADDRNOTAVAIL) return `${forwardHost(forward)} is not an address of this host: ${said}`;
  if (errno === EMFILE)
    return `${said}: a descriptor for each port and family; raise the hard limit (ulimit -Hn)`;
  if (errno === ENODEV) return `there is no interface ${forward.hostDevice}: ${said}`;
  if (errno === EAFNOSUPPORT) return `this host has no IPv6: ${said}`;
  if (errno === EACCES) {
    return `port ${forward.hostPort} is privileged: ${said}; take one from 1024 up or lower net.ipv4.ip_unprivileged_port_start`;
  }
  return `port ${forward.hostPort}: ${said}`;
}
