/** Host to guest where the kernel reads into the guest's own memory (peek.ts), with a link whose room is the test's. */
import { expect, it } from "vitest";
import { TOKEN_LINK } from "../../../src/engine/api.ts";
import { EAGAIN, ENOBUFS, READABLE, WRITABLE } from "../../../src/engine/boundary.ts";
import { LARGE_CHUNK_OCTETS, LARGE_CHUNKS } from "../../../src/engine/limits.ts";
import { tcp } from "../../hostile/guest-packets.ts";
import { ACK, SYN } from "../../sim/guest-stack/codec.ts";
import { FrameExchange } from "../../support/frame-exchange.ts";

const REMOTE = 0xc6336407 | 0;
/** The guest's SYN. */
const FIRST = 1000;
const IP_AT = 14;
const TCP_AT = IP_AT + 20;
/** Chunks that a test's pool never comes to: the guest's buffers. */
const BUFFERS = 4;

/** An exchange whose link has buffers for `room()` frames at each peek. */
function peekingExchange(room: () => number): { exchange: FrameExchange; reads: number[] } {
  const exchange = new FrameExchange({}, true);
  const { arena, network, link, core } = exchange;
  const buffersAt = arena.largeChunksAt + (LARGE_CHUNKS - BUFFERS) * LARGE_CHUNK_OCTETS;
  const reads: number[] = [];
  Object.assign(network, {
    tcpStartPeeking: () => true,
    tcpStopPeeking: () => {},
    tcpDiscard: (_handle: number, octets: number) => octets,
  });
  Object.assign(link, {
    canPeek: true,
    releasePeeked: () => {},
    peek(handle: number, _header: number, each: number, octets: number, frames: Int32Array): number {
      let total = 0;
      const most = Math.min(room(), BUFFERS);
      for (let i = 0; i < most && total < octets; i++) {
        const at = buffersAt + i * LARGE_CHUNK_OCTETS;
        const length = Math.min(each, octets - total);
        const got = network.sockets[handle].read(arena.octets, at, length);
        reads.push(got);
        if (got <= 0) return total > 0 ? total : got;
        frames.set([at, got], 2 * i);
        total += got;
        if (got < length) break;
      }
      return total === 0 ? ENOBUFS : total;
    },
  });
  core.attach(link, exchange.now);
  return { exchange, reads };
}

/** A guest whose card takes super-frames: it acknowledges what comes, and looks at no checksum. */
class Guest {
  received = Buffer.alloc(0);
  private next = 0;

  constructor(private readonly exchange: FrameExchange) {
    const [answer] = exchange.exchange(this.frame(SYN, FIRST, { mss: 1400, windowScale: 6 }));
    this.next = (Buffer.from(answer).readUInt32BE(TCP_AT + 4) + 1) | 0;
    exchange.exchange(this.frame(ACK, FIRST + 1));
  }

  /** Takes what there is, and what its acknowledgments bring. */
  take(): void {
    const frames = this.exchange.settle().map((octets) => Buffer.from(octets));
    for (let frame = frames.shift(); frame !== undefined; frame = frames.shift()) {
      const payload = frame.subarray(
        TCP_AT + (frame[TCP_AT + 12] >> 4) * 4,
        IP_AT + frame.readUInt16BE(IP_AT + 2),
      );
      if (payload.length === 0) continue;
      expect(frame.readUInt32BE(TCP_AT + 4)).toBe(this.next >>> 0);
      this.received = Buffer.concat([this.received, payload]);
      this.next = (this.next + payload.length) | 0;
      frames.push(...this.exchange.exchange(this.frame(ACK, FIRST + 1)).map((octets) => Buffer.from(octets)));
    }
  }

  private frame(flags: number, sequence: number, options = {}): Buffer {
    const ends = { to: REMOTE, sourcePort: 40_000, destinationPort: 80 };
    return tcp({ ...ends, flags, sequence, acknowledgment: this.next, options });
  }
}

const pattern = (octets: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: octets }, (_, i) => i % 251));

it("reads on where the guest had too few buffers, though no readiness tells of what is left", () => {
  let room = 1;
  const { exchange, reads } = peekingExchange(() => room);
  const guest = new Guest(exchange);
  const sent = pattern(1_000_000);
  exchange.network.sockets[0].give(sent);
  for (let i = 0; i < 100 && guest.received.length < sent.length; i++) {
    guest.take();
    // Every other time there are none, until the guest's kick tells of room.
    room = i % 2;
    exchange.core.handleEvent(TOKEN_LINK, READABLE | WRITABLE, exchange.now);
  }
  expect(reads.filter((got) => got > 0).length).toBeGreaterThan(5);
  expect(guest.received.equals(sent)).toBe(true);
});

it("reads no further where a read ended within a frame", () => {
  const { exchange, reads } = peekingExchange(() => BUFFERS);
  const guest = new Guest(exchange);
  const sent = pattern(600_100);
  exchange.network.sockets[0].give(sent);
  for (let i = 0; i < 20; i++) guest.take();
  expect(guest.received.equals(sent)).toBe(true);
  expect(reads.length).toBeGreaterThan(1);
  expect(reads).not.toContain(EAGAIN);
});
