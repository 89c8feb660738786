/** The grammar of `-p`: ports of the host, one, ranges or sets of them, by address and interface. */
import type { Forward, Ipv6Words } from "../engine/config.ts";
import { parseIpv4, parsePort } from "./address.ts";
import { EVERY_IPV6, parseBoundAddress6 } from "./address6.ts";
import { parseDeviceName } from "./link-grammar.ts";
import { Unacceptable } from "./problem.ts";

const PUBLISH_ALLOWED =
  "[tcp:|udp:][ADDRESS:]PORT[:GUESTPORT], each port a number or a range A-B, such as 2222:22, udp:127.0.0.1:5353:53 or [::1]:8080:80";
const PORT_LEAST = 1;
const PORT_MOST = 65_535;

/** Ports in a row, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What a forward binds, and where its clients go. */
type Sides = Omit<Forward, "protocol" | "hostPort" | "guestPort">;

/**
 * `-p`: `80`, `2222:22`, `udp:127.0.0.1:5353:53`, `8000-8010:8000` and `8000-8010:9000-9010` (eleven ports to
 * eleven). `/tcp` or `/udp` at the end is understood too. Binds 127.0.0.1 unless an address is given: 0.0.0.0 for all of
 * IPv4, `[::]` for all of IPv6, `*` for both, which is two forwards; `%INTERFACE` behind it (inside the brackets of IPv6)
 * is the one that clients come by. Host port 0 takes any free port.
 *
 * A set, behind commas, leads to the same ports of the guest: `80,443,8000-8010`; `~22` is left out; `all`, which may be
 * left away before `~`, has every port that this host has no other use for; with `auto` (`auto`, `8000-8010,auto`) each is
 * there while somebody in the guest's namespace listens on it.
 */
export function parsePublish(text: string): Forward[] {
  const { protocol, rest } = splitProtocol(text);
  const parts = /^(?:(\[.*\]|(?:\*|\d+\.[\d.]+)(?:%[^:]*)?):)?([^:]+)(?::([^:]+))?$/.exec(rest);
  if (!parts) throw new Unacceptable(PUBLISH_ALLOWED);
  const [, address, hostPorts = "", guestPorts] = parts;
  const sides = publishSides(address);
  const isSet = /[,~]|^all$|^auto$/.test(hostPorts);
  if (isSet && guestPorts !== undefined) {
    throw new Unacceptable("a set of ports without guest ports: they are the same", text);
  }
  const ports = isSet ? parsePortSet(hostPorts) : [onePublished(hostPorts, guestPorts)];
  return ports.flatMap((range) => sides.map((side) => ({ protocol, ...side, ...range })));
}

type Published = Pick<Forward, "hostPort" | "guestPort" | "ports" | "optional" | "whileListening">;

const inARow = (ports: number): { ports?: number } => (ports === 1 ? {} : { ports });

/** `PORT[:GUESTPORT]`, each a number or a range. */
function onePublished(hostPorts: string, guestPorts: string | undefined): Published {
  const host = parseRange(hostPorts, 0);
  const count = host.last - host.first + 1;
  if (host.first === 0 && (count > 1 || guestPorts === undefined)) {
    throw new Unacceptable("host port 0 (any free port) only alone and with a guest port, such as 0:22");
  }
  const guestPort = guestPorts === undefined ? host.first : firstGuestPort(guestPorts, count);
  return { hostPort: host.first, guestPort, ...inARow(count) };
}

/** Entries behind commas. Throws Unacceptable. */
function parsePortSet(text: string): Published[] {
  const entries = text.split(",");
  const kept = entries.filter((entry) => entry !== "all" && entry !== "auto" && !entry.startsWith("~"));
  const isAuto = entries.includes("auto");
  const isAll = entries.includes("all") || kept.length === 0;
  const holes = entries.filter((entry) => entry.startsWith("~")).map((entry) => parseRange(entry.slice(1)));
  const ranges = joined(kept.map((entry) => parseRange(entry)));
  const left = without(isAll ? [{ first: PORT_LEAST, last: PORT_MOST }] : ranges, holes);
  if (left.length === 0) throw new Unacceptable("a set with at least one port", text);
  return left.map(({ first, last }) => ({
    hostPort: first,
    guestPort: first,
    ...inARow(last - first + 1),
    ...(isAll || isAuto ? { optional: true } : {}),
    ...(isAuto ? { whileListening: true } : {}),
  }));
}

