/**
 * DHCPv6 messages (RFC 9915 section 8) and options (section 21; 23 and 24: RFC 3646; 39: RFC 4704; 59: RFC 5970).
 *
 *   message   | type | transaction id, 3 | options
 *   option    | code, 2 | length, 2 | value         some values begin with fixed fields and end with options again
 *
 *   IA_NA, 3      | IAID, 4 | T1, 4 | T2, 4 | options
 *   IAADDR, 5     | address, 16 | preferred lifetime, 4 | valid lifetime, 4 | options
 *   status, 13    | code, 2 | text
 *
 * A DUID, by which clients and servers are known, is a type of two octets and up to 128 more. Times are seconds.
 */

export const SOLICIT = 1;
export const ADVERTISE = 2;
export const REQUEST = 3;
export const CONFIRM = 4;
export const RENEW = 5;
export const REBIND = 6;
export const REPLY = 7;
export const RELEASE = 8;
export const DECLINE = 9;
export const RECONFIGURE = 10;
export const INFORMATION_REQUEST = 11;

export const CLIENT_IDENTIFIER = 1;
export const SERVER_IDENTIFIER = 2;
export const IA_NA = 3;
export const IA_TA = 4;
export const IA_ADDRESS = 5;
export const OPTION_REQUEST = 6;
export const PREFERENCE = 7;
export const ELAPSED_TIME = 8;
export const RELAY_MESSAGE = 9;
export const AUTHENTICATION = 11;
export const SERVER_UNICAST = 12;
export const STATUS_CODE = 13;
export const RAPID_COMMIT = 14;
export const VENDOR_CLASS = 16;
export const INTERFACE_ID = 18;
export const RECONFIGURE_MESSAGE = 19;
export const RECONFIGURE_ACCEPT = 20;
export const DNS_SERVERS = 23;
export const DOMAIN_LIST = 24;
export const IA_PD = 25;
export const IA_PREFIX = 26;
export const INFORMATION_REFRESH_TIME = 32;
export const CLIENT_FQDN = 39;
export const BOOT_FILE_URL = 59;

/** Codes the protocol sets itself: an extra option may not replace them. */
export const PROTOCOL_OPTIONS_6: ReadonlySet<number> = new Set([
  CLIENT_IDENTIFIER,
  SERVER_IDENTIFIER,
  IA_NA,
  IA_TA,
  IA_ADDRESS,
  OPTION_REQUEST,
  PREFERENCE,
  ELAPSED_TIME,
  RELAY_MESSAGE,
  AUTHENTICATION,
  SERVER_UNICAST,
  STATUS_CODE,
  RAPID_COMMIT,
  INTERFACE_ID,
  RECONFIGURE_MESSAGE,
  RECONFIGURE_ACCEPT,
  IA_PD,
  IA_PREFIX,
]);

export const SUCCESS = 0;
export const NO_ADDRESSES_AVAILABLE = 2;
export const NO_BINDING = 3;
export const NOT_ON_LINK = 4;
export const NO_PREFIX_AVAILABLE = 6;

export const DHCP6_SERVER_PORT = 547;
export const DHCP6_CLIENT_PORT = 546;

export const MESSAGE_HEADER_OCTETS = 4;
const OPTION_HEADER_OCTETS = 4;
const IA_OCTETS = 12;
const IA_ADDRESS_OCTETS = 24;
/** A DUID has its type and something behind it (section 11.1). */
const DUID_OCTETS_MIN = 3;
const DUID_OCTETS_MAX = 130;
const DUID_LINK_LAYER_TIME = 1;
const DUID_LINK_LAYER = 3;
const HARDWARE_ETHERNET = 1;
const MAC_OCTETS = 6;

/** An option of a message; `value` lies in it. */
export interface Dhcp6Option {
  readonly code: number;
  readonly value: Uint8Array;
}

/** IA_NA, or IA_PD, which begins alike. */
export interface IdentityAssociation {
  readonly iaid: number;
  readonly options: readonly Dhcp6Option[];
}

