/** Frames over the rings of a card in shared memory, against a driver written in the test. */
import { ftruncateSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { LINK_CLOSED } from "../../../src/engine/boundary.ts";
import { Egress } from "../../../src/engine/link/egress.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { CHECKSUM_PARTIAL } from "../../../src/engine/memory/frame-batch.ts";
import { TX_CHECKSUM_PARTIAL, TX_TCP_SEGMENTS } from "../../../src/engine/memory/transmit-queue.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import * as peeking from "../../../src/engine/transport/tcp/peek.ts";
import {
  LOG_ALL,
  MRG_RXBUF,
  PROTOCOL_FEATURES,
  RING_EVENT_IDX,
  RING_INDIRECT_DESC,
  SET_LOG_BASE,
  VERSION_1,
} from "../../../src/host/link/vhost-protocol.ts";
import { SO_PEEK_OFF, SOL_SOCKET } from "../../../src/host/native/linux.ts";
import { native } from "../../../src/host/native/native.ts";
import { sampleFrame } from "../../support/link-rig.ts";
import { ALL_FEATURES, calls, GUEST_BASE, PLAIN_FEATURES, words } from "../../support/vhost-front-end.ts";
import { VhostRig } from "../../support/vhost-rig.ts";

const rigs: VhostRig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function started(options: ConstructorParameters<typeof VhostRig>[0] = {}, features = ALL_FEATURES): VhostRig {
  const rig = new VhostRig(options);
  rigs.push(rig);
  rig.front.start(features);
  expect(rig.ended).toEqual([]);
  expect(rig.link).not.toBeNull();
  return rig;
}

/** A frame with a virtio header of zeros in front. */
function withHeader(frame: Uint8Array, header = new Uint8Array(12)): Uint8Array {
  return new Uint8Array(Buffer.concat([header, frame]));
}

/** Pieces of `octets` with these lengths; the last has the rest. */
function cut(octets: Uint8Array, ...lengths: number[]): { octets: Uint8Array }[] {
  const pieces: { octets: Uint8Array }[] = [];
  let at = 0;
  for (const length of lengths) {
    pieces.push({ octets: octets.slice(at, at + length) });
    at += length;
  }
  pieces.push({ octets: octets.slice(at) });
  return pieces;
}

describe("from the guest", () => {
  it("frames in chains of every shape arrive whole, and their buffers are given back", () => {
    const rig = started({ mtu: 9000 });
    const frame = sampleFrame(700, 1);
    const shapes: [boolean, ...number[]][] = [
      [false],
      [true],
      [false, 12],
      [true, 12],
      [false, 1, 1, 1, 9, 14, 20],
      [true, 0, 12, 0, 100, 0],
      [true, ...new Array<number>(60).fill(7)],
    ];
    const heads = shapes.map(([indirect, ...lengths]) =>
      rig.front.transmit.post(cut(withHeader(frame), ...lengths), indirect),
    );
    expect(rig.readAll(rig.attachedLink)).toEqual({
      frames: shapes.map(() => frame),
      oversized: 0,
      result: 0,
    });
    expect(rig.front.transmit.takeUsed()).toEqual(heads.map((head) => ({ head, length: 0 })));
  });

  it("an IP header lies on a boundary of four octets, with a header of either length", () => {
    for (const features of [ALL_FEATURES, PROTOCOL_FEATURES]) {
      const rig = started({}, features);
      for (let length = 60; length < 68; length++) {
        rig.front.transmit.post([
          { octets: withHeader(sampleFrame(length, 1), new Uint8Array(rig.front.transmit.headerOctets)) },
        ]);
      }
      expect(rig.attachedLink.receive(rig.batch)).toBe(8);
      for (let i = 0; i < 8; i++) expect((rig.batch.at[i] + 14) & 3).toBe(0);
      expect(rig.frames()).toEqual([60, 61, 62, 63, 64, 65, 66, 67].map((length) => sampleFrame(length, 1)));
    }
  });

  it("a super-frame keeps its segment size and its unfinished checksum", () => {
    const rig = started();
    const header = new Uint8Array(12);
    header.set([1, 1, 54, 0, 0xb4, 0x05, 34, 0, 16, 0]);
    rig.front.transmit.post([{ octets: withHeader(sampleFrame(60_000, 3), header) }]);
    expect(rig.attachedLink.receive(rig.batch)).toBe(1);
    expect(rig.batch.length[0]).toBe(60_000);
    expect(rig.batch.segmentSize[0]).toBe(1460);
    expect(rig.batch.flags[0]).toBe(CHECKSUM_PARTIAL);
  });

  it("what is too short for a frame, or longer than the MTU without being a super-frame, is counted", () => {
    const rig = started();
    for (const length of [0, 13, 1519, 60_000]) {
      rig.front.transmit.post([{ octets: withHeader(sampleFrame(length, 1)) }]);
    }
    rig.front.transmit.post([{ octets: new Uint8Array(5) }]);
    rig.front.transmit.post([{ octets: withHeader(sampleFrame(1518, 1)) }]);
    expect(rig.readAll(rig.attachedLink)).toMatchObject({ oversized: 5, frames: [sampleFrame(1518, 1)] });
  });

  it.each([1, 2, 4, 256, 32_768])("a ring of %i entries goes round, and so do its indices", (entries) => {
    const rig = started({ entries });
    const { transmit } = rig.front;
    rig.front.stopRing(1);
    // Just before the 16 bits end.
    transmit.availableIndex = 0xfffe;
    transmit.usedIndex = 0xfffe;
    transmit.view.setUint16(transmit.usedAt + 2, 0xfffe, true);
    rig.front.startRing(1);
    for (let i = 0; i < 3 * Math.min(entries, 100) + 5; i++) {
      const head = transmit.post([{ octets: withHeader(sampleFrame(64, i)) }]);
      expect(rig.readAll(rig.attachedLink).frames).toEqual([sampleFrame(64, i)]);
      expect(transmit.takeUsed()).toEqual([{ head, length: 0 }]);
    }
  });

  it("a buffer may begin in one region of memory and end in the next", () => {
    const rig = started({ regions: 4, mtu: 9000 });
    const border = 8 * 1024 * 1024;
    const frame = sampleFrame(4000, 9);
    rig.front.transmit.post([{ octets: withHeader(frame), at: border - 100 }]);
    expect(rig.readAll(rig.attachedLink).frames).toEqual([frame]);
  });

  it("more than a batch holds comes with the next one", () => {
    const rig = started({ batch: 16 });
    for (let i = 0; i < 40; i++) rig.front.transmit.post([{ octets: withHeader(sampleFrame(64, i)) }]);
    expect(rig.attachedLink.receive(rig.batch)).toBe(16);
    expect(rig.batch.drained).toBe(false);
    expect(rig.readAll(rig.attachedLink).frames).toHaveLength(24);
  });

  it.each([
    ["by event index", ALL_FEATURES],
    ["by flag", ALL_FEATURES & ~RING_EVENT_IDX],
  ])("a kick is asked for once nothing is left, and not before (%s)", (_, features) => {
    const rig = started({ batch: 1 }, features);
    const { transmit } = rig.front;
    expect(rig.attachedLink.receive(rig.batch)).toBe(0);
    const before = transmit.availableIndex;
    transmit.post([{ octets: withHeader(sampleFrame(64, 1)) }]);
    expect(transmit.wantsKick(before)).toBe(true);
    transmit.post([{ octets: withHeader(sampleFrame(64, 2)) }]);
    expect(rig.attachedLink.receive(rig.batch)).toBe(1);
    const after = transmit.availableIndex;
    transmit.post([{ octets: withHeader(sampleFrame(64, 3)) }]);
    expect(transmit.wantsKick(after)).toBe(false);
  });

  it("the driver is called when it wants to be", () => {
    for (const features of [ALL_FEATURES, ALL_FEATURES & ~RING_EVENT_IDX]) {
      const rig = started({}, features);
      const { transmit } = rig.front;
      calls.eventCount(transmit.call);
      const send = (): number => {
        transmit.post([{ octets: withHeader(sampleFrame(64, 1)) }]);
        rig.readAll(rig.attachedLink);
        return calls.eventCount(transmit.call);
      };
      transmit.setUsedEvent(0);
      expect(send()).toBe(1);
      if (features === ALL_FEATURES) transmit.setUsedEvent(transmit.availableIndex + 1);
      else transmit.view.setUint16(transmit.availableAt, 1, true);
      expect(send()).toBe(0);
      if (features === ALL_FEATURES) expect(send()).toBe(1);
    }
  });
});

describe("to the guest", () => {
  it("frames lie in one buffer each, and each tells so", () => {
    const rig = started();
    for (let i = 0; i < 4; i++) rig.front.receive.post([{ room: 2048 }]);
    const frames = [sampleFrame(60, 1), sampleFrame(1514, 2), sampleFrame(14, 3)];
    for (const frame of frames) rig.queueFrame(frame, Math.min(54, frame.length));
    expect(rig.attachedLink.transmit(rig.queue)).toBe(3);
    expect(rig.queue.length).toBe(0);
    const taken = rig.front.receive.takeFrames();
    expect(taken.map(({ frame }) => frame)).toEqual(frames);
    for (const { header } of taken) expect([...header]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
  });

  it("a super-frame is spread over as many buffers as it takes", () => {
    for (const room of [1526, 4096, 65_550]) {
      const rig = started();
      for (let i = 0; i < 64; i++) rig.front.receive.post([{ room }]);
      const frame = sampleFrame(64_054, 5);
      frame[23] = 6;
      rig.queueFrame(frame, 54, TX_CHECKSUM_PARTIAL | TX_TCP_SEGMENTS, 1460, 34);
      rig.queueFrame(sampleFrame(100, 6), 54);
      expect(rig.attachedLink.transmit(rig.queue)).toBe(2);
      const [first, second] = rig.front.receive.takeFrames();
      expect(Buffer.compare(first.frame, frame)).toBe(0);
      expect(second.frame).toEqual(sampleFrame(100, 6));
      // NEEDS_CSUM, TCP over IPv4, 54 octets of headers, segments of 1460, the checksum from 34 on, 16 octets in.
      expect([...first.header.slice(0, 10)]).toEqual([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
    }
  });

  it("buffers in several pieces, indirect or not, are filled one after the other", () => {
    for (const indirect of [false, true]) {
      const rig = started();
      rig.front.receive.post([{ room: 12 }, { room: 20 }, { room: 1 }, { room: 4000 }], indirect);
      rig.queueFrame(sampleFrame(1000, 5), 54);
      expect(rig.attachedLink.transmit(rig.queue)).toBe(1);
      expect(rig.front.receive.takeFrames().map(({ frame }) => frame)).toEqual([sampleFrame(1000, 5)]);
    }
  });

  it("without mergeable buffers a frame has one, and one that is too small costs the frame", () => {
    const rig = started({}, PLAIN_FEATURES | RING_INDIRECT_DESC);
    rig.front.receive.post([{ room: 100 }]);
    rig.front.receive.post([{ room: 2048 }]);
    rig.queueFrame(sampleFrame(1000, 1), 54);
    rig.queueFrame(sampleFrame(80, 2), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(2);
    expect(rig.counters.dropped("link-refused")).toBe(1);
    expect(rig.front.receive.takeFrames().map(({ frame }) => frame)).toEqual([sampleFrame(80, 2)]);
  });

  it("a driver of before virtio 1 has a header without the number of buffers", () => {
    const rig = started({}, PROTOCOL_FEATURES);
    rig.front.receive.post([{ room: 2048 }]);
    rig.queueFrame(sampleFrame(200, 1), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(1);
    expect(rig.front.receive.takeFrames()).toEqual([
      { header: new Uint8Array(10), frame: sampleFrame(200, 1) },
    ]);
  });

  it("a guest without buffers is a full link, and its kick asks for more", () => {
    for (const features of [ALL_FEATURES, ALL_FEATURES & ~RING_EVENT_IDX]) {
      const rig = started({}, features);
      const link = rig.attachedLink;
      rig.front.receive.post([{ room: 4096 }]);
      const frame = sampleFrame(9000, 5);
      rig.queueFrame(frame, 54, TX_CHECKSUM_PARTIAL | TX_TCP_SEGMENTS, 1460, 34);
      expect(link.transmit(rig.queue)).toBe(0);
      expect(link.wantsWritable).toBe(true);
      const before = rig.front.receive.availableIndex;
      rig.front.receive.post([{ room: 4096 }]);
      expect(rig.front.receive.wantsKick(before)).toBe(true);
      rig.front.receive.post([{ room: 4096 }]);
      link.resume();
      expect(link.wantsWritable).toBe(false);
      expect(link.transmit(rig.queue)).toBe(1);
      expect(rig.front.receive.takeFrames().map(({ frame: got }) => got)).toEqual([frame]);
    }
  });

  it("more frames than the ring has room for leave as it gets some", () => {
    const rig = started({ entries: 4 });
    for (let i = 0; i < 10; i++) rig.queueFrame(sampleFrame(100, i), 54);
    const seen: Uint8Array[] = [];
    for (let round = 0; round < 5 && seen.length < 10; round++) {
      for (let i = 0; i < 4; i++) rig.front.receive.post([{ room: 2048 }]);
      rig.attachedLink.resume();
      rig.attachedLink.transmit(rig.queue);
      seen.push(...rig.front.receive.takeFrames().map(({ frame }) => frame));
    }
    expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => sampleFrame(100, i)));
  });

  it("the driver is called for frames as often as it asks", () => {
    const rig = started();
    const { receive } = rig.front;
    for (let i = 0; i < 8; i++) receive.post([{ room: 2048 }]);
    calls.eventCount(receive.call);
    receive.setUsedEvent(5);
    for (let i = 0; i < 5; i++) rig.queueFrame(sampleFrame(100, i), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(calls.eventCount(receive.call)).toBe(0);
    rig.queueFrame(sampleFrame(100, 6), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(calls.eventCount(receive.call)).toBe(1);
  });
});

describe("a ring that is disabled", () => {
  it("gives its frames to nobody, and takes none", () => {
    const rig = started();
    const { front } = rig;
    front.enable(1, false);
    const head = front.transmit.post([{ octets: withHeader(sampleFrame(64, 1)) }]);
    expect(rig.readAll(rig.attachedLink).frames).toEqual([]);
    expect(front.transmit.takeUsed()).toEqual([{ head, length: 0 }]);
    front.enable(0, false);
    front.receive.post([{ room: 2048 }]);
    rig.queueFrame(sampleFrame(64, 2), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(front.receive.takeUsed()).toEqual([]);
    expect(rig.counters.dropped("link-down")).toBe(2);
    front.enable(0, true);
    front.enable(1, true);
    rig.queueFrame(sampleFrame(64, 3), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(front.receive.takeFrames().map(({ frame }) => frame)).toEqual([sampleFrame(64, 3)]);
  });
});

describe("what a driver is offered", () => {
  it("decides which super-frames it gets", () => {
    expect(started().attachedLink).toMatchObject({
      tcpOffload: true,
      udpOffload: true,
      mtu: 1500,
      queueFrames: 0,
    });
    const features = VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES;
    expect(started({}, features).attachedLink).toMatchObject({ tcpOffload: false, udpOffload: false });
    expect(started({ offload: false }).attachedLink).toMatchObject({ tcpOffload: false, udpOffload: false });
  });
});

describe("memory that goes away", () => {
  it("ends the link with a sentence, not the process, and the next front-end is served", () => {
    const rig = started({ sealed: false });
    expect(rig.log.lines.join()).toMatch(/may shrink/);
    rig.front.receive.post([{ room: 2048, at: 8_000_000 }]);
    rig.front.transmit.post([{ octets: withHeader(sampleFrame(64, 1)), at: 8_100_000 }]);
    ftruncateSync(rig.front.memoryFd, 4 * 1024 * 1024);
    expect(rig.attachedLink.receive(rig.batch)).toBe(LINK_CLOSED);
    expect(rig.tend()).toMatch(/its file became shorter/);
    rig.front.close();
    rig.connect();
    rig.front.start();
    rig.front.transmit.post([{ octets: withHeader(sampleFrame(64, 1)) }]);
    expect(rig.readAll(rig.attachedLink).frames).toEqual([sampleFrame(64, 1)]);
  });

  it("a buffer to be written likewise", () => {
    const rig = started({ sealed: false });
    rig.front.receive.post([{ room: 2048, at: 8_000_000 }]);
    ftruncateSync(rig.front.memoryFd, 4 * 1024 * 1024);
    rig.queueFrame(sampleFrame(64, 2), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(LINK_CLOSED);
    expect(rig.counters.value("vhost-bad-ring")).toBe(1);
    expect(rig.tend()).toMatch(/its file became shorter/);
  });
});

describe("octets read straight into the guest's buffers", () => {
  const HEADERS = 54;

  /** A host's socket with `octets` waiting, from whose queue nothing goes by itself. */
  function waiting(rig: VhostRig, octets: Uint8Array): { fd: number; far: number } {
    const words = new Int32Array(5);
    const listener = native.tcpSocket(4);
    words.set([0, 0, 0xffff, 0x7f000001, 0]);
    native.bind(listener, words, 4, false);
    native.listen(listener, 1);
    native.localAddress(listener, words);
    const fd = native.tcpSocket(4);
    native.connect(fd, words);
    const far = native.accept(listener, words);
    native.close(listener);
    sockets.push(fd, far);
    send(rig, far, octets);
    native.setOption(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
    return { fd, far };
  }

  const sockets: number[] = [];
  afterEach(() => {
    for (const fd of sockets.splice(0)) native.close(fd);
  });

  function send(rig: VhostRig, far: number, octets: Uint8Array): void {
    const at = rig.arena.largeChunksAt + 50_000_000;
    rig.arena.octets.set(octets, at);
    expect(native.sendGather(far, Int32Array.of(at, octets.length), 1)).toBe(octets.length);
  }

  const pattern = (length: number, from = 0): Uint8Array =>
    Uint8Array.from({ length }, (_, i) => ((from + i) * 7 + ((from + i) >> 8)) & 255);

  /** Peeks, and queues a header of zeros for each frame that came. Gives the octets of each. */
  function peek(rig: VhostRig, fd: number, each: number, octets: number): number | number[] {
    const frames = new Int32Array(8);
    const got = rig.attachedLink.peek(fd, HEADERS, each, octets, frames);
    if (got <= 0) return got;
    const lengths: number[] = [];
    for (let i = 0, left = got; left > 0; left -= frames[i + 1], i += 2) {
      const end = rig.queue.nextHeaderEnd();
      rig.arena.octets.fill(0, end - HEADERS, end);
      rig.queue.push(HEADERS, frames[i], frames[i + 1], 0, 0, 0);
      lengths.push(frames[i + 1]);
    }
    return lengths;
  }

  const payloads = (rig: VhostRig): Uint8Array[] =>
    rig.front.receive.takeFrames().map(({ frame }) => frame.slice(HEADERS));

  it("are the same octets in the same order, and stay with the kernel", () => {
    const rig = started();
    for (let i = 0; i < 100; i++) rig.front.receive.post([{ room: i % 3 === 0 ? 100 : 1500 }]);
    const { fd } = waiting(rig, pattern(20_000));
    expect(peek(rig, fd, 4000, 8000)).toEqual([4000, 4000]);
    expect(peek(rig, fd, 4000, 16_000)).toEqual([4000, 4000, 4000]);
    expect(peek(rig, fd, 4000, 4000)).toBe(-11);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(5);
    const got = Buffer.concat(payloads(rig));
    expect(Buffer.compare(got, pattern(20_000))).toBe(0);
    expect(native.discard(fd, 6000)).toBe(6000);
    native.setOption(fd, SOL_SOCKET, SO_PEEK_OFF, -1);
    const at = rig.arena.smallChunksAt;
    expect(native.receive(fd, at, 20_000)).toBe(14_000);
    expect(Buffer.compare(rig.arena.octets.slice(at, at + 14_000), pattern(14_000, 6000))).toBe(0);
  });

  it("take no more buffers than they need, and other frames have the next ones", () => {
    const rig = started({ entries: 8 });
    for (let i = 0; i < 8; i++) rig.front.receive.post([{ room: 1000 }]);
    const { fd } = waiting(rig, pattern(1500));
    // Asked for all there is; two buffers are enough for what comes.
    expect(peek(rig, fd, 3000, 6000)).toEqual([1500]);
    for (let i = 0; i < 6; i++) rig.queueFrame(sampleFrame(100, i), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(7);
    const [first, ...others] = rig.front.receive.takeFrames().map(({ frame }) => frame);
    expect(Buffer.compare(first.slice(HEADERS), pattern(1500))).toBe(0);
    expect(others).toEqual([0, 1, 2, 3, 4, 5].map((seed) => sampleFrame(100, seed)));
  });

  it("wait for buffers as any frame does", () => {
    const rig = started();
    const { fd } = waiting(rig, pattern(3000));
    rig.front.receive.post([{ room: 1000 }]);
    expect(peek(rig, fd, 3000, 3000)).toBe(-105);
    expect(rig.attachedLink.wantsWritable).toBe(true);
    const before = rig.front.receive.availableIndex;
    for (let i = 0; i < 3; i++) rig.front.receive.post([{ room: 1000 }]);
    expect(rig.front.receive.wantsKick(before)).toBe(true);
    expect(peek(rig, fd, 3000, 3000)).toEqual([3000]);
  });

  it("tell of the end, and of nothing", () => {
    const rig = started();
    rig.front.receive.post([{ room: 65_000 }]);
    const { fd, far } = waiting(rig, pattern(10));
    expect(peek(rig, fd, 1000, 1000)).toEqual([10]);
    rig.attachedLink.transmit(rig.queue);
    rig.front.receive.post([{ room: 65_000 }]);
    expect(peek(rig, fd, 1000, 1000)).toBe(-11);
    native.shutdownWrite(far);
    expect(peek(rig, fd, 1000, 1000)).toBe(0);
  });

  it("for which no frame follows give their buffers back empty, also when the rings stop", () => {
    const rig = started();
    for (let i = 0; i < 4; i++) rig.front.receive.post([{ room: 2048 }]);
    const { fd } = waiting(rig, pattern(2000));
    const frames = new Int32Array(8);
    expect(rig.attachedLink.peek(fd, HEADERS, 1000, 2000, frames)).toBe(2000);
    rig.attachedLink.releasePeeked(frames[2]);
    expect(rig.front.receive.takeUsed().map(({ length }) => length)).toEqual([0]);
    expect(rig.front.stopRing(0)).toBe(2);
    expect(rig.front.receive.takeUsed().map(({ length }) => length)).toEqual([0]);
  });

  it("whose buffers were given back are a frame that is lost", () => {
    const rig = started();
    for (let i = 0; i < 4; i++) rig.front.receive.post([{ room: 2048 }]);
    const { fd } = waiting(rig, pattern(1000));
    expect(peek(rig, fd, 1000, 1000)).toEqual([1000]);
    rig.front.shareMemory();
    rig.queueFrame(sampleFrame(100, 1), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(2);
    expect(rig.counters.dropped("link-refused")).toBe(1);
  });

  it("let a frame that waits in front of them have the buffers first", () => {
    const rig = started({ entries: 64 });
    const { receive } = rig.front;
    const post = (): void => {
      while (receive.availableIndex - receive.usedIndex < 64) receive.post([{ room: 1500 }]);
    };
    const { fd } = waiting(rig, pattern(64_000));
    const egress = new Egress(rig.arena, new Neighbours(), new Uint8Array(6), rig.counters);
    const receiveList = new Int32Array(8);
    const ctx = { egress, receiveList } as unknown as TcpContext;
    const connection = { handle: fd, ipOctets: 20, timestamps: false } as TcpConnection;
    egress.attach(rig.attachedLink);

    // 41 buffers of 64 for what was queued first. What is read meanwhile would hold 44, of which nobody would be told.
    const copied = sampleFrame(60_000, 3);
    rig.arena.octets.set(copied, rig.arena.largeChunksAt);
    post();
    egress.sendKept(rig.arena.largeChunksAt, copied.length);
    const taken: Uint8Array[] = [];
    let peeked = 0;
    for (let round = 0; round < 20 && peeked < 64_000; round++) {
      const got = peeking.peek(ctx, connection, 32_000, 64_000 - peeked);
      for (let i = 0, left = got; left > 0; left -= receiveList[i + 1], i += 2) {
        const end = egress.queue.nextHeaderEnd();
        rig.arena.octets.fill(0, end - HEADERS, end);
        egress.queue.push(HEADERS, receiveList[i], receiveList[i + 1], 0, 0, 0);
        peeked += receiveList[i + 1];
      }
      egress.flush();
      taken.push(...receive.takeFrames().map(({ frame }) => frame));
      post();
      rig.attachedLink.resume();
      egress.unblock();
    }
    expect(taken.map((frame) => frame.length)).toEqual([60_000, 32_054, 32_054]);
    expect(Buffer.compare(taken[0], copied)).toBe(0);
    const octets = Buffer.concat(taken.slice(1).map((frame) => frame.slice(HEADERS)));
    expect(Buffer.compare(octets, pattern(64_000))).toBe(0);
  });

  it("of a frame that is gone are not those of the next one in its place", () => {
    const rig = started();
    for (let i = 0; i < 4; i++) rig.front.receive.post([{ room: 2048 }]);
    const gone = waiting(rig, pattern(1000));
    const next = waiting(rig, pattern(1000, 77));
    expect(peek(rig, gone.fd, 1000, 1000)).toEqual([1000]);
    rig.front.shareMemory();
    rig.front.receive.takeUsed();
    expect(peek(rig, next.fd, 1000, 1000)).toEqual([1000]);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(2);
    expect(rig.counters.dropped("link-refused")).toBe(1);
    expect(payloads(rig)).toEqual([pattern(1000, 77)]);
  });

  it("are in no more frames than there is a list for", () => {
    const rig = started();
    for (let i = 0; i < 20; i++) rig.front.receive.post([{ room: 2048 }]);
    const { fd } = waiting(rig, pattern(20_000));
    const one = new Int32Array(2);
    expect(rig.attachedLink.peek(fd, HEADERS, 1000, 20_000, one)).toBe(1000);
    expect(rig.attachedLink.peek(fd, HEADERS, 1000, 20_000, new Int32Array(100))).toBe(7000);
  });

  it("are in the log of a migration", () => {
    const rig = started({}, ALL_FEATURES | LOG_ALL);
    const log = calls.memoryFile(0x40000, 0);
    rig.front.ask(SET_LOG_BASE, words(0x40000n, 0n), [log]);
    const bits = new Uint8Array(calls.map(log, 0x40000));
    const buffer = 8_000_000 & ~4095;
    rig.front.receive.post([{ room: 12_000, at: buffer }]);
    const { fd } = waiting(rig, pattern(9000));
    peek(rig, fd, 9000, 9000);
    rig.attachedLink.transmit(rig.queue);
    const page = Number(GUEST_BASE >> 12n) + (buffer >> 12);
    for (let i = 0; i < 3; i++) expect(bits[(page + i) >> 3] & (1 << ((page + i) & 7))).not.toBe(0);
    expect(bits[(page + 3) >> 3] & (1 << ((page + 3) & 7))).toBe(0);
    native.close(log);
  });
});
