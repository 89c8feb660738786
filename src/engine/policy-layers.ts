/** The layers that an engine with a policy has more than another, put together once. Loaded only where there is one. */
import type { EngineConfig, Ipv6Words, PolicyConfig } from "./config.ts";
import { DNS_REGION_OCTETS, DNS_SCRATCH_OCTETS, DNS_STREAMS_MAX } from "./limits.ts";
import type { FlowJudge } from "./network/judge.ts";
import type { DenialRow } from "./policy/denials.ts";
import { DnsPolicy } from "./policy/dns-policy.ts";
import { Policy } from "./policy/policy.ts";
import { HeldNames } from "./service/names/held-names.ts";
import { CLOSED, type TcpConnection } from "./transport/tcp/connection.ts";
import type { TcpContext } from "./transport/tcp/context.ts";
import type { LocalService } from "./transport/tcp/local-service.ts";
import { IPV4_HEADER_OCTETS } from "./wire/ipv4.ts";
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
  readonly now: () => number;
  /** The embedding program's say, or null. */
  readonly narrower: FlowJudge | null;
}

export class PolicyLayers {
  readonly judge: Policy;
  readonly dns: DnsPolicy;

  constructor({ config, policy, now, narrower }: PolicyLayersParts) {
    const { udpTimeoutMs, dns, ipv6 } = config;
    const hasDns = dns !== 0 || (ipv6 !== null && ipv6.dns !== null);
    this.judge = new Policy({ config: policy, now, narrower, udpTimeoutMs, hasDns });
    this.dns = new DnsPolicy(this.judge);
  }

  /** On top of TCP and DNS, whose step of the turn it joins. */
  over(ctx: TcpContext, dns: TurnService): TurnService {
    const scratchAt = ctx.arena.dnsAt + DNS_REGION_OCTETS - DNS_SCRATCH_OCTETS;
    const names = new HeldNames(ctx, this.judge, scratchAt);
    ctx.checks = names;
    ctx.local = new LocalServices(ctx.local, names);
    this.judge.pins.isOpenTo = (words, at) => ctx.connections.some((c) => c !== null && goesTo(c, words, at));
    return {
      work: (nowMs) => {
        // Its clock has to be looked at now and then.
        this.judge.uptime();
        dns.work(nowMs);
        names.work(nowMs);
      },
      nextDeadlineMs: (nowMs) => {
        const own = names.nextDeadlineMs(nowMs);
        const others = dns.nextDeadlineMs(nowMs);
        if (own < 0) return others;
        return others < 0 ? own : Math.min(own, others);
      },
    };
  }

  /** Most tries first. */
  denials(): DenialRow[] {
    return this.judge.denials.rows();
  }

  setNat64(prefix: Nat64Prefix | null): void {
    this.judge.nat64 = prefix;
  }

  setHostAddresses(addresses: readonly Ipv6Words[]): void {
    this.judge.rules.setHostAddresses(addresses);
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

function goesTo(c: TcpConnection, words: Int32Array, at: number): boolean {
  if (c.state === CLOSED || !c.outbound) return false;
  if (c.ipOctets === IPV4_HEADER_OCTETS) {
    return c.remoteAddress === words[at + 3] && words[at + 2] === 0xffff && (words[at] | words[at + 1]) === 0;
  }
  for (let word = 0; word < 4; word++) if (c.pair[c.pairAt + 4 + word] !== words[at + word]) return false;
  return true;
}
