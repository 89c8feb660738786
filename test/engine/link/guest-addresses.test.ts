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

  it.each(["fd71:1ae1:d44d:2::15", "fd71:1ae0:d44d:3::15"])(
    "is never %s, of which half is the prefix's",
    (text) => {
      const { choose, heard } = setUp();
      heard(text);
      expect(choose()).toBe("none");
    },
  );

  it("is none in doubt before there is one", () => {
    const { table, probe } = setUp();
    expect([table.nextDeadlineMs(0), probe(0)]).toEqual([-1, "none"]);
  });

  it.each([
    ["whose first half alone is made of the MAC", "fd71:1ae0:d44d:2:5054:ff:fe12:3457"],
    ["whose second half alone is made of the MAC", "fd71:1ae0:d44d:2:5054:fe:fe12:3456"],
  ])("is no better for an identifier %s", (_name, text) => {
    const { choose, heard } = setUp();
    heard(STABLE);
    heard(text);
    expect(choose()).toBe(STABLE);
  });

  it("is the one of the MAC whatever was seen after it, and a leased one whatever was leased after it", () => {
    const { choose, heard, lease } = setUp();
    heard(EUI64);
    heard(STABLE);
    expect(choose()).toBe(EUI64);
    for (const text of [LEASED, `${PREFIX}16`]) {
      lease(text);
      heard(text);
    }
    expect(choose()).toBe(LEASED);
  });

  it("is a leased one that was seen before its lease", () => {
    const { choose, heard, lease } = setUp();
    heard(STABLE);
    heard(EUI64);
    lease(STABLE);
    expect(choose()).toBe(STABLE);
  });

  it("is the one seen first, whichever place in the table it has", () => {
    const { choose, heard, release } = setUp();
    heard(TEMPORARY);
    heard(STABLE);
    release(TEMPORARY);
    expect(choose()).toBe(STABLE);
    heard(`${PREFIX}99`);
    expect(choose()).toBe(STABLE);
    release(STABLE);
    expect(choose()).toBe(`${PREFIX}99`);
  });

  it("is forgotten with its lease, and no other for it", () => {
    const { choose, heard, release } = setUp();
    heard(LEASED);
    for (const text of ["fd71:1ae1:d44d:2::15", "fd71:1ae0:d44d:3::15", `${PREFIX}1:0:15`, `${PREFIX}16`]) {
      release(text);
      expect([text, choose()]).toEqual([text, LEASED]);
    }
    release(LEASED);
    expect(choose()).toBe("none");
  });

  it("stays in doubt whatever is heard of others, or forgotten", () => {
    const { table, choose, heard, release, probe } = setUp();
    heard(STABLE, 0);
    heard(TEMPORARY, 0);
    choose(REACHABLE_MS);
    heard(TEMPORARY, REACHABLE_MS);
    expect(table.nextDeadlineMs(REACHABLE_MS)).toBe(0);
    release(TEMPORARY);
    expect([table.nextDeadlineMs(REACHABLE_MS), probe(REACHABLE_MS)]).toEqual([0, STABLE]);
  });

  it("is asked for at once, whatever the clock says", () => {
    for (const start of [-REACHABLE_MS, 0x7fffffff, 0]) {
      const { table, choose, heard, probe } = setUp();
      const now = (start + REACHABLE_MS) | 0;
      heard(STABLE, start);
      choose(now);
      expect([table.nextDeadlineMs(now), probe(now)]).toEqual([0, STABLE]);
      expect(table.nextDeadlineMs((now + 1) | 0)).toBe(PROBE_INTERVAL_MS - 1);
      expect(table.nextDeadlineMs((now + 5000) | 0)).toBe(0);
    }
  });

  it("given up for one that is silent too, has that one asked for in the same turn", () => {
    const { choose, heard, lease, probe } = setUp();
    heard(STABLE, 0);
    lease(LEASED, 0);
    heard(LEASED, 0);
    expect(choose(REACHABLE_MS)).toBe(LEASED);
    for (let n = 0; n < PROBES; n++) expect(probe(REACHABLE_MS + n * PROBE_INTERVAL_MS)).toBe(LEASED);
    expect(probe(REACHABLE_MS + PROBES * PROBE_INTERVAL_MS)).toBe(STABLE);
  });

  it("given up for one that was heard of lately, has nobody asked for", () => {
    const { table, choose, heard, probe } = setUp();
    heard(STABLE, 0);
    heard(TEMPORARY, 10_000);
    choose(REACHABLE_MS);
    for (let n = 0; n < PROBES; n++) probe(REACHABLE_MS + n * PROBE_INTERVAL_MS);
    const now = REACHABLE_MS + PROBES * PROBE_INTERVAL_MS;
    expect([probe(now), table.nextDeadlineMs(now), choose(now)]).toEqual(["none", -1, TEMPORARY]);
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

  it("has the place of the one heard of longest ago, when there is no other", () => {
    // The clock is about to reach 0: a place that was never used says nothing of time.
    const { choose, heard, release } = setUp(null, 4);
    heard(STABLE, -400);
    heard(TEMPORARY, -300);
    heard(`${PREFIX}a`, -200);
    heard(`${PREFIX}b`, -100);
    heard(TEMPORARY, -50);
    heard(`${PREFIX}c`, -40);
    const left: string[] = [];
    for (let text = choose(); text !== "none"; text = choose()) {
      left.push(text);
      release(text);
    }
    expect(left).toEqual([STABLE, TEMPORARY, `${PREFIX}b`, `${PREFIX}c`]);
  });

  it("is written over no other one", () => {
    const { choose, heard, release } = setUp(null, 3);
    for (const text of [STABLE, TEMPORARY, `${PREFIX}a`]) heard(text);
    release(STABLE);
    heard(`${PREFIX}b`);
    const left: string[] = [];
    for (let text = choose(); text !== "none"; text = choose()) {
      left.push(text);
      release(text);
      if (left.length > 3) break;
    }
    expect(left).toEqual([TEMPORARY, `${PREFIX}a`, `${PREFIX}b`]);
  });

  it("that is leased, or made of the MAC, stays though another is chosen", () => {
    const { choose, heard, lease, release } = setUp(null, 4);
    lease(LEASED, 0);
    heard(LEASED, 0);
    heard(EUI64, 0);
    lease(`${PREFIX}16`, 0);
    for (let n = 0; n < 10; n++) heard(`${PREFIX}9:${n}`, 100 + n);
    expect(choose()).toBe(LEASED);
    release(LEASED);
    expect(choose()).toBe(EUI64);
    heard(`${PREFIX}16`, 200);
    expect(choose()).toBe(`${PREFIX}16`);
  });

  it("is not put in the place of one that is better, when all are", () => {
    const { choose, heard, lease, release } = setUp(null, 2);
    lease(LEASED);
    heard(LEASED);
    lease(`${PREFIX}16`);
    heard(STABLE);
    release(LEASED);
    expect(choose()).toBe("none");
    heard(`${PREFIX}16`);
    expect(choose()).toBe(`${PREFIX}16`);
  });

  it("that is leased in the place of one that was seen has yet to be seen itself", () => {
    const { choose, heard, lease } = setUp(null, 2);
    heard(TEMPORARY);
    heard(EUI64);
    lease(LEASED);
    expect(choose()).toBe(EUI64);
    heard(LEASED);
    expect(choose()).toBe(LEASED);
  });

  it("is put in the place of the one heard of longest ago, be it the first of the table", () => {
    const { choose, heard, release } = setUp(null, 3);
    heard(TEMPORARY, 0);
    heard(`${PREFIX}a`, 10);
    heard(EUI64, 20);
    heard(`${PREFIX}b`, 30);
    release(EUI64);
    expect(choose()).toBe(`${PREFIX}a`);
  });

  it("that is heard of again after its lease has ended has a place of its own again", () => {
    const { choose, heard, release } = setUp(null, 2);
    heard(STABLE);
    release(STABLE);
    heard(STABLE);
    heard(TEMPORARY);
    expect(choose()).toBe(STABLE);
    release(STABLE);
    expect(choose()).toBe(TEMPORARY);
  });
});
