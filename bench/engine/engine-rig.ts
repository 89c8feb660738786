/**
 * The engine core between a link and a network that cost next to nothing: frames are written once into the arena and
 * handed over again and again, the host's sockets take everything. What is timed is the engine's own code, from the
 * frame it is given to the frame or the system call it would make.
 */

import { type EngineCore, TOKEN_LINK } from "../../src/engine/api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EAGAIN,
  type FrameLink,
  type HostNetwork,
  READABLE,
  type UdpBatch,
  WRITABLE,
} from "../../src/engine/boundary.ts";
import { defaultEngineConfig, defaultIpv6Config } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { CHECKSUM_VALID, type FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { counter } from "../../src/engine/metrics/counters.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import {
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet,
} from "../../src/engine/wire/ethernet.ts";
import { addressSum, IPV4_HEADER_OCTETS, writeIpv4 } from "../../src/engine/wire/ipv4.ts";
import {
  DESTINATION,
  HOP_LIMIT_DEFAULT,
  IPV6_HEADER_OCTETS,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../../src/engine/wire/ipv6.ts";
import { sequence, TCP_HEADER_OCTETS, writeTcp } from "../../src/engine/wire/tcp.ts";
import { UDP_HEADER_OCTETS, writeUdp } from "../../src/engine/wire/udp.ts";
import { keep } from "../suite.ts";

const GUEST = 0x0a00020f;
const REMOTE = 0xc6336401 | 0;
/** The source and the destination of the guest's packets over IPv6: fd71:1ae0:d44d:2::15, 2001:db8::1. */
const PAIR6 = Int32Array.of(0xfd711ae0 | 0, 0xd44d0002 | 0, 0, 0x15, 0x20010db8, 0, 0, 1);
const GUEST_PORT = 40_000;
const REMOTE_PORT = 80;
const GUEST_MAC_HIGH = 0x5254;
const GUEST_MAC_LOW = 0x00123456;
const GATEWAY_MAC_HIGH = 0x5255;
const GATEWAY_MAC_LOW = 0x0a000202;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
const DONT_FRAGMENT = 0x4000;
/** A datagram's checksum, which nobody computes (CHECKSUM_VALID); over IPv6 there must be one. */
const FOUND_RIGHT = 1;
const SYN = 0x02;
const ACK = 0x10;
const IP_AT = ETHERNET_HEADER_OCTETS;
/** A frame starts 2 octets off, so that its IP header is aligned, as the real links do it. */
const ALIGNMENT = 2;

/** Hands over the one frame it has when told to; takes every frame and remembers the last. */
class BenchLink implements FrameLink {
  readonly name = "bench";
  readonly mtu = 1500;
  readonly tcpOffload = true;
  readonly udpOffload = false;
  readonly queueFrames = 1000;
  waiting = false;
  length = 0;
  lastHeaderAt = 0;
  lastPayloadLength = 0;

  constructor(readonly at: number) {}

  receive(batch: FrameBatch): number {
    batch.reset();
    if (!this.waiting) return 0;
    this.waiting = false;
    batch.push(this.at, this.length, CHECKSUM_VALID, 0);
    return 1;
  }

  transmit(queue: TransmitQueue): number {
    const count = queue.length;
    if (count === 0) return 0;
    const last = (queue.first + count - 1) & (queue.capacity - 1);
    this.lastHeaderAt = queue.headerAt[last];
    this.lastPayloadLength = queue.payloadLength[last];
    queue.taken(count);
    return count;
  }

  close(): void {}
}

/** Every call succeeds at once; a read gives what was put into `waitingOctets`. */
class BenchNetwork implements HostNetwork {
  token = 0;
  waitingOctets = 0;
  private readonly peer: AddressWords = new Int32Array(ADDRESS_WORDS);

  tcpConnect(token: number): number {
    this.token = token;
    return 1;
  }
  tcpConnectService(token: number): number {
    return this.tcpConnect(token);
  }
  tcpConnectOperator(token: number): number {
    return this.tcpConnect(token);
  }
  connectResult(): number {
    return 0;
  }
  tcpAccept(): number {
    return EAGAIN;
  }
  tcpReceive(_handle: number, scatter: Int32Array, count: number): number {
    let room = 0;
    for (let i = 0; i < count; i++) room += scatter[2 * i + 1];
    const octets = Math.min(this.waitingOctets, room);
    this.waitingOctets -= octets;
    return octets === 0 ? EAGAIN : octets;
  }
  tcpSend(_handle: number, gather: Int32Array, count: number): number {
    let octets = 0;
    for (let i = 0; i < count; i++) octets += gather[2 * i + 1];
    keep(octets);
    return octets;
  }
  tcpShutdown(): void {}
  tcpStatus(_handle: number, status: Int32Array): number {
    status.fill(0);
    return 0;
  }
  tcpProbe(): number {
    return 0;
  }
  tcpClose(): void {}

  udpOpen(token: number): number {
    this.token = token;
    return 2;
  }
  udpSend(_handle: number, to: AddressWords, _at: number, length: number): void {
    this.peer.set(to);
    keep(length);
  }
  udpSendFrom(handle: number, _from: AddressWords, to: AddressWords, at: number, length: number): void {
    this.udpSend(handle, to, at, length);
  }
  udpFlush(): number {
    return 0;
  }
  udpReceive(_handle: number, batch: UdpBatch): number {
    if (this.waitingOctets === 0) return 0;
    batch.length[0] = this.waitingOctets;
    batch.segment[0] = 0;
    for (let i = 0; i < ADDRESS_WORDS; i++) batch.words[i] = this.peer[i];
    batch.words[ADDRESS_PORT] = REMOTE_PORT;
    this.waitingOctets = 0;
    return 1;
  }
  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    return this.udpReceive(handle, batch);
  }
  udpConnect(): number {
    return 0;
  }
  udpToGroups(): void {}
  udpClose(): void {}
}

