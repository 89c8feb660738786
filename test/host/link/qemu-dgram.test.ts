import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LINK_CLOSED } from "../../../src/engine/boundary.ts";
import { type OpenedLink, openDatagramLink, openDescriptorLink } from "../../../src/host/link/open-link.ts";
import { native } from "../../../src/host/native/native.ts";
import { LinkRig, sampleFrame, until } from "../../support/link-rig.ts";

let directory = "";
let opened: OpenedLink | undefined;
const descriptors: number[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-dgram-"));
});

afterEach(() => {
  opened?.link.close();
  opened?.cleanUp();
  opened = undefined;
  for (const fd of descriptors.splice(0)) native.close(fd);
  rmSync(directory, { recursive: true, force: true });
});

const local = (): string => join(directory, "ours");
const remote = (): string => join(directory, "qemu");

function open(rig: LinkRig): OpenedLink["link"] {
  opened = openDatagramLink({ kind: "unix", local: local(), remote: remote() }, rig);
  return opened.link;
}

/** QEMU's end: bound to its path, sends to ours without being connected, like net/dgram.c. */
function bindQemu(): number {
  const fd = native.unixListen(remote(), "dgram");
  expect(fd).toBeGreaterThan(0);
  descriptors.push(fd);
  return fd;
}

const FAR = 1_000_000;

function send(rig: LinkRig, fd: number, frame: Uint8Array): number {
  const at = rig.arena.largeChunksAt + FAR;
  rig.arena.octets.set(frame, at);
  native.connectUnixDatagram(fd, local());
  return native.sendGather(fd, Int32Array.of(at, frame.length), 1);
}

function take(rig: LinkRig, fd: number): Uint8Array | null {
  const at = rig.arena.largeChunksAt + FAR;
  const got = native.receive(fd, at, 100_000);
  return got >= 0 ? rig.arena.octets.slice(at, at + got) : null;
}

function transmitOne(rig: LinkRig, link: OpenedLink["link"], seed: number): void {
  rig.queueFrame(sampleFrame(100, seed), 42);
  expect(link.transmit(rig.queue)).toBe(1);
}

describe("unix", () => {
  it("carries one frame per datagram, IP headers on a 4-octet boundary", () => {
    const rig = new LinkRig();
    const link = open(rig);
    expect(statSync(local()).mode & 0o777).toBe(0o600);
    const qemu = bindQemu();
    const frames = [sampleFrame(60, 1), sampleFrame(1518, 2), sampleFrame(61, 3)];
    for (const frame of frames) expect(send(rig, qemu, frame)).toBe(frame.length);
    expect(link.receive(rig.batch)).toBe(3);
    expect(rig.frames()).toEqual(frames);
    for (let i = 0; i < 3; i++) expect((rig.batch.at[i] + 14) % 4).toBe(0);
    expect(link.receive(rig.batch)).toBe(0);
    for (const frame of frames) rig.queueFrame(frame, 42);
    expect(link.transmit(rig.queue)).toBe(3);
    expect([take(rig, qemu), take(rig, qemu), take(rig, qemu)]).toEqual(frames);
  });

  it("counts runts, empty datagrams and frames over the MTU", () => {
    const rig = new LinkRig();
    const link = open(rig);
    const qemu = bindQemu();
    for (const length of [0, 13, 1519, 60_000]) send(rig, qemu, sampleFrame(length, 1));
    send(rig, qemu, sampleFrame(60, 2));
    expect(link.receive(rig.batch)).toBe(1);
    expect(rig.batch.oversized).toBe(4);
    expect(rig.frames()).toEqual([sampleFrame(60, 2)]);
  });

  it("waits for QEMU: what it sends before is dropped and counted, then it flows", () => {
    const rig = new LinkRig();
    const link = open(rig);
    transmitOne(rig, link, 1);
    transmitOne(rig, link, 2);
    expect(rig.counters.dropped("link-down")).toBe(2);
    const qemu = bindQemu();
    transmitOne(rig, link, 3);
    expect(take(rig, qemu)).toEqual(sampleFrame(100, 3));
    expect(link.failure).toBe("");
  });

  it("sends to QEMU started anew", () => {
    const rig = new LinkRig();
    const link = open(rig);
    bindQemu();
    transmitOne(rig, link, 1);
    native.close(descriptors.pop() ?? -1);
    transmitOne(rig, link, 2);
    rmSync(remote());
    transmitOne(rig, link, 3);
    expect(rig.counters.dropped("link-down")).toBe(2);
    const again = bindQemu();
    transmitOne(rig, link, 4);
    expect(take(rig, again)).toEqual(sampleFrame(100, 4));
  });

  it("hears QEMU started anew though it has nothing to send to it", async () => {
    const rig = new LinkRig();
    const link = open(rig);
    bindQemu();
    transmitOne(rig, link, 1);
    native.close(descriptors.pop() ?? -1);
    rmSync(remote());
    const again = bindQemu();
    await until(() => send(rig, again, sampleFrame(60, 5)) === 60, "the new socket to be connected to");
    link.receive(rig.batch);
    expect(rig.frames()).toContainEqual(sampleFrame(60, 5));
  });

  it("pushes back when QEMU does not read", () => {
    const rig = new LinkRig();
    const link = open(rig);
    const qemu = bindQemu();
    expect(link.queueFrames).toBe(0);
    const frames = Array.from({ length: 500 }, (_, i) => sampleFrame(100, i));
    for (const frame of frames) rig.queueFrame(frame, 42);
    const seen: (Uint8Array | null)[] = [];
    let full = 0;
    while (rig.queue.length > 0) {
      link.transmit(rig.queue);
      if (link.wantsWritable) full++;
      for (let frame = take(rig, qemu); frame !== null; frame = take(rig, qemu)) seen.push(frame);
    }
    expect(full).toBeGreaterThan(0);
    expect(seen).toEqual(frames);
    expect(rig.counters.dropped("link-refused")).toBe(0);
  });

  it("takes over a stale socket file and removes its own at the end", () => {
    const rig = new LinkRig();
    native.close(native.unixListen(local(), "dgram"));
    const link = open(rig);
    link.close();
    opened?.cleanUp();
    opened = undefined;
    expect(existsSync(local())).toBe(false);
  });
});

