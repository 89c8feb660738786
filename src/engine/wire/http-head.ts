/**
 * The host that an HTTP/1 request names (RFC 9112): the authority of its target, or its Host field. Read as the strictest
 * server would, so that no server can read another name: lines end in CR LF, nothing is folded, no blank stands before a
 * colon, and whoever names the host twice names the same.
 *
 *   GET /index.html HTTP/1.1                       origin-form: the Host field
 *   GET http://www.example.com/ HTTP/1.1           absolute-form: the authority
 *   CONNECT www.example.com:443 HTTP/1.1           authority-form
 */

/** Results of `read`. */
export const HOST_FOUND = 0;
export const NO_HOST = 1;
const NOT_HTTP = 2;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const SLASH = 0x2f;
const HOST_FIELD = octetsOf("host");
const SCHEME = octetsOf("http://");
const VERSION = octetsOf("HTTP/1.");
const CONNECT = octetsOf("CONNECT");
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const PORT_DIGITS_MAX = 5;

function octetsOf(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** Characters of a method or a field's name (RFC 9110 section 5.6.2). */
const TOKEN = new Uint8Array(128);
for (const octet of octetsOf(
  "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
)) {
  TOKEN[octet] = 1;
}

function isToken(octet: number): boolean {
  return octet < 128 && TOKEN[octet] === 1;
}

/** How much of the end of a head has been seen: all of it. */
export const HEAD_ENDED = 4;

/** How much of CR LF CR LF stands at the end once `octet` has followed what there was (`seen`). */
export function headProgress(seen: number, octet: number): number {
  if (octet === (seen % 2 === 0 ? CR : LF)) return seen + 1;
  return octet === CR ? 1 : 0;
}

/** Whether a request can begin with this octet. */
export function mayBeginRequest(octet: number): boolean {
  return isToken(octet);
}

/** What a request's head says of the host. One at a time. */
export class RequestHead {
  /** The host without its port. */
  hostAt = 0;
  hostOctets = 0;
  private at = 0;
  private fromTarget = false;

  /** Reads a head of `length` octets, the empty line included. */
  read(octets: Uint8Array, length: number): number {
    this.hostOctets = 0;
    this.fromTarget = false;
    if (!this.readRequestLine(octets, length)) return NOT_HTTP;
    let fields = 0;
    while (octets[this.at] !== CR) {
      const found = this.readField(octets, length);
      if (found < 0) return NOT_HTTP;
      fields += found;
      if (fields > 1) return NOT_HTTP;
    }
    if (this.at + 2 !== length || octets[this.at + 1] !== LF) return NOT_HTTP;
    return this.hostOctets > 0 ? HOST_FOUND : NO_HOST;
  }

  private readRequestLine(octets: Uint8Array, length: number): boolean {
    let at = 0;
    while (at < length && isToken(octets[at])) at++;
    if (at === 0 || octets[at] !== SPACE) return false;
    const isConnect = at === CONNECT.length && startsWith(octets, 0, CONNECT, false);
    const targetAt = ++at;
    while (at < length && octets[at] > SPACE && octets[at] < 0x7f) at++;
    const targetEnd = at;
    if (octets[at] !== SPACE) return false;
    at++;
    if (!startsWith(octets, at, VERSION, false)) return false;
    at += VERSION.length;
    if (!isDigit(octets[at]) || octets[at + 1] !== CR || octets[at + 2] !== LF) return false;
    this.at = at + 3;
    if (isConnect) return this.takeTarget(octets, targetAt, targetEnd);
    if (octets[targetAt] === SLASH) return true;
    if (targetEnd - targetAt === 1) return octets[targetAt] === 0x2a;
    if (!startsWith(octets, targetAt, SCHEME, true)) return false;
    const authorityAt = targetAt + SCHEME.length;
    let end = authorityAt;
    // The path, or a query or fragment right behind the authority.
    while (end < targetEnd && octets[end] !== SLASH && octets[end] !== 0x3f && octets[end] !== 0x23) end++;
    return this.takeTarget(octets, authorityAt, end);
  }

  private takeTarget(octets: Uint8Array, at: number, end: number): boolean {
    this.fromTarget = true;
    return this.takeHost(octets, at, end);
  }

  /** One field's line. Returns 1 for a Host field, 0 for another, -1 for what is none. */
  private readField(octets: Uint8Array, length: number): number {
    const nameAt = this.at;
    let at = nameAt;
    while (at < length && isToken(octets[at])) at++;
    if (at === nameAt || octets[at] !== COLON) return -1;
    const isHost = at - nameAt === HOST_FIELD.length && startsWith(octets, nameAt, HOST_FIELD, true);
    at++;
    let from = at;
    while (at < length && octets[at] !== CR && octets[at] !== LF && octets[at] !== 0) at++;
    if (octets[at] !== CR || octets[at + 1] !== LF) return -1;
    this.at = at + 2;
    if (!isHost) return 0;
    let end = at;
    while (from < end && isBlank(octets[from])) from++;
    while (end > from && isBlank(octets[end - 1])) end--;
    return this.takeField(octets, from, end) ? 1 : -1;
  }

  /** The Host field's value; it says what the target said, if that did. */
  private takeField(octets: Uint8Array, at: number, end: number): boolean {
    const { hostAt, hostOctets } = this;
    if (at === end) return this.fromTarget;
    if (!this.takeHost(octets, at, end)) return false;
    return !this.fromTarget || isSame(octets, hostAt, hostOctets, this.hostAt, this.hostOctets);
  }

  /** `host` or `host:port`. Whether the host is a name is for whoever compares it. */
  private takeHost(octets: Uint8Array, at: number, end: number): boolean {
    let digits = 0;
    while (digits < PORT_DIGITS_MAX && end - digits > at && isDigit(octets[end - digits - 1])) digits++;
    const colonAt = end - digits - 1;
    const hostEnd = colonAt > at && octets[colonAt] === COLON ? colonAt : end;
    for (let i = at; i < hostEnd; i++) if (octets[i] === COLON || octets[i] === 0x40) return false;
    this.hostAt = at;
    this.hostOctets = hostEnd - at;
    return this.hostOctets > 0;
  }
}

function isDigit(octet: number): boolean {
  return octet >= DIGIT_0 && octet <= DIGIT_9;
}

function isBlank(octet: number): boolean {
  return octet === SPACE || octet === TAB;
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}

/** Whether `text` stands at `at`; with `anyCase` in letters of either case. */
function startsWith(octets: Uint8Array, at: number, text: Uint8Array, anyCase: boolean): boolean {
  for (let i = 0; i < text.length; i++) {
    const octet = anyCase ? lower(octets[at + i]) : octets[at + i];
    if (octet !== text[i]) return false;
  }
  return true;
}

function isSame(octets: Uint8Array, a: number, aOctets: number, b: number, bOctets: number): boolean {
  if (aOctets !== bOctets) return false;
  for (let i = 0; i < aOctets; i++) if (lower(octets[a + i]) !== lower(octets[b + i])) return false;
  return true;
}
