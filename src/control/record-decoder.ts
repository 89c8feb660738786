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
  row(call: number, row: FlowRecord): void;
  /** `next` is the place where to go on, 0 when that was all. */
  rowsEnd(call: number, next: number): void;
}

const LENGTHS = new Map([
  [layout.RECORD_FLOW_OPENED, layout.FLOW_OPENED_OCTETS],
  [layout.RECORD_FLOW_ENDED, layout.FLOW_ENDED_OCTETS],
  [layout.RECORD_LOST, layout.LOST_OCTETS],
  [layout.RECORD_CLOCK, layout.CLOCK_OCTETS],
  [layout.RECORD_ROW, layout.ROW_OCTETS],
  [layout.RECORD_ROWS_END, layout.ROWS_END_OCTETS],
]);
const ERRNO_MIN = -4095;
/** What Date can tell, less the longest duration a record has. */
const TIME_MS_MAX = 8.63e15;

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new RecordError(`a record whose ${what} is none`);
}

export class RecordDecoder {
  private pending = Buffer.alloc(0);
  private view: DataView = new DataView(new ArrayBuffer(0));
  private octets: Uint8Array = new Uint8Array(0);
  /** The wall clock at uptime 0. */
  private epochMs: number;

  /** `wallMs` is what the clock said when the engine's uptime was `uptimeMs`. */
  constructor(
    private readonly listener: RecordListener,
    wallMs: number,
    uptimeMs: number,
  ) {
    this.epochMs = wallMs - uptimeMs;
  }

  /** Takes octets as they come. Throws RecordError. */
  push(chunk: Buffer): void {
    const all = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    let at = 0;
    while (all.length - at >= 4) {
      const length = all.readUInt16BE(at);
      check(length >= 4 && length % 4 === 0 && length <= layout.RECORD_OCTETS_MAX, "length");
      if (all.length - at < length) break;
      this.one(all.subarray(at, at + length));
      at += length;
    }
    this.pending = Buffer.from(all.subarray(at));
  }

  private one(octets: Buffer): void {
    const type = octets.readUInt8(layout.RECORD_TYPE);
    if (type === layout.RECORD_PAD) return;
    const expected = LENGTHS.get(type);
    const least = expected ?? layout.DNS_ADDRESSES;
    check(octets.length >= least && (expected === undefined || octets.length === expected), "length");
    this.octets = octets;
    this.view = new DataView(octets.buffer, octets.byteOffset, octets.length);
    switch (type) {
      case layout.RECORD_FLOW_OPENED:
        this.listener.record({ type: "flow-opened", atMs: this.time(layout.RECORD_AT), ...this.ends() });
        return;
      case layout.RECORD_FLOW_ENDED:
        this.listener.record(this.flowEnded());
        return;
      case layout.RECORD_DROP:
        this.listener.record(this.dropped());
        return;
      case layout.RECORD_DNS:
        this.listener.record(this.dns());
        return;
      case layout.RECORD_LOST: {
        const count = this.view.getUint32(layout.LOST_COUNT);
        this.listener.record({ type: "records-lost", atMs: this.time(layout.RECORD_AT), count });
        return;
      }
      case layout.RECORD_CLOCK:
        this.clock();
        return;
      case layout.RECORD_ROW:
        this.listener.row(this.view.getUint32(layout.ROW_CALL), this.row());
        return;
      case layout.RECORD_ROWS_END:
        this.listener.rowsEnd(this.view.getUint32(layout.ROWS_END_CALL), this.count(layout.ROWS_END_NEXT));
        return;
      default:
        check(false, "type");
    }
  }

  // --- fields ------------------------------------------------------------------------------------------------------

  private count(at: number): number {
    const value = this.view.getFloat64(at);
    check(Number.isSafeInteger(value) && value >= 0, "count");
    return value;
  }

  private uptime(at: number): number {
    const value = this.view.getFloat64(at);
    check(value >= 0 && value <= Number.MAX_SAFE_INTEGER, "time");
    return value;
  }

  private time(at: number): number {
    const ms = Math.round(this.epochMs + this.uptime(at));
    check(Math.abs(ms) <= TIME_MS_MAX, "time");
    return ms;
  }

  private clock(): void {
    const wallMs = this.view.getFloat64(layout.CLOCK_WALL_MS);
    check(wallMs >= 0 && wallMs <= TIME_MS_MAX, "time");
    this.epochMs = wallMs - this.uptime(layout.RECORD_AT);
  }

  private endpoint(addressAt: number, portAt: number): Endpoint {
    const words = [0, 4, 8, 12].map((offset) => this.view.getInt32(addressAt + offset));
    return { address: formatAddress(words), port: this.view.getUint16(portAt) };
  }

  private ends(): FlowEnds {
    const { view } = this;
    const protocol = view.getUint8(layout.FLOW_PROTOCOL);
    check(protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP, "protocol");
    const inbound = view.getUint8(layout.FLOW_INBOUND);
    const forward = view.getInt32(layout.FLOW_FORWARD);
    check(inbound === (forward > 0 ? 1 : 0) && forward >= 0, "forward");
    const flow = this.count(layout.FLOW_SERIAL);
    check(flow > 0, "flow");
    return {
      flow,
      protocol: protocol === PROTOCOL_TCP ? "tcp" : "udp",
      direction: inbound === 0 ? "out" : "in",
      guest: this.endpoint(layout.FLOW_GUEST, layout.FLOW_GUEST_PORT),
      remote: this.endpoint(layout.FLOW_REMOTE, layout.FLOW_REMOTE_PORT),
      target: this.endpoint(layout.FLOW_TARGET, layout.FLOW_TARGET_PORT),
      forward: forward === 0 ? null : forward,
    };
  }

