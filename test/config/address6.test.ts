import fc from "fast-check";
import { Address6 } from "ip-address";
import { describe, expect, it } from "vitest";
import {
  isLinkLocal6,
  parseBoundAddress6,
  parseHostAddress6,
  parseIpv6,
  parseNetwork6,
  readIpv6,
  sharesPrefix,
} from "../../src/config/address6.ts";
import type { Unacceptable } from "../../src/config/problem.ts";
import { formatAddress, formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { ip6 } from "../support/frames6.ts";

/** Whether the library takes the text as a bare address; what is behind % or / is no part of one. */
const oracleTakes = (text: string): boolean => Address6.isValid(text) && !/[%/]/.test(text);

describe("IPv6 addresses", () => {
  it.each([
    "::",
    "::1",
    "1::",
    "2001:db8::1",
    "1:2:3:4:5:6:7:8",
    "::ffff:1.2.3.4",
    "1:2:3:4:5:6:7::",
    "FE80::A",
  ])("are read: %s", (text) => {
    expect(readIpv6(text)).toEqual(ip6(text));
  });

  it.each([
    "",
    ":",
    ":::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    ":1:2:3:4:5:6:7",
    "12345::",
    "g::",
    "::1.2.3",
    "::1.2.3.256",
    "::01.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:1.2.3.4:3:4:5:6:7",
    "1.2.3.4",
    "fe80::1%eth0",
    "[::1]",
    "::1/128",
    " ::1",
    "1:2:3:4:5:6:7:1.2.3.4",
  ])("are refused: %j", (text) => {
    expect(readIpv6(text)).toBeNull();
    expect(() => parseIpv6(text)).toThrow(/IPv6 address/);
  });

  it("are read as an independent parser reads them", () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        expect(readIpv6(text)).toEqual(ip6(text));
      }),
      { numRuns: 2000 },
    );
  });

  it("are refused wherever an independent parser refuses", () => {
    const piece = fc.constantFrom(
      "::",
      ":",
      "0",
      "1",
      "ffff",
      "12345",
      "1.2.3.4",
      "255.0.0.1",
      "g",
      "a",
      "%1",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        if (readIpv6(text) !== null) expect([text, oracleTakes(text)]).toEqual([text, true]);
      }),
      { numRuns: 5000 },
    );
  });

  it("are written as RFC 5952 says, and read back", () => {
    const group = fc.oneof(fc.constant(0), fc.nat(0xffff));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const text = groups.map((g) => g.toString(16)).join(":");
        const words = ip6(text);
        const written = formatIpv6(words);
        expect(readIpv6(written)).toEqual(words);
        if (!written.includes(".")) expect(written).toBe(new Address6(text).correctForm());
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["2001:0DB8::0001", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
  ])("N67 are written by RFC 5952: %s as %s", (text, written) => {
    expect(formatIpv6(ip6(text))).toBe(written);
  });

  it("N67 of either family are written each in its own way, from any place", () => {
    const words = [9, ...ip6("::ffff:10.0.2.15"), ...ip6("fd71:1ae0:d44d:2::15")];
    expect(formatAddress(words, 1)).toBe("10.0.2.15");
    expect(formatAddress(words, 5)).toBe("fd71:1ae0:d44d:2::15");
  });
});

describe("the guest's IPv6 network", () => {
  it("is a /64", () => {
    expect(parseNetwork6("fd71:1ae0:d44d:2::/64")).toEqual(ip6("fd71:1ae0:d44d:2::"));
    expect(parseNetwork6("2001:db8:1:2::/64")).toEqual(ip6("2001:db8:1:2::"));
  });

  it.each([
    ["fd71::/48", /64 bits/],
    ["fd71::", /PREFIX\/64/],
    ["10.0.2.0/24", /PREFIX\/64/],
    ["fd71::1/64", /did you mean fd71::\/64/],
    ["fe80::/64", /link-local/],
    ["febf::/64", /link-local/],
    ["fec0::/64", /deprecated/],
    ["ff02::/64", /multicast/],
    ["::/64", /reserved/],
    ["64:ff9b::/64", /NAT64/],
    ["64:ff9b:1:2::/64", /reserved/],
    ["2002:a00:1::/64", /6to4/],
  ])("is not %s", (text, message) => {
    expect(() => parseNetwork6(text)).toThrow(message);
  });
});

