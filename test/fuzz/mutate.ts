/** Mutations of octets, drawn from a seed: the usual ones of coverage-guided fuzzers. */

const INTERESTING = [0, 1, 7, 8, 15, 16, 32, 63, 64, 127, 128, 192, 254, 255];

/** Mulberry32: small, seeded, good enough to choose octets with. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  /** An integer from 0 to `end` - 1. */
  below(end: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % end;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
}

function spliced(octets: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  const result = new Uint8Array(octets.length - remove + insert.length);
  result.set(octets.subarray(0, at));
  result.set(insert, at);
  result.set(octets.subarray(at + remove), at + insert.length);
  return result;
}

type Mutation = (random: Random, octets: Uint8Array, other: Uint8Array, word: Uint8Array) => Uint8Array;

const MUTATIONS: readonly Mutation[] = [
  (random, octets) => {
    octets[random.below(octets.length)] ^= 1 << random.below(8);
    return octets;
  },
  (random, octets) => {
    octets[random.below(octets.length)] = random.below(256);
    return octets;
  },
  (random, octets) => {
    octets[random.below(octets.length)] = random.pick(INTERESTING);
    return octets;
  },
  (random, octets) => {
    octets[random.below(octets.length)] += random.below(33) - 16;
    return octets;
  },
  (random, octets) => {
    const at = random.below(octets.length);
    return spliced(octets, at, Math.min(1 + random.below(16), octets.length - at), new Uint8Array());
  },
  (random, octets) => {
    const at = random.below(octets.length);
    const length = Math.min(1 + random.below(64), octets.length - at);
    return spliced(octets, random.below(octets.length), 0, octets.slice(at, at + length));
  },
  (random, octets) => spliced(octets, random.below(octets.length), 0, Uint8Array.of(random.below(256))),
  (random, octets, _, word) => spliced(octets, random.below(octets.length + 1), 0, word),
  (random, octets, _, word) => {
    const at = random.below(octets.length);
    return spliced(octets, at, Math.min(word.length, octets.length - at), word);
  },
  (random, octets, other) => {
    const at = random.below(octets.length + 1);
    return spliced(octets, at, octets.length - at, other.subarray(random.below(other.length + 1)));
  },
  (random, octets) => octets.slice(0, 1 + random.below(octets.length)),
];

/** One to eight mutations of `octets`, which stay as they are; `other` is another input to cross them with. */
export function mutated(
  random: Random,
  octets: Uint8Array,
  other: Uint8Array,
  dictionary: readonly Uint8Array[],
  lengthMax: number,
): Uint8Array {
  let result: Uint8Array = octets.slice();
  for (let n = 1 << random.below(4); n > 0; n--) {
    if (result.length === 0) result = Uint8Array.of(random.below(256));
    const word = dictionary.length > 0 ? random.pick(dictionary) : new Uint8Array();
    result = random.pick(MUTATIONS)(random, result, other, word);
  }
  return result.length > lengthMax ? result.slice(0, lengthMax) : result;
}
