/** What tests with booted guests share: servers of the host, a directory, and guests that are gone after each test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll } from "vitest";
import { GUEST_WEB, HostServices } from "./host-services.ts";
import { bootGuest, type GuestOptions, type QemuGuest } from "./qemu-guest.ts";

/** For shellScript: a lease, and a web server for HostServices.expectServed. */
export const LEASE_AND_WEB = `udhcpc -i eth0 -n -q -t 10\n${GUEST_WEB}`;
export const READY = /^guest-ready\n/m;

export interface GuestLab {
  readonly directory: string;
  readonly services: HostServices;
  boot(options: GuestOptions): QemuGuest;
}

/** For the top of a file: hooks of vitest open and close what it gives. `name` is part of the directory's. */
export function guestLab(name: string): GuestLab {
  const directory = mkdtempSync(join(tmpdir(), `sluice-test-${name}-`));
  const services = new HostServices();
  const guests: QemuGuest[] = [];
  beforeAll(() => services.open());
  afterEach(async () => {
    for (const guest of guests.splice(0)) await guest.kill();
    await services.endEngines();
  });
  afterAll(async () => {
    await services.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const boot = (options: GuestOptions): QemuGuest => {
    const guest = bootGuest(options);
    guests.push(guest);
    return guest;
  };
  return { directory, services, boot };
}
