/** `--vhost-user` from outside: a front-end of the test's own plays the machine, and then QEMU is one. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { native } from "../../src/host/native/native.ts";
import { guestLab, LEASE_AND_WEB, READY } from "../support/guest-lab.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { PROGRAM, type Running } from "../support/program.ts";
import { needsGuest, shellScript } from "../support/qemu-guest.ts";
import { calls, VhostFrontEnd } from "../support/vhost-front-end.ts";
import { sharedCard, WITHOUT_VECTORS } from "../support/vhost-guest.ts";

const { directory, services, boot } = guestLab("vhost");
const fronts: VhostFrontEnd[] = [];

afterEach(() => {
  for (const front of fronts.splice(0)) front.close();
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function connect(path: string): VhostFrontEnd {
  const socket = native.unixConnect(path, "stream");
  expect(socket).toBeGreaterThan(0);
  const front = new VhostFrontEnd(socket);
  fronts.push(front);
  return front;
}

async function closing(front: VhostFrontEnd): Promise<void> {
  for (let i = 0; i < 200 && !front.isClosed; i++) await pause(10);
  expect(front.isClosed).toBe(true);
}

/** Who has 10.0.2.2? */
const ARP_REQUEST = Buffer.from(
  `ffffffffffff5254001234560806000108000604000152540012345600000000000000000000${"0a000202"}`,
  "hex",
);
ARP_REQUEST.writeUInt32BE(0x0a00020f, 28);

async function expectAnswer(front: VhostFrontEnd): Promise<void> {
  for (let i = 0; i < 16; i++) front.receive.post([{ room: 2048 }]);
  front.transmit.post([{ octets: new Uint8Array(Buffer.concat([Buffer.alloc(12), ARP_REQUEST])) }]);
  calls.kick(front.transmit.kick);
  for (let i = 0; i < 200; i++) {
    const answers = front.receive.takeFrames().map(({ frame }) => Buffer.from(frame).toString("hex"));
    if (answers.some((answer) => answer.startsWith("52540012345652550a0002020806"))) return;
    await pause(10);
  }
  throw new Error("no ARP reply");
}

describe("sluice run --vhost-user", () => {
  it("serves one front-end after the other, and removes its socket", async () => {
    const path = join(directory, "front.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`);
    await engine.says(/ready/);
    for (let i = 0; i < 3; i++) {
      const front = connect(path);
      front.start();
      await expectAnswer(front);
      // A second one is told to go.
      if (i === 0) {
        const second = connect(path);
        await engine.says(/refused a second connection/);
        await closing(second);
        await expectAnswer(front);
      }
      front.close();
      await pause(100);
    }
    engine.child.kill("SIGTERM");
    const { status, stderr } = await engine.ended;
    expect(status).toBe(0);
    expect(stderr.match(/guest attached/g)).toHaveLength(3);
    expect(stderr.match(/the front-end closed the connection/g)).toHaveLength(3);
    expect(existsSync(path)).toBe(false);
  });

  it("serves the next front-end after a ring that made no sense, and counts that", async () => {
    const path = join(directory, "bad.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`);
    await engine.says(/ready/);
    const bad = connect(path);
    bad.start();
    bad.transmit.setAvailableIndex(5000);
    calls.kick(bad.transmit.kick);
    await engine.says(/a ring of the guest makes no sense/);
    await closing(bad);
    const good = connect(path);
    good.start();
    await expectAnswer(good);
    expect((await reportOf(engine)).counters["vhost-bad-ring"]).toBe(1);
  });

  it("with --one-off ends when the front-end leaves, and not when it only looked", async () => {
    const path = join(directory, "once.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`, "--one-off");
    await engine.says(/ready/);
    const looker = connect(path);
    looker.close();
    const front = connect(path);
    front.start();
    await expectAnswer(front);
    front.stopRing(0);
    front.stopRing(1);
    front.startRings();
    await expectAnswer(front);
    front.close();
    expect((await engine.ended).status).toBe(0);
    expect(engine.stderr).toContain("the front-end has left");
  });

  it("records what passes with --pcap", async () => {
    const path = join(directory, "pcap.sock");
    const capture = join(directory, "card.pcap");
    const engine = services.engine("--vhost-user", `unix:${path}`, "--pcap", capture);
    await engine.says(/ready/);
    const front = connect(path);
    front.start();
    await expectAnswer(front);
    engine.child.kill("SIGTERM");
    await engine.ended;
    expect(readFileSync(capture).includes(ARP_REQUEST)).toBe(true);
  });
});

describe("a guest in QEMU", () => {
  it("is served, reboots, its QEMU is killed and started again", { timeout: 400_000 }, async (context) => {
    needsGuest(context);
    const path = join(directory, "qemu.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`);
    await engine.says(/ready/);
    const options = { netdev: sharedCard(path), script: shellScript(LEASE_AND_WEB), reboots: true };
    const guest = boot(options);
    await guest.waitFor(READY);
    await services.expectServed(guest, engine);

    guest.send("0 reboot -f\n");
    await guest.waitFor(READY, 2);
    await services.expectServed(guest, engine);

    await guest.kill();
    await engine.says(/the front-end closed the connection/);
    const second = boot(options);
    await second.waitFor(READY);
    await services.expectServed(second, engine);
    const { drops } = await reportOf(engine);
    for (const reason of Object.keys(drops)) {
      expect(reason).not.toMatch(/malformed|checksum|oversized|truncated|refused$/);
    }
  });

  it("is served again by an engine that was killed and started anew", {
    timeout: 200_000,
  }, async (context) => {
    needsGuest(context);
    const path = join(directory, "again.sock");
    const first = services.engine("--vhost-user", `unix:${path}`);
    await first.says(/ready/);
    const guest = boot({
      netdev: sharedCard(path, { socket: ",reconnect=1" }),
      script: shellScript(LEASE_AND_WEB),
    });
    await guest.waitFor(READY);
    await services.expectServed(guest, first);
    first.child.kill("SIGKILL");
    await first.ended;
    const second: Running = services.engine("--vhost-user", `unix:${path}`);
    await second.says(/guest attached/);
    await services.expectServed(guest, second);
  });

  it("of sluice qemu --vhost-user has its memory shared by itself", { timeout: 100_000 }, async (context) => {
    needsGuest(context);
    const command = [process.execPath, PROGRAM, "qemu", "--vhost-user", "--mtu", "4000", ...services.options];
    const guest = boot({
      command: [...command, "--", "qemu-system-x86_64"],
      netdev: WITHOUT_VECTORS,
      script: `udhcpc -i eth0 -n -q -t 10 && cat /sys/class/net/eth0/mtu && wget -q -O - http://10.0.2.2:1/ ; echo fetched $?`,
    });
    expect(await guest.exited).toBe(0);
    expect(guest.output).toContain("lease-ip=10.0.2.15\n");
    expect(guest.output).toMatch(/^4000$/m);
    expect(guest.errors).toMatch(/^wget|^$/);
  });
});
