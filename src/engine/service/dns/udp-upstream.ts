/**
 * Questions to resolvers over UDP. Each has a host socket of its own, connected to one resolver: the kernel picks its
 * port at random, lets nobody else answer, and reports a closed port. With an id of ours, at random too, a forger has
 * both to guess (RFC 5452 section 9).
 */
import { DNS_QUERIES_MAX, DNS_QUERY_OCTETS_MAX } from "../../limits.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { id, setId } from "../../wire/dns.ts";
import type { Upstream, UpstreamListener, UpstreamParts } from "./upstream.ts";

/** Batches read from one socket at a time; the rest waits for the timer. */
const RECEIVE_ROUNDS = 4;
const NO_HANDLE = -1;
const SEND_REFUSED = dropReason("host-send-refused");

export class UdpUpstream implements Upstream {
  private readonly handle = new Int32Array(DNS_QUERIES_MAX).fill(NO_HANDLE);
  /** Index of the resolver the socket is connected to. */
  private readonly resolver = new Int32Array(DNS_QUERIES_MAX);

  constructor(
    private readonly parts: UpstreamParts,
    /** DNS_QUERIES_MAX times DNS_QUERY_OCTETS_MAX octets of the arena. */
    private readonly regionAt: number,
    private readonly listener: UpstreamListener,
  ) {}

  queryAt(entry: number): number {
    return this.regionAt + entry * DNS_QUERY_OCTETS_MAX;
  }

  askedId(entry: number): number {
    return id(this.parts.view, this.queryAt(entry));
  }

  /** From the socket the entry has if it is that resolver's, under the same id; else from a fresh one, under a fresh id. */
  ask(entry: number, index: number, length: number): number {
    const { network, resolvers, token, view, random } = this.parts;
    if (this.handle[entry] === NO_HANDLE || this.resolver[entry] !== index) {
      this.close(entry);
      const handle = network.udpOpen(token + entry, resolvers.family(index), 0);
      if (handle < 0) return handle;
      const result = network.udpConnect(handle, resolvers.words(index));
      if (result < 0) {
        network.udpClose(handle);
        return result;
      }
      this.handle[entry] = handle;
      this.resolver[entry] = index;
      setId(view, this.queryAt(entry), random() & 0xffff);
    }
    return this.repeat(entry, length) ? 0 : -1;
  }

  /** Others' datagrams go first, so that the count of those refused is ours. */
  repeat(entry: number, length: number): boolean {
    const { network, resolvers, counters } = this.parts;
    const index = this.resolver[entry];
    if (this.handle[entry] === NO_HANDLE || index < 0) return false;
    counters.drops[SEND_REFUSED] += network.udpFlush();
    network.udpSend(this.handle[entry], resolvers.words(index), this.queryAt(entry), length);
    return network.udpFlush() === 0;
  }

  receive(entry: number): boolean {
    const { network, batch } = this.parts;
    if (this.handle[entry] === NO_HANDLE) return false;
    for (let round = 0; round < RECEIVE_ROUNDS; round++) {
      const count = network.udpReceive(this.handle[entry], batch);
      if (count < 0) {
        this.listener.refused(entry);
        return true;
      }
      if (count === 0) return false;
      for (let i = 0; i < count; i++) {
        const segment = batch.segment[i] || batch.length[i];
        let from = 0;
        do {
          const length = Math.min(segment, batch.length[i] - from);
          if (this.listener.message(entry, batch.at[i] + from, length)) return true;
          from += segment;
        } while (from < batch.length[i]);
      }
    }
    return false;
  }

  /** Resolvers have other numbers now, or are gone: the socket may bring an answer, and sends no more. */
  forgetResolvers(): void {
    this.resolver.fill(-1);
  }

  done(entry: number): void {
    this.close(entry);
  }

  close(entry: number): void {
    if (this.handle[entry] !== NO_HANDLE) this.parts.network.udpClose(this.handle[entry]);
    this.handle[entry] = NO_HANDLE;
  }
}
