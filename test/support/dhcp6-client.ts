/** DHCPv6 messages as clients send them, and replies taken apart, without the codecs under test. */
import { defaultDhcp6 } from "./dhcp6-server.ts";
import { octets6 } from "./frames6.ts";

export const CLIENT_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
export const OTHER_CLIENT_MAC = [0x52, 0x54, 0, 0, 0, 9] as const;
/** DUID-UUID, which tells nothing of a NIC. */
export const DUID = [0, 4, ...Array.from({ length: 16 }, (_, i) => i)] as const;
export const SERVER_DUID = [0, 3, 0, 1, ...defaultDhcp6.serverMac];

export interface Ia {
  readonly iaid?: number;
  readonly addresses?: readonly string[];
  /** 3: IA_NA, 25: IA_PD. */
  readonly code?: number;
}

export interface Client6Message {
  readonly type: number;
  readonly duid?: readonly number[] | null;
  readonly server?: readonly number[];
  readonly ias?: readonly Ia[];
  /** Codes of the option request option. */
  readonly request?: readonly number[];
  readonly options?: readonly (readonly [code: number, value: readonly number[]])[];
}

const uint16 = (n: number): number[] => [n >>> 8, n & 255];
const uint32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const option = (code: number, value: readonly number[]): number[] => [
  ...uint16(code),
  ...uint16(value.length),
  ...value,
];

export function client6Message({
  type,
  duid = DUID,
  server,
  ias = [],
  request,
  options = [],
}: Client6Message): Uint8Array {
  return Uint8Array.from([
    ...[type, 0xab, 0xcd, 0xef],
    ...(duid === null ? [] : option(1, duid)),
    ...(server === undefined ? [] : option(2, server)),
    ...ias.flatMap(({ iaid = 1, addresses = [], code = 3 }) =>
      option(code, [
        ...uint32(iaid),
        ...new Array<number>(8).fill(0),
        ...addresses.flatMap((address) => option(5, [...octets6(address), ...new Array<number>(8).fill(0)])),
      ]),
    ),
    ...(request === undefined ? [] : option(6, request.flatMap(uint16))),
    ...options.flatMap(([code, value]) => option(code, value)),
  ]);
}

export interface PlainIa {
  readonly code: number;
  readonly iaid: number;
  readonly t1: number;
  readonly t2: number;
  readonly status: number | undefined;
  readonly addresses: readonly { address: string; preferred: number; valid: number }[];
}

export interface PlainReply6 {
  readonly type: number;
  readonly transaction: readonly number[];
  readonly status: number | undefined;
  readonly ias: readonly PlainIa[];
  readonly codes: readonly number[];
  readonly options: Readonly<Record<number, readonly number[]>>;
  readonly octets: Uint8Array;
}

function list(octets: readonly number[]): [number, number[]][] {
  const options: [number, number[]][] = [];
  for (let at = 0; at < octets.length; ) {
    const length = (octets[at + 2] << 8) | octets[at + 3];
    options.push([(octets[at] << 8) | octets[at + 1], octets.slice(at + 4, at + 4 + length)]);
    at += 4 + length;
  }
  return options;
}

const number32 = (octets: readonly number[], at: number): number =>
  octets[at] * 2 ** 24 + (octets[at + 1] << 16) + (octets[at + 2] << 8) + octets[at + 3];

/** Eight groups in hexadecimal, nothing shortened but leading zeros. */
function longText(octets: readonly number[]): string {
  return Array.from({ length: 8 }, (_, i) => ((octets[i * 2] << 8) | octets[i * 2 + 1]).toString(16)).join(
    ":",
  );
}

/** The same for an address as people write it. */
export function long(address: string): string {
  return longText(octets6(address));
}

export function plain6(octets: Uint8Array): PlainReply6 {
  const options = list([...octets.slice(4)]);
  const status = (of: readonly [number, number[]][]): number | undefined => {
    const found = of.find(([code]) => code === 13);
    return found && (found[1][0] << 8) | found[1][1];
  };
  return {
    type: octets[0],
    transaction: [...octets.slice(1, 4)],
    status: status(options),
    ias: options
      .filter(([code]) => code === 3 || code === 25)
      .map(([code, value]) => {
        const inner = list(value.slice(12));
        return {
          code,
          iaid: number32(value, 0),
          t1: number32(value, 4),
          t2: number32(value, 8),
          status: status(inner),
          addresses: inner
            .filter(([innerCode]) => innerCode === 5)
            .map(([, v]) => ({ address: longText(v), preferred: number32(v, 16), valid: number32(v, 20) })),
        };
      }),
    codes: options.map(([code]) => code),
    options: Object.fromEntries(options),
    octets,
  };
}
