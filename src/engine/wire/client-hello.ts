/**
 * The server's name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2, RFC 6066 section 3).
 *
 *   record     | 22 | version (2) | length (2) | handshake octets |        any number of them, of any length from 1 on
 *   handshake  | 1  | length (3) | version (2) | random (32) | session (1+) | suites (2+) | compression (1+) | extensions (2+) |
 *   extension  | type (2) | length (2) | data |
 *   server_name data: | list length (2) | 0 | name length (2) | name |
 */

export const RECORD_HEADER_OCTETS = 5;
export const HANDSHAKE_HEADER_OCTETS = 4;
export const RECORD_HANDSHAKE = 22;
export const CLIENT_HELLO = 1;
/** Longest record before it is encrypted (RFC 8446 section 5.1). */
const RECORD_OCTETS_MAX = 16_384;
const VERSION_MAJOR = 3;

/** Results of `findServerName` that are no offset. */
export const NO_SERVER_NAME = -1;
export const NOT_A_CLIENT_HELLO = -2;

const RANDOM_OCTETS = 32;
const SESSION_MAX = 32;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ENCRYPTED_CLIENT_HELLO = 0xfe0d;
const HOST_NAME = 0;

/** Whether these five octets can begin a record of a ClientHello. */
export function isHandshakeRecord(type: number, major: number, length: number): boolean {
  return type === RECORD_HANDSHAKE && major === VERSION_MAJOR && length > 0 && length <= RECORD_OCTETS_MAX;
}

/** What stands in a ClientHello. One at a time. */
export class ClientHello {
  /** Where the server's name is and how long. */
  nameAt = 0;
  nameOctets = 0;
  /** Another ClientHello is encrypted inside; its name may be another. */
  hasEncrypted = false;

  /**
   * Reads a handshake message of `length` octets, header included. Returns 0, NO_SERVER_NAME, or NOT_A_CLIENT_HELLO where
   * any length does not fit.
   */
  read(octets: Uint8Array, length: number): number {
    this.nameOctets = 0;
    this.hasEncrypted = false;
    if (length < HANDSHAKE_HEADER_OCTETS || octets[0] !== CLIENT_HELLO) return NOT_A_CLIENT_HELLO;
    if (((octets[1] << 16) | u16(octets, 2)) !== length - HANDSHAKE_HEADER_OCTETS) return NOT_A_CLIENT_HELLO;
    let at = HANDSHAKE_HEADER_OCTETS + 2 + RANDOM_OCTETS;
    if (at + 1 > length || octets[HANDSHAKE_HEADER_OCTETS] !== VERSION_MAJOR || octets[at] > SESSION_MAX) {
      return NOT_A_CLIENT_HELLO;
    }
    at += 1 + octets[at];
    if (at + 2 > length) return NOT_A_CLIENT_HELLO;
    const suites = u16(octets, at);
    if (suites === 0 || suites % 2 !== 0) return NOT_A_CLIENT_HELLO;
    at += 2 + suites;
    if (at + 1 > length || octets[at] === 0) return NOT_A_CLIENT_HELLO;
    at += 1 + octets[at];
    if (at === length) return NO_SERVER_NAME;
    if (at + 2 > length || at + 2 + u16(octets, at) !== length) return NOT_A_CLIENT_HELLO;
    return this.readExtensions(octets, at + 2, length);
  }

  private readExtensions(octets: Uint8Array, at: number, end: number): number {
    let names = 0;
    while (at < end) {
      if (at + 4 > end) return NOT_A_CLIENT_HELLO;
      const type = u16(octets, at);
      const length = u16(octets, at + 2);
      at += 4;
      if (at + length > end) return NOT_A_CLIENT_HELLO;
      if (type === EXTENSION_ENCRYPTED_CLIENT_HELLO) this.hasEncrypted = true;
      if (type === EXTENSION_SERVER_NAME) {
        // Twice: servers may go by either.
        if (++names > 1 || !this.readServerName(octets, at, length)) return NOT_A_CLIENT_HELLO;
      }
      at += length;
    }
    return names === 0 ? NO_SERVER_NAME : 0;
  }

  /** One entry, a host name, and nothing behind it. */
  private readServerName(octets: Uint8Array, at: number, length: number): boolean {
    if (length < 5 || u16(octets, at) !== length - 2 || octets[at + 2] !== HOST_NAME) return false;
    this.nameAt = at + 5;
    this.nameOctets = u16(octets, at + 3);
    return this.nameOctets > 0 && this.nameOctets === length - 5;
  }
}

function u16(octets: Uint8Array, at: number): number {
  return (octets[at] << 8) | octets[at + 1];
}
