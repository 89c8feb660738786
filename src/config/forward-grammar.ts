/**
 * The grammars of inbound ports (`--publish`, QEMU's `hostfwd`) and of guest forwards (QEMU's `guestfwd`).
 */

import type { Forward, GuestForward, Ipv6Words } from "../engine/config.ts";
import { LOOPBACK } from "../engine/config.ts";
import { parseInteger, parseIpv4, parsePort } from "./address.ts";
import { parseHostAddress6, parseIpv6 } from "./address6.ts";
import { Unacceptable } from "./problem.ts";

const PUBLISH_ALLOWED =
  "[tcp:|udp:][ADDRESS:]PORT[:GUESTPORT], each port a number or a range A-B, such as 2222:22, udp:127.0.0.1:5353:53 or [::1]:8080:80";

interface PortRange {
  readonly first: number;
  readonly count: number;
}

/** What a forward binds, and where its clients go. */
type Sides = Omit<Forward, "protocol" | "hostPort" | "guestPort">;

/** All of the host's IPv6 addresses. */
const EVERY_IPV6 = [0, 0, 0, 0] as const;

/**
 * `-p`: `80`, `2222:22`, `udp:127.0.0.1:5353:53`, `8000-8010:8000` and `8000-8010:9000-9010` (eleven ports to
 * eleven). `/tcp` or `/udp` at the end is understood too. Binds 127.0.0.1 unless an address is given: 0.0.0.0 for all of
 * IPv4, `[::]` for all of IPv6, `*` for both, which is two forwards a port. Host port 0 takes any free port.
 */
export function parsePublish(text: string): Forward[] {
  const { protocol, rest } = splitProtocol(text);
  const parts = /^(?:(\[.*\]|\*|\d+\.[\d.]+):)?([^:]+)(?::([^:]+))?$/.exec(rest);
  if (!parts) throw new Unacceptable(PUBLISH_ALLOWED);
  const [, address, hostPorts = "", guestPorts] = parts;
  const sides = publishSides(address);
  const host = parseRange(hostPorts, 0);
  if (host.first === 0 && (host.count > 1 || guestPorts === undefined)) {
    throw new Unacceptable("host port 0 (any free port) only alone and with a guest port, such as 0:22");
  }
  const guest = guestPorts === undefined ? host : guestRange(guestPorts, host.count);
  return Array.from({ length: host.count }, (_, i) =>
    sides.map((side) => ({ protocol, ...side, hostPort: host.first + i, guestPort: guest.first + i })),
  ).flat();
}

function publishSides(address = "127.0.0.1"): Sides[] {
  if (address === "*") {
    return [
      { hostAddress: 0, guestAddress: 0 },
      { ...publishSide6(EVERY_IPV6), sharesPort: true },
    ];
  }
  if (address.startsWith("[")) return [publishSide6(parseHostAddress6(address.slice(1, -1)))];
  return [{ hostAddress: parseIpv4(address), guestAddress: 0 }];
}

/** Clients over IPv6 are sent to the guest over IPv6, which shows it their addresses, where it has that. */
function publishSide6(hostAddress6: Ipv6Words): Sides {
  return { hostAddress: 0, hostAddress6, guestAddress: 0, guestAddress6: null, eitherFamily: true };
}

function splitProtocol(text: string): { protocol: "tcp" | "udp"; rest: string } {
  const prefix = /^(tcp|udp):/.exec(text);
  const suffix = /\/(tcp|udp)$/.exec(text);
  if (prefix && suffix) throw new Unacceptable("the protocol once, in front (udp:53) or behind (53/udp)");
  const protocol = (prefix?.[1] ?? suffix?.[1] ?? "tcp") as "tcp" | "udp";
  const rest = text.slice(prefix?.[0].length ?? 0, suffix ? suffix.index : undefined);
  return { protocol, rest };
}

function parseRange(text: string, min: number): PortRange {
  const [start = "", end, ...tooMany] = text.split("-");
  if (tooMany.length > 0) throw new Unacceptable(PUBLISH_ALLOWED);
  const first = parsePort(start, min);
  const last = end === undefined ? first : parsePort(end, min);
  if (last < first) throw new Unacceptable("a range whose end is not below its start", text);
  return { first, count: last - first + 1 };
}

/** The guest's side: a first port, or a range as long as the host's. */
function guestRange(text: string, count: number): PortRange {
  const guest = parseRange(text, 1);
  if (text.includes("-") && guest.count !== count) {
    throw new Unacceptable(
      `as many guest ports as host ports (${count}; this range has ${guest.count})`,
      text,
    );
  }
  if (guest.first + count - 1 > 65535) throw new Unacceptable("guest ports up to 65535", text);
  return { first: guest.first, count };
}

/**
 * QEMU's `hostfwd` rule, meaning what it means there (net/slirp.c): `[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT`.
 * An empty protocol is TCP, an empty host address all of IPv4, an empty guest address the guest's own there. IPv6 is
 * `[ADDRESS]` on either side, whatever the other is; `[]` all of the host's addresses, or the one the guest is seen to
 * keep. Numbers may be decimal, 0x hexadecimal or 0 octal.
 */
