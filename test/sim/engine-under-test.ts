/** Makes the core that is being tested, over simulated ports. The only place that knows how. */

import type { EngineCore } from "../../src/engine/api.ts";
import type { HostNetwork } from "../../src/engine/boundary.ts";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import { address6 } from "./guest-stack/address-plan.ts";
import type { WorldPlan } from "./profile.ts";
import type { World } from "./world/world.ts";

export const GUEST_IP = 0x0a00020f;
export const GATEWAY_IP = 0x0a000202;

let shared: Arena | null = null;

/**
 * One arena serves all worlds of a process, one after the other. What an earlier world left in it must not matter;
 * if it does, a replay in a fresh process differs, which is a defect as well.
 */
export function arenaForWorld(): Arena {
  shared ??= new Arena(REASSEMBLY_REGION_OCTETS);
  return shared;
}

export function makeEngine(
  world: World,
  arena: Arena,
  network: HostNetwork,
  config: EngineConfig,
): EngineCore {
  const random = world.random.fork();
  return createEngineCore(
    config,
    {
      arena,
      network,
      entropy: { int32: () => random.int32() },
      checksum: new JavaScriptChecksum(arena.view),
    },
    world.clock,
  );
}

/** The engine of this world: one TCP forward, to the same port of the guest's. */
export function configFor({ family, mtu }: WorldPlan, port: number): EngineConfig {
  const defaults = defaultEngineConfig();
  const ipv6 = { ...defaultIpv6Config(defaults.gatewayMac), guestAddress: address6(GUEST_IP), dhcp: null };
  const isIpv6 = family === 6;
  const forward = {
    protocol: "tcp",
    hostAddress: 0x7f000001,
    hostPort: port,
    guestAddress: 0,
    guestPort: port,
  } as const;
  return {
    ...defaults,
    mtu,
    dhcp: null,
    ipv6: isIpv6 ? ipv6 : null,
    forwards: [isIpv6 ? { ...forward, guestAddress6: null } : forward],
  };
}
