/** A guest that sends with UDP_SEGMENT: the link hands over one super-frame, the host must see its datagrams. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterEach, expect, it } from "vitest";
import { defaultEngineConfig, macForGateway } from "../../src/config/engine-config.ts";
import { createEngineCore, type EngineCore, TOKEN_LINK } from "../../src/engine.ts";
import { native } from "../../src/host/native.ts";
import { KernelNetwork, OUTBOUND_ANY } from "../../src/host/sockets.ts";
import { Arena } from "../../src/memory/arena.ts";
import { CHECKSUM_PARTIAL, type FrameBatch } from "../../src/memory/frame-batch.ts";
import type { TransmitQueue } from "../../src/memory/transmit-queue.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/network/reassembly.ts";
import { type FrameLink, READABLE } from "../../src/ports.ts";
import { GATEWAY, GUEST, ipv4Frame, PROTOCOL_UDP, udpSegment } from "../support/gateway-frames.ts";
import { LinkRig, until } from "../support/link-rig.ts";

const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const SEGMENT = 1000;

/** The frame the other way round: from the guest to the gateway. Swapped addresses have the same checksums. */
function turned(frame: Uint8Array): Uint8Array {
  const out = frame.slice();
  out.set(frame.subarray(0, 6), 6);
  out.set(frame.subarray(6, 12), 0);
  out.set(frame.subarray(26, 30), 30);
  out.set(frame.subarray(30, 34), 26);
  return out;
}

/** Gives its frames once, in one batch. */
class OneBatch implements FrameLink {
  readonly name = "test";
  readonly mtu = 1500;
  readonly tcpOffload = true;
  readonly udpOffload = true;
  readonly queueFrames = 1000;

  constructor(
    private readonly arena: Arena,
    private readonly frames: { octets: Uint8Array; segmentSize: number }[],
  ) {}

  receive(batch: FrameBatch): number {
    batch.reset();
    let at = this.arena.rxWindowAt + 2;
    for (const { octets, segmentSize } of this.frames.splice(0)) {
      this.arena.octets.set(octets, at);
      batch.push(at, octets.length, CHECKSUM_PARTIAL, segmentSize);
      at += (octets.length + 5) & ~3;
    }
    return batch.count;
  }

  transmit(queue: TransmitQueue): number {
    const count = queue.length;
    queue.taken(count);
    return count;
  }

  close(): void {}
}

let core: EngineCore | undefined;
afterEach(() => {
  core?.close(native.nowMs());
  native.epollClose();
});

it("leaves as the datagrams it stands for, and plain ones beside it as they are", async () => {
  const rig = new LinkRig();
  const arena = new Arena(REASSEMBLY_REGION_OCTETS);
  native.registerArena(arena.buffer);
  native.epollOpen(() => {});
  const server = createSocket("udp4");
  const heard: Buffer[] = [];
  server.on("message", (message) => heard.push(message));
  server.bind(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();

  const network = new KernelNetwork({
    arena,
    descriptors: rig.descriptors,
    guestForwards: [],
    outbound: OUTBOUND_ANY,
    spawnCommand: () => -1,
  });
  const config = {
    ...defaultEngineConfig(),
    network: 0x0a090000,
    gateway: GATEWAY,
    guestAddress: GUEST,
    gatewayMac: macForGateway(GATEWAY),
    dhcp: null,
    allowHostLoopback: true,
  };
  const entropy = { int32: native.randomInt32 };
  const checksum = { sum: native.checksum };
  core = createEngineCore(config, { arena, network, entropy, log: rig.log, checksum }, native.nowMs());

  const payload = new Uint8Array(SEGMENT * 6 + 300).map((_, i) => 65 + Math.floor(i / SEGMENT));
  const frame = (octets: Uint8Array): Uint8Array =>
    turned(ipv4Frame(GUEST_MAC, PROTOCOL_UDP, udpSegment(4000, port, octets), true));
  const link = new OneBatch(arena, [
    { octets: frame(payload), segmentSize: SEGMENT },
    { octets: frame(new Uint8Array(1200).fill(90)), segmentSize: 0 },
    { octets: frame(new Uint8Array(0)), segmentSize: 0 },
  ]);
  core.attach(link, native.nowMs());
  core.handleEvent(TOKEN_LINK, READABLE, native.nowMs());
  while (core.turn(native.nowMs()));

  await until(() => heard.length === 9, "nine datagrams");
  expect(heard.map(({ length }) => length)).toEqual([...Array(6).fill(SEGMENT), 300, 1200, 0]);
  expect(heard.slice(0, 7).every((message, i) => message.every((octet) => octet === 65 + i))).toBe(true);
  expect(core.counters.value("udp-datagrams-in")).toBe(9);
  server.close();
  network.close();
});