export function parseHostfwd(text: string): Forward {
  const allowed =
    "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, such as tcp:127.0.0.1:2222-:22 or tcp:[::1]:2222-[]:22";
  if (text.startsWith("unix:")) throw new Unacceptable(`${allowed}; host Unix sockets are not supported`);
  const match = /^(tcp|udp|):(\[[^\]]*\]|[^:]*):([^:-]+)-(\[[^\]]*\]|[^:]*):([^:]+)$/.exec(text);
  if (!match) throw new Unacceptable(allowed);
  const [, protocol, hostAddress = "", hostPort = "", guestAddress = "", guestPort = ""] = match;
  return {
    protocol: protocol === "udp" ? "udp" : "tcp",
    ...parseHostfwdHost(hostAddress),
    hostPort: parseCInteger(hostPort, 0),
    ...parseHostfwdGuest(guestAddress),
    guestPort: parseCInteger(guestPort, 1),
  };
}

function parseHostfwdHost(text: string): Pick<Forward, "hostAddress" | "hostAddress6"> {
  if (text === "") return { hostAddress: 0 };
  if (!text.startsWith("[")) return { hostAddress: parseIpv4(text) };
  return { hostAddress: 0, hostAddress6: text === "[]" ? EVERY_IPV6 : parseHostAddress6(text.slice(1, -1)) };
}

function parseHostfwdGuest(text: string): Pick<Forward, "guestAddress" | "guestAddress6"> {
  if (text === "") return { guestAddress: 0 };
  if (!text.startsWith("[")) return { guestAddress: parseIpv4(text) };
  return { guestAddress: 0, guestAddress6: text === "[]" ? null : parseIpv6(text.slice(1, -1)) };
}

/** A port as strtol(3) with base 0 reads it. */
function parseCInteger(text: string, min: number): number {
  if (/^0x[0-9a-f]{1,4}$/i.test(text)) return parsePort(String(Number.parseInt(text, 16)), min);
  if (/^0[0-7]+$/.test(text)) return parsePort(String(Number.parseInt(text, 8)), min);
  return parsePort(text, min);
}

/**
 * QEMU's `guestfwd` rule: `[tcp]:ADDR:PORT-tcp:HOST:PORT`, `-unix:PATH` or `-cmd:COMMAND`. ADDR and HOST are IPv4
 * addresses, or IPv6 ones in brackets; HOST may be `localhost`, which is 127.0.0.1. The command runs once per connection
 * with the connection as its standard input and output.
 */
export function parseGuestfwd(text: string): GuestForward {
  const allowed =
    "[tcp]:ADDR:PORT-TARGET where TARGET is tcp:HOST:PORT, unix:PATH or cmd:COMMAND, such as tcp:10.0.2.100:7-tcp:127.0.0.1:7777";
  const match = /^(?:tcp)?:(\[[^\]]*\]|[^:]*):([^:-]+)-(.*)$/s.exec(text);
  if (!match) throw new Unacceptable(allowed);
  const [, address = "", port = "", target = ""] = match;
  return {
    ...(address.startsWith("[")
      ? { address: 0, address6: parseIpv6(address.slice(1, -1)) }
      : { address: parseIpv4(address) }),
    port: parseCInteger(port, 1),
    target: guestfwdTarget(target, allowed),
  };
}

function guestfwdTarget(text: string, allowed: string): GuestForward["target"] {
  const at = text.indexOf(":");
  const rest = text.slice(at + 1);
  switch (text.slice(0, Math.max(at, 0))) {
    case "tcp": {
      const colon = rest.lastIndexOf(":");
      return {
        kind: "tcp",
        ...guestfwdHost(rest.slice(0, Math.max(colon, 0))),
        port: parseInteger(rest.slice(colon + 1), 1, 65535, "port"),
      };
    }
    case "unix":
      return { kind: "unix", path: parseSocketPath(rest) };
    case "cmd":
      if (rest.trim() === "") throw new Unacceptable("a command after cmd:", text);
      return { kind: "command", command: rest };
    default:
      throw new Unacceptable(allowed, text);
  }
}

function guestfwdHost(text: string): { host: number; host6?: Ipv6Words } {
  const [, inBrackets] = /^\[(.*)\]$/.exec(text) ?? [];
  if (inBrackets !== undefined) return { host: 0, host6: parseHostAddress6(inBrackets) };
  return { host: text === "localhost" ? LOOPBACK : parseIpv4(text) };
}

const SOCKET_PATH_OCTETS_MAX = 107;

/** A path that fits `sockaddr_un` (unix(7): 108 octets with the final NUL). */
export function parseSocketPath(text: string): string {
  const octets = new TextEncoder().encode(text).length;
  if (octets === 0 || octets > SOCKET_PATH_OCTETS_MAX || text.includes("\0")) {
    throw new Unacceptable(`a socket path of 1 to ${SOCKET_PATH_OCTETS_MAX} octets`, text);
  }
  return text;
}
