/** DNS names as text: for records and captures, not for packets. */

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
    const length = octets[at];
    if (length === 0) return at + 1 === octets.length ? labels.join(".") || "." : undefined;
    if (length > LABEL_MAX || at + 1 + length > octets.length) return undefined;
    labels.push(labelText(octets, at + 1, length));
    at += 1 + length;
  }
  return undefined;
}

function labelText(octets: Uint8Array, at: number, length: number): string {
  let text = "";
  for (let i = 0; i < length; i++) text += octetText(octets[at + i]);
  return text;
}

function octetText(octet: number): string {
  const text = String.fromCharCode(octet).toLowerCase();
  return octet < 128 && PLAIN.test(text) ? text : `\\${String(octet).padStart(3, "0")}`;
}
