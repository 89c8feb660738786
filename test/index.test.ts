/** The library entry: options checked like the command's, an engine in this process, the program's own say. */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { native } from "../src/host/native/native.ts";
import {
  ConfigError,
  type ControlEvent,
  createEngine,
  type FlowRequest,
  type Sluice,
  type SluiceOptions,
  StartError,
} from "../src/index.ts";
import { sendDatagram as send } from "./support/library-guest.ts";
import { until } from "./support/program.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-library-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let engine: Sluice | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

let sockets = 0;
const listener = (): string => `unix:${join(directory, `${sockets++}.sock`)}`;

async function refused(options: SluiceOptions): Promise<string[]> {
  const error: unknown = await createEngine(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as ConfigError).message.split("\n");
}

describe("options", () => {
  it("are checked by the command's table, all at once, under their own names", async () => {
    const wrong = {
      mtu: 9,
      ports: ["80", "x"],
      noDns: "yes",
      gatway: "10.0.2.2",
    } as unknown as SluiceOptions;
    expect(await refused(wrong)).toEqual([
      'mtu: found "9"; allowed: a whole number from 576 to 65521',
      expect.stringMatching(/^ports\[1\]: found "x"; allowed: a port/),
      'noDns: found "yes"; allowed: true or false',
      "gatway: allowed: a known option; did you mean gateway?",
      expect.stringMatching(/^link: found "none"; allowed: exactly one of tap, tapFd, qemuListen/),
    ]);
  });

  it("about the command's processes are none of the library's", async () => {
    const options = { qemuListen: listener(), pidFile: "/tmp/x" } as unknown as SluiceOptions;
    expect((await refused(options))[0]).toMatch(/^pidFile: allowed: a known option/);
  });

  it("that say a part of a policy are refused, and told as the policy says it", async () => {
    const parts = { deny: ["a.example"], ask: ["b.example"], audit: true, policyDefault: "deny", via: "x" };
    const wrong = { qemuListen: listener(), policy: { version: 1 }, ...parts } as unknown as SluiceOptions;
    expect(await refused(wrong)).toEqual([
      "deny: allowed: a known option, such as policy: { rules: [{ deny: TARGET }] }",
      "ask: allowed: a known option, such as policy: { rules: [{ ask: TARGET }] }",
      'audit: allowed: a known option, such as policy: { mode: "audit" }',
      'policyDefault: allowed: a known option, such as policy: { default: "deny" }',
      "via: allowed: a known option, such as policy: { via: URL }",
    ]);
  });

  it("of a policy are checked against the guest's network, too", async () => {
    const policy = { version: 1 as const, via: "socks5://127.0.0.1:1080", "stand-ins": "10.0.0.0/16" };
    expect(await refused({ qemuListen: listener(), net: "10.0.2.0/24", policy })).toEqual([
      'policy: found "stand-ins: 10.0.0.0/16"; allowed: a network apart from the guest\'s (10.0.2.0/24)',
    ]);
  });

  it("take numbers and lists, and leave out what is undefined", async () => {
    const nothing = { gateway: undefined } as unknown as SluiceOptions;
    engine = await createEngine({
      ...nothing,
      qemuListen: listener(),
      mtu: 1400,
      ports: ["0:22"],
      restrict: false,
    });
    expect(engine.forwardPorts).toEqual([expect.any(Number)]);
    expect(engine.forwardPorts[0]).toBeGreaterThan(0);
  });
});

