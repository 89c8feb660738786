/** Inbound ports from options: what each binds, who is in whose way, and which are the guest's to take. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";

type Given = readonly [OptionName, string?];

function plan(given: readonly Given[], ephemeral = { first: 0, last: 0 }) {
  const set = new OptionSet();
  for (const [name, text] of given) set.add(name, text);
  const { forwards } = planEngine(set, 0, ephemeral);
  return { forwards, problems: set.problems.map(formatProblem) };
}

const publish = (...rules: string[]): Given[] => rules.map((rule) => ["publish", rule]);
/** What the last rule is told of the ports it wants. */
const conflict = (...rules: string[]): string | undefined => {
  const { problems } = plan(publish(...rules));
  expect(problems.length).toBeLessThan(2);
  return problems[0]?.replace(/^--publish: found "[^"]*"; allowed: host ports that are free; /, "");
};

describe("two rules", () => {
  it.each([
    [["80", "80:81"], "tcp port 80 is bound by 80"],
    [["80-90", "85:1"], "tcp port 85 is bound by 80-90"],
    [["85", "80-90"], "tcp port 85 is bound by 85"],
    [["90", "80-90"], "tcp port 90 is bound by 90"],
    [["85,87", "80-90"], "tcp port 85 is bound by 85,87"],
    [["0.0.0.0:80", "127.0.0.2:80"], "tcp port 80 is bound by 0.0.0.0:80"],
    [["127.0.0.2:80", "0.0.0.0:80"], "tcp port 80 is bound by 127.0.0.2:80"],
    [["[::]:80", "[::1]:80"], "tcp port 80 is bound by [::]:80"],
    [["[::1]:80", "[::]:80"], "tcp port 80 is bound by [::1]:80"],
    [["[::1]:80", "[0::1]:80"], "tcp port 80 is bound by [::1]:80"],
    [["*:80", "[2001:db8::1]:80"], "tcp port 80 is bound by *:80"],
    [["*:80", "192.0.2.1:80"], "tcp port 80 is bound by *:80"],
    [["udp:53", "udp:53:54"], "udp port 53 is bound by udp:53"],
    [["127.0.0.1%lo:80", "80"], "tcp port 80 is bound by 127.0.0.1%lo:80"],
    [["80", "127.0.0.1%lo:80"], "tcp port 80 is bound by 80"],
    [["127.0.0.1%lo:80", "127.0.0.1%lo:80"], "tcp port 80 is bound by 127.0.0.1%lo:80"],
    [["0.0.0.0%lo:80", "127.0.0.1%lo:80"], "tcp port 80 is bound by 0.0.0.0%lo:80"],
    [["[fe80::1%lo]:80", "[fe80::1%lo]:80"], "tcp port 80 is bound by [fe80::1%lo]:80"],
  ])("%j want one port", (rules, told) => {
    expect(conflict(...rules)).toBe(told);
  });

  it.each([
    [["80", "81"]],
    [["80", "udp:80"]],
    [["80", "127.0.0.2:80"]],
    [["80", "[::1]:80"]],
    [["0.0.0.0:80", "[::]:80"]],
    [["80-89", "90"]],
    [["90", "80-89"]],
    [["0:80", "0:80"]],
    [["127.0.0.1%lo:80", "127.0.0.1%eth0:80"]],
    [["0.0.0.0%lo:80", "0.0.0.0%eth0:80"]],
    [["[::1]:80", "[::2]:80"]],
  ])("%j want none that the other has", (rules) => {
    expect(conflict(...rules)).toBeUndefined();
  });

  it("are told at the later option, -p being before --hostfwd", () => {
    expect(plan([["hostfwd", "tcp::80-:81"], ...publish("80")]).problems).toEqual([
      '--hostfwd: found "tcp::80-:81"; allowed: host ports that are free; tcp port 80 is bound by 80',
    ]);
  });

  it("have optional ports that are in nobody's way", () => {
    const given: Given[] = [["max-forwards", "262140"], ...publish("80", "all", "*:~1", "85")];
    expect(plan(given).problems).toEqual([]);
  });
});

