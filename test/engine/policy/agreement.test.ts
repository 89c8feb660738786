/**
 * The compiled policy agrees with the plain one, on random policies and flows. SLUICE_POLICY_FLOWS says how many; a million
 * take a minute or two.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { formatTarget, parseTarget } from "../../../src/config/policy/target.ts";
import {
  type Ipv6Words,
  type PolicyConfig,
  type PolicyHost,
  type PolicyRule,
  type PolicyTarget,
  STAND_INS,
} from "../../../src/engine/config.ts";
import { CHECK, GO } from "../../../src/engine/network/destinations.ts";
import { Name } from "../../../src/engine/policy/name.ts";
import { NameTable } from "../../../src/engine/policy/name-table.ts";
import { OfflinePolicy } from "../../../src/engine/policy/offline.ts";
import { Pins } from "../../../src/engine/policy/pins.ts";
import { Policy } from "../../../src/engine/policy/policy.ts";
import { OVER_QUIC, OVER_TCP } from "../../../src/engine/policy/targets.ts";
import { type ReferenceFlow, reference } from "./reference.ts";

const FLOWS = Number(process.env["SLUICE_POLICY_FLOWS"] ?? 20_000);
const FLOWS_PER_POLICY = 50;

const LABELS = ["a", "b", "c"];
const PORTS = [22, 53, 80, 443, 444, 8443];
const name = fc
  .array(fc.constantFrom(...LABELS), { minLength: 1, maxLength: 3 })
  .map((labels) => labels.join("."));
/** Few addresses, near each other and in both families, so that networks cover some of them. */
const ADDRESSES: readonly Ipv6Words[] = [
  [0, 0, 0xffff, 0xcb007101 | 0],
  [0, 0, 0xffff, 0xcb007102 | 0],
  [0, 0, 0xffff, 0xcb007181 | 0],
  [0, 0, 0xffff, 0xc6336401 | 0],
  [0, 0, 0xffff, 0x0a010203],
  [0, 0, 0xffff, 0xc0a80107 | 0],
  [0x20010db8, 0, 0, 1],
  [0x20010db8, 0, 1, 1],
  [0x20010db9, 0, 0, 1],
  [0xfd000001 | 0, 0, 0, 1],
];
const PRIVATE = new Set([4, 5, 9]);

function network(address: Ipv6Words, prefixLength: number): PolicyHost {
  const words = address.map((word, i) => {
    const bits = prefixLength - i * 32;
    return bits >= 32 ? word : bits <= 0 ? 0 : word & (-1 << (32 - bits));
  }) as unknown as Ipv6Words;
  return { kind: "network", words, prefixLength };
}

