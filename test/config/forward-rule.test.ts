/** Rules of inbound ports: the forwards each stands for, and how they are told and written. */
import { describe, expect, it } from "vitest";
import {
  asRule,
  forwardRules,
  groupsOf,
  guestPortOf,
  onePort,
  parseForwardRule,
  portsOf,
  ruleGuest,
  ruleHost,
  ruleText,
  socketsOf,
  withoutOptional,
} from "../../src/config/forward-rule.ts";
import { forwardHost, isOnEveryAddress } from "../../src/config/forward-text.ts";
import { Unacceptable } from "../../src/config/problem.ts";
import { parsePublish } from "../../src/config/publish-grammar.ts";
import type { Forward } from "../../src/engine/config.ts";

const ports = (forwards: readonly Forward[]) =>
  forwards.map(({ hostAddress6, hostPort, guestPort, ports = 1 }) => [
    hostAddress6 === undefined ? 4 : 6,
    hostPort,
    guestPort,
    ports,
  ]);

describe("a rule", () => {
  it("is one forward, and more that continue it", () => {
    const marks = asRule(parsePublish("*:80,90")).map(({ hostPort, sharesPort, continues }) => [
      hostPort,
      sharesPort,
      continues,
    ]);
    expect(marks).toEqual([
      [80, undefined, undefined],
      [80, true, undefined],
      [90, undefined, true],
      [90, true, undefined],
    ]);
  });

  it("is found again among others", () => {
    const rules = ["80", "*:443", "8000,9000", "udp:53"].map((text) => asRule(parsePublish(text)));
    expect(forwardRules(rules.flat())).toEqual(rules);
    expect(forwardRules([])).toEqual([]);
    // Nothing is in front of the first.
    const [, shared] = parsePublish("*:80") as [Forward, Forward];
    expect(forwardRules([shared])).toEqual([[shared]]);
  });

  it.each([
    ["80", 1, 1],
    ["8000-8010:80", 11, 11],
    ["*:80", 1, 2],
    ["*:8000-8010,80", 12, 24],
  ])("%s has %i ports and %i sockets", (text, ports, sockets) => {
    const rule = parsePublish(text);
    expect([portsOf(rule), socketsOf(rule)]).toEqual([ports, sockets]);
  });

  it("is in groups that have the same ports", () => {
    const rule = parsePublish("*:80,90");
    expect(groupsOf(rule)).toEqual([rule.slice(0, 2), rule.slice(2)]);
    expect(groupsOf([])).toEqual([]);
    expect(groupsOf(rule.slice(1))).toEqual([rule.slice(2)]);
  });
});

describe("a rule with optional ports", () => {
  it("is left without those that are in a hole, for each family", () => {
    const left = withoutOptional(parsePublish("*:~1-9,~101-65535"), { first: 40, last: 60 });
    expect(ports(left)).toEqual([
      [4, 10, 10, 30],
      [6, 10, 10, 30],
      [4, 61, 61, 40],
      [6, 61, 61, 40],
    ]);
    expect(left.every(({ optional }) => optional)).toBe(true);
  });

  it("keeps its ports beside the hole, and none where that is all of them", () => {
    const rule = parsePublish("~1-9,~21-65535");
    expect(ports(withoutOptional(rule, { first: 1, last: 9 }))).toEqual([[4, 10, 10, 11]]);
    expect(withoutOptional(rule, { first: 1, last: 65_535 })).toEqual([]);
  });

  it("of one port keeps that where the hole is another", () => {
    const one: Forward = {
      ...{ protocol: "tcp", hostAddress: 0, hostPort: 80, guestAddress: 0, guestPort: 8080 },
      optional: true,
    };
    expect(withoutOptional([one], { first: 81, last: 81 })).toEqual([{ ...one, ports: 1 }]);
    expect(withoutOptional([one], { first: 80, last: 80 })).toEqual([]);
  });

  it("is no rule whose ports are all wanted: that stays", () => {
    const rule = parsePublish("8000-8010:80");
    expect(withoutOptional(rule, { first: 1, last: 65_535 })).toEqual(rule);
    expect(withoutOptional([], { first: 1, last: 2 })).toEqual([]);
  });
});

describe("a port of a forward", () => {
  const [range] = parsePublish("127.0.0.1%lo:8000-8010:80") as [Forward];

  it("leads to the guest's of the same number in its row", () => {
    expect([8000, 8001, 8010].map((port) => guestPortOf(range, port))).toEqual([80, 81, 90]);
    const [free] = parsePublish("0:22") as [Forward];
    expect(guestPortOf(free, 40_000)).toBe(22);
  });

  it("is a forward of its own", () => {
    const { ports: _, ...one } = range;
    expect(onePort({ ...range, optional: true }, 8003)).toEqual({ ...one, hostPort: 8003, guestPort: 83 });
  });
});

