import { createServer } from "node:net";
import { afterEach, expect, it } from "vitest";
import { LINK_CLOSED } from "../../../src/engine/boundary.ts";
import { QemuStreamLink } from "../../../src/host/link/qemu-stream.ts";
import { native } from "../../../src/host/native/native.ts";
import { LinkRig, sampleFrame } from "../../support/link-rig.ts";

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

const open: number[] = [];
afterEach(() => {
  for (const fd of open.splice(0)) native.close(fd);
});

function makePair(): { ours: number; theirs: number } {
  const [ours, theirs] = native.socketPair("stream");
  open.push(theirs);
  return { ours, theirs };
}

function framed(...frames: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(frames.reduce((sum, frame) => sum + 4 + frame.length, 0));
  let at = 0;
  for (const frame of frames) {
    new DataView(out.buffer).setUint32(at, frame.length);
    out.set(frame, at + 4);
    at += 4 + frame.length;
  }
  return out;
}

/** Arena octets the tests use as the far end's memory, away from what the link uses. */
const FAR_SEND = 0;
const FAR_RECEIVE = 40_000_000;

/** Writes octets into the far end. */
function send(rig: LinkRig, fd: number, octets: Uint8Array): void {
  const at = rig.arena.smallChunksAt + FAR_SEND;
  rig.arena.octets.set(octets, at);
  const sent = native.sendGather(fd, Int32Array.of(at, octets.length), 1);
  expect(sent).toBe(octets.length);
}

/** Reads what the far end has. */
function take(rig: LinkRig, fd: number): Uint8Array {
  const at = rig.arena.largeChunksAt + FAR_RECEIVE;
  const got = native.receive(fd, at, 4_000_000);
  return got > 0 ? rig.arena.octets.slice(at, at + got) : new Uint8Array(0);
}

function concat(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

it("finds the same frames wherever the stream is cut", () => {
  const rig = new LinkRig();
  const frames = [sampleFrame(60, 1), sampleFrame(14, 2), sampleFrame(133, 3)];
  const stream = framed(...frames);
  for (let cut = 0; cut <= stream.length; cut++) {
    const { ours, theirs } = makePair();
    const link = new QemuStreamLink(ours, "test", rig);
    const seen: Uint8Array[] = [];
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      if (part.length > 0) send(rig, theirs, part);
      seen.push(...rig.readAll(link).frames);
    }
    expect(seen).toEqual(frames);
    link.close();
  }
});

it("finds the same frames when every octet comes alone", () => {
  const rig = new LinkRig();
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const frames = [sampleFrame(60, 1), sampleFrame(61, 2), sampleFrame(62, 3)];
  const seen: Uint8Array[] = [];
  for (const octet of framed(...frames)) {
    send(rig, theirs, Uint8Array.of(octet));
    seen.push(...rig.readAll(link).frames);
  }
  expect(seen).toEqual(frames);
  link.close();
});

it("reads on where a full batch stopped", () => {
  const rig = new LinkRig({ batch: 4 });
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const frames = Array.from({ length: 50 }, (_, i) => sampleFrame(60 + i, i));
  send(rig, theirs, framed(...frames));
  expect(link.receive(rig.batch)).toBe(4);
  const first = rig.frames();
  expect([...first, ...rig.readAll(link).frames]).toEqual(frames);
  link.close();
});

it("takes more octets than one window, with frames cut by every read", async () => {
  const rig = new LinkRig({ mtu: 65_521 });
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const frames = Array.from({ length: 64 }, (_, i) => sampleFrame(65_535 - i, i));
  const stream = framed(...frames);
  const seen: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += 50_000) {
    send(rig, theirs, stream.subarray(at, at + 50_000));
    if ((at / 50_000) % 3 === 2) seen.push(...rig.readAll(link).frames);
  }
  seen.push(...rig.readAll(link).frames);
  expect(seen.length).toBe(frames.length);
  seen.forEach((frame, i) => {
    expect(Buffer.compare(frame, frames[i])).toBe(0);
  });
  link.close();
});

