import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EXTENSION_HEADERS_MAX, EXTENSION_OCTETS_MAX } from "../../../src/engine/limits.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as ipv6 from "../../../src/engine/wire/ipv6.ts";
import { checksum6, ip6, packet6 } from "../../support/frames6.ts";

const view = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.length);
const check = (octets: Uint8Array): string => DROP_REASONS[ipv6.checkIpv6(view(octets), 0, octets.length)];

/** An extension header of `octets` octets (a multiple of 8) with these octets behind its length. */
function extension(next: number, body: readonly number[], octets = 8): number[] {
  const header = [next, octets / 8 - 1, ...body];
  return [...header, ...new Array<number>(octets - header.length).fill(0)];
}

function walk(payload: readonly number[], next: number) {
  const octets = packet6({ next, payload });
  const headers = new ipv6.ExtensionHeaders();
  const result = DROP_REASONS[headers.walk(view(octets), 0, octets.length)];
  return { result, headers, octets };
}

const TCP = new Array<number>(20).fill(0);

describe("IPv6 header", () => {
  it("writes what it reads, addresses by place", () => {
    const octets = new Uint8Array(48);
    const at = view(octets);
    const words = Int32Array.of(9, ...ip6("2001:db8::1"), ...ip6("fe80::ffff:1"));
    ipv6.writeIpv6(at, 4, 1220, 6, 64, 0xabcde);
    ipv6.writeAddress(at, 4 + ipv6.SOURCE, words, 1);
    ipv6.writeAddress(at, 4 + ipv6.DESTINATION, words, 5);
    expect([...octets.slice(4, 12)]).toEqual([0x60, 0x0a, 0xbc, 0xde, 4, 196, 6, 64]);
    expect([ipv6.payloadLength(at, 4), ipv6.nextHeader(at, 4), ipv6.hopLimit(at, 4)]).toEqual([1220, 6, 64]);
    expect(ipv6.flowLabel(at, 4)).toBe(0xabcde);
    expect([0, 1, 2, 3].map((i) => ipv6.sourceWord(at, 4, i))).toEqual(ip6("2001:db8::1"));
    expect([0, 1, 2, 3].map((i) => ipv6.destinationWord(at, 4, i))).toEqual(ip6("fe80::ffff:1"));
    expect(ipv6.isAddress(at, 4 + ipv6.SOURCE, words, 1)).toBe(true);
    for (let i = 0; i < 4; i++) {
      const other = words.with(1 + i, words[1 + i] ^ 1);
      expect(ipv6.isAddress(at, 4 + ipv6.SOURCE, other, 1)).toBe(false);
    }
    const read = new Int32Array(5);
    ipv6.readAddress(at, 4 + ipv6.DESTINATION, read, 1);
    expect([...read.slice(1)]).toEqual(ip6("fe80::ffff:1"));
    expect(ipv6.addressSum6(words, 1)).toBe(ipv6.headerAddressSum6(at, 4));
  });

  it("N24 takes a whole packet and padding, and refuses version, length and jumbograms that are not right", () => {
    const good = packet6({ payload: TCP });
    expect(check(good)).toBe("handled");
    expect(check(Uint8Array.of(...good, 0, 0, 0))).toBe("handled");
    expect(check(good.slice(0, -1))).toBe("ipv6-malformed");
    expect(check(good.slice(0, 39))).toBe("ipv6-malformed");
    expect(check(good.with(0, 0x40))).toBe("ipv6-malformed");
    expect(check(packet6({ payload: [] }))).toBe("ipv6-malformed");
  });

  it("tells kinds of addresses", () => {
    const kinds = (text: string): string[] => {
      const octets = packet6({ source: text, payload: TCP });
      const { isUnspecified, isMulticast, isLinkLocal, isMapped } = ipv6;
      const named = Object.entries({ isUnspecified, isMulticast, isLinkLocal, isMapped });
      return named.filter(([, is]) => is(view(octets), ipv6.SOURCE)).map(([name]) => name);
    };
    expect(kinds("::")).toEqual(["isUnspecified"]);
    expect(kinds("ff02::1")).toEqual(["isMulticast"]);
    expect(kinds("fe80::1")).toEqual(["isLinkLocal"]);
    expect(kinds("febf::1")).toEqual(["isLinkLocal"]);
    expect(kinds("fec0::1")).toEqual([]);
    expect(kinds("::ffff:127.0.0.1")).toEqual(["isMapped"]);
    expect(kinds("::1")).toEqual([]);
  });

  it("sums the pseudo-header as an independent sum does", () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.ipV6(), (source, destination) => {
        const octets = packet6({ source, destination, payload: TCP });
        let sum = ipv6.headerAddressSum6(view(octets), 0) + 17 + 8;
        sum = (sum & 0xffff) + (sum >>> 16);
        sum = (sum & 0xffff) + (sum >>> 16);
        const expected = ~checksum6(source, destination, 17, new Array<number>(8).fill(0)) & 0xffff;
        expect(sum).toBe(expected);
      }),
    );
  });
});

