/**
 * SOCKS 5 as a client says it (RFC 1928, RFC 1929):
 *
 *   greeting   | 5 | methods (1) | method ... |                      choice  | 5 | method |
 *   login      | 1 | length (1) | user | length (1) | password |      answer  | 1 | 0 |
 *   request    | 5 | CONNECT | 0 | type | address | port (2) |       reply   | 5 | code | 0 | type | address | port (2) |
 */
import { isMapped } from "./mapped-address.ts";
import type { RemoteEnd } from "./remote-end.ts";

const VERSION = 5;
const LOGIN_VERSION = 1;
export const METHOD_NONE = 0;
export const METHOD_LOGIN = 2;
const COMMAND_CONNECT = 1;
const TYPE_IPV4 = 1;
const TYPE_NAME = 3;
const TYPE_IPV6 = 4;

/** Octets of the choice of a method, and of the answer to a login. */
export const CHOICE_OCTETS = 2;
/** Octets of a reply that say how long it is: with the first octet of its address. */
export const REPLY_HEAD_OCTETS = 5;
/** The longest: a name of 255 octets. */
export const REPLY_OCTETS_MAX = REPLY_HEAD_OCTETS + 255 + 2;

/** Results of `replyOctets` that are no length. */
export const NOT_A_REPLY = -1;

/** Writes the greeting, with a login offered beside none. Returns its octets. */
export function writeGreeting(octets: Uint8Array, at: number, hasLogin: boolean): number {
  octets[at] = VERSION;
  octets[at + 1] = hasLogin ? 2 : 1;
  octets[at + 2] = METHOD_NONE;
  octets[at + 3] = METHOD_LOGIN;
  return hasLogin ? 4 : 3;
}

/** The method that was chosen, or -1 where this is no choice. */
export function chosenMethod(octets: Uint8Array, at: number): number {
  return octets[at] === VERSION ? octets[at + 1] : -1;
}

/** Writes a login of at most 255 octets each. Returns its octets. */
export function writeLogin(octets: Uint8Array, at: number, user: Uint8Array, password: Uint8Array): number {
  octets[at] = LOGIN_VERSION;
  octets[at + 1] = user.length;
  octets.set(user, at + 2);
  octets[at + 2 + user.length] = password.length;
  octets.set(password, at + 3 + user.length);
  return 3 + user.length + password.length;
}

/** Whether the answer says that the login is right. */
export function isLoggedIn(octets: Uint8Array, at: number): boolean {
  return octets[at] === LOGIN_VERSION && octets[at + 1] === 0;
}

/** Writes a request to connect to `end`. Returns its octets. */
export function writeConnect(octets: Uint8Array, view: DataView, at: number, end: RemoteEnd): number {
  octets[at] = VERSION;
  octets[at + 1] = COMMAND_CONNECT;
  octets[at + 2] = 0;
  let to = at + 4;
  if (end.nameOctets > 0) {
    octets[at + 3] = TYPE_NAME;
    octets[to++] = end.nameOctets;
    for (let i = 0; i < end.nameOctets; i++) octets[to++] = end.name[i];
  } else {
    const { words } = end;
    const isIpv4 = isMapped(words, 0);
    octets[at + 3] = isIpv4 ? TYPE_IPV4 : TYPE_IPV6;
    for (let word = isIpv4 ? 3 : 0; word < 4; word++, to += 4) view.setInt32(to, words[word]);
  }
  view.setUint16(to, end.port);
  return to + 2 - at;
}

/** How long the reply is whose first REPLY_HEAD_OCTETS are at `at`, or NOT_A_REPLY. */
export function replyOctets(octets: Uint8Array, at: number): number {
  if (octets[at] !== VERSION) return NOT_A_REPLY;
  switch (octets[at + 3]) {
    case TYPE_IPV4:
      return 4 + 4 + 2;
    case TYPE_IPV6:
      return 4 + 16 + 2;
    case TYPE_NAME:
      return REPLY_HEAD_OCTETS + octets[at + 4] + 2;
    default:
      return NOT_A_REPLY;
  }
}

/** 0: connected; else why not. */
export function replyCode(octets: Uint8Array, at: number): number {
  return octets[at + 1];
}
