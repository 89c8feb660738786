/** Which families a guest has, and how it gets to IPv4 from a host that has none. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";
import { ip6 } from "../support/frames6.ts";

function plan(...given: readonly (readonly [OptionName, string?])[]) {
  const options = new OptionSet();
  for (const [name, text] of given) options.add(name, text);
  const config = planEngine(options);
  return { config, problems: options.problems, places: options.problems.map(({ place }) => place) };
}

describe("--ipv4 off", () => {
  const alone = [
    ["ipv4", "off"],
    ["ipv6", "auto"],
  ] as const;

  it("N69 leaves a guest IPv6 alone, and IPv4 is what holds otherwise", () => {
    expect(plan().config.ipv4).toBe(true);
    const { config, problems } = plan(...alone, ["hostname", "box"], ["search", "example.org"]);
    expect([config.ipv4, problems]).toEqual([false, []]);
  });

  it("N69 takes services and reservations of IPv6", () => {
    const given = [
      ["reserve", "52:54:00:00:00:01=fd71:1ae0:d44d:2::20"],
      ["guestfwd", "tcp:[fd71:1ae0:d44d:2::100]:7-tcp:127.0.0.1:7777"],
    ] as const;
    expect(plan(...alone, ...given).problems).toEqual([]);
  });

  it("N69 sends forwards to the guest's IPv6 address", () => {
    const { config, problems } = plan(...alone, ["publish", "2222:22"], ["hostfwd", "tcp::80-[]:80"]);
    expect(problems).toEqual([]);
    expect(config.forwards.map(({ guestAddress6 }) => guestAddress6)).toEqual([null, null]);
    expect(plan(...alone, ["hostfwd", "tcp::80-10.0.2.15:80"]).places).toEqual(["--hostfwd"]);
  });

  it.each<[string, [OptionName, string?][], string[]]>([
    [
      "no family at all",
      [
        ["ipv4", "off"],
        ["ipv6", "off"],
      ],
      ["--ipv4"],
    ],
    [
      "a link too small for IPv6",
      [...alone.map(([n, t]): [OptionName, string] => [n, t]), ["mtu", "1000"]],
      ["--ipv4"],
    ],
    [
      "what is said of IPv4",
      [
        ...alone.map(([n, t]): [OptionName, string] => [n, t]),
        ["net", "10.0.3.0/24"],
        ["dhcp-option", "42=10.0.3.2"],
        ["reserve", "52:54:00:00:00:01=10.0.3.20"],
        ["guestfwd", "tcp:10.0.3.100:7-tcp:127.0.0.1:7777"],
        ["allow-multicast"],
        ["no-dhcp-dns"],
        ["publish-when-open"],
      ],
      [
        "--net",
        "--dhcp-option",
        "--reserve",
        "--guestfwd",
        "--allow-multicast",
        "--no-dhcp-dns",
        "--publish-when-open",
      ],
    ],
  ])("N69 is refused with %s", (_name, given, places) => {
    expect(plan(...given).places.sort()).toEqual([...places].sort());
  });

  it("takes on and off alone", () => {
    expect(plan(["ipv4", "auto"]).places).toEqual(["--ipv4"]);
  });
});

describe("--nat64", () => {
  it("N73 is what the network says unless it is given", () => {
    expect(plan().config.nat64).toBe("auto");
    expect(plan(["nat64", "off"]).config.nat64).toBeNull();
    expect(plan(["no-dns"]).config.nat64).toBeNull();
    expect(plan(["no-dns"], ["nat64", "auto"]).places).toEqual(["--nat64"]);
  });

  it.each([
    ["64:ff9b::", 96],
    ["64:ff9b:1::", 48],
    ["2001:db8::", 32],
    ["2001:db8:100::", 40],
    ["2001:db8:122::", 48],
    ["2001:db8:122:300::", 56],
    ["2001:db8:122:344::", 64],
    ["fd00:64::", 96],
  ])("N70 takes %s/%i", (prefix, length) => {
    const { config, problems } = plan(["nat64", `${prefix}/${length}`]);
    expect(problems).toEqual([]);
    expect(config.nat64).toEqual({ prefix: ip6(prefix), length });
  });

  it.each([
    ["on", "auto, off, or PREFIX"],
    ["64:ff9b::", "auto, off, or PREFIX"],
    ["10.0.0.0/8", "auto, off, or PREFIX"],
    ["64:ff9b::/80", "a length of 32, 40, 48, 56, 64, 96"],
    ["64:ff9b::1/96", "did you mean 64:ff9b::/96?"],
    ["2001:db8:122:344::/56", "did you mean 2001:db8:122:300::/56?"],
    ["2001:db8:0:0:100::/96", "bits 64 to 71"],
    ["fe80::/96", "link-local"],
    ["ff0e::/96", "multicast"],
    ["::ffff:0:0/96", "::/8 is reserved"],
    ["2002:100::/96", "6to4"],
  ])("N70 refuses %s", (text, why) => {
    const { problems } = plan(["nat64", text]);
    expect(problems).toMatchObject([{ place: "--nat64", found: text }]);
    expect(problems[0].allowed).toContain(why);
  });

  it("N70 refuses the guest's own network", () => {
    expect(plan(["ipv6", "on"], ["nat64", "fd71:1ae0:d44d:2::/96"]).places).toEqual(["--nat64"]);
  });

  it.each([
    ["fd71:1ae0:d44d:2::/64", true],
    ["fd71:1ae0:d44d:2:0:1::/96", true],
    ["fd71:1ae0:d44d:3::/64", false],
    ["fd71:1ae1:d44d:2::/64", false],
    ["fd71:1ae0:d44d::/56", false],
    ["fd71:1ae0::/32", false],
  ])("N70 has %s as the guest's own: %s", (text, isOwn) => {
    expect(plan(["nat64", text]).places).toEqual(isOwn ? ["--nat64"] : []);
    expect(plan(["nat64", text], ["ipv6", "off"]).places).toEqual([]);
  });

  it("N70 has no network of the guest's in a shorter prefix: there stands what carries 0.0.0.0/8", () => {
    expect(plan(["net6", "fd71:1ae0:d44d::/64"], ["nat64", "fd71:1ae0:d44d::/48"]).problems).toEqual([]);
    expect(plan(["net6", "fd71:1ae0:d44d::/64"], ["nat64", "fd71:1ae0:d44d::/64"]).places).toEqual([
      "--nat64",
    ]);
  });

  it("N73 is asked for of no resolver without DNS, and a prefix needs none", () => {
    expect(plan(["no-dns"], ["nat64", "auto"])).toMatchObject({ config: { nat64: null } });
    expect(plan(["no-dns"], ["nat64", "off"])).toMatchObject({ config: { nat64: null }, places: [] });
    expect(plan(["no-dns"], ["nat64", "64:ff9b::/96"]).config.nat64).toMatchObject({ length: 96 });
    expect(plan(["no-dns"], ["nat64", "x"]).places).toEqual(["--nat64"]);
  });

  it.each([
    ["64:ff9b::/32", "64:ff9b::", 32],
    ["ff00::/8", undefined, 0],
    ["64:ff9c::/96", undefined, 0],
    ["65:ff9b::/96", undefined, 0],
    ["1::/96", undefined, 0],
    ["100::/96", "100::", 96],
    ["fe7f::/96", "fe7f::", 96],
    ["febf::/96", undefined, 0],
    ["fec0::/96", "fec0::", 96],
    ["fe00::/96", "fe00::", 96],
    ["2001:db8:ffff:ff00::/56", "2001:db8:ffff:ff00::", 56],
    ["2001:db8:ffff:ffff::/56", undefined, 0],
    ["2001:db8:ffff:ffff:ff:ffff::/96", "2001:db8:ffff:ffff:ff:ffff::", 96],
    ["2001:db8::1:0/96", undefined, 0],
    ["2001:db8:8000::/33", undefined, 0],
    ["2001:db8::/032", "2001:db8::", 32],
    ["2001:db8::/0032", undefined, 0],
    ["x2001:db8::/32", undefined, 0],
    ["2001:db8::/32x", undefined, 0],
    ["2001:db8::/32/32", undefined, 0],
    ["/32", undefined, 0],
    ["x/2001:db8::/32", undefined, 0],
    ["2001:db8:122:344:0:1::/64", undefined, 0],
  ])("N70 %s is the prefix %s", (text, prefix, length) => {
    const { config, places } = plan(["nat64", text]);
    expect(places).toEqual(prefix === undefined ? ["--nat64"] : []);
    if (prefix !== undefined) expect(config.nat64).toEqual({ prefix: ip6(prefix), length });
  });
});

describe("a guest with IPv6 alone", () => {
  it("says nothing of IPv4", () => {
    for (const given of [
      ["net", "10.0.3.0/24"],
      ["host-alias", "10.0.2.9=loopback"],
      ["gateway", "10.0.2.9"],
      ["guest-addr", "10.0.2.9"],
      ["dhcp-start", "10.0.2.9"],
      ["dhcp-option", "42=10.0.2.9"],
      ["no-dhcp"],
      ["no-dhcp-dns"],
      ["tftp-server-name", "x"],
      ["dns", "10.0.2.9"],
      ["dns-host-name", "host.internal"],
      ["allow-multicast"],
      ["publish-when-open"],
    ] as const)
      expect(plan(["ipv4", "off"], given).problems).toMatchObject([
        { place: `--${given[0]}`, allowed: "only with --ipv4 on" },
      ]);
  });

  it("has one family at least, on a link that carries it", () => {
    expect(plan(["ipv4", "off"], ["ipv6", "on"]).problems).toEqual([]);
    expect(plan(["ipv4", "off"], ["mtu", "1280"]).problems).toEqual([]);
    expect(plan(["ipv4", "off"], ["mtu", "1279"]).problems).toEqual([
      { place: "--ipv4", found: "off", allowed: "on: IPv6 alone needs an MTU of 1280 (--mtu is 1279)" },
    ]);
    // Told once, at the option that says that it must be there.
    expect(plan(["ipv4", "off"], ["ipv6", "on"], ["mtu", "1279"]).places).toEqual(["--ipv6"]);
    expect(plan(["ipv4", "off"], ["ipv6", "off"]).problems).toEqual([
      {
        place: "--ipv4",
        found: "off",
        allowed: "on, or --ipv6 auto or on beside it: a guest has one of them",
      },
    ]);
    expect(plan(["ipv4", "off"], ["ipv6", "x"]).places).toEqual(["--ipv6"]);
    expect(plan(["ipv4", "on"], ["ipv6", "off"]).problems).toEqual([]);
  });
});
