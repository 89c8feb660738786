/**
 * Names shown by QUIC. Datagrams to a remote that has to be shown one are looked at as long as they have long headers; who sees
 * them can open the client's Initial packets, and in these is the ClientHello.
 *
 *   guest's Initial packets -> opened, put together, kept -> the name is allowed: all leave in their order, and short headers go
 *                                                           it is not, or none came: nothing leaves; the guest hears nothing
 *
 * What can be read in more than one way is not let through: a packet that opens with the keys of two connections or with
 * two numbers, octets that were said before and otherwise, packets for two connections in a datagram. So it is never
 * another ClientHello that the server reads. One that follows the first (RFC 8446 section 4.1.4) is judged as well.
 *
 * Bounded: a handshake in its octets and datagrams, and all in number; of those the one that is done, or has been here
 * longest, gives way.
 */
import { QUIC_KEYS_OCTETS, type QuicKeys } from "../../boundary.ts";
import {
  QUIC_CRYPTO_OCTETS,
  QUIC_FLOWS_MAX,
  QUIC_HANDSHAKES_MAX,
  QUIC_HANDSHAKES_PER_FLOW,
  QUIC_HELD_OCTETS,
} from "../../limits.ts";
import type { Packet } from "../../memory/packet.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import type { Policy } from "../../policy/policy.ts";
import { OVER_QUIC } from "../../policy/targets.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import { type DatagramChecks, datagramOctets, type WayOut } from "../../transport/udp/checks.ts";
import { ClientHello, NO_SERVER_NAME } from "../../wire/client-hello.ts";
import {
  CRYPTO_FRAME,
  hasLongHeader,
  INITIAL,
  InitialFrames,
  LongHeader,
  NO_MORE_FRAMES,
  QUIC_OTHER_VERSION,
  QUIC_READ,
} from "../../wire/quic.ts";
import { QuicFlows } from "./quic-flows.ts";
import { NO_QUIC_FLOW, NOT_A_HELLO, QuicHandshake } from "./quic-handshake.ts";
import { QuicOpener } from "./quic-opener.ts";

/** How long the rest of a ClientHello may take to come. */
const NAME_MS = 10_000;

/** What becomes of a datagram, where it is no drop reason. */
const PASS = 0;
const HELD = -1;

const MISSING = dropReason("policy-name-missing");
const MALFORMED = dropReason("policy-name-malformed");
const ECH = dropReason("policy-ech");
const FULL = dropReason("policy-peek-full");
const VERSION = dropReason("policy-quic-version");

export class QuicNames implements DatagramChecks {
  private readonly flows = new QuicFlows();
  /** Made when they are needed first. */
  private readonly handshakes: QuicHandshake[] = [];
  private readonly opener: QuicOpener;
  private readonly header = new LongHeader();
  private readonly frames = new InitialFrames();
  private readonly hello = new ClientHello();
  private readonly message = new Uint8Array(QUIC_CRYPTO_OCTETS);
  private readonly keys = new Uint8Array(QUIC_KEYS_OCTETS);
  private readonly words = new Int32Array(4);
  // The datagram in hand: its flow, the handshake it belongs to, when it came and where it goes.
  private flow = NO_QUIC_FLOW;
  private handshake: QuicHandshake | null = null;
  private nowMs = 0;
  private port = 0;

  /** `scratchAt`: room in the arena for a datagram that was kept. */
  constructor(
    private readonly ctx: TcpContext,
    private readonly policy: Policy,
    private readonly scratchAt: number,
    keys: QuicKeys,
  ) {
    this.opener = new QuicOpener(keys);
  }

  // --- datagrams ---------------------------------------------------------------------------------------------------

  datagram(packet: Packet, way: WayOut): number {
    this.flow = this.flows.find(packet, this.policy.uptimeMs());
    this.nowMs = packet.nowMs;
    this.port = packet.remotePort;
    const { payloadAt, payloadOctets, segmentSize } = packet;
    const size = datagramOctets(packet);
    let result = HANDLED;
    let sent = 0;
    do {
      if (result !== HANDLED) this.ctx.counters.drop(result);
      packet.segmentSize = 0;
      packet.payloadAt = payloadAt + sent;
      packet.payloadOctets = Math.min(size, payloadOctets - sent);
      result = this.one(packet, way);
      sent += size;
    } while (sent < payloadOctets);
    packet.payloadAt = payloadAt;
    packet.payloadOctets = payloadOctets;
    packet.segmentSize = segmentSize;
    return result;
  }