describe("a rule of hostfwd", () => {
  const told = (rule: string, ...more: Given[]): string[] =>
    plan([["hostfwd", rule], ...more]).problems.map((line) => line.slice(line.indexOf("allowed: ") + 9));
  const GUEST = "a guest address inside 10.0.2.0/24 that is the guest's";

  it.each(["10.0.2.1", "10.0.2.15", "10.0.2.254"])("may lead to %s", (guest) => {
    expect(told(`tcp::80-${guest}:80`)).toEqual([]);
  });

  it.each(["10.0.2.0", "10.0.2.255", "10.0.3.1", "10.0.2.2", "10.0.2.3"])("never leads to %s", (guest) => {
    expect(told(`tcp::80-${guest}:80`)).toEqual([GUEST]);
  });

  it("leads to DNS's place where there is no DNS", () => {
    expect(told("tcp::80-10.0.2.3:80", ["no-dns"])).toEqual([]);
    expect(told("tcp::80-:80", ["no-dns"])).toEqual([]);
  });

  it("to an address of a subnet that cannot be read is not complained about", () => {
    expect(told("tcp::80-192.168.7.9:80", ["net", "x"])).toHaveLength(1);
  });
});

describe("optional ports", () => {
  it("are none of those that the host gives to its own connections", () => {
    const { forwards, problems } = plan([["max-forwards", "65535"], ...publish("all", "40000")], {
      first: 32_768,
      last: 60_999,
    });
    expect(problems).toEqual([]);
    expect(forwards.map(({ hostPort, ports, continues }) => [hostPort, ports, continues])).toEqual([
      [1, 32_767, undefined],
      [61_000, 4536, true],
      [40_000, undefined, undefined],
    ]);
  });

  it("are told where none is left", () => {
    const own = { first: 100, last: 200 };
    expect(plan(publish("~1-99,~201-65535"), own)).toEqual({
      forwards: [],
      problems: [
        "--publish: found \"~1-99,~201-65535\"; allowed: a port that is none of the host's own connections' (100-200)",
      ],
    });
    expect(plan(publish("~1-98,~201-65535"), own)).toMatchObject({
      forwards: [{ hostPort: 99, ports: 1 }],
      problems: [],
    });
    // These come and go: nobody starts with them.
    expect(plan(publish("auto,~1-99,~201-65535"), own)).toEqual({ forwards: [], problems: [] });
  });
});

describe("ports in all", () => {
  const most = (count: number, ...rules: string[]): string[] =>
    plan([["max-forwards", `${count}`], ...publish(...rules)]).problems;

  it("are as many as may be, each family for itself", () => {
    expect(most(12, "8000-8010", "80")).toEqual([]);
    expect(most(11, "8000-8010", "80")).toEqual([
      '--publish: found "12 ports"; allowed: at most 11 ports in all (--max-forwards)',
    ]);
    expect(most(24, "*:8000-8010", "*:80")).toEqual([]);
    expect(most(23, "*:8000-8010", "*:80")).toHaveLength(1);
  });
});

describe("--publish-when-open", () => {
  it("is of TCP, where the guest can be asked over IPv4", () => {
    const given: Given[] = [
      ["publish-when-open"],
      ...publish("80", "udp:81", "[::1]:82"),
      ["hostfwd", "tcp::83-[]:83"],
      ["hostfwd", "tcp:[::1]:84-:84"],
      ["hostfwd", "tcp::85-[fd71:1ae0:d44d:2::15]:85"],
    ];
    const { forwards, problems } = plan(given);
    expect(problems).toEqual([]);
    expect(forwards.map(({ hostPort, whenOpen }) => [hostPort, whenOpen])).toEqual([
      [80, true],
      [81, undefined],
      [82, true],
      [83, undefined],
      [84, true],
      [85, undefined],
    ]);
    expect(plan(publish("80")).forwards[0]?.whenOpen).toBeUndefined();
  });
});

describe("forwards to a guest with IPv6 alone", () => {
  const alone: Given[] = [["ipv4", "off"]];

  it("go there, whichever family their clients are of", () => {
    const { forwards, problems } = plan([
      ...alone,
      ...publish("80", "[::1]:81", "*:82"),
      ["hostfwd", "tcp::83-[fd71:1ae0:d44d:2::15]:83"],
    ]);
    expect(problems).toEqual([]);
    expect(
      forwards.map(({ hostPort, guestAddress6, eitherFamily }) => [hostPort, guestAddress6, eitherFamily]),
    ).toEqual([
      [80, null, undefined],
      [81, null, undefined],
      [82, null, undefined],
      [82, null, undefined],
      [83, [0xfd711ae0 | 0, 0xd44d0002 | 0, 0, 0x15], undefined],
    ]);
  });

  it("go to no address of IPv4", () => {
    expect(plan([...alone, ["hostfwd", "tcp::80-10.0.2.15:80"]]).problems).toEqual([
      '--hostfwd: found "tcp::80-10.0.2.15:80"; allowed: an IPv6 address of the guest, with --ipv4 off',
    ]);
  });
});
