/** `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS6]:PORT` or `NAME[:PORT]`: whose flows are meant. */
import { isIPv4, isIPv6 } from "node:net";
import { parsePort } from "../config/address.ts";
import { parseIpv6 } from "../config/address6.ts";
import { Unacceptable } from "../config/problem.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import type { Memories, Target } from "./instance.ts";
import type { Endpoint } from "./records.ts";

const ALLOWED = "ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT, NAME or NAME:PORT";
const NAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i;

/** Throws Unacceptable. */
export function parseTarget(text: string): Target {
  if (isIPv6(text)) return { host: canonical6(text), isName: false, port: null };
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed) {
    const [, address = "", port] = bracketed;
    if (!isIPv6(address)) throw new Unacceptable(ALLOWED, text);
    return { host: canonical6(address), isName: false, port: port === undefined ? null : parsePort(port, 1) };
  }
  const [host = "", port, ...more] = text.split(":");
  const isAddress = isIPv4(host);
  if (more.length > 0 || port === "" || (!isAddress && !NAME.test(host)))
    throw new Unacceptable(ALLOWED, text);
  return {
    host: isAddress ? host : host.toLowerCase().replace(/\.$/, ""),
    isName: !isAddress,
    port: port === undefined ? null : parsePort(port, 1),
  };
}

/** An address of either family, as records have it. Throws Unacceptable. */
export function parseAddress(text: string): string {
  if (isIPv4(text)) return text;
  if (isIPv6(text)) return canonical6(text);
  throw new Unacceptable("an IPv4 or IPv6 address", text);
}

function canonical6(text: string): string {
  return formatIpv6(parseIpv6(text));
}

/** The ends of a flow. */
interface Ends {
  readonly guest: Endpoint;
  readonly remote: Endpoint;
  readonly target: Endpoint;
}

/** Whether a flow has to do with the target: on the far side by what the guest or the host sees, or on the guest's. */
export function concerns({ host, isName, port }: Target, ends: Ends, memories: Memories): boolean {
  const fits = (end: Endpoint): boolean =>
    (port === null || end.port === port) &&
    (isName ? memories.namesOf(end.address).some(({ name }) => name === host) : end.address === host);
  return fits(ends.remote) || fits(ends.target) || (!isName && fits(ends.guest));
}

/** A number that the API numbers things by; undefined for anything else. */
export function readId(text: string): number | undefined {
  return /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;
}
