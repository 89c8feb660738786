import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BOOTP_MESSAGE_MIN, COOKIE, FILE, OPTIONS, SNAME } from "../../../src/engine/wire/dhcp.ts";
import * as option from "../../../src/engine/wire/dhcp-options.ts";
import { ip } from "../../support/frames.ts";
import { recordedUdpPayloads } from "../../support/recorded-guest.ts";

const COOKIE_OCTETS = [0x63, 0x82, 0x53, 0x63];

/** A message with these octets as options, file and sname. */
function message(options: number[], file: number[] = [], sname: number[] = []): Uint8Array {
  const octets = new Uint8Array(OPTIONS + options.length);
  octets.set(COOKIE_OCTETS, COOKIE);
  octets.set(options, OPTIONS);
  octets.set(file, FILE);
  octets.set(sname, SNAME);
  return octets;
}

function read(octets: Uint8Array): Record<number, number[]> | null {
  const options = option.readOptions(octets);
  return options && Object.fromEntries(Array.from(options, ([code, value]) => [code, [...value]]));
}

function write(options: option.Option[], limit = 548, file = true, sname = true): Uint8Array {
  const octets = message(new Array(limit - OPTIONS).fill(0));
  return octets.subarray(0, option.writeOptions(octets, options, limit, file, sname));
}

function sized(code: number, length: number): option.Option {
  return { code, value: Uint8Array.from({ length }, (_, i) => (code + i) & 255) };
}

describe("reading DHCP options", () => {
  it("reads what udhcpc sent", () => {
    const [discover] = recordedUdpPayloads(67);
    expect(read(discover)).toEqual({
      53: [1],
      57: [2, 64],
      55: [1, 3, 6, 12, 15, 26, 28, 42, 119, 121],
      12: [...new TextEncoder().encode("guest1")],
      60: [...new TextEncoder().encode("udhcp 1.35.0")],
      61: [1, 0x52, 0x54, 0, 0x12, 0x34, 0x56],
    });
  });

  it("finds none without the cookie, or in a message that ends before it", () => {
    expect(read(message([53, 1, 1]).fill(0, COOKIE, OPTIONS))).toEqual({});
    expect(read(new Uint8Array(236))).toEqual({});
  });

  it("skips padding, stops at END, forgives a missing END", () => {
    expect(read(message([0, 0, 53, 1, 1, 0, 255, 54, 9]))).toEqual({ 53: [1] });
    expect(read(message([53, 1, 1]))).toEqual({ 53: [1] });
  });

  it.each([
    ["value past the end", [53, 2, 1]],
    ["length missing", [53, 1, 1, 50]],
    ["length 255", [53, 255]],
  ])("refuses a %s", (_name, octets) => {
    expect(read(message(octets))).toBeNull();
  });

  it("refuses an option past the end of an overloaded field", () => {
    const file = new Array(128).fill(0);
    expect(read(message([52, 1, 1, 255], [...file.slice(0, 126), 12, 1]))).toBeNull();
    expect(read(message([52, 1, 2, 255], [], [12, 63]))).toBeNull();
  });

  it("joins the pieces of a long option in the order options, file, sname (RFC 3396)", () => {
    expect(read(message([43, 1, 1, 52, 1, 3, 43, 1, 2, 255], [43, 1, 3, 255], [43, 1, 4, 255]))).toEqual({
      43: [1, 2, 3, 4],
      52: [3],
    });
  });

  it("reads file and sname only when option 52 says so", () => {
    expect(read(message([52, 1, 2, 255], [12, 1, 65, 255], [15, 1, 66, 255]))).toEqual({ 15: [66], 52: [2] });
    expect(read(message([255], [12, 1, 65, 255], [15, 1, 66, 255]))).toEqual({});
  });
});

