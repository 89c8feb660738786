/**
 * What the engine tells its supervisor of flows, drops and DNS questions, in binary: our own format, between two processes
 * of one build.
 *
 *    0        2      3        4                    12
 *   +--------+------+--------+--------------------+-----------------------------------------------
 *   | length | type | 0      | uptime, ms (f64)   | as the type has it
 *   +--------+------+--------+--------------------+-----------------------------------------------
 *
 * The length counts the whole record and is a multiple of 4. Addresses are four words, IPv4 as v4-mapped; numbers are
 * big-endian; counts that may be large are float64.
 */
export const RECORD_LENGTH = 0;
export const RECORD_TYPE = 2;
export const RECORD_AT = 4;
/** No record is longer: a DNS question with all it may have. */
export const RECORD_OCTETS_MAX = 1024;

/** Fills the end of the ring. */
export const RECORD_PAD = 0;
export const RECORD_FLOW_OPENED = 1;
export const RECORD_FLOW_ENDED = 2;
export const RECORD_DROP = 3;
export const RECORD_DNS = 4;
export const RECORD_LOST = 5;
/** What the host's clock said at an uptime. */
export const RECORD_CLOCK = 6;
/** A row of the flow table, and the end of the rows of one call. */
export const RECORD_ROW = 7;
export const RECORD_ROWS_END = 8;

/** Of a flow: which and between whom. */
export const FLOW_SERIAL = 12;
export const FLOW_PROTOCOL = 20;
/** 0: the guest began; 1: a client of a forward. */
export const FLOW_INBOUND = 21;
/** TCP: the state's number; UDP: 0. */
export const FLOW_STATE = 22;
/** The forward's id, 0 without one. */
export const FLOW_FORWARD = 24;
export const FLOW_GUEST_PORT = 28;
export const FLOW_REMOTE_PORT = 30;
export const FLOW_TARGET_PORT = 32;
export const FLOW_GUEST = 36;
export const FLOW_REMOTE = 52;
export const FLOW_TARGET = 68;
export const FLOW_OPENED_OCTETS = 84;
/** Of one that ended, and of a row. */
export const FLOW_STARTED = 84;
export const FLOW_OCTETS_FROM_GUEST = 92;
export const FLOW_OCTETS_TO_GUEST = 100;
export const ENDED_PACKETS_FROM_GUEST = 108;
export const ENDED_PACKETS_TO_GUEST = 112;
/** -1: never connected. */
export const ENDED_CONNECT_MS = 116;
export const ENDED_RETRANSMITS = 120;
export const ENDED_REASON = 124;
export const ENDED_BY = 125;
/** -errno of the host's socket, or 0. */
export const ENDED_ERRNO = 128;
export const FLOW_ENDED_OCTETS = 132;
export const ROW_IDLE_MS = 108;
export const ROW_CALL = 112;
/** Of the flow table: a later place is of a row that comes later. */
export const ROW_PLACE = 116;
export const ROW_OCTETS = 120;

export const ROWS_END_CALL = 12;
/** The place to go on from if there are more, or 0. */
export const ROWS_END_NEXT = 16;
export const ROWS_END_OCTETS = 24;

export const DROP_REASON = 12;
/** 0: from the guest; 1: from the host. */
export const DROP_FROM_HOST = 14;
/** 0 where the ends are to be read from the sample. */
export const DROP_PROTOCOL = 15;
export const DROP_TIMES = 16;
export const DROP_LENGTH = 20;
export const DROP_SAMPLE_OCTETS = 24;
export const DROP_GUEST_PORT = 26;
export const DROP_REMOTE_PORT = 28;
export const DROP_GUEST = 32;
export const DROP_REMOTE = 48;
export const DROP_SAMPLE = 64;
/** Ethernet, IPv6 and TCP headers, and a little. */
export const DROP_SAMPLE_MAX = 96;

export const DNS_GUEST_PORT = 12;
/** 0: UDP; 1: TCP. */
export const DNS_OVER_TCP = 14;
export const DNS_ANSWERED_BY = 15;
export const DNS_TYPE = 16;
/** -1: none. */
export const DNS_RCODE = 18;
export const DNS_TTL = 20;
export const DNS_DURATION = 24;
export const DNS_ADDRESS_COUNT = 28;
export const DNS_NAME_OCTETS = 29;
export const DNS_GUEST = 32;
/** Addresses, then the name as it is on the wire. */
export const DNS_ADDRESSES = 48;
export const DNS_ADDRESSES_MAX = 16;
export const ANSWERED_BY = ["resolver", "sluice", "nobody"] as const;

export const LOST_COUNT = 12;
export const LOST_OCTETS = 16;

export const CLOCK_WALL_MS = 12;
export const CLOCK_OCTETS = 20;

export const ADDRESS_OCTETS = 16;

/** Writes the header of a record of `length` octets. */
export function writeRecord(
  view: DataView,
  at: number,
  type: number,
  length: number,
  uptimeMs: number,
): void {
  view.setUint16(at + RECORD_LENGTH, length);
  view.setUint16(at + RECORD_TYPE, type << 8);
  view.setFloat64(at + RECORD_AT, uptimeMs);
}

/** Writes four words. */
export function writeAddress(view: DataView, at: number, a: number, b: number, c: number, d: number): void {
  view.setInt32(at, a);
  view.setInt32(at + 4, b);
  view.setInt32(at + 8, c);
  view.setInt32(at + 12, d);
}
