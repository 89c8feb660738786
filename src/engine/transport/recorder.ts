/** Writes records (wire/record.ts) of what somebody asked to hear of. Nothing is allocated. */
import { DROP_RING_OCTETS, RECORD_RING_OCTETS } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import type { Packet } from "../memory/packet.ts";
import { DROP_REASONS } from "../metrics/drop-reasons.ts";
import { endedBy, endReason, FLOW_END_REASONS } from "../metrics/flow-end.ts";
import { IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import { setMapped } from "../wire/mapped-address.ts";
import * as record from "../wire/record.ts";
import type { Ends, Path } from "./path.ts";
import { RecordRing } from "./record-ring.ts";

/** What may be asked for, a bit each. */
export const WANT_OPENED = 1 << 0;
export const WANT_ENDED = 1 << 1;
/** Of ends, those that were failures. */
const WANT_FAILED = 1 << 2;
export const WANT_DROPS = 1 << 3;
export const WANT_DNS = 1 << 4;
/** What is kept for who asks later. */
export const WANT_HISTORY = WANT_FAILED | WANT_DROPS | WANT_DNS;

/** Drops told in one turn; of others the next record of their reason tells how many they were. */
const DROPS_PER_TURN = 16;

const FAILURES = (["host-reset", "refused", "timed-out", "no-resources"] as const).map((name) =>
  FLOW_END_REASONS.indexOf(name),
);

/** What is known of flows, by id (flow-ledger.ts). */
interface Ledger {
  readonly serial: Float64Array;
  readonly startedMs: Float64Array;
  readonly forward: Int32Array;
  readonly connectMs: Int32Array;
  readonly retransmits: Uint32Array;
  readonly uptimeMs: () => number;
}

/** How a flow stands at its end. */
export interface FlowCounts {
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  readonly packetsFromGuest: number;
  readonly packetsToGuest: number;
}

export class Recorder {
  readonly events: RecordRing;
  readonly drops: RecordRing;
  /** WANT_ bits. */
  wanted = WANT_HISTORY;
  /** Hears of each DNS question that has ended, as `dns` does; null while nobody does. */
  answered: ((question: DnsEnd, addresses: Int32Array) => void) | null = null;
  private readonly view: DataView;
  private readonly octets: Uint8Array;
  private readonly untold = new Float64Array(DROP_REASONS.length);
  private toldThisTurn = 0;
  private readonly mapped = new Int32Array(4);

  constructor(
    arena: Arena,
    private readonly ledger: Ledger,
  ) {
    this.view = arena.view;
    this.octets = arena.octets;
    this.events = new RecordRing(arena.view, arena.recordsAt, RECORD_RING_OCTETS);
    this.drops = new RecordRing(arena.view, arena.dropsAt, DROP_RING_OCTETS);
  }

  /** Somebody reads from now on, and wants this. */
  read(wanted: number): void {
    this.wanted = wanted;
    this.events.isRead = true;
    this.drops.isRead = true;
  }

  endTurn(): void {
    this.toldThisTurn = 0;
  }

  /** The host's clock says `wallMs` now. */
  clock(wallMs: number): void {
    const uptimeMs = this.ledger.uptimeMs();
    const at = this.events.reserve(record.CLOCK_OCTETS, uptimeMs);
    if (at < 0) return;
    record.writeRecord(this.view, at, record.RECORD_CLOCK, record.CLOCK_OCTETS, uptimeMs);
    this.view.setFloat64(at + record.CLOCK_WALL_MS, wallMs);
  }

  // --- flows -------------------------------------------------------------------------------------------------------

  /** Flow `id` of `protocol` has begun; `ends` and where its host socket goes. */
  flowOpened(id: number, protocol: number, path: Path): void {
    if ((this.wanted & WANT_OPENED) === 0) return;
    const at = this.begin(record.RECORD_FLOW_OPENED, record.FLOW_OPENED_OCTETS);
    if (at >= 0) this.ends(at, id, protocol, 0, path);
  }

  /** It has ended; `end` says why (metrics/flow-end.ts), `errno` what the host's socket said, 0 nothing. */
  flowEnded(id: number, protocol: number, path: Path, counts: FlowCounts, end: number, errno: number): void {
    const isFailure = FAILURES.includes(endReason(end));
    if ((this.wanted & (isFailure ? WANT_ENDED | WANT_FAILED : WANT_ENDED)) === 0) return;
    const at = this.begin(record.RECORD_FLOW_ENDED, record.FLOW_ENDED_OCTETS);
    if (at < 0) return;
    const { view, ledger } = this;
    this.ends(at, id, protocol, 0, path);
    view.setFloat64(at + record.FLOW_STARTED, ledger.startedMs[id]);
    view.setFloat64(at + record.FLOW_OCTETS_FROM_GUEST, counts.octetsFromGuest);
    view.setFloat64(at + record.FLOW_OCTETS_TO_GUEST, counts.octetsToGuest);
    view.setUint32(at + record.ENDED_PACKETS_FROM_GUEST, counts.packetsFromGuest);
    view.setUint32(at + record.ENDED_PACKETS_TO_GUEST, counts.packetsToGuest);
    view.setInt32(at + record.ENDED_CONNECT_MS, ledger.connectMs[id]);
    view.setUint32(at + record.ENDED_RETRANSMITS, ledger.retransmits[id]);
    view.setUint8(at + record.ENDED_REASON, endReason(end));
    view.setUint8(at + record.ENDED_BY, endedBy(end));
    view.setUint16(at + record.ENDED_BY + 1, 0);
    view.setInt32(at + record.ENDED_ERRNO, errno);
  }

  /** A row of the flow table for call `call`; the caller has seen that there is room. */
  row(call: number, id: number, protocol: number, state: number, path: Path, row: FlowRowCounts): void {
    const at = this.begin(record.RECORD_ROW, record.ROW_OCTETS);
    if (at < 0) return;
    const { view, ledger } = this;
    this.ends(at, id, protocol, state, path);
    view.setFloat64(at + record.FLOW_STARTED, ledger.startedMs[id]);
    view.setFloat64(at + record.FLOW_OCTETS_FROM_GUEST, row.octetsFromGuest);
    view.setFloat64(at + record.FLOW_OCTETS_TO_GUEST, row.octetsToGuest);
    view.setUint32(at + record.ROW_IDLE_MS, row.idleMs);
    view.setUint32(at + record.ROW_CALL, call);
    view.setUint32(at + record.ROW_PLACE, id);
  }

  /** The rows of call `call` are all told; `next` is the place to go on from if there are more, else 0. */
  rowsEnd(call: number, next: number): void {
    const at = this.begin(record.RECORD_ROWS_END, record.ROWS_END_OCTETS);
    if (at < 0) return;
    this.view.setUint32(at + record.ROWS_END_CALL, call);
    this.view.setFloat64(at + record.ROWS_END_NEXT, next);
  }

  // --- drops -------------------------------------------------------------------------------------------------------

  /** A frame of the guest was dropped. */
  dropped(reason: number, { frameAt, frameOctets }: Packet): void {
    const at = this.beginDrop(reason, Math.min(frameOctets, record.DROP_SAMPLE_MAX));
    if (at < 0) return;
    this.view.setUint32(at + record.DROP_LENGTH, frameOctets);
    const sample = Math.min(frameOctets, record.DROP_SAMPLE_MAX);
    this.octets.copyWithin(at + record.DROP_SAMPLE, frameAt, frameAt + sample);
  }

  /** A datagram of the host's, for the guest's end of `ends` from its remote, was dropped. */
  droppedToGuest(reason: number, protocol: number, ends: Ends, octets: number): void {
    const at = this.dropBetween(reason, protocol, ends, octets);
    if (at >= 0) this.view.setUint8(at + record.DROP_FROM_HOST, 1);
  }

  /** The guest's flow between `ends` was denied after its first frame. */
  denied(reason: number, protocol: number, ends: Ends): void {
    this.dropBetween(reason, protocol, ends, 0);
  }

  /** Returns where the record is, or -1. */
  private dropBetween(reason: number, protocol: number, ends: Ends, octets: number): number {
    const at = this.beginDrop(reason, 0);
    if (at < 0) return at;
    const { view } = this;
    view.setUint8(at + record.DROP_PROTOCOL, protocol);
    view.setUint32(at + record.DROP_LENGTH, octets);
    view.setUint16(at + record.DROP_GUEST_PORT, ends.guestPort);
    view.setUint16(at + record.DROP_REMOTE_PORT, ends.remotePort);
    this.guest(at + record.DROP_GUEST, ends);
    this.remote(at + record.DROP_REMOTE, ends);
    return at;
  }

  private beginDrop(reason: number, sample: number): number {
    if ((this.wanted & WANT_DROPS) === 0) return -1;
    this.untold[reason]++;
    if (this.toldThisTurn >= DROPS_PER_TURN) return -1;
    this.toldThisTurn++;
    const length = record.DROP_SAMPLE + ((sample + 3) & ~3);
    const uptimeMs = this.ledger.uptimeMs();
    const at = this.drops.reserve(length, uptimeMs);
    if (at < 0) return -1;
    const { view } = this;
    record.writeRecord(view, at, record.RECORD_DROP, length, uptimeMs);
    view.setUint16(at + record.DROP_REASON, reason);
    view.setUint16(at + record.DROP_FROM_HOST, 0);
    view.setUint32(at + record.DROP_TIMES, Math.min(this.untold[reason], 0xffffffff));
    view.setUint16(at + record.DROP_SAMPLE_OCTETS, sample);
    this.octets.fill(0, at + record.DROP_GUEST_PORT, at + length);
    this.untold[reason] = 0;
    return at;
  }

  // --- DNS ---------------------------------------------------------------------------------------------------------

  get wantsDns(): boolean {
    return (this.wanted & WANT_DNS) !== 0;
  }

  /**
   * A question has ended. Its name is on the wire at `question.nameAt`; `addresses` are those of the answer, four words each.
   */
  dns(question: DnsEnd, addresses: Int32Array): void {
    this.answered?.(question, addresses);
    const count = question.addressCount;
    const nameAt = record.DNS_ADDRESSES + count * record.ADDRESS_OCTETS;
    const length = (nameAt + question.nameOctets + 3) & ~3;
    const at = this.begin(record.RECORD_DNS, length);
    if (at < 0) return;
    const { view } = this;
    view.setUint16(at + record.DNS_GUEST_PORT, question.guestPort);
    view.setUint8(at + record.DNS_OVER_TCP, question.overTcp ? 1 : 0);
    view.setUint8(at + record.DNS_ANSWERED_BY, question.answeredBy);
    view.setUint16(at + record.DNS_TYPE, question.type);
    view.setInt16(at + record.DNS_RCODE, question.rcode);
    view.setUint32(at + record.DNS_TTL, question.ttl);
    view.setUint32(at + record.DNS_DURATION, question.durationMs);
    view.setUint8(at + record.DNS_ADDRESS_COUNT, count);
    view.setUint8(at + record.DNS_NAME_OCTETS, question.nameOctets);
    view.setUint16(at + record.DNS_NAME_OCTETS + 1, 0);
    for (let i = 0; i < 4; i++) view.setInt32(at + record.DNS_GUEST + 4 * i, question.guest[i]);
    for (let i = 0; i < 4 * count; i++) view.setInt32(at + record.DNS_ADDRESSES + 4 * i, addresses[i]);
    this.octets.fill(0, at + nameAt, at + length);
    this.octets.copyWithin(at + nameAt, question.nameAt, question.nameAt + question.nameOctets);
  }

  // --- parts -------------------------------------------------------------------------------------------------------

  private begin(type: number, length: number): number {
    const uptimeMs = this.ledger.uptimeMs();
    const at = this.events.reserve(length, uptimeMs);
    if (at >= 0) record.writeRecord(this.view, at, type, length, uptimeMs);
    return at;
  }

  private ends(at: number, id: number, protocol: number, state: number, path: Path): void {
    const { view, ledger } = this;
    view.setFloat64(at + record.FLOW_SERIAL, ledger.serial[id]);
    view.setUint8(at + record.FLOW_PROTOCOL, protocol);
    view.setUint8(at + record.FLOW_INBOUND, ledger.forward[id] === 0 ? 0 : 1);
    view.setUint16(at + record.FLOW_STATE, state << 8);
    view.setInt32(at + record.FLOW_FORWARD, ledger.forward[id]);
    view.setUint16(at + record.FLOW_GUEST_PORT, path.guestPort);
    view.setUint16(at + record.FLOW_REMOTE_PORT, path.remotePort);
    view.setUint32(at + record.FLOW_TARGET_PORT, path.targetPort << 16);
    this.guest(at + record.FLOW_GUEST, path);
    this.remote(at + record.FLOW_REMOTE, path);
    const { target0, target1, target2, target3 } = path;
    record.writeAddress(view, at + record.FLOW_TARGET, target0, target1, target2, target3);
  }

  private guest(at: number, ends: Ends): void {
    if (ends.ipOctets === IPV4_HEADER_OCTETS) this.ipv4(at, ends.guestAddress);
    else this.words(at, ends.pair, ends.pairAt);
  }

  private remote(at: number, ends: Ends): void {
    if (ends.ipOctets === IPV4_HEADER_OCTETS) this.ipv4(at, ends.remoteAddress);
    else this.words(at, ends.pair, ends.pairAt + 4);
  }

  private ipv4(at: number, address: number): void {
    setMapped(this.mapped, 0, address);
    this.words(at, this.mapped, 0);
  }

  private words(at: number, words: Int32Array, index: number): void {
    record.writeAddress(this.view, at, words[index], words[index + 1], words[index + 2], words[index + 3]);
  }
}

export interface FlowRowCounts {
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  readonly idleMs: number;
}

/** What became of a DNS question. */
export interface DnsEnd {
  /** Four words, IPv4 as v4-mapped. */
  readonly guest: Int32Array;
  readonly guestPort: number;
  readonly overTcp: boolean;
  /** Index in ANSWERED_BY. */
  readonly answeredBy: number;
  readonly type: number;
  /** -1: none. */
  readonly rcode: number;
  readonly ttl: number;
  readonly durationMs: number;
  readonly addressCount: number;
  readonly nameAt: number;
  readonly nameOctets: number;
}
