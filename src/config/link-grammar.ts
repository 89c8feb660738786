/** The grammars of the link options: endpoints, device names, namespaces, descriptors. */
import { Address6 } from "ip-address";
import { LOOPBACK } from "../engine/config.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { parseInteger, parseIpv4, parsePort } from "./address.ts";
import { parseSocketPath } from "./forward-grammar.ts";
import type { DatagramAddresses, StreamAddress } from "./host-plan.ts";
import { Unacceptable } from "./problem.ts";

/** `HOST:PORT` with an IPv4 address, `[IPV6]` or `localhost`. */
function parseHostPort(text: string): { host: string; port: number } {
  const [, name, portText = ""] = /^(localhost|[\d.]+|\[[^\]%]+\]):(\d+)$/.exec(text) ?? [];
  if (name === undefined)
    throw new Unacceptable("HOST:PORT, HOST an IPv4 address, [IPv6] or localhost", text);
  const port = parsePort(portText);
  if (name === "localhost") return { host: formatIpv4(LOOPBACK), port };
  if (!name.startsWith("[")) return { host: formatIpv4(parseIpv4(name)), port };
  const host = name.slice(1, -1);
  if (!Address6.isValid(host) || host.includes("/"))
    throw new Unacceptable("an IPv6 address in brackets", text);
  return { host, port };
}

/** `unix:PATH` or `tcp:HOST:PORT`. */
export function parseStreamAddress(text: string): StreamAddress {
  if (text.startsWith("unix:")) return { kind: "unix", path: parseSocketPath(text.slice(5)) };
  if (text.startsWith("tcp:")) return { kind: "tcp", ...parseHostPort(text.slice(4)) };
  throw new Unacceptable("unix:PATH or tcp:HOST:PORT", text);
}

/** `unix:PATH`: descriptors travel over no other socket. */
export function parseUnixAddress(text: string): string {
  if (text.startsWith("unix:")) return parseSocketPath(text.slice(5));
  throw new Unacceptable("unix:PATH", text);
}

/** `LOCAL,REMOTE`, both `unix:` or both `udp:`. */
export function parseDatagramAddresses(text: string): DatagramAddresses {
  const [, kind, local = "", remote = ""] = /^(unix|udp):(.*?),\1:(.*)$/s.exec(text) ?? [];
  if (kind === "unix") return { kind, local: parseSocketPath(local), remote: parseSocketPath(remote) };
  if (kind === "udp") return { kind, local: parseHostPort(local), remote: parseHostPort(remote) };
  throw new Unacceptable(
    "LOCAL,REMOTE, both unix:PATH or both udp:HOST:PORT, such as unix:/run/a.sock,unix:/run/b.sock",
  );
}

const DEVICE_NAME_OCTETS_MAX = 15;

/** A network device's name as Linux takes it (net/core/dev.c, dev_valid_name). */
export function parseDeviceName(text: string): string {
  const octets = new TextEncoder().encode(text).length;
  const legal =
    /^[^/:\s%\0]+$/.test(text) && text !== "." && text !== ".." && octets <= DEVICE_NAME_OCTETS_MAX;
  if (!legal)
    throw new Unacceptable(
      `a device name of 1 to ${DEVICE_NAME_OCTETS_MAX} octets without / : % or blanks`,
      text,
    );
  return text;
}

const PID_MAX = 4_194_304;

/** A namespace by path, or the one of a process by its PID. */
export function parseNamespace(text: string): { path: string } | { pid: number } {
  if (/^\d+$/.test(text)) return { pid: parseInteger(text, 1, PID_MAX, "PID") };
  return { path: parsePath(text) };
}

export function parsePath(text: string): string {
  if (text === "" || text.includes("\0")) throw new Unacceptable("a path", text);
  return text;
}

const DESCRIPTOR_MAX = 1_048_575;

/** An inherited descriptor; 0 to 2 are the terminal. */
export function parseDescriptor(text: string): number {
  return parseInteger(text, 3, DESCRIPTOR_MAX, "descriptor number");
}

/** `NAME` or `UID[:GID]`. */
export function parseUser(text: string): string {
  if (!/^[a-z_][a-z0-9_.-]{0,31}\$?$|^\d{1,10}(:\d{1,10})?$/i.test(text)) {
    throw new Unacceptable("a user name or UID[:GID]", text);
  }
  return text;
}
