/** A DHCPv6 server with the default plan, asked in the plain values of `dhcp6-client.ts`. */
import type { Dhcp6Config } from "../../src/engine/config.ts";
import { Dhcp6Server } from "../../src/engine/service/dhcpv6.ts";
import {
  CLIENT_MAC,
  type Client6Message,
  client6Message,
  long,
  type PlainReply6,
  plain6,
  SERVER_DUID,
} from "./dhcp6-client.ts";
import { defaultDhcp6, PREFIX6 } from "./dhcp6-server.ts";

export const FIRST = `${PREFIX6}15`;
export const SECOND = `${PREFIX6}16`;
export const DUID_B = [0, 2, 0, 0, 0, 9, 1, 2, 3];

export interface How {
  readonly mac?: readonly number[];
  readonly now?: number;
  readonly toGroup?: boolean;
}

export function serve(config: Partial<Dhcp6Config> = {}, existing?: Dhcp6Server) {
  const dhcp = existing ?? new Dhcp6Server({ ...defaultDhcp6, ...config });
  const handle = (octets: Uint8Array, { mac = CLIENT_MAC, now = 0, toGroup = true }: How = {}) =>
    dhcp.handle(octets, Uint8Array.from(mac), toGroup, now);
  const ask = (message: Client6Message, how: How = {}): PlainReply6 => {
    const outcome = handle(client6Message(message), how);
    if (!("reply" in outcome)) throw new Error(outcome.drop);
    return plain6(outcome.reply);
  };
  const drop = (message: Client6Message, how: How = {}): string => {
    const outcome = handle(client6Message(message), how);
    return "drop" in outcome ? outcome.drop : `answered with ${outcome.reply[0]}`;
  };
  /** SOLICIT and REQUEST; the address leased, or the status. */
  const lease = (message: Partial<Client6Message> = {}, how: How = {}): string | number | undefined => {
    const ias = message.ias ?? [{}];
    ask({ ...message, type: 1, ias }, how);
    const reply = ask({ ...message, type: 3, server: SERVER_DUID, ias }, how);
    return reply.ias[0].addresses[0]?.address ?? reply.ias[0].status;
  };
  return { dhcp, handle, ask, drop, lease };
}

export const granted = (address: string) => [{ address: long(address), preferred: 14_400, valid: 86_400 }];
export const withdrawn = (address: string) => ({ address: long(address), preferred: 0, valid: 0 });