  private one(packet: Packet, way: WayOut): number {
    const { payloadAt, payloadOctets } = packet;
    const result = this.look(payloadAt, payloadOctets);
    if (result === HELD) return HANDLED;
    if (result !== PASS) return result;
    if (this.handshake !== null && this.handshake.heldCount > 0) this.release(this.handshake, packet, way);
    packet.payloadAt = payloadAt;
    packet.payloadOctets = payloadOctets;
    return way.pass(packet);
  }

  /** Sends what was kept, in its order. */
  private release(handshake: QuicHandshake, packet: Packet, way: WayOut): void {
    const { octets } = this.ctx.arena;
    packet.payloadAt = this.scratchAt;
    let at = 0;
    for (let i = 0; i < handshake.heldCount; i++) {
      const length = handshake.heldLengths[i];
      for (let n = 0; n < length; n++) octets[this.scratchAt + n] = handshake.held[at + n];
      at += length;
      packet.payloadOctets = length;
      const result = way.pass(packet);
      if (result !== HANDLED) this.ctx.counters.drop(result);
      way.endOfBatch();
    }
    handshake.forgetHeld();
  }

  /** What becomes of the datagram at `at`. */
  private look(at: number, octets: number): number {
    const { arena } = this.ctx;
    this.handshake = null;
    if (octets === 0 || !hasLongHeader(arena.octets[at])) return this.isOpen ? PASS : this.refuse(MISSING);
    const reason = this.walk(at, at + octets);
    if (reason !== HANDLED) return reason;
    const handshake = this.handshake as QuicHandshake | null;
    if (handshake === null) return this.isOpen ? PASS : this.refuse(MISSING);
    if (!handshake.isWaiting) return PASS;
    if (handshake.hold(arena.octets, at, octets)) return HELD;
    return this.give(handshake, MISSING);
  }

  private get isOpen(): boolean {
    return this.flow !== NO_QUIC_FLOW && this.flows.isOpen(this.flow);
  }

  /** Looks at each packet of a datagram up to `end`, whose handshake is noted. Returns HANDLED or a drop reason. */
  private walk(at: number, end: number): number {
    const { header } = this;
    const { octets } = this.ctx.arena;
    const firstIdAt = at + 6;
    let idOctets = -1;
    // A packet with a short header, or filling, takes the rest.
    for (let packetAt = at; packetAt < end && hasLongHeader(octets[packetAt]); packetAt = header.end) {
      const read = header.read(octets, packetAt, end);
      if (read !== QUIC_READ) return this.refuse(read === QUIC_OTHER_VERSION ? VERSION : MALFORMED);
      if (idOctets < 0) idOctets = header.idOctets;
      // A client puts no packets for two connections together (RFC 9000 section 12.2).
      if (!isSame(octets, firstIdAt, idOctets, header.idAt, header.idOctets)) return this.refuse(MALFORMED);
      if (header.type === INITIAL) {
        const reason = end - at > QUIC_HELD_OCTETS ? this.refuse(MALFORMED) : this.initial(octets, packetAt);
        if (reason !== HANDLED) return reason;
      } else if (this.handshake === null)
        this.handshake = this.known(octets.subarray(header.idAt, header.idAt + header.idOctets));
    }
    return HANDLED;
  }

  /** The handshake of the flow in hand that began with this connection id, or null. */
  private known(id: Uint8Array): QuicHandshake | null {
    if (this.flow === NO_QUIC_FLOW) return null;
    for (const handshake of this.handshakes) if (handshake.isOf(this.flow, id)) return handshake;
    return null;
  }

  // --- Initial packets ---------------------------------------------------------------------------------------------

