/**
 * DHCP options (RFC 2132): code, length, value, from the cookie to an END mark.
 *
 *   +------+-----+----------+------+-----+------ ... +-----+
 *   | code | len | value    | code | len | value ... | 255 |       PAD (0) has no length
 *   +------+-----+----------+------+-----+------ ... +-----+
 *
 * Option 52 says that `file` and `sname` hold options too. An option that occurs more than once is one long option,
 * whose pieces are joined in the order options, file, sname (RFC 3396).
 */
import { BOOTP_MESSAGE_MIN, FILE, FILE_OCTETS, hasCookie, OPTIONS, SNAME, SNAME_OCTETS } from "./dhcp.ts";

export const PAD = 0;
export const SUBNET_MASK = 1;
export const ROUTER = 3;
export const DOMAIN_NAME_SERVER = 6;
export const HOST_NAME = 12;
export const DOMAIN_NAME = 15;
export const INTERFACE_MTU = 26;
export const BROADCAST_ADDRESS = 28;
export const REQUESTED_ADDRESS = 50;
export const LEASE_TIME = 51;
export const OVERLOAD = 52;
export const MESSAGE_TYPE = 53;
export const SERVER_IDENTIFIER = 54;
export const PARAMETER_REQUEST_LIST = 55;
export const MESSAGE = 56;
export const MAXIMUM_MESSAGE_SIZE = 57;
export const RENEWAL_TIME = 58;
export const REBINDING_TIME = 59;
export const CLIENT_IDENTIFIER = 61;
export const TFTP_SERVER_NAME = 66;
export const BOOT_FILE_NAME = 67;
export const RAPID_COMMIT = 80;
export const RELAY_AGENT_INFORMATION = 82;
export const IPV6_ONLY_PREFERRED = 108;
export const DOMAIN_SEARCH = 119;
export const CLASSLESS_ROUTES = 121;
export const END = 255;

export const DISCOVER = 1;
export const OFFER = 2;
export const REQUEST = 3;
export const DECLINE = 4;
export const ACK = 5;
export const NAK = 6;
export const RELEASE = 7;
export const INFORM = 8;

const OVERLOAD_FILE = 1;
const OVERLOAD_SNAME = 2;
/** Longest value of one option, or of one piece of a long one. */
export const OPTION_VALUE_MAX = 255;

/** An option as octets; its value may be longer than one piece. */
export interface Option {
  readonly code: number;
  readonly value: Uint8Array;
}

/**
 * Every option of a message, pieces joined. A message without the cookie has none. Returns null when an option runs
 * past its field. A missing END mark is forgiven: many small clients leave it out.
 */
export function readOptions(message: Uint8Array): Map<number, Uint8Array> | null {
  const options = new Map<number, Uint8Array>();
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (!hasCookie(view, 0, message.length)) return options;
  if (!readField(message, OPTIONS, message.length, options)) return null;
  const overload = options.get(OVERLOAD)?.[0] ?? 0;
  if (overload & OVERLOAD_FILE && !readField(message, FILE, FILE + FILE_OCTETS, options)) return null;
  if (overload & OVERLOAD_SNAME && !readField(message, SNAME, SNAME + SNAME_OCTETS, options)) return null;
  return options;
}