describe("IPv6 extension headers", () => {
  it("N26 skips hop-by-hop, destination options and a routing header with nothing left", () => {
    const chain = [
      ...extension(60, [5, 2, 0, 0]),
      ...extension(43, [1, 2], 16),
      ...extension(6, [2, 0]),
      ...TCP,
    ];
    const { result, headers } = walk(chain, 0);
    expect([result, headers.protocol, headers.protocolAt, headers.fragmentAt]).toEqual(["handled", 6, 72, 0]);
  });

  it.each([
    [
      "hop-by-hop options that are not first",
      60,
      [...extension(0, []), ...extension(6, []), ...TCP],
      "ipv6-extension-header",
    ],
    [
      "a type 0 routing header with a segment left",
      43,
      [...extension(6, [0, 1]), ...TCP],
      "ipv6-routing-header",
    ],
    [
      "a segment routing header with a segment left",
      43,
      [...extension(6, [4, 1]), ...TCP],
      "ipv6-routing-header",
    ],
    ["a header beyond the packet", 60, extension(6, [], 8).with(1, 1), "ipv6-malformed"],
    ["a header cut off", 60, [6, 0, 0], "ipv6-malformed"],
    ["a fragment header cut off", 44, [6, 0, 0, 0], "ipv6-malformed"],
  ])("N26 drops %s", (_name, next, payload, reason) => {
    expect(walk(payload, next).result).toBe(reason);
  });

  it("N27 skips unknown options with 00, and drops those with 01, 10 and 11, in both kinds of header", () => {
    for (const [next, first] of [
      [0, "hop-by-hop"],
      [60, "destination"],
    ] as const) {
      for (let type = 2; type < 256; type++) {
        const { result } = walk([...extension(6, [type, 2]), ...TCP], next);
        expect([first, type, result]).toEqual([first, type, type < 64 ? "handled" : "ipv6-option"]);
      }
    }
  });

  it.each([
    ["an option longer than its header", [1, 5]],
    ["an option without its length", [1, 3, 0, 0, 0, 1]],
  ])("N28 drops %s", (_name, body) => {
    expect(walk([...extension(6, body), ...TCP], 60).result).toBe("ipv6-malformed");
  });

  it("N28 takes as many headers and octets as the limits say, and not one more", () => {
    const chain = (count: number): number[] => [
      ...Array.from({ length: count }, (_, i) => extension(i === count - 1 ? 6 : 60, [])).flat(),
      ...TCP,
    ];
    expect(walk(chain(EXTENSION_HEADERS_MAX), 60).result).toBe("handled");
    expect(walk(chain(EXTENSION_HEADERS_MAX + 1), 60).result).toBe("ipv6-extension-header");
    const long = (octets: number) => walk([...extension(6, [], octets), ...TCP], 60).result;
    expect(long(EXTENSION_OCTETS_MAX)).toBe("handled");
    expect(long(EXTENSION_OCTETS_MAX + 8)).toBe("ipv6-extension-header");
  });

  it("stops at a fragment header, goes on behind it, and takes no second one", () => {
    const { headers, octets, result } = walk(
      [...extension(44, []), ...extension(60, []), ...extension(6, []), ...TCP],
      60,
    );
    expect([result, headers.protocol, headers.fragmentAt]).toEqual(["handled", 44, 48]);
    expect(DROP_REASONS[headers.behindFragment(view(octets), octets.length)]).toBe("handled");
    expect([headers.protocol, headers.protocolAt]).toEqual([6, 64]);
    const twice = walk([...extension(44, []), ...extension(6, []), ...TCP], 44);
    expect(DROP_REASONS[twice.headers.behindFragment(view(twice.octets), twice.octets.length)]).toBe(
      "ipv6-extension-header",
    );
    const late = walk([...extension(0, []), ...extension(6, []), ...TCP], 44);
    expect(DROP_REASONS[late.headers.behindFragment(view(late.octets), late.octets.length)]).toBe(
      "ipv6-extension-header",
    );
  });

  it.each([59, 50, 51, 135, 139, 140, 253, 254, 132])("N29 leaves protocol %i to the caller", (next) => {
    const { result, headers } = walk(TCP, next);
    expect([result, headers.protocol, headers.protocolAt]).toEqual(["handled", next, 40]);
  });

  it("N28 never reads beyond the packet, and ends inside it, whatever comes", () => {
    const next = fc.constantFrom(0, 43, 44, 60, 6, 17, 58, 255);
    const header = fc
      .tuple(next, fc.nat(3), fc.array(fc.nat(255), { minLength: 6, maxLength: 30 }))
      .map(([following, length, body]) => [following, length, ...body]);
    fc.assert(
      fc.property(next, fc.array(header, { minLength: 1, maxLength: 12 }), (first, list) => {
        // The view ends with the packet: one octet too far throws.
        const { result, headers, octets } = walk(list.flat(), first);
        if (result !== "handled") return;
        expect(headers.protocolAt).toBeLessThanOrEqual(octets.length);
        if (headers.fragmentAt > 0) headers.behindFragment(view(octets), octets.length);
      }),
      { numRuns: 3000 },
    );
  });
});
