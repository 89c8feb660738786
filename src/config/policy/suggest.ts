/**
 * Rules that would allow what was denied: one for each host, with the ports that were wanted, the narrowest first. Names of
 * one parent are put together from three on, unless anybody could have a name under it.
 */
import { stringify } from "yaml";
import type { PolicyConfig } from "../../engine/config.ts";
import { isHosting } from "./hosting-suffixes.ts";
import { policyText, rulesText } from "./text.ts";

/** A target that was denied. */
export interface Wanted {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  /** 0 for a question. */
  readonly port: number;
  readonly protocol: "tcp" | "udp" | "dns";
  /** As drops are counted. */
  readonly reason: string;
  /** The rule that denied it, or null. */
  readonly rule: string | null;
  readonly count: number;
  /** It is a name that led to a private address. */
  readonly isPrivate: boolean;
}

export interface Suggestion {
  readonly allow: readonly string[];
  readonly private: boolean;
  readonly count: number;
  /** What else there is to say about it. */
  readonly note?: string;
}

export interface Suggestions {
  readonly rules: readonly Suggestion[];
  /** What no rule is suggested for, each with why. */
  readonly others: readonly string[];
}

const WILDCARD_NAMES = 3;
/** `co.uk`, `com.au`: below such suffixes anybody can have a name. */
const SECOND_LEVEL = /^[a-z]{2,3}\.[a-z]{2}$/;

/** Why the policy cannot let these through whatever its rules. */
const NOT_BY_RULES: Readonly<Record<string, string>> = {
  "policy-ech": "ech: allow would let it through",
  "policy-peek-full": "too many connections waited to show a name",
  "policy-quic-version": "it was QUIC of a version whose names cannot be seen",
  "policy-resolver": "it was no question",
};

interface Host {
  readonly host: string;
  readonly ports: {
    readonly tcp: Set<number>;
    readonly udp: Set<number>;
    /** Of UDP, where a name was shown or QUIC is likely. */
    readonly quic: Set<number>;
  };
  isPrivate: boolean;
  showedNoName: boolean;
  count: number;
}

export function suggest(wanted: readonly Wanted[]): Suggestions {
  const others: string[] = [];
  const hosts = new Map<string, Host>();
  for (const each of wanted) {
    const why = notSuggested(each);
    if (why === undefined) add(hosts, each);
    else others.push(`${each.host}${each.port === 0 ? "" : `:${each.port}`}: ${why}`);
  }
  const [wide, narrow] = widened([...hosts.values()]);
  const rules = [...narrow.map(ruleOf), ...wide].sort(
    (a, b) => Number(isWide(a)) - Number(isWide(b)) || b.count - a.count,
  );
  return { rules, others };
}

function notSuggested({ reason, rule, host }: Wanted): string | undefined {
  if (host === "") return "it had no name that could be read";
  if (reason === "policy-denied") return rule === null ? "a rule denies it" : `rule ${rule} denies it`;
  if (!reason.startsWith("policy-")) return `no rule can allow it (${reason})`;
  return NOT_BY_RULES[reason];
}

function add(hosts: Map<string, Host>, { host, port, protocol, reason, count, isPrivate }: Wanted): void {
  const entry = hosts.get(host) ?? {
    host,
    ports: { tcp: new Set<number>(), udp: new Set<number>(), quic: new Set<number>() },
    isPrivate: false,
    showedNoName: false,
    count: 0,
  };
  hosts.set(host, entry);
  const isQuic = isName(host) && (port === 443 || reason === "policy-name-mismatch");
  if (protocol === "udp" && isQuic) entry.ports.quic.add(port);
  else if (protocol !== "dns") entry.ports[protocol].add(port);
  entry.isPrivate ||= isPrivate;
  entry.showedNoName ||= reason === "policy-name-missing" || reason === "policy-name-malformed";
  entry.count += count;
}

function isName(host: string): boolean {
  return !host.includes(":") && !/^[\d.]+$/.test(host);
}

