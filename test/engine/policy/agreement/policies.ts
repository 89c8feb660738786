/** Random policies, with all that decides about a flow. */
import fc from "fast-check";
import {
  type Ipv6Words,
  type PolicyConfig,
  type PolicyHost,
  type PolicyLimit,
  type PolicyRule,
  type PolicyTarget,
  type PolicyWay,
  STAND_INS,
} from "../../../../src/engine/config.ts";
import { ADDRESSES, name, PORTS } from "./flows.ts";

function network(address: Ipv6Words, prefixLength: number): PolicyHost {
  const words = address.map((word, i) => {
    const bits = prefixLength - i * 32;
    return bits >= 32 ? word : bits <= 0 ? 0 : word & (-1 << (32 - bits));
  }) as unknown as Ipv6Words;
  return { kind: "network", words, prefixLength };
}

/** No rule names what carries another address. */
export const host: fc.Arbitrary<PolicyHost> = fc.oneof(
  { weight: 6, arbitrary: name.map((text): PolicyHost => ({ kind: "name", name: text })) },
  { weight: 5, arbitrary: name.map((text): PolicyHost => ({ kind: "names-under", name: text })) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom(...ADDRESSES.filter(({ inside }) => inside.length === 0).map(({ words }) => words)),
        fc.constantFrom(0, 16, 32, 64, 104, 112, 120, 121, 127, 128),
      )
      .map(([address, length]) => network(address, length)),
  },
  fc.constantFrom<PolicyHost>(
    { kind: "every-name" },
    { kind: "every-address" },
    { kind: "public" },
    { kind: "private" },
  ),
);
const range = fc
  .tuple(fc.constantFrom(...PORTS, 1), fc.constantFrom(0, 0, 0, 1, 400, 65_000))
  .map(([first, more]): readonly [number, number] => [first, Math.min(first + more, 65_535)]);
const target = fc
  .record({
    host,
    ports: fc.array(range, { minLength: 1, maxLength: 2 }),
    tcp: fc.boolean(),
    udp: fc.boolean(),
  })
  .map((each) => ({ ...each, tcp: each.tcp || !each.udp }));
/** UDP to a name, which has to show it. */
const asQuic = (each: PolicyTarget): PolicyTarget =>
  each.udp && ["name", "names-under", "every-name"].includes(each.host.kind)
    ? { ...each, tcp: false, quic: true }
    : each;

const proxy = { kind: "tcp", words: [0, 0, 0xffff, 0x7f000001], port: 1080 } as const;
const way: fc.Arbitrary<PolicyWay> = fc.constantFrom<PolicyWay>(
  { kind: "to", target: { ...proxy, port: 8899 }, proxyHeader: true },
  { kind: "to", target: { kind: "unix", path: "/run/proxy.sock" }, proxyHeader: false },
  { kind: "socks5", target: proxy, login: { user: "me", password: "secret" } },
  { kind: "http", target: proxy },
);
const limit: fc.Arbitrary<PolicyLimit> = fc
  .record({
    bytes: fc.constantFrom(undefined, undefined, 5000, 9000),
    connections: fc.constantFrom(undefined, 1, 2),
    newFlows: fc.constantFrom(undefined, 1, 2),
  })
  .map((each) => definedOf<PolicyLimit>(each));

/** Once in so many times. */
const seldom = <T>(times: number, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: times - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });

/** Without what is undefined. */
function definedOf<T>(value: { readonly [key in keyof T]: T[key] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}

/** What can be said of an allowing rule only. */
const terms = fc
  .record({
    private: fc.boolean(),
    check: fc.constantFrom(undefined, undefined, "tls" as const, "http" as const, "none" as const),
    way: seldom(10, way),
    limit: seldom(5, limit),
  })
  .map((each) => definedOf<Pick<PolicyRule, "private" | "check" | "way" | "limit">>(each));
const rule: fc.Arbitrary<PolicyRule> = fc
  .record({
    verdict: fc.constantFrom(
      "allow" as const,
      "allow" as const,
      "allow" as const,
      "deny" as const,
      "deny" as const,
      "ask" as const,
    ),
    targets: fc.array(target, { minLength: 1, maxLength: 3 }),
    quic: fc.boolean(),
    withinMs: fc.constantFrom(undefined, 1000, 120_000),
    terms,
  })
  .map(({ verdict, targets, quic, withinMs, terms: more }) => {
    if (verdict === "deny") return { verdict, targets, name: "", private: false };
    const own = { verdict, targets: quic ? targets.map(asQuic) : targets, name: "", ...more };
    return verdict === "ask" && withinMs !== undefined ? { ...own, withinMs } : own;
  });

export const policy: fc.Arbitrary<PolicyConfig> = fc
  .record({
    default: fc.constantFrom("allow" as const, "deny" as const, "deny" as const),
    audit: fc.constantFrom(...new Array<boolean>(15).fill(false), true),
    rules: fc.array(rule, { maxLength: 6 }),
    answers: fc.constantFrom("nxdomain" as const, "refused" as const, "explain" as const),
    refuseEch: fc.constantFrom(false, false, false, true),
    refuseUnattended: fc.constantFrom(false, false, false, true),
    pinGraceMs: fc.constantFrom(0, 60_000),
    standIns: fc.constant(STAND_INS),
    way: seldom(20, way),
    limit: seldom(10, fc.constantFrom({ newFlows: 2 }, { questions: 2 }, { newFlows: 5, questions: 3 })),
  })
  .map((each) => definedOf<PolicyConfig>(each));
