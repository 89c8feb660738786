/**
 * Seeded pseudo-random numbers (sfc32, a small fast counter generator that passes PractRand). All chance in a
 * simulation comes from here, so a seed names a run.
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number) {
    this.a = seed | 0;
    this.b = (seed ^ 0x9e3779b9) | 0;
    this.c = Math.floor(seed / 0x100000000) | 0;
    for (let i = 0; i < 15; i++) this.int32();
  }

  int32(): number {
    const t = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t;
  }

  /** 0 <= x < 1. */
  fraction(): number {
    return (this.int32() >>> 0) / 0x100000000;
  }

  /** An integer, low <= x <= high. */
  between(low: number, high: number): number {
    return low + Math.floor(this.fraction() * (high - low + 1));
  }

  /** True with this probability. Draws nothing when the answer is certain. */
  chance(probability: number): boolean {
    return probability > 0 && (probability >= 1 || this.fraction() < probability);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.between(0, choices.length - 1)];
  }

  /** Spread over orders of magnitude: small values are as likely as large ones. */
  magnitude(low: number, high: number): number {
    return (
      Math.round(Math.exp(Math.log(low + 1) + this.fraction() * (Math.log(high + 1) - Math.log(low + 1)))) - 1
    );
  }

  /** A generator of its own, so that one part of a world drawing more does not shift another part's numbers. */
  fork(): Random {
    return new Random((this.int32() >>> 0) * 0x10000 + (this.int32() & 0xffff));
  }
}
