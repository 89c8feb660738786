import { describe, expect, it } from "vitest";
import { native } from "../../src/host/native/native.ts";
import { hasUplink, Uplink } from "../../src/host/uplink.ts";

const EBADF = -9;

describe("the way out over IPv6", () => {
  it("is given up with everything it holds", () => {
    const watched: number[] = [];
    const watcher = {
      watch: (fd: number): number => {
        watched.push(fd);
        return 7;
      },
      unwatch: (fd: number, token: number): number => watched.push(-fd, token),
    };
    const uplink = new Uplink(watcher, 0, () => {});
    const [fd = -1] = watched;
    expect(fd).toBeGreaterThan(0);
    expect(uplink.isUp).toBe(hasUplink(0));
    expect(native.routeChanges(fd)).toBeGreaterThanOrEqual(0);
    uplink.close();
    expect(watched).toEqual([fd, -fd, 7]);
    expect(native.routeChanges(fd)).toBe(EBADF);
  });

  it("is not by a device that leads nowhere", () => {
    expect(hasUplink(native.deviceIndex("lo"))).toBe(false);
    expect(hasUplink(0x7fffffff)).toBe(false);
  });
});