/** Ranges in order, those that touch or overlap made one. */
function joined(ranges: readonly PortRange[]): PortRange[] {
  const result: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = result.at(-1);
    if (before === undefined || range.first > before.last + 1) result.push(range);
    else result[result.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return result;
}

/** What is left of `ranges` without the ports of `holes`. */
export function without(ranges: readonly PortRange[], holes: readonly PortRange[]): PortRange[] {
  let left = [...ranges];
  for (const hole of holes) {
    left = left
      .flatMap(({ first, last }) => [
        { first, last: Math.min(last, hole.first - 1) },
        { first: Math.max(first, hole.last + 1), last },
      ])
      .filter(({ first, last }) => first <= last);
  }
  return left;
}

/** The ports of `1-65535` that are in none of `ranges`. */
export function leftOut(ranges: readonly PortRange[]): PortRange[] {
  return without([{ first: PORT_LEAST, last: PORT_MOST }], ranges);
}

function publishSides(text = "127.0.0.1"): Sides[] {
  if (text.startsWith("[")) {
    const [address = "", device] = text.slice(1, -1).split("%", 2);
    return [publishSide6(parseBoundAddress6(address, device !== undefined), deviceOf(device))];
  }
  const [address = "", device] = text.split("%", 2);
  const onDevice = deviceOf(device);
  if (address === "*") {
    return [
      { hostAddress: 0, guestAddress: 0, ...onDevice },
      { ...publishSide6(EVERY_IPV6, onDevice), sharesPort: true },
    ];
  }
  return [{ hostAddress: parseIpv4(address), guestAddress: 0, ...onDevice }];
}

function deviceOf(name: string | undefined): Pick<Forward, "hostDevice"> {
  return name === undefined ? {} : { hostDevice: parseDeviceName(name) };
}

/** Clients over IPv6 are sent to the guest over IPv6, which shows it their addresses, where it has that. */
function publishSide6(hostAddress6: Ipv6Words, onDevice: Pick<Forward, "hostDevice">): Sides {
  return {
    hostAddress: 0,
    hostAddress6,
    guestAddress: 0,
    guestAddress6: null,
    eitherFamily: true,
    ...onDevice,
  };
}

function splitProtocol(text: string): { protocol: "tcp" | "udp"; rest: string } {
  const prefix = /^(tcp|udp):/.exec(text);
  const suffix = /\/(tcp|udp)$/.exec(text);
  if (prefix && suffix) throw new Unacceptable("the protocol once, in front (udp:53) or behind (53/udp)");
  const protocol = (prefix?.[1] ?? suffix?.[1] ?? "tcp") as "tcp" | "udp";
  const rest = text.slice(prefix?.[0].length ?? 0, suffix ? suffix.index : undefined);
  return { protocol, rest };
}

function parseRange(text: string, min = PORT_LEAST): PortRange {
  const [start = "", end, ...tooMany] = text.split("-");
  if (tooMany.length > 0) throw new Unacceptable(PUBLISH_ALLOWED);
  const first = parsePort(start, min);
  const last = end === undefined ? first : parsePort(end, min);
  if (last < first) throw new Unacceptable("a range whose end is not below its start", text);
  return { first, last };
}

/** The guest's side: a first port, or a range as long as the host's. */
function firstGuestPort(text: string, count: number): number {
  const { first, last } = parseRange(text);
  const guests = last - first + 1;
  if (text.includes("-") && guests !== count) {
    throw new Unacceptable(`as many guest ports as host ports (${count}; this range has ${guests})`, text);
  }
  if (first + count - 1 > PORT_MOST) throw new Unacceptable("guest ports up to 65535", text);
  return first;
}