  /**
   * An Initial packet: the first of a handshake, whose keys come from its own connection id, or a later one of those there
   * are. Which of them, only the keys tell.
   */
  private initial(octets: Uint8Array, at: number): number {
    const { header, opener, keys } = this;
    const id = octets.subarray(header.idAt, header.idAt + header.idOctets);
    let found: QuicHandshake | null = null;
    let isKnown = false;
    let ways = 0;
    if (this.flow !== NO_QUIC_FLOW) {
      for (const each of this.handshakes) {
        if (each.flow !== this.flow) continue;
        isKnown ||= each.isOf(this.flow, id);
        const opened = opener.open(each.keysOf(header.version, opener), octets, at, header, each.largest);
        if (opened > 0) found = each;
        ways += opened;
      }
    }
    if (!isKnown) {
      opener.derive(header.version, id, keys);
      ways += opener.open(keys, octets, at, header, -1);
    }
    if (ways !== 1) return this.refuse(MALFORMED);
    const handshake = found ?? this.begin(id);
    // Of two handshakes only one would be waited for.
    if (this.handshake !== null && this.handshake !== handshake) return this.give(handshake, MALFORMED);
    this.handshake = handshake;
    return this.opened(handshake);
  }

  /** A handshake of the flow in hand begins, which has a place from now on. */
  private begin(id: Uint8Array): QuicHandshake {
    const { flows } = this;
    if (this.flow === NO_QUIC_FLOW) {
      this.flow = flows.placeForOne();
      for (const each of this.handshakes) if (each.flow === this.flow) this.giveWay(each);
      flows.take(this.flow, this.policy.uptimeMs());
    }
    const handshake = this.placeForOne();
    handshake.begin(this.flow, id, this.nowMs);
    return handshake;
  }

  private placeForOne(): QuicHandshake {
    const ofFlow = this.handshakes.filter(({ flow }) => flow === this.flow);
    const free = this.handshakes.find(({ flow }) => flow === NO_QUIC_FLOW);
    const isFlowFull = ofFlow.length >= QUIC_HANDSHAKES_PER_FLOW;
    if (!isFlowFull && free !== undefined) return free;
    if (!isFlowFull && this.handshakes.length < QUIC_HANDSHAKES_MAX) {
      const made = new QuicHandshake();
      this.handshakes.push(made);
      return made;
    }
    const place = (isFlowFull ? ofFlow : this.handshakes).reduce((first, each) => {
      if (first.isWaiting !== each.isWaiting) return first.isWaiting ? each : first;
      return ((each.since - first.since) | 0) < 0 ? each : first;
    });
    this.giveWay(place);
    return place;
  }

  /** Another takes the place of this one. */
  private giveWay(handshake: QuicHandshake): void {
    if (handshake.isWaiting) this.count(handshake, FULL);
    handshake.flow = NO_QUIC_FLOW;
  }

  /** What the packet that was opened says. Returns HANDLED or a drop reason. */
  private opened(handshake: QuicHandshake): number {
    const { frames, opener } = this;
    handshake.largest = Math.max(handshake.largest, opener.number);
    const wasWaiting = handshake.isWaiting;
    frames.begin(opener.plain, opener.length);
    let frame = frames.next();
    for (; frame === CRYPTO_FRAME; frame = frames.next()) {
      if (!handshake.take(frames.offset, opener.plain, frames.dataAt, frames.length))
        return this.give(handshake, MALFORMED);
    }
    if (frame !== NO_MORE_FRAMES || opener.length === 0) return this.give(handshake, MALFORMED);
    if (!wasWaiting && handshake.isWaiting) handshake.since = this.nowMs;
    return this.judge(handshake);
  }

  /** Judges the ClientHellos that are there. */
  private judge(handshake: QuicHandshake): number {
    while (handshake.isWaiting) {
      const length = handshake.messageOctets();
      if (length === NOT_A_HELLO) return this.give(handshake, MALFORMED);
      if (length === 0) return HANDLED;
      const { judged } = handshake;
      this.message.set(handshake.stream.subarray(judged, judged + length));
      const reason = this.judgeHello(length, judged === 0);
      if (reason !== HANDLED) {
        handshake.flow = NO_QUIC_FLOW;
        return reason;
      }
      handshake.judged = judged + length;
    }
    return HANDLED;
  }

