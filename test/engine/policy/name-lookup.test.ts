/** Names that sluice asks for itself: which question goes out, which answer belongs to it, and which of its addresses may be reached. */
import { describe, expect, it } from "vitest";
import { ADDRESS_WORDS } from "../../../src/engine/boundary.ts";
import type { PolicyWay } from "../../../src/engine/config.ts";
import { dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { GO, TRANSLATED } from "../../../src/engine/network/destinations.ts";
import { NO_RULE, PINNED, PINNED_PRIVATE } from "../../../src/engine/policy/rule-set.ts";
import { OVER_TCP } from "../../../src/engine/policy/targets.ts";
import {
  Detour,
  FOUND_MAX,
  FREE,
  RESOLVED,
  TO_CONNECT,
  TO_RESOLVE,
} from "../../../src/engine/service/ways/detour.ts";
import { NameLookup, type NameLookupParts } from "../../../src/engine/service/ways/name-lookup.ts";
import { makeQuestion } from "../../../src/engine/wire/dns.ts";
import { ip } from "../../support/frames.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const AT = 5;
const NAME = "far.example";
const text = (name: string): Uint8Array => new TextEncoder().encode(name);
/** No rule here is as late. */
const REFUSED = -7;

interface Rules {
  /** The first rule of the name, and of the address. */
  readonly named?: number;
  readonly address?: number;
  readonly allows?: readonly number[];
  readonly withWay?: readonly number[];
  readonly isPrivate?: (last: number) => boolean;
  /** What else an address may be: as many as there are candidates of it. */
  readonly inside?: readonly number[];
}

function setUp(rules: Rules = {}, over: Partial<NameLookupParts> = {}) {
  const octets = new Uint8Array(1024);
  const asked: { readonly message: readonly number[]; readonly nowMs: number }[] = [];
  const judged: unknown[] = [];
  const reached: unknown[] = [];
  const { named = 1, address = NO_RULE, allows = [1], withWay = [], isPrivate = () => false, inside } = rules;
  const words = new Int32Array(4);
  const policy = {
    flow: {
      words,
      candidates: () => inside?.length ?? 1,
      take(i: number, from: Int32Array, at: number): void {
        words.set(from.slice(at, at + 4));
        if (inside !== undefined) words[3] = inside[i];
      },
    },
    rules: {
      isPrivate: (of: Int32Array) => isPrivate(of[3]),
      nameRule(name: { text: string }, port: number, protocol: number, how: number): number {
        judged.push([
          name.text,
          port,
          protocol === OVER_TCP,
          how === PINNED ? "public" : how === PINNED_PRIVATE && "private",
        ]);
        return named;
      },
      addressRule: () => address,
      allows: (rule: number) => allows.includes(rule),
    },
    wayOf: (rule: number) => (withWay.includes(rule) ? {} : null),
  };
  const destinations = {
    controlPorts: null,
    reach(last: number, port: number, to: Int32Array): number {
      reached.push([last, port]);
      to.set([0, 0, 0xffff, last, port]);
      return last === ip("10.9.9.9") ? REFUSED : last === ip("10.9.9.8") ? TRANSLATED : GO;
    },
  };
  const lookup = new NameLookup({
    view: new DataView(octets.buffer),
    policy: policy as unknown as NameLookupParts["policy"],
    destinations: destinations as unknown as NameLookupParts["destinations"],
    destinations6: null,
    allowLinkLocal: false,
    ask: (message, nowMs) => asked.push({ message: [...message], nowMs }),
    ...over,
  });
  const found = { times: 0 };
  lookup.found = () => found.times++;
  const detour = (): Detour => {
    const one = new Detour();
    one.step = TO_RESOLVE;
    one.end.name.set(text(NAME));
    one.end.nameOctets = NAME.length;
    one.end.port = 22;
    return one;
  };
  /** A message of a resolver for this question with these addresses, in the arena. Returns its length. */
  const put = (id: number, name: string, addresses: readonly string[] = [], rcode = 0): number => {
    const records = addresses.flatMap((data) => {
      const isIpv6 = data.includes(":");
      const octets4 = data.split(".").map(Number);
      return [
        0xc0,
        12,
        0,
        isIpv6 ? 28 : 1,
        0,
        1,
        0,
        0,
        0,
        9,
        0,
        isIpv6 ? 16 : 4,
        ...(isIpv6 ? octets6(data) : octets4),
      ];
    });
    const message = [...makeQuestion(id, text(name), 1), ...records];
    message[2] = 0x81;
    message[3] = 0x80 | rcode;
    message[7] = addresses.length;
    octets.set(message, AT);
    return message.length;
  };
  return { octets, asked, judged, reached, lookup, found, detour, put };
}

describe("a question of sluice's own for a name", () => {
  it("has the place in its id, and tells questions of one place apart", () => {
    const { lookup, asked, detour } = setUp();
    for (let i = 0; i < 130; i++) lookup.ask(1023, detour(), i);
    const ids = asked.map(({ message }) => (message[0] << 8) | message[1]);
    expect(ids.every((id) => (id & 1023) === 1023)).toBe(true);
    expect(ids.map((id) => id >> 10)).toEqual(Array.from({ length: 130 }, (_, i) => (i + 1) % 64));
    expect(asked[129].nowMs).toBe(129);
  });

  it("is for the name alone, A first and AAAA then", () => {
    const { lookup, asked, detour } = setUp();
    const one = detour();
    lookup.ask(2, one, 0);
    one.asksIpv6 = true;
    lookup.ask(2, one, 0);
    expect(asked.map(({ message }) => message.slice(2))).toEqual(
      [1, 28].map((type) => [...makeQuestion(0, text(NAME), type).slice(2)]),
    );
  });
});

describe("an answer to a question of sluice's own", () => {
  it("is noted where its place waits for that name, whatever its round", () => {
    const { lookup, found, detour, put } = setUp();
    const detours = [detour(), detour()];
    expect(lookup.answered(detours, AT, put((9 << 10) | 1, NAME, ["203.0.113.5", "203.0.113.6"]))).toBe(true);
    expect([detours[1].step, detours[1].foundCount, found.times]).toEqual([RESOLVED, 2, 1]);
    expect([...detours[1].found.slice(0, 8)]).toEqual([
      ...[0, 0, 0xffff, ip("203.0.113.5"), 0, 0, 0xffff, ip("203.0.113.6")],
    ]);
    expect([detours[0].step, detours[0].foundCount]).toEqual([TO_RESOLVE, 0]);
    expect(lookup.answered(detours, AT, put(0, "FAR.example", ["2001:db8::5"]))).toBe(true);
    expect([...detours[0].found.slice(0, 4)]).toEqual(ip6("2001:db8::5"));
  });

  it("is another's where no place waits for it", () => {
    const { octets, lookup, found, detour, put } = setUp();
    const cases: [id: number, name: string][] = [
      [2, NAME],
      [1023, NAME],
      [0, "xar.example"],
      [0, "far.exampl"],
      [0, "x.far.example"],
      [0, "example"],
      [1, NAME],
    ];
    const detours = [detour(), detour()];
    detours[1].step = TO_CONNECT;
    for (const [id, name] of cases)
      expect(lookup.answered(detours, AT, put(id, name)), `${id} ${name}`).toBe(false);
    const length = put(0, NAME);
    octets[AT + 5] = 0;
    expect(lookup.answered(detours, AT, 12)).toBe(false);
    expect(length).toBeGreaterThan(12);
    // The root.
    octets.set([0, 1, 0, 0, 0, 1, 0, 1], AT + 5 - 1);
    octets.set([0, 0, 1, 0, 1], AT + 12);
    expect(lookup.answered(detours, AT, 17)).toBe(false);
    expect([found.times, detours.map(({ step }) => step)]).toEqual([0, [TO_RESOLVE, TO_CONNECT]]);
  });

  it("has eight addresses that count, and none where it is a failure", () => {
    const { lookup, detour, put } = setUp();
    const one = detour();
    const addresses = Array.from({ length: 9 }, (_, i) => `203.0.113.${i + 1}`);
    lookup.answered([one], AT, put(0, NAME, addresses));
    expect([one.foundCount, FOUND_MAX]).toEqual([8, 8]);
    expect([...one.found].filter((_word, i) => i % 4 === 3)).toEqual(addresses.slice(0, 8).map(ip));
    for (const [rcode, count] of [
      [2, 0],
      [3, 0],
      [0, 1],
    ]) {
      one.step = TO_RESOLVE;
      one.foundCount = 5;
      expect(lookup.answered([one], AT, put(0, NAME, ["203.0.113.1"], rcode))).toBe(true);
      expect([one.step, one.foundCount]).toEqual([RESOLVED, count]);
    }
  });

  it("is heard by nobody who does not listen", () => {
    const { put, detour } = setUp();
    const octets = new DataView(new ArrayBuffer(512));
    const lookup = new NameLookup({ view: octets } as NameLookupParts);
    const message = makeQuestion(0, text(NAME), 1);
    for (const [i, octet] of message.entries()) octets.setUint8(i, octet);
    const one = detour();
    expect([lookup.answered([one], 0, message.length), one.step, put(0, NAME) > 0]).toEqual([
      true,
      RESOLVED,
      true,
    ]);
  });
});

/** What is chosen of these addresses: the last word, or the reason why none. */
function choose(addresses: readonly string[], rules: Rules = {}, over: Partial<NameLookupParts> = {}) {
  const set = setUp(rules, over);
  const one = set.detour();
  set.lookup.answered([one], AT, set.put(0, NAME, addresses));
  const to = new Int32Array(ADDRESS_WORDS);
  const reason = set.lookup.choose(one, to);
  return { ...set, reason, to: [...to.slice(0, 5)] };
}

const DENIED = dropReason("policy-denied");
const MISMATCH = dropReason("policy-name-mismatch");
const PRIVATE = dropReason("policy-name-private");

describe("the address that is chosen", () => {
  it("is the first that may be reached and is allowed", () => {
    const { reason, to, reached, judged } = choose(["10.9.9.9", "203.0.113.5", "203.0.113.6"]);
    expect([reason, to]).toEqual([0, [0, 0, 0xffff, ip("203.0.113.5"), 22]]);
    expect(reached).toEqual([
      [ip("10.9.9.9"), 22],
      [ip("203.0.113.5"), 22],
    ]);
    expect(judged).toEqual([[NAME, 22, true, "public"]]);
    expect(choose(["10.9.9.8"]).reason).toBe(0);
  });

  it("is none where none is known, or none may be reached", () => {
    expect(choose([]).reason).toBe(-1);
    expect(choose(["10.9.9.9"])).toMatchObject({ reason: -1, judged: [] });
  });

  it.each([
    ["denied by the name's rule", { named: 1, allows: [] }, DENIED],
    ["denied by the address's rule, which comes first", { named: 2, address: 1, allows: [2] }, DENIED],
    ["allowed by the address's rule, which comes first", { named: 2, address: 1, allows: [1] }, 0],
    ["denied by a rule that comes later", { named: 1, address: 2, allows: [1] }, 0],
    ["named by no rule", { named: NO_RULE, allows: [] }, MISMATCH],
    ["named by none, where all is allowed", { named: NO_RULE, allows: [NO_RULE] }, 0],
    ["led another way by its rule", { named: 1, allows: [1], withWay: [1] }, MISMATCH],
    ["private, and named by no rule", { named: NO_RULE, allows: [], isPrivate: () => true }, PRIVATE],
    ["private, and led another way", { named: 1, allows: [1], withWay: [1], isPrivate: () => true }, PRIVATE],
    ["private and allowed", { named: 1, isPrivate: () => true }, 0],
    ["private and denied", { named: 1, allows: [], isPrivate: () => true }, DENIED],
  ] as [string, Rules, number][])("is not one that is %s", (_what, rules, expected) => {
    const { reason, judged } = choose(["203.0.113.5"], rules);
    expect(reason).toBe(expected);
    expect(judged).toEqual([[NAME, 22, true, rules.isPrivate ? "private" : "public"]]);
  });

  it("is one whose every meaning is allowed", () => {
    const rules: Rules = { inside: [1, 2, 3], named: NO_RULE, allows: [], isPrivate: (last) => last === 2 };
    expect(choose(["203.0.113.5"], rules)).toMatchObject({ reason: MISMATCH });
    const all: Rules = { inside: [1, 2], isPrivate: (last) => last === 2 };
    expect(choose(["203.0.113.5"], all)).toMatchObject({
      reason: 0,
      judged: [
        [NAME, 22, true, "public"],
        [NAME, 22, true, "private"],
      ],
    });
  });

  it("is not there for the reason of the last", () => {
    const rules: Rules = { named: NO_RULE, allows: [], isPrivate: (last) => last === ip("10.0.0.5") };
    expect(choose(["203.0.113.5", "10.0.0.5"], rules).reason).toBe(PRIVATE);
    expect(choose(["10.0.0.5", "203.0.113.5"], rules).reason).toBe(MISMATCH);
    expect(choose(["203.0.113.5", "10.9.9.9"], rules).reason).toBe(MISMATCH);
  });
});

describe("an address of IPv6", () => {
  it.each([
    ["2001:db8::5", false, 0],
    ["fe80::5", false, -1],
    ["fe80::5", true, -1],
    ["fd00:ec2::254", false, -1],
    ["fd00:ec2::254", true, 0],
    ["::1", true, -1],
  ])(
    "%s is one where the guest has none, link-local ones allowed: %s",
    (address, allowLinkLocal, expected) => {
      const { reason, to, reached } = choose([address], {}, { allowLinkLocal });
      expect([reason, reached]).toEqual([expected, []]);
      expect(to).toEqual([...ip6(address), 22]);
    },
  );

  it("is none that leads to a port of sluice's own", () => {
    const asked: unknown[] = [];
    const controlPorts = {
      has: (to: Int32Array) => {
        asked.push([...to.slice(0, 5)]);
        return to[3] === 6;
      },
    };
    const destinations = { controlPorts } as unknown as NameLookupParts["destinations"];
    expect(choose(["2001:db8::5"], {}, { destinations }).reason).toBe(0);
    expect(choose(["2001:db8::6"], {}, { destinations }).reason).toBe(-1);
    expect(asked).toEqual([
      [...ip6("2001:db8::5"), 22],
      [...ip6("2001:db8::6"), 22],
    ]);
  });

  it("is what the guest's rules for IPv6 say where it has that", () => {
    const asked: unknown[] = [];
    const reach = (pair: Int32Array, port: number, to: Int32Array): number => {
      asked.push([...pair.slice(4), port]);
      to.set([7, 7, 7, 7, port]);
      return pair[7] === 5 ? GO : REFUSED;
    };
    const destinations6 = { reach } as unknown as NonNullable<NameLookupParts["destinations6"]>;
    const { reason, to } = choose(["2001:db8::6", "2001:db8::5"], {}, { destinations6 });
    expect([reason, to]).toEqual([0, [7, 7, 7, 7, 22]]);
    expect(asked).toEqual([
      [...ip6("2001:db8::6"), 22],
      [...ip6("2001:db8::5"), 22],
    ]);
  });
});

it("a way that leads to a port of sluice's own is forbidden", () => {
  const forbidden = { kind: "tcp" };
  const controlPorts = { isOperators: (target: unknown) => target === forbidden };
  const destinations = { controlPorts } as unknown as NameLookupParts["destinations"];
  const of = (target: object, over = destinations): boolean =>
    setUp({}, { destinations: over }).lookup.isForbidden({ target } as PolicyWay);
  expect([of(forbidden), of({ kind: "tcp" })]).toEqual([true, false]);
  expect(of(forbidden, { controlPorts: null } as typeof destinations)).toBe(false);
});

describe("a connection that does not go straight", () => {
  it("is the one it was as long as its number and state are", () => {
    const detour = new Detour();
    expect([detour.step, detour.isLive(0)]).toEqual([FREE, false]);
    detour.connection = { iss: 7, state: 3 } as Detour["connection"];
    detour.iss = 7;
    expect([detour.isLive(3), detour.isLive(4)]).toEqual([true, false]);
    detour.iss = 8;
    expect(detour.isLive(3)).toBe(false);
  });

  it("begins each step anew", () => {
    const detour = new Detour();
    detour.said = 5;
    detour.heardOctets = 6;
    detour.begin(4, 9);
    const { step, said, heardOctets, wantedOctets } = detour;
    expect([step, said, heardOctets, wantedOctets]).toEqual([4, 0, 0, 9]);
    detour.begin(5);
    expect(detour.wantedOctets).toBe(0);
  });
});
