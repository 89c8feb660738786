/**
 * What a policy says, in the plainest words: lists and texts, every rule looked at in turn. The compiled one has to agree.
 * Names in the policy are A-labels in small letters; so are those of flows.
 *
 * A timeline of one guest: what it asked for, what its connections have used up and what somebody was asked stay known.
 */
import type {
  PolicyConfig,
  PolicyLimit,
  PolicyRule,
  PolicyTarget,
  PolicyWay,
} from "../../../../src/engine/config.ts";
import type { Answer, FirstOctets, Flow, Outcome, QuestionOutcome } from "./flows.ts";

const V4_BITS = 96;
const DNS_PORT = 53;
const DEFAULT = -1;
const STAND_IN_SECONDS = 5;
const WITHIN_MS = 60_000;
const ONCE_MS = 10_000;
const NAMED = ["name", "names-under", "every-name"];

type Protocol = "tcp" | "udp" | "quic";

/** Where a flow may really go, as 128 bits, IPv4 as v4-mapped. */
export interface Place {
  readonly address: bigint;
  readonly isPrivate: boolean;
}

interface Judged {
  readonly verdict: "goes" | "shows" | "refused";
  readonly rule: number;
  readonly check: string;
  /** What shows no name goes as well. */
  readonly isLenient: boolean;
  /** The name by which it goes. */
  readonly name: string | null;
}

/** So many a second, as many saved up. */
class Bucket {
  private tokens: number;
  private at = 0;
  constructor(private readonly perSecond: number) {
    this.tokens = perSecond;
  }
  take(now: number): boolean {
    this.tokens = Math.min(this.perSecond, this.tokens + ((now - this.at) * this.perSecond) / 1000);
    this.at = now;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}

const bucketOf = (perSecond: number | undefined): Bucket | null =>
  perSecond === undefined ? null : new Bucket(perSecond);

/** What is left of one rule's limits. */
class Left {
  private octets: number;
  private readonly fresh: Bucket | null;
  private ends: number[] = [];
  constructor(private readonly limit: PolicyLimit) {
    this.octets = limit.bytes ?? Number.POSITIVE_INFINITY;
    this.fresh = bucketOf(limit.newFlows);
  }
  admits(isTcp: boolean, now: number): boolean {
    this.ends = this.ends.filter((end) => end > now);
    if (this.octets <= 0) return false;
    if (isTcp && this.ends.length >= (this.limit.connections ?? Number.POSITIVE_INFINITY)) return false;
    return this.fresh?.take(now) ?? true;
  }
  use(end: number, octets: number): void {
    this.ends.push(end);
    this.octets -= octets;
  }
}

function bits(words: readonly number[]): bigint {
  return words.reduce((value, word) => (value << 32n) | BigInt(word >>> 0), 0n);
}

function hasPort({ ports, tcp, udp, quic }: PolicyTarget, port: number, protocol: Protocol): boolean {
  const hasProtocol = protocol === "tcp" ? tcp : udp && (protocol === "quic" || quic !== true);
  return hasProtocol && ports.some(([first, last]) => port >= first && port <= last);
}

function hasAddress({ host }: PolicyTarget, { address, isPrivate }: Place): boolean {
  if (host.kind === "every-address") return true;
  if (host.kind === "private") return isPrivate;
  if (host.kind === "public") return !isPrivate;
  if (host.kind !== "network") return false;
  const isIpv4 = address >> 32n === 0xffffn;
  if (isIpv4 && host.prefixLength < V4_BITS) return false;
  const shift = BigInt(128 - host.prefixLength);
  return address >> shift === bits(host.words) >> shift;
}

function hasName({ host }: PolicyTarget, name: string): boolean {
  if (host.kind === "every-name") return true;
  if (host.kind === "name") return host.name === name;
  return host.kind === "names-under" && name.endsWith(`.${host.name}`);
}

function checkOf(rule: PolicyRule | undefined, port: number): string {
  if (rule?.check !== undefined) return rule.check;
  if (port === 443 || port === 8443) return "tls";
  return port === 80 || port === 8080 ? "http" : "none";
}

/** The default comes behind every rule. */
const rank = (rule: number): number => (rule === DEFAULT ? Number.POSITIVE_INFINITY : rule);
const earlier = (a: number, b: number): number => (rank(a) <= rank(b) ? a : b);

export class Reference {
  /** By address the names that lead there, the newest first, and until when. */
  private readonly pins = new Map<bigint, { name: string; until: number; isOwn: boolean }[]>();
  private readonly questions = new Map<string, { state: "open" | "yes" | "no"; until: number }>();
  private readonly left: readonly (Left | null)[];
  private readonly fresh: Bucket | null;
  private readonly askable: Bucket | null;
  private readonly hasStandIns: boolean;
  private readonly hasNames: boolean;

