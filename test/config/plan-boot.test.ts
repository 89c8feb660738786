/** What a guest boots from, over DHCP and DHCPv6. */
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";

type Given = readonly [OptionName, string?];

function plan(...given: readonly Given[]) {
  const options = new OptionSet();
  for (const [name, text] of given) options.add(name, text);
  const { dhcp, ipv6 } = planEngine(options);
  return { server: dhcp?.nextServer, url: ipv6?.dhcp?.bootUrl, problems: options.problems };
}

const FILE: Given = ["boot-file", "boot/pxe.0"];
const TFTP: Given = ["tftp", "/srv"];
const SERVER6: Given = ["next-server", "2001:db8::9"];
const SERVER4: Given = ["next-server", "192.0.2.9"];
const OURS = "tftp://[fd71:1ae0:d44d:2::2]/boot/pxe.0";
const THEIRS = "tftp://[2001:db8::9]/boot/pxe.0";
const GATEWAY = 0x0a000202;
const FOUR = 0xc0000209 | 0;

describe("a boot file", () => {
  it.each<[string, readonly Given[], number | undefined, string | undefined]>([
    ["of nobody's is told over IPv4 alone", [FILE], 0, undefined],
    ["is ours with --tftp", [FILE, TFTP], GATEWAY, OURS],
    ["is the boot server's of its family", [FILE, SERVER4, SERVER6], FOUR, THEIRS],
    ["is ours over the family that has no other", [FILE, TFTP, SERVER4], FOUR, OURS],
    ["is ours over IPv4 beside a server of IPv6", [FILE, TFTP, SERVER6], GATEWAY, THEIRS],
    ["is told by DHCPv6 where there is no DHCP", [FILE, SERVER6, ["no-dhcp"]], undefined, THEIRS],
    ["is told to a guest with IPv6 alone", [FILE, SERVER6, ["ipv4", "off"]], 0, THEIRS],
    [
      "that is a URL stays one",
      [["boot-file", "http://[2001:db8::1]:8/a b"]],
      0,
      "http://[2001:db8::1]:8/a b",
    ],
    [
      "moves with the gateway",
      [FILE, TFTP, ["gateway6", "fd71:1ae0:d44d:2::9"]],
      GATEWAY,
      OURS.replace("2::2", "2::9"),
    ],
    [
      "has what a URL cannot have in percents",
      [["boot-file", "/a b#c/ü?"], TFTP],
      GATEWAY,
      "tftp://[fd71:1ae0:d44d:2::2]/a%20b%23c/%C3%BC%3F",
    ],
    ["is told over IPv4 with IPv6 off", [FILE, TFTP, ["ipv6", "off"]], GATEWAY, undefined],
  ])("%s", (_what, given, server, url) => {
    expect(plan(...given)).toEqual({ server, url, problems: [] });
  });

  it.each<[string, readonly Given[], string, string]>([
    ["two servers of IPv4", [FILE, SERVER4, SERVER4], "--next-server", "one address of each family"],
    ["two servers of IPv6", [FILE, SERVER6, SERVER6], "--next-server", "one address of each family"],
    [
      "a server of IPv6 with a URL",
      [["boot-file", "http://a/b"], SERVER6],
      "--next-server",
      "only beside the name",
    ],
    [
      "a server of IPv6 without a file",
      [SERVER6],
      "--next-server",
      "only beside the name of a file in --boot-file",
    ],
    [
      "a server of IPv6 with IPv6 off",
      [FILE, SERVER6, ["ipv6", "off"]],
      "--next-server",
      "an IPv4 address; IPv6 only with",
    ],
    [
      "a server of IPv4 with IPv4 off",
      [FILE, SERVER4, SERVER6, ["ipv4", "off"]],
      "--next-server",
      "an IPv6 address, with",
    ],
    [
      "a server of IPv4 without DHCP",
      [FILE, SERVER4, SERVER6, ["no-dhcp"]],
      "--next-server",
      "nothing beside --no-dhcp",
    ],
    [
      "a file of nobody's with IPv4 off",
      [FILE, ["ipv4", "off"]],
      "--boot-file",
      "a URL, or a file beside --tftp",
    ],
    ["a file of nobody's without DHCP", [FILE, ["no-dhcp"]], "--boot-file", "nothing beside --no-dhcp"],
  ])("is refused with %s", (_what, given, place, allowed) => {
    const { problems } = plan(...given);
    expect(problems.length).toBe(1);
    expect(problems[0].place).toContain(place);
    expect(problems[0].allowed).toContain(allowed);
  });

  it.each([["::"], ["ff02::1"], ["fe80::1"], ["::ffff:1.2.3.4"], ["2001:db8::g"]])("is not at %s", (text) => {
    expect(plan(FILE, ["next-server", text]).problems).toHaveLength(1);
  });

  it.each([
    ["a", "a"],
    ["///a//b/", "a//b/"],
    ["a/../b", "a/../b"],
    ["a%b", "a%25b"],
    ["\ud800a\udc00", "%EF%BF%BDa%EF%BF%BD"],
    ["\ud83d\ude00", "%F0%9F%98%80"],
    // None of these is a URL.
    ["http:/a", "http%3A/a"],
    ["9p://a", "9p%3A//a"],
    ["x http://a", "x%20http%3A//a"],
    ["://a", "%3A//a"],
  ])("is a path of its URL: %j is %s", (file, path) => {
    expect(plan(["boot-file", file], TFTP)).toEqual({
      server: GATEWAY,
      url: `tftp://[fd71:1ae0:d44d:2::2]/${path}`,
      problems: [],
    });
  });

  it.each(["http://a", "HTTP://a", "a://", "a+b.c-d9://x", "tftp://[::1]/a"])("is a URL: %s", (file) => {
    expect(plan(["boot-file", file], TFTP).url).toBe(file);
    // Nobody needs to serve it.
    expect(plan(["boot-file", file], ["no-dhcp"]).problems).toEqual([]);
    expect(plan(["boot-file", file], ["ipv4", "off"]).problems).toEqual([]);
  });

  it("without DHCP is told by DHCPv6, or to nobody, which is refused", () => {
    expect(plan(FILE, TFTP, ["no-dhcp"]).problems).toEqual([]);
    expect(plan(FILE, TFTP, ["no-dhcp"], ["ipv6", "off"]).problems).toEqual([
      { place: "--boot-file", found: "boot/pxe.0", allowed: "nothing beside --no-dhcp" },
    ]);
    expect(plan(["no-dhcp"]).problems).toEqual([]);
    expect(plan(["ipv4", "off"]).problems).toEqual([]);
    expect(plan(FILE, ["ipv6", "off"]).problems).toEqual([]);
  });

  it("is told each complaint once, in the order of what is wrong", () => {
    expect(plan(SERVER4, ["ipv4", "off"]).problems).toEqual([
      { place: "--next-server", found: "192.0.2.9", allowed: "an IPv6 address, with --ipv4 off" },
    ]);
    expect(plan(SERVER4, ["no-dhcp"]).problems).toEqual([
      { place: "--next-server", found: "192.0.2.9", allowed: "nothing beside --no-dhcp" },
    ]);
    expect(plan(SERVER4).problems).toEqual([]);
    expect(plan(FILE, SERVER6, SERVER4, SERVER6).problems).toEqual([
      { place: "--next-server", found: "2001:db8::9", allowed: "one address of each family" },
    ]);
  });
});

describe("text for a field of DHCP", () => {
  it.each([
    ["tftp-server-name", 63],
    ["boot-file", 127],
  ] as const)("--%s has %i octets at most, none of them zero", (name, most) => {
    const problems = (text: string) => plan([name, text]).problems;
    expect(problems("x".repeat(most))).toEqual([]);
    expect(problems("é".repeat((most - 1) / 2))).toEqual([]);
    const allowed = `text of 1 to ${most} octets`;
    for (const text of ["", "a\0", "x".repeat(most + 1), "é".repeat((most + 1) / 2)])
      expect(problems(text)).toEqual([{ place: `--${name}`, found: text, allowed }]);
  });
});
