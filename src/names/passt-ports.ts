/**
 * The port specifications of passt(1): `[ADDRESS[%INTERFACE]/]PORTS`, PORTS being numbers and ranges behind commas, each with
 * where it goes in the guest behind a colon; with `~` in front what is left out; `all`, `auto`. `none` is nothing.
 */
import { isIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { type PortRange, without } from "../config/publish-grammar.ts";
import { Refusal } from "./words.ts";

/** A rule as `sluice run` takes it, but for its protocol. */
export interface PortRule {
  readonly option: "publish" | "hostfwd";
  /** As it stands before the ports, such as `[::1%eth0]`; EVERYWHERE where none is named. */
  readonly host: string;
  /** What follows the host and a colon. */
  readonly rest: string;
}

/** Ports of one protocol. */
export interface ForwardWords {
  readonly rules: PortRule[];
  /** Somebody has said something, `none` included. */
  isSaid: boolean;
}

interface Mapping extends PortRange {
  /** The first port in the guest; undefined: the same. */
  readonly to?: number;
  /** An address of the guest's network. */
  readonly guest?: string;
}

const PORT_MAX = 65_535;
/** Every address of the host, of both families. */
export const EVERYWHERE = "*";

const invalid = (spec: string): Refusal => new Refusal(`invalid port specifier ${spec}`);

function readPort(spec: string, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > PORT_MAX) throw invalid(spec);
  return port;
}

/** `A` or `A-B`. */
function readSpan(spec: string, text: string): PortRange {
  const [start = "", end, ...more] = text.split("-");
  const first = readPort(spec, start);
  const last = end === undefined ? first : readPort(spec, end);
  if (more.length > 0 || last < first) throw invalid(spec);
  return { first, last };
}

/** `SPAN`, `SPAN:SPAN` of the same length, `SPAN:GUEST`, `SPAN:GUEST/SPAN`. */
function readMapping(spec: string, text: string): Mapping {
  const colon = text.indexOf(":");
  if (colon < 0) return readSpan(spec, text);
  const host = readSpan(spec, text.slice(0, colon));
  const target = text.slice(colon + 1);
  const slash = target.indexOf("/");
  const guest = slash >= 0 ? target.slice(0, slash) : isAddress(target) ? target : undefined;
  if (guest !== undefined && !isAddress(guest)) throw invalid(spec);
  const ports = slash >= 0 ? target.slice(slash + 1) : guest === undefined ? target : undefined;
  const to = ports === undefined ? host : readSpan(spec, ports);
  if (to.last - to.first !== host.last - host.first) throw invalid(spec);
  return { ...host, to: to.first, ...(guest === undefined ? {} : { guest }) };
}

function isAddress(text: string): boolean {
  return isIpv4(text) || readIpv6(bare(text)) !== null;
}

const bare = (text: string): string => text.replace(/^\[(.*)\]$/, "$1");

/** What stands in front of the ports as `--publish` writes it; all of both families where there is no address. */
function readHost(spec: string, text: string | undefined): string {
  if (text === undefined || text === "") return EVERYWHERE;
  const [address = "", device, ...more] = bare(text).split("%");
  if (more.length > 0 || device === "") throw invalid(spec);
  const onDevice = device === undefined ? "" : `%${device}`;
  if (address === "") return `${EVERYWHERE}${onDevice}`;
  const inner = bare(address);
  if (readIpv6(inner) !== null) return `[${inner}${onDevice}]`;
  if (!isIpv4(address)) throw invalid(spec);
  return `${address}${onDevice}`;
}

/** Adds what one `-t` or `-u` says. Throws a Refusal. */
export function notePorts(words: ForwardWords, spec: string): void {
  words.isSaid = true;
  if (spec === "none") return;
  const slash = spec.indexOf("/");
  // A slash may also be that of an address of the guest's.
  const hasHost = slash >= 0 && isHost(spec.slice(0, slash));
  const host = readHost(spec, hasHost ? spec.slice(0, slash) : undefined);
  const parts = (hasHost ? spec.slice(slash + 1) : spec).split(",");
  words.rules.push(...readPorts(spec, host, parts));
}

