/** `sluice pcap`: captures that come and go while a guest is served, read by tshark. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, statSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CaptureResource, Flow } from "../../src/control/schema.ts";
import { Agent } from "../support/agent.ts";
import { ControlPlace } from "../support/control-command.ts";
import { DnsServer } from "../support/dns-server.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { PROGRAM, run, until } from "../support/program.ts";
import { findCommand, needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
let place: ControlPlace;
let guest: NamespaceGuest | undefined;
let host: Agent;

beforeEach((context) => {
  needs(context, { ...NAMESPACE_NEEDS, commands: [...(NAMESPACE_NEEDS.commands ?? []), "tshark"] });
  place = new ControlPlace();
  host = new Agent();
});
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  await host?.close();
  place?.remove();
});

async function start(...options: string[]): Promise<NamespaceGuest> {
  guest = await NamespaceGuest.start({ options: ["--allow-host-loopback", ...place.options, ...options] });
  return guest;
}

/** What tshark says of each frame of a capture, by these fields. */
function fieldsOf(path: string, ...fields: string[]): string[][] {
  const wanted = fields.flatMap((field) => ["-e", field]);
  const args = ["-r", path, "-T", "fields", "-E", "separator=|", "-N", "n", ...wanted];
  const text = execFileSync(findCommand("tshark") ?? "", args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return text
    .split("\n")
    .slice(0, -1)
    .map((row) => row.split("|"));
}

async function json<T>(...args: [string, ...string[]]): Promise<T[]> {
  const text = await place.ask(args[0], ...args.slice(1), "--json");
  return text
    .split("\n")
    .filter((row) => row !== "")
    .map((row) => JSON.parse(row) as T);
}

describe("a capture", () => {
  it("begins and ends while flows go on, and says of each frame what it is", async () => {
    const { agent } = await start();
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    await agent.do("exchange", { host: GATEWAY, port, message: "before" });
    const file = place.file("all.pcapng");
    expect(await place.ask("pcap", "start", file)).toBe(`capture 1: ${file}\n`);
    await agent.do("exchange", { host: GATEWAY, port, message: "during" });
    for (let i = 0; i < 3; i++) await agent.do("dial", { host: "169.254.169.254", port: 80 });
    const [listed] = await json<CaptureResource>("pcap");
    expect(listed).toMatchObject({ id: 1, path: file, drops: false, ended: null, lost: 0 });
    expect(await place.ask("pcap", "stop")).toMatch(/^capture 1: \d+ frames, .* in .*all\.pcapng\n$/);
    expect(await place.ask("pcap")).toBe("no captures\n");
    const before = statSync(file).size;
    await agent.do("exchange", { host: GATEWAY, port, message: "after" });
    expect(statSync(file).size).toBe(before);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const frames = fieldsOf(
      file,
      "frame.comment",
      "frame.packet_flags_direction",
      "tcp.dstport",
      "tcp.flags.str",
      "tcp.payload",
    );
    const toPort = frames.filter(([, , to]) => to === String(port));
    const [first, ...others] = toPort;
    expect(first?.[0]).toMatch(/^flow \d+$/);
    expect(others.map(([comment]) => comment)).toEqual(others.map(() => ""));
    const directions = new Set(toPort.map(([, direction]) => Number(direction)));
    expect([...directions]).toEqual([1]);
    const answers = frames.filter(([, direction, to]) => Number(direction) === 2 && to !== "80");
    expect(answers.length).toBeGreaterThan(2);
    const hex = (text: string): string => Buffer.from(text).toString("hex");
    const payloads = frames.map((row) => row[4] ?? "").join(" ");
    expect(payloads).toContain(hex("during"));
    expect(payloads).not.toContain(hex("before"));
    const denied = frames.filter(([, , to]) => to === "80");
    expect(denied.map(([comment, direction]) => [comment, Number(direction)])).toEqual(
      denied.map(() => ["dropped: destination-refused", 1]),
    );
    expect(denied.length).toBeGreaterThanOrEqual(3);
  });

  it("of one flow among a hundred has that one's frames, whole", async () => {
    const { agent } = await start();
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    const kept = await host.do<number>("tcpServer", { kind: "echo" });
    await agent.do("hold", { name: "kept", host: GATEWAY, port: kept });
    const [flow] = await json<Flow>("flows", `${GATEWAY}:${kept}`);
    const file = place.file("one.pcapng");
    await place.ask("pcap", "start", file, "--flow", String(flow?.id));
    expect(await agent.do("many", { host: GATEWAY, port, count: 100, octets: 100 })).toBe(100);
    await agent.do("askHeld", { name: "kept", message: "hello" });
    const [stopped] = await json<CaptureResource>("pcap", "stop", "1");
    expect(stopped?.ended).toBe("stopped");
    const frames = fieldsOf(file, "tcp.port", "tcp.payload", "frame.comment");
    expect(frames.length).toBe(stopped?.frames);
    expect(frames.length).toBeGreaterThan(2);
    expect(frames.every(([ports]) => ports?.split(",").includes(String(kept)))).toBe(true);
    expect(frames.filter((row) => row[1] === Buffer.from("hello").toString("hex"))).toHaveLength(2);
    expect(frames[0]?.[2]).toBe(`flow ${flow?.id}`);
    await expect(place.ask("pcap", "start", file, "--flow", "99999")).rejects.toThrow(
      "there is no flow 99999",
    );
  });

  it("of drops alone ends with the frames it was to have, and of a name has the addresses that DNS gives", async () => {
    const resolver = new DnsServer("169.254.7.7");
    await resolver.listen();
    const { agent } = await start("--resolver", `127.0.0.1:${resolver.port}`);
    const drops = place.file("drops.pcapng");
    const named = place.file("named.pcapng");
    await place.ask("pcap", "start", drops, "--drops", "--frames", "2", "--host", "169.254.169.254");
    await place.ask("pcap", "start", named, "--host", "metadata.test:81", "--snap", "64");
    await agent.do("resolve", { server: "10.0.2.3", name: "metadata.test", type: "A" });
    for (const [address, port] of [
      ["169.254.7.7", 80],
      ["169.254.7.7", 81],
      ["169.254.169.254", 80],
      ["169.254.169.254", 80],
      ["169.254.169.254", 80],
    ] as const)
      await agent.do("dial", { host: address, port });
    await until(async () => (await json<CaptureResource>("pcap"))[0]?.ended !== null, "the capture ends");
    const [dropped, ofName] = await json<CaptureResource>("pcap");
    expect(dropped).toMatchObject({ frames: 2, drops: true, ended: "it has the frames it was to have" });
    expect(ofName).toMatchObject({ frames: 2, host: "metadata.test:81", ended: null });
    await place.ask("pcap", "stop", "2");
    const reason = "dropped: destination-refused";
    expect(fieldsOf(drops, "frame.comment", "ip.dst")).toEqual([
      [reason, "169.254.169.254"],
      [reason, "169.254.169.254"],
    ]);
    const [first, answer] = fieldsOf(named, "ip.dst_host", "frame.cap_len", "tcp.flags.str", "tcp.port");
    expect(first?.[0]).toBe("metadata.test");
    expect(Number(first?.[1])).toBeLessThanOrEqual(64);
    expect(answer?.[2]).toContain("R");
    await resolver.close();
  });

  it("into a pipe tells what happens as it happens, until who reads has gone", async () => {
    const { agent } = await start();
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    const reader = run(process.execPath, [PROGRAM, "pcap", "start", "-", ...place.options]);
    reader.child.stdout?.setEncoding("latin1");
    await until(async () => (await json<CaptureResource>("pcap")).length === 1, "the capture begins");
    await agent.do("exchange", { host: GATEWAY, port, message: "through the pipe" });
    await reader.says(/through the pipe.*through the pipe/s, "stdout");
    const file = place.file("read.pcapng");
    reader.child.kill("SIGTERM");
    const { stdout } = await reader.ended;
    writeFileSync(file, Buffer.from(stdout, "latin1"));
    expect(fieldsOf(file, "tcp.payload").filter(([octets]) => octets !== "").length).toBeGreaterThan(1);
    await until(
      async () => (await json<CaptureResource>("pcap")).length === 0,
      "the capture ends with its reader",
    );
  });

  it("whose reader does not read loses frames, and holds up nobody", async (context) => {
    needs(context, { commands: ["mkfifo"] });
    const { agent } = await start();
    const fifo = place.file("fifo");
    execFileSync("mkfifo", [fifo]);
    await expect(place.ask("pcap", "start", fifo)).rejects.toThrow("ENXIO");
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    await place.ask("pcap", "start", fifo);
    const source = await host.do<number>("tcpServer", { kind: "source", octets: 20_000_000, seed: 4 });
    const { octets } = await agent.do<{ octets: number }>("download", { host: GATEWAY, port: source });
    expect(octets).toBe(20_000_000);
    const [capture] = await json<CaptureResource>("pcap");
    expect(capture).toMatchObject({ ended: null });
    expect(capture?.lost).toBeGreaterThan(10);
    closeSync(reader);
    await until(
      async () => (await json<CaptureResource>("pcap"))[0]?.ended !== null,
      "the capture ends with its reader",
    );
    expect((await json<CaptureResource>("pcap"))[0]?.ended).toContain("EPIPE");
    await expect(place.ask("pcap", "start", "/nowhere/x")).rejects.toThrow("ENOENT");
  });
});

it("--pcap FILE.pcapng begins with the guest, and is what replay takes", async () => {
  const file = place.file("start.pcapng");
  const { agent } = await start("--pcap", file);
  const port = await host.do<number>("tcpServer", { kind: "echo" });
  await agent.do("exchange", { host: GATEWAY, port, message: "x" });
  await guest?.close();
  guest = undefined;
  const comments = fieldsOf(file, "frame.comment", "tcp.dstport").filter(([comment]) => comment !== "");
  expect(comments).toContainEqual(["flow 1", String(port)]);
  const replayed = await run(process.execPath, [PROGRAM, "replay", file]).ended;
  expect([replayed.status, replayed.stdout]).toEqual([
    0,
    expect.stringMatching(/^replayed \d+ frames of the guest/),
  ]);
});
