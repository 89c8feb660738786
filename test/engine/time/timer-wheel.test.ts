import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TimerWheel } from "../../../src/engine/time/timer-wheel.ts";

/** Longest a deadline may be late: one tick, rounded up. */
const LATE_MS = 8;

describe("TimerWheel", () => {
  it("fires never early and at most a tick late, whatever the distances, steps and the clock's wrap", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: 0, max: 5_000_000 })), {
          minLength: 1,
          maxLength: 20,
        }),
        fc.constantFrom(0, 123_457, 0x7fffff00, -5000, -1),
        fc.boolean(),
        (delays, start, byNextMs) => {
          let now = start | 0;
          let elapsed = 0;
          const fired = new Map<number, number>();
          const wheel = new TimerWheel(delays.length, now, (owner) => fired.set(owner, elapsed));
          delays.forEach((delay, owner) => {
            wheel.set(owner, (now + delay) | 0);
          });
          let rounds = 0;
          while (fired.size < delays.length && rounds++ < 300_000) {
            const next = wheel.nextMs(now);
            if (next < 0) break;
            const step = byNextMs ? Math.max(next, 1) : Math.max(1, Math.min(next, 1000));
            elapsed += step;
            now = (now + step) | 0;
            wheel.advance(now);
          }
          delays.forEach((delay, owner) => {
            const at = fired.get(owner);
            expect(at).toBeDefined();
            expect(at! - delay).toBeGreaterThanOrEqual(0);
            expect(at! - delay).toBeLessThanOrEqual(LATE_MS);
          });
          expect(wheel.count).toBe(0);
          expect(wheel.nextMs(now)).toBe(-1);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("moves a deadline either way, and clears it", () => {
    const fired: number[] = [];
    const wheel = new TimerWheel(3, 0, (owner) => fired.push(owner));
    wheel.set(0, 100);
    wheel.set(0, 5000);
    wheel.set(1, 5000);
    wheel.set(1, 100);
    wheel.set(2, 100);
    wheel.clear(2);
    wheel.advance(200);
    expect(fired).toEqual([1]);
    wheel.advance(4999);
    expect(fired).toEqual([1]);
    wheel.advance(5004);
    expect(fired).toEqual([1, 0]);
  });

  it("lets a firing timer set itself and clear its neighbours", () => {
    const fired: string[] = [];
    let now = 0;
    const wheel: TimerWheel = new TimerWheel(4, 0, (owner) => {
      fired.push(`${owner}@${now}`);
      if (owner === 3) {
        wheel.clear(2);
        wheel.clear(1);
        wheel.set(3, now + 40);
      }
    });
    for (const owner of [0, 1, 2, 3]) wheel.set(owner, 20);
    for (now = 4; now <= 60; now += 4) wheel.advance(now);
    expect(fired).toEqual(["3@20", "0@20", "3@60"]);
  });

  it("catches up over a clock that jumped an hour", () => {
    const fired: number[] = [];
    const wheel = new TimerWheel(2, 0, (owner) => fired.push(owner));
    wheel.set(0, 1000);
    wheel.set(1, 3_500_000);
    wheel.advance(3_600_000);
    expect(fired).toEqual([0, 1]);
  });

  it("does nothing when the clock stands or goes back", () => {
    const wheel = new TimerWheel(1, 1000, () => expect.unreachable());
    wheel.set(0, 1100);
    wheel.advance(1000);
    wheel.advance(500);
    expect(wheel.isSet(0)).toBe(true);
  });
});
