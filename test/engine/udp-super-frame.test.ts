/**
 * Datagrams in a row as one super-frame of the link. From a guest that sends with UDP_SEGMENT the link hands one over,
 * and the host must see its datagrams; those of a host that sends one by one leave as one where they wait together.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, expect, it } from "vitest";
import { type EngineCore, TOKEN_LINK } from "../../src/engine/api.ts";
import { type FrameLink, READABLE } from "../../src/engine/boundary.ts";
import { defaultEngineConfig, macForGateway } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { CHECKSUM_PARTIAL, type FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { native } from "../../src/host/native/native.ts";
import { KernelNetwork, OUTBOUND_ANY } from "../../src/host/sockets.ts";
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
  /** Payloads that left. */
  readonly sent: { octets: Uint8Array; segmentSize: number }[] = [];

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
    for (let i = 0; i < count; i++) {
      const entry = (queue.first + i) & (queue.capacity - 1);
      const at = queue.payloadAt[entry]!;
      const octets = this.arena.octets.slice(at, at + queue.payloadLength[entry]!);
      this.sent.push({ octets, segmentSize: queue.segmentSize[entry]! });
    }
    queue.taken(count);
    return count;
  }

  close(): void {}
}

let core: EngineCore | undefined;
let network: KernelNetwork | undefined;
const sockets: Socket[] = [];
afterEach(() => {
  core?.close(native.nowMs());
  network?.close();
  for (const socket of sockets.splice(0)) socket.close();
  native.epollClose();
});

interface HostSocket {
  readonly socket: Socket;
  readonly port: number;
  readonly heard: Buffer[];
}

/** A socket on loopback, its port, and what arrives there. */
async function hostSocket(address = "127.0.0.1"): Promise<HostSocket> {
  const socket = createSocket("udp4");
  sockets.push(socket);
  const heard: Buffer[] = [];
  socket.on("message", (message) => heard.push(message));
  socket.bind(0, address);
  await once(socket, "listening");
  return { socket, port: socket.address().port, heard };
}

/** An engine in front of the kernel's sockets; `tokens` are those of its UDP sockets, in order. */
function engine(): { arena: Arena; core: EngineCore; tokens: number[] } {
  const rig = new LinkRig();
  const arena = new Arena(REASSEMBLY_REGION_OCTETS);
  native.registerArena(arena.buffer);
  native.epollOpen(() => {});
  const tokens: number[] = [];
  network = new (class extends KernelNetwork {
    override udpOpen(token: number, family: 4 | 6, port: number): number {
      tokens.push(token);
      return super.udpOpen(token, family, port);
    }
  })({
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
  core = createEngineCore(config, { arena, network, entropy, checksum }, native.nowMs());
  return { arena, core, tokens };
}

function turn(running: EngineCore, token: number): void {
  running.handleEvent(token, READABLE, native.nowMs());
  while (running.turn(native.nowMs()));
}

function guestFrame(port: number, octets: Uint8Array): Uint8Array {
  return turned(ipv4Frame(GUEST_MAC, PROTOCOL_UDP, udpSegment(4000, port, octets), true));
}

it("leaves as the datagrams it stands for, and plain ones beside it as they are", async () => {
  const { arena, core } = engine();
  const { port, heard } = await hostSocket();
  const payload = new Uint8Array(SEGMENT * 6 + 300).map((_, i) => 65 + Math.floor(i / SEGMENT));
  const link = new OneBatch(arena, [
    { octets: guestFrame(port, payload), segmentSize: SEGMENT },
    { octets: guestFrame(port, new Uint8Array(1200).fill(90)), segmentSize: 0 },
    { octets: guestFrame(port, new Uint8Array(0)), segmentSize: 0 },
  ]);
  core.attach(link, native.nowMs());
  turn(core, TOKEN_LINK);

  await until(() => heard.length === 9, "nine datagrams");
  expect(heard.map(({ length }) => length)).toEqual([...Array(6).fill(SEGMENT), 300, 1200, 0]);
  expect(heard.slice(0, 7).every((message, i) => message.every((octet) => octet === 65 + i))).toBe(true);
  expect(core.counters.value("udp-datagrams-from-guest")).toBe(9);
});

it("is made of datagrams of one sender and size, each counted, also when they are dropped", async () => {
  const { arena, core, tokens } = engine();
  const [server, stranger] = [await hostSocket(), await hostSocket("127.0.0.2")];
  const link = new OneBatch(arena, [{ octets: guestFrame(server.port, new Uint8Array(9)), segmentSize: 0 }]);
  core.attach(link, native.nowMs());
  turn(core, TOKEN_LINK);
  const [, { port }] = await once(server.socket, "message");
  const send = async ({ socket }: HostSocket, ...lengths: number[]): Promise<void> => {
    for (const length of lengths) {
      const datagram = Buffer.alloc(length, 65 + (sent++ % 26));
      await new Promise((resolve) => socket.send(datagram, port, "127.0.0.1", resolve));
    }
  };
  let sent = 0;
  const arrived = (): [number, number][] =>
    link.sent.splice(0).map((frame) => [frame.octets.length, frame.segmentSize]);

  // One datagram tells the size to expect.
  await send(server, 700);
  turn(core, tokens[0]!);
  expect(arrived()).toEqual([[700, 0]]);

  await send(server, 700, 700, 700, 100, 700, 700);
  turn(core, tokens[0]!);
  const letters = link.sent[0]!.octets.filter((_, i) => i % 700 === 0);
  expect(Buffer.from(letters).toString()).toBe("BCDE");
  expect(arrived()).toEqual([
    [2200, 700],
    [1400, 700],
  ]);

  await send(stranger, 700, 700, 700);
  await send(server, 700);
  turn(core, tokens[0]!);
  expect(arrived()).toEqual([[700, 0]]);
  expect(core.counters.dropped("inbound-filtered")).toBe(3);
  expect(core.counters.value("udp-datagrams-to-guest")).toBe(8);
});
