/** docs/nat.md says which test shows what: every test it names is there, and every requirement has a row. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const FILES: Readonly<Record<string, string>> = {
  udp: "test/nat/udp.test.ts",
  tcp: "test/nat/tcp.test.ts",
  hairpin: "test/nat/hairpin.test.ts",
  dns: "test/engine/service/dns-forwarder.test.ts",
  unreachable: "test/engine/network/unreachable.test.ts",
  refusals: "test/e2e/refusals.test.ts",
  "dns-tcp": "test/engine/service/dns-over-tcp.test.ts",
};

interface Row {
  readonly section: string;
  readonly requirement: string;
  readonly shown: string;
}

function rows(): Row[] {
  let section = "";
  return read("docs/nat.md")
    .split("\n")
    .flatMap((line) => {
      if (line.startsWith("## ")) section = line.slice(3);
      const cells = line.split("|").map((cell) => cell.trim());
      if (
        cells.length !== 5 ||
        cells[1] === "requirement" ||
        cells[1] === "section" ||
        cells[1].startsWith("---")
      ) {
        return [];
      }
      return [{ section, requirement: cells[1], shown: cells[3] }];
    });
}

/** The numbers of all rows of a section: REQ-1, REQ-9 and so on, lists such as "REQ-2, 5, 6" included. */
function numbers(section: string): Set<number> {
  const found = rows().filter((row) => row.section.startsWith(section));
  return new Set(
    found.flatMap(({ requirement }) => (requirement.match(/^[^a-z]*/)?.[0].match(/\d+/g) ?? []).map(Number)),
  );
}

describe("docs/nat.md", () => {
  it("has a row for every requirement", () => {
    const upTo = (n: number): Set<number> => new Set(Array.from({ length: n }, (_, i) => i + 1));
    expect(numbers("RFC 4787")).toEqual(upTo(14));
    expect(numbers("RFC 5382")).toEqual(upTo(10));
    expect(numbers("RFC 6888")).toEqual(upTo(15));
    for (let section = 2; section <= 12; section++) expect(numbers("RFC 7857")).toContain(section);
  });

  it("names tests that exist, or gives a reason", () => {
    for (const { requirement, shown } of rows()) {
      if (shown === "reason given") continue;
      for (const named of shown.split("; ")) {
        const [place, ...words] = named.split(": ");
        const file = FILES[place] ?? place.replaceAll("`", "");
        expect([requirement, read(file)]).toEqual([requirement, expect.stringContaining(words.join(": "))]);
      }
    }
  });
});
