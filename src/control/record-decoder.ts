/**
 * Records of the engine (engine/wire/record.ts) out of the octets that come. The engine is the less trusted side, so each one
 * is checked for its length, ranges and alphabet; the first that is not right is a RecordError, and there is nothing behind it.
 */
import { getSystemErrorName } from "node:util";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import { FLOW_END_REASONS, FLOW_ENDED_BY } from "../engine/metrics/flow-end.ts";
import { STATE_NAMES } from "../engine/transport/tcp/connection.ts";
import { formatAddress } from "../engine/wire/address-text.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../engine/wire/ipv4.ts";
import { nameText } from "../engine/wire/name-text.ts";
import * as layout from "../engine/wire/record.ts";
import { rcodeName, typeName } from "./dns-text.ts";
import { endsOfFrame } from "./frame-ends.ts";
import type {
  DnsQuestion,
  Dropped,
  Endpoint,
  FlowEnded,
  FlowEnds,
  FlowOpened,
  RecordsLost,
} from "./records.ts";

/** The engine wrote what is no record. */
export class RecordError extends Error {
  override readonly name = "RecordError";
}

/** A row of the flow table. */
export interface FlowRecord extends FlowEnds {
  /** In the flow table: later rows have later ones. */
  readonly place: number;
  readonly state: string;
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  readonly ageMs: number;
  readonly idleMs: number;
}

export interface RecordListener {
  record(record: FlowOpened | FlowEnded | Dropped | DnsQuestion | RecordsLost): void;
  /** `row` is the decoder's own: it is another one when this returns. */
  row(call: number, row: FlowRecord): void;
  /** `next` is the place where to go on, 0 when that was all. */
  rowsEnd(call: number, next: number): void;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type Side = "guest" | "remote" | "target";
type Scratch = Writable<Omit<FlowRecord, Side>> & { readonly [K in Side]: Writable<Endpoint> };

const nowhere = (): Endpoint => ({ address: "", port: 0 });
const copied = ({ address, port }: Endpoint): Endpoint => ({ address, port });

/** Of records that have one length, by type. */
const LENGTHS: readonly (number | undefined)[] = Object.assign([], {
  [layout.RECORD_FLOW_OPENED]: layout.FLOW_OPENED_OCTETS,
  [layout.RECORD_FLOW_ENDED]: layout.FLOW_ENDED_OCTETS,
  [layout.RECORD_LOST]: layout.LOST_OCTETS,
  [layout.RECORD_CLOCK]: layout.CLOCK_OCTETS,
  [layout.RECORD_ROW]: layout.ROW_OCTETS,
  [layout.RECORD_ROWS_END]: layout.ROWS_END_OCTETS,
});
/** Of an address, as the engine has it. */
const WORDS = 4;
const NOTHING = Buffer.alloc(0);
const ERRNO_MIN = -4095;
/** What Date can tell, less the longest duration a record has. */
const TIME_MS_MAX = 8.63e15;

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new RecordError(`a record whose ${what} is none`);
}

export class RecordDecoder {
  private pending = Buffer.alloc(0);
  private view: DataView = new DataView(new ArrayBuffer(0));
  /** Where the record begins in `view`. */
  private from = 0;
  /** The wall clock at uptime 0. */
  private epochMs: number;
  /** Of the record at hand: rows come by the ten thousand, and most are gone at once. */
  private readonly flow: Scratch = {
    flow: 0,
    protocol: "tcp",
    direction: "out",
    guest: nowhere(),
    remote: nowhere(),
    target: nowhere(),
    forward: null,
    place: 0,
    state: "",
    octetsFromGuest: 0,
    octetsToGuest: 0,
    ageMs: 0,
    idleMs: 0,
  };
  /** Addresses as the record before had them, of which a text was made: guest, remote, target. */
  private readonly words = new Int32Array(3 * WORDS);

