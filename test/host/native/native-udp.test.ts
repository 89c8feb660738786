import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { EAGAIN, ECONNREFUSED, EINVAL } from "../../../src/engine/boundary.ts";
import { native } from "../../../src/host/native/native.ts";

const LOOPBACK = 0x7f000001;
const IPPROTO_UDP = 17;
const UDP_GRO = 104;
const arena = new ArrayBuffer(1 << 23);
const octets = new Uint8Array(arena);
const ints = new Int32Array(arena);
const SEND = 4096;
const ENTRIES = 65_536;
const OUT = 131_072;
const IN = 1 << 22;
const ROOM = 65_536;
const SLOTS = 32;
const RUN = IN + SLOTS * ROOM;
const RUN_OCTETS = SLOTS * 2048;
const open: number[] = [];

type Words = readonly [number, number, number, number];
const V4: Words = [0, 0, 0xffff, LOOPBACK];
const V6: Words = [0, 0, 0, 1];

function udp(family: 4 | 6): { fd: number; port: number } {
  const fd = native.udpSocket(family);
  expect(fd).toBeGreaterThanOrEqual(0);
  open.push(fd);
  expect(native.bind(fd, Int32Array.of(...(family === 4 ? V4 : V6), 0), family, false)).toBe(0);
  const local = new Int32Array(5);
  native.localAddress(fd, local);
  return { fd, port: local[4]! };
}

interface Datagram {
  readonly fd: number;
  readonly to: Words;
  readonly port: number;
  readonly at: number;
  readonly length: number;
}

function send(...datagrams: Datagram[]): number {
  datagrams.forEach((d, i) => {
    ints.set([d.fd, ...d.to, d.port, d.at, d.length], SEND / 4 + i * 8);
  });
  return native.udpSendBatch(SEND, datagrams.length, 0);
}

interface Received {
  readonly data: Buffer;
  readonly from: number[];
  /** Octets of each datagram as the guest's side would have sent them. */
  readonly lengths: number[];
  readonly merged: boolean;
}

/** Takes everything that waits. */
function receiveAll(fd: number): Received[] {
  const got: Received[] = [];
  for (;;) {
    const count = native.udpReceiveBatch(fd, IN, ROOM, ROOM, SLOTS, ENTRIES, RUN, RUN_OCTETS, 0);
    if (count === EAGAIN) return got;
    expect(count).toBeGreaterThan(0);
    for (let i = 0; i < count; i++) {
      const entry = ENTRIES / 4 + i * 8;
      const length = ints[entry]!;
      const segment = ints[entry + 6]!;
      const at = ints[entry + 7]!;
      if (length < 0) continue;
      const lengths: number[] = [];
      for (let left = length; left > 0; left -= segment || left)
        lengths.push(Math.min(left, segment || left));
      got.push({
        data: Buffer.from(octets.slice(at, at + length)),
        from: Array.from(ints.subarray(entry + 1, entry + 6)),
        lengths,
        merged: segment !== 0,
      });
    }
  }
}

function lengthsOf(got: Received[]): number[] {
  return got.flatMap((entry) => entry.lengths);
}

beforeAll(() => {
  native.registerArena(arena);
  for (let i = 0; i < 1 << 21; i++) octets[OUT + i] = Math.imul(i, 2654435761) >>> 13;
});

afterEach(() => {
  for (const fd of open.splice(0)) native.close(fd);
});