describe("writing DHCP options", () => {
  it("keeps the order and BOOTP's minimum", () => {
    const octets = write([sized(53, 1), sized(3, 4), sized(1, 4)]);
    expect(octets).toHaveLength(BOOTP_MESSAGE_MIN);
    expect(Object.keys(read(octets) ?? {}).length).toBe(3);
    expect([...octets.slice(OPTIONS, OPTIONS + 16)]).toEqual([
      53, 1, 53, 3, 4, 3, 4, 5, 6, 1, 4, 1, 2, 3, 4, 255,
    ]);
  });

  it("fills the limit to the octet without overload, and uses file from one octet more", () => {
    const room = 548 - OPTIONS - 1;
    const exact = write([sized(53, 1), sized(43, 200), sized(12, room - 3 - 202 - 2)]);
    expect(exact).toHaveLength(548);
    expect(read(exact)?.[52]).toBeUndefined();
    const more = write([sized(53, 1), sized(43, 200), sized(12, room - 3 - 202 - 1)]);
    expect(read(more)?.[52]).toEqual([1]);
    expect(read(more)?.[12]).toEqual([...sized(12, room - 3 - 202 - 1).value]);
    expect(more.length).toBeLessThanOrEqual(548);
  });

  it("splits options over 255 octets (RFC 3396)", () => {
    const octets = write([sized(53, 1), sized(119, 300)], 1472);
    expect(octets[OPTIONS + 4]).toBe(255);
    expect(read(octets)?.[119]).toEqual([...sized(119, 300).value]);
  });

  it("spreads an option over all three fields when nothing else holds it", () => {
    const octets = write([sized(53, 1), sized(54, 4), sized(119, 460)]);
    expect(octets).toHaveLength(548);
    expect(read(octets)?.[52]).toEqual([3]);
    expect(read(octets)?.[119]).toEqual([...sized(119, 460).value]);
  });

  it("leaves fields alone that hold names, and leaves out what comes last", () => {
    const octets = write([sized(53, 1), sized(43, 250), sized(119, 200), sized(12, 4)], 548, false, false);
    expect(read(octets)?.[52]).toBeUndefined();
    expect(read(octets)?.[119]).toBeUndefined();
    expect(read(octets)?.[12]).toHaveLength(4);
    expect([...octets.slice(SNAME, COOKIE)].every((octet) => octet === 0)).toBe(true);
  });

  it("uses sname alone when file is taken", () => {
    const octets = write([sized(53, 1), sized(43, 250), sized(15, 60)], 548, false, true);
    expect(read(octets)?.[52]).toEqual([2]);
    expect(read(octets)?.[15]).toHaveLength(60);
  });

  it("is read back as written, or without the whole of what did not fit", () => {
    const any = fc.uniqueArray(
      fc.record({
        code: fc.integer({ min: 1, max: 254 }).filter((c) => c !== 52),
        value: fc.uint8Array({ maxLength: 600 }),
      }),
      { selector: ({ code }) => code, maxLength: 12 },
    );
    fc.assert(
      fc.property(
        any,
        fc.integer({ min: 300, max: 1472 }),
        fc.boolean(),
        fc.boolean(),
        (options, limit, file, sname) => {
          const octets = write(
            [sized(53, 1), ...options.filter(({ code }) => code !== 53)],
            limit,
            file,
            sname,
          );
          expect(octets.length).toBeLessThanOrEqual(limit);
          const found = option.readOptions(octets);
          expect(found).not.toBeNull();
          expect([...(found?.get(53) ?? [])]).toEqual([53]);
          for (const { code, value } of options.filter((o) => o.code !== 53)) {
            const got = found?.get(code);
            if (got) expect([...got]).toEqual([...value]);
          }
        },
      ),
    );
  });

  it("never throws on any message", () => {
    const octet = fc.oneof(fc.nat(255), fc.constantFrom(0, 52, 53, 119, 255, 1, 3));
    fc.assert(
      fc.property(
        fc.array(octet, { maxLength: 400 }),
        fc.array(octet, { maxLength: 128 }),
        (options, file) => {
          const octets = message(options, file, file.slice(0, 64));
          const found = option.readOptions(octets);
          const total = found ? Array.from(found.values()).reduce((sum, value) => sum + value.length, 0) : 0;
          expect(total).toBeLessThanOrEqual(octets.length);
        },
      ),
    );
  });
});

describe("option values", () => {
  it.each([
    [
      [
        { destination: ip("224.0.0.0"), prefixLength: 4, gateway: 0 },
        { destination: ip("192.168.1.0"), prefixLength: 24, gateway: ip("192.168.2.1") },
      ],
      [4, 224, 0, 0, 0, 0, 24, 192, 168, 1, 192, 168, 2, 1],
    ],
    [
      [
        { destination: ip("10.128.0.0"), prefixLength: 14, gateway: 0 },
        { destination: ip("224.0.0.0"), prefixLength: 4, gateway: 0 },
        { destination: 0, prefixLength: 0, gateway: ip("10.129.0.1") },
      ],
      [14, 10, 128, 0, 0, 0, 0, 4, 224, 0, 0, 0, 0, 0, 10, 129, 0, 1],
    ],
    [
      [
        { destination: ip("169.254.1.1"), prefixLength: 32, gateway: 0 },
        { destination: 0, prefixLength: 0, gateway: ip("169.254.1.1") },
      ],
      [32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1],
    ],
    [[{ destination: ip("10.1.2.3"), prefixLength: 12, gateway: 1 }], [12, 10, 0, 0, 0, 0, 1]],
  ])("encodes classless routes (RFC 3442): %j", (routes, octets) => {
    expect([...option.encodeClasslessRoutes(routes)]).toEqual(octets);
  });
});
