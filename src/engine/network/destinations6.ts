/**
 * Where the guest's IPv6 packets may go, and what the host side looks like from the guest over IPv6: the rules of
 * destinations.ts. Every answer is an int; asked once per TCP connection and per UDP datagram.
 */
import { ADDRESS_PORT, type AddressWords, V4_MAPPED } from "../boundary.ts";
import type { EngineConfig, Ipv6Config } from "../config.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { extractIpv4, isOfPrefix, type Nat64Prefix } from "../wire/translated-address.ts";
import { DNS_PORT } from "../wire/udp.ts";
import { isLegitimate4, isLegitimate6, isUnicast6 } from "./addresses.ts";
import type { ControlPorts } from "./control-ports.ts";
import { GO, HERE, isDenial, refuse } from "./destinations.ts";
import type { FlowJudge, Wish6 } from "./judge.ts";

const REFUSED = dropReason("destination-refused");
const RESTRICTED = dropReason("destination-restricted");
const NO_SERVICE = dropReason("destination-no-service");

const CONTROL = dropReason("control-refused");

const LINK_LOCAL = 0xfe800000 | 0;
const LINK_LOCAL_MASK = 0xffc00000 | 0;
/** Where the remote's address is in a pair. */
const REMOTE = 4;

/** An address and port that a guest forward serves. */
interface Service6 {
  /** Its number among the guest forwards. */
  readonly index: number;
  readonly address: Int32Array;
  readonly port: number;
}

export class Destinations6 {
  private readonly prefix: Int32Array;
  private readonly gateway: Int32Array;
  private readonly dns: Int32Array | null;
  /** The prefix of the network's translator, if it has one. */
  private nat64: Nat64Prefix | null = null;
  /** Every address is what it says. */
  private isDirect: boolean;
  private readonly services: readonly Service6[];
  private readonly isShared: boolean;
  private readonly guest: Int32Array | null;
  /** As of `Destinations`. */
  controlPorts: ControlPorts | null = null;

  constructor(
    private readonly config: EngineConfig,
    { prefix, gateway, dns, shared, guestAddress }: Ipv6Config,
    private readonly judge: FlowJudge | null,
  ) {
    this.isDirect = !config.restrict;
    this.prefix = Int32Array.from(prefix);
    this.gateway = Int32Array.from(gateway);
    this.dns = dns && Int32Array.from(dns);
    this.isShared = shared;
    this.guest = guestAddress && Int32Array.from(guestAddress);
    this.services = config.guestForwards.flatMap(({ address6, port }, index) =>
      address6 === undefined ? [] : [{ index, address: Int32Array.from(address6), port }],
    );
  }

  /** Addresses of this prefix are IPv4 ones, and held to their rules. */
  setNat64(nat64: Nat64Prefix | null): void {
    this.nat64 = nat64;
    this.isDirect = !this.config.restrict && nat64 === null;
  }

  /** A new TCP connection. Returns a verdict; fills `to` if it goes out. */
  tcp(wish: Wish6, to: AddressWords): number {
    for (let i = 0; i < this.services.length; i++) {
      const { index, address, port } = this.services[i];
      if (port === wish.remotePort && isSame(address, wish.pair, REMOTE)) {
        setRemote(to, wish);
        return this.controlPorts?.isService(this.config.guestForwards[index]) ? refuse(CONTROL) : index;
      }
    }
    if (this.dns !== null && wish.remotePort === DNS_PORT && isSame(this.dns, wish.pair, REMOTE)) return HERE;
    const verdict = this.route(wish, to);
    if (verdict !== GO) return verdict;
    if (this.controlPorts?.has(to)) return refuse(CONTROL);
    return this.judge === null ? GO : this.judge.tcp6(wish);
  }

  /** A datagram to a remote. Fills `to` unless it is refused. */
  udp(wish: Wish6, to: AddressWords, nowMs: number): number {
    const verdict = this.route(wish, to);
    return verdict === GO && this.judge !== null ? this.judge.udp6(wish, nowMs) : verdict;
  }

  /** Whether a datagram to the remote of `wish` was dropped because the guest may not reach it, and one station could have that address. */
  isDenied({ pair }: Wish6, reason: number): boolean {
    return isDenial(reason) && isUnicast6(pair, REMOTE);
  }

  /** Where a connection to the remote of `pair` leads by the rules for any address. Fills `to` if it goes out. */
  reach(pair: Int32Array, remotePort: number, to: AddressWords): number {
    const verdict = this.route({ pair, remotePort }, to);
    return verdict === GO && this.controlPorts?.has(to) ? refuse(CONTROL) : verdict;
  }

  private route(wish: Wish6, to: AddressWords): number {
    const { pair, remotePort } = wish;
    if (!this.isDirect) {
      if (this.config.restrict) return refuse(RESTRICTED);
      if (!this.isOpenBehindNat64(pair)) return refuse(REFUSED);
    }
    if (this.config.allowHostLoopback && isSame(this.gateway, pair, REMOTE)) {
      to.fill(0, 0, 3);
      to[3] = 1;
      to[ADDRESS_PORT] = remotePort;
      return GO;
    }
    if (this.isGuests(pair, REMOTE) || this.isOurs(pair, REMOTE)) return refuse(NO_SERVICE);
    if (!isLegitimate6(pair, REMOTE, this.config.allowLinkLocal)) return refuse(REFUSED);
    setRemote(to, wish);
    return GO;
  }

  private isOpenBehindNat64(pair: Int32Array): boolean {
    const { nat64, config } = this;
    if (nat64 === null || !isOfPrefix(pair, REMOTE, nat64)) return true;
    return isLegitimate4(extractIpv4(pair, REMOTE, nat64.length), config.allowLinkLocal);
  }

  /**
   * Puts at `to[at]` what the address of the host side at `words[index]` looks like to the guest: what it could not answer
   * (loopback and link-local addresses, its own network, IPv4) appears as the gateway.
   */
  seenByGuest(words: Int32Array, index: number, to: Int32Array, at: number): void {
    const isAnswerable = this.isAnswerable(words, index);
    const from = isAnswerable ? words : this.gateway;
    const first = isAnswerable ? index : 0;
    for (let word = 0; word < 4; word++) to[at + word] = from[first + word];
  }

  private isAnswerable(words: Int32Array, index: number): boolean {
    const top = words[index];
    if ((top & LINK_LOCAL_MASK) === LINK_LOCAL || this.isGuests(words, index)) return false;
    if ((top | words[index + 1]) !== 0) return true;
    // ::1 and IPv4.
    return (words[index + 2] !== 0 || words[index + 3] !== 1) && words[index + 2] !== V4_MAPPED;
  }

  private isOurs(words: Int32Array, index: number): boolean {
    return isSame(this.gateway, words, index) || (this.dns !== null && isSame(this.dns, words, index));
  }

  /** Whether an address is of the guest's link: one of the prefix, or the guest's own where others have the rest of it. */
  private isGuests(words: Int32Array, index: number): boolean {
    if (words[index] !== this.prefix[0] || words[index + 1] !== this.prefix[1]) return false;
    return !this.isShared || (this.guest !== null && isSame(this.guest, words, index));
  }
}

function setRemote(to: AddressWords, { pair, remotePort }: Wish6): void {
  for (let word = 0; word < 4; word++) to[word] = pair[REMOTE + word];
  to[ADDRESS_PORT] = remotePort;
}

function isSame(address: Int32Array, words: Int32Array, index: number): boolean {
  return (
    address[3] === words[index + 3] &&
    address[2] === words[index + 2] &&
    address[1] === words[index + 1] &&
    address[0] === words[index]
  );
}
