/**
 * A short fixed set of simulated worlds; `npm run sim` runs as many as one likes. A failure here names its seed:
 * `npm run sim -- --seed N --profile P --trace` shows what happened in it.
 */
import { describe, expect, it } from "vitest";
import { PROFILES } from "./profile.ts";
import { type RunResult, simulate } from "./simulation.ts";

describe("the engine in simulated worlds", () => {
  it("keeps every rule in the first fifty", () => {
    const results: RunResult[] = [];
    for (let seed = 1; seed <= 50; seed++) results.push(simulate(seed));
    // The worlds did something: octets crossed, links lost frames, hosts refused.
    expect(results.reduce((sum, result) => sum + result.octets, 0)).toBeGreaterThan(1_000_000);
    for (const counter of ["tcp-retransmits", "tcp-fast-retransmits", "tcp-timeouts", "tcp-out-of-order"]) {
      expect(
        results.some((result) => (result.counters[counter] ?? 0) > 0),
        counter,
      ).toBe(true);
    }
    // Of either family.
    const isIpv6 = (result: RunResult): boolean => (result.counters["router-advertisements"] ?? 0) > 0;
    expect(results.filter(isIpv6).length).toBeGreaterThan(5);
    expect(results.filter((result) => !isIpv6(result)).length).toBeGreaterThan(20);
    for (const drop of ["tcp-bad-checksum", "ipv4-bad-checksum", "ipv4-malformed"]) {
      expect(
        results.some((result) => (result.drops[drop] ?? 0) > 0),
        drop,
      ).toBe(true);
    }
  });

  it.each(PROFILES.slice(1))("keeps every rule in worlds of the profile %s", (profile) => {
    for (let seed = 1001; seed <= 1008; seed++) simulate(seed, profile);
  });

  it("runs a seed the same way twice", () => {
    for (const seed of [3, 17, 42]) {
      const first = simulate(seed);
      simulate(seed + 1000);
      const second = simulate(seed);
      expect(second).toEqual(first);
      expect(simulate(seed + 1).digest).not.toBe(first.digest);
    }
  });
});
