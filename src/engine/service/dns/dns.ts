/** DNS of the guest's network, over UDP and TCP: what the engine knows of it. */
import type { HostNetwork, UdpBatch } from "../../boundary.ts";
import type { EngineConfig, ResolverAddress } from "../../config.ts";
import { DNS_REGION_OCTETS, DNS_SCRATCH_OCTETS } from "../../limits.ts";
import type { Arena } from "../../memory/arena.ts";
import type { Packet } from "../../memory/packet.ts";
import type { Counters } from "../../metrics/counters.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import type { Destinations } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import type { QuestionJudge } from "../../network/judge.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import type { UdpService } from "../../transport/udp/input.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import { DnsForwarder, type DnsForwarderOptions } from "./forwarder.ts";
import { QUESTIONS_MAX } from "./questions.ts";
import { DnsStreams } from "./streams.ts";

const TO_RESOLVER = dropReason("policy-resolver");

export interface DnsParts {
  readonly arena: Arena;
  readonly config: EngineConfig;
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
  readonly network: HostNetwork;
  /** Where answers are received; shared with other users of `udpReceive`. */
  readonly batch: UdpBatch;
  readonly counters: Counters;
  readonly tcp: TcpContext;
  /** Token of the first socket; the others follow it. */
  readonly token: number;
  readonly random: () => number;
  readonly reply: DnsForwarderOptions["reply"];
  /** Which questions leave; null: all. */
  readonly policy: QuestionJudge | null;
}

export class Dns implements UdpService {
  private readonly forwarder: DnsForwarder;
  private readonly streams: DnsStreams;
  /** Sockets that have something, each once, in the order in which they told. */
  private readonly ready = new Int32Array(QUESTIONS_MAX);
  private readonly isReady = new Uint8Array(QUESTIONS_MAX);
  private readyCount = 0;

  constructor(private readonly parts: DnsParts) {
    const { arena, config, tcp } = parts;
    this.forwarder = new DnsForwarder({
      octets: arena.octets,
      view: arena.view,
      network: parts.network,
      batch: parts.batch,
      counters: parts.counters,
      token: parts.token,
      random: parts.random,
      regionAt: arena.dnsAt,
      resolvers: config.resolvers,
      hostNames: config.dnsHostNames,
      hostAddress: config.gateway,
      dnsAddress: config.dns,
      dnsAddress6: config.ipv6?.dns ?? null,
      restrict: config.restrict,
      policy: parts.policy,
      reply: parts.reply,
      replyStream: (stream, at, length) => this.streams.reply(stream, at, length),
      streamHasRoom: (stream) => this.streams.hasRoom(stream),
      streamEnds: (stream) => this.streams.ends(stream),
      ledger: tcp.ledger,
      endStream: (stream) => this.streams.end(stream),
    });
    // Answers of the forwarder's own are made at the other end of the scratch octets.
    const scratchAt = arena.dnsAt + DNS_REGION_OCTETS - DNS_SCRATCH_OCTETS;
    this.streams = new DnsStreams(tcp, this.forwarder, scratchAt);
    tcp.local = this.streams;
  }

  /** Questions under way. */
  get inUse(): number {
    return this.forwarder.inUse;
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.forwarder.setResolvers(resolvers);
  }

  /** Has a question of our own asked; see `DnsForwarder.ask`. */
  ask(message: Uint8Array, nowMs: number): void {
    this.forwarder.ask(message, nowMs);
  }

  set ownAnswer(listener: (at: number, length: number) => void) {
    this.forwarder.ownAnswer = listener;
  }

  /** A query over UDP to the DNS address. */
  datagram(packet: Packet): number {
    return this.forwarder.query(packet, packet.payloadAt, packet.payloadOctets, packet.nowMs);
  }

  /**
   * A datagram to port 53 elsewhere was dropped for `reason`: where that was a denial, a query is refused; where all of DNS
   * is ours, it is answered like any other. Returns what is to be counted.
   */
  dropped(packet: Packet, reason: number): number {
    const { destinations, destinations6 } = this.parts;
    if (reason === TO_RESOLVER) {
      return this.forwarder.queryInStead(packet, packet.payloadAt, packet.payloadOctets, packet.nowMs);
    }
    const isDenied =
      packet.ipOctets === IPV4_HEADER_OCTETS
        ? destinations.isDenied(packet.remoteAddress, reason)
        : destinations6?.isDenied(packet, reason) === true;
    if (isDenied) this.forwarder.refuse(packet, packet.payloadAt, packet.payloadOctets);
    return reason;
  }

  /** Readiness of the socket with token `token + index`. */
  hostEvent(index: number): void {
    if (index >= QUESTIONS_MAX || this.isReady[index] !== 0) return;
    this.isReady[index] = 1;
    this.ready[this.readyCount++] = index;
  }

  /** Answers, what is due, and queries over TCP. */
  work(nowMs: number): void {
    for (let i = 0; i < this.readyCount; i++) {
      this.isReady[this.ready[i]] = 0;
      this.forwarder.handleEvent(this.ready[i], nowMs);
    }
    this.readyCount = 0;
    this.forwarder.poll(nowMs);
    this.streams.work(nowMs);
  }

  /** Milliseconds from `nowMs` until `work` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    const forwarder = this.forwarder.nextDeadlineMs(nowMs);
    const streams = this.streams.nextDeadlineMs(nowMs);
    if (forwarder < 0) return streams;
    return streams < 0 ? forwarder : Math.min(forwarder, streams);
  }

  close(): void {
    this.forwarder.close();
  }
}