  constructor(private readonly policy: PolicyConfig) {
    const { rules, limit, audit, way, answers } = policy;
    this.left = rules.map((rule) => (rule.limit === undefined || audit ? null : new Left(rule.limit)));
    this.fresh = bucketOf(audit ? undefined : limit?.newFlows);
    this.askable = bucketOf(audit ? undefined : limit?.questions);
    this.hasStandIns =
      way !== undefined || answers === "explain" || rules.some((rule) => rule.way !== undefined);
    this.hasNames = rules.some(({ targets }) => targets.some(({ host }) => NAMED.includes(host.kind)));
  }

  // --- rules -------------------------------------------------------------------------------------------------------

  private first(matches: (target: PolicyTarget, rule: PolicyRule) => boolean): number {
    return this.policy.rules.findIndex((rule) => rule.targets.some((target) => matches(target, rule)));
  }

  private allows(rule: number): boolean {
    const { rules, default: otherwise } = this.policy;
    return (rule === DEFAULT ? otherwise : rules[rule].verdict) !== "deny";
  }

  private asks(rule: number): boolean {
    return rule !== DEFAULT && this.policy.rules[rule].verdict === "ask";
  }

  private wayOf(rule: number): PolicyWay | null {
    const own = rule === DEFAULT ? undefined : this.policy.rules[rule].way;
    return own ?? this.policy.way ?? null;
  }

  /** The rule for this name alone; an allowing one counts where the name leads to the address. */
  private byName(
    name: string,
    port: number,
    protocol: Protocol,
    place: Place,
    leads: boolean,
    isOwn = false,
  ): number {
    return this.first(
      (target, rule) =>
        hasPort(target, port, protocol) &&
        hasName(target, name) &&
        (rule.verdict === "deny" || (leads && (rule.private || isOwn || !place.isPrivate))),
    );
  }

  private byAddress(place: Place, port: number, protocol: Protocol): number {
    return this.first((target) => hasPort(target, port, protocol) && hasAddress(target, place));
  }

  // --- names -------------------------------------------------------------------------------------------------------

  private leadingTo(place: Place, now: number): { name: string; isOwn: boolean }[] {
    return (this.pins.get(place.address) ?? []).filter(({ until }) => now < until);
  }

  private pin(address: bigint, name: string, seconds: number, isOwn: boolean, now: number): void {
    const pins = this.pins.get(address) ?? [];
    this.pins.set(address, pins);
    const until = now + Math.min(Math.max(seconds, 30), 3600) * 1000 + this.policy.pinGraceMs;
    const pin = pins.find((each) => each.name === name);
    if (pin === undefined) pins.unshift({ name, until, isOwn });
    else pin.until = Math.max(pin.until, until);
  }

  /** Whether a flow to this name could be allowed on any port. */
  private isOfUse(name: string): boolean {
    const naming = this.policy.rules.flatMap(({ targets }) =>
      targets.filter((target) => hasName(target, name)),
    );
    const edges = naming.flatMap(({ ports }) => ports.flatMap(([a, b]) => [a - 1, a, b, b + 1]));
    const ports = [1, 65_535, ...edges].filter((port) => port >= 1 && port <= 65_535);
    return ports.some((port) =>
      (["tcp", "udp", "quic"] as const).some((protocol) =>
        this.allows(this.first((target) => hasPort(target, port, protocol) && hasName(target, name))),
      ),
    );
  }

