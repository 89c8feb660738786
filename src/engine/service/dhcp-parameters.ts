/**
 * The options a DHCP server gives out, as octets made once from the configuration, and the order in which one reply
 * carries them.
 */
import type { DhcpConfig } from "../config.ts";
import { MTU_DEFAULT } from "../limits.ts";
import { formatIpv4 } from "../wire/address-text.ts";
import {
  BOOT_FILE_NAME,
  BROADCAST_ADDRESS,
  CLASSLESS_ROUTES,
  CLIENT_IDENTIFIER,
  DOMAIN_NAME_SERVER,
  END,
  encodeAddresses,
  encodeClasslessRoutes,
  encodeText,
  encodeUint16,
  encodeUint32,
  INTERFACE_MTU,
  IPV6_ONLY_PREFERRED,
  LEASE_TIME,
  MAXIMUM_MESSAGE_SIZE,
  MESSAGE_TYPE,
  type Option,
  OVERLOAD,
  PAD,
  PARAMETER_REQUEST_LIST,
  REBINDING_TIME,
  RELAY_AGENT_INFORMATION,
  RENEWAL_TIME,
  REQUESTED_ADDRESS,
  ROUTER,
  type Route,
  SERVER_IDENTIFIER,
  SUBNET_MASK,
  TFTP_SERVER_NAME,
} from "../wire/dhcp-options.ts";

/** Codes the protocol sets itself: an extra option may not replace them. */
const PROTOCOL_OPTIONS: ReadonlySet<number> = new Set([
  PAD,
  REQUESTED_ADDRESS,
  OVERLOAD,
  MESSAGE_TYPE,
  SERVER_IDENTIFIER,
  PARAMETER_REQUEST_LIST,
  MAXIMUM_MESSAGE_SIZE,
  CLIENT_IDENTIFIER,
  RELAY_AGENT_INFORMATION,
  END,
]);

/** A lease that never ends (RFC 2131 section 3.3). */
export const INFINITE_SECONDS = 0xffffffff;

export class DhcpParameters {
  /** Lease time when the client asks for none, seconds; option 51 of the extra options, or the configured one. */
  readonly leaseSeconds: number;
  /** For `siaddr`: the configured next server, or option 66 where that is an address. 0: none. */
  readonly nextServer: number;
  private readonly values = new Map<number, Uint8Array>();
  /** What a client is given although its parameter request list leaves it out. */
  private readonly always: readonly number[];
  private readonly hasOwnIpv6Only: boolean;

  /** Throws RangeError for an extra option the protocol sets itself, or for a lease time that is not four octets. */
  constructor(config: DhcpConfig) {
    for (const { code, value } of natural(config)) if (value.length > 0) this.values.set(code, value);
    let leaseSeconds = config.leaseSeconds;
    for (const { code, value } of config.extraOptions) {
      if (PROTOCOL_OPTIONS.has(code)) throw new RangeError(`DHCP option ${code} is set by the server itself`);
      if (code === LEASE_TIME) leaseSeconds = readLeaseTime(value);
      else if (value.length > 0) this.values.set(code, value);
      else this.values.delete(code);
    }
    this.leaseSeconds = leaseSeconds;
    this.nextServer = config.nextServer || addressIn(this.values.get(TFTP_SERVER_NAME));
    // RFC 2131 section 4.3.1: besides what is requested, parameters with values that are not the usual ones. A guest
    // that does not know them cannot use its network; what the operator added by number was asked for by name.
    this.always = [
      SUBNET_MASK,
      ROUTER,
      DOMAIN_NAME_SERVER,
      ...(config.mtu === MTU_DEFAULT ? [] : [INTERFACE_MTU]),
      // RFC 8925 section 3.3: never to who does not ask for it.
      ...config.extraOptions.map((option) => option.code).filter((code) => code !== IPV6_ONLY_PREFERRED),
    ];
    this.hasOwnIpv6Only = this.values.has(IPV6_ONLY_PREFERRED);
  }

  /** Whether a guest that can do without IPv4 is asked to; an operator's option 108 asks it always. */
  preferIpv6Only(isPreferred: boolean): void {
    if (this.hasOwnIpv6Only) return;
    // 0: for as long as the client thinks fit (RFC 8925 section 3.1).
    if (isPreferred) this.values.set(IPV6_ONLY_PREFERRED, encodeUint32(0));
    else this.values.delete(IPV6_ONLY_PREFERRED);
  }

