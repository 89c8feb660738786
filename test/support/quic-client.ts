/**
 * Packets of a QUIC client, put together from RFC 9000, RFC 9001 and RFC 9369 and not by the code under test: with these keys
 * the specifications' own samples come out octet for octet.
 */
import { createCipheriv, createHmac } from "node:crypto";

export const QUIC_1 = 0x00000001;
export const QUIC_2 = 0x6b3343cf;
export const CLIENT_ID = Buffer.from("8394c8f03e515708", "hex");

const sha = (key: Uint8Array, ...data: readonly Uint8Array[]): Buffer => {
  const mac = createHmac("sha256", key);
  for (const each of data) mac.update(each);
  return mac.digest();
};

/** HKDF-Expand-Label of at most 32 octets. */
function expand(secret: Uint8Array, label: string, length: number): Buffer {
  const text = `tls13 ${label}`;
  return sha(secret, Buffer.of(0, length, text.length), Buffer.from(text), Buffer.of(0, 1)).subarray(
    0,
    length,
  );
}

export function clientKeys(
  version = QUIC_1,
  id: Uint8Array = CLIENT_ID,
): { key: Buffer; iv: Buffer; headerKey: Buffer } {
  const isNew = version === QUIC_2;
  const salt = isNew
    ? "0dede3def700a6db819381be6e269dcbf9bd2ed9"
    : "38762cf7f55934b34d179ae6a4c80cadccbb7f0a";
  const secret = expand(sha(Buffer.from(salt, "hex"), id), "client in", 32);
  const prefix = isNew ? "quicv2" : "quic";
  return {
    key: expand(secret, `${prefix} key`, 16),
    iv: expand(secret, `${prefix} iv`, 12),
    headerKey: expand(secret, `${prefix} hp`, 16),
  };
}

/** An integer as QUIC has them, of so many octets. */
export function integer(value: number, octets: 1 | 2 | 4 = value < 64 ? 1 : value < 16_384 ? 2 : 4): Buffer {
  const buffer = Buffer.alloc(octets);
  buffer.writeUIntBE(value, 0, octets);
  buffer[0] = (buffer[0] ?? 0) | ({ 1: 0, 2: 0x40, 4: 0x80 }[octets] ?? 0);
  return buffer;
}

export const crypto = (offset: number, octets: Uint8Array): Buffer =>
  Buffer.concat([Buffer.of(6), integer(offset), integer(octets.length, 2), octets]);

export interface PacketFields {
  readonly version?: number;
  /** The destination's connection id, and the one that keys are derived from where that is another. */
  readonly id?: Uint8Array;
  readonly keysOf?: Uint8Array;
  /** As the client counts, and in how many octets it is said. */
  readonly number?: number;
  readonly numberOctets?: 1 | 2 | 3 | 4;
  readonly token?: Uint8Array;
  /** Of Initial packets in version 1: 0. */
  readonly type?: number;
  /** The payload is filled up to this. */
  readonly fill?: number;
}

/** A packet with a long header and this payload. */
export function longPacket(payload: Uint8Array, fields: PacketFields = {}): Buffer {
  const { version = QUIC_1, id = CLIENT_ID, keysOf = id, number = 0, numberOctets = 1, type = 0 } = fields;
  const { token = Buffer.alloc(0), fill = 0 } = fields;
  const { key, iv, headerKey } = clientKeys(version, keysOf);
  const plain = Buffer.concat([payload, Buffer.alloc(Math.max(0, fill - payload.length))]);
  const said = Buffer.alloc(8);
  said.writeBigUInt64BE(BigInt(number));
  const typeBits = (type + (version === QUIC_2 ? 1 : 0)) & 3;
  const versionOctets = Buffer.alloc(4);
  versionOctets.writeUInt32BE(version);
  const header = Buffer.concat([
    Buffer.of(0xc0 | (typeBits << 4) | (numberOctets - 1)),
    versionOctets,
    Buffer.of(id.length),
    id,
    Buffer.of(0),
    ...(type === 0 ? [integer(token.length), token] : []),
    integer(numberOctets + plain.length + 16, 2),
    said.subarray(8 - numberOctets),
  ]);
  const nonce = Buffer.from(iv);
  for (let i = 0; i < 8; i++) nonce[4 + i] = (nonce[4 + i] ?? 0) ^ (said[i] ?? 0);
  const seal = createCipheriv("aes-128-gcm", key, nonce);
  seal.setAAD(header);
  const sealed = Buffer.concat([seal.update(plain), seal.final(), seal.getAuthTag()]);
  const numberAt = header.length - numberOctets;
  const packet = Buffer.concat([header, sealed]);
  const mask = createCipheriv("aes-128-ecb", headerKey, null).update(
    packet.subarray(numberAt + 4, numberAt + 20),
  );
  packet[0] = (packet[0] ?? 0) ^ ((mask[0] ?? 0) & 0x0f);
  for (let i = 0; i < numberOctets; i++)
    packet[numberAt + i] = (packet[numberAt + i] ?? 0) ^ (mask[1 + i] ?? 0);
  return packet;
}

/** A ClientHello in Initial packets of `size` octets of it each, as they are sent: 1,200 octets at least. */
export function initialPackets(hello: Uint8Array, size = 1000, fields: PacketFields = {}): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 0; at < hello.length; at += size) {
    const frame = crypto(at, hello.subarray(at, at + size));
    packets.push(longPacket(frame, { fill: 1162, number: packets.length, ...fields }));
  }
  return packets;
}
