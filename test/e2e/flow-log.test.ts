/**
 * The flow log of real traffic: one line for each connection and mapping, with the octets that the programs at both ends
 * counted, and the Community ID that Wireshark has of a capture of the guest's link.
 */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FlowLogEntry } from "../../src/control/flow-log/schema.ts";
import { Agent } from "../support/agent.ts";
import { ControlPlace } from "../support/control-command.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { sluice, until } from "../support/program.ts";
import { findCommand, needs, TUN_DEVICE } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const SCHEMA = fileURLToPath(new URL("../../docs/flow-log.schema.json", import.meta.url));
const isValid = new Ajv2020({ strict: true, validateFormats: false }).compile(
  JSON.parse(readFileSync(SCHEMA, "utf8")),
);

let place: ControlPlace;
let guest: NamespaceGuest | undefined;
let host: Agent;

beforeEach((context) => {
  needs(context, NAMESPACE_NEEDS);
  place = new ControlPlace();
  host = new Agent();
});
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  await host?.close();
  place?.remove();
});

function linesOf(path: string): FlowLogEntry[] {
  const lines = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as FlowLogEntry);
  for (const line of lines) expect([isValid(line), isValid.errors, line]).toEqual([true, null, line]);
  return lines;
}

const endsOf = (lines: readonly FlowLogEntry[]): FlowLogEntry[] =>
  lines.filter(({ event }) => event.action === "flow-end");

async function start(...options: string[]): Promise<NamespaceGuest> {
  guest = await NamespaceGuest.start({
    options: ["--allow-host-loopback", "--flow-log", place.file("flows"), ...place.options, ...options],
  });
  return guest;
}

