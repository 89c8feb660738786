/** `sluice kubevirt-binding` as a launcher finds it: a process, its socket, its engine and what becomes of them. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RESTARTS_MAX } from "../../src/kubevirt/binding/engine-keeper.ts";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { engineOf } from "../support/engine-pid.ts";
import { freePort } from "../support/free-port.ts";
import { isAlive, type Running, sluice, until } from "../support/program.ts";

const DOMAIN = `<domain type="kvm"><name>x</name><devices/></domain>`;

let folder = "";
let sidecar: Running;
let client: HookClient;

const socketPath = (): string => join(folder, "sluice-sluice.sock");

async function start(...more: string[]): Promise<void> {
  sidecar = sluice(["kubevirt-binding", "--hooks-dir", folder, ...more], {
    env: { ...process.env, CONTAINER_NAME: "hook-sidecar-0", NETWORK_BINDING_PLUGIN_NAME: "sluice" },
  });
  await sidecar.says(/serving the hooks/);
  client = new HookClient(socketPath());
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-hooks-"));
  await start();
});
afterEach(async () => {
  client.close();
  if (isAlive(sidecar.child.pid!)) sidecar.child.kill("SIGKILL");
  await sidecar.ended;
  rmSync(folder, { recursive: true, force: true });
});

/** Whether a port of the pod is ours: it lets nobody in before the guest's is open. */
function portIs(port: number): Promise<"bound" | "free"> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve("bound"));
    server.listen(port, "0.0.0.0", () => server.close(() => resolve("free")));
  });
}

/** Whether something listens on a port of 127.0.0.1. */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

const ports = (...numbers: number[]) => vmiOf({ ports: numbers.map((port) => ({ port })) });

/** Milliseconds until the sidecar has ended, and its status. */
async function ended(): Promise<readonly [number | null, number]> {
  const begin = performance.now();
  const { status } = await sidecar.ended;
  return [status, performance.now() - begin];
}

describe("sluice kubevirt-binding", () => {
  it("K20 K21 serves its hooks by what the environment says, and goes with its socket", async () => {
    const { name, versions } = await client.info();
    expect([name, versions]).toEqual(["sluice", ["v1alpha3", "v1alpha2"]]);
    expect(readdirSync(folder)).toEqual(["engine", "sluice-sluice.sock"]);
    sidecar.child.kill("SIGTERM");
    expect((await ended())[0]).toBe(0);
    expect(readdirSync(folder)).toEqual(["engine"]);
    expect(readdirSync(join(folder, "engine"))).toEqual([]);
  });

  it("K22 K23 has every port bound before it answers, and others for another spec", async () => {
    const [first, second] = [await freePort(), await freePort()];
    await client.define(DOMAIN, ports(first));
    expect([await portIs(first), await portIs(second)]).toEqual(["bound", "free"]);
    const engine = engineOf(sidecar);
    await client.define(DOMAIN, ports(first));
    expect(engineOf(sidecar)).toBe(engine);
    await client.define(DOMAIN, ports(second));
    expect([await portIs(first), await portIs(second)]).toEqual(["free", "bound"]);
  });

  it("K22 names the port that another has, and takes it once it is free", async () => {
    const port = await freePort();
    const other = createServer().listen(port, "0.0.0.0");
    await expect(client.define(DOMAIN, ports(port))).rejects.toMatchObject({
      code: 9,
      details: expect.stringMatching(new RegExp(`^the guest cannot be served: .*\\b${port}\\b.*in use`)),
    });
    await new Promise((resolve) => other.close(resolve));
    await client.define(DOMAIN, ports(port));
    expect(await portIs(port)).toBe("bound");
    expect(await listens(port)).toBe(false);
  });

  it("K26 has a stream for a card that is no virtio one, and ends with an error when its engine dies", async () => {
    const domain = await client.define(DOMAIN, vmiOf({ model: "e1000" }));
    const link = Number(/<source address="127\.0\.0\.1" port="(\d+)"\/>/.exec(domain)?.[1]);
    expect(await listens(link)).toBe(true);
    process.kill(engineOf(sidecar), "SIGKILL");
    expect((await ended())[0]).toBe(1);
    expect(sidecar.stderr).toContain("the VM's network is gone, and this sidecar ends");
    expect(existsSync(socketPath())).toBe(false);
  });

  it("K29 starts a dead engine again with its ports, and ends with an error when that is no help", async () => {
    const port = await freePort();
    await client.define(DOMAIN, ports(port));
    for (let n = 0; n < RESTARTS_MAX; n++) {
      const dead = engineOf(sidecar);
      process.kill(dead, "SIGKILL");
      // Asking for the port sooner would take it from the engine that is being started.
      await until(
        () => sidecar.stderr.split("sluice: ready").length - 1 === n + 2,
        "the guest is served again",
      );
      expect(await portIs(port)).toBe("bound");
      expect(isAlive(dead)).toBe(false);
      expect(engineOf(sidecar)).not.toBe(dead);
    }
    process.kill(engineOf(sidecar), "SIGKILL");
    expect((await ended())[0]).toBe(1);
  });

  it.each(["Shutdown", "SIGTERM", "SIGINT"])(
    "K30 ends with status 0 within two seconds of %s",
    async (end) => {
      await client.define(DOMAIN, ports(await freePort()));
      const engine = engineOf(sidecar);
      if (end === "Shutdown") await client.shutdown();
      else sidecar.child.kill(end as NodeJS.Signals);
      const [status, ms] = await ended();
      expect(status).toBe(0);
      expect(ms).toBeLessThan(2000);
      expect(isAlive(engine)).toBe(false);
      expect(existsSync(socketPath())).toBe(false);
    },
  );

  it("K36 serves the hook of Plugin objects at a socket of its own", async () => {
    sidecar.child.kill("SIGTERM");
    await sidecar.ended;
    client.close();
    const path = join(folder, "plugin", "hook.sock");
    await start("--plugin-socket", path);
    const other = new HookClient(path);
    expect(await other.mutate(DOMAIN, vmiOf())).toContain(`<alias name="ua-default"/>`);
    other.close();
    expect(engineOf(sidecar)).toBeGreaterThan(0);
  });

  it("K20 says what is wrong with its arguments, all at once", async () => {
    const { status, stderr } = await sluice(["kubevirt-binding", "--hook-dir", "--binding-name", "A B", "x"])
      .ended;
    expect(status).toBe(2);
    for (const text of [
      "--hook-dir: ",
      "did you mean --hooks-dir?",
      '--binding-name: found "A B"',
      'found "x"',
    ])
      expect(stderr).toContain(text);
    const help = await sluice(["kubevirt-binding", "--help"]).ended;
    expect([help.status, help.stdout]).toEqual([0, expect.stringContaining("--hooks-dir PATH")]);
  });
});
