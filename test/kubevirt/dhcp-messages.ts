/** DHCP messages made and read by hand (RFC 2131 section 2), independent of the codec under test. */

/** DISCOVER (1), or a REQUEST (3) for 10.1.0.5 to the server 169.254.75.10. */
export function dhcpRequest(type: number, mac: string, identifier?: readonly number[]): Uint8Array {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 1, 2, 3, 4]);
  message.set(
    mac.split(":").map((octet) => Number.parseInt(octet, 16)),
    28,
  );
  const options = [53, 1, type, 55, 9, 1, 3, 6, 12, 15, 26, 51, 119, 121];
  if (type === 3) options.push(50, 4, 10, 1, 0, 5, 54, 4, 169, 254, 75, 10);
  if (identifier !== undefined) options.push(61, identifier.length, ...identifier);
  message.set([99, 130, 83, 99, ...options, 255], 236);
  return message;
}

/** The options of a reply by code. */
export function dhcpOptionsOf(reply: Uint8Array): Map<number, number[]> {
  const options = new Map<number, number[]>();
  for (let at = 240; at < reply.length && reply[at] !== 255; ) {
    if (reply[at] === 0) {
      at++;
      continue;
    }
    const length = reply[at + 1];
    const before = options.get(reply[at]) ?? [];
    options.set(reply[at], [...before, ...reply.subarray(at + 2, at + 2 + length)]);
    at += 2 + length;
  }
  return options;
}