describe("each flow of a run", () => {
  it("has one line, with the octets of both programs", async () => {
    const { agent } = await start("-p", "0:80");
    const sink = await host.do<number>("tcpServer", { kind: "sink" });
    const source = await host.do<number>("tcpServer", { kind: "source", octets: 3_000_001, seed: 4 });
    const echo = await host.do<number>("udpServer", { kind: "echo" });
    const up = await agent.do<{ octets: number; server: { octets: number } }>("upload", {
      host: GATEWAY,
      port: sink,
      octets: 5_000_003,
      seed: 3,
    });
    const down = await agent.do<{ octets: number }>("download", { host: GATEWAY, port: source });
    expect(await agent.do("udpEcho", { host: GATEWAY, port: echo, sizes: [1, 700, 1400] })).toEqual([]);
    expect(
      await agent.do("many", {
        host: GATEWAY,
        port: await host.do("tcpServer", { kind: "echo" }),
        count: 60,
        octets: 1000,
      }),
    ).toBe(60);
    await agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 80 });
    const hostPort = guest?.hostPort(80) ?? 0;
    const greeting = await host.do<string>("exchange", { host: "127.0.0.1", port: hostPort });
    await guest?.close();
    guest = undefined;
    const ends = endsOf(linesOf(place.file("flows")));
    const numbers = ends.map(({ sluice: { flow } }) => flow);
    expect(new Set(numbers).size).toBe(numbers.length);
    const to = (port: number): FlowLogEntry[] => ends.filter(({ destination }) => destination?.port === port);
    const [sent, ...noMore] = to(sink);
    expect(noMore).toEqual([]);
    // What the server told of it comes back on the same connection.
    const reply = JSON.stringify(up.server).length;
    expect([sent?.source?.bytes, sent?.destination?.bytes]).toEqual([up.server.octets, reply]);
    expect(sent?.sluice).toMatchObject({ end: "closed", ended_by: "guest", retransmits: 0 });
    expect(to(source).map(({ destination, source: from }) => [destination?.bytes, from?.bytes])).toEqual([
      [down.octets, 0],
    ]);
    const mappings = to(echo);
    expect(mappings.map(({ source: from, destination }) => [from?.bytes, destination?.bytes])).toEqual([
      [2101, 2101],
    ]);
    expect(mappings[0]?.sluice.end).toBe("stopped");
    const echoed = ends.filter(
      ({ source: from, destination }) => from?.bytes === 1000 && destination?.bytes === 1000,
    );
    expect(echoed.length).toBe(60);
    const [inbound] = ends.filter(({ network }) => network?.direction === "ingress");
    expect(inbound).toMatchObject({
      source: { ip: "127.0.0.1", nat: { ip: GATEWAY } },
      destination: { ip: "10.0.2.15", port: 80, bytes: greeting.length },
      sluice: { forward: 1 },
    });
    expect(ends.length).toBe(64);
  });

  it("has the Community ID that Wireshark has", async (context) => {
    needs(context, { commands: ["tshark"] });
    const capture = place.file("guest.pcap");
    const { agent } = await start("--pcap", capture);
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    const echo = await host.do<number>("udpServer", { kind: "echo" });
    await agent.do("exchange", { host: GATEWAY, port, message: "x" });
    await agent.do("udpEcho", { host: GATEWAY, port: echo, sizes: [9] });
    await guest?.close();
    guest = undefined;
    const fields = ["tcp.dstport", "udp.dstport", "communityid"].flatMap((field) => ["-e", field]);
    const args = [
      "-r",
      capture,
      "--enable-protocol",
      "communityid",
      "-T",
      "fields",
      "-E",
      "separator=,",
      ...fields,
    ];
    const seen = execFileSync(findCommand("tshark") ?? "", args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ends = endsOf(linesOf(place.file("flows")));
    for (const [column, wanted] of [
      [`${port},,`, port],
      [`,${echo},`, echo],
    ] as const) {
      const theirs = new Set(
        seen
          .split("\n")
          .filter((line) => line.startsWith(column))
          .map((line) => line.slice(column.length)),
      );
      const [ours] = ends.filter(({ destination }) => destination?.port === wanted);
      expect([...theirs]).toEqual([ours?.network?.community_id]);
    }
  });

  it("that was refused or denied has a line, and tries of one target are told together", async () => {
    const { agent } = await start("--flow-log-level", "all");
    const closed = await host.do<number>("tcpServer", { kind: "sink" });
    await host.do("closeServer", { port: closed });
    await agent.do("dial", { host: GATEWAY, port: closed });
    for (let i = 0; i < 5; i++) await agent.do("dial", { host: "169.254.169.254", port: 80 });
    await guest?.close();
    guest = undefined;
    const lines = linesOf(place.file("flows"));
    const [refused] = endsOf(lines).filter(({ destination }) => destination?.port === closed);
    expect(refused).toMatchObject({
      event: { outcome: "failure" },
      error: { code: "ECONNREFUSED" },
      sluice: { end: "refused", ended_by: "host", connect_ms: null },
    });
    const denied = lines.filter(({ event }) => event.action === "flow-denied");
    expect(denied.map(({ event: { reason }, sluice: { times } }) => [reason, times])).toEqual([
      ["destination-refused", 1],
      ["destination-refused", 4],
    ]);
    const begun = lines.filter(({ event }) => event.action === "flow-start");
    expect(begun.map(({ sluice: { flow } }) => flow)).toEqual(
      endsOf(lines).map(({ sluice: { flow } }) => flow),
    );
  });
});

/** Sends so many datagrams to a port of the gateway, each from a port of its own. */
const MANY_MAPPINGS = `
  const dgram = require("dgram");
  const [port, count] = process.argv.slice(1).map(Number);
  let from = 10000;
  const one = () => new Promise((resolve) => {
    const socket = dgram.createSocket("udp4");
    socket.bind(from++, () => socket.send("x", port, "10.0.2.2", () => { socket.close(); resolve(); }));
  });
  (async () => {
    for (let i = 0; i < count; i += 20) await Promise.all(Array.from({ length: 20 }, one));
    console.log("sent");
    setInterval(() => {}, 1000);
  })();`;

