/** One UDP mapping: a guest endpoint and the host socket that stands for it, or one client of a UDP forward. */
import { ADDRESS_PORT, ADDRESS_WORDS, type AddressWords } from "../../boundary.ts";
import { UDP_PEERS_PER_MAPPING_MAX } from "../../limits.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import { setMapped } from "../../wire/mapped-address.ts";
import { type Ends, Path } from "../path.ts";

const PEERS_START = 4;
/** Ints of a remembered remote: an address and a port. */
const PEER_INTS = 2;
const PEER_INTS_6 = 5;

/** What all mappings together may remember beyond what each has from the start. */
export class PeerRoom {
  constructor(public left: number) {}
}

/**
 * Its ends, by kind: of a client of a forward, the client as the guest sees it, and the client on the host as target;
 * else the guest's, with the remote as far as the mapping depends on it (0 otherwise).
 */
export class UdpMapping extends Path {
  live = false;
  /** A client of a forward: `handle` is the forward's and is not closed with the mapping. */
  inbound = false;
  handle = -1;
  /** Of the socket: 6 for the guest's IPv4 where it goes out by NAT64. */
  hostFamily: 4 | 6 = 4;
  /** The address of the host that a client asked, as words; zeros when the forward is bound to one. */
  private local0 = 0;
  private local1 = 0;
  private local2 = 0;
  private local3 = 0;
  /** The interface by which link-local addresses are reached, or 0. */
  private localInterface = 0;
  /** RFC 4787 REQ-6: outbound refreshes; inbound does not. */
  refreshedMs = 0;
  octetsFromGuest = 0;
  octetsToGuest = 0;
  /** Datagrams; they wrap. */
  packetsFromGuest = 0;
  packetsToGuest = 0;
  ready = false;
  /** TTL of its datagrams to groups, 0 while it sent none; and when it sent the last one. */
  groupTtl = 0;
  groupAtMs = 0;
  /** Remotes remembered for filtering; when there are too many the oldest gives way. */
  private peers = new Int32Array(PEERS_START * PEER_INTS);
  /** Of the family the mapping has, or had last. */
  private peerInts = PEER_INTS;
  private peerCount = 0;
  private peerNext = 0;
  private lastAddress = 0;
  private lastPort = -1;
  /** What the guest called the remote it sent to last: an alias, maybe. */
  askedAddress = 0;
  /** Index in `peers` of the remote of IPv6 that the guest sent to last, or -1. */
  private last6 = -1;

  constructor(
    readonly id: number,
    private readonly room: PeerRoom,
  ) {
    super();
  }

  reset(): void {
    this.live = false;
    this.inbound = false;
    this.handle = -1;
    this.ipOctets = IPV4_HEADER_OCTETS;
    this.flowLabel = 0;
    this.remoteAddress = 0;
    this.remotePort = 0;
    this.octetsFromGuest = 0;
    this.octetsToGuest = 0;
    this.packetsFromGuest = 0;
    this.packetsToGuest = 0;
    this.groupTtl = 0;
    this.peerCount = 0;
    this.peerNext = 0;
    this.lastAddress = 0;
    this.lastPort = -1;
    this.askedAddress = 0;
    this.last6 = -1;
    // What one talkative mapping needed is not the next one's.
    if (this.peers.length > PEERS_START * this.peerInts) {
      this.room.left += this.peers.length / this.peerInts - PEERS_START;
      this.peers = new Int32Array(PEERS_START * this.peerInts);
    }
  }

  /** Begins with ends that the flow table keeps. */
  begin(ends: Ends, words: Int32Array): void {
    this.setEnds(ends, words, this.id);
    const ints = ends.ipOctets === IPV4_HEADER_OCTETS ? PEER_INTS : PEER_INTS_6;
    if (ints === this.peerInts) return;
    this.peerInts = ints;
    this.peers = new Int32Array(PEERS_START * ints);
  }

  /** Takes the address of the host that the client asked from entry `index` of a list of addresses. */
  setLocal(list: AddressWords, index: number): void {
    const at = index * ADDRESS_WORDS;
    this.local0 = list[at];
    this.local1 = list[at + 1];
    this.local2 = list[at + 2];
    this.local3 = list[at + 3];
    this.localInterface = list[at + ADDRESS_PORT];
  }

  /** Whether that is the address in entry `index`. */
  asked(list: AddressWords, index: number): boolean {
    const at = index * ADDRESS_WORDS;
    return (
      this.local3 === list[at + 3] &&
      this.localInterface === list[at + ADDRESS_PORT] &&
      this.local2 === list[at + 2] &&
      this.local1 === list[at + 1] &&
      this.local0 === list[at]
    );
  }

  /** Writes that address, the interface in the place of the port; false when the forward has one address. */
  copyLocal(to: AddressWords): boolean {
    to[0] = this.local0;
    to[1] = this.local1;
    to[2] = this.local2;
    to[3] = this.local3;
    to[ADDRESS_PORT] = this.localInterface;
    return (this.local0 | this.local1 | this.local2 | this.local3) !== 0;
  }

