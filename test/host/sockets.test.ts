import { execFileSync } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, connect as netConnect, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { parseIpv4 } from "../../src/config/address.ts";
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  EINPROGRESS,
  ENETUNREACH,
  FAILED,
  PEER_CLOSED,
  PEER_QUIET_MS,
  PEER_SEGMENTS,
  PEER_STATUS_WORDS,
  PEER_UNACKNOWLEDGED,
  READABLE,
  WRITABLE,
} from "../../src/engine/boundary.ts";
import type { GuestForward } from "../../src/engine/config.ts";
import { makeUdpBatch } from "../../src/engine/memory/udp-batch.ts";
import type { UdpPorts } from "../../src/host/engine-options.ts";
import { closeForwards, forwardPort, openForwards as openPorts } from "../../src/host/forwards.ts";
import {
  IP_MULTICAST_ALL,
  IP_MULTICAST_TTL,
  IPPROTO_IP,
  SO_BINDTOIFINDEX,
  SOL_SOCKET,
} from "../../src/host/native/linux.ts";
import { native } from "../../src/host/native/native.ts";
import { ephemeralPortsMax } from "../../src/host/outbound.ts";
import { ServiceCommands } from "../../src/host/process/service-command.ts";
import { KernelNetwork, OUTBOUND_ANY, type OutboundBinding } from "../../src/host/sockets.ts";
import { boundPort } from "../support/bound-port.ts";
import { LinkRig, until } from "../support/link-rig.ts";
import { needs } from "../support/requirements.ts";

const openForwards = (forwards: Parameters<typeof openPorts>[0]): number[] =>
  openPorts(forwards).flatMap((ports) => ports.map(({ handle }) => handle));

const LOOPBACK = 0x7f000001;
const rig = new LinkRig();
const commands = new ServiceCommands(rig.log);
const cleanUps: (() => void)[] = [];
const directory = mkdtempSync(join(tmpdir(), "sluice-sockets-"));

beforeAll(() => {
  expect(native.epollOpen(() => {})).toBeGreaterThan(0);
});

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
});

afterAll(() => {
  native.epollClose();
  commands.close();
  rmSync(directory, { recursive: true });
});

function network(
  guestForwards: readonly GuestForward[] = [],
  outbound: OutboundBinding = OUTBOUND_ANY,
  udpPorts?: UdpPorts,
): KernelNetwork {
  const made = new KernelNetwork({
    ...rig,
    guestForwards,
    outbound,
    spawnCommand: commands.start,
    ...(udpPorts === undefined ? {} : { udpPorts }),
  });
  cleanUps.push(() => made.close());
  return made;
}

const v4 = (address: number, port: number): Int32Array => Int32Array.of(0, 0, 0xffff, address, port);

/** Readiness seen so far, by token. */
const ready = new Map<number, number>();

function poll(): void {
  const { eventsAt } = rig.descriptors;
  const count = native.epollWait(eventsAt, 64, 0);
  for (let i = 0; i < count; i++) {
    const index = (eventsAt >> 2) + 2 * i;
    const token = rig.arena.ints[index + 1];
    ready.set(token, (ready.get(token) ?? 0) | rig.arena.ints[index]);
  }
}

async function event(token: number, bits: number): Promise<void> {
  await until(
    () => {
      poll();
      return ((ready.get(token) ?? 0) & bits) === bits;
    },
    `readiness ${bits.toString(16)} of ${token}`,
  );
  ready.delete(token);
}

async function listen(
  onSocket: (socket: Socket) => void,
  where: { port: number } | { path: string },
): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {}); // Some tests end with a reset.
    onSocket(socket);
  });
  cleanUps.push(() => server.close());
  if ("path" in where) server.listen(where.path);
  else server.listen(where.port, "127.0.0.1");
  await until(() => server.listening, "the server");
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

function put(text: string, at = rig.arena.largeChunksAt): { at: number; length: number } {
  const octets = new TextEncoder().encode(text);
  rig.arena.octets.set(octets, at);
  return { at, length: octets.length };
}