  /** The guest asks for the name's addresses; `at`: what the resolver says, if it is asked, and where a stand-in is, if it gets one. */
  ask(
    name: string,
    isIpv4: boolean,
    at: { answered: bigint | null; standIn: bigint },
    seconds: number,
    now: number,
  ): QuestionOutcome {
    const { audit, way, answers, rules } = this.policy;
    if (this.askable?.take(now) === false) return "limited";
    const stands = (): QuestionOutcome => {
      if (!isIpv4) return "no-data";
      this.pin(at.standIn, name, STAND_IN_SECONDS, true, now);
      return "stands-in";
    };
    if (!this.isOfUse(name) && !audit) return answers === "explain" ? stands() : "denied";
    const hasWay = rules.some(
      (rule) => rule.way !== undefined && rule.targets.some((target) => hasName(target, name)),
    );
    const passesUnruled = !this.isOfUse(name) && way === undefined;
    if (!passesUnruled && this.hasStandIns && (way !== undefined || hasWay)) return stands();
    if (at.answered !== null && (this.hasNames || audit)) this.pin(at.answered, name, seconds, false, now);
    return "passes";
  }

  // --- the beginning of a flow -------------------------------------------------------------------------------------

  private judge(place: Place, { port, protocol }: Flow, now: number): Judged {
    const { policy } = this;
    const refused = (rule: number): Judged => ({
      verdict: "refused",
      rule,
      check: "none",
      isLenient: false,
      name: null,
    });
    if (this.isStandIn(place)) return this.judgeStandIn(place, port, protocol, now);
    const fixed = this.byAddress(place, port, protocol);
    const ownsDns = policy.way !== undefined || (policy.default === "deny" && !policy.audit);
    if (port === DNS_PORT && ownsDns && fixed === DEFAULT) return { ...refused(DEFAULT), check: "dns" };
    /** The first rule that allows a name which leads here, and the name. */
    const allowing = (over: Protocol): { rule: number; name: string | null } => {
      let best: { rule: number; name: string | null } = { rule: DEFAULT, name: null };
      for (const { name, isOwn } of this.leadingTo(place, now)) {
        const rule = this.first(
          (target, each) =>
            each.verdict !== "deny" &&
            (each.private || isOwn || !place.isPrivate) &&
            hasPort(target, port, over) &&
            hasName(target, name),
        );
        if (rank(rule) < rank(best.rule)) best = { rule, name };
      }
      return best;
    };
    const named = allowing(protocol);
    // Where an address is asked about, a name that leads there says more.
    const isByAddress = this.allows(fixed) && !(this.asks(fixed) && rank(named.rule) < rank(fixed));
    if (protocol === "tcp") {
      const check = checkOf(isByAddress || named.rule < 0 ? undefined : policy.rules[named.rule], port);
      if (check !== "none") {
        if (isByAddress) {
          const denying = this.first(
            (target, rule) =>
              rule.verdict === "deny" && hasPort(target, port, protocol) && NAMED.includes(target.host.kind),
          );
          const isLookedAt = rank(denying) < rank(fixed);
          return { verdict: isLookedAt ? "shows" : "goes", rule: fixed, check, isLenient: true, name: null };
        }
        if (rank(named.rule) >= rank(fixed)) return refused(fixed);
        return { verdict: "shows", rule: named.rule, check, isLenient: false, name: named.name };
      }
    } else {
      const asQuic = allowing("quic");
      const isFirst = rank(asQuic.rule) < Math.min(rank(named.rule), rank(fixed));
      if (isFirst)
        return { verdict: "shows", rule: asQuic.rule, check: "tls", isLenient: false, name: asQuic.name };
    }
    let deciding: { rule: number; name: string | null } = { rule: DEFAULT, name: null };
    for (const { name, isOwn } of this.leadingTo(place, now)) {
      const rule = this.byName(name, port, protocol, place, true, isOwn);
      if (rank(rule) < rank(deciding.rule)) deciding = { rule, name };
    }
    const isNamed = rank(deciding.rule) < rank(fixed);
    const rule = isNamed ? deciding.rule : fixed;
    if (!this.allows(rule)) return refused(rule);
    return { verdict: "goes", rule, check: "none", isLenient: false, name: isNamed ? deciding.name : null };
  }