describe("a rule's ends", () => {
  it.each([
    ["80", "127.0.0.1", null, "127.0.0.1"],
    ["0.0.0.0:80", "0.0.0.0", null, "*"],
    ["0.0.0.0%eth0:80", "0.0.0.0", null, "*%eth0"],
    ["127.0.0.1%lo:80", "127.0.0.1", null, "127.0.0.1%lo"],
    ["[::1]:80", "::1", null, "[::1]"],
    ["[::]:80", "::", null, "[::]"],
    ["[fe80::1%eth0]:80", "fe80::1", null, "[fe80::1%eth0]"],
    ["*:80", "*", null, "*"],
    ["tcp::80-10.0.2.15:80", "0.0.0.0", "10.0.2.15", "*"],
    ["tcp:127.0.0.1:80-[]:80", "127.0.0.1", "[]", "127.0.0.1"],
    ["tcp:[]:80-[fd71::15]:80", "::", "fd71::15", "[::]"],
    ["tcp:[::1]:80-:80", "::1", null, "[::1]"],
  ])("of %s: bound to %s, to the guest's %s, told as %s", (text, host, guest, told) => {
    const rule = parseForwardRule(text);
    expect([ruleHost(rule), ruleGuest(rule), forwardHost(rule[0] as Forward)]).toEqual([host, guest, told]);
  });

  it("are every address of a family or one", () => {
    const isEvery = (text: string): boolean => isOnEveryAddress(parsePublish(text)[0] as Forward);
    expect(["0.0.0.0:80", "[::]:80", "80", "[::1]:80", "[1::]:80"].map(isEvery)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it("are those of a rule with a port at least", () => {
    for (const read of [ruleHost, ruleGuest, (rule: Forward[]) => ruleText(rule, 80)])
      expect(() => read([])).toThrow(new RangeError("a rule without a port"));
  });
});

describe("a rule as text", () => {
  it.each([
    ["80", 80, "tcp:127.0.0.1:80:80"],
    ["0:22", 40_000, "tcp:127.0.0.1:40000:22"],
    ["8000-8001:80", 8000, "tcp:127.0.0.1:8000-8001:80-81"],
    ["80,90-91", 80, "tcp:127.0.0.1:80,90-91"],
    ["all", 1, "tcp:127.0.0.1:all"],
    ["~1,~22-23,~65535", 2, "tcp:127.0.0.1:all,~1,~22-23,~65535"],
    ["udp:*%eth0:80,90", 80, "udp:*%eth0:80,90"],
    ["[fe80::1%eth0]:80", 80, "tcp:[fe80::1%eth0]:80:80"],
    ["tcp:[]:80-[fd71::15]:81", 80, "tcp:[::]:80-[fd71::15]:81"],
    ["udp:[::1]:80-[]:81", 80, "udp:[::1]:80-[]:81"],
  ])("%s is %s as bound", (text, hostPort, written) => {
    expect(ruleText(parseForwardRule(text), hostPort)).toBe(written);
  });
});

describe("a rule of either grammar", () => {
  const allowed = (text: string): string => {
    try {
      return JSON.stringify(parseForwardRule(text));
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      return error.allowed;
    }
  };

  it("is what -p takes, and what hostfwd takes where that has its form", () => {
    expect(ports(parseForwardRule("8000-8001:80-81"))).toEqual([[4, 8000, 80, 2]]);
    expect(ports(parseForwardRule("tcp::80-:81"))).toEqual([[4, 80, 81, 1]]);
    expect(ports(parseForwardRule("udp:127.0.0.1:0x50-10.0.2.15:81"))).toEqual([[4, 80, 81, 1]]);
    expect(parseForwardRule("*:80,90").map(({ continues }) => continues)).toEqual([
      undefined,
      undefined,
      true,
      undefined,
    ]);
  });

  it("is told by the one it has the form of what is wrong with it", () => {
    const hostfwd = "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT";
    expect(allowed("tcp::80-:81:")).toContain("[ADDRESS:]PORT[:GUESTPORT]");
    expect(allowed("tcp:1:2:80-:81")).toContain(hostfwd);
    expect(allowed("tcp::0-:81-x:1")).toContain(hostfwd);
    expect(allowed("sctp::80-:81")).toContain("[ADDRESS:]PORT[:GUESTPORT]");
    expect(allowed("xtcp::80-:81")).toContain("[ADDRESS:]PORT[:GUESTPORT]");
    expect(allowed("tcp:10-5")).toContain("a range whose end is not below its start");
  });
});
