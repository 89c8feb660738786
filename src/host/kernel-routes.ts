/** The host's routes, by the kernel's tables in /proc/net. */
import { readFileSync } from "node:fs";
import type { Ipv6Words } from "../engine/config.ts";

/** A route of IPv4. Addresses and the mask are in host byte order. */
export interface Route4 {
  readonly device: string;
  readonly destination: number;
  readonly mask: number;
  /** 0: on the link. */
  readonly gateway: number;
  readonly metric: number;
}

/** A default route of IPv6. */
export interface DefaultRoute6 {
  readonly device: string;
  /** All zeros: on the link. */
  readonly gateway: Ipv6Words;
  readonly metric: number;
}

/** RTF_UP (route.h). */
const UP = 1;

/** The routes in the text of /proc/net/route that are up. */
export function parseRoutes4(text: string): Route4[] {
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.split("\t"))
    .filter((fields) => fields.length > 7 && (Number.parseInt(fields[3] ?? "", 16) & UP) !== 0)
    .map(([device = "", destination = "", gateway = "", , , , metric, mask = ""]) => ({
      device,
      destination: fromProc(destination),
      mask: fromProc(mask),
      gateway: fromProc(gateway),
      metric: Number(metric),
    }));
}

/** Eight hexadecimal digits of a little-endian machine (all that Node runs on but s390x, which has none of ours). */
function fromProc(text: string): number {
  const value = Number.parseInt(text, 16);
  return (value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}

/** The default routes in the text of /proc/net/ipv6_route that are up, the best first; not lo's, which refuses. */
export function parseDefaultRoutes6(text: string): DefaultRoute6[] {
  return text
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([destination = "", length, , , , , , , flags = "", device]) => {
      const isUp = (Number.parseInt(flags, 16) & UP) !== 0;
      return /^0{32}$/.test(destination) && length === "00" && isUp && device !== "lo";
    })
    .map(([, , , , gateway = "", metric = "", , , , device = ""]) => ({
      device,
      gateway: wordsOf(gateway),
      metric: Number.parseInt(metric, 16),
    }))
    .sort((a, b) => a.metric - b.metric);
}

/** 32 hexadecimal digits in network byte order. */
function wordsOf(text: string): Ipv6Words {
  const word = (i: number): number => Number.parseInt(text.slice(i * 8, i * 8 + 8), 16) | 0;
  return [word(0), word(1), word(2), word(3)];
}

/** None where /proc does not tell. */
export function routes4(): Route4[] {
  return parseRoutes4(textOf("/proc/net/route"));
}

/** The IPv4 default routes among these, the best first. */
export function defaultRoutes(routes: readonly Route4[] = routes4()): Route4[] {
  return routes
    .filter(({ destination, mask }) => destination === 0 && mask === 0)
    .sort((a, b) => a.metric - b.metric);
}

/** The interface of the host's best default route, or undefined. */
export function defaultDevice(): string | undefined {
  return defaultRoutes()[0]?.device;
}

export function defaultRoutes6(): DefaultRoute6[] {
  return parseDefaultRoutes6(textOf("/proc/net/ipv6_route"));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
