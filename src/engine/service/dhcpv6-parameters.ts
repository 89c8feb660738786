/** The options a DHCPv6 server gives out besides addresses, as octets made once from the configuration. */
import type { Dhcp6Config } from "../config.ts";
import { encodeUint16, encodeUint32 } from "../wire/dhcp-options.ts";
import * as dhcp6 from "../wire/dhcpv6.ts";
import { encodeDomainList, encodeFqdn } from "../wire/domain-list.ts";

/** After this long a client without a lease asks again (RFC 9915 section 21.23: the default). */
const REFRESH_SECONDS = 86_400;
/** Flags of option 39 (RFC 4704 section 4.1): we update no DNS; a client that wanted us to is overruled. */
const FQDN_SERVER_UPDATES = 1;
const FQDN_OVERRIDE = 2;
const FQDN_NO_UPDATE = 4;
/** The class of UEFI's HTTP boot, which must come back (UEFI 2.10 section 24.7). */
const HTTP_CLIENT = new TextEncoder().encode("HTTPClient");
const ENTERPRISE_OCTETS = 4;

export class Dhcp6Parameters {
  private readonly values = new Map<number, Uint8Array>();
  private readonly name: Uint8Array;
  /** What a client is given although its request leaves it out: the operator asked for it by number. */
  private readonly always: readonly number[];

  /** Throws RangeError for an extra option the protocol sets itself. */
  constructor(config: Dhcp6Config) {
    const natural: readonly dhcp6.Dhcp6Option[] = [
      { code: dhcp6.DNS_SERVERS, value: dhcp6.encodeAddresses6(config.dnsServers) },
      { code: dhcp6.DOMAIN_LIST, value: encodeDomainList(config.searchDomains) },
      { code: dhcp6.BOOT_FILE_URL, value: new TextEncoder().encode(config.bootUrl ?? "") },
    ];
    for (const { code, value } of [...natural, ...config.extraOptions]) {
      if (dhcp6.PROTOCOL_OPTIONS_6.has(code)) {
        throw new RangeError(`DHCPv6 option ${code} is set by the server itself`);
      }
      if (value.length > 0) this.values.set(code, value);
      else this.values.delete(code);
    }
    const name = [config.hostname, config.hostname && config.domain].filter(Boolean).join(".");
    this.name = encodeFqdn(name);
    this.always = config.extraOptions.map((option) => option.code);
  }

  /**
   * The options for one message: those it asks for, in that order, and those every client is given; all of them when
   * it asks for none. `stateless`: the client has no lease to come back for, and is told when to.
   */
  select(message: readonly dhcp6.Dhcp6Option[], stateless: boolean): dhcp6.Dhcp6Option[] {
    const values = new Map(this.values);
    if (stateless && !values.has(dhcp6.INFORMATION_REFRESH_TIME)) {
      values.set(dhcp6.INFORMATION_REFRESH_TIME, encodeUint32(REFRESH_SECONDS));
    } else if (!stateless) {
      values.delete(dhcp6.INFORMATION_REFRESH_TIME);
    }
    const requested = requestedBy(message);
    const mandatory = this.answersTo(message, requested, values);
    const codes = new Set([...mandatory, ...(requested ?? values.keys()), ...this.always]);
    return Array.from(codes, (code) => ({ code, value: values.get(code) })).filter(
      (option): option is dhcp6.Dhcp6Option => option.value !== undefined,
    );
  }

  /** Options that answer an option of the message; puts their values where they are not the operator's. */
  private answersTo(
    message: readonly dhcp6.Dhcp6Option[],
    requested: readonly number[] | undefined,
    values: Map<number, Uint8Array>,
  ): number[] {
    const codes: number[] = [];
    const fqdn = firstValue(message, dhcp6.CLIENT_FQDN);
    const wantsName = fqdn !== undefined || (requested?.includes(dhcp6.CLIENT_FQDN) ?? false);
    const name = this.name.length > 0 ? this.name : (fqdn?.subarray(1) ?? this.name);
    if (wantsName && name.length > 0 && !values.has(dhcp6.CLIENT_FQDN)) {
      const override = fqdn !== undefined && (fqdn[0] & FQDN_SERVER_UPDATES) !== 0 ? FQDN_OVERRIDE : 0;
      values.set(dhcp6.CLIENT_FQDN, Uint8Array.of(FQDN_NO_UPDATE | override, ...name));
      codes.push(dhcp6.CLIENT_FQDN);
    }
    const vendorClass = firstValue(message, dhcp6.VENDOR_CLASS);
    const isHttp = vendorClass !== undefined && isHttpClient(vendorClass);
    if (isHttp && values.has(dhcp6.BOOT_FILE_URL) && !values.has(dhcp6.VENDOR_CLASS)) {
      const enterprise = vendorClass.subarray(0, ENTERPRISE_OCTETS);
      values.set(
        dhcp6.VENDOR_CLASS,
        Uint8Array.of(...enterprise, ...encodeUint16(HTTP_CLIENT.length), ...HTTP_CLIENT),
      );
      codes.push(dhcp6.VENDOR_CLASS);
    }
    return codes;
  }
}

/** The value of the first option of this code. */
export function firstValue(options: readonly dhcp6.Dhcp6Option[], code: number): Uint8Array | undefined {
  return options.find((option) => option.code === code)?.value;
}

/** The codes of the option request option, or undefined without one. */
function requestedBy(message: readonly dhcp6.Dhcp6Option[]): number[] | undefined {
  const value = firstValue(message, dhcp6.OPTION_REQUEST);
  if (value === undefined) return undefined;
  return Array.from({ length: value.length >> 1 }, (_, i) => (value[i * 2] << 8) | value[i * 2 + 1]);
}

/** Whether the first class of a vendor class option begins as UEFI's HTTP boot does: "HTTPClient:Arch:…". */
function isHttpClient(value: Uint8Array): boolean {
  const at = ENTERPRISE_OCTETS + 2;
  return value.length >= at + HTTP_CLIENT.length && HTTP_CLIENT.every((octet, i) => value[at + i] === octet);
}
