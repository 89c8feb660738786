/** IP packets that are well-formed and that no guest has any use for, each with the reason it is dropped for. */
import type { DropReasonName } from "../../src/engine/metrics/drop-reasons.ts";
import { ip } from "./frames.ts";

export interface OddPacket {
  readonly octets: Buffer;
  readonly dropped: DropReasonName;
}

export interface Place {
  readonly guest: number;
  readonly gateway: number;
  readonly outside: number;
}

interface Fields {
  readonly from: number;
  readonly to: number;
  readonly protocol: number;
  readonly ttl?: number;
  /** Padded to a multiple of four with "end of list". */
  readonly options?: readonly number[];
  readonly payload?: Buffer;
}

function checksum(octets: Buffer): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += octets.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function packet({ from, to, protocol, ttl = 64, options = [], payload = Buffer.alloc(8) }: Fields): Buffer {
  const headerOctets = 20 + Math.ceil(options.length / 4) * 4;
  const octets = Buffer.concat([Buffer.alloc(headerOctets), payload]);
  octets[0] = 0x40 | (headerOctets / 4);
  octets.writeUInt16BE(octets.length, 2);
  octets.writeUInt16BE(1, 4);
  octets[8] = ttl;
  octets[9] = protocol;
  octets.writeInt32BE(from, 12);
  octets.writeInt32BE(to, 16);
  octets.set(options, 20);
  octets.writeUInt16BE(checksum(octets.subarray(0, headerOctets)), 10);
  return octets;
}

/** An ICMP or IGMP message: type, code, checksum, the rest. */
function message(type: number): Buffer {
  const octets = Buffer.alloc(16);
  octets[0] = type;
  octets.writeUInt16BE(checksum(octets), 2);
  return octets;
}

/** An SCTP INIT, a GRE header with a key, ESP: enough of each to be taken for one. */
const SCTP_INIT = Buffer.from("30390050000000000000000001000014000000010000ffff0001000100000001", "hex");
const GRE = Buffer.from("2000080000000001", "hex");
const ESP = Buffer.from("0000000100000001deadbeef", "hex");

const [ICMP, IGMP, TCP, UDP, GRE_PROTOCOL, ESP_PROTOCOL, SCTP] = [1, 2, 6, 17, 47, 50, 132];
/** Record route, timestamp, router alert, no operation, and one that nobody has defined. */
const OPTIONS = [
  [7, 7, 4, 0, 0, 0, 0],
  [68, 8, 5, 0, 0, 0, 0, 0],
  [148, 4, 0, 0],
  [1, 1, 1, 1],
  [158, 4, 1, 2],
];
const [LOOSE_ROUTE, STRICT_ROUTE] = [131, 137];

/** Every one of them once. */
export function oddPackets({ guest, gateway, outside }: Place): OddPacket[] {
  const odd: OddPacket[] = [];
  const add = (dropped: DropReasonName, fields: Partial<Fields>): void => {
    odd.push({ octets: packet({ from: guest, to: gateway, protocol: 253, ...fields }), dropped });
  };
  for (let type = 0; type < 256; type++) {
    add("icmp", { protocol: ICMP, to: type % 2 === 0 ? gateway : outside, payload: message(type) });
  }
  for (const type of [0x11, 0x12, 0x16, 0x17, 0x22]) add("igmp", { protocol: IGMP, payload: message(type) });
  for (const to of [gateway, outside]) {
    add("ipv4-unknown-protocol", { protocol: SCTP, to, payload: SCTP_INIT });
    add("ipv4-unknown-protocol", { protocol: GRE_PROTOCOL, to, payload: GRE });
    add("ipv4-unknown-protocol", { protocol: ESP_PROTOCOL, to, payload: ESP });
    for (let protocol = 0; protocol < 256; protocol++) {
      if (![ICMP, IGMP, TCP, UDP].includes(protocol)) add("ipv4-unknown-protocol", { protocol, to });
    }
    for (const options of OPTIONS) add("icmp", { protocol: ICMP, to, options, payload: message(8) });
    for (const kind of [LOOSE_ROUTE, STRICT_ROUTE]) {
      for (const protocol of [ICMP, TCP, UDP]) {
        add("ipv4-options-source-route", { protocol, to, options: [kind, 7, 4, 8, 8, 8, 8] });
      }
    }
  }
  for (const ttl of [0, 1]) {
    for (const protocol of [ICMP, TCP, UDP, SCTP]) add("ipv4-ttl-expired", { protocol, to: outside, ttl });
  }
  for (const from of ["10.0.2.77", "10.0.2.2", "8.8.8.8", "192.168.1.1", "240.0.0.1"].map(ip)) {
    for (const protocol of [ICMP, TCP, UDP, 255]) add("ipv4-spoofed-source", { from, protocol, to: outside });
  }
  return odd;
}
