/** Guests differ: a TCP drawn at random from what real ones do. */
import type { Random } from "../world/random.ts";
import type { TcpSettings } from "./tcp-settings.ts";

export function randomTcpSettings(random: Random, mtu: number, offload: boolean): TcpSettings {
  const windowScale = random.chance(0.2) ? -1 : random.between(0, 9);
  const smallest = random.chance(0.1) ? 600 : 3000;
  return {
    mss: random.chance(0.85) ? mtu - 40 : random.between(64, mtu - 40),
    windowScale,
    sack: random.chance(0.75),
    timestamps: random.chance(0.7),
    receiveBuffer: Math.max(
      random.magnitude(smallest, windowScale < 0 ? 65_535 : 1_000_000),
      2 << Math.max(0, windowScale),
    ),
    delayedAckMs: random.pick([0, 10, 40, 200]),
    nagle: random.chance(0.5),
    minRtoMs: random.pick([200, 200, 1000]),
    maxRtoMs: random.pick([2000, 60_000]),
    maxRetries: 30,
    timeWaitMs: random.pick([1000, 60_000]),
    keepaliveMs: random.pick([30_000, 600_000, 7_200_000]),
    probe: random.pick(["octet", "old"]),
    initialWindow: random.pick([1, 3, 10, 100]),
    superPayload: offload && random.chance(0.9) ? random.pick([8000, 32_000, 64_000]) : 0,
    renege: random.chance(0.05) ? 0.02 : 0,
    shrinks: random.chance(0.05),
    crossSyn: random.chance(0.05),
  };
}
