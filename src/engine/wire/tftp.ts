/**
 * TFTP messages (RFC 1350), with options (RFC 2347).
 *
 *   RRQ, WRQ   | 1, 2 | file name | 0 | mode | 0 | option | 0 | value | 0 | ...
 *   DATA       |  3   | block | data, less than agreed at the end
 *   ACK        |  4   | block |
 *   ERROR      |  5   | code  | message | 0 |
 *   OACK       |  6   | option | 0 | value | 0 | ...
 */

export const READ_REQUEST = 1;
export const WRITE_REQUEST = 2;
const DATA = 3;
export const ACKNOWLEDGMENT = 4;
export const ERROR = 5;
const OPTION_ACKNOWLEDGMENT = 6;

/** Opcode and block number, or error code. */
export const TFTP_HEADER_OCTETS = 4;
/** RFC 1350 section 2. */
export const BLOCK_OCTETS_DEFAULT = 512;
/** RFC 2348. */
export const BLOCK_OCTETS_MIN = 8;
export const BLOCK_OCTETS_MAX = 65_464;
/** The longest request (RFC 2347). */
const REQUEST_OCTETS_MAX = 512;
const NUL = 0;

/** Error codes (RFC 1350 appendix I). */
export const NOT_DEFINED = 0;
export const FILE_NOT_FOUND = 1;
export const ACCESS_VIOLATION = 2;
export const ILLEGAL_OPERATION = 4;
export const UNKNOWN_TRANSFER = 5;

export function opcode(view: DataView, at: number): number {
  return view.getUint16(at);
}
/** Of DATA and ACK. */
export function block(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

export interface TftpRequest {
  readonly file: string;
  /** In lower case, as the names of options are. */
  readonly mode: string;
  /** The first of each name. */
  readonly options: ReadonlyMap<string, string>;
}

/** A read request, or null for what is none. */
export function readRequest(message: Uint8Array): TftpRequest | null {
  if (message.length > REQUEST_OCTETS_MAX || message[message.length - 1] !== NUL) return null;
  const text = new TextDecoder().decode(message.slice(2, -1));
  // Stands for octets that are no UTF-8: no file of ours has such a name.
  if (text.includes("\ufffd")) return null;
  const [file = "", mode, ...rest] = text.split("\0");
  if (mode === undefined || rest.length % 2 !== 0) return null;
  const options = new Map<string, string>();
  for (let i = 0; i < rest.length; i += 2) {
    const name = rest[i].toLowerCase();
    if (!options.has(name)) options.set(name, rest[i + 1]);
  }
  return { file, mode: mode.toLowerCase(), options };
}

/** Writes the header of a DATA message. */
export function writeDataHeader(view: DataView, at: number, blockNumber: number): void {
  view.setUint16(at, DATA);
  view.setUint16(at + 2, blockNumber);
}

export function errorMessage(code: number, text: string): Uint8Array {
  return Uint8Array.of(0, ERROR, 0, code, ...new TextEncoder().encode(text), NUL);
}

export function optionAcknowledgment(options: Iterable<readonly [name: string, value: string]>): Uint8Array {
  const text = Array.from(options, ([name, value]) => `${name}\0${value}\0`).join("");
  return Uint8Array.of(0, OPTION_ACKNOWLEDGMENT, ...new TextEncoder().encode(text));
}
