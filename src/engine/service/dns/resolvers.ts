/**
 * The host's resolvers, in order, with what is known about each. One that was silent or whose port was closed is not the
 * first choice for a while. What it says about a name, a failure too, says nothing about the resolver: another first
 * choice could mean other answers, where resolvers know different names.
 */
import { ADDRESS_PORT, ADDRESS_WORDS, type AddressWords } from "../../boundary.ts";
import type { ResolverAddress } from "../../config.ts";
import { isMapped } from "../../wire/mapped-address.ts";

/** A resolver may take questions over UDP and none over TCP, or the other way about. */
export const OVER_UDP = 0;
export const OVER_TCP = 1;

/** How long a resolver that failed is not the first choice. */
const UNHEALTHY_MS = 30_000;

interface Resolver {
  readonly address: ResolverAddress;
  readonly words: AddressWords;
  readonly family: 4 | 6;
  /** By transport. */
  readonly failed: [boolean, boolean];
  readonly failedAtMs: Int32Array;
}

export class Resolvers {
  private list: readonly Resolver[];

  constructor(addresses: readonly ResolverAddress[]) {
    this.list = addresses.map(toResolver);
  }

  set(addresses: readonly ResolverAddress[]): void {
    this.list = addresses.map(toResolver);
  }

  get count(): number {
    return this.list.length;
  }

  words(index: number): AddressWords {
    return this.list[index].words;
  }

  family(index: number): 4 | 6 {
    return this.list[index].family;
  }

  /** `index` may be -1: a resolver that is no longer among them. */
  answered(index: number, transport: number): void {
    if (index >= 0) this.list[index].failed[transport] = false;
  }

  failed(index: number, transport: number, nowMs: number): void {
    if (index < 0) return;
    this.list[index].failed[transport] = true;
    this.list[index].failedAtMs[transport] = nowMs;
  }

  /** Index of the one to ask first: the first in order that has not failed lately; the first if all have. */
  first(transport: number, nowMs: number): number {
    for (let i = 0; i < this.list.length; i++) {
      const { failed, failedAtMs } = this.list[i];
      if (!failed[transport] || ((nowMs - failedAtMs[transport]) | 0) >= UNHEALTHY_MS) return i;
    }
    return 0;
  }

  /** The address of `first`, or null when there is no resolver. */
  firstAddress(transport: number, nowMs: number): ResolverAddress | null {
    return this.list.length === 0 ? null : this.list[this.first(transport, nowMs)].address;
  }
}

function toResolver(address: ResolverAddress): Resolver {
  const words = new Int32Array(ADDRESS_WORDS);
  words.set(address.words);
  words[ADDRESS_PORT] = address.port;
  const family = isMapped(words, 0) ? 4 : 6;
  return { address, words, family, failed: [false, false], failedAtMs: new Int32Array(2) };
}
