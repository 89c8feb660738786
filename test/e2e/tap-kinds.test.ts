/** TAPs however they come to be: made by us, opened by somebody else, there before us; and what is left of them. */
import { closeSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openTapInNamespace } from "../../src/host/process/namespace-tap.ts";
import { Agent } from "../support/agent.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest, reportOf } from "../support/namespace-guest.ts";
import { PROGRAM, type Running, run } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const OCTETS = 5_000_000;

const closing: (() => Promise<unknown>)[] = [];
beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function makeHost(): Promise<HostNamespace> {
  const namespace = await HostNamespace.make();
  closing.push(() => namespace.close());
  return namespace;
}

/** sluice in this namespace, with descriptors of ours: the first is its 3. */
function serve(args: readonly string[], descriptors: readonly number[] = []): Running {
  const running = run(process.execPath, [PROGRAM, "run", "--allow-host-loopback", ...args], {
    stdio: ["ignore", "pipe", "pipe", ...descriptors],
  });
  closing.push(async () => {
    running.child.kill("SIGTERM");
    await running.ended;
  });
  return running;
}

function setByHand(guest: HostNamespace): void {
  guest.ip("address", "add", "10.0.2.15/24", "dev", "tap0");
  guest.ip("link", "set", "tap0", "up");
}

async function expectUpload(guest: Agent): Promise<void> {
  const host = new Agent();
  closing.push(() => host.close());
  const port = await host.do<number>("tcpServer", { kind: "sink" });
  const upload = { host: GATEWAY, port, octets: OCTETS, seed: 1 };
  const sent = await guest.do<{ sha256: string; server: unknown }>("upload", upload);
  expect(sent.server).toEqual({ octets: OCTETS, sha256: sent.sha256 });
}

it.for([
  { name: "with a vnet header", vnetHeader: true },
  { name: "without", vnetHeader: false },
])("a TAP that somebody else opened, $name, is inherited as a descriptor", async ({ vnetHeader }) => {
  const guest = await makeHost();
  const { fd } = await openTapInNamespace({
    name: "tap0",
    netns: guest.pid,
    vnetHeader,
    tunDevice: TUN_DEVICE,
  });
  const running = serve(["--tap-fd", "3"], [fd]);
  await running.says(/ready: tap/);
  closeSync(fd);
  setByHand(guest);
  await expectUpload(guest.agent);
  const { counters } = await reportOf(running);
  const average = counters["link-octets-from-guest"] / counters["link-frames-from-guest"];
  if (vnetHeader) expect(average).toBeGreaterThan(1514);
  else expect(average).toBeLessThanOrEqual(1514);
});

it("a TAP that we made is gone with us", async () => {
  const guest = await NamespaceGuest.start({});
  closing.push(() => guest.close());
  expect(guest.ip("-brief", "link", "show", "tap0")).toContain("tap0");
  guest.sluice.child.kill("SIGTERM");
  expect(await guest.sluice.ended).toMatchObject({ status: 0 });
  expect(() => guest.ip("link", "show", "tap0")).toThrow("does not exist");
});

it("a guest goes on where it was when sluice is killed and started again", async () => {
  const guest = await makeHost();
  const start = () =>
    serve(["--tap", "tap0", "--netns", String(guest.pid), "--tun-device", TUN_DEVICE, "--configure"]);
  const first = start();
  await first.says(/ready/);
  await expectUpload(guest.agent);
  first.child.kill("SIGKILL");
  await first.ended;
  // The engine notices by itself that its supervisor is gone; then the TAP is free.
  let second = start();
  for (let tries = 0; tries < 20; tries++) {
    const ready = await second.says(/ready/).catch(() => undefined);
    if (ready) break;
    second = start();
  }
  await expectUpload(guest.agent);
});

it("a TAP that was there before us is used, and stays", async (context) => {
  needs(context, { root: true, tun: true });
  const guest = await makeHost();
  guest.ip("tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr");
  setByHand(guest);
  const running = serve(["--tap", "tap0", "--netns", String(guest.pid)]);
  await running.says(/ready: tap tap0/);
  await expectUpload(guest.agent);
  running.child.kill("SIGTERM");
  expect(await running.ended).toMatchObject({ status: 0 });
  expect(guest.ip("-brief", "link", "show", "tap0")).toContain("tap0");
  expect(guest.ip("-brief", "address", "show", "tap0")).toContain("10.0.2.15/24");
});
