/** A DHCP server with the default plan, asked in the plain values of `dhcp-client.ts`. */
import { expect } from "vitest";
import { type DhcpConfig, defaultEngineConfig } from "../../src/engine/config.ts";
import { DhcpServer } from "../../src/engine/service/dhcp.ts";
import {
  BOOT_FILE_NAME,
  DOMAIN_NAME,
  DOMAIN_SEARCH,
  encodeText,
  HOST_NAME,
  type Option,
  TFTP_SERVER_NAME,
} from "../../src/engine/wire/dhcp-options.ts";
import { encodeSearchList } from "../../src/engine/wire/domain-list.ts";
import { type ClientMessage, clientMessage, isReply, type PlainReply, plain } from "./dhcp-client.ts";
import { ip } from "./frames.ts";

export const SERVER = ip("10.0.2.2");
export const FIRST = ip("10.0.2.15");
export const OTHER_MAC = [0x52, 0x54, 0, 0, 0, 9];
export const base = defaultEngineConfig().dhcp as DhcpConfig;

const [DISCOVER, REQUEST, ACK] = [1, 3, 5];

/** Options a client may ask for, by name. */
export interface Named {
  readonly hostname?: string;
  readonly domain?: string;
  readonly searchDomains?: readonly string[];
  readonly tftpServerName?: string;
  readonly bootFile?: string;
}

/** The default plan with changes. */
export function dhcpConfig({
  hostname = "",
  domain = "",
  searchDomains = [],
  tftpServerName = "",
  bootFile = "",
  ...config
}: Partial<DhcpConfig> & Named = {}): DhcpConfig {
  const options: Option[] = [
    { code: HOST_NAME, value: encodeText(hostname) },
    { code: DOMAIN_NAME, value: encodeText(domain) },
    { code: DOMAIN_SEARCH, value: encodeSearchList(searchDomains) },
    { code: TFTP_SERVER_NAME, value: encodeText(tftpServerName) },
    { code: BOOT_FILE_NAME, value: encodeText(bootFile) },
  ];
  return { ...base, options: options.filter(({ value }) => value.length > 0), ...config };
}

/** A server with changes to the default plan, and ways to ask it. */
export function serve(config: Partial<DhcpConfig> & Named = {}) {
  const server = new DhcpServer(dhcpConfig(config));
  const outcome = (message: ClientMessage, now = 0) => server.handle(clientMessage(message), now);
  const ask = (message: ClientMessage, now = 0): PlainReply => plain(outcome(message, now));
  const drop = (message: ClientMessage, now = 0): string => {
    const result = outcome(message, now);
    return isReply(result) ? `replied ${plain(result).type}` : result.drop;
  };
  /** DISCOVER and REQUEST; the address leased. */
  const lease = (message: ClientMessage = {}, now = 0): number => {
    const offer = ask({ ...message, type: DISCOVER }, now);
    const ack = ask({ ...message, type: REQUEST, requested: offer.yiaddr, serverId: SERVER }, now);
    expect(ack.type).toBe(ACK);
    return ack.yiaddr;
  };
  return { server, ask, drop, lease };
}