describe("an engine", () => {
  it("says what stands in the way of its start", async () => {
    const blocker = createSocket("udp4");
    blocker.bind(0, "127.0.0.1");
    await once(blocker, "listening");
    const { port } = blocker.address();
    const error: unknown = await createEngine({ qemuListen: listener(), ports: [`udp:${port}:53`] }).catch(
      (e) => e,
    );
    expect(error).toBeInstanceOf(StartError);
    expect((error as StartError).message).toContain(`127.0.0.1:${port}`);
    blocker.close();
  });

  it("asks the program once per flow, counts what it refuses, and leaves nothing when it stops", async () => {
    const server: UdpSocket = createSocket("udp4");
    server.bind(0, "127.0.0.1");
    await once(server, "listening");
    let datagrams = 0;
    server.on("message", () => datagrams++);
    const asked: FlowRequest[] = [];
    const links: boolean[] = [];
    const address = listener();
    engine = await createEngine({
      qemuListen: address,
      allowHostLoopback: true,
      allow: (flow) => {
        asked.push(flow);
        if (flow.remotePort === 11) throw new Error("a mistake in the program");
        return flow.remotePort !== 9;
      },
      onLink: (up) => links.push(up),
    });
    const running = engine;
    const guest = connect(address.slice("unix:".length));
    await once(guest, "connect");
    const port = server.address().port;
    for (const destinationPort of [port, port, 9, 11]) send(guest, destinationPort);
    await until(() => datagrams === 2 && asked.length >= 3, "the datagrams arrive");
    await until(
      () => (running.counters().drops["destination-refused"] ?? 0) === 2,
      "the refusals are counted",
    );
    expect(asked.map((flow) => flow.remotePort)).toEqual([port, 9, 11]);
    expect(asked[0]).toEqual({
      protocol: "udp",
      guestAddress: "10.0.2.15",
      remoteAddress: "10.0.2.2",
      remotePort: port,
    });
    expect(running.linked).toBe(true);
    expect(running.flows()).toMatchObject([{ protocol: "udp", guest: "10.0.2.15:4000" }]);
    expect(await running.stop()).toMatchObject({ reason: "stopped" });
    expect(links[0]).toBe(true);
    expect(existsSync(address.slice("unix:".length))).toBe(false);
    guest.destroy();
    server.close();
  });

  it("tells what happens, and captures it, for as long as somebody asks", async () => {
    const address = listener();
    const steered = await createEngine({ qemuListen: address });
    engine = steered;
    const events: ControlEvent[] = [];
    const off = (["flow-opened", "flow-ended", "link", "forward"] as const).map((type) =>
      steered.on(type, (event) => events.push(event)),
    );
    const file = join(directory, "library.pcapng");
    const { id } = await steered.captures.start(file, { frames: 2 });
    const types = (): string[] => events.map(({ type }) => type);
    const guest = connect(address.slice("unix:".length));
    await once(guest, "connect");
    send(guest, 4711, "203.0.113.1");
    await until(() => types().includes("flow-opened"), "the mapping is told");
    steered.forwards.remove(steered.forwards.add("0:22").id);
    send(guest, 4711);
    await until(async () => (await steered.captures.list())[0]?.frames === 2, "two frames");
    expect(await steered.captures.list()).toMatchObject([{ id, path: file, frames: 2 }]);
    steered.killFlow(steered.flows()[0]?.id ?? 0);
    await until(() => types().includes("flow-ended"), "its end is told");
    expect(types()).toEqual(["link", "flow-opened", "forward", "forward", "flow-ended"]);
    expect(events.at(-1)).toMatchObject({ reason: "killed", octetsFromGuest: 5 });
    for (const end of off) end();
    send(guest, 4711, "203.0.113.1");
    await until(() => steered.flows().length === 1, "another mapping");
    expect(await steered.captures.stop(id)).toMatchObject({ ended: "it has the frames it was to have" });
    await expect(steered.captures.stop(id)).rejects.toThrow("there is no capture");
    await expect(steered.captures.start("/nowhere/x")).rejects.toThrow("ENOENT");
    expect(events).toHaveLength(5);
    guest.destroy();
  });

  it("says that it cannot tell what happens, and tries again for who asks next", async () => {
    const errors: string[] = [];
    const log = { error: (message: string) => errors.push(message), warn() {}, info() {}, debug() {} };
    const steered = await createEngine({ qemuListen: listener(), log });
    engine = steered;
    const events: ControlEvent[] = [];
    const broken = vi.spyOn(native, "socketPair").mockReturnValue([-24, -1]);
    try {
      steered.on("forward", (event) => events.push(event));
      steered.forwards.add("0:22");
      await until(() => errors.length === 2, "both are said");
      await expect(steered.captures.list()).rejects.toThrow("no socket pair");
    } finally {
      broken.mockRestore();
    }
    expect(new Set(errors)).toEqual(
      new Set([expect.stringContaining("events are not told: no socket pair for the engine's records")]),
    );
    steered.on("forward", (event) => events.push(event));
    expect(await steered.captures.list()).toEqual([]);
    steered.forwards.add("0:23");
    await until(() => events.length === 1, "the second forward is told");
  });

  it("is steered while it serves: forwards, flows, leases, the cable", async () => {
    const address = listener();
    const steered = await createEngine({ qemuListen: address, allowHostLoopback: true, ports: ["0:22"] });
    engine = steered;
    const { forwards } = steered;
    expect(forwards.list()).toEqual([
      { id: 1, rule: `tcp:127.0.0.1:${steered.forwardPorts[0]}:22`, hostPort: steered.forwardPorts[0] },
    ]);
    const added = forwards.add("0:80");
    expect(added.id).toBe(2);
    const client = connect(added.hostPort, "127.0.0.1");
    await once(client, "connect");
    client.on("error", () => {});
    expect(() => forwards.add(`${added.hostPort}:80`)).toThrow(StartError);
    expect(() => forwards.add("x")).toThrow(ConfigError);
    expect([forwards.remove(2, true), forwards.remove(2)]).toEqual([true, false]);
    const refusedClient = connect(added.hostPort, "127.0.0.1");
    const [error] = (await once(refusedClient, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNREFUSED");
    client.destroy();
    const guest = connect(address.slice("unix:".length));
    await once(guest, "connect");
    send(guest, 4711);
    await until(() => steered.flows().length === 1, "the guest's mapping");
    const [flow] = steered.flows();
    expect([steered.killFlow(flow?.id ?? 0), steered.killFlow(flow?.id ?? 0)]).toEqual([true, false]);
    expect([steered.flows(), steered.leases()]).toEqual([[], []]);
    steered.setLink(false);
    send(guest, 4711);
    await until(() => (steered.counters().drops["link-down"] ?? 0) > 0, "the frame is dropped");
    expect(steered.flows()).toEqual([]);
    steered.setLink(true);
    send(guest, 4711);
    await until(() => steered.flows().length === 1, "the cable is back");
    guest.destroy();
  });
});