  /** `wallMs` is what the clock said when the engine's uptime was `uptimeMs`. */
  constructor(
    private readonly listener: RecordListener,
    wallMs: number,
    uptimeMs: number,
  ) {
    this.epochMs = wallMs - uptimeMs;
    const { guest, remote, target } = this.flow;
    guest.address = remote.address = target.address = formatAddress(this.words);
  }

  /** Takes octets as they come. Throws RecordError. */
  push(chunk: Buffer): void {
    const all = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    this.view = new DataView(all.buffer, all.byteOffset, all.length);
    let at = 0;
    while (all.length - at >= 4) {
      const length = this.view.getUint16(at);
      check(length >= 4 && length % 4 === 0 && length <= layout.RECORD_OCTETS_MAX, "length");
      if (all.length - at < length) break;
      this.from = at;
      this.one(length);
      at += length;
    }
    this.pending = at === all.length ? NOTHING : Buffer.from(all.subarray(at));
  }

  private one(length: number): void {
    const type = this.view.getUint8(this.from + layout.RECORD_TYPE);
    if (type === layout.RECORD_PAD) return;
    const expected = LENGTHS[type];
    check(
      length >= (expected ?? layout.DNS_ADDRESSES) && (expected === undefined || length === expected),
      "length",
    );
    switch (type) {
      case layout.RECORD_FLOW_OPENED:
        this.listener.record(this.flowOpened());
        return;
      case layout.RECORD_FLOW_ENDED:
        this.listener.record(this.flowEnded());
        return;
      case layout.RECORD_DROP:
        this.listener.record(this.dropped(length));
        return;
      case layout.RECORD_DNS:
        this.listener.record(this.dns(length));
        return;
      case layout.RECORD_LOST: {
        const count = this.uint32(layout.LOST_COUNT);
        this.listener.record({ type: "records-lost", atMs: this.time(layout.RECORD_AT), count });
        return;
      }
      case layout.RECORD_CLOCK:
        this.clock();
        return;
      case layout.RECORD_ROW:
        this.row();
        this.listener.row(this.uint32(layout.ROW_CALL), this.flow);
        return;
      case layout.RECORD_ROWS_END:
        this.listener.rowsEnd(this.uint32(layout.ROWS_END_CALL), this.count(layout.ROWS_END_NEXT));
        return;
      default:
        check(false, "type");
    }
  }

  // --- fields ------------------------------------------------------------------------------------------------------

  private uint8(at: number): number {
    return this.view.getUint8(this.from + at);
  }

  private uint16(at: number): number {
    return this.view.getUint16(this.from + at);
  }

  private uint32(at: number): number {
    return this.view.getUint32(this.from + at);
  }

  private int32(at: number): number {
    return this.view.getInt32(this.from + at);
  }

  /** `length` octets, which are the chunk's. */
  private octets(at: number, length: number): Uint8Array {
    return new Uint8Array(this.view.buffer, this.view.byteOffset + this.from + at, length);
  }

  private count(at: number): number {
    const value = this.view.getFloat64(this.from + at);
    check(Number.isSafeInteger(value) && value >= 0, "count");
    return value;
  }

  private uptime(at: number): number {
    const value = this.view.getFloat64(this.from + at);
    check(value >= 0 && value <= Number.MAX_SAFE_INTEGER, "time");
    return value;
  }

  private time(at: number): number {
    const ms = Math.round(this.epochMs + this.uptime(at));
    check(Math.abs(ms) <= TIME_MS_MAX, "time");
    return ms;
  }

  private clock(): void {
    const wallMs = this.view.getFloat64(this.from + layout.CLOCK_WALL_MS);
    check(wallMs >= 0 && wallMs <= TIME_MS_MAX, "time");
    this.epochMs = wallMs - this.uptime(layout.RECORD_AT);
  }

  private address(at: number): string {
    return formatAddress([this.int32(at), this.int32(at + 4), this.int32(at + 8), this.int32(at + 12)]);
  }

  private endpoint(addressAt: number, portAt: number): Endpoint {
    return { address: this.address(addressAt), port: this.uint16(portAt) };
  }

