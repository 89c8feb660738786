import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findResources, RESOURCES_PREFIX } from "../../../src/kubevirt/plan/device-plugin.ts";

const RED = "bridge.network.kubevirt.io/red";
/** The sample of the page, as it stands there. */
const SAMPLE = `{
  "name": "bridge.network.kubevirt.io/red", 
  "interfaces": [{"name": "eth-red01", "protocol": "Ethernet"}, {"name": "eth-red02", "protocol": "Ethernet"}]
}`;

function found(env: Record<string, string>, nics: readonly (readonly [string, string])[] = [["red", RED]]) {
  const { devices, problems } = findResources(
    nics.map(([nic, resourceName]) => ({ nic, resourceName })),
    env,
  );
  return { devices: Object.fromEntries(devices), problems };
}

describe("what a device plugin says", () => {
  it("S34 the page's JSON is understood behind any name with the prefix", () => {
    expect(found({ [`${RESOURCES_PREFIX}ANY`]: SAMPLE })).toEqual({
      devices: { red: "eth-red01" },
      problems: [],
    });
  });

  it("S35 nothing else is asked of a plugin: other keys and other variables do not matter", () => {
    const more = JSON.stringify({ ...JSON.parse(SAMPLE), version: 2, vendor: {} });
    expect(found({ PATH: "/bin", OTHER: "{", [`${RESOURCES_PREFIX}X`]: more }).devices).toEqual({
      red: "eth-red01",
    });
  });

  it("S37 of several interfaces for one network the first is taken", () => {
    const { devices } = found({ [`${RESOURCES_PREFIX}X`]: SAMPLE });
    expect(devices).toEqual({ red: "eth-red01" });
  });

  it("S38 of several plugins for one network the first in sorted order is taken", () => {
    const other = SAMPLE.replaceAll("eth-red0", "veth-b");
    expect(found({ [`${RESOURCES_PREFIX}B`]: other, [`${RESOURCES_PREFIX}A`]: SAMPLE }).devices).toEqual({
      red: "eth-red01",
    });
    expect(found({ [`${RESOURCES_PREFIX}A`]: other, [`${RESOURCES_PREFIX}B`]: SAMPLE }).devices).toEqual({
      red: "veth-b1",
    });
  });

  it("two networks of one resource get an interface each, a third is refused", () => {
    const env = { [`${RESOURCES_PREFIX}X`]: SAMPLE };
    expect(
      found(env, [
        ["a", RED],
        ["b", RED],
      ]).devices,
    ).toEqual({ a: "eth-red01", b: "eth-red02" });
    expect(
      found(env, [
        ["a", RED],
        ["b", RED],
        ["c", RED],
      ]).problems[0].found,
    ).toBe("no interface that is still free");
  });

  it("S40 another protocol than Ethernet is an error", () => {
    const { problems } = found({ [`${RESOURCES_PREFIX}X`]: SAMPLE.replaceAll("Ethernet", "IP") });
    expect(problems).toEqual([
      { place: `${RESOURCES_PREFIX}X`, found: 'protocol "IP"', allowed: '"Ethernet"' },
    ]);
  });

  it("D7 the device is the name in the JSON, never one guessed from the network", () => {
    const env = { [`${RESOURCES_PREFIX}X`]: SAMPLE.replace("eth-red01", "something") };
    expect(found(env).devices).toEqual({ red: "something" });
  });

  it("a network no plugin announces, a variable that is no such JSON, an impossible device name are told", () => {
    expect(found({}).problems[0]).toMatchObject({
      place: `resource ${RED}`,
      found: "no variable that names it",
    });
    expect(found({ [`${RESOURCES_PREFIX}X`]: "{oops" }).problems.map((problem) => problem.place)).toEqual([
      `${RESOURCES_PREFIX}X`,
      `resource ${RED}`,
    ]);
    const { problems } = found({ [`${RESOURCES_PREFIX}X`]: SAMPLE.replace("eth-red01", "../../etc") });
    expect(problems[0].allowed).toContain("device name");
  });

  it("any text in the variable gives a device name Linux takes, or a problem", () => {
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record({
          name: fc.constant(RED),
          interfaces: fc.array(fc.record({ name: fc.string(), protocol: fc.constantFrom("Ethernet", "IP") })),
        })
        .map((value) => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(text, (value) => {
        const { devices, problems } = found({ [`${RESOURCES_PREFIX}X`]: value });
        expect(Object.keys(devices).length + problems.length).toBeGreaterThan(0);
        for (const device of Object.values(devices)) expect(device).toMatch(/^[^/:%\s\0]{1,15}$/);
      }),
    );
  });
});