it("goes to a descriptor whose pipe is full, and says how many lines it lost", async (context) => {
  needs(context, { tun: true, userNamespaces: true, commands: ["mkfifo"] });
  const path = place.file("pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  const port = await host.do<number>("udpServer", { kind: "echo" });
  const words = ["--tun-device", TUN_DEVICE, "--allow-host-loopback", ...place.options];
  const log = ["--flow-log", "fd:3", "--flow-log-level", "all"];
  const command = [process.execPath, "-e", MANY_MAPPINGS, String(port), "5000"];
  const running = sluice(["exec", ...words, ...log, "--", ...command], {
    stdio: ["ignore", "pipe", "pipe", writer],
  });
  closeSync(writer);
  // Nobody has read a line by then: neither guest nor supervisor has waited for that.
  await running.says(/sent/, "stdout");
  const opened = async (): Promise<number> =>
    JSON.parse(await place.ask("counters", "--json")).counters["udp-mappings-opened"];
  let flows = 0;
  await until(async () => {
    const before = flows;
    flows = await opened();
    return flows === before;
  }, "every datagram has been carried");
  let text = "";
  const octets = Buffer.alloc(1_048_576);
  /** All that is there. True at the end. */
  const read = (): boolean => {
    try {
      for (;;) {
        const got = readSync(reader, octets);
        if (got === 0) return true;
        text += octets.toString("utf8", 0, got);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      return false;
    }
  };
  running.child.kill("SIGTERM");
  await until(read, "the log ends with its writer", 20_000);
  await running.ended;
  closeSync(reader);
  const actions = new Map<string | undefined, number>();
  for (const { event, sluice: said } of text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as FlowLogEntry))
    actions.set(event.action, (actions.get(event.action) ?? 0) + (said.lost ?? 1));
  const [begun = 0, ended = 0, lost = 0] = ["flow-start", "flow-end", "records-lost"].map((a) =>
    actions.get(a),
  );
  expect(begun).toBeGreaterThan(100);
  expect(lost).toBeGreaterThan(0);
  expect(begun + ended + lost).toBe(2 * flows);
}, 60_000);

it("goes to standard output and to a descriptor, for exec as well", async (context) => {
  needs(context, { tun: true, userNamespaces: true });
  const words = ["exec", "--tun-device", TUN_DEVICE, "--control", "none", "--flow-log"];
  const fetch = "exec 3<>/dev/tcp/10.0.2.2/1 || exit 0";
  const plain = await sluice([...words, "-", "--", "bash", "-c", fetch]).ended;
  expect(plain.status).toBe(0);
  const [line] = plain.stdout.split("\n").filter((text) => text.startsWith("{"));
  expect(JSON.parse(line ?? "{}")).toMatchObject({
    event: { action: "flow-denied", reason: "destination-no-service" },
    destination: { ip: "10.0.2.2", port: 1 },
  });
  const wrong = await sluice([...words, place.file("no/such/place"), "--", "true"]).ended;
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toContain("--flow-log ");
  const closed = await sluice([...words, "fd:77", "--", "true"]).ended;
  expect(closed.status).toBe(2);
  expect(closed.stderr).toContain('--flow-log: found "fd:77"; allowed: a descriptor that is open');
});

it("goes to the descriptor of a process in the background", async () => {
  const log = openSync(place.file("log"), "w");
  const files = ["--qemu-listen", `unix:${place.file("vm.sock")}`, "--pid-file", place.file("pid")];
  const { status } = await sluice(["run", "--background", ...files, "--flow-log", "fd:3", ...place.options], {
    stdio: ["ignore", "pipe", "pipe", log],
  }).ended;
  closeSync(log);
  expect(status).toBe(0);
  await place.ask("forward", "add", "0:22");
  await place.ask("stop");
  const text = (): string => readFileSync(place.file("log"), "utf8");
  await until(() => text() !== "", "a line");
  expect(JSON.parse(text())).toMatchObject({ event: { action: "forward" }, sluice: { change: "added" } });
});
