/**
 * The engine's DHCP server in a role of its own: on the bridge, for the one guest that takes over the pod's address.
 * Frames come over a packet socket as one more FrameLink; the server and the gateway that packs its answers into
 * frames are those of the engine. Everything that is no DHCP request is none of its business.
 *
 * UDP checksums of requests are not looked at: a frame that a guest on this host handed over for checksum offload
 * reaches a packet socket before anybody has computed one.
 */

import { READABLE } from "../../engine/boundary.ts";
import { type DhcpConfig, defaultEngineConfig } from "../../engine/config.ts";
import { GUESTS_MAX, RX_BATCH_MAX } from "../../engine/limits.ts";
import { Egress } from "../../engine/link/egress.ts";
import { Neighbours } from "../../engine/link/neighbours.ts";
import { Arena } from "../../engine/memory/arena.ts";
import { FrameBatch } from "../../engine/memory/frame-batch.ts";
import { Scratch } from "../../engine/memory/scratch.ts";
import { Counters } from "../../engine/metrics/counters.ts";
import { Sources } from "../../engine/network/sources.ts";
import { DhcpService } from "../../engine/service/dhcp-service.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, etherType } from "../../engine/wire/ethernet.ts";
import {
  checkIpv4,
  fragmentBits,
  headerLength,
  PROTOCOL_UDP,
  protocol,
  totalLength,
} from "../../engine/wire/ipv4.ts";
import {
  checkUdp,
  DHCP_SERVER_PORT,
  destinationPort,
  length,
  UDP_HEADER_OCTETS,
} from "../../engine/wire/udp.ts";
import { QemuDatagramLink } from "../../host/link/qemu-dgram.ts";
import { native } from "../../host/native/native.ts";
import { partitionDescriptors } from "../../host/native/shim-tables.ts";
import { describeErrno } from "../../host/start-error.ts";

const EVENTS_PER_WAIT = 8;

/** What a responder is started with. */
export interface ResponderOptions {
  /** The bridge. */
  readonly device: string;
  /** MAC the answers come from. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly dhcp: DhcpConfig;
  /** The device is gone, or broke: a sentence. Called once. */
  readonly ended: (reason: string) => void;
}

/** Answers DHCP on a device until closed. */
export class DhcpResponder {
  readonly counters = new Counters();
  private readonly arena = new Arena();
  private readonly descriptors = partitionDescriptors(this.arena);
  private readonly batch = new FrameBatch(RX_BATCH_MAX);
  private readonly link: QemuDatagramLink;
  private readonly egress: Egress;
  private readonly service: DhcpService;
  private open = true;

  /** Opens the packet socket (needs CAP_NET_RAW) and starts answering. Throws an Error with a sentence. */
  constructor(private readonly options: ResponderOptions) {
    native.registerArena(this.arena.buffer);
    const fd = native.packetSocket(options.device);
    if (fd < 0) throw new Error(`packet socket on ${options.device}: ${describeErrno(fd)}`);
    this.link = new QemuDatagramLink(fd, `DHCP on ${options.device}`, {
      arena: this.arena,
      descriptors: this.descriptors,
      counters: this.counters,
      mtu: options.mtu,
      pushesBack: false,
      paired: true,
    });
    const neighbours = new Neighbours();
    const gatewayMac = options.mac;
    this.egress = new Egress(this.arena, neighbours, gatewayMac, this.counters);
    this.egress.attach(this.link);
    const config = {
      ...defaultEngineConfig(),
      gatewayMac,
      gateway: options.dhcp.serverAddress,
      dhcp: options.dhcp,
    };
    this.service = new DhcpService({
      config,
      arena: this.arena,
      egress: this.egress,
      scratch: new Scratch(this.arena.scratchAt, this.egress.queue),
      counters: this.counters,
      checksum: { sum: native.checksum },
      neighbours,
      sources: new Sources(options.dhcp.rangeStart, GUESTS_MAX),
    });
    const epoll = native.epollOpen(() => this.drain());
    const added = epoll < 0 ? epoll : native.epollAdd(fd, READABLE, 0);
    if (added < 0) throw new Error(`epoll: ${describeErrno(added)}`);
  }

  private drain(): void {
    if (!this.open) return;
    native.epollWait(this.descriptors.eventsAt, EVENTS_PER_WAIT, 0);
    const count = this.link.receive(this.batch);
    for (let i = 0; i < count; i++) {
      this.counters.drop(this.frame(this.batch.at[i] as number, this.batch.length[i] as number));
    }
    this.egress.flush();
    if (this.link.failure !== "") this.end(this.link.failure);
  }

  /** Returns a drop reason; 0 for what was answered and for what is not ours. */
  private frame(at: number, octets: number): number {
    const view = this.arena.view;
    if (octets < ETHERNET_HEADER_OCTETS || etherType(view, at) !== ETHERTYPE_IPV4) return 0;
    const ipAt = at + ETHERNET_HEADER_OCTETS;
    const available = octets - ETHERNET_HEADER_OCTETS;
    if (checkIpv4(view, ipAt, available) !== 0 || protocol(view, ipAt) !== PROTOCOL_UDP) return 0;
    if (fragmentBits(view, ipAt) !== 0) return 0;
    const header = headerLength(view, ipAt);
    const udpAt = ipAt + header;
    if (checkUdp(view, udpAt, totalLength(view, ipAt) - header) !== 0) return 0;
    if (destinationPort(view, udpAt) !== DHCP_SERVER_PORT) return 0;
    this.service.poll(performance.now());
    return this.service.message(udpAt + UDP_HEADER_OCTETS, length(view, udpAt) - UDP_HEADER_OCTETS);
  }

  private end(reason: string): void {
    this.close();
    this.options.ended(reason);
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    native.epollClose();
    this.link.close();
  }
}