function received(net: KernelNetwork, handle: number): string | number {
  const at = rig.arena.smallChunksAt;
  const got = net.tcpReceive(handle, Int32Array.of(at, 2, at + 2, 65_534), 2);
  return got > 0 ? new TextDecoder().decode(rig.arena.octets.slice(at, at + got)) : got;
}

describe("TCP", () => {
  it("connects, gathers, receives, half-closes and hears the peer's FIN", async () => {
    const net = network();
    let heard = "";
    const port = await listen(
      (socket) => {
        socket.on("data", (data) => {
          heard += data;
        });
        socket.on("end", () => socket.end(`you said ${heard}`));
      },
      { port: 0 },
    );
    const handle = net.tcpConnect(1, v4(LOOPBACK, port));
    expect(handle).toBeGreaterThan(0);
    await event(1, WRITABLE);
    expect(net.connectResult(handle)).toBe(0);
    const a = put("hel");
    const b = put("lo", a.at + 100);
    expect(net.tcpSend(handle, Int32Array.of(a.at, 3, b.at, 2), 2)).toBe(5);
    net.tcpShutdown(handle);
    await event(1, READABLE | PEER_CLOSED);
    expect(received(net, handle)).toBe("you said hello");
    expect(received(net, handle)).toBe(0);
    net.tcpClose(handle, false);
  });

  it("tells how long the peer has been quiet, and has the kernel ask it", async () => {
    const net = network();
    const port = await listen((socket) => socket.resume(), { port: 0 });
    const handle = net.tcpConnect(20, v4(LOOPBACK, port));
    await event(20, WRITABLE);
    const status = new Int32Array(PEER_STATUS_WORDS);
    const quietMs = (): number => {
      expect(net.tcpStatus(handle, status)).toBe(0);
      return status[PEER_QUIET_MS];
    };
    // The kernel asks no peer that it heard within the second.
    await until(() => quietMs() > 1100, "a second of quiet");
    expect(status[PEER_UNACKNOWLEDGED]).toBe(0);
    const segments = status[PEER_SEGMENTS];
    expect(net.tcpProbe(handle)).toBe(0);
    await until(() => quietMs() < 1000, "a sign of life", 900);
    expect(status[PEER_SEGMENTS]).toBe(segments + 1);
    // Once: nothing keeps it asking.
    await until(() => quietMs() > 2200, "quiet again");
    net.tcpClose(handle, false);
  });

  it("tells what the peer has not acknowledged, sent or not", async () => {
    const net = network();
    const port = await listen((socket) => socket.pause(), { port: 0 });
    const handle = net.tcpConnect(21, v4(LOOPBACK, port));
    await event(21, WRITABLE);
    const a = put("x".repeat(4096));
    let taken = 0;
    for (let sent = 1; sent > 0; taken += Math.max(sent, 0)) {
      sent = net.tcpSend(handle, Int32Array.of(a.at, 4096), 1);
    }
    expect(taken).toBeGreaterThan(4096);
    const status = new Int32Array(PEER_STATUS_WORDS);
    expect(net.tcpStatus(handle, status)).toBe(0);
    expect(status[PEER_UNACKNOWLEDGED]).not.toBe(0);
    net.tcpClose(handle, true);
  });

  it("knows no quiet where there is no network: a Unix socket", async () => {
    const path = join(directory, "quiet");
    await listen((socket) => socket.resume(), { path });
    const net = network([{ address: 1, port: 1, target: { kind: "unix", path } }]);
    const handle = net.tcpConnectService(22, 0);
    await event(22, WRITABLE);
    expect(net.tcpStatus(handle, new Int32Array(PEER_STATUS_WORDS))).toBeLessThan(0);
    expect(net.tcpProbe(handle)).toBeLessThan(0);
    net.tcpClose(handle, false);
  });

  it("is edge-triggered: an event comes once", async () => {
    const net = network();
    const port = await listen((socket) => socket.write("x"), { port: 0 });
    const handle = net.tcpConnect(2, v4(LOOPBACK, port));
    await event(2, READABLE);
    poll();
    expect(ready.has(2)).toBe(false);
    net.tcpClose(handle, true);
  });

  it("tells a refused connection from one under way", async () => {
    const net = network();
    const closed = native.tcpSocket(4);
    native.bind(closed, v4(LOOPBACK, 0), 4, false);
    const words = new Int32Array(5);
    native.localAddress(closed, words);
    const handle = net.tcpConnect(3, words);
    await event(3, WRITABLE);
    expect(net.connectResult(handle)).toBe(ECONNREFUSED);
    net.tcpClose(handle, false);
    native.close(closed);
    // A listener whose queue is full lets further connections wait for its answer.
    const busy = native.tcpSocket(4);
    native.bind(busy, v4(LOOPBACK, 0), 4, false);
    native.listen(busy, 0);
    native.localAddress(busy, words);
    const waiting = Array.from({ length: 4 }, (_, i) => net.tcpConnect(50 + i, words));
    await event(50, WRITABLE);
    expect(net.connectResult(waiting[0])).toBe(0);
    expect(net.connectResult(waiting[3])).toBe(EINPROGRESS);
    for (const fd of waiting) net.tcpClose(fd, true);
    native.close(busy);
  });

  it("resets on request", async () => {
    const net = network();
    let error = "";
    const port = await listen(
      (socket) => {
        socket.on("error", (failure: NodeJS.ErrnoException) => {
          error = failure.code ?? "";
        });
      },
      { port: 0 },
    );
    const handle = net.tcpConnect(5, v4(LOOPBACK, port));
    await event(5, WRITABLE);
    net.tcpClose(handle, true);
    await until(() => error !== "", "the reset");
    expect(error).toBe("ECONNRESET");
  });

  it("leaves by the source address it was given", async () => {
    const net = network([], { address: 0x7f000005, deviceIndex: 0 });
    let from = "";
    const port = await listen(
      (socket) => {
        from = socket.remoteAddress ?? "";
        socket.resume();
      },
      { port: 0 },
    );
    const handle = net.tcpConnect(6, v4(LOOPBACK, port));
    await until(() => from !== "", "the connection");
    expect(from).toBe("127.0.0.5");
    net.tcpClose(handle, true);
  });

  it("leaves by the interface it was given", async () => {
    const net = network([], { address: 0, deviceIndex: native.deviceIndex("lo") });
    let connected = false;
    const port = await listen(
      (socket) => {
        connected = true;
        socket.resume();
      },
      { port: 0 },
    );
    const handle = net.tcpConnect(7, v4(LOOPBACK, port));
    await until(() => connected, "the connection");
    net.tcpClose(handle, true);
  });

  it("accepts with the peer's address", async () => {
    const net = network();
    const listener = native.tcpSocket(4);
    native.bind(listener, v4(LOOPBACK, 0), 4, false);
    native.listen(listener, 8);
    const words = new Int32Array(5);
    native.localAddress(listener, words);
    const from = new Int32Array(5);
    expect(net.tcpAccept(listener, 9, from)).toBe(EAGAIN);
    const client = netConnect(words[4], "127.0.0.1");
    cleanUps.push(() => client.destroy());
    let handle = EAGAIN;
    await until(() => {
      handle = net.tcpAccept(listener, 9, from);
      return handle !== EAGAIN;
    }, "the connection");
    await until(() => client.localPort !== undefined, "the client");
    expect([...from]).toEqual([0, 0, 0xffff, LOOPBACK, client.localPort]);
    client.write("hi");
    await event(9, READABLE);
    expect(received(net, handle)).toBe("hi");
    net.tcpClose(handle, false);
    native.close(listener);
  });
});

