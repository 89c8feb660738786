/**
 * A guest's IPv6 packets put to a whole engine, and what came of each in one line: the drop reason, or what left for the
 * host and what came back. Every answer's checksum is checked; octets are read without the codecs under test.
 */
import assert from "node:assert/strict";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../src/engine/config.ts";
import { formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { AccountedExchange } from "./accounted-exchange.ts";
import { checksum6, frame6, GUEST6, packet6, tcp6, udp6 } from "./frames6.ts";

export const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
export const OTHER_MAC = [0x52, 0x54, 0, 0, 0, 9];
export const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
export const LINK_LOCAL = "fe80::5054:ff:fe12:3456";
export const REMOTE = "2001:db8::1";
export const DNS6 = "fd71:1ae0:d44d:2::3";
export const PREFIX = "fd71:1ae0:d44d:2::";
export const SYN = 2;

const MESSAGES: Readonly<Record<number, string>> = { 133: "RS", 134: "RA", 135: "NS", 136: "NA" };
const [RST, ACK] = [4, 16];

export interface Rig {
  /** One line for a packet, sent from this MAC to that. */
  readonly send: (packet: Uint8Array, from?: readonly number[], to?: readonly number[]) => string;
  /** Lines for several, one after the other. */
  readonly sendAll: (...packets: readonly Uint8Array[]) => string[];
  readonly exchange: AccountedExchange;
}

/** An engine with IPv6 on, whose advertisements at the link's start are over. */
export function rig6(over: Partial<EngineConfig> = {}): Rig {
  const { gatewayMac } = defaultEngineConfig();
  const exchange = new AccountedExchange({ ipv6: defaultIpv6Config(gatewayMac), ...over });
  exchange.settle();
  const send: Rig["send"] = (packet, from = MAC, to = GATEWAY_MAC) => {
    const { sockets, datagrams } = exchange.network;
    const before = [sockets.length, datagrams.length];
    const { verdict, replies } = exchange.send(frame6(packet, to, from));
    const lines = [
      ...sockets.slice(before[0]).map((socket) => `TCP to ${endpoint(socket.to, socket.port)}`),
      ...datagrams
        .slice(before[1])
        .map(({ words, port, octets }) => `UDP to ${endpoint(words, port)} ${hex(octets)}`),
      ...replies.map(describe),
    ];
    if (verdict !== "handled") lines.unshift(verdict);
    return lines.join("; ") || "handled";
  };
  return { send, sendAll: (...packets) => packets.map((packet) => send(packet)), exchange };
}

/** What a new engine makes of the packets; the last one's line. */
export function outcome(
  packets: Uint8Array | readonly Uint8Array[],
  over: Partial<EngineConfig> = {},
): string {
  const { sendAll } = rig6(over);
  return sendAll(...(packets instanceof Uint8Array ? [packets] : packets)).at(-1) ?? "";
}

function endpoint(words: readonly number[], port: number): string {
  return `[${formatIpv6(words)}]:${port}`;
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex");
}

/** A frame of ours in a few words. */
export function describe(frame: Uint8Array): string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const address = (at: number): string =>
    formatIpv6([0, 4, 8, 12].map((offset) => view.getInt32(at + offset)));
  assert.equal(view.getUint16(12), 0x86dd);
  assert.equal(view.getUint16(18), frame.length - 54);
  const [source, destination, next, hops] = [address(22), address(38), frame[20], frame[21]];
  if (next !== 44) {
    assert.ok(
      [0, 0xffff].includes(checksum6(source, destination, next, [...frame.slice(54)])),
      "a wrong checksum",
    );
  }
  const way = `${source} > ${destination}`;
  if (next === 58) return `${icmp(frame, view, address)} ${way} ${hops} ${hex(frame.slice(0, 6))}`;
  assert.equal(hops, 64);
  const ports = `${view.getUint16(54)} > ${view.getUint16(56)}`;
  if (next === 6) return `TCP ${flagsOf(frame[67])} ${way}`;
  return next === 17 ? `UDP ${way} ${ports}` : `${next} ${way}`;
}

function icmp(frame: Uint8Array, view: DataView, address: (at: number) => string): string {
  const name = MESSAGES[frame[54]] ?? `ICMPv6 ${frame[54]}`;
  assert.equal(frame[55], 0);
  if (name !== "NA") return name;
  const bits = view.getInt32(58);
  assert.equal(bits & 0x1fffffff, 0);
  const flags = [
    bits < 0 ? "R" : "",
    (bits & 0x40000000) !== 0 ? "S" : "",
    (bits & 0x20000000) !== 0 ? "O" : "",
  ];
  assert.equal(hex(frame.slice(78)), `0201${hex(Uint8Array.from(GATEWAY_MAC))}`);
  return `NA ${flags.join("") || "-"} ${address(62)}`;
}

function flagsOf(flags: number): string {
  const rest = (flags & ACK) !== 0 ? "-ACK" : "";
  return `${(flags & RST) !== 0 ? "RST" : (flags & SYN) !== 0 ? "SYN" : ""}${rest}`;
}

/** A UDP datagram behind other headers: `next` says what the first of `headers` is. */
export function udpBehind(
  next: number,
  headers: readonly number[],
  { source = GUEST6, destination = REMOTE, hopLimit = 64 } = {},
  data: readonly number[] = [1, 2],
): Uint8Array {
  const datagram = udp6({ source, destination }, 5000, 6000, data).slice(40);
  return packet6({ source, destination, next, hopLimit, payload: [...headers, ...datagram] });
}

/** What that datagram looks like to the host. */
export const SENT = "UDP to [2001:db8::1]:6000 0102";

/** A SYN to port 80. */
export function syn(destination = REMOTE, source = GUEST6): Uint8Array {
  return tcp6(
    { source, destination },
    { from: 40_000, to: 80, sequence: 1, flags: SYN, options: [2, 4, 5, 160] },
  );
}
