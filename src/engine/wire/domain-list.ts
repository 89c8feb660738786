/**
 * Domain names as DHCP, DHCPv6 and router advertisements carry them. Names are in the form of RFC 1035
 * section 3.1: labels with their length in front, ended by a zero.
 */

const LABEL_MAX = 63;
const POINTER = 0xc000;
const POINTER_OFFSET_MAX = 0x3fff;

/**
 * A search list (RFC 3397): domain names in DNS form, a suffix that occurred before replaced by a pointer to it
 * (RFC 1035 section 4.1.4; offsets count from the start of the list). Labels over 63 octets are an error of the
 * caller.
 */
export function encodeSearchList(domains: readonly string[]): Uint8Array {
  const octets: number[] = [];
  const seen = new Map<string, number>();
  for (const domain of domains) {
    const labels = labelsOf(domain);
    let ended = false;
    for (let i = 0; i < labels.length; i++) {
      const suffix = labels.slice(i).join(".").toLowerCase();
      const earlier = seen.get(suffix);
      if (earlier !== undefined) {
        octets.push((POINTER | earlier) >>> 8, earlier & 0xff);
        ended = true;
        break;
      }
      if (octets.length <= POINTER_OFFSET_MAX) seen.set(suffix, octets.length);
      octets.push(...encodeLabel(labels[i], domain));
    }
    if (!ended) octets.push(0);
  }
  return Uint8Array.from(octets);
}

/**
 * Domain names one after another, nothing shortened (RFC 8106 section 5.2, RFC 9915 section 10). Labels over 63
 * octets are an error of the caller.
 */
export function encodeDomainList(domains: readonly string[]): Uint8Array {
  return Uint8Array.from(domains.flatMap((domain) => [...encodeName(domain), 0]));
}

/** One name; without dots it is not fully qualified and has no terminating zero (RFC 4704 section 4.2). */
export function encodeFqdn(name: string): Uint8Array {
  const octets = encodeName(name);
  return Uint8Array.from(labelsOf(name).length > 1 ? [...octets, 0] : octets);
}

function encodeName(name: string): number[] {
  return labelsOf(name).flatMap((label) => encodeLabel(label, name));
}

function labelsOf(name: string): string[] {
  return name.split(".").filter((label) => label !== "");
}

function encodeLabel(text: string, name: string): number[] {
  const label = new TextEncoder().encode(text);
  if (label.length > LABEL_MAX) throw new RangeError(`label "${text}" of "${name}" is over 63 octets`);
  return [label.length, ...label];
}