const host: fc.Arbitrary<PolicyHost> = fc.oneof(
  { weight: 4, arbitrary: name.map((text): PolicyHost => ({ kind: "name", name: text })) },
  { weight: 3, arbitrary: name.map((text): PolicyHost => ({ kind: "names-under", name: text })) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom(...ADDRESSES), fc.constantFrom(0, 16, 32, 64, 104, 112, 120, 121, 127, 128))
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
const rule: fc.Arbitrary<PolicyRule> = fc
  .record({
    verdict: fc.constantFrom("allow" as const, "allow" as const, "deny" as const),
    targets: fc.array(target, { minLength: 1, maxLength: 3 }),
    private: fc.boolean(),
    check: fc.constantFrom(undefined, undefined, "tls" as const, "none" as const),
    quic: fc.boolean(),
  })
  .map(({ check, quic, ...each }) => ({
    ...each,
    targets: each.targets.map((one) => (quic && each.verdict === "allow" ? asQuic(one) : one)),
    name: "",
    ...(check === undefined ? {} : { check }),
  }));
const policy: fc.Arbitrary<PolicyConfig> = fc.record({
  default: fc.constantFrom("allow" as const, "deny" as const),
  audit: fc.constant(false),
  rules: fc.array(rule, { maxLength: 6 }),
  answers: fc.constant("nxdomain" as const),
  refuseEch: fc.constant(false),
  pinGraceMs: fc.constant(60_000),
  standIns: fc.constant(STAND_INS),
});
const flow = fc.record({
  protocol: fc.constantFrom("tcp" as const, "tcp" as const, "udp" as const),
  port: fc.constantFrom(...PORTS),
  address: fc.nat(ADDRESSES.length - 1),
  pinned: fc.array(name, { maxLength: 3 }),
  showsPinned: fc.boolean(),
  shown: fc.oneof(name, fc.constant(null)),
});

/** One policy's classes, with room for a few pins. */
function engineOf(config: PolicyConfig): Policy {
  const engine = new Policy({
    config,
    uptimeMs: () => clock,
    narrower: null,
    udpTimeoutMs: 1000,
    hasDns: true,
  });
  return Object.assign(engine, { pins: new Pins(config.pinGraceMs, 64, new NameTable(64)) });
}

/** Nothing of one flow is left at the next. */
let clock = 0;

/** Whether octets of the flow would reach the other end, by the classes that judge packets. */
function compiled(engine: Policy, each: ReferenceFlow, words: Int32Array): boolean {
  clock += 10_000_000;
  const named = new Name();
  for (const text of each.pinned) {
    named.setText(text);
    engine.pins.add(named, words, 0, 60, false, clock);
  }
  const pair = Int32Array.from([...new Array<number>(4).fill(0), ...words]);
  const isIpv4 = words[2] === 0xffff && words[0] === 0;
  const wish = { guestAddress: 1, remoteAddress: words[3], remotePort: each.port };
  const wish6 = { pair, remotePort: each.port };
  const isUdp = each.protocol === "udp";
  const verdict = isUdp
    ? isIpv4
      ? engine.udp(wish, 0)
      : engine.udp6(wish6, 0)
    : isIpv4
      ? engine.tcp(wish)
      : engine.tcp6(wish6);
  if (verdict !== CHECK) return verdict === GO;
  if (each.shown === null) return engine.lenient;
  engine.name.setText(each.shown);
  return engine.shown(words, 0, each.port, null, isUdp ? OVER_QUIC : OVER_TCP) === 0;
}

it("P4 P6 agrees with the plainest evaluation there is", () => {
  let allowed = 0;
  let denied = 0;
  fc.assert(
    fc.property(
      policy,
      fc.array(flow, { minLength: FLOWS_PER_POLICY, maxLength: FLOWS_PER_POLICY }),
      (config, flows) => {
        const engine = engineOf(config);
        for (const { address, showsPinned, shown, ...each } of flows) {
          const words = Int32Array.from(ADDRESSES[address]);
          const whole: ReferenceFlow = {
            ...each,
            address: ADDRESSES[address].reduce((value, word) => (value << 32n) | BigInt(word >>> 0), 0n),
            isPrivate: PRIVATE.has(address),
            shown: showsPinned ? (each.pinned[0] ?? shown) : shown,
          };
          const expected = reference(config, whole);
          if (compiled(engine, whole, words) !== expected) {
            throw new Error(`expected ${expected}: ${JSON.stringify({ ...whole, address })}`);
          }
          if (expected) allowed++;
          else denied++;
        }
      },
    ),
    { numRuns: Math.ceil(FLOWS / FLOWS_PER_POLICY) },
  );
  // Neither is rare.
  expect(allowed).toBeGreaterThan(FLOWS / 5);
  expect(denied).toBeGreaterThan(FLOWS / 5);
}, 900_000);

it("P7 asks for a name exactly where a flow to it could be allowed", () => {
  fc.assert(
    fc.property(policy, name, (config, text) => {
      const engine = engineOf(config);
      engine.name.setText(text);
      const names = config.rules.flatMap(({ verdict, targets }) =>
        targets
          .filter(
            ({ host: each }) =>
              each.kind === "every-name" ||
              (each.kind === "name" && each.name === text) ||
              (each.kind === "names-under" && text.endsWith(`.${each.name}`)),
          )
          .map((each) => ({ ...each, verdict })),
      );
      const isOpen = (protocol: "tcp" | "udp", port: number): boolean => {
        const deciding = names.find(
          (each) => each[protocol] && each.ports.some(([first, last]) => port >= first && port <= last),
        );
        return (deciding?.verdict ?? config.default) === "allow";
      };
      const edges = [
        1,
        65_535,
        ...names.flatMap(({ ports }) => ports.flatMap(([a, b]) => [a - 1, a, b, b + 1])),
      ];
      const ports = edges.filter((port) => port >= 1 && port <= 65_535);
      expect(engine.rules.mayAsk(engine.name)).toBe(
        ports.some((port) => isOpen("tcp", port) || isOpen("udp", port)),
      );
    }),
    { numRuns: 2000 },
  );
});

it("P1 what a target is printed as reads as the same", () => {
  const joined = fc
    .uniqueArray(fc.nat(65_535), { minLength: 2, maxLength: 6 })
    .map((numbers) => {
      const sorted = numbers.filter((port) => port > 0).sort((a, b) => a - b);
      return sorted
        .filter((port, i) => i === 0 || port > sorted[i - 1] + 1)
        .map((port): [number, number] => [port, port]);
    })
    .filter((ports) => ports.length > 0);
  fc.assert(
    fc.property(
      host,
      joined,
      fc.boolean(),
      fc.constantFrom("allow" as const, "deny" as const),
      (each, ports, udp, verdict) => {
        if (
          each.kind === "network" &&
          each.words[0] === 0 &&
          each.words[2] === 0xffff &&
          each.prefixLength < 96
        )
          return;
        const one = { host: each, ports, tcp: !udp, udp };
        const text = formatTarget(one, verdict);
        expect(parseTarget(text, verdict), text).toEqual(one);
      },
    ),
    { numRuns: 2000 },
  );
});

it("P6 judges without a guest as with one", () => {
  fc.assert(
    fc.property(policy, name, fc.constantFrom(...PORTS), (whole, text, port) => {
      // A name that is not looked up is in nobody's network.
      const rules = whole.rules.map((each) => ({
        ...each,
        targets: each.targets.filter(({ host: { kind } }) => kind !== "network"),
      }));
      const config = { ...whole, rules };
      const engine = engineOf(config);
      const words = Int32Array.of(0, 0, 0xffff, 0x08080808);
      engine.name.setText(text);
      engine.pins.add(engine.name, words, 0, 60, false, clock);
      const { allowed } = new OfflinePolicy(config).judge({ host: { name: text }, port, protocol: "tcp" });
      expect(allowed).toBe(engine.shown(words, 0, port, null) === 0);
    }),
    { numRuns: 1000 },
  );
});
