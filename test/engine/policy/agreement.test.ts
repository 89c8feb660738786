/** The compiled policy agrees with the plain one, on random policies and flows. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { formatTarget, parseTarget } from "../../../src/config/policy/target.ts";
import type { PolicyConfig } from "../../../src/engine/config.ts";
import { OfflinePolicy } from "../../../src/engine/policy/offline.ts";
import { agree, flowsOf } from "./agreement/agree.ts";
import { Compiled } from "./agreement/compiled.ts";
import { name, PORTS } from "./agreement/flows.ts";
import { host, policy } from "./agreement/policies.ts";

/** `npm run policy:agreement` takes a million, and other seeds. */
const FLOWS = 20_000;
const SEED = 15;

/** What can become of a flow. */
const OUTCOMES = [
  ...["yes address", "yes name", "yes shown", "yes lenient", "yes audit"],
  ...["no rule", "no way", "no limit", "no question", "no unnamed", "no ech", "no shown"],
  ...["question passes", "question denied", "question no-data", "question stands-in", "question limited"],
];

it("P4 P6 agrees with the plainest evaluation there is", () => {
  const tally = agree(FLOWS, SEED);
  expect(flowsOf(tally)).toBeGreaterThan(FLOWS / 2);
  expect(Object.keys(tally).sort()).toEqual(OUTCOMES.sort());
  // None of them is rare.
  expect(Math.min(...Object.values(tally)), JSON.stringify(tally)).toBeGreaterThan(FLOWS / 2000);
});

it("P7 asks for a name exactly where a flow to it could be allowed", () => {
  fc.assert(
    fc.property(policy, name, (config, text) => {
      const { engine } = new Compiled(config);
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
        return (deciding?.verdict ?? config.default) !== "deny";
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

/** By rules alone. A name that is not looked up is in nobody's network. */
function straight({ way: _, limit: __, ...config }: PolicyConfig): PolicyConfig {
  const rules = config.rules.map(({ way: ___, limit: ____, ...each }) => ({
    ...each,
    verdict: each.verdict === "deny" ? each.verdict : ("allow" as const),
    targets: each.targets.filter(({ host: { kind } }) => kind !== "network"),
  }));
  return { ...config, audit: false, answers: "nxdomain", rules };
}

it("P6 judges without a guest as with one", () => {
  fc.assert(
    fc.property(policy, name, fc.constantFrom(...PORTS), (whole, text, port) => {
      const config = straight(whole);
      const { engine } = new Compiled(config);
      const words = Int32Array.of(0, 0, 0xffff, 0x08080808);
      engine.name.setText(text);
      engine.pins.add(engine.name, words, 0, 60, false, 0);
      const { allowed } = new OfflinePolicy(config).judge({ host: { name: text }, port, protocol: "tcp" });
      expect(allowed).toBe(engine.shown(words, 0, port, null) === 0);
    }),
    { numRuns: 1000 },
  );
});
