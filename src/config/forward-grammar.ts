/**
 * The grammars of QEMU's `hostfwd`, an inbound port, and `guestfwd`, a guest forward. That of `-p` is in
 * publish-grammar.ts.
 */

import type { Forward, GuestForward, Ipv6Words } from "../engine/config.ts";
import { LOOPBACK } from "../engine/config.ts";
import { parseInteger, parseIpv4, parsePort } from "./address.ts";
import { EVERY_IPV6, parseHostAddress6, parseIpv6 } from "./address6.ts";
import { Unacceptable } from "./problem.ts";

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
