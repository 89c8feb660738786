/** The addresses of the guest's subnet: who has which, what is leased, and which options cannot be together. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { formatIpv4 } from "../../src/engine/wire/address-text.ts";
import { ip } from "../support/frames.ts";

type Given = readonly [OptionName, string?];

function plan(...given: readonly Given[]) {
  const set = new OptionSet();
  for (const [name, text] of given) set.add(name, text);
  const engine = planEngine(set);
  return { engine, problems: set.problems.map(formatProblem) };
}

const problemsOf = (...given: readonly Given[]): string[] => plan(...given).problems;
const MAC = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:02";

describe("an address of the subnet", () => {
  it.each<[string, Given[], string]>([
    [
      "the gateway's, outside as nobody has it",
      [["gateway", "127.0.3.2"]],
      '--gateway: found "127.0.3.2"; allowed: a gateway address that one host has (127.0.3.2 is not)',
    ],
    [
      "the gateway's, the subnet's last",
      [["gateway", "10.0.2.255"]],
      '--gateway: found "10.0.2.255"; allowed: a gateway address of a host in 10.0.2.0/24, neither its first nor its last address (10.0.2.255 is not)',
    ],
    [
      "DNS's where the guest is",
      [["dns", "10.0.2.15"]],
      "--net: allowed: a guest address of its own; 10.0.2.15 is a DNS address",
    ],
    [
      "the guest's where DNS is",
      [["guest-addr", "10.0.2.3"]],
      '--guest-addr: found "10.0.2.3"; allowed: a guest address of its own; 10.0.2.3 is a DNS address',
    ],
    [
      "the guest's, outside",
      [["guest-addr", "10.0.3.1"]],
      '--guest-addr: found "10.0.3.1"; allowed: a guest address inside 10.0.2.0/24 (10.0.3.1 is not)',
    ],
    [
      "another of the guest's where the gateway is",
      [["guest-addr", "10.0.2.15,10.0.2.2"]],
      '--guest-addr: found "10.0.2.15,10.0.2.2"; allowed: another guest address of its own; 10.0.2.2 is a gateway address',
    ],
    [
      "the first lease's where the gateway is, which is the guest's",
      [["dhcp-start", "10.0.2.2"]],
      '--dhcp-start: found "10.0.2.2"; allowed: a guest address of its own; 10.0.2.2 is a gateway address',
    ],
    [
      "the first lease's where DNS is, the guest being elsewhere",
      [
        ["guest-addr", "10.0.2.50"],
        ["dhcp-start", "10.0.2.3"],
      ],
      '--dhcp-start: found "10.0.2.3"; allowed: a first lease of its own; 10.0.2.3 is a DNS address',
    ],
    [
      "an alias's where another is",
      [
        ["host-alias", "10.0.2.9=loopback"],
        ["host-alias", "10.0.2.9=host"],
      ],
      '--host-alias: found "10.0.2.9=host"; allowed: an alias of the host of its own; 10.0.2.9 is an alias of the host',
    ],
    [
      "a guest forward's, outside",
      [["guestfwd", "tcp:10.1.2.3:7-cmd:a"]],
      '--guestfwd: found "tcp:10.1.2.3:7-cmd:a"; allowed: a guestfwd address inside 10.0.2.0/24 (10.1.2.3 is not)',
    ],
    [
      "a guest forward's, twice with a port",
      [
        ["guestfwd", "tcp:10.0.2.9:7-cmd:a"],
        ["guestfwd", "tcp:10.0.2.9:7-cmd:b"],
      ],
      '--guestfwd: found "tcp:10.0.2.9:7-cmd:b"; allowed: an address and port that no other rule has',
    ],
    [
      "a reservation's where a guest forward is",
      [
        ["guestfwd", "tcp:10.0.2.9:7-cmd:a"],
        ["reserve", `${MAC}=10.0.2.9`],
      ],
      `--reserve: found "${MAC}=10.0.2.9"; allowed: a reserved address of its own; 10.0.2.9 is a guestfwd address`,
    ],
    [
      "two reservations' of one MAC",
      [
        ["reserve", `${MAC}=10.0.2.9`],
        ["reserve", `${MAC}=10.0.2.10`],
      ],
      `--reserve: found "${MAC}=10.0.2.10"; allowed: one address per MAC`,
    ],
    [
      "two reservations' at one address",
      [
        ["reserve", `${MAC}=10.0.2.9`],
        ["reserve", `${OTHER}=10.0.2.9`],
      ],
      `--reserve: found "${OTHER}=10.0.2.9"; allowed: a reserved address of its own; 10.0.2.9 is a reserved address`,
    ],
    [
      "what is given twice, the second time",
      [
        ["guest-addr", "10.0.2.15,10.0.2.16"],
        ["dhcp-start", "10.0.2.16"],
      ],
      '--dhcp-start: found "10.0.2.16"; allowed: a first lease of its own; 10.0.2.16 is another guest address',
    ],
  ])("is refused: %s", (_what, given, problem) => {
    expect(problemsOf(...given)).toEqual([problem]);
  });

  it.each<[string, Given[]]>([
    [
      "outside, the gateway's and DNS's",
      [
        ["gateway", "1.0.0.1"],
        ["dns", "223.255.255.255"],
      ],
    ],
    ["outside, an alias's", [["host-alias", "126.0.0.1=loopback"]]],
    [
      "a guest forward's with two ports",
      [
        ["guestfwd", "tcp:10.0.2.9:7-cmd:a"],
        ["guestfwd", "tcp:10.0.2.9:8-cmd:a"],
      ],
    ],
    [
      "a reservation's that is the guest's",
      [
        ["guest-addr", "10.0.2.50"],
        ["reserve", `${MAC}=10.0.2.50`],
      ],
    ],
    [
      "a reservation's that is another of the guest's",
      [
        ["guest-addr", "10.0.2.15,10.0.2.50"],
        ["reserve", `${MAC}=10.0.2.50`],
      ],
    ],
    [
      "two reservations' of two MACs",
      [
        ["reserve", `${MAC}=10.0.2.9`],
        ["reserve", `${OTHER}=10.0.2.10`],
      ],
    ],
    [
      "a first lease's that is the guest's",
      [
        ["guest-addr", "10.0.2.50"],
        ["dhcp-start", "10.0.2.50"],
      ],
    ],
    ["one of IPv6, which is looked at elsewhere", [["guestfwd", "tcp:[fd71:1ae0:d44d:2::9]:7-cmd:a"]]],
  ])("is good: %s", (_what, given) => {
    expect(problemsOf(...given)).toEqual([]);
  });

  it.each(["126.255.255.255", "128.0.0.1", "223.0.0.1", "1.0.0.1"])("may be %s, outside", (address) => {
    expect(problemsOf(["gateway", address])).toEqual([]);
  });

  it.each(["0.0.0.1", "0.255.255.255", "127.0.0.1", "127.255.255.255", "224.0.0.1", "255.255.255.255"])(
    "is never %s",
    (address) => {
      expect(problemsOf(["host-alias", `${address}=loopback`])).toHaveLength(1);
    },
  );

  it("of options that cannot be read is not complained about again", () => {
    expect(problemsOf(["net", "x"], ["gateway", "192.168.7.2"], ["dns", "127.0.0.1"])).toHaveLength(1);
    expect(problemsOf(["gateway", "x"])).toHaveLength(1);
    expect(problemsOf(["guest-addr", "x"], ["net", "192.168.7.0/30"], ["no-dns"])).toHaveLength(1);
    expect(problemsOf(["net", "x"], ["hostfwd", "tcp::80-192.168.7.2:80"])).toHaveLength(1);
  });
});

describe("what is leased", () => {
  const range = (...given: readonly Given[]): [string, number] | null => {
    const { dhcp } = plan(...given).engine;
    return dhcp === null ? null : [formatIpv4(dhcp.rangeStart), dhcp.rangeSize];
  };

  it.each<[string, Given[], string, number]>([
    ["sixteen addresses", [], "10.0.2.15", 16],
    ["from where it is said", [["dhcp-start", "10.0.2.100"]], "10.0.2.100", 16],
    ["from the guest's address", [["guest-addr", "10.0.2.50"]], "10.0.2.50", 16],
    ["up to the subnet's last but one", [["dhcp-start", "10.0.2.239"]], "10.0.2.239", 16],
    ["and fewer at its end", [["dhcp-start", "10.0.2.240"]], "10.0.2.240", 15],
    ["up to the gateway", [["gateway", "10.0.2.17"]], "10.0.2.15", 2],
    ["up to DNS", [["dns", "10.0.2.18"]], "10.0.2.15", 3],
    ["up to an alias", [["host-alias", "10.0.2.19=loopback"]], "10.0.2.15", 4],
    ["up to a reservation", [["reserve", `${MAC}=10.0.2.20`]], "10.0.2.15", 5],
    ["up to a guest forward", [["guestfwd", "tcp:10.0.2.21:7-cmd:a"]], "10.0.2.15", 6],
    ["up to another address of the guest's", [["guest-addr", "10.0.2.15,10.0.2.22"]], "10.0.2.15", 7],
    [
      "over the guest's own",
      [
        ["guest-addr", "10.0.2.105"],
        ["dhcp-start", "10.0.2.100"],
      ],
      "10.0.2.100",
      16,
    ],
    ["one of a shared subnet", [["shared-subnet"]], "10.0.2.15", 1],
    ["one of a host's", [["copy-host", "auto"]], "10.0.2.15", 1],
    ["in a /28", [["net", "10.9.8.0/28"]], "10.9.8.4", 11],
    ["in a /29", [["net", "10.9.8.0/29"]], "10.9.8.4", 3],
  ])("is %s", (_what, given, start, size) => {
    expect(range(...given)).toEqual([start, size]);
  });

  it("is nothing without DHCP", () => {
    expect(range(["no-dhcp"])).toBeNull();
    for (const given of [
      ["dhcp-start", "10.0.2.20"],
      ["dhcp-option", "42=10.0.2.2"],
      ["reserve", `${MAC}=10.0.2.20`],
      ["tftp-server-name", "x"],
      ["no-dhcp-dns"],
    ] as const)
      expect(problemsOf(["no-dhcp"], given)).toEqual([
        expect.stringMatching(new RegExp(`^--${given[0]}: .*nothing beside --no-dhcp$`)),
      ]);
    expect(problemsOf(["no-dhcp"], ["hostname", "x"], ["search", "y"], ["domain", "z"])).toEqual([]);
  });
});

describe("what DHCP tells", () => {
  it("follows the subnet", () => {
    const { dhcp } = plan(["net", "192.168.0.0/20"], ["mtu", "1400"]).engine;
    expect(dhcp).toMatchObject({
      serverAddress: ip("192.168.0.2"),
      netmask: ip("255.255.240.0"),
      router: ip("192.168.0.2"),
      dnsServers: [ip("192.168.0.3")],
      mtu: 1400,
      routes: [],
      leaseSeconds: 86_400,
      nextServer: 0,
    });
  });

  it.each<[string, Given[], number[], string]>([
    ["DNS", [], [ip("10.0.2.3")], "10.0.2.2"],
    ["no DNS where there is none", [["no-dns"]], [], "10.0.2.2"],
    ["no DNS where it is not to be told", [["no-dhcp-dns"]], [], "10.0.2.2"],
    ["neither DNS nor a router where nothing goes out", [["restrict"]], [], "0.0.0.0"],
  ])("is %s", (_what, given, dnsServers, router) => {
    expect(plan(...given).engine.dhcp).toMatchObject({ dnsServers, router: ip(router) });
  });

  it("is each code once, the lease's time aside", () => {
    const { engine, problems } = plan(
      ["dhcp-option", "42=10.0.2.9"],
      ["dhcp-option", "51=4294967295"],
      ["dhcp-option", "224=x"],
    );
    expect(problems).toEqual([]);
    expect(engine.dhcp?.leaseSeconds).toBe(4_294_967_295);
    expect(engine.dhcp?.extraOptions.map(({ code }) => code)).toEqual([42, 224]);
    expect(problemsOf(["dhcp-option", "42=10.0.2.9"], ["dhcp-option", "42=10.0.2.8"])).toEqual([
      '--dhcp-option: found "42=10.0.2.8"; allowed: each code once; join values with commas',
    ]);
  });

  it("is reservations of IPv4 alone", () => {
    const { engine } = plan(["reserve", `${MAC}=10.0.2.20`], ["reserve", `${MAC}=fd71:1ae0:d44d:2::20`]);
    expect(engine.dhcp?.reservations).toEqual([
      { mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1), address: ip("10.0.2.20") },
    ]);
  });

  it("is named options of 255 octets at most", () => {
    const labels = (count: number): Given[] =>
      Array.from({ length: count }, (_, i) => ["search", `${"x".repeat(61)}${i}`]);
    expect(problemsOf(...labels(3), ["search", "x".repeat(61)])).toEqual([]);
    expect(problemsOf(...labels(4))).toEqual([
      expect.stringMatching(/allowed: at most 255 octets together \(these are 256\)$/),
    ]);
    const { dhcp } = plan(["domain", "a.example"], ["hostname", "box"]).engine;
    expect(dhcp?.options.map(({ code, value }) => [code, Buffer.from(value).toString()])).toEqual([
      [12, "box"],
      [15, "a.example"],
    ]);
  });
});

describe("the engine's configuration", () => {
  it.each<[Given, object]>([
    [["allow-host-loopback"], { allowHostLoopback: true }],
    [["allow-link-local"], { allowLinkLocal: true }],
    [["allow-multicast"], { allowMulticast: true }],
    [["answer-ping"], { answerPing: true }],
    [["restrict"], { restrict: true }],
    [["no-offload"], { offload: false }],
    [["shared-subnet"], { sharedSubnet: true }],
    [["copy-host", "auto"], { sharedSubnet: true }],
    [["mtu", "9000"], { mtu: 9000 }],
    [["guest-mac", MAC], { guestMac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1) }],
    [["gateway-mac", MAC], { gatewayMac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1) }],
    [["gateway", "10.0.2.9"], { gatewayMac: Uint8Array.of(0x52, 0x55, 10, 0, 2, 9) }],
    [["udp-mapping", "address-dependent"], { udpMapping: "address-dependent" }],
    [["udp-filtering", "endpoint-independent"], { udpFiltering: "endpoint-independent" }],
    [["udp-timeout", "120"], { udpTimeoutMs: 120_000 }],
    [["memory", "2"], { payloadOctets: 2_097_152 }],
    [["memory", "144"], { payloadOctets: 150_994_944 }],
    [["max-flows", "64"], { maxFlows: 64, maxHalfOpen: 64, maxUdpMappings: 64 }],
    [["max-flows", "1048576"], { maxFlows: 1_048_576, maxHalfOpen: 8192, maxUdpMappings: 49_152 }],
    [["max-half-open", "57344"], { maxHalfOpen: 57_344 }],
    [["max-udp-mappings", "1"], { maxUdpMappings: 1 }],
    [["refuse-with", "unreachable"], { refuseWith: "unreachable" }],
    [
      ["resolver", "192.0.2.1:54"],
      { resolvers: [{ words: [0, 0, 0xffff, ip("192.0.2.1")], port: 54, scope: 0 }] },
    ],
    [["dns-host-name", "host.internal."], { dnsHostNames: ["host.internal"] }],
    [["no-dns"], { dns: 0 }],
    [["dns", "10.0.2.9"], { dns: ip("10.0.2.9") }],
    [
      ["guestfwd", "tcp:10.0.2.9:7-cmd:a"],
      { guestForwards: [{ address: ip("10.0.2.9"), port: 7, target: { kind: "command", command: "a" } }] },
    ],
  ])("%j is what it says, and nothing else of it", (given, expected) => {
    const { engine, problems } = plan(given);
    expect(problems).toEqual([]);
    expect(engine).toMatchObject(expected);
    const { ipv6: _, dhcp: __, ...usual } = plan().engine;
    const changed = Object.entries(usual).filter(
      ([key, value]) => JSON.stringify(engine[key as keyof typeof engine]) !== JSON.stringify(value),
    );
    const others = ["gateway", "guestAddress"];
    const names = changed.map(([key]) => key).filter((key) => !others.includes(key));
    expect(names.filter((key) => !Object.hasOwn(expected, key) && key !== "nat64")).toEqual([]);
  });

  it.each<[Given, string]>([
    [["udp-timeout", "119"], "a number of seconds from 120 to 86400"],
    [["udp-timeout", "86401"], "a number of seconds from 120 to 86400"],
    [["mtu", "575"], "a whole number from 576 to 65521"],
    [["mtu", "65522"], "a whole number from 576 to 65521"],
    [["memory", "1"], "a whole number from 2 to 144"],
    [["memory", "145"], "a whole number from 2 to 144"],
    [["max-flows", "63"], "a whole number from 64 to 1048576"],
    [["max-flows", "1048577"], "a whole number from 64 to 1048576"],
    [["max-half-open", "0"], "a whole number from 1 to 1048576"],
    [["max-half-open", "57345"], "at most the 57344 of --max-flows"],
    [["max-udp-mappings", "0"], "a whole number from 1 to 1048576"],
    [["max-udp-mappings", "57345"], "at most the 57344 of --max-flows"],
    [["max-forwards", "0"], "a whole number from 1 to 262140"],
    [["max-forwards", "262141"], "a whole number from 1 to 262140"],
    [["guest-mac", "52:55:0a:00:02:02"], "a MAC other than the gateway's"],
    [["no-search"], "only with --copy-host"],
    [["ipv4", "auto"], "one of on, off"],
  ])("%j is wrong: %s", (given, allowed) => {
    expect(problemsOf(given).map((line) => line.slice(line.indexOf("allowed: ") + 9))).toEqual([allowed]);
  });

  it("complains once about what another option has wrong already", () => {
    expect(problemsOf(["max-flows", "1"], ["max-half-open", "60000"])).toHaveLength(1);
    expect(problemsOf(["gateway-mac", "x"], ["guest-mac", "52:55:0a:00:02:02"])).toHaveLength(1);
    expect(problemsOf(["guest-mac", "x"])).toHaveLength(1);
    expect(problemsOf(["guest-mac", MAC], ["gateway-mac", MAC])).toEqual([
      `--guest-mac: found "${MAC}"; allowed: a MAC other than the gateway's`,
    ]);
    expect(problemsOf(["no-search"], ["copy-host", "auto"])).toEqual([]);
  });

  it("has other addresses of a guest that may have any, and forwards go to the one named", () => {
    const guest = (text: string) => {
      const { guestAddress, otherGuestAddresses, anyGuestAddress, forwardsFollowGuest } = plan([
        "guest-addr",
        text,
      ]).engine;
      return [guestAddress, otherGuestAddresses, anyGuestAddress, forwardsFollowGuest];
    };
    expect(guest("any")).toEqual([ip("10.0.2.15"), [], true, true]);
    expect(guest("10.0.2.50")).toEqual([ip("10.0.2.50"), [], false, false]);
    expect(guest("any,10.0.2.50,10.0.2.51")).toEqual([ip("10.0.2.50"), [ip("10.0.2.51")], true, false]);
    for (const shared of [["shared-subnet"], ["copy-host", "eth0"]] as const)
      expect(problemsOf(shared, ["guest-addr", "any"])).toEqual([
        "--guest-addr: found \"any\"; allowed: addresses by name: the subnet's others are not the guest's",
      ]);
    expect(problemsOf(["shared-subnet"], ["guest-addr", "10.0.2.50"])).toEqual([]);
  });

  it("has a route on the link to a gateway outside of the subnet, unless nothing goes out", () => {
    const routes = (...given: readonly Given[]) =>
      plan(["gateway", "192.0.2.1"], ...given).engine.dhcp?.routes;
    expect(routes()).toEqual([{ destination: ip("192.0.2.1"), prefixLength: 32, gateway: 0 }]);
    expect(routes(["restrict"])).toEqual([]);
    expect(plan(["gateway", "10.0.2.9"]).engine.dhcp?.routes).toEqual([]);
  });
});

describe("--host-alias", () => {
  const allowed = (...texts: string[]): string[] =>
    problemsOf(...texts.map((text) => ["host-alias", text] as const)).map((line) =>
      line.slice(line.indexOf("allowed: ") + 9),
    );

  it.each([
    [["10.0.2.9"], "ADDRESS=TARGET, TARGET being loopback, host or an address, such as 10.0.2.4=loopback"],
    [["=host"], 'an IPv4 address such as 10.0.2.2 (at "")'],
    [["10.0.2.9="], 'loopback, host, nobody or an IPv4 address (at "")'],
    [["10.0.2.9=x"], 'loopback, host, nobody or an IPv4 address (at "x")'],
    [["10.0.2.9=0.0.0.1"], 'an address that one host has; 0.0.0.1 is none (at "0.0.0.1")'],
    [["10.0.2.9=224.0.0.1"], 'an address that one host has; 224.0.0.1 is none (at "224.0.0.1")'],
    [["10.0.2.9=loopback", "10.0.2.10=127.0.0.1"], "a target of its own; another alias leads there"],
  ])("%j", (texts, said) => {
    expect(allowed(...texts)).toEqual([said]);
  });

  it.each(["1.0.0.1", "223.255.255.255", "127.0.0.2"])("leads to %s", (target) => {
    expect(plan(["host-alias", `10.0.2.9=${target}`]).engine.hostAliases).toEqual([
      { address: ip("10.0.2.9"), target: ip(target) },
    ]);
  });

  it("beside --allow-host-loopback leads elsewhere", () => {
    const both = (text: string): string[] => problemsOf(["allow-host-loopback"], ["host-alias", text]);
    expect(both("10.0.2.9=loopback")).toEqual([
      '--host-alias: found "10.0.2.9=loopback"; allowed: a target of its own; --allow-host-loopback leads there',
    ]);
    expect(both("10.0.2.9=192.0.2.1")).toEqual([]);
    const twice = problemsOf(
      ["allow-host-loopback"],
      ["host-alias", "10.0.2.9=192.0.2.1"],
      ["host-alias", "10.0.2.10=192.0.2.1"],
    );
    expect(twice).toEqual([expect.stringContaining("another alias leads there")]);
  });
});
