import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as dhcp6 from "../../../src/engine/wire/dhcpv6.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);

describe("DHCPv6 messages", () => {
  it("are written as RFC 9915 section 8 draws them", () => {
    const request = Uint8Array.of(1, 0xab, 0xcd, 0xef);
    const address = {
      code: dhcp6.IA_ADDRESS,
      value: dhcp6.encodeIaAddress(ip6("2001:db8::15"), 14_400, 86_400),
    };
    const association = dhcp6.encodeAssociation(7, 7200, 11_520, [address]);
    const message = dhcp6.encodeMessage(dhcp6.REPLY, request, [
      { code: dhcp6.IA_NA, value: association },
      dhcp6.statusOption(dhcp6.NO_BINDING, "no"),
    ]);
    expect([...message]).toEqual([
      ...[7, 0xab, 0xcd, 0xef],
      ...[0, 3, 0, 40, 0, 0, 0, 7, 0, 0, 0x1c, 0x20, 0, 0, 0x2d, 0],
      ...[0, 5, 0, 24, ...octets6("2001:db8::15"), 0, 0, 0x38, 0x40, 0, 1, 0x51, 0x80],
      ...[0, 13, 0, 4, 0, 3, 110, 111],
    ]);
    const options = dhcp6.readOptions6(message, 4);
    expect(options?.map(({ code }) => code)).toEqual([3, 13]);
    const read = dhcp6.readAssociation(options?.[0].value ?? new Uint8Array());
    expect(read?.iaid).toBe(7);
    expect([...(dhcp6.readIaAddress(read?.options[0].value ?? new Uint8Array()) ?? [])]).toEqual(
      ip6("2001:db8::15"),
    );
    expect([...dhcp6.encodeAddresses6([ip6("2001:db8::1"), ip6("::2")])]).toEqual([
      ...octets6("2001:db8::1"),
      ...octets6("::2"),
    ]);
  });

  it("refuses options that do not fit", () => {
    expect(dhcp6.readOptions6(Uint8Array.of(0, 1, 0, 1, 9), 0)).toHaveLength(1);
    for (const octets of [[0, 1, 0, 2, 9], [0, 1, 0], [0]]) {
      expect(dhcp6.readOptions6(Uint8Array.from(octets), 0)).toBeNull();
    }
    expect(dhcp6.readAssociation(new Uint8Array(11))).toBeNull();
    expect(dhcp6.readAssociation(new Uint8Array(14))).toBeNull();
    expect(dhcp6.readIaAddress(new Uint8Array(23))).toBeNull();
    expect(dhcp6.readIaAddress(new Uint8Array(25))).toBeNull();
  });

  it("N55 takes DUIDs of 3 to 130 octets", () => {
    const sizes = [2, 3, 14, 130, 131].map((length) => dhcp6.isDuid(new Uint8Array(length)));
    expect(sizes).toEqual([false, true, true, true, false]);
  });

  it("N51 finds the MAC in DUID-LL and DUID-LLT of Ethernet, and in no other", () => {
    expect(dhcp6.macInDuid(dhcp6.duidOf(MAC))).toEqual(MAC);
    expect(dhcp6.macInDuid(Uint8Array.of(0, 1, 0, 1, 1, 2, 3, 4, ...MAC))).toEqual(MAC);
    for (const duid of [
      [0, 3, 0, 6, ...MAC],
      [0, 2, 0, 1, ...MAC],
      [0, 3, 0, 1, ...MAC, 0],
      [0, 1, 0, 1, ...MAC],
      [0, 3, 0],
    ]) {
      expect(dhcp6.macInDuid(Uint8Array.from(duid))).toBeNull();
    }
  });

  it("never throws on any octets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
        for (const { value } of dhcp6.readOptions6(octets, 0) ?? []) {
          dhcp6.readAssociation(value);
          dhcp6.readIaAddress(value);
          dhcp6.macInDuid(value);
        }
      }),
    );
  });
});