describe.each([
  { family: 4 as const, words: V4 },
  { family: 6 as const, words: V6 },
])("UDP over IPv$family", ({ family, words }) => {
  it("sends and receives with the peer's address", () => {
    const a = udp(family);
    const b = udp(family);
    expect(send({ fd: a.fd, to: words, port: b.port, at: OUT, length: 33 })).toBe(0);
    const [got, ...rest] = receiveAll(b.fd);
    expect(rest).toEqual([]);
    expect(got!.from).toEqual([...words, a.port]);
    expect(got!.data.equals(octets.subarray(OUT, OUT + 33))).toBe(true);
    expect(got!.lengths).toEqual([33]);
  });

  it("keeps datagram boundaries and octets of a run, gathered and cut by the kernel", () => {
    const a = udp(family);
    const b = udp(family);
    expect(native.getOption(b.fd, IPPROTO_UDP, UDP_GRO)).toBe(1);
    // Not next to each other in memory, the last one shorter.
    const run = Array.from({ length: 20 }, (_, i) => ({
      fd: a.fd,
      to: words,
      port: b.port,
      at: OUT + i * 2048,
      length: i === 19 ? 500 : 1200,
    }));
    expect(send(...run)).toBe(0);
    const got = receiveAll(b.fd);
    expect(lengthsOf(got)).toEqual(run.map((d) => d.length));
    expect(got.some((entry) => entry.merged)).toBe(true);
    const sent = Buffer.concat(run.map((d) => octets.subarray(d.at, d.at + d.length)));
    expect(Buffer.concat(got.map((entry) => entry.data)).equals(sent)).toBe(true);
  });

  it("does not merge across addresses, sockets, longer datagrams or empty ones", () => {
    const a = udp(family);
    const other = udp(family);
    const b = udp(family);
    const c = udp(family);
    const to = (port: number, length: number, fd = a.fd): Datagram => ({
      fd,
      to: words,
      port,
      at: OUT,
      length,
    });
    const list = [
      to(b.port, 100),
      to(b.port, 100),
      to(b.port, 101),
      to(b.port, 0),
      to(c.port, 100),
      to(b.port, 7, other.fd),
    ];
    expect(send(...list)).toBe(0);
    const atB: { length: number; port: number }[] = [];
    for (;;) {
      const n = native.udpReceiveBatch(b.fd, IN, ROOM, ROOM, 1, ENTRIES, RUN, RUN_OCTETS, 0);
      if (n === EAGAIN) break;
      const [length, , , , , port, segment] = ints.subarray(ENTRIES / 4, ENTRIES / 4 + 8);
      for (let left = length!; left >= 0; left -= segment || left + 1) {
        if (left > 0 || length === 0) atB.push({ length: Math.min(left, segment || left), port: port! });
      }
    }
    expect(atB).toEqual([
      { length: 100, port: a.port },
      { length: 100, port: a.port },
      { length: 101, port: a.port },
      { length: 0, port: a.port },
      { length: 7, port: other.port },
    ]);
    expect(lengthsOf(receiveAll(c.fd))).toEqual([100]);
  });

  it("takes datagrams sent one by one, of the size seen last, as runs that end with a shorter one", () => {
    const a = udp(family);
    const b = udp(family);
    const lengths = [900, ...Array<number>(5).fill(900), 33, 900, 900, 901, 900, 0, 900, 2049];
    const parts = lengths.map((length, i) => ({
      fd: a.fd,
      to: words,
      port: b.port,
      at: OUT + i * 3000,
      length,
    }));
    const merged: number[] = [];
    const arrived: Received[] = [];
    for (const batch of [parts.slice(0, 1), parts.slice(1), parts.slice(0, 1), parts.slice(1)]) {
      for (const one of batch) expect(send(one)).toBe(0);
      const got = receiveAll(b.fd);
      arrived.push(...got);
      merged.push(got.length);
    }
    // Five and a shorter one; two before a longer one; the rest alone: 2049 is too large to be expected again.
    expect(merged).toEqual([1, 7, 1, 7]);
    expect(lengthsOf(arrived)).toEqual([...lengths, ...lengths].filter((length) => length > 0));
    const sent = Buffer.concat(parts.map((d) => octets.subarray(d.at, d.at + d.length)));
    expect(Buffer.concat(arrived.map((entry) => entry.data)).equals(Buffer.concat([sent, sent]))).toBe(true);
  });

  it("does not join datagrams of different senders", () => {
    const [a, other, b] = [udp(family), udp(family), udp(family)];
    const from = (fd: number): Datagram => ({ fd, to: words, port: b.port, at: OUT, length: 50 });
    send(from(a.fd));
    receiveAll(b.fd);
    for (const fd of [a.fd, a.fd, other.fd, a.fd]) send(from(fd));
    const got = receiveAll(b.fd);
    expect(got.map((entry) => [entry.lengths.length, entry.from[4]])).toEqual([
      [2, a.port],
      [1, other.port],
      [1, a.port],
    ]);
  });

  it("splits a run of more than 64 segments or 65507 octets", () => {
    const a = udp(family);
    const b = udp(family);
    const many = Array.from({ length: 150 }, () => ({
      fd: a.fd,
      to: words,
      port: b.port,
      at: OUT,
      length: 10,
    }));
    expect(send(...many)).toBe(0);
    expect(lengthsOf(receiveAll(b.fd))).toEqual(many.map(() => 10));
    const large = Array.from({ length: 5 }, (_, i) => ({
      fd: a.fd,
      to: words,
      port: b.port,
      at: OUT + i,
      length: 20_000,
    }));
    expect(send(...large)).toBe(0);
    expect(lengthsOf(receiveAll(b.fd))).toEqual(large.map(() => 20_000));
  });

  it("carries the largest datagram and refuses a larger one", () => {
    const a = udp(family);
    const b = udp(family);
    expect(send({ fd: a.fd, to: words, port: b.port, at: OUT, length: 65_507 })).toBe(0);
    expect(lengthsOf(receiveAll(b.fd))).toEqual([65_507]);
    expect(send({ fd: a.fd, to: words, port: b.port, at: OUT, length: 65_528 })).toBe(1);
  });

  it("skips and counts what the kernel refuses, and sends the rest", () => {
    const a = udp(family);
    const b = udp(family);
    const good = { fd: a.fd, to: words, port: b.port, at: OUT, length: 10 };
    const tooLong = { ...good, length: 65_535 };
    expect(
      send(good, tooLong, { ...good, length: 12 }, { ...good, fd: 1_000_000 }, { ...good, length: 14 }),
    ).toBe(2);
    expect(lengthsOf(receiveAll(b.fd))).toEqual([10, 12, 14]);
  });

  it("reports a closed port to a connected socket, which then sends with port 0", () => {
    const a = udp(family);
    const gone = udp(family);
    expect(native.connect(a.fd, Int32Array.of(...words, gone.port))).toBe(0);
    native.close(open.pop()!);
    const toRemote = { fd: a.fd, to: [0, 0, 0, 0] as Words, port: 0, at: OUT, length: 5 };
    expect(send(toRemote)).toBe(0);
    expect(native.udpReceiveBatch(a.fd, IN, ROOM, ROOM, SLOTS, ENTRIES, 0, 0, 0)).toBe(ECONNREFUSED);
    expect(native.udpReceiveBatch(a.fd, IN, ROOM, ROOM, SLOTS, ENTRIES, 0, 0, 0)).toBe(EAGAIN);
    send(toRemote);
    expect(send(toRemote, toRemote)).toBe(1);
  });
});

