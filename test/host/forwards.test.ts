import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Forward } from "../../src/engine/config.ts";
import {
  closeForwards,
  describeForward,
  forwardPort,
  openable,
  openForwards as openPorts,
} from "../../src/host/forwards.ts";
import {
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  SO_BINDTOIFINDEX,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
} from "../../src/host/native/linux.ts";
import { native } from "../../src/host/native/native.ts";
import { StartError } from "../../src/host/start-error.ts";

const LOOPBACK = 0x7f000001;

function forward(protocol: "tcp" | "udp", hostAddress: number, hostPort: number): Forward {
  return { protocol, hostAddress, hostPort, guestAddress: 0, guestPort: 22 };
}

const openForwards = (forwards: readonly Forward[]): number[] =>
  openPorts(forwards).flatMap((ports) => ports.map(({ handle }) => handle));

const EVERY_IPV6 = [0, 0, 0, 0] as const;
const IPV6_LOOPBACK = [0, 0, 0, 1] as const;
/** ipv6(7), linux/in6.h */
const IPV6_V6ONLY = 26;

/** On ::1. */
function forward6(protocol: "tcp" | "udp", hostPort: number): Forward {
  return { ...forward(protocol, 0, hostPort), hostAddress6: IPV6_LOOPBACK };
}

function problemsOf(forwards: Forward[]): StartError {
  try {
    closeForwards(openForwards(forwards));
  } catch (error) {
    if (error instanceof StartError) return error;
    throw error;
  }
  throw new Error("all forwards could be opened");
}

it("binds TCP and UDP to the same port, on the address that was asked for", () => {
  const [tcp] = openForwards([forward("tcp", LOOPBACK, 0)]);
  const port = forwardPort(tcp);
  const [udp] = openForwards([forward("udp", LOOPBACK, port)]);
  const words = new Int32Array(5);
  native.localAddress(udp, words);
  expect([...words]).toEqual([0, 0, 0xffff, LOOPBACK, port]);
  closeForwards([tcp, udp]);
});

it("binds all addresses when none is given", () => {
  const [handle] = openForwards([forward("tcp", 0, 0)]);
  const words = new Int32Array(5);
  native.localAddress(handle, words);
  expect(words[3]).toBe(0);
  closeForwards([handle]);
});

it("has a UDP port on all addresses tell which of them was asked, and hear no group", () => {
  const handles = openForwards([forward("udp", 0, 0), forward("udp", LOOPBACK, 0)]);
  expect(handles.map((handle) => native.getOption(handle, IPPROTO_IP, IP_PKTINFO))).toEqual([1, 0]);
  expect(handles.map((handle) => native.getOption(handle, IPPROTO_IP, IP_MULTICAST_ALL))).toEqual([0, 0]);
  closeForwards(handles);
});

it("N62 has listeners of both families on one port, each of its own family alone", () => {
  const rule = (protocol: "tcp" | "udp"): Forward[] => [
    forward(protocol, 0, 0),
    { ...forward(protocol, 0, 0), hostAddress6: EVERY_IPV6, sharesPort: true },
  ];
  const handles = openForwards([...rule("tcp"), ...rule("udp"), forward6("tcp", 0)]);
  const [tcp4, tcp6, udp4, udp6, other] = handles.map(forwardPort);
  expect([tcp6, udp6]).toEqual([tcp4, udp4]);
  expect(other).not.toBe(tcp4);
  const words = new Int32Array(5);
  native.localAddress(handles[1], words);
  expect([...words]).toEqual([...EVERY_IPV6, tcp4]);
  expect(handles.map((handle) => native.getOption(handle, IPPROTO_IPV6, IPV6_V6ONLY) === 1)).toEqual([
    false,
    true,
    false,
    true,
    true,
  ]);
  closeForwards(handles);
});

it("N62 binds both families or fails as one", () => {
  const [taken] = openForwards([forward6("tcp", 0)]);
  const port = forwardPort(taken);
  const both = [
    forward("tcp", LOOPBACK, port),
    { ...forward("tcp", 0, port), hostAddress6: IPV6_LOOPBACK, sharesPort: true },
  ];
  expect(problemsOf([...both, forward("tcp", LOOPBACK, 0)]).problems).toEqual([
    {
      place: `forward tcp [::1]:${port}`,
      reason: `port ${port} is taken by another program: address already in use (EADDRINUSE)`,
    },
  ]);
  // The half that could be had was given back.
  const [free] = openForwards([forward("tcp", LOOPBACK, port)]);
  closeForwards([taken, free]);
});

