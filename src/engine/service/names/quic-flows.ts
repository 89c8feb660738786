/**
 * Which ports of the guest have shown which remote a name by QUIC: from then on datagrams between the two go. A flow has four
 * places it may be in, of which the least recently used gives way.
 */
import { QUIC_FLOWS_MAX } from "../../limits.ts";
import type { Packet } from "../../memory/packet.ts";
import type { Name } from "../../policy/name.ts";
import { NameTable } from "../../policy/name-table.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import { setMapped } from "../../wire/mapped-address.ts";
import { NO_QUIC_FLOW } from "./quic-handshake.ts";

const PLACES = 4;
const SETS_MASK = QUIC_FLOWS_MAX / PLACES - 1;
const WORDS = 4;
const PAIR_WORDS = 2 * WORDS;
const HASH_PRIME = 0x9e3779b1 | 0;
const NO_NAME = -1;

export class QuicFlows {
  /** The addresses of the datagram in hand, the guest's and the remote's, IPv4 as v4-mapped. */
  readonly pair = new Int32Array(PAIR_WORDS);
  private ports = 0;
  private firstPlace = 0;
  private readonly pairs = new Int32Array(QUIC_FLOWS_MAX * PAIR_WORDS);
  /** Both ports; 0: free. */
  private readonly portsOf = new Int32Array(QUIC_FLOWS_MAX);
  private readonly usedAt = new Float64Array(QUIC_FLOWS_MAX);
  /** The name it has shown, of those below, or NO_NAME. */
  private readonly nameOf = new Int32Array(QUIC_FLOWS_MAX).fill(NO_NAME);
  private readonly names = new NameTable(QUIC_FLOWS_MAX);

  /** Takes the datagram in hand. Returns its flow, or NO_QUIC_FLOW. */
  find(packet: Packet, nowMs: number): number {
    const { pair, pairs, portsOf } = this;
    if (packet.ipOctets === IPV4_HEADER_OCTETS) {
      setMapped(pair, 0, packet.guestAddress);
      setMapped(pair, WORDS, packet.remoteAddress);
    } else for (let word = 0; word < PAIR_WORDS; word++) pair[word] = packet.pair[word];
    this.ports = (packet.guestPort << 16) | packet.remotePort;
    let hash = Math.imul(this.ports, HASH_PRIME);
    for (let word = 0; word < PAIR_WORDS; word++)
      hash = Math.imul(hash ^ pair[word] ^ (hash >>> 15), HASH_PRIME);
    this.firstPlace = ((hash ^ (hash >>> 16)) & SETS_MASK) * PLACES;
    for (let flow = this.firstPlace; flow < this.firstPlace + PLACES; flow++) {
      if (portsOf[flow] !== this.ports) continue;
      let word = 0;
      while (word < PAIR_WORDS && pairs[flow * PAIR_WORDS + word] === pair[word]) word++;
      if (word < PAIR_WORDS) continue;
      this.usedAt[flow] = nowMs;
      return flow;
    }
    return NO_QUIC_FLOW;
  }

  /** The place that the flow of the datagram in hand, which has none, is to `take`. */
  placeForOne(): number {
    let place = this.firstPlace;
    for (let flow = place; flow < this.firstPlace + PLACES; flow++) {
      if (this.portsOf[flow] === 0) return flow;
      if (this.usedAt[flow] < this.usedAt[place]) place = flow;
    }
    return place;
  }

  take(flow: number, nowMs: number): void {
    this.forgetName(flow);
    for (let word = 0; word < PAIR_WORDS; word++) this.pairs[flow * PAIR_WORDS + word] = this.pair[word];
    this.portsOf[flow] = this.ports;
    this.usedAt[flow] = nowMs;
  }

  /** It has shown a name that is allowed. */
  isOpen(flow: number): boolean {
    return this.nameOf[flow] !== NO_NAME;
  }

  setName(flow: number, name: Name): void {
    this.forgetName(flow);
    this.nameOf[flow] = this.names.take(name);
  }

  forgetName(flow: number): void {
    if (this.nameOf[flow] !== NO_NAME) this.names.release(this.nameOf[flow]);
    this.nameOf[flow] = NO_NAME;
  }

  /** Takes the name of an open flow in hand. */
  readName(flow: number, name: Name): void {
    this.names.read(this.nameOf[flow], name);
  }

  /** Puts the remote's address into `words`. Returns its port. */
  remoteOf(flow: number, words: Int32Array): number {
    for (let word = 0; word < WORDS; word++) words[word] = this.pairs[flow * PAIR_WORDS + WORDS + word];
    return this.portsOf[flow] & 0xffff;
  }

  /** Whether a flow to this remote is open. */
  someLeadsTo(words: Int32Array, port: number): boolean {
    for (let flow = 0; flow < QUIC_FLOWS_MAX; flow++) {
      if (!this.isOpen(flow) || (this.portsOf[flow] & 0xffff) !== port) continue;
      const at = flow * PAIR_WORDS + WORDS;
      if (words.every((word, i) => word === this.pairs[at + i])) return true;
    }
    return false;
  }
}
