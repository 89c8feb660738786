/** Who is told that a guest has another address than the engine was told of, and of which address. */
import { describe, expect, it } from "vitest";
import { GuestSubnet } from "../../../src/engine/network/sources.ts";
import { Strangers } from "../../../src/engine/network/strangers.ts";
import { ip } from "../../support/frames.ts";

function setUp() {
  const warnings: string[] = [];
  const subnet = new GuestSubnet(ip("10.0.2.0"), 24, [ip("10.0.2.2")]);
  const strangers = new Strangers((message) => warnings.push(message), subnet, ip("10.0.2.15"));
  return { warnings, note: (text: string) => strangers.note(ip(text)) };
}

const INSIDE =
  "packets from 10.0.2.100 are dropped: the guest's address is 10.0.2.15, and 10.0.2.100 is not leased to it; " +
  "--guest-addr 10.0.2.100 would admit it, and --guest-addr any all of the subnet's";
const OUTSIDE =
  "packets from 192.168.1.5 are dropped: it is outside of the guest's subnet 10.0.2.0/24, which --net would change";

describe("a stranger", () => {
  it("of either kind is told of once", () => {
    const { warnings, note } = setUp();
    for (const text of ["10.0.2.100", "10.0.2.101", "192.168.1.5", "192.168.1.6", "10.0.2.102"]) note(text);
    expect(warnings).toEqual([INSIDE, OUTSIDE]);
  });

  it.each(["10.0.2.0", "10.0.2.2", "10.0.2.255"])(
    "in the subnet is not told of at %s, which no guest can have",
    (text) => {
      const { warnings, note } = setUp();
      note(text);
      expect(warnings).toEqual([]);
      note("10.0.2.100");
      expect(warnings).toEqual([INSIDE]);
    },
  );

  it.each([
    ["0.255.255.255", false],
    ["1.0.0.0", true],
    ["126.255.255.255", true],
    ["127.0.0.1", false],
    ["128.0.0.0", true],
    ["169.253.255.255", true],
    ["169.254.0.0", false],
    ["169.254.255.255", false],
    ["169.255.0.0", true],
    ["223.255.255.255", true],
    ["224.0.0.0", false],
    ["255.255.255.255", false],
  ])("outside of it, at %s, is told of: %s", (text, isTold) => {
    const { warnings, note } = setUp();
    note(text);
    expect(warnings.length).toBe(isTold ? 1 : 0);
  });

  it("is told to nobody where nobody listens", () => {
    const subnet = new GuestSubnet(ip("10.0.2.0"), 24, []);
    const strangers = new Strangers(undefined, subnet, ip("10.0.2.15"));
    expect(() => [strangers.note(ip("10.0.2.100")), strangers.note(ip("8.8.8.8"))]).not.toThrow();
  });
});
