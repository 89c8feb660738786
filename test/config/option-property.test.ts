/** Options as properties of the library. */
import { expect, it } from "vitest";
import { isCommandOnly, propertyOf } from "../../src/config/option-property.ts";
import { OPTION_NAMES } from "../../src/config/option-table.ts";

it.each([
  ["mtu", "mtu"],
  ["no-dhcp-dns", "noDhcpDns"],
  ["guest-addr6", "guestAddr6"],
  ["gateway6", "gateway6"],
  ["publish", "ports"],
  ["dhcp-option", "dhcpOptions"],
  ["dhcp6-option", "dhcp6Options"],
  ["reserve", "reservations"],
  ["resolver", "resolvers"],
  ["host-alias", "hostAliases"],
  ["dns-host-name", "dnsHostNames"],
  ["search", "search"],
] as const)("--%s is %s", (name, property) => {
  expect(propertyOf(name)).toBe(property);
});

it("no two options are one property", () => {
  const properties = OPTION_NAMES.map(propertyOf);
  expect(new Set(properties).size).toBe(properties.length);
  for (const property of properties) expect(property).toMatch(/^[a-z][A-Za-z0-9]*$/);
});

it("options about the command's own processes, its log and its policy are none of the library's", () => {
  expect(OPTION_NAMES.filter(isCommandOnly).sort()).toEqual(
    [
      ...["model", "allow", "deny", "ask", "policy", "policy-default", "audit", "decide", "via"],
      ...["ready-fd", "exit-fd", "pid-file", "background", "outlive-parent", "user", "no-sandbox"],
      ...["name", "control", "flow-log", "flow-log-level", "log-level", "log-format", "log-file"],
    ].sort(),
  );
});