/** The options between `from` and the end in their order, or null when one runs past it. */
export function readOptions6(octets: Uint8Array, from: number): Dhcp6Option[] | null {
  const options: Dhcp6Option[] = [];
  for (let at = from; at < octets.length; ) {
    const valueAt = at + OPTION_HEADER_OCTETS;
    if (valueAt > octets.length) return null;
    const next = valueAt + ((octets[at + 2] << 8) | octets[at + 3]);
    if (next > octets.length) return null;
    options.push({ code: (octets[at] << 8) | octets[at + 1], value: octets.subarray(valueAt, next) });
    at = next;
  }
  return options;
}

/** The value of an IA_NA or IA_PD, or null when it is malformed. */
export function readAssociation(value: Uint8Array): IdentityAssociation | null {
  if (value.length < IA_OCTETS) return null;
  const options = readOptions6(value, IA_OCTETS);
  return options && { iaid: viewOf(value).getInt32(0), options };
}

/** The address in the value of an IAADDR as four words, or null when it is malformed. */
export function readIaAddress(value: Uint8Array): Int32Array | null {
  if (value.length < IA_ADDRESS_OCTETS || readOptions6(value, IA_ADDRESS_OCTETS) === null) return null;
  const view = viewOf(value);
  return Int32Array.of(view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12));
}

export function isDuid(value: Uint8Array): boolean {
  return value.length >= DUID_OCTETS_MIN && value.length <= DUID_OCTETS_MAX;
}

/** The MAC a DUID-LL or DUID-LLT is made of, or null (sections 11.2, 11.4). */
export function macInDuid(duid: Uint8Array): Uint8Array | null {
  if (duid.length < 4 || ((duid[2] << 8) | duid[3]) !== HARDWARE_ETHERNET) return null;
  const type = (duid[0] << 8) | duid[1];
  const at = type === DUID_LINK_LAYER ? 4 : type === DUID_LINK_LAYER_TIME ? 8 : -1;
  return at > 0 && duid.length === at + MAC_OCTETS ? duid.subarray(at) : null;
}

/** DUID-LL of a MAC: the same at every start, as an identifier must be (section 11.4). */
export function duidOf(mac: Uint8Array): Uint8Array {
  return Uint8Array.of(0, DUID_LINK_LAYER, 0, HARDWARE_ETHERNET, ...mac);
}

/** A whole message: its type, the transaction id of the message it answers, options in order. */
export function encodeMessage(
  type: number,
  request: Uint8Array,
  options: readonly Dhcp6Option[],
): Uint8Array {
  return concat([Uint8Array.of(type, request[1], request[2], request[3]), encodeOptions6(options)]);
}

export function encodeOptions6(options: readonly Dhcp6Option[]): Uint8Array {
  return concat(options.flatMap(({ code, value }) => [encodeHeader(code, value.length), value]));
}

/** The value of an IA_NA (or of an IA_PD). */
export function encodeAssociation(
  iaid: number,
  t1: number,
  t2: number,
  options: readonly Dhcp6Option[],
): Uint8Array {
  const fixed = new Uint8Array(IA_OCTETS);
  const view = viewOf(fixed);
  view.setInt32(0, iaid);
  view.setUint32(4, t1);
  view.setUint32(8, t2);
  return concat([fixed, encodeOptions6(options)]);
}

/** The value of an IAADDR. */
export function encodeIaAddress(words: ArrayLike<number>, preferred: number, valid: number): Uint8Array {
  const value = new Uint8Array(IA_ADDRESS_OCTETS);
  const view = viewOf(value);
  for (let i = 0; i < 4; i++) view.setInt32(i * 4, words[i]);
  view.setUint32(16, preferred);
  view.setUint32(20, valid);
  return value;
}

/** Addresses, one after another. */
export function encodeAddresses6(addresses: readonly ArrayLike<number>[]): Uint8Array {
  const value = new Uint8Array(addresses.length * 16);
  const view = viewOf(value);
  addresses.forEach((words, n) => {
    for (let i = 0; i < 4; i++) view.setInt32(n * 16 + i * 4, words[i]);
  });
  return value;
}

/** The status code option; without text, which is for people, where the code says it all. */
export function statusOption(code: number, text = ""): Dhcp6Option {
  return {
    code: STATUS_CODE,
    value: concat([Uint8Array.of(code >>> 8, code), new TextEncoder().encode(text)]),
  };
}

function encodeHeader(code: number, length: number): Uint8Array {
  return Uint8Array.of(code >>> 8, code, length >>> 8, length);
}

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