describe("guest-forward services", () => {
  it("connects to a TCP address, whatever guests leave by", async () => {
    let from = "";
    const port = await listen(
      (socket) => {
        from = socket.remoteAddress ?? "";
        socket.resume();
      },
      { port: 0 },
    );
    const target = { kind: "tcp", host: LOOPBACK, port } as const;
    const net = network([{ address: 1, port: 1, target }], { address: 0x7f000005, deviceIndex: 0 });
    const handle = net.tcpConnectService(20, 0);
    await until(() => from !== "", "the connection");
    expect(from).toBe("127.0.0.1");
    net.tcpClose(handle, true);
  });

  it("connects to a Unix socket", async () => {
    const path = join(directory, "service");
    await listen((socket) => socket.end("from unix"), { path });
    const net = network([{ address: 1, port: 1, target: { kind: "unix", path } }]);
    const handle = net.tcpConnectService(21, 0);
    expect(net.connectResult(handle)).toBe(0);
    await event(21, READABLE | PEER_CLOSED);
    expect(received(net, handle)).toBe("from unix");
    net.tcpClose(handle, false);
  });

  it("runs a command with the connection as its input and output", async () => {
    const command = 'read line; echo "got $line"';
    const net = network([{ address: 1, port: 1, target: { kind: "command", command } }]);
    const handle = net.tcpConnectService(22, 0);
    expect(net.connectResult(handle)).toBe(0);
    const { at, length } = put("this\n");
    net.tcpSend(handle, Int32Array.of(at, length), 1);
    await event(22, READABLE | PEER_CLOSED);
    expect(received(net, handle)).toBe("got this\n");
    expect(received(net, handle)).toBe(0);
    net.tcpClose(handle, false);
  });

  it("fails like a refused connection when nobody serves the socket", () => {
    const path = join(directory, "nobody");
    const net = network([{ address: 1, port: 1, target: { kind: "unix", path } }]);
    expect(net.tcpConnectService(23, 0)).toBe(-2);
    expect(net.tcpConnectService(23, 1)).toBeLessThan(0);
  });
});