it("N62 looks for a port that is free in both families", () => {
  // Whichever port is chosen for IPv4 is taken in IPv6 every other time.
  const taken: number[] = [];
  for (let n = 0; n < 24; n++) taken.push(...openForwards([forward6("udp", 0)]));
  for (let n = 0; n < 24; n++) {
    const handles = openForwards([forward("udp", LOOPBACK, 0), { ...forward6("udp", 0), sharesPort: true }]);
    expect(forwardPort(handles[0])).toBe(forwardPort(handles[1]));
    taken.push(...handles);
  }
  closeForwards(taken);
});

it("has a UDP port of IPv6 tell which address was asked, always, and hear no group", () => {
  const handles = openForwards([{ ...forward("udp", 0, 0), hostAddress6: EVERY_IPV6 }, forward6("udp", 0)]);
  expect(handles.map((handle) => native.getOption(handle, IPPROTO_IPV6, IPV6_RECVPKTINFO))).toEqual([1, 1]);
  expect(handles.map((handle) => native.getOption(handle, IPPROTO_IPV6, IPV6_MULTICAST_ALL))).toEqual([0, 0]);
  closeForwards(handles);
});

it("has the kernel look after clients that may vanish, when its own settings say", () => {
  const [listener] = openForwards([forward("tcp", LOOPBACK, 0)]);
  const client = native.tcpSocket(4);
  const words = new Int32Array(5);
  native.localAddress(listener, words);
  native.connect(client, words);
  const accepted = native.accept(listener, new Int32Array(5));
  expect(native.getOption(accepted, SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
  const idle = Number(readFileSync("/proc/sys/net/ipv4/tcp_keepalive_time", "utf8"));
  expect(native.getOption(accepted, IPPROTO_TCP, TCP_KEEPIDLE)).toBe(idle);
  closeForwards([accepted, client, listener]);
});

it("tells every port that cannot be bound, and why", () => {
  const [tcp, udp] = openForwards([forward("tcp", LOOPBACK, 0), forward("udp", LOOPBACK, 0)]);
  const { problems, code } = problemsOf([
    forward("tcp", LOOPBACK, forwardPort(tcp)),
    forward("tcp", LOOPBACK, 0),
    forward("udp", LOOPBACK, forwardPort(udp)),
    forward("tcp", 0xc0000201 | 0, 8080),
    { ...forward("tcp", 0, 8080), hostAddress6: [0x20010db8, 0, 0, 1] },
  ]);
  expect(code).toBe("ERR_SLUICE_START");
  expect(problems).toEqual([
    {
      place: `forward tcp 127.0.0.1:${forwardPort(tcp)}`,
      reason: `port ${forwardPort(tcp)} is taken by another program: address already in use (EADDRINUSE)`,
    },
    {
      place: `forward udp 127.0.0.1:${forwardPort(udp)}`,
      reason: `port ${forwardPort(udp)} is taken by another program: address already in use (EADDRINUSE)`,
    },
    {
      place: "forward tcp 192.0.2.1:8080",
      reason: "192.0.2.1 is not an address of this host: address not available (EADDRNOTAVAIL)",
    },
    {
      place: "forward tcp [2001:db8::1]:8080",
      reason: "[2001:db8::1] is not an address of this host: address not available (EADDRNOTAVAIL)",
    },
  ]);
  closeForwards([tcp, udp]);
});

it("tells the same port declared twice", () => {
  const [probe] = openForwards([forward("tcp", LOOPBACK, 0)]);
  const port = forwardPort(probe);
  closeForwards([probe]);
  const { problems } = problemsOf([forward("tcp", LOOPBACK, port), forward("tcp", LOOPBACK, port)]);
  expect(problems).toHaveLength(1);
  // What could be opened was closed again.
  closeForwards(openForwards([forward("tcp", LOOPBACK, port)]));
});

it("is described as people write it", () => {
  expect(describeForward(forward("udp", 0, 53))).toBe("forward udp *:53");
  expect(describeForward(forward("tcp", LOOPBACK, 2222))).toBe("forward tcp 127.0.0.1:2222");
  expect(describeForward(forward6("tcp", 80))).toBe("forward tcp [::1]:80");
  expect(describeForward({ ...forward6("udp", 53), hostAddress6: EVERY_IPV6 })).toBe("forward udp [::]:53");
});

const EPHEMERAL = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")
  .trim()
  .split(/\s+/)
  .map(Number);

/** Ports in a row that are free here, below those of the host's own connections. */
function freeRow(): number {
  const [first = 0] = EPHEMERAL;
  for (let at = first - 8; at > 1024; at -= 8) {
    try {
      closeForwards(openForwards([{ ...forward("tcp", LOOPBACK, at), ports: 8 }]));
      return at;
    } catch {
      // Somebody has one of them.
    }
  }
  throw new Error("no eight ports are free");
}

it("opens every port of a range, each in its place, and all or none", () => {
  const first = freeRow();
  const [ports = []] = openPorts([{ ...forward("tcp", LOOPBACK, first), ports: 8 }]);
  expect(ports.map(({ hostPort, handle }) => [hostPort, forwardPort(handle)])).toEqual(
    Array.from({ length: 8 }, (_, i) => [first + i, first + i]),
  );
  const { problems } = problemsOf([{ ...forward("tcp", LOOPBACK, first + 6), ports: 3 }]);
  expect(problems.map(({ place }) => place)).toEqual([6, 7].map((i) => `forward tcp 127.0.0.1:${first + i}`));
  closeForwards(ports.map(({ handle }) => handle));
});

it("passes over optional ports that others have, after all that are none, and says when no port is left", () => {
  const first = freeRow();
  const taken = openForwards([forward("tcp", LOOPBACK, first + 2)]);
  const optional = { ...forward("tcp", LOOPBACK, first), ports: 8, optional: true };
  const [ports = [], one = []] = openPorts([optional, forward("tcp", LOOPBACK, first + 5)]);
  expect(ports.map(({ hostPort }) => hostPort - first)).toEqual([0, 1, 3, 4, 6, 7]);
  expect(one.map(({ hostPort }) => hostPort - first)).toEqual([5]);
  closeForwards([...ports, ...one].map(({ handle }) => handle));
  const { problems } = problemsOf([{ ...optional, hostPort: first + 2, ports: 1 }]);
  expect(problems[0]?.reason).toMatch(/taken by another program/);
  closeForwards(taken);
});

it("leaves the ports of the host's own connections out of a set", () => {
  const [first = 0, last = 0] = EPHEMERAL;
  const set = (hostPort: number, ports: number): Forward => ({
    ...{ ...forward("tcp", LOOPBACK, hostPort), guestPort: hostPort },
    ...{ ports, optional: true },
  });
  const shown = (rule: readonly Forward[]): number[][] =>
    openable(rule).map(({ hostPort, guestPort, ports = 1 }) => [hostPort, guestPort, ports]);
  expect(shown([set(first - 10, last - first + 20)])).toEqual([
    [first - 10, first - 10, 10],
    [last + 1, last + 1, 9],
  ]);
  const everywhere: Forward = { ...set(first - 1, 2), hostAddress6: EVERY_IPV6, sharesPort: true };
  expect(shown([set(first - 1, 2), everywhere])).toEqual([
    [first - 1, first - 1, 1],
    [first - 1, first - 1, 1],
  ]);
  expect(() => openable([set(first, 2)])).toThrow(/the host's own connections'/);
  expect(openable([{ ...set(first, 2), optional: false }])).toHaveLength(1);
});

it("binds to an interface, so that one port is there on each, and says when there is no such interface", () => {
  const first = freeRow();
  const device = { ...forward("tcp", LOOPBACK, first), hostDevice: "lo" };
  const [handle = -1] = openForwards([device]);
  expect(native.getOption(handle, SOL_SOCKET, SO_BINDTOIFINDEX)).toBe(native.deviceIndex("lo"));
  closeForwards([handle]);
  const { problems } = problemsOf([{ ...device, hostDevice: "nowhere9" }]);
  expect(problems).toEqual([
    {
      place: `forward tcp 127.0.0.1%nowhere9:${first}`,
      reason: expect.stringMatching(/^there is no interface nowhere9: /),
    },
  ]);
});