  private flowEnded(): FlowEnded {
    const { view } = this;
    const reason = FLOW_END_REASONS[view.getUint8(layout.ENDED_REASON)];
    const endedBy = FLOW_ENDED_BY[view.getUint8(layout.ENDED_BY)];
    check(reason !== undefined && endedBy !== undefined, "end");
    const errno = view.getInt32(layout.ENDED_ERRNO);
    check(errno <= 0 && errno >= ERRNO_MIN, "errno");
    const connectMs = view.getInt32(layout.ENDED_CONNECT_MS);
    check(connectMs >= -1, "time");
    return {
      type: "flow-ended",
      atMs: this.time(layout.RECORD_AT),
      startMs: this.time(layout.FLOW_STARTED),
      ...this.ends(),
      octetsFromGuest: this.count(layout.FLOW_OCTETS_FROM_GUEST),
      octetsToGuest: this.count(layout.FLOW_OCTETS_TO_GUEST),
      packetsFromGuest: view.getUint32(layout.ENDED_PACKETS_FROM_GUEST),
      packetsToGuest: view.getUint32(layout.ENDED_PACKETS_TO_GUEST),
      connectMs: connectMs < 0 ? null : connectMs,
      retransmits: view.getUint32(layout.ENDED_RETRANSMITS),
      reason,
      endedBy,
      hostError: errno === 0 ? null : errorName(errno),
    };
  }

  private row(): FlowRecord {
    const { view } = this;
    const ends = this.ends();
    const state = view.getUint8(layout.FLOW_STATE);
    check(ends.protocol === "udp" ? state === 0 : STATE_NAMES[state] !== undefined, "state");
    return {
      ...ends,
      place: view.getUint32(layout.ROW_PLACE),
      state: ends.protocol === "udp" ? "MAPPED" : (STATE_NAMES[state] ?? ""),
      octetsFromGuest: this.count(layout.FLOW_OCTETS_FROM_GUEST),
      octetsToGuest: this.count(layout.FLOW_OCTETS_TO_GUEST),
      ageMs: Math.max(0, Math.round(this.uptime(layout.RECORD_AT) - this.uptime(layout.FLOW_STARTED))),
      idleMs: view.getUint32(layout.ROW_IDLE_MS),
    };
  }

  private dropped(): Dropped {
    const { view, octets } = this;
    check(octets.length >= layout.DROP_SAMPLE, "length");
    const reason = DROP_REASONS[view.getUint16(layout.DROP_REASON)];
    const fromHost = view.getUint8(layout.DROP_FROM_HOST);
    check(reason !== undefined && reason !== "handled" && fromHost <= 1, "reason");
    const sampleOctets = view.getUint16(layout.DROP_SAMPLE_OCTETS);
    check(sampleOctets <= layout.DROP_SAMPLE_MAX, "sample");
    check(octets.length === layout.DROP_SAMPLE + ((sampleOctets + 3) & ~3), "sample");
    const protocol = view.getUint8(layout.DROP_PROTOCOL);
    check(protocol === 0 || protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP, "protocol");
    const sample = Uint8Array.from(octets.subarray(layout.DROP_SAMPLE, layout.DROP_SAMPLE + sampleOctets));
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
      times: view.getUint32(layout.DROP_TIMES),
      from: fromHost === 1 ? "host" : "guest",
      sample,
      length: view.getUint32(layout.DROP_LENGTH),
      ...ends,
    };
  }

  private dns(): DnsQuestion {
    const { view, octets } = this;
    const count = view.getUint8(layout.DNS_ADDRESS_COUNT);
    const nameOctets = view.getUint8(layout.DNS_NAME_OCTETS);
    const nameAt = layout.DNS_ADDRESSES + count * layout.ADDRESS_OCTETS;
    check(count <= layout.DNS_ADDRESSES_MAX && octets.length === ((nameAt + nameOctets + 3) & ~3), "length");
    const answeredBy = layout.ANSWERED_BY[view.getUint8(layout.DNS_ANSWERED_BY)];
    const overTcp = view.getUint8(layout.DNS_OVER_TCP);
    const rcode = view.getInt16(layout.DNS_RCODE);
    const name = nameText(octets.subarray(nameAt, nameAt + nameOctets));
    check(answeredBy !== undefined && overTcp <= 1 && rcode >= -1 && rcode <= 15, "answer");
    check(name !== undefined, "name");
    return {
      type: "dns",
      atMs: this.time(layout.RECORD_AT),
      guest: this.endpoint(layout.DNS_GUEST, layout.DNS_GUEST_PORT),
      transport: overTcp === 1 ? "tcp" : "udp",
      name,
      questionType: typeName(view.getUint16(layout.DNS_TYPE)),
      rcode: rcode < 0 ? null : rcodeName(rcode),
      addresses: Array.from({ length: count }, (_, i) => {
        const at = layout.DNS_ADDRESSES + i * layout.ADDRESS_OCTETS;
        return formatAddress([0, 4, 8, 12].map((offset) => view.getInt32(at + offset)));
      }),
      ttlSeconds: view.getUint32(layout.DNS_TTL),
      answeredBy,
      durationMs: view.getUint32(layout.DNS_DURATION),
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
