/** Tells whoever asked of UDP mappings: of each as it begins, as a row, and of datagrams that did not reach the guest. */
import { ADDRESS_PORT, ADDRESS_WORDS, type AddressWords, type UdpBatch } from "../../boundary.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_UDP } from "../../wire/ipv4.ts";
import { type Nat64Prefix, untranslated } from "../../wire/translated-address.ts";
import type { FlowLedger } from "../flow-ledger.ts";
import { type Ends, PAIR_WORDS, Path } from "../path.ts";
import type { UdpMapping } from "./mapping.ts";
import { recentEnds, type Sides } from "./recent-ends.ts";

export class UdpTeller {
  private readonly told = new Path(new Int32Array(PAIR_WORDS));
  private readonly counts = { octetsFromGuest: 0, octetsToGuest: 0, idleMs: 0 };

  constructor(
    private readonly ledger: FlowLedger,
    private readonly sides: Sides,
    private readonly batch: UdpBatch,
  ) {}

  /** Mapping `id` is made for a datagram between `ends`, which goes to the address `to`. */
  opened(id: number, ends: Ends, to: AddressWords): void {
    const { recorder } = this.ledger;
    if (recorder === null) return;
    this.told.copyEnds(ends);
    this.told.setTarget(to);
    recorder.flowOpened(id, PROTOCOL_UDP, this.told);
  }

  /** So is mapping `client.id`, for the client of a forward. */
  openedByClient(client: UdpMapping): void {
    this.ledger.recorder?.flowOpened(client.id, PROTOCOL_UDP, client);
  }

  /** Entry `entry` of the batch was dropped, which the client of a forward at these ends had sent. */
  droppedOf(client: Ends, reason: number, entry: number): void {
    this.ledger.recorder?.droppedToGuest(reason, PROTOCOL_UDP, client, this.batch.length[entry]);
  }

  /** So was an entry for the guest of `mapping`, whose remotes are many, and behind `nat64` where its socket is of IPv6. */
  dropped(mapping: UdpMapping, reason: number, entry: number, nat64: Nat64Prefix | null): void {
    const { recorder } = this.ledger;
    if (recorder === null) return;
    const { words, length } = this.batch;
    const from = entry * ADDRESS_WORDS;
    this.told.copyEnds(mapping);
    const isTranslated = mapping.ipOctets === IPV4_HEADER_OCTETS && mapping.hostFamily === 6;
    this.told.remoteAddress = isTranslated ? untranslated(words, from, nat64) : words[from + 3];
    for (let word = 0; word < 4; word++) this.told.pair[4 + word] = words[from + word];
    this.told.remotePort = words[from + ADDRESS_PORT];
    recorder.droppedToGuest(reason, PROTOCOL_UDP, this.told, length[entry]);
  }

  /** A row for call `call`. */
  row(call: number, mapping: UdpMapping, nowMs: number): void {
    recentEnds(mapping, this.sides, this.told);
    this.counts.octetsFromGuest = mapping.octetsFromGuest;
    this.counts.octetsToGuest = mapping.octetsToGuest;
    this.counts.idleMs = (nowMs - mapping.refreshedMs) | 0;
    this.ledger.recorder?.row(call, mapping.id, PROTOCOL_UDP, 0, this.told, this.counts);
  }
}
