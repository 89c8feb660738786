/** The addresses of the guest's prefix: who has which, and what is told of one that cannot be. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { ip6 } from "../support/frames6.ts";

type Given = readonly [OptionName, string?];

function plan(...given: readonly Given[]) {
  const set = new OptionSet();
  for (const [name, text] of given) set.add(name, text);
  const { ipv6, forwards } = planEngine(set);
  return { ipv6, forwards, problems: set.problems.map(formatProblem) };
}

const problemsOf = (...given: readonly Given[]): string[] => plan(...given).problems;
const P = "fd71:1ae0:d44d:2";
const NET: Given = ["net6", "2001:db8:7::/64"];
const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:02";

describe("IPv6 on a link that is too small for it", () => {
  it.each<[OptionName, string]>([
    ["ipv6", "auto"],
    ["net6", "2001:db8:7::/64"],
    ["gateway6", `${P}::9`],
    ["dns6", `${P}::9`],
    ["guest-addr6", `${P}::9`],
    ["dhcp6-start", `${P}::9`],
    ["dhcp6-option", "41=x"],
    ["next-server", "2001:db8::9"],
  ])("is there all the same where somebody speaks of it, by --%s", (name, text) => {
    expect(plan(["mtu", "1279"], [name, text]).ipv6).not.toBeNull();
  });

  it("is not where nobody does, and is refused where it must be", () => {
    expect(plan(["mtu", "1279"])).toMatchObject({ ipv6: null, problems: [] });
    expect(plan(["mtu", "1280"]).ipv6).not.toBeNull();
    expect(plan(["mtu", "1279"], ["next-server", "192.0.2.1"])).toMatchObject({ ipv6: null, problems: [] });
    expect(problemsOf(["ipv6", "on"], ["mtu", "1279"])).toEqual([
      '--ipv6: found "on"; allowed: auto or off: IPv6 needs an MTU of 1280 (--mtu is 1279)',
    ]);
    expect(problemsOf(["ipv6", "on"], ["mtu", "1280"])).toEqual([]);
  });
});

describe("an address of the prefix", () => {
  const own = (address: string, owner: string): string =>
    `an address of its own; ${address} is that of ${owner}`;
  const FIRST = "an address of a host, not the first of the prefix";
  const OUTSIDE = `an address of ${P}::/64`;

  it.each<[string, Given[], string, string]>([
    ["the router's outside", [["gateway6", "2001:db8::1"]], "gateway6", OUTSIDE],
    ["the router's in another with half of it", [["gateway6", "fd71:1ae0::9"]], "gateway6", OUTSIDE],
    [
      "the router's in another with its other half",
      [["gateway6", "2001:db8:d44d:2::9"]],
      "gateway6",
      OUTSIDE,
    ],
    ["the router's, the first", [["gateway6", `${P}::`]], "gateway6", FIRST],
    ["DNS's, link-local", [["dns6", "fe80::9"]], "dns6", OUTSIDE],
    ["the guest's, link-local", [["guest-addr6", "fe80::9"]], "guest-addr6", OUTSIDE],
    ["DNS's where the router is", [["dns6", `${P}::2`]], "dns6", own(`${P}::2`, "--gateway6")],
    [
      "the router's where DNS is, which is told at net6",
      [["gateway6", `${P}::3`]],
      "net6",
      own(`${P}::3`, "--gateway6"),
    ],
    [
      "the guest's where the router is",
      [["guest-addr6", `${P}::2`]],
      "guest-addr6",
      own(`${P}::2`, "--gateway6"),
    ],
    ["the guest's where DNS is", [["guest-addr6", `${P}::3`]], "guest-addr6", own(`${P}::3`, "--dns6")],
    ["the first lease's where DNS is", [["dhcp6-start", `${P}::3`]], "dhcp6-start", own(`${P}::3`, "--dns6")],
    ["the first lease's, the first", [["dhcp6-start", `${P}::`]], "dhcp6-start", FIRST],
  ])("is refused: %s", (_what, given, name, allowed) => {
    const found = given.find(([each]) => each === name)?.[1];
    const shown = found === undefined ? "" : `found "${found}"; `;
    expect(problemsOf(...given)).toEqual([`--${name}: ${shown}allowed: ${allowed}`]);
  });

  it.each<[string, Given[]]>([
    ["in the prefix's upper half", [["gateway6", `${P}:8000::`]]],
    [
      "the first lease's that is the guest's",
      [
        ["guest-addr6", `${P}::77`],
        ["dhcp6-start", `${P}::77`],
      ],
    ],
    [
      "the router's and DNS's moved to each other's place",
      [
        ["gateway6", `${P}::3`],
        ["dns6", `${P}::2`],
      ],
    ],
    ["the guest's that ends as the router's does", [["guest-addr6", `${P}::1:0:2`]]],
    ["the router's link-local one", [["gateway6", "fe80::1"]]],
    [
      "DNS's where a link-local router stands in",
      [
        ["gateway6", "fe80::1"],
        ["dns6", `${P}::5`],
      ],
    ],
  ])("is good: %s", (_what, given) => {
    expect(problemsOf(...given)).toEqual([]);
  });

  it("is not complained about where the prefix cannot be read", () => {
    expect(
      problemsOf(["net6", "x"], ["gateway6", "2001:db8::1"], ["guest-addr6", "2001:db8::1"]),
    ).toHaveLength(1);
    expect(problemsOf(["gateway6", "x"], ["guest-addr6", `${P}::2`])).toHaveLength(1);
    expect(problemsOf(["dns6", "x"])).toHaveLength(1);
    const service: Given = ["guestfwd", "tcp:[2001:db8::9]:7-cmd:a"];
    expect(problemsOf(["net6", "x"], service)).toHaveLength(1);
    expect(problemsOf(["net6", "x"], ["reserve", `${MAC}=2001:db8::9`])).toHaveLength(1);
    expect(problemsOf(["net6", "x"], ["hostfwd", "tcp::80-[2001:db8::9]:80"])).toHaveLength(1);
    expect(problemsOf(["ipv6", "x"], ["hostfwd", "tcp::80-[2001:db8::9]:80"])).toHaveLength(1);
  });

  it("of DNS is not given where there is no DNS", () => {
    expect(problemsOf(["no-dns"], ["dns6", `${P}::9`])).toEqual([
      `--dns6: found "${P}::9"; allowed: nothing beside --no-dns`,
    ]);
    expect(problemsOf(["no-dns"])).toEqual([]);
  });
});

describe("what the prefix's addresses come to", () => {
  it.each<[string, Given[], object]>([
    ["by themselves", [], { gateway: `${P}::2`, dns: `${P}::3`, guestAddress: null, rangeStart: `${P}::15` }],
    [
      "in another prefix",
      [NET],
      { gateway: "2001:db8:7::2", dns: "2001:db8:7::3", guestAddress: null, rangeStart: "2001:db8:7::15" },
    ],
    [
      "as given",
      [
        ["gateway6", `${P}::a`],
        ["dns6", `${P}::b`],
        ["guest-addr6", `${P}::c`],
        ["dhcp6-start", `${P}::d`],
      ],
      { gateway: `${P}::a`, dns: `${P}::b`, guestAddress: `${P}::c`, rangeStart: `${P}::d` },
    ],
    [
      "with the guest's, where leases begin",
      [["guest-addr6", `${P}::c`]],
      { gateway: `${P}::2`, dns: `${P}::3`, guestAddress: `${P}::c`, rangeStart: `${P}::c` },
    ],
    [
      "without DNS",
      [["no-dns"]],
      { gateway: `${P}::2`, dns: null, guestAddress: null, rangeStart: `${P}::15` },
    ],
  ])("%s", (_what, given, expected) => {
    const { ipv6, problems } = plan(...given);
    expect(problems).toEqual([]);
    const words = Object.fromEntries(
      Object.entries(expected).map(([key, text]) => [key, text === null ? null : ip6(text as string)]),
    );
    const { gateway, dns, guestAddress } = words;
    expect(ipv6).toMatchObject({ gateway, dns, guestAddress, shared: false, fixedGateway: null });
    expect(ipv6?.routerAddress).toEqual(ip6("fe80::2"));
    expect(ipv6?.dhcp).toMatchObject({
      rangeStart: words["rangeStart"],
      rangeSize: 16,
      ownAddresses: dns === null ? [gateway] : [gateway, dns],
      dnsServers: dns === null ? [] : [dns],
      reservations: [],
    });
  });

  it("with a link-local router: it stands in at ::2, or at ::4 where the guest is there", () => {
    const gateway = (...given: readonly Given[]) => plan(["gateway6", "fe80::1"], ...given).ipv6?.gateway;
    expect(gateway()).toEqual(ip6(`${P}::2`));
    expect(gateway(["guest-addr6", `${P}::2`])).toEqual(ip6(`${P}::4`));
    expect(gateway(["guest-addr6", `${P}::1:0:2`])).toEqual(ip6(`${P}::2`));
    expect(gateway(["guest-addr6", `${P}::9`])).toEqual(ip6(`${P}::2`));
    expect(gateway(NET)).toEqual(ip6("2001:db8:7::2"));
    expect(plan(["gateway6", "fe80::1"]).ipv6?.routerAddress).toEqual(ip6("fe80::1"));
    expect(problemsOf(["gateway6", "fe80::1"], ["dns6", `${P}::2`])).toEqual([
      `--dns6: found "${P}::2"; allowed: an address of its own; ${P}::2 is that of --gateway6`,
    ]);
  });

  it("of a prefix that is really there: DNS has none of its own, unless it is said", () => {
    const shared = (...given: readonly Given[]) => plan(NET, ...given);
    for (const by of [["shared-subnet"], ["copy-host", "auto"]] as const) {
      expect(shared(by).ipv6).toMatchObject({ shared: true, dns: null, fixedGateway: null });
      expect(shared(by, ["ipv4", "off"], ["ipv6", "on"]).ipv6?.dns).toEqual(ip6("2001:db8:7::2"));
      expect(shared(by, ["dns6", "2001:db8:7::9"]).ipv6?.dns).toEqual(ip6("2001:db8:7::9"));
      expect(shared(by, ["no-dns"]).ipv6?.dns).toBeNull();
      expect(plan(by).ipv6).toMatchObject({ shared: false, dns: ip6(`${P}::3`) });
    }
    const router: Given = ["gateway6", "2001:db8:7::1"];
    expect(shared(["copy-host", "auto"], router).ipv6?.fixedGateway).toEqual(ip6("2001:db8:7::1"));
    expect(shared(["shared-subnet"], router).ipv6?.fixedGateway).toBeNull();
    expect(shared(["copy-host", "auto"], ["gateway6", "fe80::1"]).ipv6?.fixedGateway).toBeNull();
    expect(shared().ipv6).toMatchObject({ shared: false, dns: ip6("2001:db8:7::3") });
    expect(problemsOf(["copy-host", "auto"], NET, ["guest-addr6", "2001:db8:7::2"])).toHaveLength(1);
    // The host's address may be the one that DNS has elsewhere.
    expect(problemsOf(["copy-host", "auto"], NET, ["guest-addr6", "2001:db8:7::3"])).toEqual([]);
    expect(problemsOf(["shared-subnet"], NET, ["guest-addr6", "2001:db8:7::3"])).toHaveLength(1);
  });

  it("are told by DHCPv6 with names, where there are any", () => {
    expect(Object.keys(plan().ipv6?.dhcp ?? {})).not.toContain("hostname");
    expect(Object.keys(plan().ipv6?.dhcp ?? {})).not.toContain("domain");
    expect(Object.keys(plan().ipv6?.dhcp ?? {})).not.toContain("bootUrl");
    const { ipv6 } = plan(["hostname", "box"], ["domain", "a.example"], ["search", "b"], ["search", "c"]);
    expect(ipv6).toMatchObject({
      searchDomains: ["b", "c"],
      dhcp: { hostname: "box", domain: "a.example", searchDomains: ["b", "c"] },
    });
  });
});

describe("where IPv6 is off", () => {
  it.each<[Given, string]>([
    [NET, "only with --ipv6 auto or on"],
    [["dhcp6-option", "41=x"], "only with --ipv6 auto or on"],
    [["gateway6", `${P}::9`], "only with --ipv6 auto or on"],
    [["dns6", `${P}::9`], "only with --ipv6 auto or on"],
    [["guest-addr6", `${P}::9`], "only with --ipv6 auto or on"],
    [["dhcp6-start", `${P}::9`], "only with --ipv6 auto or on"],
    [["guestfwd", `tcp:[${P}::9]:7-cmd:a`], "an IPv4 address; IPv6 only with --ipv6 auto or on"],
    [["reserve", `${MAC}=${P}::9`], "an IPv4 address; IPv6 only with --ipv6 auto or on"],
    [["hostfwd", `tcp::80-[${P}::9]:80`], "an IPv4 address of the guest, or --ipv6 auto or on"],
    [["hostfwd", "tcp::80-[]:80"], "an IPv4 address of the guest, or --ipv6 auto or on"],
  ])("%j is refused", (given, allowed) => {
    expect(problemsOf(["ipv6", "off"], given)).toEqual([
      `--${given[0]}: found "${given[1]}"; allowed: ${allowed}`,
    ]);
  });

  it.each<[OptionName, string]>([
    ["guestfwd", "tcp:10.0.2.9:7-cmd:a"],
    ["reserve", `${MAC}=10.0.2.9`],
    ["hostfwd", "tcp::80-10.0.2.15:80"],
    ["hostfwd", "tcp:[::1]:80-:80"],
  ])("--%s %s is not", (name, text) => {
    expect(problemsOf(["ipv6", "off"], [name, text])).toEqual([]);
  });
});

describe("services and reservations", () => {
  const at = (address: string, port = 7): Given => ["guestfwd", `tcp:[${address}]:${port}-cmd:a`];
  const reserve = (address: string, mac = MAC): Given => ["reserve", `${mac}=${address}`];
  const said = (...given: readonly Given[]): string[] =>
    problemsOf(...given).map((line) => line.slice(line.indexOf("allowed: ") + 9));

  it.each<[string, Given[], string]>([
    ["outside", [at("2001:db8::9")], `an address of ${P}::/64`],
    ["the first", [at(`${P}::`)], "an address of a host, not the first of the prefix"],
    ["the router's", [at(`${P}::2`)], `an address of its own; ${P}::2 is that of --gateway6`],
    ["DNS's", [at(`${P}::3`)], `an address of its own; ${P}::3 is that of --dns6`],
    ["the first lease", [at(`${P}::15`)], `an address of its own; ${P}::15 is that of the first lease`],
    [
      "the guest's",
      [["guest-addr6", `${P}::9`], at(`${P}::9`)],
      `an address of its own; ${P}::9 is that of --guest-addr6`,
    ],
    ["with one port twice", [at(`${P}::9`), at(`${P}::9`)], "an address and port that no other rule has"],
  ])("a service's address is refused: %s", (_what, given, allowed) => {
    expect(said(...given)).toEqual([allowed]);
  });

  it("a service's address may have several ports, and any other address one of them", () => {
    expect(said(at(`${P}::9`, 7), at(`${P}::9`, 8), at(`${P}::a`, 7))).toEqual([]);
    const { ipv6 } = plan(at(`${P}::9`, 7), at(`${P}::9`, 8), at(`${P}::a`, 7));
    expect(ipv6?.dhcp?.ownAddresses.slice(2)).toEqual([ip6(`${P}::9`), ip6(`${P}::a`)]);
  });

  const LIKE = "an address whose last 32 bits are no other's";
  it.each<[string, Given[], string]>([
    ["outside", [reserve("2001:db8::20")], `an address of ${P}::/64`],
    ["the router's", [reserve(`${P}::2`)], `an address of its own; ${P}::2 is that of --gateway6`],
    [
      "a service's",
      [at(`${P}::9`), reserve(`${P}::9`)],
      `an address of its own; ${P}::9 is that of --guestfwd`,
    ],
    [
      "another reservation's",
      [reserve(`${P}::20`), reserve(`${P}::20`, OTHER)],
      `an address of its own; ${P}::20 is that of --reserve`,
    ],
    ["a second of one MAC", [reserve(`${P}::30`), reserve(`${P}::31`)], "one address per MAC"],
    ["one that ends as the router's does", [reserve(`${P}::1:0:2`)], LIKE],
    ["one that ends as the first lease does", [reserve(`${P}::1:0:15`)], LIKE],
    ["one that ends as the last lease does", [reserve(`${P}::1:0:24`)], LIKE],
    ["one that ends as another", [reserve(`${P}::40`), reserve(`${P}::1:0:40`, OTHER)], LIKE],
  ])("a reservation is refused: %s", (_what, given, allowed) => {
    expect(said(...given)).toEqual([allowed]);
  });

  it.each<[string, Given[]]>([
    ["the first lease", [reserve(`${P}::15`)]],
    ["another lease", [reserve(`${P}::24`)]],
    ["one that ends behind the last lease", [reserve(`${P}::1:0:25`)]],
    ["one that ends in front of the first", [reserve(`${P}::1:0:14`)]],
    ["the guest's", [["guest-addr6", `${P}::77`], reserve(`${P}::77`)]],
    ["two of two MACs", [reserve(`${P}::40`), reserve(`${P}::41`, OTHER)]],
    ["one of each family", [["reserve", `${MAC}=10.0.2.40`], reserve(`${P}::40`)]],
  ])("a reservation is good: %s", (_what, given) => {
    expect(said(...given)).toEqual([]);
  });
});

describe("options of DHCPv6 by number", () => {
  it("are each there once", () => {
    expect(problemsOf(["dhcp6-option", "41=a"], ["dhcp6-option", "42=b"], ["dhcp6-option", "41=c"])).toEqual([
      '--dhcp6-option: found "41=c"; allowed: each code once; join values with commas',
    ]);
  });
});

describe("a forward to the guest's IPv6", () => {
  const GUEST = `a guest address inside ${P}::/64 that is the guest's`;
  const to = (address: string, ...more: Given[]): string[] =>
    problemsOf(["hostfwd", `tcp::80-[${address}]:80`], ...more).map((line) =>
      line.slice(line.indexOf("allowed: ") + 9),
    );

  it("goes to an address of the prefix that is not ours", () => {
    expect(to("")).toEqual([]);
    expect(to(`${P}::15`)).toEqual([]);
    expect(to(`${P}::1:0:2`)).toEqual([]);
    expect(to(`${P}:5054:ff:fe00:2`)).toEqual([]);
    for (const ours of [`${P}::2`, `${P}::3`, `${P}::`, "2001:db8::15", "::"])
      expect(to(ours)).toEqual([GUEST]);
    expect(to(`${P}::9`, ["guestfwd", `tcp:[${P}::9]:7-cmd:a`])).toEqual([GUEST]);
    expect(to(`${P}::3`, ["no-dns"])).toEqual([]);
  });
});
