import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  EMBEDDED_MAX,
  embeddedIpv4,
  isLegitimate4,
  isLegitimate6,
  isLinkLocal6,
  isUnicast6,
} from "../../../src/engine/network/addresses.ts";
import { embedIpv4, extractIpv4 } from "../../../src/engine/wire/translated-address.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const words = (text: string): Int32Array => Int32Array.from(ip6(text));
const may = (text: string, allowLinkLocal = false): boolean => isLegitimate6(words(text), 0, allowLinkLocal);

function embedded(address: Int32Array): number[] {
  const found = new Int32Array(EMBEDDED_MAX);
  const count = embeddedIpv4(address, 0, found);
  return [...found.slice(0, count)];
}

const quad = (address: number): string =>
  [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255].join(".");
const hex = (address: number): string =>
  `${(address >>> 16).toString(16)}:${(address & 0xffff).toString(16)}`;

/** Every way an IPv4 address can be spelled inside an IPv6 one, by the text of the RFCs. */
const FORMS: Readonly<Record<string, (address: number) => string>> = {
  "NAT64, 64:ff9b::/96": (a) => `64:ff9b::${quad(a)}`,
  "NAT64, 64:ff9b:1::/96": (a) => `64:ff9b:1::${quad(a)}`,
  "NAT64, 64:ff9b:1:abcd:0:1::/96": (a) => `64:ff9b:1:abcd:0:1:${quad(a)}`,
  "SIIT, ::ffff:0:0:0/96": (a) => `::ffff:0:${quad(a)}`,
  "6to4, 2002::/16": (a) => `2002:${hex(a)}::1`,
  "Teredo server": (a) => `2001:0:${hex(a)}:0:ffff:f7f7:f7f7`,
  "Teredo client": (a) => `2001:0:808:808:0:ffff:${hex(~a >>> 0)}`,
  ISATAP: (a) => `2001:db8::5efe:${quad(a)}`,
  "ISATAP, universal": (a) => `fd00:1:2:3:200:5efe:${quad(a)}`,
};
/** Half of them special. */
const ipv4 = fc.oneof(
  fc.integer(),
  fc
    .tuple(
      fc.constantFrom(0x7f000001, 0x0a000001, 0xa9fea9fe, 0xe0000001, 0xffffffff, 1, 0x646464c8, 0xa83f8110),
      fc.nat(255),
    )
    .map(([base, low]) => (base + (low > 200 ? low : 0)) | 0),
);

describe("IPv4 addresses a guest may send to", () => {
  it("N42 hold metadata services to the rule of 169.254.169.254", () => {
    for (const text of ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]) {
      expect([text, isLegitimate4(ip(text), false), isLegitimate4(ip(text), true)]).toEqual([
        text,
        false,
        true,
      ]);
    }
    for (const text of ["100.100.100.199", "168.63.129.17", "192.0.0.193", "169.253.0.1", "10.0.0.1"]) {
      expect([text, isLegitimate4(ip(text), false)]).toEqual([text, true]);
    }
  });
});