async function udpPeer(): Promise<{ socket: UdpSocket; port: number; heard: string[] }> {
  const socket = createSocket("udp4");
  const heard: string[] = [];
  socket.on("message", (message) => heard.push(message.toString()));
  socket.bind(0, "127.0.0.1");
  await new Promise((resolve) => socket.once("listening", resolve));
  cleanUps.push(() => socket.close());
  return { socket, port: socket.address().port, heard };
}

describe("UDP", () => {
  it("sends what was queued at the flush and receives with the sender's address", async () => {
    const net = network();
    const peer = await udpPeer();
    const handle = net.udpOpen(30, 4, 0);
    const one = put("one");
    const two = put("three", one.at + 64);
    net.udpSend(handle, v4(LOOPBACK, peer.port), one.at, one.length);
    net.udpSend(handle, v4(LOOPBACK, peer.port), two.at, two.length);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(peer.heard).toEqual([]);
    expect(net.udpFlush()).toBe(0);
    await until(() => peer.heard.length === 2, "two datagrams");
    expect(peer.heard).toEqual(["one", "three"]);
    const batch = makeUdpBatch(8);
    expect(net.udpReceive(handle, batch)).toBe(0);
    peer.socket.send("back", boundPort(handle), "127.0.0.1");
    await event(30, READABLE);
    expect(net.udpReceive(handle, batch)).toBe(1);
    const text = new TextDecoder().decode(rig.arena.octets.slice(batch.at[0], batch.at[0] + batch.length[0]));
    expect(text).toBe("back");
    expect([...batch.words.subarray(0, 5)]).toEqual([0, 0, 0xffff, LOOPBACK, peer.port]);
    net.udpClose(handle);
  });

  it("flushes by itself when the queue is full, and counts what was refused", async () => {
    const net = network();
    const peer = await udpPeer();
    const handle = net.udpOpen(31, 4, 0);
    const { at, length } = put("x");
    for (let i = 0; i < 1100; i++) net.udpSend(handle, v4(LOOPBACK, peer.port), at, length);
    await until(() => peer.heard.length > 0, "a datagram before the flush");
    // Port 0 of an unconnected socket is no destination.
    net.udpSend(handle, v4(LOOPBACK, 0), at, length);
    expect(net.udpFlush()).toBe(1);
    expect(net.udpFlush()).toBe(0);
    net.udpClose(handle);
  });

  it("sends what a closing socket still had queued", async () => {
    const net = network();
    const peer = await udpPeer();
    const handle = net.udpOpen(32, 4, 0);
    const { at, length } = put("last words");
    net.udpSend(handle, v4(LOOPBACK, peer.port), at, length);
    net.udpClose(handle);
    await until(() => peer.heard.length === 1, "the datagram");
    expect(net.udpFlush()).toBe(0);
  });

  it("answers from the address a forward was asked on", async () => {
    const net = network();
    const [handle] = openForwards([
      { protocol: "udp", hostAddress: 0, hostPort: 0, guestAddress: 0, guestPort: 53 },
    ]);
    cleanUps.push(() => closeForwards([handle]));
    const client = createSocket("udp4");
    const answers: string[] = [];
    client.on("message", (message, from) => answers.push(`${message} from ${from.address}:${from.port}`));
    cleanUps.push(() => client.close());
    const port = forwardPort(handle);
    const batch = makeUdpBatch(8);
    for (const address of ["127.0.0.2", "127.0.0.1", "127.0.0.3"]) {
      client.send(`ask ${address}`, port, address);
      let count = 0;
      await until(() => {
        count = net.udpReceiveLocal(handle, batch);
        return count !== 0;
      }, "the question");
      expect(count).toBe(1);
      expect([...batch.local.subarray(0, 5)]).toEqual([0, 0, 0xffff, parseIpv4(address), 0]);
      const { at, length } = put("yes");
      const other = put("no", at + 64);
      // In one batch with one for the kernel to choose the source of.
      net.udpSendFrom(handle, batch.local, batch.words, at, length);
      net.udpSend(handle, v4(LOOPBACK, port), other.at, other.length);
      expect(net.udpFlush()).toBe(0);
      await until(() => answers.length > 0, "the answer");
      expect(answers.splice(0)).toEqual([`yes from ${address}:${port}`]);
      await until(() => net.udpReceiveLocal(handle, batch) === 1, "its own datagram");
    }
  });

  it("lets nothing leave over a family that has no source, but the engine's own questions", () => {
    const net = network([], { address: 0, address6: null, deviceIndex: 0 });
    const to = Int32Array.from([0, 0, 0, 1, 9]);
    expect(net.tcpConnect(43, to)).toBe(ENETUNREACH);
    expect(net.udpOpen(44, 6, 5000)).toBe(ENETUNREACH);
    const question = net.udpOpen(45, 6, 0);
    expect(question).toBeGreaterThan(0);
    net.udpClose(question);
    net.setResolvers([{ words: [0, 0, 0, 1], port: 53, scope: 0 }]);
    const asked = net.tcpConnect(46, to);
    expect(asked).toBeGreaterThan(0);
    net.tcpClose(asked, true);
    const four = network([], { address: null, deviceIndex: 0 });
    expect(four.tcpConnect(47, v4(LOOPBACK, 9))).toBe(ENETUNREACH);
    expect(four.udpOpen(48, 4, 5000)).toBe(ENETUNREACH);
  });

  it("leaves by the IPv6 source address it was given", () => {
    const net = network([], { address: 0, address6: [0, 0, 0, 1], deviceIndex: 0 });
    const local = new Int32Array(5);
    const tcp = net.tcpConnect(49, Int32Array.from([0, 0, 0, 1, 9]));
    native.localAddress(tcp, local);
    expect([...local.subarray(0, 4)]).toEqual([0, 0, 0, 1]);
    const udp = net.udpOpen(50, 6, 5000);
    native.localAddress(udp, local);
    expect([...local.subarray(0, 4)]).toEqual([0, 0, 0, 1]);
    net.tcpClose(tcp, true);
    net.udpClose(udp);
    const none = network([], { address: 0, address6: [0x20010db8, 0, 0, 1], deviceIndex: 0 });
    expect(none.tcpConnect(51, Int32Array.from([0, 0, 0, 1, 9]))).toBe(EADDRNOTAVAIL);
  });

  it("N62 answers over IPv6 from the address a forward was asked on", async () => {
    const net = network();
    const [handle] = openForwards([
      {
        ...{ protocol: "udp", hostAddress: 0, hostAddress6: [0, 0, 0, 0], hostPort: 0 },
        ...{ guestAddress: 0, guestAddress6: null, guestPort: 53 },
      },
    ]);
    cleanUps.push(() => closeForwards([handle]));
    const client = createSocket("udp6");
    const answers: string[] = [];
    client.on("message", (message, from) => answers.push(`${message} from ${from.address}:${from.port}`));
    cleanUps.push(() => client.close());
    const port = forwardPort(handle);
    const batch = makeUdpBatch(8);
    client.send("ask", port, "::1");
    await until(() => net.udpReceiveLocal(handle, batch) === 1, "the question");
    expect([...batch.local.subarray(0, 5)]).toEqual([0, 0, 0, 1, 0]);
    const { at, length } = put("yes");
    net.udpSendFrom(handle, batch.local, batch.words, at, length);
    // An address that this host has not.
    batch.local[0] = 0x20010db8;
    net.udpSendFrom(handle, batch.local, batch.words, at, length);
    expect(net.udpFlush()).toBe(1);
    await until(() => answers.length > 0, "the answer");
    expect(answers).toEqual([`yes from ::1:${port}`]);
  });

  it("sends to groups with the TTL it was told, what was queued before as it was, and hears none of them", async () => {
    const net = network();
    const peer = await udpPeer();
    const handle = net.udpOpen(37, 4, 0);
    expect(native.getOption(handle, IPPROTO_IP, IP_MULTICAST_TTL)).toBe(1);
    const { at, length } = put("before");
    net.udpSend(handle, v4(LOOPBACK, peer.port), at, length);
    net.udpToGroups(handle, 255);
    await until(() => peer.heard.length === 1, "what was queued");
    expect(native.getOption(handle, IPPROTO_IP, IP_MULTICAST_TTL)).toBe(255);
    expect(native.getOption(handle, IPPROTO_IP, IP_MULTICAST_ALL)).toBe(0);
    net.udpClose(handle);
  });

  it("takes a port of the ephemeral range with the guest's parity, never one a program may want", () => {
    const [low, high] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")
      .split(/\s+/)
      .map(Number);
    const lo = native.deviceIndex("lo");
    const net = network([], { address: LOOPBACK, deviceIndex: lo });
    for (const port of [53, 1024, 5353, 5354, 51_820, 65_535]) {
      for (let i = 0; i < 32; i++) {
        const handle = net.udpOpen(33, 4, port);
        const taken = boundPort(handle);
        expect(taken % 2).toBe(port % 2);
        expect(taken).toBeGreaterThanOrEqual(low);
        expect(taken).toBeLessThanOrEqual(high);
        // Choosing again must not have cost what the socket was told before.
        const words = new Int32Array(5);
        native.localAddress(handle, words);
        expect(words[3]).toBe(LOOPBACK);
        expect(native.getOption(handle, SOL_SOCKET, SO_BINDTOIFINDEX)).toBe(lo);
        net.udpClose(handle);
      }
    }
    // The guest's own port is a matter of chance; with nothing else in the way it is not what the socket has.
    const own = Array.from({ length: 8 }, () => {
      const handle = net.udpOpen(33, 4, low + 1);
      const taken = boundPort(handle);
      net.udpClose(handle);
      return taken;
    });
    expect(new Set(own).size).toBeGreaterThan(1);
  });

  it("knows how many ports of the range are the guest's", () => {
    expect(ephemeralPortsMax("32768\t60999\n")).toBe(24_703);
    expect(ephemeralPortsMax("50000 50007")).toBe(7);
    // Nothing known: the kernel alone keeps count.
    expect(ephemeralPortsMax("")).toBe(65_535);
  });

  it("leaves a share of the ephemeral ports to the host, and the engine's own questions theirs", () => {
    const net = network([], OUTBOUND_ANY, { preserve: false, ephemeralMax: 2 });
    const one = net.udpOpen(33, 4, 4000);
    const two = net.udpOpen(33, 4, 4001);
    expect(net.udpOpen(33, 4, 4002)).toBe(EADDRINUSE);
    const question = net.udpOpen(33, 4, 0);
    expect(question).toBeGreaterThan(0);
    net.udpClose(one);
    net.udpClose(question);
    const three = net.udpOpen(33, 4, 4002);
    expect(three).toBeGreaterThan(0);
    net.udpClose(two);
    net.udpClose(three);
  });

  it("preserves the guest's port where that was chosen, or else its parity", () => {
    const net = network([], OUTBOUND_ANY, { preserve: true, ephemeralMax: 65_535 });
    const probe = net.udpOpen(33, 4, 0);
    const free = boundPort(probe);
    net.udpClose(probe);
    const first = net.udpOpen(33, 4, free);
    expect(boundPort(first)).toBe(free);
    for (let i = 0; i < 8; i++) {
      const other = net.udpOpen(34, 4, free);
      expect(boundPort(other)).not.toBe(free);
      expect(boundPort(other) % 2).toBe(free % 2);
      net.udpClose(other);
    }
    net.udpClose(first);
  });

  it("reports the ICMP error of a connected socket", async () => {
    const net = network();
    const closed = await udpPeer();
    const handle = net.udpOpen(35, 4, 0);
    const target = v4(LOOPBACK, closed.port);
    cleanUps.pop()?.();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(net.udpConnect(handle, target)).toBe(0);
    const { at, length } = put("anyone?");
    net.udpSend(handle, target, at, length);
    net.udpFlush();
    await event(35, FAILED);
    expect(net.udpReceive(handle, makeUdpBatch(4))).toBe(ECONNREFUSED);
    net.udpClose(handle);
  });

  it("reaches a link-local IPv6 resolver by its scope", async () => {
    const words = [0xfe800000 | 0, 0, 0, 1] as const;
    const net = network();
    const handle = net.udpOpen(36, 6, 0);
    const to = Int32Array.of(...words, 53);
    expect(net.udpConnect(handle, to)).toBeLessThan(0);
    net.setResolvers([{ words, port: 53, scope: native.deviceIndex("lo") }]);
    const result = net.udpConnect(handle, to);
    // lo may have no link-local route; what matters is that it is not for want of a scope (EINVAL) any more.
    expect(result).not.toBe(-22);
    net.udpClose(handle);
  });
});