it("skips and counts runts and frames over the MTU, and keeps the frames around them", () => {
  const rig = new LinkRig();
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const good = [sampleFrame(1514, 1), sampleFrame(1518, 2), sampleFrame(60, 3)];
  const bad = [new Uint8Array(0), sampleFrame(13, 4), sampleFrame(1519, 5), sampleFrame(65_553, 6)];
  send(rig, theirs, framed(bad[0], good[0], bad[1], bad[2], good[1], bad[3], good[2]));
  const { frames, oversized, result } = rig.readAll(link);
  expect(frames).toEqual(good);
  expect(oversized).toBe(4);
  expect(result).toBe(0);
  link.close();
});

it.each([65_554, 0x7fffffff, 0x80000000, 0xffffffff])("closes on a length of %d octets", (length) => {
  const rig = new LinkRig();
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const good = sampleFrame(60, 1);
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, length);
  send(rig, theirs, concat([framed(good), prefix]));
  const { frames, result } = rig.readAll(link);
  expect(frames).toEqual([good]);
  expect(result).toBe(LINK_CLOSED);
  expect(link.failure).toContain(`frame length ${length} is over 65553`);
  rig.queueFrame(good, 14);
  expect(link.transmit(rig.queue)).toBe(LINK_CLOSED);
  link.close();
});

it("tells that the other side closed, after its last frame", () => {
  const rig = new LinkRig();
  const [ours, theirs] = native.socketPair("stream");
  const link = new QemuStreamLink(ours, "test", rig);
  send(rig, theirs, framed(sampleFrame(60, 1)));
  native.close(theirs);
  const { frames, result } = rig.readAll(link);
  expect(frames).toHaveLength(1);
  expect(result).toBe(LINK_CLOSED);
  expect(link.failure).toBe("test: the other side closed the connection");
  link.close();
});

it("tells that the other side closed, also when it left frames of ours unread", () => {
  const rig = new LinkRig();
  const [ours, theirs] = native.socketPair("stream");
  const link = new QemuStreamLink(ours, "test", rig);
  rig.queueFrame(sampleFrame(60, 1), 14);
  expect(link.transmit(rig.queue)).toBe(1);
  native.close(theirs);
  expect(rig.readAll(link).result).toBe(LINK_CLOSED);
  expect(link.failure).toMatch(/^test: the other side closed the connection: .*ECONNRESET/);
  link.close();
});

it("tells how much of a frame is lost when the other side closes in the middle of it", () => {
  const rig = new LinkRig();
  const [ours, theirs] = native.socketPair("stream");
  const link = new QemuStreamLink(ours, "test", rig);
  const whole = framed(sampleFrame(60, 1));
  send(rig, theirs, Uint8Array.of(...whole, ...whole.subarray(0, 7)));
  native.close(theirs);
  const { frames } = rig.readAll(link);
  expect(frames).toHaveLength(1);
  expect(link.failure).toBe(
    "test: the other side closed the connection in the middle of a frame (its first 7 octets are lost)",
  );
  link.close();
});

it("sends many frames at once, each behind its length", () => {
  const rig = new LinkRig();
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  const frames = Array.from({ length: 100 }, (_, i) => sampleFrame(60 + i, i));
  frames.forEach((frame, i) => {
    rig.queueFrame(frame, i % 2 === 0 ? 42 : frame.length);
  });
  expect(link.transmit(rig.queue)).toBe(100);
  expect(rig.queue.length).toBe(0);
  expect(link.wantsWritable).toBe(false);
  expect(take(rig, theirs)).toEqual(framed(...frames));
  link.close();
});

