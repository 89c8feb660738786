/**
 * The port specifications of passt(1): `[ADDRESS[%INTERFACE]/]PORTS`, PORTS being numbers and ranges behind commas, each with
 * where it goes in the guest behind a colon, or with `~` in front what is left out. `none` is nothing.
 */
import { isIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { Refusal } from "./words.ts";

/** Ports of one protocol as rules of `--publish` without their protocol, such as `0.0.0.0:8000-8010:80-90`. */
export interface ForwardWords {
  readonly rules: string[];
}

interface Range {
  readonly first: number;
  readonly last: number;
  /** The first port in the guest. */
  readonly to: number;
}

const PORT_MAX = 65_535;
/** Every address of the host, of both families. */
export const EVERYWHERE = "*";

function readPort(spec: string, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > PORT_MAX) throw new Refusal(`invalid port specifier ${spec}`);
  return port;
}

/** `A` or `A-B`. */
function readSpan(spec: string, text: string): { first: number; last: number } {
  const [start = "", end, ...more] = text.split("-");
  const first = readPort(spec, start);
  const last = end === undefined ? first : readPort(spec, end);
  if (more.length > 0 || last < first) throw new Refusal(`invalid port specifier ${spec}`);
  return { first, last };
}

/** `SPAN` or `SPAN:SPAN`, both of a length. */
function readRange(spec: string, text: string): Range {
  const [host = "", guest, ...more] = text.split(":");
  const { first, last } = readSpan(spec, host);
  const to = guest === undefined ? { first, last } : readSpan(spec, guest);
  if (more.length > 0 || to.last - to.first !== last - first)
    throw new Refusal(`invalid port specifier ${spec}`);
  return { first, last, to: to.first };
}

/** What is left of `range` without the ports of `hole`. */
function without(range: Range, hole: { first: number; last: number }): Range[] {
  const parts: Range[] = [
    { ...range, last: Math.min(range.last, hole.first - 1) },
    {
      first: Math.max(range.first, hole.last + 1),
      last: range.last,
      to: range.to + Math.max(0, hole.last + 1 - range.first),
    },
  ];
  return parts.filter(({ first, last }) => first <= last);
}

/** The address in front of the ports as `--publish` writes it; all of both families where there is none. */
function readHost(spec: string, text: string | undefined): string {
  if (text === undefined || text === "") return EVERYWHERE;
  const [address = "", device] = text.split("%", 2);
  if (device !== undefined) throw new Refusal(`"${spec}" is not offered: ports of one interface`);
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (readIpv6(bare) !== null) return `[${bare}]`;
  if (!isIpv4(address)) throw new Refusal(`invalid port specifier ${spec}`);
  return address;
}

/** Adds what one `-t` or `-u` says. Throws a Refusal. */
export function notePorts(words: ForwardWords, spec: string): void {
  if (spec === "none") return;
  const slash = spec.indexOf("/");
  const host = readHost(spec, slash < 0 ? undefined : spec.slice(0, slash));
  const parts = spec.slice(slash + 1).split(",");
  if (parts.includes("all") || parts.includes("auto") || parts.every((part) => part.startsWith("~"))) {
    throw new Refusal(`"${spec}" is not offered: ports by number`);
  }
  const holes = parts.filter((part) => part.startsWith("~")).map((part) => readSpan(spec, part.slice(1)));
  let ranges = parts.filter((part) => !part.startsWith("~")).map((part) => readRange(spec, part));
  for (const hole of holes) ranges = ranges.flatMap((range) => without(range, hole));
  for (const { first, last, to } of ranges) {
    words.rules.push(`${host}:${first}-${last}:${to}-${to + last - first}`);
  }
}
