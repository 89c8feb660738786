/**
 * Where the guest's packets may go (architecture: never to the host's own loopback, link-local or nonsense addresses
 * unless the operator allows it), and what the host side looks like from the guest. Every answer is an int; asked
 * once per TCP connection and per UDP datagram.
 */

import { ADDRESS_PORT, type AddressWords } from "../boundary.ts";
import type { EngineConfig, ResolverAddress } from "../config.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { PROTOCOL_TCP } from "../wire/ipv4.ts";

/** Verdicts; 0 and more name the guest-forward that serves the address. */
export const GO = -1;
/** Nothing will ever be there: TCP gets a reset, UDP silence. */
export const REFUSE = -2;
/** Silence. */
export const IGNORE = -3;

const V4_MAPPED = 0xffff;
const LOOPBACK = 0x7f000001;
const DNS_PORT = 53;

const REFUSED = dropReason("destination-refused");
const RESTRICTED = dropReason("destination-restricted");
const NO_SERVICE = dropReason("destination-no-service");
const NO_RESOLVER = dropReason("dns-no-resolver");

/** An embedding program's own say, once per new TCP connection or UDP mapping and remote. */
export type Admit = (
  protocol: "tcp" | "udp",
  guestAddress: number,
  remoteAddress: number,
  remotePort: number,
) => boolean;

export class Destinations {
  private readonly netmask: number;
  /** Why the last verdict was not GO. */
  reason = 0;

  constructor(
    private readonly config: EngineConfig,
    private readonly resolver: () => ResolverAddress | null,
    private readonly admit: Admit | undefined,
  ) {
    this.netmask = config.prefixLength === 0 ? 0 : (-1 << (32 - config.prefixLength)) | 0;
  }

  onGuestNetwork(address: number): boolean {
    return (address & this.netmask) === (this.config.network & this.netmask);
  }

  isGuestNetworkBroadcast(address: number): boolean {
    return address === -1 || address === (this.config.network | ~this.netmask);
  }

  /** A new TCP connection: fills `to` on GO; a service index for a guest-forward; else sets `reason`. */
  tcp(guest: number, remoteAddress: number, remotePort: number, to: AddressWords): number {
    const services = this.config.guestForwards;
    for (let i = 0; i < services.length; i++) {
      if (services[i].address === remoteAddress && services[i].port === remotePort) {
        to[0] = to[1] = 0;
        to[2] = V4_MAPPED;
        to[3] = remoteAddress;
        to[ADDRESS_PORT] = remotePort;
        return i;
      }
    }
    if (remoteAddress === this.config.dns && remotePort === DNS_PORT && this.config.dns !== 0) {
      return this.toResolver(to);
    }
    return this.route(PROTOCOL_TCP, guest, remoteAddress, remotePort, to);
  }

  private toResolver(to: AddressWords): number {
    if (this.config.restrict) {
      this.reason = RESTRICTED;
      return IGNORE;
    }
    const resolver = this.resolver();
    if (resolver === null) {
      this.reason = NO_RESOLVER;
      return REFUSE;
    }
    for (let i = 0; i < 4; i++) to[i] = resolver.words[i];
    to[ADDRESS_PORT] = resolver.port;
    return GO;
  }

  /** The rules for any address. Sets `reason` when the verdict is not GO. */
  route(protocol: number, guest: number, remote: number, port: number, to: AddressWords): number {
    if (this.config.restrict) {
      this.reason = RESTRICTED;
      return IGNORE;
    }
    let target = remote;
    if (remote === this.config.gateway && this.config.allowHostLoopback) {
      target = LOOPBACK;
    } else if (this.onGuestNetwork(remote)) {
      this.reason = NO_SERVICE;
      return REFUSE;
    } else if (!this.isLegitimate(remote)) {
      this.reason = REFUSED;
      return REFUSE;
    }
    if (this.admit !== undefined) {
      const name = protocol === PROTOCOL_TCP ? "tcp" : "udp";
      if (!this.admit(name, guest, remote, port)) {
        this.reason = REFUSED;
        return REFUSE;
      }
    }
    to[0] = to[1] = 0;
    to[2] = V4_MAPPED;
    to[3] = target;
    to[ADDRESS_PORT] = port;
    return GO;
  }

  /** Not 0/8, loopback, multicast, class E or broadcast; link-local only where allowed. */
  private isLegitimate(address: number): boolean {
    const first = address >>> 24;
    if (first === 0 || first === 127 || first >= 224) return false;
    return address >>> 16 !== 0xa9fe || this.config.allowLinkLocal;
  }

  /**
   * What a host-side IPv4 address looks like to the guest: loopback and addresses inside the guest's own network
   * appear as the gateway.
   */
  seenByGuest(address: number): number {
    return address >>> 24 === 127 || this.onGuestNetwork(address) ? this.config.gateway : address;
  }
}
