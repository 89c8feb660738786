import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../../src/cli/arguments.ts";
import { planEngine } from "../../../src/config/plan.ts";
import { defaultEngineConfig } from "../../../src/engine/config.ts";
import { memoryArguments, memoryNotes } from "../../../src/kubevirt/binding/container-memory.ts";

const MIB = 1_048_576;

/** What an engine of a container may hold, as its options are read. */
function engineOf(bound: number) {
  const { options } = parseCommandArguments("run", [...["--tap", "guest0"], ...memoryArguments(bound)]);
  const engine = planEngine(options);
  expect(options.problems).toEqual([]);
  return engine;
}

describe("an engine in a container", () => {
  it.each([32, 48, 64, 100, 256, 500, 900])("K34 holds less than its %i MiB, and something", (mib) => {
    const { payloadOctets, maxFlows, maxUdpMappings } = engineOf(mib * MIB);
    const spare = Math.max(8 * MIB, (mib - 40) * MIB);
    // A connection is 5 KiB, the remotes of a mapping 20.
    expect(payloadOctets + maxFlows * 5120 + maxUdpMappings * 20_480).toBeLessThanOrEqual(spare);
    expect(maxFlows).toBeGreaterThanOrEqual(64);
    expect(maxUdpMappings).toBeGreaterThan(0);
  });

  it("K34 holds what others do where nothing bounds it, or enough is there", () => {
    const { payloadOctets, maxFlows, maxUdpMappings } = defaultEngineConfig();
    for (const bound of [0, 1024 * MIB, 2 ** 63, 2 ** 64])
      expect(engineOf(bound)).toMatchObject({ payloadOctets, maxFlows, maxUdpMappings });
  });

  it("K34 says that a container is too small", () => {
    expect(memoryNotes(40 * MIB)).toEqual([expect.stringContaining("40 MiB")]);
    for (const mib of [0, 61, 256]) expect(memoryNotes(mib * MIB)).toEqual([]);
  });
});
