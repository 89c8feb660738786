/** One frame of each kind that the recorded guest sent, as the measure of what a frame looks like before it is bent. */
import { recordedGuest } from "../support/recorded-guest.ts";
import { udp } from "./guest-packets.ts";

export interface GoldenFrame {
  readonly name: string;
  readonly octets: Uint8Array;
}

const [ICMP, TCP, UDP] = [1, 6, 17];
const [FIN, SYN, ACK] = [1, 2, 16];

const u16 = (octets: Uint8Array, at: number): number => (octets[at] << 8) | octets[at + 1];
const isIpv4 = (o: Uint8Array, protocol: number): boolean => u16(o, 12) === 0x0800 && o[23] === protocol;
const isFragment = (o: Uint8Array): boolean => (u16(o, 20) & 0x3fff) !== 0;
const isTcp = (o: Uint8Array, mask: number, flags: number): boolean =>
  isIpv4(o, TCP) && (o[47] & mask) === flags;
const isUdp = (o: Uint8Array, port: number): boolean =>
  isIpv4(o, UDP) && !isFragment(o) && u16(o, 36) === port;
const tcpPayload = (o: Uint8Array): number => u16(o, 16) - 20 - (o[46] >> 4) * 4;

const KINDS: [string, (octets: Uint8Array) => boolean][] = [
  ["ARP request", (o) => u16(o, 12) === 0x0806],
  ["DHCP message", (o) => isUdp(o, 67)],
  ["TCP SYN", (o) => isTcp(o, SYN, SYN)],
  ["TCP data", (o) => isTcp(o, SYN | FIN, 0) && tcpPayload(o) > 0 && o.length < 500],
  ["TCP ACK", (o) => isTcp(o, SYN | FIN | ACK, ACK) && tcpPayload(o) === 0],
  ["TCP FIN", (o) => isTcp(o, FIN, FIN)],
  ["first fragment", (o) => isIpv4(o, UDP) && (u16(o, 20) & 0x3fff) === 0x2000],
  ["last fragment", (o) => isIpv4(o, UDP) && isFragment(o) && (u16(o, 20) & 0x2000) === 0],
  ["ICMP echo", (o) => isIpv4(o, ICMP)],
];

/** Frames of the capture without what lies behind their IP packet, and a small datagram, which it has none of. */
function collect(): GoldenFrame[] {
  const frames = recordedGuest()
    .filter(({ fromGuest }) => fromGuest)
    .map(({ octets }) => octets);
  const recorded = KINDS.map(([name, is]) => {
    const found = frames.find(is);
    if (found === undefined) throw new Error(`the recording has no ${name}`);
    const end = u16(found, 12) === 0x0806 ? 42 : 14 + u16(found, 16);
    return { name, octets: found.slice(0, end) };
  });
  return [
    ...recorded,
    { name: "UDP datagram", octets: new Uint8Array(udp({ payload: Buffer.alloc(32, 7) })) },
  ];
}

export const golden: readonly GoldenFrame[] = collect();