  /** Whether the client that asks for these options is told to do without IPv4. */
  isIpv6Only(requested: Uint8Array | undefined): boolean {
    return this.values.has(IPV6_ONLY_PREFERRED) && requested?.includes(IPV6_ONLY_PREFERRED) === true;
  }

  /** Boot file name for the `file` field, or nothing. */
  get bootFile(): Uint8Array | undefined {
    return this.values.get(BOOT_FILE_NAME);
  }
  /** Server name for the `sname` field, or nothing. */
  get tftpServerName(): Uint8Array | undefined {
    return this.values.get(TFTP_SERVER_NAME);
  }

  /**
   * The options of one reply: what is requested, in that order, then what every client needs; without a request list
   * everything. `leaseSeconds` 0 is a reply without a lease (INFORM, BOOTP).
   */
  select(requested: Uint8Array | undefined, leaseSeconds: number): Option[] {
    const values = new Map(this.values);
    for (const [code, value] of timers(leaseSeconds)) if (!values.has(code)) values.set(code, value);
    if (leaseSeconds === 0) for (const code of [RENEWAL_TIME, REBINDING_TIME]) values.delete(code);
    if (requested === undefined) values.delete(IPV6_ONLY_PREFERRED);
    const wanted = requested ? [...requested, ...this.always] : values.keys();
    const codes = new Set<number>();
    for (const code of wanted) {
      // RFC 2132 section 3.3: the mask comes before the router.
      if (code === ROUTER) codes.add(SUBNET_MASK);
      codes.add(code);
    }
    return Array.from(codes, (code) => ({ code, value: values.get(code) })).filter(
      (option): option is Option => option.value !== undefined,
    );
  }
}

function natural(config: DhcpConfig): Option[] {
  const hostBits = ~config.netmask;
  const hasBroadcast = config.sendBroadcast && hostBits >>> 0 > 1;
  return [
    { code: SUBNET_MASK, value: encodeAddresses([config.netmask]) },
    { code: ROUTER, value: encodeAddresses(config.router ? [config.router] : []) },
    { code: DOMAIN_NAME_SERVER, value: encodeAddresses(config.dnsServers) },
    { code: INTERFACE_MTU, value: config.mtu ? encodeUint16(config.mtu) : new Uint8Array(0) },
    { code: BROADCAST_ADDRESS, value: encodeAddresses(hasBroadcast ? [config.rangeStart | hostBits] : []) },
    { code: CLASSLESS_ROUTES, value: encodeClasslessRoutes(withDefaultLast(config)) },
    { code: TFTP_SERVER_NAME, value: encodeText(config.nextServer ? formatIpv4(config.nextServer) : "") },
    ...config.options,
  ];
}

/**
 * The routes of option 121. A client that takes it ignores the router option (RFC 3442), so the default route is in it
 * too, and last: some clients need the route to the gateway before. No routes, no option.
 */
function withDefaultLast(config: DhcpConfig): Route[] {
  if (config.routes.length === 0) return [];
  const defaults = config.routes.filter((route) => route.prefixLength === 0);
  if (defaults.length === 0 && config.router) {
    defaults.push({ destination: 0, prefixLength: 0, gateway: config.router });
  }
  return [...config.routes.filter((route) => route.prefixLength !== 0), ...defaults];
}

/** Renewal at a half and rebinding at seven eighths of the lease (RFC 2131 section 4.4.5); never, if it never ends. */
function timers(leaseSeconds: number): [number, Uint8Array][] {
  if (leaseSeconds === 0 || leaseSeconds === INFINITE_SECONDS) return [];
  return [
    [RENEWAL_TIME, encodeUint32(Math.floor(leaseSeconds / 2))],
    [REBINDING_TIME, encodeUint32(Math.floor((leaseSeconds * 7) / 8))],
  ];
}

function readLeaseTime(value: Uint8Array): number {
  if (value.length !== 4)
    throw new RangeError(`DHCP option ${LEASE_TIME} takes four octets, not ${value.length}`);
  return new DataView(value.buffer, value.byteOffset).getUint32(0);
}

/** The address that `text` is as a dotted quad, or 0. */
function addressIn(text: Uint8Array | undefined): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(new TextDecoder().decode(text));
  const octets = parts ? parts.slice(1).map(Number) : [];
  return octets.every((octet) => octet <= 255)
    ? octets.reduce((address, octet) => (address << 8) | octet, 0)
    : 0;
}
