/** ClientHellos, put together from RFC 8446 and not by the code under test. */

export function namesExtension(name: string): Buffer {
  const octets = Buffer.from(name);
  const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
  const list = Buffer.concat([Buffer.of(0), u16(octets.length), octets]);
  return Buffer.concat([u16(0), u16(list.length + 2), u16(list.length), list]);
}

/** A ClientHello as OpenSSL makes them, with more in it than is looked at. */
export function clientHello(name: string | null, extensions: readonly Uint8Array[] = []): Buffer {
  const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
  const sized = (octets: Uint8Array): Buffer => Buffer.concat([u16(octets.length), octets]);
  const serverName =
    name === null
      ? []
      : [
          Buffer.concat([
            u16(0),
            sized(sized(Buffer.concat([Buffer.of(0), sized(Buffer.from(name, "latin1"))]))),
          ]),
        ];
  const supported = Buffer.concat([u16(43), sized(Buffer.from([2, 3, 4]))]);
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.of(32),
    Buffer.alloc(32, 9),
    sized(Buffer.from([0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f])),
    Buffer.from([1, 0]),
    sized(Buffer.concat([supported, ...serverName, ...extensions])),
  ]);
  return Buffer.concat([
    Buffer.from([1, body.length >> 16, (body.length >> 8) & 255, body.length & 255]),
    body,
  ]);
}

/** Handshake octets in records of at most `size`. */
export function inRecords(handshake: Uint8Array, size = 16_384): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    const piece = handshake.subarray(at, at + size);
    records.push(Buffer.concat([Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 255]), piece]));
  }
  return Buffer.concat(records);
}

export const hello = (name: string | null): Buffer => inRecords(clientHello(name));
export const ALERT_49 = Buffer.from([21, 3, 3, 0, 2, 2, 49]);
