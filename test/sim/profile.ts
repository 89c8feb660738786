/** Kinds of worlds. A profile fixes what matters to it and leaves the rest to chance. */
import type { HostSettings } from "./host-network/host-network.ts";
import type { SocketSettings } from "./host-network/tcp-socket.ts";
import { type Impairment, PERFECT } from "./pipe.ts";
import { Random } from "./world/random.ts";

export const PROFILES = [
  "mixed",
  "clean",
  "loss",
  "offload",
  "stream",
  "tap",
  "host",
  "outage",
  "ipv6",
] as const;
export type ProfileName = (typeof PROFILES)[number];
/** What `mixed` and `ipv6` draw from. */
const KINDS = PROFILES.slice(1, -1) as readonly ProfileName[];
/** Worlds of `mixed` whose guest speaks IPv6. */
const IPV6_SHARE = 0.3;
/** Sets the draw of the family apart from all others: a seed's world is the same in both families but for that. */
const FAMILY_SEED = 0x36767069;
const IPV6_MTU_MIN = 1280;

/** The family of the guest in the world of this seed. */
export function familyOf(seed: number, profile: ProfileName): 4 | 6 {
  if (profile === "ipv6") return 6;
  return profile === "mixed" && new Random(seed ^ FAMILY_SEED).chance(IPV6_SHARE) ? 6 : 4;
}

/** Everything about a world that is drawn before it starts. */
export interface WorldPlan {
  readonly profile: ProfileName;
  readonly family: 4 | 6;
  readonly mtu: number;
  readonly offload: boolean;
  readonly queueFrames: number;
  readonly streamOctets: number;
  readonly alignment: number;
  readonly toGuest: Impairment;
  readonly toEngine: Impairment;
  readonly host: HostSettings;
  readonly socket: () => SocketSettings;
  readonly latencyMs: number;
  readonly connections: number;
  readonly octetsMax: number;
  readonly aborts: number;
  readonly failures: number;
  /** Probability that a connection is followed by another on the same ports. */
  readonly reuse: number;
  readonly datagramFlows: number;
  readonly outages: number;
  readonly stalls: number;
  readonly spurious: boolean;
  /** The engine is closed at this time, whatever is going on; -1: it is not. */
  readonly closeAtMs: number;
}

function impairment(random: Random, mtu: number, connections: number): Impairment {
  const some = (most: number): number => (random.chance(0.5) ? random.fraction() * most : 0);
  const slow = random.chance(0.3);
  return {
    loss: some(0.12),
    duplicate: some(0.08),
    corrupt: some(0.05),
    truncate: some(0.04),
    reorder: some(0.2),
    reorderMs: random.magnitude(1, 80),
    delayMs: random.chance(0.3) ? 0 : random.magnitude(0, 80),
    jitterMs: random.chance(0.5) ? 0 : random.magnitude(0, 20),
    // Never so slow that one connection's full frames keep the others from their SYNs for minutes.
    rate: slow ? Math.max(random.magnitude(30, 20_000), mtu / 10) * Math.ceil(connections / 6) : 0,
    queueFrames: random.magnitude(10, 500),
  };
}

export function planWorld(random: Random, wanted: ProfileName, family: 4 | 6): WorldPlan {
  const profile = wanted === "mixed" || wanted === "ipv6" ? random.pick(KINDS) : wanted;
  const badLink = profile === "loss" || profile === "outage" || (profile === "host" && random.chance(0.3));
  const offload = profile === "offload" || (!badLink && profile !== "tap" && random.chance(0.3));
  const mtu = Math.max(
    random.pick([576, 1280, 1500, 1500, 1500, 9000, 65_520]),
    family === 6 ? IPV6_MTU_MIN : 0,
  );
  const connections = random.chance(0.05) ? random.between(10, 40) : random.between(1, 6);
  const delay = { ...PERFECT, delayMs: random.chance(0.5) ? 0 : random.fraction() * 3 };
  const lossyOffload = offload && random.chance(0.5);
  const base = lossyOffload
    ? { ...delay, loss: random.fraction() * 0.05, reorder: random.fraction() * 0.05, reorderMs: 5 }
    : delay;
  const drops =
    profile === "tap"
      ? { rate: random.magnitude(300, 100_000), queueFrames: random.magnitude(20, 1000) }
      : {};
  const toGuest = badLink ? impairment(random, mtu, connections) : { ...base, ...drops };
  const toEngine = badLink ? impairment(random, mtu, connections) : base;
  const stream = profile === "stream" || (profile !== "tap" && random.chance(0.4));
  const hostile = profile === "host" ? 1 : random.chance(0.3) ? 0.3 : 0;
  const exhaustion = profile === "host" && random.chance(0.5) ? random.fraction() * 0.2 : 0;
  return {
    profile,
    family,
    mtu,
    offload,
    queueFrames: stream ? 0 : random.pick([100, 500, 1000]),
    streamOctets: random.magnitude(2000, 400_000),
    alignment: stream ? -1 : 2,
    toGuest,
    toEngine,
    host: { exhaustion, refuseDatagram: hostile > 0 && random.chance(0.5) ? 0.1 : 0 },
    socket: () => ({
      sendBuffer: random.magnitude(hostile > 0 ? 1000 : 20_000, 400_000),
      receiveBuffer: random.magnitude(hostile > 0 ? 1000 : 20_000, 400_000),
      delayMs: random.chance(0.4) ? 0 : random.magnitude(0, 150),
      hiccups: random.chance(0.5) ? random.fraction() * 0.3 * hostile : 0,
    }),
    latencyMs: random.chance(0.5) ? 0 : random.magnitude(0, 4),
    connections,
    octetsMax: random.pick([2_000, 50_000, 50_000, 300_000, 1_500_000]),
    aborts: random.chance(0.4) ? 0.25 : 0,
    failures: random.chance(0.4) ? 0.2 : 0,
    // Not where a late copy of an old SYN may outlast the pause between two connections.
    reuse: toGuest.rate + toEngine.rate === 0 && random.chance(0.4) ? 0.7 : 0,
    datagramFlows: random.chance(0.5) ? random.between(1, 4) : 0,
    outages: profile === "outage" ? random.between(1, 3) : 0,
    stalls: random.chance(0.1) ? random.between(1, 3) : 0,
    spurious: hostile > 0,
    closeAtMs: random.chance(0.04) ? random.magnitude(1, 20_000) : -1,
  };
}
