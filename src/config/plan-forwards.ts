/** Inbound ports from parsed options: what each binds, and that no two bind the same. */
import type { Forward } from "../engine/config.ts";
import { formatNetwork, hostAddressProblem, type Network } from "./address.ts";
import { asRule, socketsOf, withoutOptional } from "./forward-rule.ts";
import { forwardHost, isOnEveryAddress } from "./forward-text.ts";
import type { OptionSet } from "./option-set.ts";
import { forwardsOverIpv6 } from "./plan-families.ts";
import type { PortRange } from "./publish-grammar.ts";

const FORWARD_OPTIONS = ["publish", "hostfwd"] as const;
const EVERYWHERE = "every address";

const portRange = ({ first, last }: PortRange): string => `${first}-${last}`;

/** The rules of one option, each with its forwards. */
function rulesOf(options: OptionSet, name: (typeof FORWARD_OPTIONS)[number]) {
  return options.all(name).map((given, index) => ({
    text: given.text,
    rule: Array.isArray(given.value) ? given.value : [given.value],
    index,
  }));
}

/**
 * The forwards that an engine starts with. Complaints go to `options.problems`. `ephemeral`: ports that the host gives to its
 * own connections, which no optional one is.
 */
export function planForwards(
  options: OptionSet,
  net: Network,
  ours: { readonly gateway: number; readonly dns: number },
  ipv4: boolean,
  ephemeral: PortRange,
): Forward[] {
  const forwards: Forward[] = [];
  const whenOpen = options.has("publish-when-open") ? openByTheGuest : (forward: Forward) => forward;
  const bound: Bound = new Map();
  for (const name of FORWARD_OPTIONS) {
    for (const { text, rule, index } of rulesOf(options, name)) {
      const conflict = rule.map((forward) => bind(bound, forward, text)).find((c) => c !== undefined);
      if (conflict) options.reject(name, `host ports that are free; ${conflict}`, index);
      const guest = (rule[0] as Forward).guestAddress;
      const isOurs = guest === ours.gateway || guest === ours.dns;
      if (guest !== 0 && !options.broken("net") && (hostAddressProblem(guest, net) || isOurs)) {
        options.reject(name, `a guest address inside ${formatNetwork(net)} that is the guest's`, index);
      }
      const served = withoutOptional(
        rule.filter(({ whileListening }) => !whileListening),
        ephemeral,
      );
      if (served.length === 0 && !rule[0]?.whileListening) {
        options.reject(
          name,
          `a port that is none of the host's own connections' (${portRange(ephemeral)})`,
          index,
        );
      }
      const shown = ipv4 ? served.map(whenOpen) : forwardsOverIpv6(options, name, served, index);
      forwards.push(...asRule(shown));
    }
  }
  const most = options.value("max-forwards");
  const sockets = socketsOf(forwards);
  if (sockets > most) {
    options.problems.push({
      place: options.place("publish"),
      found: `${sockets} ports`,
      allowed: `at most ${most} ports in all (${options.place("max-forwards")})`,
    });
  }
  return forwards;
}

/** A TCP forward that goes by what the guest answers, where that can be asked. */
function openByTheGuest(forward: Forward): Forward {
  const isAsked = forward.guestAddress6 === undefined || forward.eitherFamily === true;
  return forward.protocol === "tcp" && isAsked ? { ...forward, whenOpen: true } : forward;
}

/** Those that come and go with who listens in the guest's namespace. */
export function planListeningForwards(options: OptionSet): Forward[] {
  const ipv4 = options.value("ipv4") === "on";
  return rulesOf(options, "publish").flatMap(({ rule, index }) => {
    const listening = rule.filter(({ whileListening }) => whileListening);
    return ipv4 ? listening : forwardsOverIpv6(options, "publish", listening, index);
  });
}

interface Owner {
  readonly address: string;
  /** Undefined: every interface. */
  readonly device: string | undefined;
  readonly text: string;
}

/** Who binds a port of the host, per protocol, port and family. */
type Bound = Map<string, Owner[]>;

/** Notes what a forward binds; says what is in its way. All addresses of a family collide with each of it. */
function bind(bound: Bound, forward: Forward, text: string): string | undefined {
  // What is passed over when it is taken is in nobody's way.
  if (forward.hostPort === 0 || forward.optional) return undefined;
  const family = forward.hostAddress6 === undefined ? 4 : 6;
  const { hostDevice: device, ...side } = forward;
  const owner: Owner = { address: isOnEveryAddress(side) ? EVERYWHERE : forwardHost(side), device, text };
  let conflict: string | undefined;
  for (let port = forward.hostPort; port < forward.hostPort + (forward.ports ?? 1); port++) {
    const key = `${forward.protocol} ${port} ${family}`;
    const owners = bound.get(key) ?? [];
    bound.set(key, owners);
    const other = owners.find((before) => collide(before, owner));
    owners.push(owner);
    if (other !== undefined) conflict ??= `${forward.protocol} port ${port} is bound by ${other.text}`;
  }
  return conflict;
}

function collide(a: Owner, b: Owner): boolean {
  const sameDevice = a.device === undefined || b.device === undefined || a.device === b.device;
  return sameDevice && (a.address === EVERYWHERE || b.address === EVERYWHERE || a.address === b.address);
}
