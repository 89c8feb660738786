/** The IPv6 options: what they make of the engine's configuration, and what they refuse. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";
import { defaultEngineConfig, defaultIpv6Config } from "../../src/engine/config.ts";
import { ip6, octets6 } from "../support/frames6.ts";

function plan(...given: readonly (readonly [OptionName, string?])[]) {
  const options = new OptionSet();
  for (const [name, text] of given) options.add(name, text);
  const config = planEngine(options);
  return { ipv6: config.ipv6, forwards: config.forwards, problems: options.problems };
}

describe("IPv6", () => {
  it("is there unless it is switched off, and not worth a word where the link is too small for it", () => {
    expect(plan()).toEqual(plan(["ipv6", "auto"]));
    expect(plan(["ipv6", "off"])).toEqual({ ipv6: null, forwards: [], problems: [] });
    expect(plan(["mtu", "1279"])).toEqual({ ipv6: null, forwards: [], problems: [] });
    // Whoever speaks of it is told when the engine starts.
    expect(plan(["mtu", "1279"], ["net6", "2001:db8::/64"]).ipv6).not.toBeNull();
  });

  it("has a router that is known by its link-local address alone", () => {
    const { ipv6, problems } = plan(["gateway6", "fe80::1"]);
    expect(problems).toEqual([]);
    expect(ipv6).toMatchObject({ routerAddress: ip6("fe80::1"), shared: false });
    expect(ipv6?.gateway).toEqual(ip6("fd71:1ae0:d44d:2::2"));
    const guest = ["guest-addr6", "fd71:1ae0:d44d:2::2"] as const;
    expect(plan(["gateway6", "fe80::1"], guest)).toMatchObject({
      ...{ problems: [], ipv6: { gateway: ip6("fd71:1ae0:d44d:2::4") } },
    });
  });

  it("shares a prefix that is really there, where DNS has no address of its own", () => {
    const copied = [
      ["copy-host", "auto"],
      ["net6", "2001:db8:7::/64"],
      ["guest-addr6", "2001:db8:7::3"],
    ] as const;
    const { ipv6, problems } = plan(...copied, ["gateway6", "2001:db8:7::1"]);
    expect(problems).toEqual([]);
    expect(ipv6).toMatchObject({ shared: true, fixedGateway: ip6("2001:db8:7::1"), dns: null });
    expect(plan(...copied, ["gateway6", "fe80::1"]).ipv6).toMatchObject({ fixedGateway: null });
    expect(plan(...copied, ["gateway6", "fe80::1"], ["ipv4", "off"]).ipv6?.dns).toEqual(ip6("2001:db8:7::2"));
    expect(plan(["copy-host", "auto"]).ipv6).toMatchObject({ shared: false });
  });

  it.each(["auto", "on"] as const)("%s is what the core does by itself", (when) => {
    const { ipv6, problems } = plan(["ipv6", when]);
    expect(problems).toEqual([]);
    const { gatewayMac } = defaultEngineConfig();
    expect(ipv6).toEqual({ ...defaultIpv6Config(gatewayMac), defaultRouter: when });
  });

  it("moves with the prefix, and takes addresses of it", () => {
    const { ipv6, problems } = plan(
      ["ipv6", "auto"],
      ["net6", "2001:db8:1:2::/64"],
      ["guest-addr6", "2001:db8:1:2::77"],
      ["search", "example.org"],
      ["hostname", "box"],
      ["gateway-mac", "52:55:00:00:00:01"],
    );
    expect(problems).toEqual([]);
    expect(ipv6).toMatchObject({
      prefix: ip6("2001:db8:1:2::"),
      gateway: ip6("2001:db8:1:2::2"),
      dns: ip6("2001:db8:1:2::3"),
      guestAddress: ip6("2001:db8:1:2::77"),
      searchDomains: ["example.org"],
    });
    expect(ipv6?.dhcp).toMatchObject({
      prefix: ip6("2001:db8:1:2::"),
      rangeStart: ip6("2001:db8:1:2::77"),
      serverMac: Uint8Array.of(0x52, 0x55, 0, 0, 0, 1),
      dnsServers: [ip6("2001:db8:1:2::3")],
      hostname: "box",
    });
  });

  it("gives out options by number, but for those the protocol sets itself", () => {
    const given = (...texts: string[]) =>
      plan(["ipv6", "on"], ...texts.map((text) => ["dhcp6-option", text] as const));
    const { ipv6, problems } = given("31=2001:db8::7,2001:db8::8", "41=Europe/Zurich", "56=hex:0001");
    expect(problems).toEqual([]);
    expect(ipv6?.dhcp?.extraOptions).toEqual([
      { code: 31, value: Uint8Array.from([...octets6("2001:db8::7"), ...octets6("2001:db8::8")]) },
      { code: 41, value: new TextEncoder().encode("Europe/Zurich") },
      { code: 56, value: Uint8Array.of(0, 1) },
    ]);
    for (const text of ["1=hex:00", "25=hex:00", "0=x", "65536=x", "31", "31=ip:10.0.0.1"]) {
      expect([text, given(text).problems.map(({ place }) => place)]).toEqual([text, ["--dhcp6-option"]]);
    }
    expect(given("41=a", "41=b").problems).toHaveLength(1);
  });

  it("has no resolver without DNS", () => {
    const { ipv6 } = plan(["ipv6", "on"], ["no-dns"]);
    expect([ipv6?.dns, ipv6?.dhcp?.dnsServers]).toEqual([null, []]);
  });

  it.each([
    ["net6", "fe80::/64"],
    ["net6", "2001:db8::/48"],
    ["gateway6", "2001:db8::1"],
    ["gateway6", "fd71:1ae0:d44d:2::"],
    ["dns6", "fd71:1ae0:d44d:2::2"],
    ["guest-addr6", "fd71:1ae0:d44d:2::3"],
    ["dhcp6-start", "fd71:1ae0:d44d:2::2"],
    ["dhcp6-start", "10.0.2.15"],
  ] as const)("refuses --%s %s", (name, text) => {
    const { problems } = plan(["ipv6", "on"], [name, text]);
    expect(problems.map(({ place, found }) => [place, found])).toEqual([[`--${name}`, text]]);
  });

  it("refuses its options where it is off", () => {
    const { problems } = plan(["ipv6", "off"], ["net6", "2001:db8::/64"], ["dns6", "2001:db8::3"]);
    expect(problems.map(({ place }) => place)).toEqual(["--net6", "--dns6"]);
  });

  it("takes forwards to the guest's IPv6 address, or to the one it keeps", () => {
    const rules = ["tcp:127.0.0.1:2222-[fd71:1ae0:d44d:2::15]:22", "udp::53-[]:53", "tcp::80-:80"];
    const { forwards, problems } = plan(["ipv6", "on"], ...rules.map((rule) => ["hostfwd", rule] as const));
    expect(problems).toEqual([]);
    expect(forwards.map(({ guestAddress6 }) => guestAddress6)).toEqual([
      ip6("fd71:1ae0:d44d:2::15"),
      null,
      undefined,
    ]);
    expect(forwards[0]).toMatchObject({ hostAddress: 0x7f000001, hostPort: 2222, guestPort: 22 });
  });

  it.each([
    ["on", "tcp::80-[2001:db8::1]:80"],
    ["on", "tcp::80-[fd71:1ae0:d44d:2::2]:80"],
    ["on", "tcp::80-[fd71:1ae0:d44d:2::3]:80"],
    ["on", "tcp::80-[fd71:1ae0:d44d:2::]:80"],
    ["on", "tcp::80-[10.0.2.15]:80"],
    ["off", "tcp::80-[]:80"],
  ] as const)("%s refuses the forward %s", (when, rule) => {
    const { problems } = plan(["ipv6", when], ["hostfwd", rule]);
    expect(problems.map(({ place, found }) => [place, found])).toEqual([["--hostfwd", rule]]);
  });

  it("serves guest forwards at addresses of the prefix, and leases none of them", () => {
    const at = (address: string, port: number) => `tcp:[${address}]:${port}-tcp:[::1]:7`;
    const given = (when: string, ...rules: string[]) => {
      const options = new OptionSet();
      options.add("ipv6", when);
      for (const rule of rules) options.add("guestfwd", rule);
      const config = planEngine(options);
      return { config, found: options.problems.map(({ found }) => found) };
    };
    const service = "fd71:1ae0:d44d:2::100";
    const { config, found } = given("on", at(service, 7), at(service, 8), "tcp:10.0.2.100:7-tcp:[::1]:7");
    expect(found).toEqual([]);
    expect(config.guestForwards.map(({ address6 }) => address6)).toEqual([
      ip6(service),
      ip6(service),
      undefined,
    ]);
    expect(config.ipv6?.dhcp?.ownAddresses).toEqual([
      ip6("fd71:1ae0:d44d:2::2"),
      ip6("fd71:1ae0:d44d:2::3"),
      ip6(service),
    ]);
    for (const wrong of [
      "2001:db8::7",
      "fd71:1ae0:d44d:2::",
      "fd71:1ae0:d44d:2::2",
      "fd71:1ae0:d44d:2::15",
    ]) {
      expect(given("on", at(wrong, 7)).found).toEqual([at(wrong, 7)]);
    }
    expect(given("on", at(service, 7), at(service, 7)).found).toEqual([at(service, 7)]);
    expect(given("off", at(service, 7)).found).toEqual([at(service, 7)]);
  });

  it("reserves addresses of the prefix, one a MAC and family, that the lease table can tell apart", () => {
    const MAC = "52:54:00:00:00:01";
    const OTHER = "52:54:00:00:00:02";
    const given = (...rules: string[]) =>
      plan(["ipv6", "on"], ...rules.map((rule) => ["reserve", rule] as const));
    const { ipv6, problems } = given(
      `${MAC}=10.0.2.20`,
      `${MAC}=fd71:1ae0:d44d:2::20`,
      `${OTHER}=fd71:1ae0:d44d:2:5054:ff:fe00:2`,
    );
    expect(problems).toEqual([]);
    expect(ipv6?.dhcp?.reservations).toEqual([
      { mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1), address: ip6("fd71:1ae0:d44d:2::20") },
      { mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 2), address: ip6("fd71:1ae0:d44d:2:5054:ff:fe00:2") },
    ]);
    for (const rules of [
      [`${MAC}=2001:db8::20`],
      [`${MAC}=fd71:1ae0:d44d:2::3`],
      [`${MAC}=fd71:1ae0:d44d:2::20`, `${OTHER}=fd71:1ae0:d44d:2::20`],
      [`${MAC}=fd71:1ae0:d44d:2::20`, `${MAC}=fd71:1ae0:d44d:2::21`],
      [`${MAC}=fd71:1ae0:d44d:2::20`, `${OTHER}=fd71:1ae0:d44d:2::1:0:20`],
      [`${MAC}=fd71:1ae0:d44d:2::1:0:16`],
    ]) {
      expect(given(...rules).problems.map(({ place, found }) => [place, found])).toEqual([
        ["--reserve", rules.at(-1)],
      ]);
    }
    // The guest's own may be the one that is reserved, named or by itself.
    expect(given(`${MAC}=fd71:1ae0:d44d:2::15`).problems).toEqual([]);
    const named = plan(
      ["ipv6", "on"],
      ["guest-addr6", "fd71:1ae0:d44d:2::77"],
      ["reserve", `${MAC}=fd71:1ae0:d44d:2::77`],
    );
    expect(named.problems).toEqual([]);
    expect(plan(["ipv6", "off"], ["reserve", `${MAC}=fd71:1ae0:d44d:2::20`]).problems).toHaveLength(1);
  });

  it("N62 has ports of both families side by side, and of one only once", () => {
    const ports = (...rules: string[]) =>
      plan(...rules.map((rule) => ["publish", rule] as const)).problems.map(({ found }) => found);
    expect(ports("80:80", "[::1]:80:80", "0.0.0.0:81:80", "[::]:81:80", "*:0:80", "*:0:81")).toEqual([]);
    expect(ports("[::]:80:80", "[::1]:80:81")).toEqual(["[::1]:80:81"]);
    expect(ports("[::1]:80:80", "*:80:81")).toEqual(["*:80:81"]);
    expect(ports("80:80", "*:80:81")).toEqual(["*:80:81"]);
    expect(ports("[::1]:80:80", "[0:0::1]:80:81")).toEqual(["[0:0::1]:80:81"]);
    // Also where the guest has IPv4 alone.
    expect(plan(["ipv6", "off"], ["hostfwd", "tcp:[::1]:80-:80"]).problems).toEqual([]);
  });

  it("N11 is refused on a link that is too small for it", () => {
    expect(plan(["ipv6", "on"], ["mtu", "1279"]).problems.map(({ place }) => place)).toEqual(["--ipv6"]);
    expect(plan(["ipv6", "on"], ["mtu", "1280"]).problems).toEqual([]);
    expect(plan(["ipv6", "auto"], ["mtu", "1279"]).problems).toEqual([]);
  });
});
