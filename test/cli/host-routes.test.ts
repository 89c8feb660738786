import { describe, expect, it } from "vitest";
import { hostRoutes, overlapWarning } from "../../src/cli/host-routes.ts";
import { parseNetwork } from "../../src/config/address.ts";
import { parseRoutes4 } from "../../src/host/kernel-routes.ts";

const TABLE = [
  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
  "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0",
  "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0",
  "tap0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
  "vpn0\t05030A0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0",
  "",
].join("\n");

describe("the host's routes", () => {
  it("are read from /proc/net/route, without default routes", () => {
    expect(hostRoutes(parseRoutes4(TABLE))).toEqual(
      ["192.168.1.0/24", "10.0.2.0/24"].map(parseNetwork).concat([{ network: 0x0a0a0305, prefixLength: 32 }]),
    );
  });

  it("are complained about when the guest's subnet hides them, with a free subnet", () => {
    const routes = hostRoutes(parseRoutes4(TABLE));
    expect(overlapWarning(parseNetwork("10.0.2.0/24"), routes)).toBe(
      "the host has a route to 10.0.2.0/24, which the guest's subnet 10.0.2.0/24 hides; --net 10.0.3.0/24 would avoid it",
    );
    expect(overlapWarning(parseNetwork("10.0.0.0/8"), routes)).toContain("--net 10.0.3.0/24");
    expect(overlapWarning(parseNetwork("172.20.0.0/16"), routes)).toBeUndefined();
  });

  it("are none when the table is empty", () => {
    expect(hostRoutes(parseRoutes4(""))).toEqual([]);
  });
});
