import { randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  ENOTCONN,
  EPIPE,
} from "../../../src/engine/boundary.ts";
import { native } from "../../../src/host/native/native.ts";

const ENOENT = -2;
const EBADF = -9;
const ENAMETOOLONG = -36;
const EBADMSG = -74;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_OOBINLINE = 10;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const LOOPBACK = 0x7f000001;

const arena = new ArrayBuffer(1 << 22);
const octets = new Uint8Array(arena);
const IN = 1 << 21;
const directory = mkdtempSync(join(tmpdir(), "sluice-native-sockets-"));
const open = new Set<number>();

/** Remembers a descriptor to close after the test; a failed call fails the test. */
function opened(fd: number): number {
  expect(fd).toBeGreaterThanOrEqual(0);
  open.add(fd);
  return fd;
}

function closed(fd: number): void {
  open.delete(fd);
}

function v4(address: number, port: number): Int32Array {
  return Int32Array.of(0, 0, 0xffff, address, port);
}

function v6Loopback(port: number): Int32Array {
  return Int32Array.of(0, 0, 0, 1, port);
}

/** Repeats a call while it answers EAGAIN; loopback needs no longer than this. */
async function until(call: () => number, pending: number = EAGAIN): Promise<number> {
  for (let i = 0; i < 500; i++) {
    const result = call();
    if (result !== pending) return result;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return pending;
}

function listenOn(family: 4 | 6, words: Int32Array): { listener: number; port: number } {
  const listener = opened(native.tcpSocket(family));
  expect(native.bind(listener, words, family, false)).toBe(0);
  expect(native.listen(listener, 16)).toBe(0);
  const local = new Int32Array(5);
  expect(native.localAddress(listener, local)).toBe(0);
  return { listener, port: local[4]! };
}

/** Two connected TCP sockets, and the address the accepting side saw. */
async function tcpPair(): Promise<{ client: number; server: number; from: Int32Array }> {
  const { listener, port } = listenOn(4, v4(LOOPBACK, 0));
  const client = opened(native.tcpSocket(4));
  expect([0, EINPROGRESS]).toContain(native.connect(client, v4(LOOPBACK, port)));
  const from = new Int32Array(5).fill(-1);
  const server = opened(await until(() => native.accept(listener, from)));
  expect(await until(() => native.isConnected(client), ENOTCONN)).toBe(0);
  return { client, server, from };
}

beforeAll(() => {
  native.registerArena(arena);
  octets.set(randomBytes(1 << 20), 4096);
});

afterEach(() => {
  for (const fd of open) native.close(fd);
  open.clear();
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe("TCP", () => {
  it("connects, and accept tells the peer's address", async () => {
    const { client, server, from } = await tcpPair();
    const local = new Int32Array(5);
    expect(native.localAddress(client, local)).toBe(0);
    expect(from).toEqual(local);
    expect(Array.from(from.subarray(0, 4))).toEqual([0, 0, 0xffff, LOOPBACK]);
    expect(native.socketError(client)).toBe(0);
    for (const fd of [client, server]) {
      expect(native.getOption(fd, IPPROTO_TCP, TCP_NODELAY)).toBe(1);
      expect(native.getOption(fd, SOL_SOCKET, SO_OOBINLINE)).toBe(1);
    }
  });

  it("connects over IPv6, beside an IPv4 listener on the same port", async () => {
    const { listener, port } = listenOn(6, v6Loopback(0));
    listenOn(4, v4(LOOPBACK, port));
    const client = opened(native.tcpSocket(6));
    native.connect(client, v6Loopback(port));
    const from = new Int32Array(5);
    opened(await until(() => native.accept(listener, from)));
    expect(Array.from(from.subarray(0, 4))).toEqual([0, 0, 0, 1]);
    expect(from[4]).toBeGreaterThan(0);
  });

  it("moves octets and half-closes", async () => {
    const { client, server } = await tcpPair();
    expect(native.sendGather(client, Int32Array.of(4096, 5, 5000, 7), 2)).toBe(12);
    expect(await until(() => native.receive(server, IN, 100))).toBe(12);
    expect(octets.slice(IN, IN + 12)).toEqual(
      Uint8Array.of(...octets.slice(4096, 4101), ...octets.slice(5000, 5007)),
    );
    expect(native.receive(server, IN, 100)).toBe(EAGAIN);
    expect(native.shutdownWrite(client)).toBe(0);
    expect(await until(() => native.receive(server, IN, 100))).toBe(0);
    expect(native.sendGather(server, Int32Array.of(4096, 3), 1)).toBe(3);
    expect(await until(() => native.receive(client, IN, 100))).toBe(3);
    expect(native.sendGather(client, Int32Array.of(4096, 3), 1)).toBe(EPIPE);
  });

  it("receives into one place after the other, from sockets and from pipes", async () => {
    const { client, server } = await tcpPair();
    const scatter = Int32Array.of(IN, 5, IN + 100, 100);
    expect(native.receiveScatter(server, scatter, 2)).toBe(EAGAIN);
    expect(native.sendGather(client, Int32Array.of(4096, 12), 1)).toBe(12);
    expect(await until(() => native.receiveScatter(server, scatter, 2))).toBe(12);
    expect(octets.slice(IN, IN + 5)).toEqual(octets.slice(4096, 4101));
    expect(octets.slice(IN + 100, IN + 107)).toEqual(octets.slice(4101, 4108));
    native.shutdownWrite(client);
    expect(await until(() => native.receiveScatter(server, scatter, 2))).toBe(0);
    const file = openSync("/dev/zero", "r");
    expect(native.receiveScatter(file, scatter, 2)).toBe(105);
    closeSync(file);
  });

  it("refuses scatter entries outside the arena, and lists longer than the array or the kernel's", async () => {
    const { client, server } = await tcpPair();
    native.sendGather(client, Int32Array.of(4096, 4), 1);
    expect(native.receiveScatter(server, Int32Array.of(-1, 4), 1)).toBe(EINVAL);
    expect(native.receiveScatter(server, Int32Array.of(IN, 4, arena.byteLength - 3, 4), 2)).toBe(EINVAL);
    expect(native.receiveScatter(server, Int32Array.of(IN, -4), 1)).toBe(EINVAL);
    expect(native.receiveScatter(server, Int32Array.of(IN, 4), 2)).toBe(EINVAL);
    expect(native.receiveScatter(server, Int32Array.of(IN, 4), -1)).toBe(EINVAL);
    expect(native.receiveScatter(server, new Int32Array(2050).fill(IN), 1025)).toBe(EINVAL);
    expect(await until(() => native.receiveScatter(server, Int32Array.of(IN, 4), 1))).toBe(4);
  });

  it("sends a gather list partly when the buffer is full, and all of it in the end", async () => {
    const { client, server } = await tcpPair();
    native.setOption(client, SOL_SOCKET, SO_SNDBUF, 16_384);
    const pieces = 2500;
    const size = 400;
    const gather = new Int32Array(pieces * 2);
    for (let i = 0; i < pieces; i++) gather.set([4096 + i * size, size], i * 2);
    const taken = native.sendGather(client, gather, pieces);
    expect(taken).toBeGreaterThan(0);
    let sent = taken;
    let received = 0;
    let sawFull = sent < pieces * size;
    for (let i = 0; i < 100_000 && received < pieces * size; i++) {
      const n = native.receive(server, IN + received, 1 << 20);
      if (n > 0) received += n;
      if (sent === pieces * size) continue;
      const first = Math.floor(sent / size);
      const rest = gather.slice(first * 2);
      rest[0]! += sent % size;
      rest[1]! -= sent % size;
      const more = native.sendGather(client, rest, pieces - first);
      if (more === EAGAIN) sawFull = true;
      else sent += more;
    }
    expect(sawFull).toBe(true);
    expect(received).toBe(pieces * size);
    expect(Buffer.compare(octets.subarray(IN, IN + received), octets.subarray(4096, 4096 + received))).toBe(
      0,
    );
  });

  it("refuses gather entries outside the arena, and lists longer than the array", async () => {
    const { client, server } = await tcpPair();
    expect(native.sendGather(client, Int32Array.of(-1, 4), 1)).toBe(EINVAL);
    expect(native.sendGather(client, Int32Array.of(4096, -4), 1)).toBe(EINVAL);
    expect(native.sendGather(client, Int32Array.of(arena.byteLength - 3, 4), 1)).toBe(EINVAL);
    expect(native.sendGather(client, Int32Array.of(4096, 4), 2)).toBe(EINVAL);
    expect(native.sendGather(client, Int32Array.of(4096, 4), -1)).toBe(EINVAL);
    const call = native.sendGather as (...values: unknown[]) => number;
    expect(call(client, [4096, 4], 1)).toBe(EINVAL);
    expect(call(client, new Uint32Array(2), 1)).toBe(EINVAL);
    expect(native.receive(server, IN, 100)).toBe(EAGAIN);
  });

  it("tells a refused connection", async () => {
    const { listener, port } = listenOn(4, v4(LOOPBACK, 0));
    native.close(listener);
    closed(listener);
    const client = opened(native.tcpSocket(4));
    const at = native.connect(client, v4(LOOPBACK, port));
    const error = at === EINPROGRESS ? await until(() => native.socketError(client), 0) : at;
    expect(error).toBe(ECONNREFUSED);
    expect(native.isConnected(client)).toBe(ENOTCONN);
  });

  it("resets the peer with closeReset, and ends it with close", async () => {
    const reset = await tcpPair();
    expect(native.closeReset(reset.client)).toBe(0);
    closed(reset.client);
    expect(await until(() => native.receive(reset.server, IN, 10))).toBe(ECONNRESET);
    const ended = await tcpPair();
    expect(native.close(ended.client)).toBe(0);
    closed(ended.client);
    expect(await until(() => native.receive(ended.server, IN, 10))).toBe(0);
  });

  it("keeps urgent octets in line", async () => {
    const { client, server } = await tcpPair();
    expect(native.getOption(server, SOL_SOCKET, SO_OOBINLINE)).toBe(1);
    expect(native.sendGather(client, Int32Array.of(4096, 1), 1)).toBe(1);
    expect(await until(() => native.receive(server, IN, 10))).toBe(1);
  });

  it("frees a listener's port at once, and refuses one in use", () => {
    const first = listenOn(4, v4(LOOPBACK, 0));
    const second = opened(native.tcpSocket(4));
    const bound = native.bind(second, v4(LOOPBACK, first.port), 4, false);
    expect(bound === 0 ? native.listen(second, 1) : bound).toBe(EADDRINUSE);
    native.close(first.listener);
    closed(first.listener);
    listenOn(4, v4(LOOPBACK, first.port));
  });

  it("binds to an address the host does not have only with freebind", () => {
    const words = v4(0xc6336401, 0);
    const socket = opened(native.tcpSocket(4));
    expect(native.bind(socket, words, 4, false)).toBe(-99);
    expect(native.bind(socket, words, 4, true)).toBe(0);
    const six = opened(native.tcpSocket(6));
    expect(native.bind(six, Int32Array.of(0x20010db8, 0, 0, 1, 0), 6, false)).toBe(-99);
    expect(native.bind(six, Int32Array.of(0x20010db8, 0, 0, 1, 0), 6, true)).toBe(0);
  });

  it("accepts nothing with EAGAIN and refuses wrong arguments", () => {
    const { listener } = listenOn(4, v4(LOOPBACK, 0));
    expect(native.accept(listener, new Int32Array(5))).toBe(EAGAIN);
    expect(native.accept(listener, new Int32Array(4))).toBe(EINVAL);
    expect(native.tcpSocket(5 as 4)).toBe(EINVAL);
    expect(native.bind(listener, v4(LOOPBACK, 0), 6, false)).toBe(EINVAL);
    for (const call of [native.close, native.closeReset, native.shutdownWrite, native.socketError]) {
      expect(call(-1)).toBe(EBADF);
    }
    expect(native.setNonBlocking(-1)).toBe(EBADF);
    expect(native.getOption(-1, 1, 7)).toBe(EBADF);
    expect(native.localAddress(-1, new Int32Array(5))).toBe(EBADF);
  });
});

describe("Unix sockets", () => {
  it("carry streams, and the peer has no address", () => {
    const path = join(directory, "stream");
    const listener = opened(native.unixListen(path, "stream"));
    const client = opened(native.unixConnect(path, "stream"));
    const from = new Int32Array(5).fill(-1);
    const server = opened(native.accept(listener, from));
    expect(Array.from(from)).toEqual([0, 0, 0, 0, 0]);
    expect(native.sendGather(client, Int32Array.of(4096, 9), 1)).toBe(9);
    expect(native.receive(server, IN, 100)).toBe(9);
    expect(native.isConnected(client)).toBe(0);
  });

  it("take abstract names and sequenced packets", () => {
    const name = `\0sluice-test-${process.pid}`;
    const listener = opened(native.unixListen(name, "seqpacket"));
    const client = opened(native.unixConnect(name, "seqpacket"));
    const server = opened(native.accept(listener, new Int32Array(5)));
    native.sendGather(client, Int32Array.of(4096, 3), 1);
    native.sendGather(client, Int32Array.of(4096, 4), 1);
    expect(native.receive(server, IN, 100)).toBe(3);
    expect(native.receive(server, IN, 100)).toBe(4);
  });

  it("say what is wrong with a path", () => {
    const path = join(directory, "twice");
    opened(native.unixListen(path, "stream"));
    expect(native.unixListen(path, "stream")).toBe(EADDRINUSE);
    expect(native.unixConnect(join(directory, "nobody"), "stream")).toBe(ENOENT);
    expect(native.unixListen(`/${"x".repeat(108)}`, "stream")).toBe(ENAMETOOLONG);
    expect(native.unixListen("x".repeat(5000), "stream")).toBe(ENAMETOOLONG);
    expect(native.unixListen(path, "packet" as "stream")).toBe(EINVAL);
    expect(native.unixListen(7 as unknown as string, "stream")).toBe(EINVAL);
  });

  it("carry datagrams between two bound ends, whichever comes first", () => {
    const [left, right] = [join(directory, "left"), join(directory, "right")];
    const a = opened(native.unixListen(left, "dgram"));
    expect(native.connectUnixDatagram(a, right)).toBe(ENOENT);
    const b = opened(native.unixListen(right, "dgram"));
    expect(native.connectUnixDatagram(b, left)).toBe(0);
    expect(native.connectUnixDatagram(a, right)).toBe(0);
    expect(native.sendGather(a, Int32Array.of(4096, 11), 1)).toBe(11);
    expect(native.sendGather(b, Int32Array.of(4096, 12), 1)).toBe(12);
    expect(native.receive(a, IN, 100)).toBe(12);
    expect(native.receive(b, IN, 100)).toBe(11);
  });
});

describe("descriptors", () => {
  it("pass over a socket", () => {
    const [a, b] = native.socketPair("stream");
    const [near, far] = native.socketPair("stream");
    for (const fd of [a, b, near, far]) opened(fd);
    expect(native.receiveDescriptor(b)).toBe(EAGAIN);
    expect(native.sendDescriptor(a, far)).toBe(0);
    const copy = opened(native.receiveDescriptor(b));
    expect(copy).not.toBe(far);
    native.sendGather(near, Int32Array.of(4096, 6), 1);
    expect(native.receive(copy, IN, 100)).toBe(6);
  });

  it("are told from a bare octet, a closed peer and a bad number", () => {
    const [a, b] = native.socketPair("stream");
    opened(b);
    expect(native.sendDescriptor(a, -1)).toBe(EBADF);
    native.sendGather(a, Int32Array.of(4096, 1), 1);
    expect(native.receiveDescriptor(b)).toBe(EBADMSG);
    native.close(a);
    expect(native.receiveDescriptor(b)).toBe(EPIPE);
  });

  it("do not come from a pair of an unknown type", () => {
    expect(native.socketPair("raw" as "stream")).toEqual([EINVAL, EINVAL]);
  });
});
