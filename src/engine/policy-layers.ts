/** The layers that an engine with a policy has more than another, put together once. Loaded only where there is one. */

import type { HostNetwork, QuicKeys } from "./boundary.ts";
import type { EngineConfig, Ipv6Words, PolicyConfig } from "./config.ts";
import { DNS_REGION_OCTETS, DNS_SCRATCH_OCTETS, DNS_STREAMS_MAX } from "./limits.ts";
import type { Counters } from "./metrics/counters.ts";
import type { Destinations } from "./network/destinations.ts";
import type { Destinations6 } from "./network/destinations6.ts";
import type { FlowJudge } from "./network/judge.ts";
import type { DenialRow, PolicyCounts } from "./policy/denials.ts";
import { DnsPolicy } from "./policy/dns-policy.ts";
import { LetIn } from "./policy/let-in.ts";
import { Name } from "./policy/name.ts";
import type { PinRow } from "./policy/pins.ts";
import { Policy } from "./policy/policy.ts";
import type { AnswerResult, QuestionEnd, QuestionRow } from "./policy/questions.ts";
import { MeteredNetwork } from "./service/metered-network.ts";
import { HeldNames } from "./service/names/held-names.ts";
import { QuicNames } from "./service/names/quic-names.ts";
import { PolicyReview } from "./service/policy-review.ts";
import { Detours } from "./service/ways/detours.ts";
import { NameLookup } from "./service/ways/name-lookup.ts";
import { earlier } from "./time/earlier.ts";
import { copyRemote } from "./transport/path.ts";
import { CLOSED, type TcpConnection } from "./transport/tcp/connection.ts";
import type { TcpContext } from "./transport/tcp/context.ts";
import type { LocalService } from "./transport/tcp/local-service.ts";
import type { Udp } from "./transport/udp/udp.ts";
import { TYPE_A, TYPE_AAAA } from "./wire/dns.ts";
import { IPV4_HEADER_OCTETS } from "./wire/ipv4.ts";
import { setMapped } from "./wire/mapped-address.ts";
import type { Nat64Prefix } from "./wire/translated-address.ts";

/** What is done once a turn, and when it wants to be done. */
export interface TurnService {
  work(nowMs: number): void;
  /** Milliseconds from `nowMs`, or -1. */
  nextDeadlineMs(nowMs: number): number;
}

export interface PolicyLayersParts {
  readonly config: EngineConfig;
  readonly policy: PolicyConfig;
  /** Milliseconds of a clock that does not wrap. */
  readonly uptimeMs: () => number;
  /** The embedding program's say, or null. */
  readonly narrower: FlowJudge | null;
}

/** Who is told of questions, and who waits for their answers. */
export interface Attendants {
  /** Told of each question. */
  readonly asked: (row: QuestionRow) => void;
  /** Of a program that decides, or null: told of each question that it need not answer any more. */
  readonly over: ((id: number, end: QuestionEnd) => void) | null;
  /** Has what waits under a ticket go on or end, and says how many did. */
  readonly decide: (ticket: number, isAllowed: boolean) => number;
  /** Whether anything waits under it. */
  readonly waits: (ticket: number) => boolean;
}

/** A service that can be asked to ask. */
export interface AskedService extends TurnService {
  ask(message: Uint8Array, nowMs: number): void;
}

/** Where addresses lead. */
export interface Destined {
  readonly destinations: Destinations;
  readonly destinations6: Destinations6 | null;
}

export class PolicyLayers {
  readonly judge: Policy;
  readonly dns: DnsPolicy;
  private review: PolicyReview | null = null;
  private detours: Detours | null = null;
  private metered: MeteredNetwork | null = null;

