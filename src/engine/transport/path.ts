/** The two ends of a flow as the guest sees them, and where its host socket goes. */
import { ADDRESS_PORT, type AddressWords, V4_MAPPED } from "../boundary.ts";
import { IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../wire/ipv6.ts";
import { setMapped } from "../wire/mapped-address.ts";

/** Words of both addresses of IPv6. */
export const PAIR_WORDS = 8;
const NO_PAIR = new Int32Array(PAIR_WORDS);

/** A packet in hand has ends, and so has every flow. Their addresses are two ints (IPv4, host order) or eight words. */
export interface Ends {
  /** Octets of the IP header in front of the transport's, and with that the family: 20 or 40. */
  readonly ipOctets: number;
  /** Of IPv6, for clients of forwards: the ends there would be over IPv4, or 0. */
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
  /** Of IPv6: the guest's address is `pair[pairAt]` and the three behind it, the remote's the four behind that. */
  readonly pair: Int32Array;
  readonly pairAt: number;
}

/**
 * What TCP connections and UDP mappings are made from: a base rather than a member, since an object more would be a tenth
 * of what an idle connection costs.
 */
export class Path implements Ends {
  ipOctets = IPV4_HEADER_OCTETS;
  guestAddress = 0;
  guestPort = 0;
  remoteAddress = 0;
  remotePort = 0;
  pair: Int32Array;
  pairAt = 0;
  /** Of IPv6, 20 bits (RFC 6437). */
  flowLabel = 0;
  /** Where the host socket goes or comes from, as the host sees it: four words, IPv4 as v4-mapped, and the port. */
  target0 = 0;
  target1 = 0;
  target2 = 0;
  target3 = 0;
  targetPort = 0;

  /** `pair`: room for addresses of IPv6, for who is not given the flow table's. */
  constructor(pair: Int32Array = NO_PAIR) {
    this.pair = pair;
  }

  /** Takes the ends of `ends`, which the flow table keeps under `id`. */
  setEnds(ends: Ends, words: Int32Array, id: number): void {
    this.pair = words;
    this.pairAt = id * PAIR_WORDS;
    this.ipOctets = ends.ipOctets;
    this.guestAddress = ends.guestAddress;
    this.guestPort = ends.guestPort;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
  }

  /** Copies the ends into this path, which has room for a pair of its own. */
  copyEnds(ends: Ends): void {
    this.ipOctets = ends.ipOctets;
    this.guestAddress = ends.guestAddress;
    this.guestPort = ends.guestPort;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
    for (let word = 0; word < PAIR_WORDS; word++) this.pair[word] = ends.pair[ends.pairAt + word];
  }

  /** Whether the guest's address is the IPv6 address in the four words. */
  isGuest6(words: Int32Array, index: number): boolean {
    if (this.ipOctets !== IPV6_HEADER_OCTETS) return false;
    const { pair, pairAt: at } = this;
    return (
      pair[at + 3] === words[index + 3] &&
      pair[at + 2] === words[index + 2] &&
      pair[at + 1] === words[index + 1] &&
      pair[at] === words[index]
    );
  }

  /** Takes the target from entry `index` of a list of addresses. */
  setTarget(list: AddressWords, index = 0): void {
    const at = index * (ADDRESS_PORT + 1);
    this.target0 = list[at];
    this.target1 = list[at + 1];
    this.target2 = list[at + 2];
    this.target3 = list[at + 3];
    this.targetPort = list[at + ADDRESS_PORT];
  }

  /** Takes the remote as the guest sees it. */
  setTargetRemote({ ipOctets, remoteAddress, remotePort, pair, pairAt }: Ends): void {
    const isIpv6 = ipOctets === IPV6_HEADER_OCTETS;
    this.target0 = isIpv6 ? pair[pairAt + 4] : 0;
    this.target1 = isIpv6 ? pair[pairAt + 5] : 0;
    this.target2 = isIpv6 ? pair[pairAt + 6] : V4_MAPPED;
    this.target3 = isIpv6 ? pair[pairAt + 7] : remoteAddress;
    this.targetPort = remotePort;
  }

  setTargetOf(other: Path): void {
    this.target0 = other.target0;
    this.target1 = other.target1;
    this.target2 = other.target2;
    this.target3 = other.target3;
    this.targetPort = other.targetPort;
  }

  isSameTarget(other: Path): boolean {
    return (
      this.target3 === other.target3 &&
      this.targetPort === other.targetPort &&
      this.target2 === other.target2 &&
      this.target1 === other.target1 &&
      this.target0 === other.target0
    );
  }

  copyTarget(to: AddressWords): void {
    to[0] = this.target0;
    to[1] = this.target1;
    to[2] = this.target2;
    to[3] = this.target3;
    to[ADDRESS_PORT] = this.targetPort;
  }
}

/** Puts the guest's address into four words. */
export function copyGuest({ ipOctets, guestAddress, pair, pairAt }: Ends, to: Int32Array): void {
  if (ipOctets === IPV6_HEADER_OCTETS) for (let word = 0; word < 4; word++) to[word] = pair[pairAt + word];
  else setMapped(to, 0, guestAddress);
}

/** Puts the remote's address into four words. */
export function copyRemote({ ipOctets, remoteAddress, pair, pairAt }: Ends, to: Int32Array): void {
  if (ipOctets === IPV6_HEADER_OCTETS)
    for (let word = 0; word < 4; word++) to[word] = pair[pairAt + 4 + word];
  else setMapped(to, 0, remoteAddress);
}
