/** Host and domain names as DHCP and DNS take them (RFC 1123 section 2.1, RFC 1035 section 2.3.4). */
import { Unacceptable } from "./problem.ts";

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i;
const NAME_OCTETS_MAX = 253;

/** A dotted name without a root dot; a trailing one is removed. */
export function parseDomainName(text: string): string {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > NAME_OCTETS_MAX || !name.split(".").every((l) => LABEL.test(l))) {
    throw new Unacceptable(
      "a domain name such as example.org (labels of 1 to 63 letters, digits and hyphens)",
    );
  }
  return name;
}