function isHost(text: string): boolean {
  const [address = ""] = bare(text).split("%", 1);
  return address === "" || isAddress(address);
}

function readPorts(spec: string, host: string, parts: readonly string[]): PortRule[] {
  const holes = parts.filter((part) => part.startsWith("~")).map((part) => readSpan(spec, part.slice(1)));
  const kept = parts.filter((part) => !part.startsWith("~") && !/^(all|auto)$/.test(part));
  if (kept.some((part) => part.startsWith("all:"))) {
    throw new Refusal(`"${spec}" is not offered: ports of another address by number`);
  }
  const mappings = kept.map((part) => readMapping(spec, part));
  const isAuto = parts.includes("auto");
  if (mappings.length > 0 && !isAuto && !parts.includes("all")) {
    return mappings.flatMap((mapping) => rulesOf(spec, host, mapping, holes));
  }
  if (mappings.some(({ first, to = first, guest }) => to !== first || guest !== undefined)) {
    throw new Refusal(`"${spec}" is not offered: ports that come and go are the same in the guest`);
  }
  const set = [
    ...(parts.includes("all") ? ["all"] : mappings.map(spanText)),
    ...(isAuto ? ["auto"] : []),
    ...holes.map((hole) => `~${spanText(hole)}`),
  ];
  return [{ option: "publish", host, rest: set.join(",") }];
}

const spanText = ({ first, last }: PortRange): string => (first === last ? `${first}` : `${first}-${last}`);

/** A mapping without the ports of `holes`. */
function rulesOf(spec: string, host: string, mapping: Mapping, holes: readonly PortRange[]): PortRule[] {
  const { first: start, to = start, guest } = mapping;
  const left = without([mapping], holes);
  if (guest === undefined) {
    return left.map((range) => {
      const inGuest = { first: to + range.first - start, last: to + range.last - start };
      return { option: "publish", host, rest: `${spanText(range)}:${spanText(inGuest)}` };
    });
  }
  if (host.includes("%")) throw new Refusal(`"${spec}" is not offered: an interface and another address`);
  const address = readIpv6(bare(guest)) === null ? guest : `[${bare(guest)}]`;
  return left.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, i) => ({
      option: "hostfwd" as const,
      host,
      rest: `${first + i}-${address}:${to + first + i - start}`,
    })),
  );
}

/**
 * The option of `sluice run` for a rule, and its text. Ports of every address are those of IPv4 alone where the host or the
 * guest has nothing else; hostfwd has no word for both families, so that there they are IPv4's too.
 */
export function ruleArguments(
  protocol: "tcp" | "udp",
  { option, host, rest }: PortRule,
  everywhere: string,
): [option: string, rule: string] {
  const every = option === "hostfwd" ? "0.0.0.0" : everywhere;
  const bound = host.startsWith(EVERYWHERE) ? `${every}${host.slice(EVERYWHERE.length)}` : host;
  return [`--${option}`, `${protocol}:${bound}:${rest}`];
}

/** Whether the host's kernel has IPv6. */
export function hasIpv6(exists: (path: string) => boolean): boolean {
  return exists("/proc/net/if_inet6");
}

/** Ports that the namespace would reach on the host's loopback: none, ever. Throws a Refusal. */
export function refuseUnlessNone(form: string, spec: string): void {
  if (spec === "none") return;
  throw new Refusal(
    `${form} ${spec} is not offered: none; what listens on the host's loopback is reached by pasta's --map-host-loopback`,
  );
}

/** Whether some of it comes and goes with who listens in the namespace. */
export function isAuto({ rules }: ForwardWords): boolean {
  return rules.some(({ rest }) => rest.split(",").includes("auto"));
}
