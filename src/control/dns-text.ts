/** DNS names, types and codes as text. */

const LABEL_MAX = 63;
/** Letters, digits, hyphen, underscore (RFC 8552), and the wildcard's star; all else is escaped. */
const PLAIN = /^[a-z0-9_*-]$/;

/**
 * A name as it is on the wire, in presentation form (RFC 1035 section 5.1): lower case, `\DDD` for every octet that is not
 * plain, no final dot; "" for none, "." for the root. Undefined when it is no name.
 */
export function nameText(octets: Uint8Array): string | undefined {
  if (octets.length === 0) return "";
  const labels: string[] = [];
  let at = 0;
  while (at < octets.length) {
    const length = octets[at] ?? 0;
    if (length === 0) return at + 1 === octets.length ? labels.join(".") || "." : undefined;
    if (length > LABEL_MAX || at + 1 + length > octets.length) return undefined;
    labels.push(Array.from(octets.subarray(at + 1, at + 1 + length), octetText).join(""));
    at += 1 + length;
  }
  return undefined;
}

function octetText(octet: number): string {
  const text = String.fromCharCode(octet).toLowerCase();
  return octet < 128 && PLAIN.test(text) ? text : `\\${String(octet).padStart(3, "0")}`;
}

/** RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 2671. */
const RCODES = [
  "NOERROR",
  "FORMERR",
  "SERVFAIL",
  "NXDOMAIN",
  "NOTIMP",
  "REFUSED",
  "YXDOMAIN",
  "YXRRSET",
  "NXRRSET",
  "NOTAUTH",
  "NOTZONE",
] as const;

export function rcodeName(rcode: number): string {
  return RCODES[rcode] ?? `RCODE${rcode}`;
}

const TYPES = new Map([
  [1, "A"],
  [2, "NS"],
  [5, "CNAME"],
  [6, "SOA"],
  [12, "PTR"],
  [15, "MX"],
  [16, "TXT"],
  [28, "AAAA"],
  [33, "SRV"],
  [35, "NAPTR"],
  [43, "DS"],
  [48, "DNSKEY"],
  [64, "SVCB"],
  [65, "HTTPS"],
  [251, "IXFR"],
  [252, "AXFR"],
  [255, "ANY"],
]);

/** Such as `A`; `TYPE4711` for one that has no name here (RFC 3597 section 5). */
export function typeName(type: number): string {
  return TYPES.get(type) ?? `TYPE${type}`;
}
