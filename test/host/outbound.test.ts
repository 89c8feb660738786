/** The address of an interface that outbound sockets are bound to. */
import { expect, it } from "vitest";
import { interfaceAddress6 } from "../../src/host/outbound.ts";
import { ip6 } from "../support/frames6.ts";

/** As /proc/net/if_inet6 has it: address, interface, prefix length, scope, flags, name. */
const row = (address: string, scope: string, flags: string, name = "eth0"): string =>
  `${address.padEnd(32, "0")} 02 40 ${scope} ${flags}     ${name}`;
const PERMANENT = "80";
const TEMPORARY = "01";

it("is one of the Internet before a ULA, one that stays before one that does not", () => {
  const link = row("fe80000000000000", "20", PERMANENT);
  const ula = row("fd00000000000001", "00", PERMANENT);
  const temporary = row("20010db80000aaaa", "00", TEMPORARY);
  const stable = row("20010db80000bbbb", "00", PERMANENT);
  const found = (...rows: string[]) => interfaceAddress6(`${rows.join("\n")}\n`, "eth0");
  expect(found(link, temporary, ula, stable)).toEqual(ip6("2001:db8:0:bbbb::"));
  expect(found(ula, temporary)).toEqual(ip6("2001:db8:0:aaaa::"));
  expect(found(link, ula)).toEqual(ip6("fd00:0:0:1::"));
  expect(found(link, temporary)).toEqual(ip6("2001:db8:0:aaaa::"));
  expect(found(link)).toBeNull();
  expect(interfaceAddress6("", "eth0")).toBeNull();
});

it("is of that interface, and usable", () => {
  // Deprecated, tentative, found to be somebody else's; and another device's.
  const unusable = ["a0", "c0", "c8"].map((flags) => row("20010db800000001", "00", flags));
  const table = [...unusable, row("20010db800000002", "00", PERMANENT, "eth1")].join("\n");
  expect(interfaceAddress6(table, "eth0")).toBeNull();
  expect(interfaceAddress6(table, "eth1")).toEqual(ip6("2001:db8:0:2::"));
});