describe("udp", () => {
  function udpPair(rig: LinkRig): { link: OpenedLink["link"]; qemu: number } {
    const qemu = native.udpSocket(4);
    descriptors.push(qemu);
    native.setOption(qemu, 17, 104, 0);
    native.bind(qemu, Int32Array.of(0, 0, 0xffff, 0x7f000001, 0), 4, false);
    const words = new Int32Array(5);
    native.localAddress(qemu, words);
    const end = { host: "127.0.0.1", port: words[4] };
    opened = openDatagramLink({ kind: "udp", local: { host: "127.0.0.1", port: 0 }, remote: end }, rig);
    native.localAddress(opened.link.fd, words);
    native.connect(qemu, words);
    return { link: opened.link, qemu };
  }

  it("carries one frame per datagram, never two merged into one", async () => {
    const rig = new LinkRig();
    const { link, qemu } = udpPair(rig);
    expect(link.queueFrames).toBeGreaterThan(0);
    const frames = Array.from({ length: 20 }, (_, i) => sampleFrame(1000, i));
    for (const frame of frames) rig.queueFrame(frame, 42);
    expect(link.transmit(rig.queue)).toBe(20);
    expect(frames.map(() => take(rig, qemu))).toEqual(frames);
    // Twenty equal datagrams in one call leave as one segmented message, as QEMU's host kernel might do it.
    const at = rig.arena.largeChunksAt + FAR;
    frames.forEach((frame, i) => {
      rig.arena.octets.set(frame, at + i * 1000);
      const index = (rig.descriptors.udpOutAt >> 2) + i * 8;
      rig.arena.ints.set([qemu, 0, 0, 0, 0, 0, at + i * 1000, 1000], index);
    });
    expect(native.udpSendBatch(rig.descriptors.udpOutAt, frames.length, 0)).toBe(0);
    const seen: Uint8Array[] = [];
    await until(() => {
      seen.push(...rig.readAll(link).frames);
      return seen.length >= 20;
    }, "twenty frames");
    expect(seen).toEqual(frames);
  });

  it("outlives QEMU's absence", async () => {
    const rig = new LinkRig();
    const { link, qemu } = udpPair(rig);
    descriptors.pop();
    native.close(qemu);
    for (let i = 0; i < 5; i++) {
      transmitOne(rig, link, i);
      expect(link.receive(rig.batch)).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(link.failure).toBe("");
  });
});

describe("a datagram socket pair", () => {
  it("ends when its other side has closed", () => {
    const rig = new LinkRig();
    const [ours, theirs] = native.socketPair("dgram");
    const link = openDescriptorLink(ours, rig);
    transmitOne(rig, link, 1);
    expect(take(rig, theirs)).toEqual(sampleFrame(100, 1));
    native.close(theirs);
    rig.queueFrame(sampleFrame(100, 2), 42);
    expect(link.transmit(rig.queue)).toBe(LINK_CLOSED);
    expect(link.failure).toBe(`fd ${ours}: the other side closed the connection`);
    link.close();
  });
});
