/**
 * HTTP's CONNECT as a client says it (RFC 9110 section 9.3.6, RFC 9112):
 *
 *   CONNECT www.example.com:443 HTTP/1.1          HTTP/1.1 200 Connection established
 *   Host: www.example.com:443                     Proxy-Agent: ...
 *   Proxy-Authorization: Basic ...
 *
 * Behind the empty line of the answer octets of the other end follow, so no more is read than surely belongs to the head.
 */
import { formatAddress } from "./address-text.ts";
import { HEAD_ENDED, headProgress } from "./http-head.ts";
import type { RemoteEnd } from "./remote-end.ts";

/** The longest head of an answer. */
const ANSWER_OCTETS_MAX = 16_384;

const LF = 0x0a;
const NUL = 0;
/** "HTTP/1.x 200": what is looked at of the first line. */
const STATUS_AT = 9;
const STATUS_END = 12;
const BEGINNING = Uint8Array.from("HTTP/1.", (letter) => letter.charCodeAt(0));

/** Results of `ConnectAnswer.take`. */
export const ANSWER_UNDER_WAY = 0;
export const ANSWER_ENDED = 1;
/** It is no answer of HTTP/1. */
const NOT_AN_ANSWER = 2;

/** Writes a request to connect to `end`; `login`: user and password for Basic authentication, already encoded. Returns its octets. */
export function writeConnectRequest(
  octets: Uint8Array,
  at: number,
  end: RemoteEnd,
  login: string | null,
): number {
  const authority = `${hostText(end)}:${end.port}`;
  const authorization = login === null ? "" : `Proxy-Authorization: Basic ${login}\r\n`;
  const text = `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${authorization}\r\n`;
  for (let i = 0; i < text.length; i++) octets[at + i] = text.charCodeAt(i);
  return text.length;
}

function hostText({ words, name, nameOctets }: RemoteEnd): string {
  if (nameOctets > 0) return String.fromCharCode(...name.slice(0, nameOctets));
  const address = formatAddress(words, 0);
  return address.includes(":") ? `[${address}]` : address;
}

/** What has come of an answer. */
export class ConnectAnswer {
  /** The code of one that has ended. */
  status = 0;
  /** Octets taken. */
  private taken = 0;
  /** How much of the head's end has been seen last. */
  private seen = 0;

  begin(): void {
    this.status = 0;
    this.taken = 0;
    this.seen = 0;
  }

  /** Octets that surely belong to the head still: so many may be read. */
  get expected(): number {
    return HEAD_ENDED - this.seen;
  }

  /** Takes `length` octets, at most as many as were expected. */
  take(octets: Uint8Array, at: number, length: number): number {
    for (let i = 0; i < length; i++) if (!this.takeOctet(octets[at + i])) return NOT_AN_ANSWER;
    if (this.seen < HEAD_ENDED) return ANSWER_UNDER_WAY;
    // Three digits: fewer, and those that begin with 0, are less.
    return this.status >= 100 ? ANSWER_ENDED : NOT_AN_ANSWER;
  }

  private takeOctet(octet: number): boolean {
    const at = this.taken++;
    if (at >= ANSWER_OCTETS_MAX || octet === NUL) return false;
    if (at < BEGINNING.length && octet !== BEGINNING[at]) return false;
    if (at >= STATUS_AT && at < STATUS_END) {
      const digit = octet - 0x30;
      if (digit < 0 || digit > 9) return false;
      this.status = this.status * 10 + digit;
    }
    // A line feed by itself ends a line for some: whoever sends it means something else than we read.
    if (octet === LF && this.seen % 2 === 0) return false;
    this.seen = headProgress(this.seen, octet);
    return true;
  }
}