function isWide({ allow }: Suggestion): boolean {
  return allow.some((target) => target.startsWith("*"));
}

/** Its targets: one for each protocol. Without any port it was only asked for. */
function targetsOf(host: string, { tcp, udp, quic }: Host["ports"]): string[] {
  const text = host.includes(":") ? `[${host}]` : host;
  const list = (ports: Set<number>): string => [...ports].sort((a, b) => a - b).join(",");
  if (tcp.size + udp.size + quic.size === 0) return [text];
  const isHttps = isName(host) && list(tcp) === "443";
  return [
    ...(tcp.size === 0 ? [] : [isHttps ? text : `${text}:${list(tcp)}`]),
    ...(udp.size === 0 ? [] : [`${text}:${list(udp)}/udp`]),
    ...(quic.size === 0 ? [] : [`${text}:${list(quic)}/quic`]),
  ];
}

function isOnlyAsked({ ports }: Host): boolean {
  return ports.tcp.size + ports.udp.size + ports.quic.size === 0;
}

function ruleOf(host: Host): Suggestion {
  const note = isOnlyAsked(host)
    ? "asked for only: port 443 is a guess"
    : host.showedNoName
      ? "it showed no name: whoever is at this address"
      : undefined;
  const { isPrivate, count } = host;
  return {
    allow: targetsOf(host.host, host.ports),
    private: isPrivate,
    count,
    ...(note === undefined ? {} : { note }),
  };
}

/** Names of one parent, wanted alike, as one rule; and the rest. */
function widened(hosts: readonly Host[]): [Suggestion[], Host[]] {
  const groups = new Map<string, Host[]>();
  for (const host of hosts) {
    if (!isName(host.host)) continue;
    const parent = host.host.slice(host.host.indexOf(".") + 1);
    if (!parent.includes(".") || !host.host.includes(".") || isHosting(parent) || SECOND_LEVEL.test(parent))
      continue;
    const key = `${parent} ${host.isPrivate} ${targetsOf("", host.ports).join(" ")}`;
    groups.set(key, [...(groups.get(key) ?? []), host]);
  }
  const together = [...groups].filter(([, members]) => members.length >= WILDCARD_NAMES);
  const wide = together.map(([key, members]): Suggestion => {
    const [parent = ""] = key.split(" ");
    const [first] = members as [Host];
    const { isPrivate } = first;
    return {
      allow: targetsOf(`*.${parent}`, first.ports),
      private: isPrivate,
      count: members.reduce((sum, { count }) => sum + count, 0),
      note: `${members.length} names: ${members.map(({ host }) => host).join(", ")}`,
    };
  });
  const taken = new Set(together.flatMap(([, members]) => members));
  return [wide, hosts.filter((host) => !taken.has(host))];
}

/** A whole policy: the suggestions in front of the rules that there are, enforced. */
export function suggestionText({ rules, others }: Suggestions, policy: PolicyConfig | null): string {
  const head =
    policy === null ? "version: 1\ndefault: deny\n" : policyText({ ...policy, audit: false, rules: [] });
  const lines = rules.map(({ allow, private: isPrivate, count, note }) => {
    const targets = allow.map((target) => stringify(target).trim());
    const said = targets.length === 1 ? targets[0] : `[${targets.join(", ")}]`;
    const comment = `${count === 1 ? "once" : `${count} times`}${note === undefined ? "" : `; ${note}`}`;
    return `  - allow: ${said} # ${comment}\n${isPrivate ? "    private: true\n" : ""}`;
  });
  const existing = policy === null || policy.rules.length === 0 ? "" : rulesText(policy.rules);
  const kept =
    existing === "" ? "" : `  # What the policy has already:\n${existing.replace(/^rules:\n/, "")}`;
  const unsaid = others.map((other) => `# not suggested: ${other}\n`).join("");
  const body = lines.length === 0 && kept === "" ? "rules: []\n" : `rules:\n${lines.join("")}${kept}`;
  return `${head.replace(/rules: \[\]\n$/, "")}${body}${unsaid}`;
}
