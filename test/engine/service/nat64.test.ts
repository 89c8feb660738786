/** Which NAT64 prefix is known and used: what is asked when, how long an answer holds, and what others are told of. */
import { describe, expect, it } from "vitest";
import type { Nat64Config } from "../../../src/engine/config.ts";
import { Nat64 } from "../../../src/engine/service/nat64.ts";
import { IPV4ONLY_QUESTION } from "../../../src/engine/service/nat64-discovery.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import type { Nat64Prefix } from "../../../src/engine/wire/translated-address.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const AT = 3;
const GIVEN: Nat64Config = { prefix: ip6("64:ff9b::"), length: 96 };

function setUp(config: Nat64Config | "auto" = "auto", isOutside = (_prefix: Nat64Prefix): boolean => true) {
  const octets = new Uint8Array(512);
  const asked: number[] = [];
  const told: [outward: string | null, known: string | null][] = [];
  const spell = (prefix: Nat64Prefix | null): string | null =>
    prefix && `${formatIpv6(prefix.words)}/${prefix.length}`;
  const nat64 = new Nat64(config, {
    view: new DataView(octets.buffer),
    ask: (message, nowMs) => {
      expect(message).toBe(IPV4ONLY_QUESTION);
      asked.push(nowMs);
    },
    changed: (outward, known) => told.push([spell(outward), spell(known)]),
    isOutside: (prefix) => isOutside(prefix) && prefix.length > 0,
  });
  /** An answer with these addresses, or a code. */
  const answer = (nowMs: number, addresses: readonly string[] | number, ttl = 600): void => {
    const [rcode, list] = typeof addresses === "number" ? [addresses, []] : [0, addresses];
    const records = list.flatMap((address) => [
      ...[0xc0, 12, 0, 28, 0, 1, ttl >>> 24, (ttl >>> 16) & 255, (ttl >>> 8) & 255, ttl & 255, 0, 16],
      ...octets6(address),
    ]);
    const message = [...IPV4ONLY_QUESTION, ...records];
    message[2] = 0x81;
    message[3] = 0x80 | rcode;
    message[7] = list.length;
    octets.set(message, AT);
    nat64.answered(AT, message.length, nowMs);
  };
  return { nat64, asked, told, answer };
}

const ONE = "64:ff9b::c000:aa";
const TWO = "2001:db8:1::c000:aa";
const FIRST = "64:ff9b::/96";
const SECOND = "2001:db8:1::/96";

describe("a prefix that is given", () => {
  it("is known while the host has IPv6, and used while it has nothing else", () => {
    const { nat64, asked, told } = setUp(GIVEN);
    nat64.setUplinks(true, false, 0);
    expect(told).toEqual([]);
    nat64.setUplinks(true, true, 0);
    nat64.setUplinks(true, true, 0);
    nat64.setUplinks(false, true, 0);
    nat64.setUplinks(false, true, 0);
    nat64.setUplinks(false, false, 0);
    expect(told).toEqual([
      [null, FIRST],
      [FIRST, FIRST],
      [null, null],
    ]);
    nat64.setUplinks(false, true, 0);
    nat64.resolversChanged(0);
    nat64.poll(1_000_000);
    expect([asked, nat64.nextDeadlineMs(0)]).toEqual([[], -1]);
  });
});