  constructor(
    private readonly parts: PolicyLayersParts,
    private readonly quicKeys: QuicKeys,
  ) {
    const { config, policy, uptimeMs, narrower } = parts;
    const { udpTimeoutMs, dns, ipv6, maxFlows } = config;
    const hasDns = dns !== 0 || (ipv6 !== null && ipv6.dns !== null);
    const hostAddresses = [config.gateway, ...config.hostAliases.map(({ address }) => address)];
    this.judge = new Policy({
      config: policy,
      uptimeMs,
      narrower,
      udpTimeoutMs,
      hasDns,
      hostAddresses,
      maxFlows,
    });
    this.dns = new DnsPolicy(this.judge, config.ipv4 ? TYPE_A : TYPE_AAAA);
  }

  /** The host's network, of which flows get no more than the policy says. */
  meter(network: HostNetwork, counters: Counters): HostNetwork {
    this.metered = new MeteredNetwork(network, this.judge, counters);
    return this.metered;
  }

  /** On top of TCP, UDP and DNS, whose step of the turn it joins. */
  over(ctx: TcpContext, udp: Udp, dns: AskedService, destined: Destined): TurnService {
    const scratchAt = ctx.arena.dnsAt + DNS_REGION_OCTETS - DNS_SCRATCH_OCTETS;
    const { judge: policy } = this;
    const { questions } = policy.asking;
    this.dropped = (reason, count) => {
      for (let i = 0; i < count; i++) ctx.counters.drop(reason);
    };
    const isOpen = (id: number, serial: number): boolean => {
      const c = ctx.connections[id] ?? null;
      return c !== null && c.state !== CLOSED && ctx.ledger.serial[id] === serial;
    };
    const letIn = new LetIn(this.parts.config.maxFlows, isOpen);
    const ask = (message: Uint8Array, nowMs: number): void => dns.ask(message, nowMs);
    const { allowLinkLocal } = this.parts.config;
    const lookup = new NameLookup({ ...destined, view: ctx.view, policy, allowLinkLocal, ask });
    const detours = new Detours(ctx, policy, scratchAt, lookup);
    const names = new HeldNames(ctx, policy, letIn, scratchAt, detours);
    const isService = (c: TcpConnection): boolean => this.isService(c);
    const quic = new QuicNames(ctx, policy, scratchAt, this.quicKeys);
    const { mappings } = udp;
    const { metered } = this;
    const review = new PolicyReview({ ctx, mappings, policy, letIn, quic, detours, metered, isService });
    this.review = review;
    this.detours = detours;
    ctx.ways = detours;
    metered?.over(ctx);
    ctx.checks = names;
    udp.checks = quic;
    ctx.local = new LocalServices(ctx.local, names);
    this.keepPins(ctx, letIn);
    return {
      work: (nowMs) => {
        if (review.isUnderWay) review.work();
        questions.work();
        dns.work(nowMs);
        names.work(nowMs);
        quic.work(nowMs);
        detours.work(nowMs);
        metered?.work();
      },
      nextDeadlineMs: (nowMs) => {
        if (review.isUnderWay) return 0;
        const waits = earlier(detours.nextDeadlineMs(nowMs), questions.nextDeadlineMs());
        const shown = earlier(names.nextDeadlineMs(nowMs), quic.nextDeadlineMs(nowMs));
        const own = earlier(shown, waits);
        return earlier(earlier(own, metered?.nextDeadlineMs() ?? -1), dns.nextDeadlineMs(nowMs));
      },
    };
  }

  /** A pin stays as long as a connection that it let in. */
  private keepPins({ connections }: TcpContext, letIn: LetIn): void {
    const { judge: policy } = this;
    const { pins } = policy;
    const name = new Name();
    pins.isInUse = (pin) => {
      pins.readName(pin, name);
      return letIn.some(name, (id) => {
        const c = connections[id] ?? null;
        return c !== null && leadsTo(policy, c, pins.words, pin * 4);
      });
    };
  }

  private isService({ remoteAddress, remotePort, ipOctets, pair, pairAt }: TcpConnection): boolean {
    return this.parts.config.guestForwards.some(({ address, address6, port }) => {
      if (port !== remotePort || (address6 === undefined) !== (ipOctets === IPV4_HEADER_OCTETS)) return false;
      return address6?.every((word, i) => word === pair[pairAt + 4 + i]) ?? address === remoteAddress;
    });
  }

