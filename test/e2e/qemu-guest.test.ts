import { join } from "node:path";
import { expect, it } from "vitest";
import { guestLab, LEASE_AND_WEB, READY } from "../support/guest-lab.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { PROGRAM } from "../support/program.ts";
import { needsGuest, shellScript } from "../support/qemu-guest.ts";

const { directory, services, boot } = guestLab("qemu");

function streamTo(path: string, device: string): string[] {
  const netdev = `stream,id=n0,server=off,addr.type=unix,addr.path=${path}`;
  return ["-netdev", netdev, "-device", `${device},netdev=n0`];
}

it("a guest is served, reboots, its QEMU is killed and started again", {
  timeout: 400_000,
}, async (context) => {
  needsGuest(context);
  const path = join(directory, "virtio.sock");
  const engine = services.engine(
    "--qemu-listen",
    `unix:${path}`,
    "--hostname",
    "vm1",
    "--domain",
    "example.test",
  );
  await engine.says(/ready/);
  const options = {
    netdev: streamTo(path, "virtio-net-pci"),
    script: shellScript(LEASE_AND_WEB),
    reboots: true,
  };
  const guest = boot(options);
  await guest.waitFor(READY);
  for (const line of ["ip=10.0.2.15", "mask=24", "router=10.0.2.2", "dns=10.0.2.3", "serverid=10.0.2.2"]) {
    expect(guest.output).toContain(`lease-${line}\n`);
  }
  expect(guest.output).toContain("lease-hostname=vm1\n");
  expect(guest.output).toContain("lease-domain=example.test\n");
  await services.expectServed(guest, engine);

  guest.send("0 reboot -f\n");
  await guest.waitFor(READY, 2);
  await services.expectServed(guest, engine);

  await guest.kill();
  await engine.says(/closed the connection|ECONNRESET/);
  const second = boot(options);
  await second.waitFor(READY);
  await services.expectServed(second, engine);
  const { drops } = await reportOf(engine);
  for (const reason of Object.keys(drops))
    expect(reason).not.toMatch(/malformed|checksum|oversized|truncated/);
});

it("a guest with an e1000 card is served", async (context) => {
  needsGuest(context, "e1000");
  const path = join(directory, "e1000.sock");
  const engine = services.engine("--qemu-listen", `unix:${path}`);
  await engine.says(/ready/);
  const script = shellScript(LEASE_AND_WEB);
  const guest = boot({ kernel: "e1000", netdev: streamTo(path, "e1000"), script });
  await guest.waitFor(READY);
  await services.expectServed(guest, engine);
});

it("sluice qemu starts a guest with an MTU of its own, and ends with QEMU's status", async (context) => {
  // Of the two kernels the one with /dev/port.
  needsGuest(context, "e1000");
  const command = [process.execPath, PROGRAM, "qemu", "--mtu", "4000", ...services.options];
  const guest = boot({
    command: [...command, "--", "qemu-system-x86_64"],
    kernel: "e1000",
    netdev: ["-device", "isa-debug-exit"],
    script: `udhcpc -i eth0 -n -q -t 10 && cat /sys/class/net/eth0/mtu
printf '\\003' | dd of=/dev/port bs=1 seek=$((0x501)) 2>/dev/null
sleep 60`,
  });
  // isa-debug-exit ends QEMU with twice the octet written, and one.
  expect(await guest.exited).toBe(2 * 3 + 1);
  expect(guest.output).toContain("lease-ip=10.0.2.15\n");
  expect(guest.output).toMatch(/^4000$/m);
  expect(guest.errors).toBe("");
});