  private isStandIn({ address }: Place): boolean {
    const { address: network, prefixLength } = this.policy.standIns;
    const shift = BigInt(32 - prefixLength);
    return (
      this.hasStandIns &&
      address >> 32n === 0xffffn &&
      (address & 0xffffffffn) >> shift === BigInt(network >>> 0) >> shift
    );
  }

  private judgeStandIn(place: Place, port: number, protocol: "tcp" | "udp", now: number): Judged {
    const [pin] = this.leadingTo(place, now);
    const refused: Judged = {
      verdict: "refused",
      rule: DEFAULT,
      check: "none",
      isLenient: false,
      name: null,
    };
    if (pin === undefined) return refused;
    const { name } = pin;
    const rule = this.byName(name, port, protocol, place, true, true);
    if (!this.allows(rule)) return { ...refused, rule };
    const isUnruled = rule === DEFAULT;
    const isDenied = this.policy.rules.some(
      ({ verdict, targets }) =>
        verdict === "deny" &&
        targets.some((target) => hasPort(target, port, protocol) && NAMED.includes(target.host.kind)),
    );
    const check = checkOf(isUnruled ? undefined : this.policy.rules[rule], port);
    const shows = protocol === "tcp" && check !== "none" && !(isUnruled && !isDenied);
    return { verdict: shows ? "shows" : "goes", rule, check, isLenient: isUnruled, name };
  }

  /** Of all that the address may be: the strictest, and the last. */
  private judgeAll(flow: Flow, places: readonly Place[], now: number): Judged {
    const judged: Judged[] = [];
    for (const place of places) {
      const each = this.judge(place, flow, now);
      const isOther = judged.some(
        ({ rule }) => JSON.stringify(this.wayOf(rule)) !== JSON.stringify(this.wayOf(each.rule)),
      );
      if (each.verdict === "refused" || isOther) return { ...each, verdict: "refused" };
      judged.push(each);
    }
    const last = judged[judged.length - 1];
    const showing = judged.filter(({ verdict }) => verdict === "shows");
    const strictest = showing.findLast((each) => !each.isLenient) ?? showing[0];
    if (strictest === undefined) return last;
    const isLenient = showing.every((each) => each.isLenient);
    return { ...last, verdict: "shows", check: strictest.check, isLenient };
  }

  // --- all of a flow -----------------------------------------------------------------------------------------------

  /** Whether octets of the flow reach the other end, by which rule and which way. */
  flow(flow: Flow, places: readonly Place[], now: number): Outcome {
    const { policy } = this;
    const judged = this.judgeAll(flow, places, now);
    const isTcp = flow.protocol === "tcp";
    const way = this.hasStandIns ? this.wayOf(judged.rule) : null;
    const no = (why: Outcome["why"]): Outcome => ({ reaches: false, why });
    if (judged.verdict === "refused" && (!policy.audit || judged.check === "dns")) return no("rule");
    const isElsewhere = way !== null || places.some((place) => this.isStandIn(place));
    if (!isTcp && isElsewhere) return no("way");
    if (policy.audit) return { reaches: true, why: "audit", rule: judged.rule, way };
    const last = places[places.length - 1];
    const isChecked = judged.verdict === "shows";
    const left = isChecked && !judged.isLenient ? null : this.leftOf(judged.rule);
    const isAdmitted = (): boolean =>
      this.fresh?.take(now) !== false && (left === null || left.admits(isTcp, now));
    if (isTcp && !isAdmitted()) return no("limit");
    if (this.asks(judged.rule)) {
      const answer = this.question(
        judged.rule,
        judged.name ?? last.address,
        flow,
        now,
        isTcp ? flow.answer : null,
      );
      if (answer !== "yes") return no("question");
    }
    if (!isTcp && !isAdmitted()) return no("limit");
    if (!isChecked) {
      left?.use(isTcp ? now + flow.lastsMs : now, flow.octets);
      return { reaches: true, why: judged.name === null ? "address" : "name", rule: judged.rule, way };
    }
    return this.shown(flow, places, judged, left, now);
  }