describe("UDP arguments", () => {
  it("must lie in the arena; nothing is sent otherwise", () => {
    const a = udp(4);
    const b = udp(4);
    const good = { fd: a.fd, to: V4, port: b.port, at: OUT, length: 10 };
    expect(send(good, { ...good, at: arena.byteLength - 9 })).toBe(EINVAL);
    expect(send(good, { ...good, at: -1 })).toBe(EINVAL);
    expect(send(good, { ...good, length: -1 })).toBe(EINVAL);
    expect(native.udpSendBatch(arena.byteLength - 32, 2, 0)).toBe(EINVAL);
    expect(native.udpSendBatch(SEND + 2, 1, 0)).toBe(EINVAL);
    expect(native.udpSendBatch(SEND, -1, 0)).toBe(EINVAL);
    expect(native.udpSendBatch(SEND, 0, 0)).toBe(0);
    expect(receiveAll(b.fd)).toEqual([]);
    expect(native.udpReceiveBatch(b.fd, arena.byteLength - ROOM, ROOM, ROOM, 2, ENTRIES, 0, 0, 0)).toBe(
      EINVAL,
    );
    expect(native.udpReceiveBatch(b.fd, IN, ROOM, ROOM, 2, arena.byteLength - 32, 0, 0, 0)).toBe(EINVAL);
    expect(native.udpReceiveBatch(b.fd, IN, ROOM, ROOM, 0, ENTRIES, 0, 0, 0)).toBe(EINVAL);
    expect(native.udpReceiveBatch(b.fd, IN, ROOM, ROOM, 1, ENTRIES, arena.byteLength - 8, 9, 0)).toBe(EINVAL);
    expect(native.udpSocket(5 as 4)).toBe(EINVAL);
  });

  it("give a link-local address its scope by connectScoped", () => {
    const a = udp(6);
    const index = native.deviceIndex("lo");
    const words = Int32Array.of(0xfe800000 | 0, 0, 0, 1, 9);
    expect(native.connect(a.fd, words)).toBe(EINVAL);
    // With a scope the address is complete: what may fail then is only that no route leads there.
    expect([0, -101, -99]).toContain(native.connectScoped(a.fd, words, index));
  });
});