  /** For people: which names lead where, those of the last flows first. */
  pins(): PinRow[] {
    const { judge } = this;
    return judge.pins.rows(judge.uptimeMs(), (words, at) => judge.standIns?.has(words, at) === true);
  }

  /** For people: questions, the open ones first. */
  questions(): QuestionRow[] {
    return this.judge.asking.questions.rows();
  }

  answer(id: number, isAllowed: boolean, forMs: number | null, hasFailed: boolean): AnswerResult {
    return this.judge.asking.questions.answer(id, isAllowed, forMs, hasFailed);
  }

  attend({ asked, over, decide, waits }: Attendants): void {
    const { asking } = this.judge;
    asking.asked = asked;
    asking.over = over;
    asking.waits = waits;
    asking.decide = (ticket, isAllowed, reason) => {
      const count = decide(ticket, isAllowed);
      if (!isAllowed) this.dropped(reason, count);
      return count;
    };
  }

  private dropped: (reason: number, count: number) => void = () => {};

  /** Another policy: `before` says for each of its rules which one of those there are it was, or -1. */
  replace(policy: PolicyConfig, before: readonly number[], keepOpen: boolean): void {
    this.judge.replace(policy, before);
    this.metered?.limitsChanged();
    this.review?.begin(keepOpen);
  }

  /** Gives a rule its octets anew. False where it has no budget. */
  resetBudget(rule: number): boolean {
    return this.judge.limits.ofRule(rule)?.resetBudget() === true;
  }

  counts(): PolicyCounts {
    const { allowed, denied } = this.judge.counts;
    return { allowed: [...allowed], denied: [...denied] };
  }

  limitWaits(): number[] {
    const { config, limits } = this.judge;
    return config.rules.map((_, rule) => Math.round(limits.ofRule(rule)?.waitedMs ?? 0));
  }

  /** An answer to a question of our own is there. False when it was somebody else's question. */
  answered(at: number, length: number): boolean {
    return this.detours?.answered(at, length) === true;
  }

  /** Most tries first. */
  denials(): DenialRow[] {
    const { denials, config, rules } = this.judge;
    return denials.rows(config.rules, (words, at) => rules.isPrivate(words, at));
  }

  setNat64(prefix: Nat64Prefix | null): void {
    this.judge.setNat64(prefix);
  }

  setHostAddresses(addresses: readonly Ipv6Words[]): void {
    this.judge.setHostAddresses(addresses);
  }
}

/** Local connections are DNS's up to a number, and those that have to show a name from there on. */
class LocalServices implements LocalService {
  constructor(
    private readonly dns: LocalService | null,
    private readonly names: HeldNames,
  ) {}

  private of(n: number): LocalService | null {
    return n < DNS_STREAMS_MAX ? this.dns : this.names;
  }

  opened(c: TcpConnection): number {
    return c.check === 0 ? (this.dns?.opened(c) ?? 0) : this.names.opened(c);
  }

  arrived(n: number): void {
    this.of(n)?.arrived(n);
  }

  gone(n: number): void {
    this.of(n)?.gone(n);
  }
}
const REMOTE = new Int32Array(4);

/** Whether the connection goes to a pin's address, or to one that carries it: pins are of the inner one. */
function leadsTo(policy: Policy, c: TcpConnection, words: Int32Array, at: number): boolean {
  copyRemote(c, REMOTE);
  const isHere = (): boolean => REMOTE.every((word, i) => word === words[at + i]);
  if (isHere()) return true;
  const inside = policy.inner(REMOTE, 0);
  for (let i = 0; i < inside; i++) {
    setMapped(REMOTE, 0, policy.flow.embedded[i]);
    if (isHere()) return true;
  }
  return false;
}
