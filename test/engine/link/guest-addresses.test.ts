import { describe, expect, it } from "vitest";
import {
  GuestAddresses,
  PROBE_INTERVAL_MS,
  PROBES,
  REACHABLE_MS,
} from "../../../src/engine/link/guest-addresses.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { ip6 } from "../../support/frames6.ts";

const PREFIX = "fd71:1ae0:d44d:2::";
const LEASED = `${PREFIX}15`;
const STABLE = "fd71:1ae0:d44d:2:a:b:c:d";
const TEMPORARY = "fd71:1ae0:d44d:2:1:2:3:4";
/** Of 52:54:00:12:34:56. */
const EUI64 = "fd71:1ae0:d44d:2:5054:ff:fe12:3456";

function setUp(configured: string | null = null, capacity?: number) {
  const words = (text: string) => Int32Array.from(ip6(text));
  const table = new GuestAddresses(words(PREFIX), configured === null ? null : words(configured), capacity);
  const heard = (text: string, now = 0) => table.heard(words(text), 0, 0x5254, 0x00123456, now);
  const lease = (text: string, now = 0) => table.lease(words(text), 0, now);
  const release = (text: string) => table.release(words(text), 0);
  const choose = (now = 0): string => (table.choose(now) ? formatIpv6(table.chosen) : "none");
  const probe = (now: number): string => {
    const i = table.probe(now);
    return i < 0 ? "none" : formatIpv6(table.words, i * 4);
  };
  return { table, heard, lease, release, choose, probe };
}

describe("the guest's address for forwards", () => {
  it("N21 is the configured one whatever is seen", () => {
    const { choose, heard } = setUp(STABLE);
    expect(choose()).toBe(STABLE);
    heard(EUI64);
    expect(choose()).toBe(STABLE);
  });

  it("N21 is a leased one once it is seen, else the one of the MAC, else the first seen", () => {
    const { choose, heard, lease, release } = setUp();
    expect(choose()).toBe("none");
    heard(STABLE);
    heard(TEMPORARY);
    expect(choose()).toBe(STABLE);
    heard(EUI64);
    expect(choose()).toBe(EUI64);
    lease(LEASED);
    expect(choose()).toBe(EUI64);
    heard(LEASED);
    expect(choose()).toBe(LEASED);
    release(LEASED);
    expect(choose()).toBe(EUI64);
  });

  it("N21 is not a temporary one that was seen last", () => {
    const { choose, heard } = setUp();
    heard(STABLE, 0);
    for (let now = 1000; now < 20_000; now += 1000) heard(TEMPORARY, now);
    expect(choose(20_000)).toBe(STABLE);
  });

  it("N21 is asked for after long silence, and given up for the next that answers", () => {
    const { table, choose, heard, probe } = setUp();
    heard(STABLE, 0);
    heard(TEMPORARY, 100);
    expect(choose(REACHABLE_MS - 1)).toBe(STABLE);
    expect(table.nextDeadlineMs(REACHABLE_MS - 1)).toBe(-1);
    let now = REACHABLE_MS + 200;
    expect(choose(now)).toBe(STABLE);
    expect(table.nextDeadlineMs(now)).toBe(0);
    for (let n = 0; n < PROBES; n++) {
      expect(probe(now)).toBe(STABLE);
      expect(probe(now + PROBE_INTERVAL_MS - 1)).toBe("none");
      expect(table.nextDeadlineMs(now + 1)).toBe(PROBE_INTERVAL_MS - 1);
      now += PROBE_INTERVAL_MS;
    }
    // The temporary one has been silent for long as well, and is asked in its turn.
    expect(probe(now)).toBe(TEMPORARY);
    expect(choose(now)).toBe(TEMPORARY);
    heard(TEMPORARY, now);
    expect([choose(now), table.nextDeadlineMs(now), probe(now)]).toEqual([TEMPORARY, -1, "none"]);
  });

  it("N21 stays when it answers", () => {
    const { choose, heard, probe, table } = setUp();
    heard(STABLE, 0);
    choose(40_000);
    expect(probe(40_000)).toBe(STABLE);
    heard(STABLE, 40_010);
    expect([probe(41_000), table.nextDeadlineMs(41_000), choose(41_000)]).toEqual(["none", -1, STABLE]);
  });

  it("is none when all are silent", () => {
    const { choose, heard, probe } = setUp();
    heard(STABLE, 0);
    choose(REACHABLE_MS);
    for (let n = 0; n < PROBES; n++) probe(REACHABLE_MS + n * PROBE_INTERVAL_MS);
    expect(probe(REACHABLE_MS + PROBES * PROBE_INTERVAL_MS)).toBe("none");
    expect(choose(REACHABLE_MS + PROBES * PROBE_INTERVAL_MS)).toBe("none");
  });

  it("is never one outside the prefix", () => {
    const { choose, heard } = setUp();
    heard("fe80::5054:ff:fe12:3456");
    heard("2001:db8::1");
    expect(choose()).toBe("none");
  });

  it("survives a flood of invented ones", () => {
    const { choose, heard, lease } = setUp(null, 4);
    heard(STABLE, 0);
    for (let n = 0; n < 1000; n++) heard(`fd71:1ae0:d44d:2:9::${n.toString(16)}`, n);
    expect(choose(1000)).toBe(STABLE);
    heard(EUI64, 1001);
    lease(LEASED, 1001);
    heard(LEASED, 1001);
    for (let n = 0; n < 1000; n++) heard(`fd71:1ae0:d44d:2:9::${n.toString(16)}`, 2000 + n);
    expect(choose(3000)).toBe(LEASED);
  });

  it("takes an invented one out of the way, pinned ones never", () => {
    const { heard, lease, choose } = setUp(null, 2);
    lease(LEASED);
    heard(LEASED);
    lease(`${PREFIX}16`);
    heard(EUI64);
    expect(choose()).toBe(LEASED);
  });
});