  // --- flows -------------------------------------------------------------------------------------------------------

  /** Takes an end of the flow at hand. Text is made of an address only where the record before had another one. */
  private end(end: Writable<Endpoint>, index: number, addressAt: number, portAt: number): void {
    end.port = this.uint16(portAt);
    const { words } = this;
    let isSame = true;
    for (let i = 0; i < WORDS; i++) {
      const word = this.int32(addressAt + 4 * i);
      if (word === words[index + i]) continue;
      words[index + i] = word;
      isSame = false;
    }
    if (!isSame) end.address = formatAddress(words, index);
  }

  /** Takes what there is of any flow. */
  private ends(): void {
    const { flow } = this;
    const protocol = this.uint8(layout.FLOW_PROTOCOL);
    check(protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP, "protocol");
    const inbound = this.uint8(layout.FLOW_INBOUND);
    const forward = this.int32(layout.FLOW_FORWARD);
    check(inbound === (forward > 0 ? 1 : 0) && forward >= 0, "forward");
    flow.flow = this.count(layout.FLOW_SERIAL);
    check(flow.flow > 0, "flow");
    flow.protocol = protocol === PROTOCOL_TCP ? "tcp" : "udp";
    flow.direction = inbound === 0 ? "out" : "in";
    flow.forward = forward === 0 ? null : forward;
    this.end(flow.guest, 0, layout.FLOW_GUEST, layout.FLOW_GUEST_PORT);
    this.end(flow.remote, WORDS, layout.FLOW_REMOTE, layout.FLOW_REMOTE_PORT);
    this.end(flow.target, 2 * WORDS, layout.FLOW_TARGET, layout.FLOW_TARGET_PORT);
  }

  private flowOpened(): FlowOpened {
    this.ends();
    const { flow, protocol, direction, guest, remote, target, forward } = this.flow;
    return {
      type: "flow-opened",
      atMs: this.time(layout.RECORD_AT),
      flow,
      protocol,
      direction,
      guest: copied(guest),
      remote: copied(remote),
      target: copied(target),
      forward,
    };
  }

  private flowEnded(): FlowEnded {
    const reason = FLOW_END_REASONS[this.uint8(layout.ENDED_REASON)];
    const endedBy = FLOW_ENDED_BY[this.uint8(layout.ENDED_BY)];
    check(reason !== undefined && endedBy !== undefined, "end");
    const errno = this.int32(layout.ENDED_ERRNO);
    check(errno <= 0 && errno >= ERRNO_MIN, "errno");
    const connectMs = this.int32(layout.ENDED_CONNECT_MS);
    check(connectMs >= -1, "time");
    this.ends();
    // One literal: one put together of parts costs several times as much, and a busy guest ends thousands a second.
    const { flow, protocol, direction, guest, remote, target, forward } = this.flow;
    return {
      type: "flow-ended",
      atMs: this.time(layout.RECORD_AT),
      startMs: this.time(layout.FLOW_STARTED),
      flow,
      protocol,
      direction,
      guest: copied(guest),
      remote: copied(remote),
      target: copied(target),
      forward,
      octetsFromGuest: this.count(layout.FLOW_OCTETS_FROM_GUEST),
      octetsToGuest: this.count(layout.FLOW_OCTETS_TO_GUEST),
      packetsFromGuest: this.uint32(layout.ENDED_PACKETS_FROM_GUEST),
      packetsToGuest: this.uint32(layout.ENDED_PACKETS_TO_GUEST),
      connectMs: connectMs < 0 ? null : connectMs,
      retransmits: this.uint32(layout.ENDED_RETRANSMITS),
      reason,
      endedBy,
      hostError: errno === 0 ? null : errorName(errno),
    };
  }