describe("a prefix of the guest's network", () => {
  const said = (text: string): [string, string | undefined] => {
    try {
      return [`nothing: it is ${parseNetwork6(text)}`, undefined];
    } catch (error) {
      const { allowed, found } = error as Unacceptable;
      return [allowed, found];
    }
  };

  it.each(["2001:db8::/64", "1ff:ffff::/64", "100::/64", "fe7f::/64", "fe00::/64", "2003::/64"])(
    "may be %s",
    (text) => {
      expect(parseNetwork6(text)).toEqual(ip6(text.slice(0, -3)));
    },
  );

  it.each([
    ["", "PREFIX/64, such as fd71:1ae0:d44d:2::/64"],
    ["/64", "PREFIX/64, such as fd71:1ae0:d44d:2::/64"],
    ["fd71::/64x", "PREFIX/64, such as fd71:1ae0:d44d:2::/64"],
    ["1/fd71::/64", "PREFIX/64, such as fd71:1ae0:d44d:2::/64"],
    ["fd71::/0064", "PREFIX/64, such as fd71:1ae0:d44d:2::/64"],
    ["fd71::/064", "a prefix of 64 bits: guests make their own addresses of nothing else"],
    ["fd71::/128", "a prefix of 64 bits: guests make their own addresses of nothing else"],
    ["fd71::1:0:0/64", "a network address, whose host part is zero: did you mean fd71::/64?"],
    ["fd71::1/64", "a network address, whose host part is zero: did you mean fd71::/64?"],
    ["ffff::/64", "a prefix for a network; ff00::/8 is multicast"],
    ["feff::/64", "a prefix for a network; fec0::/10 is deprecated (RFC 3879)"],
    ["ff::/64", "a prefix for a network; ::/8 is reserved"],
  ])("is not %j", (text, allowed) => {
    expect(said(text)).toEqual([allowed, text]);
  });
});

describe("an address of the host's side", () => {
  it.each(["::", "::1", "2001:db8::1", "fe7f::1", "fec0::1", "::1:ffff:0:1", "::fffe:1.2.3.4", "feff::1"])(
    "is %s",
    (text) => {
      expect(parseHostAddress6(text)).toEqual(ip6(text));
      expect(parseBoundAddress6(text, true)).toEqual(ip6(text));
    },
  );

  it.each([
    ["x", "an IPv6 address such as 2001:db8::1"],
    ["::ffff:1.2.3.4", "an IPv4 address without ::ffff:"],
    ["ff02::1", "an address of one station, no group"],
    ["ffff::1", "an address of one station, no group"],
    ["fe80::1", "an address good on any interface; [::] has the link-local ones too"],
    ["febf::1", "an address good on any interface; [::] has the link-local ones too"],
  ])("is not %s", (text, allowed) => {
    expect(() => parseHostAddress6(text)).toThrow(expect.objectContaining({ allowed, found: text }));
  });

  it("is link-local where an interface is named", () => {
    expect(parseBoundAddress6("fe80::1", true)).toEqual(ip6("fe80::1"));
    expect(() => parseBoundAddress6("ff02::1", true)).toThrow("no group");
    expect(["fe80::", "febf:ffff::", "fe7f::", "fec0::"].map((text) => isLinkLocal6(ip6(text)))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

it("prefixes are compared up to their length, in any word", () => {
  const shares = (a: string, b: string, length: number): boolean => sharesPrefix(ip6(a), ip6(b), length);
  for (const [length, differs] of [
    [1, "8000::"],
    [32, "0:1::"],
    [33, "0:0:8000::"],
    [64, "0:0:0:1::"],
    [65, "::8000:0:0:0"],
    [96, "::1:0:0"],
    [97, "::8000:0"],
    [128, "::1"],
  ] as const) {
    expect([length, shares("::", differs, length - 1), shares("::", differs, length)]).toEqual([
      length,
      true,
      false,
    ]);
  }
  expect(shares("ffff::", "::", 0)).toBe(true);
});
