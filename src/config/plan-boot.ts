/** Where a guest without a disk boots from: what DHCP tells of it, and what DHCPv6. */
import type { Ipv6Config } from "../engine/config.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import type { Ipv6 } from "./address6.ts";
import type { OptionSet } from "./option-set.ts";

/** The boot server that DHCP names, or 0. */
export function nextServer4(options: OptionSet, gateway: number): number {
  const given = options.all("next-server").map(({ value }) => value);
  return given.find((value) => typeof value === "number") ?? (options.has("tftp") ? gateway : 0);
}

/** The boot server of an IPv6 guest that is given, or undefined. */
export function nextServer6(options: OptionSet): Ipv6 | undefined {
  return options
    .all("next-server")
    .map(({ value }) => value)
    .find((value) => typeof value !== "number");
}

/**
 * What DHCPv6 tells to load (option 59, RFC 5970 section 3.1): a boot file that is a URL as it is, else the file by TFTP
 * from the boot server; undefined where none is known. `gateway`: where --tftp serves.
 */
export function bootUrl6(options: OptionSet, gateway: Ipv6): string | undefined {
  const file = options.get("boot-file");
  if (file === undefined || isUrl(file)) return file;
  const server = nextServer6(options) ?? (options.has("tftp") ? gateway : undefined);
  if (server === undefined) return undefined;
  const path = file.replace(/^\/+/, "").replace(/\p{Surrogate}/gu, "\ufffd");
  return `tftp://[${formatIpv6(server)}]/${path.split("/").map(encodeURIComponent).join("/")}`;
}

function isUrl(file: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(file);
}

/** Complains about what is told to nobody. */
export function checkBoot(options: OptionSet, ipv6: Ipv6Config | null): void {
  const families = new Set<string>();
  const file = options.get("boot-file");
  const hasFile = file !== undefined && !isUrl(file);
  options.all("next-server").forEach(({ value }, i) => {
    const problem = typeof value === "number" ? problem4(options) : problem6(options, ipv6, hasFile);
    const isSecond = families.has(typeof value);
    families.add(typeof value);
    if (isSecond) options.reject("next-server", "one address of each family", i);
    else if (problem) options.reject("next-server", problem, i);
  });
  if (file === undefined || ipv6?.dhcp?.bootUrl !== undefined) return;
  if (options.value("ipv4") === "off") {
    const beside = `a URL, or a file beside --tftp or an IPv6 address in --next-server`;
    options.reject("boot-file", `${beside}, with ${options.place("ipv4")} off`);
  } else if (options.has("no-dhcp")) {
    options.reject("boot-file", `nothing beside ${options.place("no-dhcp")}`);
  }
}

function problem4(options: OptionSet): string | undefined {
  if (options.value("ipv4") === "off") return `an IPv6 address, with ${options.place("ipv4")} off`;
  return options.has("no-dhcp") ? `nothing beside ${options.place("no-dhcp")}` : undefined;
}

function problem6(options: OptionSet, ipv6: Ipv6Config | null, hasFile: boolean): string | undefined {
  if (ipv6 === null) return `an IPv4 address; IPv6 only with ${options.place("ipv6")} auto or on`;
  return hasFile ? undefined : "an IPv6 address only beside the name of a file in --boot-file";
}
