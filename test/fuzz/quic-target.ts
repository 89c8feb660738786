/**
 * Datagrams of a QUIC client to a remote that has to be shown a name. What leaves is given to a server that reads as
 * generously as any could: it opens every packet with the keys of every connection it knows of. It must never read a
 * ClientHello of another name.
 *
 *   input    | packet | packet | ...
 *   packet   | how (1) | ids (1) | number (1) | length (1) | frames |
 *   how      bit 0: the next packet is put behind it in one datagram, 1: version 2, 2: the octets as they are, 3: repeat 16 times,
 *            4-5: type, 6: with the keys of the first id
 */
import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv } from "node:crypto";
import { clientHello, inRecords, PolicyRig } from "../support/policy-rig.ts";
import { clientKeys, crypto, longPacket, QUIC_1, QUIC_2 } from "../support/quic-client.ts";
import { isGood, plainServerName } from "./policy-targets.ts";
import { type FuzzTarget, join, words } from "./target.ts";

const GOOD = "good.example";
const ADDRESS = "203.0.113.10";
const FLOWS_PER_ENGINE = 300;
const IDS = [1, 2, 3, 4].map((octet) => Buffer.alloc(8, octet));

class Server {
  /** By connection id: what it was told, octet by octet; the first word counts. */
  private readonly told = new Map<string, number[]>();