describe("running out of descriptors", () => {
  it("refuses the connection that waits, instead of being woken by it for ever", async (context) => {
    needs(context, { commands: ["prlimit"] });
    const net = network();
    const listener = native.tcpSocket(4);
    native.bind(listener, v4(LOOPBACK, 0), 4, false);
    native.listen(listener, 8);
    const words = new Int32Array(5);
    native.localAddress(listener, words);
    const client = netConnect(words[4], "127.0.0.1");
    cleanUps.push(() => client.destroy());
    let error = "";
    client.on("error", (failure: NodeJS.ErrnoException) => {
      error = failure.code ?? "";
    });
    await until(() => client.readyState === "open", "the client");
    const limit = execFileSync("prlimit", [
      "--pid",
      String(process.pid),
      "--nofile",
      "-o",
      "SOFT",
      "--noheadings",
    ]);
    execFileSync("prlimit", ["--pid", String(process.pid), "--nofile=512:"]);
    cleanUps.push(() => {
      execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${String(limit).trim()}:`]);
    });
    const hoard: number[] = [];
    for (let fd = native.udpSocket(4); fd >= 0; fd = native.udpSocket(4)) hoard.push(fd);
    const from = new Int32Array(5);
    const full = net.tcpAccept(listener, 40, from);
    const drained = net.tcpAccept(listener, 40, from);
    for (const fd of hoard) native.close(fd);
    expect([-23, -24]).toContain(full);
    expect([EAGAIN, -23, -24]).toContain(drained);
    await until(() => error !== "", "the reset");
    expect(error).toBe("ECONNRESET");
    native.close(listener);
  });
});