describe("IPv6 addresses a guest may send to", () => {
  it.each([
    "::",
    "::1",
    "::7f00:1",
    "::a00:1",
    "::ffff:8.8.8.8",
    "ff02::1",
    "ff0e::1",
    "fe80::1",
    "febf:ffff::1",
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "5f00::1",
    "5f00:ffff::1",
  ])("N40 never include %s", (text) => {
    expect([may(text), may(text, true)]).toEqual([false, false]);
  });

  it.each([
    "2001:db8::1",
    "fec0::1",
    "fc00::1",
    "fd00::1",
    "100:0:0:1::1",
    "5eff::1",
    "::1:0:0:1",
    "2606:4700::1111",
  ])("N40 include %s", (text) => {
    expect(may(text)).toBe(true);
  });

  it("N40 include all of 2000::/3 that has no IPv4 address in it, for nothing is reserved there", () => {
    const word = fc.integer();
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), ([top, ...rest]) => {
        const address = Int32Array.of(0x20000000 | (top >>> 3), ...rest);
        expect(isUnicast6(address, 0) && !isLinkLocal6(address, 0)).toBe(true);
        fc.pre(embeddedIpv4(address, 0, new Int32Array(EMBEDDED_MAX)) === 0);
        expect(isLegitimate6(address, 0, false)).toBe(true);
      }),
    );
  });

  it.each([
    "fd00:ec2::254",
    "fd00:ec2:1:2:3:4:5:6",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:100::100:200",
  ])("N42 include the metadata service %s only with --allow-link-local", (text) => {
    expect([may(text), may(text, true)]).toEqual([false, true]);
  });

  it("N42 include the neighbours of metadata services", () => {
    for (const text of [
      "fd00:ec3::254",
      "fd20:ce::255",
      "fd00:42::43",
      "fd00:a9fe:a9fe::2",
      "fd00:100::100:201",
    ])
      expect([text, may(text)]).toEqual([text, true]);
  });

  it.each(Object.entries(FORMS))("N41 are held to the IPv4 rules: %s", (name, spell) => {
    fc.assert(
      fc.property(ipv4, fc.boolean(), (address, allowLinkLocal) => {
        // With nothing but zeros at its end it is an address of a shorter prefix as well.
        fc.pre(!name.includes("abcd") || (address & 0xffffff) !== 0);
        const expected = isLegitimate4(address, allowLinkLocal);
        expect([spell(address), may(spell(address), allowLinkLocal)]).toEqual([spell(address), expected]);
      }),
      { numRuns: 300 },
    );
  });

  it.each([48, 56, 64, 96])(
    "N41 are held to them in 64:ff9b:1::/48 with a prefix of %i bits",
    (prefixLength) => {
      const forbidden = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "100.100.100.200"];
      const open = ["8.8.8.8", "192.0.2.33", "10.1.2.3", "1.2.0.0"];
      const spell = (text: string): Int32Array => {
        const address = new Int32Array(4);
        embedIpv4(words("64:ff9b:1::"), prefixLength, ip(text), address, 0);
        return address;
      };
      for (const text of forbidden)
        expect([text, isLegitimate6(spell(text), 0, false)]).toEqual([text, false]);
      for (const text of open) expect([text, isLegitimate6(spell(text), 0, false)]).toEqual([text, true]);
      expect(isLegitimate6(words("64:ff9b:1::"), 0, false)).toBe(false);
    },
  );

  it("find no IPv4 address where there is none", () => {
    for (const text of ["2001:db8::7f00:1", "2003::1", "64:ff9b:2::7f00:1", "fd00::5eff:7f00:1"]) {
      expect([text, embedded(words(text))]).toEqual([text, []]);
    }
    expect(embedded(words(FORMS["Teredo client"](ip("127.0.0.1"))))).toEqual([
      ip("8.8.8.8"),
      ip("127.0.0.1"),
    ]);
  });
});

describe("addresses", () => {
  it("translate as the table of RFC 6052 section 2.4 does", () => {
    for (const [prefix, length, text] of [
      ["2001:db8::", 32, "2001:db8:c000:221::"],
      ["2001:db8:100::", 40, "2001:db8:1c0:2:21::"],
      ["2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"],
      ["2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"],
      ["2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"],
      ["2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"],
    ] as const) {
      const address = new Int32Array(6);
      embedIpv4(words(prefix), length, ip("192.0.2.33"), address, 2);
      expect([text, ...address.slice(2)]).toEqual([text, ...ip6(text)]);
      expect(extractIpv4(address, 2, length)).toBe(ip("192.0.2.33"));
    }
  });

  it("come back from any prefix length", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(32, 40, 48, 56, 64, 96),
        fc.integer(),
        fc.ipV6(),
        (length, address, prefix) => {
          const translated = new Int32Array(4);
          embedIpv4(words(prefix), length, address, translated, 0);
          expect(extractIpv4(translated, 0, length)).toBe(address);
          // The octet at 64 stays zero in all but the longest.
          if (length < 96) expect(translated[2] >>> 24).toBe(0);
        },
      ),
    );
  });

  it("are nobody's where they are reserved", () => {
    expect(["::", "::1", "ff02::1", "fe80::1", "fd00::1"].map((text) => isUnicast6(words(text), 0))).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
  });
});