function readField(message: Uint8Array, from: number, to: number, into: Map<number, Uint8Array>): boolean {
  for (let at = from; at < to; ) {
    const code = message[at];
    if (code === END) return true;
    if (code === PAD) {
      at++;
      continue;
    }
    const valueAt = at + 2;
    const next = valueAt + message[at + 1];
    if (valueAt > to || next > to) return false;
    const value = message.subarray(valueAt, next);
    const before = into.get(code);
    into.set(code, before ? join(before, value) : value);
    at = next;
  }
  return true;
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** A stretch of the message that takes options, its END mark not counted. */
interface Area {
  at: number;
  readonly end: number;
}

/**
 * Writes `options` in their order behind the cookie, ends them and returns the octets of the whole message, never
 * under BOOTP's minimum. When they do not fit below `limit`, `file` and `sname` are used too (those the caller says
 * are free) and option 52 says so. What fits nowhere is left out: the order is the priority.
 */
export function writeOptions(
  message: Uint8Array,
  options: readonly Option[],
  limit: number,
  fileIsFree: boolean,
  snameIsFree: boolean,
): number {
  const main: Area = { at: OPTIONS, end: limit - 1 };
  if (options.reduce((sum, option) => sum + octetsOf(option), 0) <= main.end - main.at) {
    for (const option of options) place(message, option.code, option.value, [main]);
    return finish(message, main);
  }
  const file: Area = { at: FILE, end: FILE + (fileIsFree ? FILE_OCTETS - 1 : 0) };
  const sname: Area = { at: SNAME, end: SNAME + (snameIsFree ? SNAME_OCTETS - 1 : 0) };
  const overload = new Uint8Array(1);
  const announce = fileIsFree || snameIsFree ? [{ code: OVERLOAD, value: overload }] : [];
  // The message type stays first, where people and firewalls look for it.
  const inOrder = [...options.slice(0, 1), ...announce, ...options.slice(1)];
  let overloadAt = 0;
  for (const option of inOrder) {
    if (option.code === OVERLOAD) overloadAt = main.at + 2;
    place(message, option.code, option.value, [main, file, sname]);
  }
  if (overloadAt !== 0) {
    message[overloadAt] = (file.at > FILE ? OVERLOAD_FILE : 0) | (sname.at > SNAME ? OVERLOAD_SNAME : 0);
    // An overload of nothing has no code point: claim `file`, which then holds END alone.
    if (message[overloadAt] === 0) message[overloadAt] = fileIsFree ? OVERLOAD_FILE : OVERLOAD_SNAME;
    if (message[overloadAt] & OVERLOAD_FILE) message[file.at] = END;
    if (message[overloadAt] & OVERLOAD_SNAME) message[sname.at] = END;
  }
  return finish(message, main);
}

function finish(message: Uint8Array, main: Area): number {
  message[main.at] = END;
  return Math.max(main.at + 1, BOOTP_MESSAGE_MIN);
}

function octetsOf(option: Option): number {
  return option.value.length + 2 * Math.max(1, Math.ceil(option.value.length / OPTION_VALUE_MAX));
}

/** Puts an option whole into the first area with room; else in pieces, in area order; else nowhere. */
function place(message: Uint8Array, code: number, value: Uint8Array, areas: readonly Area[]): void {
  if (value.length <= OPTION_VALUE_MAX) {
    const area = areas.find((candidate) => candidate.end - candidate.at >= 2 + value.length);
    if (area) {
      writePiece(message, code, value, area);
      return;
    }
  }
  const pieces: { area: Area; octets: number }[] = [];
  let left = value.length;
  for (const area of areas) {
    for (let room = area.end - area.at; room > 2 && left > 0; ) {
      const octets = Math.min(left, room - 2, OPTION_VALUE_MAX);
      pieces.push({ area, octets });
      left -= octets;
      room -= 2 + octets;
    }
  }
  if (left > 0) return;
  let from = 0;
  for (const { area, octets } of pieces) {
    writePiece(message, code, value.subarray(from, from + octets), area);
    from += octets;
  }
}

function writePiece(message: Uint8Array, code: number, value: Uint8Array, area: Area): void {
  message[area.at] = code;
  message[area.at + 1] = value.length;
  message.set(value, area.at + 2);
  area.at += 2 + value.length;
}

/** IPv4 addresses, one after another. */
export function encodeAddresses(addresses: readonly number[]): Uint8Array {
  const value = new Uint8Array(addresses.length * 4);
  const view = new DataView(value.buffer);
  addresses.forEach((address, i) => {
    view.setInt32(i * 4, address);
  });
  return value;
}

export function encodeUint16(number: number): Uint8Array {
  return Uint8Array.of(number >>> 8, number);
}

export function encodeUint32(number: number): Uint8Array {
  return Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number);
}

/** Text without a terminator (RFC 2132 section 2). */
export function encodeText(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A route as option 121 has it; `gateway` 0 is on-link. */
export interface Route {
  readonly destination: number;
  readonly prefixLength: number;
  readonly gateway: number;
}

/** Classless static routes (RFC 3442): prefix length, the octets of the destination that matter, gateway. */
export function encodeClasslessRoutes(routes: readonly Route[]): Uint8Array {
  const octets: number[] = [];
  for (const { destination, prefixLength, gateway } of routes) {
    const mask = prefixLength === 0 ? 0 : -1 << (32 - prefixLength);
    octets.push(prefixLength);
    octets.push(...encodeUint32(destination & mask).subarray(0, Math.ceil(prefixLength / 8)));
    octets.push(...encodeUint32(gateway));
  }
  return Uint8Array.from(octets);
}
