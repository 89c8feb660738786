import { describe, expect, it } from "vitest";
import { native } from "../../src/host/native/native.ts";
import { Uplink, waysOut } from "../../src/host/uplink.ts";

const EBADF = -9;
const ANY = { index: 0, hasIpv4: false };

describe("the way out", () => {
  it("is given up with everything it holds", () => {
    const watched: number[] = [];
    const watcher = {
      watch: (fd: number): number => {
        watched.push(fd);
        return 7;
      },
      unwatch: (fd: number, token: number): number => watched.push(-fd, token),
    };
    const uplink = new Uplink(watcher, ANY, () => {});
    const [fd = -1] = watched;
    expect(fd).toBeGreaterThan(0);
    expect(uplink.ways).toEqual(waysOut(ANY));
    expect(native.routeChanges(fd)).toBeGreaterThanOrEqual(0);
    uplink.close();
    expect(watched).toEqual([fd, -fd, 7]);
    expect(native.routeChanges(fd)).toBe(EBADF);
  });

  it("is not by a device that leads nowhere", () => {
    for (const index of [native.deviceIndex("lo"), 0x7fffffff]) {
      expect(waysOut({ index, hasIpv4: false })).toEqual({ ipv4: false, ipv6: false });
      expect(waysOut({ index, hasIpv4: true })).toEqual({ ipv4: true, ipv6: false });
    }
  });
});
