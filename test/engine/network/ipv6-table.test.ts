/** docs/ipv6.md says which test shows what: every test it names is there, and says the requirement's number. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { TARGETS } from "../../fuzz/targets.ts";

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const ENGINE = "test/engine";
const FILES: Readonly<Record<string, readonly string[]>> = {
  wire: ["ipv6", "ndp", "dhcpv6", "domain-list"].map((name) => `${ENGINE}/wire/${name}.test.ts`),
  ndp: [`${ENGINE}/link/ndp.test.ts`],
  neighbours: [`${ENGINE}/link/neighbours6.test.ts`],
  "guest addresses": [`${ENGINE}/link/guest-addresses.test.ts`],
  router: [`${ENGINE}/service/router.test.ts`],
  dhcpv6: [`${ENGINE}/service/dhcpv6.test.ts`],
  ipv6: [`${ENGINE}/network/ipv6.test.ts`],
  reassembly: [`${ENGINE}/network/reassembly6.test.ts`],
  addresses: [`${ENGINE}/network/addresses.test.ts`],
  engine: [`${ENGINE}/ipv6.test.ts`],
  nat64: [`${ENGINE}/nat64.test.ts`],
  "engine beside IPv4": [`${ENGINE}/ipv6-beside-ipv4.test.ts`],
  tap: ["test/host/link/tap.test.ts"],
  text: ["test/config/address6.test.ts"],
};
const LAST = 74;

interface Row {
  readonly number: number;
  readonly rfc: string;
  readonly tests: readonly string[];
}

const ROWS: readonly Row[] = read("docs/ipv6.md")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter((cells) => cells.length === 6 && /^N\d+$/.test(cells[1]))
  .map((cells) => ({ number: Number(cells[1].slice(1)), rfc: cells[3], tests: cells[4].split("; ") }));

describe("docs/ipv6.md", () => {
  it("has rows of the requirements, each once and in order", () => {
    const numbers = ROWS.map(({ number }) => number);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(numbers.length).toBeGreaterThan(55);
    expect(Math.max(...numbers)).toBeLessThanOrEqual(LAST);
  });

  it("names an RFC, or says that there is none", () => {
    for (const { number, rfc } of ROWS)
      expect([number, rfc]).toEqual([number, expect.stringMatching(/\d{2}|^-$/)]);
  });

  it("names tests that exist", () => {
    for (const { number, tests } of ROWS) {
      for (const named of tests) {
        const fuzzed = /^fuzz target `(.+)`$/.exec(named);
        if (fuzzed) {
          expect([number, TARGETS.map(({ name }) => name)]).toEqual([
            number,
            expect.arrayContaining([fuzzed[1]]),
          ]);
          continue;
        }
        const [place, ...words] = named.split(": ");
        const texts = (FILES[place] ?? [place.replaceAll("`", "")]).map(read);
        expect([named, texts.some((text) => text.includes(words.join(": ")))]).toEqual([named, true]);
      }
    }
  });
});