  private leftOf(rule: number): Left | null {
    return rule === DEFAULT ? null : this.left[rule];
  }

  /** One that has to show a name, or may; `first`: the limits that it counts for until it has. */
  private shown(
    flow: Flow,
    places: readonly Place[],
    judged: Judged,
    first: Left | null,
    now: number,
  ): Outcome {
    const way = this.hasStandIns ? this.wayOf(judged.rule) : null;
    const end = flow.protocol === "tcp" ? now + flow.lastsMs : now;
    const name = nameIn(flow.first, judged.check);
    const no = (why: Outcome["why"]): Outcome => ({ reaches: false, why });
    if (name === null) {
      if (!judged.isLenient) return no("unnamed");
      first?.use(end, flow.octets);
      return { reaches: true, why: "lenient", rule: judged.rule, way };
    }
    if (this.policy.refuseEch && flow.first.ech && flow.first.protocol === "tls") return no("ech");
    let rule = DEFAULT;
    for (const place of places) {
      const pin = this.leadingTo(place, now).find((each) => each.name === name);
      const protocol = flow.protocol === "udp" ? "quic" : "tcp";
      const fixed = this.isStandIn(place) ? DEFAULT : this.byAddress(place, flow.port, protocol);
      const named = this.byName(name, flow.port, protocol, place, pin !== undefined, pin?.isOwn ?? false);
      rule = earlier(named, fixed);
      const isSameWay = JSON.stringify(this.wayOf(rule)) === JSON.stringify(way);
      if (!this.allows(rule) || this.isOfAnother(place, name, flow.port, protocol, now) || !isSameWay)
        return no("shown");
      if (this.asks(rule) && this.question(rule, name, flow, now, null) !== "yes") return no("question");
    }
    const left = this.leftOf(rule);
    if (left !== null && left !== first && !left.admits(flow.protocol === "tcp", now)) return no("limit");
    left?.use(end, flow.octets);
    return { reaches: true, why: "shown", rule, way };
  }

  /** Whether the place stands for another name that has a rule. */
  private isOfAnother(place: Place, name: string, port: number, protocol: Protocol, now: number): boolean {
    if (!this.isStandIn(place)) return false;
    const [pin] = this.leadingTo(place, now);
    if (pin === undefined) return true;
    return pin.name !== name && this.byName(pin.name, port, protocol, place, true, true) !== DEFAULT;
  }

  /** What somebody says who is asked, where it is not known; null: nobody does while this flow waits. */
  private question(
    rule: number,
    subject: string | bigint,
    { port, protocol }: Flow,
    now: number,
    answer: Answer | null,
  ): "open" | "yes" | "no" {
    const key = `${subject} ${port} ${protocol}`;
    const known = this.questions.get(key);
    let question = known !== undefined && now < known.until ? known : undefined;
    if (question === undefined) {
      if (this.policy.refuseUnattended === true) return "no";
      question = { state: "open", until: now + (this.policy.rules[rule].withinMs ?? WITHIN_MS) };
    }
    if (question.state === "open" && answer !== null) {
      const lasts =
        answer.forMs === null ? Number.POSITIVE_INFINITY : answer.forMs === 0 ? ONCE_MS : answer.forMs;
      question = { state: answer.isYes ? "yes" : "no", until: now + lasts };
    }
    this.questions.set(key, question);
    return question.state;
  }
}

/** The name that the first octets show where `check` is asked for. */
function nameIn({ protocol, name, isTwofold }: FirstOctets, check: string): string | null {
  return protocol === check && !isTwofold ? name : null;
}