describe("addresses of the host", () => {
  const SOURCES = ENTRIES + 4096;
  const LOCALS = SOURCES + 4096;
  const SECOND = [0, 0, 0xffff, 0x7f000002] as const;

  /** A socket bound to all addresses that tells what it was asked on. */
  function wildcard(family: 4 | 6): { fd: number; port: number } {
    const fd = native.udpSocket(family);
    open.push(fd);
    // IP_PKTINFO; IPV6_RECVPKTINFO
    expect(native.setOption(fd, family === 4 ? 0 : 41, family === 4 ? 8 : 49, 1)).toBe(0);
    expect(native.bind(fd, Int32Array.of(0, 0, 0, 0, 0), family, false)).toBe(0);
    const local = new Int32Array(5);
    native.localAddress(fd, local);
    return { fd, port: local[4]! };
  }

  interface Entry {
    readonly length: number;
    readonly local: number[];
  }

  function receiveLocal(fd: number): Entry[] {
    const count = native.udpReceiveBatch(fd, IN, ROOM, ROOM, SLOTS, ENTRIES, RUN, RUN_OCTETS, LOCALS);
    return Array.from({ length: Math.max(count, 0) }, (_, i) => ({
      length: ints[ENTRIES / 4 + i * 8]!,
      local: [...ints.subarray(LOCALS / 4 + i * 5, LOCALS / 4 + i * 5 + 5)],
    })).filter(({ length }) => length >= 0);
  }

  /** Sends datagrams of one length, each from one of the host's addresses. */
  function sendFrom(fd: number, to: Words, port: number, length: number, ...from: Words[]): number {
    from.forEach((words, i) => {
      ints.set([fd, ...to, port | 0x10000, OUT + i * length, length], SEND / 4 + i * 8);
      ints.set([...words, 0], SOURCES / 4 + i * 5);
    });
    return native.udpSendBatch(SEND, from.length, SOURCES);
  }

  it("are told of each datagram, and none joins a run that was sent to another", () => {
    const server = wildcard(4);
    const client = udp(4);
    const to = (words: Words, length: number) => ({
      fd: client.fd,
      to: words,
      port: server.port,
      at: OUT,
      length,
    });
    // The size of the first is the guess for the others: end to end, as a run would be.
    send(to(V4, 100));
    expect(receiveLocal(server.fd)).toEqual([{ length: 100, local: [...V4, 0] }]);
    send(to(V4, 100), to(SECOND, 100), to(V4, 100));
    expect(receiveLocal(server.fd)).toEqual([
      { length: 100, local: [...V4, 0] },
      { length: 100, local: [...SECOND, 0] },
      { length: 100, local: [...V4, 0] },
    ]);
  });

  it("are told in IPv6 too, and answered from", () => {
    const server = wildcard(6);
    const client = udp(6);
    send({ fd: client.fd, to: V6, port: server.port, at: OUT, length: 9 });
    expect(receiveLocal(server.fd)).toEqual([{ length: 9, local: [...V6, 0] }]);
    expect(sendFrom(server.fd, V6, client.port, 9, V6)).toBe(0);
    expect(receiveAll(client.fd).map(({ from }) => from)).toEqual([[...V6, server.port]]);
  });

  it("are zeros for a socket that does not tell", () => {
    const [a, b] = [udp(4), udp(4)];
    ints.fill(7, LOCALS / 4, LOCALS / 4 + 5);
    send({ fd: a.fd, to: V4, port: b.port, at: OUT, length: 9 });
    expect(receiveLocal(b.fd)).toEqual([{ length: 9, local: [0, 0, 0, 0, 0] }]);
  });

  it("are what datagrams leave from, also in runs the kernel cuts", () => {
    const server = wildcard(4);
    const client = udp(4);
    expect(sendFrom(server.fd, V4, client.port, 200, V4, V4, SECOND, SECOND, SECOND, V4)).toBe(0);
    const got = receiveAll(client.fd);
    const senders = got.flatMap(({ from, lengths }) => lengths.map(() => from[3]));
    expect(senders).toEqual([V4[3], V4[3], SECOND[3], SECOND[3], SECOND[3], V4[3]]);
    expect(new Set(got.map(({ from }) => from[4]))).toEqual(new Set([server.port]));
  });

  it("that the host does not have refuse the datagram, and cost later runs nothing", () => {
    const server = wildcard(4);
    const client = udp(4);
    const foreign = [0, 0, 0xffff, 0xcb007163 | 0] as const;
    expect(sendFrom(server.fd, V4, client.port, 200, foreign, foreign, foreign)).toBe(3);
    expect(receiveAll(client.fd)).toEqual([]);
    // Of another size than what comes next, so that only the kernel can have merged that.
    send({ fd: client.fd, to: V4, port: client.port, at: OUT, length: 9 });
    expect(receiveAll(client.fd)).toHaveLength(1);
    expect(sendFrom(server.fd, V4, client.port, 200, V4, V4, V4)).toBe(0);
    expect(receiveAll(client.fd).map(({ merged }) => merged)).toEqual([true]);
  });

  it("need a table", () => {
    const { fd, port } = wildcard(4);
    ints.set([fd, ...V4, port | 0x10000, OUT, 9], SEND / 4);
    expect(native.udpSendBatch(SEND, 1, 0)).toBe(EINVAL);
    expect(native.udpSendBatch(SEND, 1, arena.byteLength - 8)).toBe(EINVAL);
  });
});

it("gives back a port that the kernel chose", () => {
  const fd = native.udpSocket(4);
  open.push(fd);
  const words = Int32Array.of(0, 0, 0xffff, 0x7f000001, 0);
  expect(native.bind(fd, words, 4, false)).toBe(0);
  expect(native.bind(fd, words, 4, false)).toBe(EINVAL);
  expect(native.udpUnbind(fd)).toBe(0);
  expect(native.bind(fd, words, 4, false)).toBe(0);
});