  /** Whether the guest has sent to this remote; with port -1 any port of the address counts. */
  knows(address: number, port: number): boolean {
    if (this.lastAddress === address && this.lastPort >= 0 && (port < 0 || this.lastPort === port))
      return true;
    for (let i = 0; i < this.peerCount; i++) {
      if (this.peers[i * 2] === address && (port < 0 || this.peers[i * 2 + 1] === port)) return true;
    }
    return false;
  }

  /** Remembers a remote the guest sent to. True when it is new. */
  remember(address: number, port: number): boolean {
    if (this.lastAddress === address && this.lastPort === port) return false;
    if (this.knows(address, port)) {
      this.lastAddress = address;
      this.lastPort = port;
      return false;
    }
    this.lastAddress = address;
    this.lastPort = port;
    const slot = this.slot();
    this.peers[slot * PEER_INTS] = address;
    this.peers[slot * PEER_INTS + 1] = port;
    return true;
  }

  /** `knows` for a remote of IPv6, whose address is four words. */
  knows6(words: Int32Array, index: number, port: number): boolean {
    return this.indexOf6(words, index, port) >= 0;
  }

  /** `remember` for a remote of IPv6. */
  remember6(words: Int32Array, index: number, port: number): boolean {
    this.lastPort = port;
    const known = this.indexOf6(words, index, port);
    if (known >= 0) {
      this.last6 = known;
      return false;
    }
    const at = this.slot() * PEER_INTS_6;
    for (let word = 0; word < 4; word++) this.peers[at + word] = words[index + word];
    this.peers[at + 4] = port;
    this.last6 = at;
    return true;
  }

  /** Index in `peers` of this remote, port -1 being any, or -1. The last one is looked at first. */
  private indexOf6(words: Int32Array, index: number, port: number): number {
    if (this.last6 >= 0 && this.isPeer6(this.last6, words, index, port)) return this.last6;
    for (let at = 0; at < this.peerCount * PEER_INTS_6; at += PEER_INTS_6) {
      if (this.isPeer6(at, words, index, port)) return at;
    }
    return -1;
  }

  private isPeer6(at: number, words: Int32Array, index: number, port: number): boolean {
    const { peers } = this;
    return (
      peers[at + 3] === words[index + 3] &&
      peers[at + 2] === words[index + 2] &&
      peers[at + 1] === words[index + 1] &&
      peers[at] === words[index] &&
      (port < 0 || peers[at + 4] === port)
    );
  }

  /** Puts the address of the last remote of IPv6 into `to`; `::` while there is none. */
  copyRecent6(to: Int32Array): void {
    for (let word = 0; word < 4; word++) to[word] = this.last6 < 0 ? 0 : this.peers[this.last6 + word];
  }

  /** The place for one remote more. */
  private slot(): number {
    const ints = this.peerInts;
    if (this.peerCount * ints === this.peers.length && this.peerNext === 0) this.grow();
    return this.peerCount * ints < this.peers.length ? this.peerCount++ : this.peerNext++ % this.peerCount;
  }

  /** Room for twice as many, if that may be had; the first time it may not, the oldest begins to give way for good. */
  private grow(): void {
    const more = this.peerCount;
    if (more >= UDP_PEERS_PER_MAPPING_MAX || more > this.room.left) return;
    this.room.left -= more;
    const peers = new Int32Array(this.peers.length * 2);
    peers.set(this.peers);
    this.peers = peers;
  }

  /** Forgets the remotes that `keeps` says no of: four words, IPv4 as v4-mapped, and a port. Returns how many are left. */
  retain(keeps: (words: Int32Array, port: number) => boolean): number {
    const { peers, peerInts } = this;
    const words = new Int32Array(4);
    let kept = 0;
    for (let i = 0; i < this.peerCount; i++) {
      const at = i * peerInts;
      if (peerInts === PEER_INTS) setMapped(words, 0, this.nameOf(peers[at]) || peers[at]);
      else for (let word = 0; word < 4; word++) words[word] = peers[at + word];
      if (!keeps(words, peers[at + peerInts - 1])) continue;
      for (let n = 0; n < peerInts; n++) peers[kept * peerInts + n] = peers[at + n];
      kept++;
    }
    this.peerCount = kept;
    this.peerNext = 0;
    this.lastPort = -1;
    this.last6 = -1;
    return kept;
  }

  /** What the guest called the remote at this address: who was asked answers by the address it was asked at. 0: not known. */
  nameOf(address: number): number {
    return address === this.lastAddress ? this.askedAddress : 0;
  }

  /** The last remote the guest sent to, for the flow table. */
  get recentAddress(): number {
    return this.lastAddress;
  }
  get recentPort(): number {
    return Math.max(this.lastPort, 0);
  }
}
