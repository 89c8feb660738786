/** Makes the core that is being tested, over simulated ports. The only place that knows how. */

import type { EngineCore } from "../../src/engine/api.ts";
import type { HostNetwork } from "../../src/engine/boundary.ts";
import type { EngineConfig } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import type { World } from "./world/world.ts";

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