export class EngineRig {
  private readonly arena = new Arena(REASSEMBLY_REGION_OCTETS);
  private readonly network = new BenchNetwork();
  private readonly link: BenchLink;
  private readonly core: EngineCore;
  /** Where TCP's or UDP's header is in a frame. */
  private readonly transportAt: number;
  private now = 0;
  private guestNext = 1;
  private engineNext = 0;

  constructor(private readonly family: 4 | 6 = 4) {
    this.transportAt = IP_AT + (family === 4 ? IPV4_HEADER_OCTETS : IPV6_HEADER_OCTETS);
    let seed = 1;
    const int32 = (): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) | 0;
      return seed;
    };
    this.link = new BenchLink(this.arena.rxWindowAt + ALIGNMENT);
    const config = defaultEngineConfig();
    this.core = createEngineCore(
      family === 4 ? config : { ...config, ipv6: defaultIpv6Config(config.gatewayMac) },
      {
        arena: this.arena,
        network: this.network,
        entropy: { int32 },
        checksum: new JavaScriptChecksum(this.arena.view),
      },
      0,
    );
    this.core.attach(this.link, 0);
  }

  /** Opens the TCP connection that the TCP methods use. Throws when the engine does not answer as it should. */
  connect(): void {
    this.writeTcpFrame(SYN, 0);
    this.deliver();
    this.core.handleEvent(this.network.token, WRITABLE, this.now);
    this.turn();
    const synAckAt = this.link.lastHeaderAt + this.transportAt;
    if (this.link.lastHeaderAt === 0) throw new Error("the engine did not answer the SYN");
    this.engineNext = (sequence(this.arena.view, synAckAt) + 1) | 0;
    this.guestNext = (this.guestNext + 1) | 0;
    this.writeTcpFrame(ACK, 0);
    this.deliver();
  }

  /** One segment from the guest: to the host's socket, and acknowledged. */
  tcpUp(octets: number): void {
    this.writeTcpFrame(ACK, octets);
    this.guestNext = (this.guestNext + octets) | 0;
    this.deliver();
  }

  /** Octets from the host's socket: to the guest, which acknowledges them. */
  tcpDown(octets: number): void {
    this.network.waitingOctets = octets;
    this.core.handleEvent(this.network.token, READABLE, this.now);
    this.turn();
    this.engineNext = (this.engineNext + this.link.lastPayloadLength) | 0;
    this.writeTcpFrame(ACK, 0);
    this.deliver();
  }

  /** One datagram from the guest. */
  udpUp(octets: number): void {
    const { view } = this.arena;
    const at = this.link.at;
    writeUdp(view, at + this.transportAt, GUEST_PORT, REMOTE_PORT, UDP_HEADER_OCTETS + octets, FOUND_RIGHT);
    this.writeLowerHeaders(PROTOCOL_UDP, UDP_HEADER_OCTETS + octets);
    this.deliver();
  }

  /** One datagram for the guest, after a `udpUp`. */
  udpDown(octets: number): void {
    this.network.waitingOctets = octets;
    this.core.handleEvent(this.network.token, READABLE, this.now);
    this.turn();
  }

  /** Throws unless the engine did what was to be measured: nothing dropped, nothing sent twice. */
  check(): void {
    const { counters } = this.core;
    const dropped = counters.drops.subarray(1).reduce((sum, n) => sum + n, 0);
    const resent = counters.values[counter("tcp-retransmits")];
    if (dropped + resent > 0) throw new Error(`${dropped} frames dropped, ${resent} segments sent again`);
  }

  private writeTcpFrame(flags: number, octets: number): void {
    const { view } = this.arena;
    const at = this.link.at + this.transportAt;
    const { guestNext, engineNext } = this;
    writeTcp(view, at, GUEST_PORT, REMOTE_PORT, guestNext, engineNext, TCP_HEADER_OCTETS, flags, 65_535);
    this.writeLowerHeaders(PROTOCOL_TCP, TCP_HEADER_OCTETS + octets);
  }

  private writeLowerHeaders(protocol: number, octets: number): void {
    const { view } = this.arena;
    const at = this.link.at;
    const ipAt = at + IP_AT;
    const type = this.family === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
    if (this.family === 4) {
      const total = IPV4_HEADER_OCTETS + octets;
      writeIpv4(view, ipAt, total, 0, DONT_FRAGMENT, protocol, GUEST, REMOTE, addressSum(GUEST, REMOTE));
    } else {
      writeIpv6(view, ipAt, octets, protocol, HOP_LIMIT_DEFAULT, 1);
      writeAddress(view, ipAt + SOURCE, PAIR6, 0);
      writeAddress(view, ipAt + DESTINATION, PAIR6, 4);
    }
    writeEthernet(view, at, GATEWAY_MAC_HIGH, GATEWAY_MAC_LOW, GUEST_MAC_HIGH, GUEST_MAC_LOW, type);
    this.link.length = this.transportAt + octets;
  }

  private deliver(): void {
    this.link.waiting = true;
    this.core.handleEvent(TOKEN_LINK, READABLE, this.now);
    this.turn();
  }

  /** A millisecond passes every 64 turns, so that timers are part of the picture but not the whole of it. */
  private turn(): void {
    this.turns = (this.turns + 1) & 63;
    if (this.turns === 0) this.now = (this.now + 1) | 0;
    while (this.core.turn(this.now));
  }

  private turns = 0;
}