  /** The ClientHello in `message`. Returns HANDLED or a drop reason. */
  private judgeHello(length: number, isFirst: boolean): number {
    const { hello, message, policy, port, words, flow } = this;
    const read = hello.read(message, length);
    if (read === NO_SERVER_NAME) return this.refuse(MISSING);
    const isNamed = read === 0 && policy.name.readText(message, hello.nameAt, hello.nameOctets);
    if (!isNamed) return this.refuse(MALFORMED);
    if (policy.config.refuseEch && hello.hasEncrypted) return this.refuse(ECH);
    this.flows.remoteOf(flow, words);
    const reason = policy.shown(words, 0, port, null, OVER_QUIC);
    if (reason !== HANDLED) return reason;
    const { limits, rule } = policy;
    const limit = isFirst ? limits.ofRule(rule) : null;
    const limited = limit === null ? HANDLED : limit.admit(false, policy.uptimeMs());
    if (limited !== HANDLED) {
      policy.refusedFlow(words, port, OVER_QUIC, limited, rule);
      return limited;
    }
    policy.counts.allow(rule);
    this.flows.setName(flow, policy.name);
    policy.remotes.setRule(words, 0, port, rule);
    return HANDLED;
  }

  // --- refusals ----------------------------------------------------------------------------------------------------

  /** Notes, and returns, why the datagram in hand is refused, no name that could be judged being known. */
  private refuse(reason: number): number {
    const { policy, words, flows } = this;
    for (let word = 0; word < 4; word++) words[word] = flows.pair[4 + word];
    policy.name.labels = 0;
    policy.refusedFlow(words, this.port, OVER_QUIC, reason);
    return reason;
  }

  /** The same, and the handshake ends. */
  private give(handshake: QuicHandshake, reason: number): number {
    handshake.flow = NO_QUIC_FLOW;
    return this.refuse(reason);
  }

  /** Counts and notes a handshake that ends without having shown a name. */
  private count(handshake: QuicHandshake, reason: number): void {
    const { policy, words } = this;
    const port = this.flows.remoteOf(handshake.flow, words);
    policy.name.labels = 0;
    policy.refusedFlow(words, port, OVER_QUIC, reason);
    this.ctx.counters.drop(reason);
  }

  // --- a step of the turn ------------------------------------------------------------------------------------------

  /** Ends what has waited for long enough. */
  work(nowMs: number): void {
    for (const handshake of this.handshakes) {
      if (handshake.flow === NO_QUIC_FLOW || !handshake.isWaiting) continue;
      if (((nowMs - handshake.since) | 0) < NAME_MS) continue;
      this.count(handshake, MISSING);
      handshake.flow = NO_QUIC_FLOW;
    }
  }

  /** Milliseconds from `nowMs` until `work` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    let soonest = -1;
    for (const handshake of this.handshakes) {
      if (handshake.flow === NO_QUIC_FLOW || !handshake.isWaiting) continue;
      const left = Math.max(0, (handshake.since + NAME_MS - nowMs) | 0);
      if (soonest < 0 || left < soonest) soonest = left;
    }
    return soonest;
  }

  // --- another policy ----------------------------------------------------------------------------------------------

  /** Every open flow is judged again by the name it has shown. */
  review(): void {
    const { flows, policy, words } = this;
    for (let flow = 0; flow < QUIC_FLOWS_MAX; flow++) {
      if (!flows.isOpen(flow)) continue;
      flows.readName(flow, policy.name);
      const port = flows.remoteOf(flow, words);
      if (policy.holds(words, 0, port, OVER_QUIC, true)) continue;
      flows.forgetName(flow);
      for (const handshake of this.handshakes) if (handshake.flow === flow) handshake.flow = NO_QUIC_FLOW;
    }
  }

  /** Whether a flow to this remote has shown a name that is allowed. */
  leadsTo(words: Int32Array, port: number): boolean {
    return this.flows.someLeadsTo(words, port);
  }
}

function isSame(octets: Uint8Array, a: number, aOctets: number, b: number, bOctets: number): boolean {
  if (aOctets !== bOctets) return false;
  for (let i = 0; i < aOctets; i++) if (octets[a + i] !== octets[b + i]) return false;
  return true;
}
