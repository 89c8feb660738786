/** Random flows of a guest, and what becomes of them. */
import fc from "fast-check";
import type { Ipv6Words, PolicyWay } from "../../../../src/engine/config.ts";

export const LABELS = ["a", "b", "c"];
export const PORTS = [22, 53, 80, 443, 444, 8443];
export const name = fc
  .array(fc.constantFrom(...LABELS), { minLength: 1, maxLength: 3 })
  .map((labels) => labels.join("."));

export interface TestAddress {
  readonly words: Ipv6Words;
  readonly isPrivate: boolean;
  /** Numbers of the addresses that it carries inside, as which it is judged; and as itself too. */
  readonly inside: readonly number[];
  readonly andItself: boolean;
}

const plain = (words: Ipv6Words, isPrivate = false): TestAddress => ({
  words,
  isPrivate,
  inside: [],
  andItself: true,
});
const carrying = (words: Ipv6Words, inside: readonly number[], andItself = false): TestAddress => ({
  words,
  isPrivate: false,
  inside,
  andItself,
});
/** Few addresses, near each other and in both families, so that networks cover some of them. */
export const ADDRESSES: readonly TestAddress[] = [
  plain([0, 0, 0xffff, 0xcb007101 | 0]),
  plain([0, 0, 0xffff, 0xcb007102 | 0]),
  plain([0, 0, 0xffff, 0xcb007181 | 0]),
  // One of the host's own.
  plain([0, 0, 0xffff, 0xc6336401 | 0], true),
  plain([0, 0, 0xffff, 0x0a010203], true),
  plain([0, 0, 0xffff, 0xc0a80107 | 0], true),
  plain([0x20010db8, 0, 0, 1]),
  plain([0x20010db8, 0, 1, 1]),
  plain([0x20010db9, 0, 0, 1]),
  plain([0xfd000001 | 0, 0, 0, 1], true),
  // 64:ff9b::/96, 6to4, ISATAP and Teredo, whose server and client are both inside.
  carrying([0x0064ff9b, 0, 0, 0xcb007101 | 0], [0]),
  carrying([0x0064ff9b, 0, 0, 0x0a010203], [4]),
  carrying([0x2002cb00, 0x71020000, 0, 1], [1]),
  carrying([0x20010db8, 0, 0x00005efe, 0xcb007101 | 0], [0], true),
  carrying([0x20010000, 0xcb007101 | 0, 0x0000ffff, ~0xcb007102], [0, 1]),
];
/** The host's own among them. */
export const OWN: readonly Ipv6Words[] = [ADDRESSES[3].words];

export interface Asked {
  readonly name: string;
  readonly seconds: number;
}
export interface Answer {
  readonly isYes: boolean;
  /** As `Questions.answer` has it. */
  readonly forMs: number | null;
}
/** What a connection says first. */
export interface FirstOctets {
  readonly protocol: "tls" | "http" | "other";
  readonly name: string | null;
  /** A second name beside it. */
  readonly isTwofold: boolean;
  /** Another ClientHello is inside. */
  readonly ech: boolean;
}
export interface Flow {
  /** Since the last flow. */
  readonly afterMs: number;
  /** Names the guest asks for before, which lead to `address`. */
  readonly asked: readonly Asked[];
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** Number of the address. */
  readonly address: number;
  /** It goes to the stand-in of the first name instead, if there has been one. */
  readonly toStandIn: boolean;
  readonly first: FirstOctets;
  readonly answer: Answer | null;
  readonly lastsMs: number;
  readonly octets: number;
}

/** What becomes of a question for a name. */
export type QuestionOutcome = "passes" | "denied" | "no-data" | "stands-in" | "limited";
/** What becomes of a flow, and what decided; rule -1 is the default. */
export interface Outcome {
  readonly reaches: boolean;
  readonly why:
    | ("address" | "name" | "shown" | "lenient" | "audit")
    | ("rule" | "way" | "limit" | "question" | "unnamed" | "ech" | "shown");
  readonly rule?: number;
  readonly way?: PolicyWay | null;
}

export const flow: fc.Arbitrary<Flow> = fc
  .record({
    afterMs: fc.constantFrom(0, 10, 10, 400, 400, 3000, 25_000, 100_000, 4_000_000),
    asked: fc.array(fc.record({ name, seconds: fc.constantFrom(0, 60, 90_000) }), {
      minLength: 0,
      maxLength: 3,
      size: "max",
    }),
    protocol: fc.constantFrom("tcp" as const, "tcp" as const, "udp" as const),
    port: fc.constantFrom(...PORTS, 443, 443, 80),
    address: fc.nat(ADDRESSES.length - 1),
    toStandIn: fc.boolean(),
    showsAsked: fc.constantFrom(true, true, false),
    // As the port has it, mostly.
    speaks: fc.constantFrom(
      "port" as const,
      "port" as const,
      "port" as const,
      "tls" as const,
      "http" as const,
      "other" as const,
    ),
    shown: fc.oneof(name, name, fc.constant(null)),
    isTwofold: fc.constantFrom(false, false, false, false, true),
    ech: fc.boolean(),
    answer: fc.oneof(
      fc.constant(null),
      fc.record({ isYes: fc.constantFrom(true, true, false), forMs: fc.constantFrom(null, 0, 50_000) }),
    ),
    lastsMs: fc.constantFrom(5, 5000, 10_000_000),
    octets: fc.constantFrom(0, 100, 5000),
  })
  .map(({ showsAsked, speaks, shown, isTwofold, ech, ...each }) => {
    const ofPort = each.port === 80 ? ("http" as const) : ("tls" as const);
    const protocol = speaks === "port" ? ofPort : speaks;
    const named = showsAsked ? (each.asked[0]?.name ?? shown) : shown;
    return { ...each, first: { protocol, name: named, isTwofold, ech } };
  });
