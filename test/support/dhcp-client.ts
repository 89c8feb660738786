/** DHCP messages as clients send them, and replies taken apart, without the codecs under test. */
import type { DhcpOutcome, DhcpReply } from "../../src/engine/service/dhcp.ts";

export interface ClientMessage {
  /** Option 53; leave it out for BOOTP. */
  readonly type?: number;
  readonly mac?: readonly number[];
  readonly ciaddr?: number;
  readonly giaddr?: number;
  readonly broadcast?: boolean;
  readonly requested?: number;
  readonly serverId?: number;
  /** Any further options, values as octets. */
  readonly options?: Readonly<Record<number, readonly number[]>>;
}

export const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
export const XID = 0x12345678;

/** Octets of an int32, for option values. */
export function quad(address: number): number[] {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255];
}

/** A MAC for client number `n`. */
export function macOf(n: number): number[] {
  return [0x02, 0, ...quad(n)];
}

/** The message as octets. */
export function clientMessage(from: ClientMessage): Uint8Array {
  const {
    type,
    mac = MAC,
    ciaddr = 0,
    giaddr = 0,
    broadcast = false,
    requested,
    serverId,
    options = {},
  } = from;
  const all: [number, readonly number[]][] = Object.entries(options).map(([code, value]) => [
    Number(code),
    value,
  ]);
  if (serverId !== undefined) all.unshift([54, quad(serverId)]);
  if (requested !== undefined) all.unshift([50, quad(requested)]);
  if (type !== undefined) all.unshift([53, [type]]);
  const tail = all.flatMap(([code, value]) => [code, value.length, ...value]);
  const octets = new Uint8Array(Math.max(300, 240 + tail.length + 1));
  const view = new DataView(octets.buffer);
  octets.set([1, 1, 6, 0]);
  view.setInt32(4, XID);
  view.setUint16(10, broadcast ? 0x8000 : 0);
  view.setInt32(12, ciaddr);
  view.setInt32(24, giaddr);
  octets.set(mac, 28);
  octets.set([0x63, 0x82, 0x53, 0x63, ...tail, 255], 236);
  return octets;
}

/** A reply in plain values. Options by number as octets; `codes` in the order sent, pieces once. */
export interface PlainReply {
  readonly type: number | undefined;
  readonly yiaddr: number;
  readonly ciaddr: number;
  readonly siaddr: number;
  readonly sname: string;
  readonly file: string;
  readonly options: Readonly<Record<number, readonly number[]>>;
  readonly codes: readonly number[];
  readonly sent: DhcpReply;
}

export function isReply(outcome: DhcpOutcome): outcome is DhcpReply {
  return "reply" in outcome;
}

/** Takes an outcome apart; throws when it is none with a reply. Options in `file` and `sname` are not looked at. */
export function plain(outcome: DhcpOutcome): PlainReply {
  if (!isReply(outcome)) throw new Error(`no reply: ${outcome.drop}`);
  const { reply } = outcome;
  const view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
  const options: Record<number, number[]> = {};
  const codes: number[] = [];
  for (let at = 240; reply[at] !== 255; ) {
    const code = reply[at];
    if (!codes.includes(code)) codes.push(code);
    options[code] = [...(options[code] ?? []), ...reply.slice(at + 2, at + 2 + reply[at + 1])];
    at += 2 + reply[at + 1];
  }
  const text = (from: number, to: number): string =>
    new TextDecoder().decode(reply.slice(from, to)).replace(/\0.*$/s, "");
  return {
    type: options[53]?.[0],
    yiaddr: view.getInt32(16),
    ciaddr: view.getInt32(12),
    siaddr: view.getInt32(20),
    sname: text(44, 108),
    file: text(108, 236),
    options,
    codes,
    sent: outcome,
  };
}