describe("a prefix that is asked for", () => {
  const alone = (...args: Parameters<typeof setUp>) => {
    const set = setUp(...args);
    set.nat64.setUplinks(false, true, 1000);
    return set;
  };

  it("is asked for once the host is left with IPv6 alone, and again after 15 s of silence", () => {
    const { nat64, asked } = setUp();
    expect(nat64.nextDeadlineMs(0)).toBe(-1);
    nat64.poll(100_000);
    nat64.setUplinks(true, true, 0);
    nat64.setUplinks(true, false, 0);
    nat64.setUplinks(false, false, 0);
    expect(asked).toEqual([]);
    nat64.setUplinks(false, true, 1000);
    nat64.setUplinks(false, true, 1001);
    expect([asked, nat64.nextDeadlineMs(1000), nat64.nextDeadlineMs(99_999)]).toEqual([[1000], 15_000, 0]);
    nat64.poll(15_999);
    expect(asked).toHaveLength(1);
    nat64.poll(16_000);
    expect([asked, nat64.nextDeadlineMs(16_000)]).toEqual([[1000, 16_000], 15_000]);
  });

  it.each([
    [60, 60_000],
    [59, 60_000],
    [61, 61_000],
    [86_400, 86_400_000],
    [86_401, 86_400_000],
    [0xffffffff, 86_400_000],
  ])("holds for its %i s, a minute at least and a day at most", (ttl, ms) => {
    const { nat64, asked, told, answer } = alone();
    answer(1500, [ONE], ttl);
    expect([told, nat64.nextDeadlineMs(1500)]).toEqual([[[FIRST, FIRST]], ms]);
    nat64.poll(1500 + ms - 1);
    expect(asked).toHaveLength(1);
    nat64.poll(1500 + ms);
    expect(asked).toEqual([1000, 1500 + ms]);
  });

  it("stays while resolvers are silent or fail, and goes when they say there is none", () => {
    const { nat64, told, answer } = alone();
    answer(1500, [ONE]);
    for (const rcode of [2, 5]) {
      nat64.poll(nat64.nextDeadlineMs(0));
      answer(700_000, rcode);
      expect([told.length, nat64.nextDeadlineMs(700_000)]).toEqual([1, 60_000]);
      nat64.poll(760_000);
    }
    answer(761_000, 3);
    expect([told[1], nat64.nextDeadlineMs(761_000)]).toEqual([[null, null], 60_000]);
    nat64.poll(821_000);
    answer(821_001, [ONE]);
    nat64.poll(2_000_000);
    answer(2_000_001, []);
    expect(told.slice(2)).toEqual([
      [FIRST, FIRST],
      [null, null],
    ]);
  });

  it("is told of once, however often the same is found, and again when it is another", () => {
    const { nat64, told, answer } = alone();
    for (const address of [ONE, ONE, TWO, "2001:db8:1::c000:ab", "2001:db8:1:0:c0:0:aa00::", ONE]) {
      nat64.poll(nat64.nextDeadlineMs(0));
      answer(nat64.nextDeadlineMs(0), [address]);
    }
    expect(told.map(([outward]) => outward)).toEqual([FIRST, SECOND, "2001:db8:1::/64", FIRST]);
  });

  it("is taken for none where its addresses are no place outside", () => {
    const prefixes: number[] = [];
    const { told, answer } = alone("auto", ({ length }) => {
      prefixes.push(length);
      return false;
    });
    answer(1500, [ONE]);
    expect([told, prefixes]).toEqual([[], [96]]);
  });

  it("is not learnt from an answer that nobody waits for", () => {
    const early = setUp();
    early.nat64.setUplinks(true, true, 0);
    early.answer(10, [ONE]);
    expect(early.told).toEqual([]);
    const { nat64, told, answer } = alone();
    answer(1500, [ONE]);
    answer(1600, [TWO]);
    expect(told).toEqual([[FIRST, FIRST]]);
    nat64.setUplinks(true, true, 2000);
    nat64.setUplinks(false, true, 3000);
    nat64.setUplinks(true, true, 3100);
    answer(3200, [TWO]);
    expect(told.at(-1)).toEqual([null, null]);
  });

  it("is forgotten with the need for it, and asked for when that comes back", () => {
    const { nat64, asked, told, answer } = alone();
    answer(1500, [ONE]);
    nat64.setUplinks(true, true, 2000);
    expect([told.at(-1), nat64.nextDeadlineMs(2000)]).toEqual([[null, null], -1]);
    nat64.poll(1_000_000);
    nat64.resolversChanged(1_000_000);
    expect(asked).toEqual([1000]);
    nat64.setUplinks(false, true, 1_000_001);
    expect([asked, told.length]).toEqual([[1000, 1_000_001], 2]);
  });

  it("is asked for at once of other resolvers; the answer of those before says nothing", () => {
    const { nat64, asked, told, answer } = alone();
    nat64.resolversChanged(1100);
    expect([asked, nat64.nextDeadlineMs(1100)]).toEqual([[1000], 14_900]);
    answer(1200, [ONE]);
    expect([told, nat64.nextDeadlineMs(1200)]).toEqual([[], 0]);
    nat64.poll(1200);
    expect(asked).toEqual([1000, 1200]);
    answer(1300, [TWO]);
    expect(told).toEqual([[SECOND, SECOND]]);
    nat64.resolversChanged(1400);
    expect(nat64.nextDeadlineMs(1400)).toBe(0);
    nat64.poll(1400);
    expect(asked).toHaveLength(3);
  });

  it("is asked for again where others came and the question was lost", () => {
    const { nat64, told, answer } = alone();
    nat64.resolversChanged(1100);
    nat64.poll(16_000);
    answer(16_100, [ONE]);
    expect(told).toEqual([[FIRST, FIRST]]);
  });

  it("is asked for across the wrap of the clock", () => {
    const { nat64, asked } = setUp();
    nat64.setUplinks(false, true, 0x7fffffff);
    expect(nat64.nextDeadlineMs(0x7fffffff)).toBe(15_000);
    nat64.poll((0x7fffffff + 14_999) | 0);
    nat64.poll((0x7fffffff + 15_000) | 0);
    expect(asked).toHaveLength(2);
  });
});
