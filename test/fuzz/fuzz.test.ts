/**
 * A short run of every fuzz target: its seeds, inputs of the right shape, mutations of both, and what long runs have
 * found before. Coverage guides only the long runs (npm run fuzz); here the same inputs come each time.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Coverage, type News } from "./coverage.ts";
import { type CoverageSource, fuzz } from "./fuzzer.ts";
import { GENERATORS } from "./generators.ts";
import { mutated, Random } from "./mutate.ts";
import type { FuzzTarget } from "./target.ts";
import { TARGETS } from "./targets.ts";

/** Inputs that once broke something, in hexadecimal, by target. */
const FOUND: Readonly<Record<string, readonly string[]>> = {
  // DEL in `--reserve` reached the terminal as it was.
  grammar: ["122d2d726573657276653d7f3d"],
  // The target's own mistake: a FIN that opens the window.
  "tcp-stream": ["0504138700000000000301f403000000000700000000090000"],
};

const GENERATED = 150;
const MUTATED = 600;
const SEED = 20_261_121;

describe("fuzz targets, briefly", () => {
  for (const target of TARGETS) {
    it(`${target.name} holds on its seeds and on what was found before`, () => {
      const found = (FOUND[target.name] ?? []).map((hex) => new Uint8Array(Buffer.from(hex, "hex")));
      for (const input of [...target.seeds(), ...found]) {
        target.reset();
        target.run(input);
      }
      target.reset();
    });

    it(`${target.name} holds on inputs of the right shape`, () => {
      target.reset();
      fc.assert(fc.property(GENERATORS[target.name], target.run), { numRuns: GENERATED, seed: SEED });
      target.reset();
    });

    it(`${target.name} holds on mutations`, () => {
      const random = new Random(SEED);
      const inputs = [...target.seeds(), ...fc.sample(GENERATORS[target.name], { numRuns: 40, seed: SEED })];
      target.reset();
      for (let n = 0; n < MUTATED; n++) {
        const [one, other] = [random.pick(inputs), random.pick(inputs)];
        const input = mutated(random, one, other, target.dictionary, target.lengthMax);
        try {
          target.run(input);
        } catch (error) {
          throw new Error(`${target.name}: ${Buffer.from(input).toString("hex")}`, { cause: error });
        }
      }
      target.reset();
    });
  }
});

/** A coverage that is told what was reached: V8's own takes a tenth of a second among all that a test loads. */
class ToldCoverage implements CoverageSource {
  private readonly known = new Set<string>();
  private reachedSince = new Set<string>();
  readonly reached = { functions: 1, characters: 0 };

  note(place: string): void {
    this.reachedSince.add(place);
  }
  takeNews(): News {
    const news = [...this.reachedSince].filter((place) => !this.known.has(place));
    this.reachedSince = new Set();
    return new Map(news.map((place) => [place, []]));
  }
  remember(news: News): void {
    for (const place of news.keys()) this.known.add(place);
  }
  forget(): void {
    this.known.clear();
    this.reachedSince.clear();
  }
}

describe("the fuzzer", () => {
  const coverage = new ToldCoverage();

  /** Nobody guesses six octets at once; one after the other they are found soon. */
  const planted: FuzzTarget = {
    name: "planted",
    seeds: () => [new Uint8Array(8)],
    dictionary: [],
    lengthMax: 16,
    reset: () => {},
    run: (input) => {
      for (let i = 0; i < 6; i++) {
        if (input[i] !== "sluice".charCodeAt(i)) return;
        coverage.note(`octet ${i}`);
      }
      throw new Error("planted");
    },
  };

  it("finds six octets that only coverage leads to, and shrinks what it found to them", () => {
    const { failure } = fuzz(planted, { seed: 5, seconds: 50, coverage });
    expect(failure?.inputs.map((input) => Buffer.from(input).toString())).toEqual(["sluice"]);
  });

  it("tells of a failure that needs a history by all of it", () => {
    let sum = 0;
    const moody: FuzzTarget = {
      ...planted,
      reset: () => {
        sum = 0;
      },
      run: (input) => {
        sum += input.length > 3 ? 1 : 0;
        assert.ok(sum < 40);
      },
    };
    const { failure } = fuzz(moody, { seed: 1, seconds: 10, coverage });
    expect(failure?.inputs.length).toBeGreaterThanOrEqual(40);
  });

  it("comes to the same inputs from the same seed", () => {
    const seen: string[] = [];
    const noting: FuzzTarget = {
      ...planted,
      run: (input) => {
        seen.push(Buffer.from(input).toString("hex"));
      },
    };
    for (let n = 0; n < 2; n++) fuzz(noting, { seed: 3, seconds: 10, executionsMax: 500, coverage });
    expect(seen.slice(0, seen.length / 2)).toEqual(seen.slice(seen.length / 2));
  });
});

describe("coverage by V8", () => {
  it("has news of a function when it first runs, of a branch when it is first taken, and not again", () => {
    const coverage = new Coverage((url) => url.includes(fileURLToPath(import.meta.url)));
    try {
      const lazy = (n: number): string => {
        if (n > 1) return "large";
        return "small";
      };
      coverage.forget();
      lazy(1);
      const first = coverage.takeNews();
      expect(first.size).toBeGreaterThan(0);
      coverage.remember(first);
      lazy(1);
      expect(coverage.takeNews().size).toBe(0);
      lazy(2);
      const second = coverage.takeNews();
      expect(second.size).toBe(1);
      coverage.remember(second);
      lazy(2);
      expect(coverage.takeNews().size).toBe(0);
      expect(coverage.reached.characters).toBeGreaterThan(20);
    } finally {
      coverage.close();
    }
  });
});