  private row(): void {
    const { flow } = this;
    this.ends();
    const state = this.uint8(layout.FLOW_STATE);
    const isUdp = flow.protocol === "udp";
    check(isUdp ? state === 0 : STATE_NAMES[state] !== undefined, "state");
    flow.place = this.uint32(layout.ROW_PLACE);
    flow.state = isUdp ? "MAPPED" : (STATE_NAMES[state] ?? "");
    flow.octetsFromGuest = this.count(layout.FLOW_OCTETS_FROM_GUEST);
    flow.octetsToGuest = this.count(layout.FLOW_OCTETS_TO_GUEST);
    flow.ageMs = Math.max(0, Math.round(this.uptime(layout.RECORD_AT) - this.uptime(layout.FLOW_STARTED)));
    flow.idleMs = this.uint32(layout.ROW_IDLE_MS);
  }

  // --- others ------------------------------------------------------------------------------------------------------

  private dropped(length: number): Dropped {
    check(length >= layout.DROP_SAMPLE, "length");
    const reason = DROP_REASONS[this.uint16(layout.DROP_REASON)];
    const fromHost = this.uint8(layout.DROP_FROM_HOST);
    check(reason !== undefined && reason !== "handled" && fromHost <= 1, "reason");
    const sampleOctets = this.uint16(layout.DROP_SAMPLE_OCTETS);
    check(sampleOctets <= layout.DROP_SAMPLE_MAX, "sample");
    check(length === layout.DROP_SAMPLE + ((sampleOctets + 3) & ~3), "sample");
    const protocol = this.uint8(layout.DROP_PROTOCOL);
    check(protocol === 0 || protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP, "protocol");
    const sample = Uint8Array.from(this.octets(layout.DROP_SAMPLE, sampleOctets));
    const ends =
      protocol === 0
        ? endsOfFrame(sample)
        : {
            protocol: protocol === PROTOCOL_TCP ? ("tcp" as const) : ("udp" as const),
            guest: this.endpoint(layout.DROP_GUEST, layout.DROP_GUEST_PORT),
            remote: this.endpoint(layout.DROP_REMOTE, layout.DROP_REMOTE_PORT),
          };
    return {
      type: "drop",
      atMs: this.time(layout.RECORD_AT),
      reason,
      times: this.uint32(layout.DROP_TIMES),
      from: fromHost === 1 ? "host" : "guest",
      sample,
      length: this.uint32(layout.DROP_LENGTH),
      ...ends,
    };
  }

  private dns(length: number): DnsQuestion {
    const count = this.uint8(layout.DNS_ADDRESS_COUNT);
    const nameOctets = this.uint8(layout.DNS_NAME_OCTETS);
    const nameAt = layout.DNS_ADDRESSES + count * layout.ADDRESS_OCTETS;
    check(count <= layout.DNS_ADDRESSES_MAX && length === ((nameAt + nameOctets + 3) & ~3), "length");
    const answeredBy = layout.ANSWERED_BY[this.uint8(layout.DNS_ANSWERED_BY)];
    const overTcp = this.uint8(layout.DNS_OVER_TCP);
    const rcode = this.view.getInt16(this.from + layout.DNS_RCODE);
    const name = nameText(this.octets(nameAt, nameOctets));
    check(answeredBy !== undefined && overTcp <= 1 && rcode >= -1 && rcode <= 15, "answer");
    check(name !== undefined, "name");
    return {
      type: "dns",
      atMs: this.time(layout.RECORD_AT),
      guest: this.endpoint(layout.DNS_GUEST, layout.DNS_GUEST_PORT),
      transport: overTcp === 1 ? "tcp" : "udp",
      name,
      questionType: typeName(this.uint16(layout.DNS_TYPE)),
      rcode: rcode < 0 ? null : rcodeName(rcode),
      addresses: Array.from({ length: count }, (_, i) =>
        this.address(layout.DNS_ADDRESSES + i * layout.ADDRESS_OCTETS),
      ),
      ttlSeconds: this.uint32(layout.DNS_TTL),
      answeredBy,
      durationMs: this.uint32(layout.DNS_DURATION),
    };
  }
}

function errorName(errno: number): string {
  try {
    return getSystemErrorName(errno);
  } catch {
    return `errno ${-errno}`;
  }
}