it("loses nothing when the kernel takes only part of a frame, wherever it cuts", () => {
  const rig = new LinkRig({ mtu: 65_521 });
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  native.setOption(ours, SOL_SOCKET, SO_SNDBUF, 1);
  const frames = Array.from({ length: 200 }, (_, i) => sampleFrame(60 + ((i * 997) % 30_000), i));
  const parts: Uint8Array[] = [];
  let queued = 0;
  let partial = 0;
  for (let rounds = 0; rounds < 100_000; rounds++) {
    while (queued < frames.length && rig.queue.room > 500) {
      // The header slot and the payload of a taken frame are used again at once, as the engine does.
      rig.queueFrame(frames[queued], 20 + (queued % 40));
      queued++;
    }
    link.resume();
    link.transmit(rig.queue);
    if (link.wantsWritable && rig.queue.length < 12) partial++;
    parts.push(take(rig, theirs));
    if (queued === frames.length && rig.queue.length === 0 && !link.wantsWritable) break;
  }
  parts.push(take(rig, theirs));
  expect(partial).toBeGreaterThan(0);
  expect(Buffer.compare(concat(parts), framed(...frames))).toBe(0);
  link.close();
});

it("sends the rest of a cut frame when the socket is writable, though nothing more is queued", () => {
  const rig = new LinkRig({ mtu: 65_521 });
  const { ours, theirs } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  native.setOption(ours, SOL_SOCKET, SO_SNDBUF, 1);
  const frames = Array.from({ length: 8 }, (_, i) => sampleFrame(60_000, i));
  for (const frame of frames) rig.queueFrame(frame, 54);
  const parts: Uint8Array[] = [];
  while (rig.queue.length > 0) {
    link.resume();
    link.transmit(rig.queue);
    if (rig.queue.length > 0) parts.push(take(rig, theirs));
  }
  for (let i = 0; link.wantsWritable && i < 100; i++) {
    parts.push(take(rig, theirs));
    link.resume();
  }
  parts.push(take(rig, theirs));
  expect(link.wantsWritable).toBe(false);
  expect(Buffer.compare(concat(parts), framed(...frames))).toBe(0);
  link.close();
});

it("takes nothing from the queue while the socket is full", () => {
  const rig = new LinkRig();
  const { ours } = makePair();
  const link = new QemuStreamLink(ours, "test", rig);
  native.setOption(ours, SOL_SOCKET, SO_SNDBUF, 1);
  for (let i = 0; i < 400; i++) rig.queueFrame(sampleFrame(1514, i), 54);
  link.transmit(rig.queue);
  const left = rig.queue.length;
  expect(left).toBeGreaterThan(0);
  expect(link.transmit(rig.queue)).toBe(0);
  expect(rig.queue.length).toBe(left);
  expect(link.wantsWritable).toBe(true);
  link.close();
});

it("has a send buffer for several frames, and leaves one that is large enough alone", () => {
  const { ours, theirs } = makePair();
  const fresh = native.getOption(ours, SOL_SOCKET, SO_SNDBUF);
  const link = new QemuStreamLink(ours, "test", new LinkRig({ mtu: 65_521 }));
  expect(native.getOption(ours, SOL_SOCKET, SO_SNDBUF)).toBeGreaterThan(fresh);
  link.close();

  new QemuStreamLink(theirs, "test", new LinkRig());
  expect(native.getOption(theirs, SOL_SOCKET, SO_SNDBUF)).toBe(fresh);
});

it("tells that the link is gone when the other side has closed", () => {
  const rig = new LinkRig();
  const [ours, theirs] = native.socketPair("stream");
  const link = new QemuStreamLink(ours, "test", rig);
  native.close(theirs);
  rig.queueFrame(sampleFrame(60, 1), 14);
  expect(link.transmit(rig.queue)).toBe(LINK_CLOSED);
  expect(link.failure).toContain("EPIPE");
  link.close();
});

it("speaks the same over TCP", async () => {
  const rig = new LinkRig();
  const frames = [sampleFrame(60, 1), sampleFrame(1514, 2)];
  const server = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const fd = native.tcpSocket(4);
  native.connect(fd, Int32Array.of(0, 0, 0xffff, 0x7f000001, port));
  const link = new QemuStreamLink(fd, "test", rig);
  const seen: Uint8Array[] = [];
  for (const frame of frames) rig.queueFrame(frame, 42);
  for (let i = 0; i < 500 && seen.length < frames.length; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (native.isConnected(fd) === 0 && rig.queue.length > 0) link.transmit(rig.queue);
    seen.push(...rig.readAll(link).frames);
  }
  expect(seen).toEqual(frames);
  link.close();
  server.close();
});