  take(datagram: Buffer): void {
    try {
      for (let rest = datagram; rest.length > 0 && (rest[0] & 0x80) !== 0; ) rest = this.packet(rest);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }

  /** Reads one packet; returns what lies behind it. */
  private packet(octets: Buffer): Buffer {
    const version = octets.readUInt32BE(1);
    if (version !== QUIC_1 && version !== QUIC_2) throw new RangeError("version");
    let at = 5;
    const sized = (length: number): Buffer => {
      if (at + length > octets.length) throw new RangeError("short");
      at += length;
      return octets.subarray(at - length, at);
    };
    const id = sized(octets.readUInt8(at++));
    sized(octets.readUInt8(at++));
    const type = ((octets[0] >> 4) - (version === QUIC_2 ? 1 : 0)) & 3;
    const integer = (): number => {
      const [value, length] = readInteger(octets, at);
      at += length;
      return value;
    };
    if (type === 0) sized(integer());
    const length = integer();
    const numberAt = at;
    sized(length);
    const known = [...this.told.keys()].map((hex) => Buffer.from(hex, "hex"));
    if (type === 0) {
      for (const each of [id, ...known]) {
        const plain = open(octets.subarray(0, at), numberAt, version, each);
        if (plain !== null) this.frames(plain, each.toString("hex"));
      }
    }
    return octets.subarray(at);
  }

  private frames(plain: Buffer, id: string): void {
    const told = this.told.get(id) ?? [];
    this.told.set(id, told);
    let at = 0;
    const integer = (): number => {
      const [value, length] = readInteger(plain, at);
      at += length;
      return value;
    };
    while (at < plain.length) {
      const type = plain[at++];
      if (type === 6) {
        const offset = integer();
        const length = integer();
        if (at + length > plain.length || offset + length > 1 << 20) throw new RangeError("short");
        for (let i = 0; i < length; i++) told[offset + i] ??= plain[at + i];
        at += length;
      } else if (type === 2 || type === 3) {
        integer();
        integer();
        for (let left = 2 * integer() + 1 + (type === 3 ? 3 : 0); left > 0; left--) integer();
      } else if (type > 1) throw new RangeError("frame");
    }
  }

  /** The names of all ClientHellos that are there. */
  get names(): (string | null)[] {
    return [...this.told.values()].flatMap((told) => {
      const [type, high = 0, middle = 0, low = 0] = told;
      const length = 4 + high * 65_536 + middle * 256 + low;
      const message = Array.from({ length: Math.min(length, told.length) }, (_, i) => told[i]);
      if (type !== 1 || message.length < length || message.includes(undefined as never)) return [];
      return [plainServerName(inRecords(Buffer.from(message)))];
    });
  }
}

function readInteger(octets: Buffer, at: number): [value: number, length: number] {
  const length = 1 << (octets.readUInt8(at) >> 6);
  if (at + length > octets.length) throw new RangeError("short");
  const whole = BigInt(`0x${octets.subarray(at, at + length).toString("hex")}`);
  return [Number(whole & ((1n << BigInt(8 * length - 2)) - 1n)), length];
}

/** What a packet says with the keys of this id, or null. Numbers here are small, and sent whole. */
function open(packet: Buffer, numberAt: number, version: number, id: Buffer): Buffer | null {
  const { key, iv, headerKey } = clientKeys(version, id);
  if (packet.length < numberAt + 20) return null;
  const sample = packet.subarray(numberAt + 4, numberAt + 20);
  const mask = createCipheriv("aes-128-ecb", headerKey, null).update(sample);
  const header = Buffer.from(packet);
  header[0] ^= mask[0] & 15;
  const numberOctets = (header[0] & 3) + 1;
  for (let i = 0; i < numberOctets; i++) header[numberAt + i] ^= mask[1 + i];
  const nonce = Buffer.from(iv);
  for (let i = 0; i < numberOctets; i++) nonce[12 - numberOctets + i] ^= header[numberAt + i];
  const sealed = packet.subarray(numberAt + numberOctets);
  if (sealed.length < 16) return null;
  const decipher = createDecipheriv("aes-128-gcm", key, nonce);
  decipher.setAAD(header.subarray(0, numberAt + numberOctets)).setAuthTag(sealed.subarray(-16));
  const plain = decipher.update(sealed.subarray(0, -16));
  try {
    decipher.final();
    return plain;
  } catch {
    return null;
  }
}

/** The datagrams that an input stands for. */
function datagramsOf(input: Uint8Array): Buffer[] {
  const datagrams: Buffer[] = [];
  let together: Buffer[] = [];
  for (let at = 0; at + 4 <= input.length; ) {
    const [how, ids, number, length] = input.subarray(at, at + 4);
    const said = Buffer.from(input.subarray(at + 4, at + 4 + length));
    at += 4 + length;
    const payload = (how & 8) === 0 ? said : Buffer.concat(new Array<Buffer>(16).fill(said));
    const id = IDS[ids & 3];
    const packet =
      (how & 4) !== 0
        ? payload
        : longPacket(payload, {
            version: (how & 2) === 0 ? QUIC_1 : QUIC_2,
            id,
            keysOf: (how & 64) === 0 ? id : IDS[0],
            type: (how >> 4) & 3,
            number: number & 0x7f,
            fill: 24,
          });
    together.push(packet);
    if ((how & 1) !== 0) continue;
    datagrams.push(Buffer.concat(together));
    together = [];
  }
  return datagrams;
}

let rig: PolicyRig | null = null;
let flows = 0;

function freshRig(): PolicyRig {
  if (rig === null || flows >= FLOWS_PER_ENGINE) {
    rig = new PolicyRig({ rules: [{ allow: `${GOOD}/quic` }] });
    rig.ask(GOOD, [{ type: "A", name: GOOD, ttl: 3600, data: ADDRESS }]);
    flows = 0;
  }
  return rig;
}

/** One packet of an input. */
const packet = (how: number, ids: number, number: number, payload: Uint8Array): Uint8Array =>
  join([how, ids, number, payload.length], payload);
const halves = (name: string): [Buffer, Buffer] => {
  const hello = clientHello(name);
  return [crypto(0, hello.subarray(0, 100)), crypto(100, hello.subarray(100))];
};
const whole = (name: string): Buffer => crypto(0, clientHello(name));

export const quicTarget: FuzzTarget = {
  name: "quic-initial",
  seeds: () => {
    const [first, second] = halves(GOOD);
    const [evil, evilEnd] = halves("evil.example");
    return [
      packet(0, 0, 0, whole(GOOD)),
      packet(2, 1, 3, whole(GOOD)),
      packet(0, 0, 0, whole("evil.example")),
      join(packet(0, 0, 1, second), packet(0, 0, 0, first), packet(4, 0, 0, Uint8Array.of(0x40, 1, 2))),
      join(packet(0, 0, 0, whole(GOOD)), packet(0, 1, 0, evil), packet(0, 1, 1, evilEnd)),
      join(packet(0, 0, 0, whole(GOOD)), packet(1, 1, 0, evil), packet(64, 1, 1, Uint8Array.of(1))),
      join(
        packet(0, 0, 0, whole(GOOD)),
        packet(1, 1, 0, evilEnd),
        packet(64, 1, 2, Uint8Array.of(2, 0, 0, 0, 0)),
      ),
      join(packet(1, 0, 0, first), packet(1, 0, 1, second), packet(16, 0, 2, Buffer.alloc(30))),
      join(packet(0, 0, 0, first), packet(0, 0, 1, evilEnd)),
    ];
  },
  dictionary: [
    ...words(GOOD, "evil.example"),
    Uint8Array.of(6, 0, 0x40),
    Uint8Array.of(2, 0, 0, 0, 0),
    Uint8Array.of(0xc0, 0, 0, 0, 1, 8),
    whole(GOOD),
    whole("evil.example"),
  ],
  lengthMax: 1200,
  run: (input) => {
    const server = new Server();
    const policy = freshRig();
    for (const datagram of datagramsOf(input)) {
      for (const { octets } of policy.datagrams(ADDRESS, 443, [datagram], 10_000 + flows)) {
        server.take(Buffer.from(octets));
      }
    }
    flows++;
    for (const name of server.names) assert.ok(isGood(name), `the server read ${name}`);
  },
  reset: () => {
    rig = null;
  },
};
