/** The library's engine asked and steered as the control API does it with the command's. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, it } from "vitest";
import { readCapture } from "../src/engine/wire/pcap.ts";
import {
  ConfigError,
  type ControlEvent,
  createEngine,
  type Decision,
  type PolicyDocument,
  type SluiceOptions,
  type SteeredSluice,
} from "../src/index.ts";
import { sendDatagram } from "./support/library-guest.ts";
import { until } from "./support/program.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-steering-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const PORT = 4711;
let engine: SteeredSluice | undefined;
let guest: Socket | undefined;
let sockets = 0;
afterEach(async () => {
  guest?.destroy();
  await engine?.stop();
  engine = undefined;
});

async function start(options: SluiceOptions): Promise<SteeredSluice> {
  const path = join(directory, `${sockets++}.sock`);
  engine = await createEngine({ qemuListen: `unix:${path}`, ...options });
  guest = connect(path);
  await once(guest, "connect");
  return engine;
}

const send = (destination: string, port = PORT): void => {
  if (guest) sendDatagram(guest, port, destination);
};
const textOf = (lines: readonly { text: string }[]): string => lines.map(({ text }) => text).join("\n");
const policyOf = (...rules: PolicyDocument["rules"] & object): PolicyDocument => ({ version: 1, rules });

it("says why, what happened before it was asked included, and what it is", async () => {
  const running = await start({ remember: true, ports: ["0:22"] });
  send("169.254.1.1");
  await until(() => (running.counters().drops["destination-refused"] ?? 0) > 0, "the drop");
  const { lines } = await running.why();
  expect(textOf(lines)).toContain("169.254.1.1");
  expect(textOf(lines)).toContain("(destination-refused)");
  expect((await running.why(`169.254.1.1:${PORT}`)).lines).toEqual(lines);
  const [hostPort] = running.forwardPorts;
  expect(textOf((await running.why(`127.0.0.1:${hostPort}`)).lines)).toContain("forward");
  const wrong = await running.why("a..b").catch((error) => error);
  expect(wrong).toBeInstanceOf(ConfigError);
  expect(wrong.message).toMatch(/^target: found "a..b"; allowed: /);
  expect(await running.dns("::1")).toEqual({ questions: [], pins: [] });
  await expect(running.dns("a.example")).rejects.toThrow(
    'address: found "a.example"; allowed: an IPv4 or IPv6',
  );
  running.setLink(false);
  expect(await running.state()).toMatchObject({
    command: "library",
    pid: process.pid,
    enginePid: process.pid,
    forwards: 1,
    link: { name: running.linkName, pulled: true, up: false },
    pools: { udpMappings: { used: 0 } },
  });
  expect(await running.metrics()).toMatch(
    /^sluice_drops_total\{reason="destination-refused"\} 1$.*# EOF\n$/ms,
  );
});

it("has a policy that changes while it is kept", async () => {
  const one = { name: "one", allow: `203.0.113.1:${PORT}/udp` };
  const two = { name: "two", allow: `203.0.113.2:${PORT}/udp` };
  const running = await start({ policy: policyOf(one) });
  const events: ControlEvent[] = [];
  running.on("policy", (event) => events.push(event));
  running.on("flow-ended", (event) => events.push(event));
  send("203.0.113.2");
  send("203.0.113.1");
  await until(() => running.flows().length === 1, "the flow that is allowed");
  expect(await running.policy.show()).toMatchObject({
    generation: 1,
    rules: [{ id: 1, name: "one", allowed: 1 }],
    denied: 1,
  });
  const wrong = { version: 1, rules: [{ alow: "x" }, { allow: "https://x" }] } as unknown as PolicyDocument;
  for (const refused of [running.policy.set(wrong), running.policy.check(JSON.stringify(wrong))]) {
    const error = await refused.catch((reason) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/rules\[0\]: found "alow"[\s\S]*rules\[1\]\.allow: found "https:\/\/x"/);
  }
  const badRule = await running.policy.addRule({ verdict: "deny", target: "a..b" }).catch((error) => error);
  expect([badRule.constructor, badRule.problems[0].place]).toEqual([ConfigError, "rule.target"]);
  expect(await running.policy.check(policyOf(two))).toMatchObject({ generation: 1, added: ["two"] });
  await expect(running.policy.set(policyOf(two), { generation: 7 })).rejects.toThrow(
    "of generation 1, not 7",
  );
  const { generation } = await running.policy.set(policyOf(two), { generation: 1 });
  await until(() => running.flows().length === 0, "what is not allowed any more ends");
  send("203.0.113.2");
  await until(() => running.flows().length === 1, "what is allowed now");
  const { id } = await running.policy.addRule(
    { verdict: "deny", target: "203.0.113.0/24", for: 60 },
    generation,
  );
  await until(() => running.flows().length === 0, "the rule in front");
  await expect(running.policy.removeRule(id, generation)).rejects.toThrow("of generation 3");
  await running.policy.removeRule(id);
  await expect(running.policy.removeRule(id)).rejects.toThrow(`there is no rule ${id}`);
  await expect(running.policy.resetBudget(2)).rejects.toThrow("no limit of bytes");
  await until(() => events.length === 5, "they are told");
  expect(events.filter(({ type }) => type === "policy")).toMatchObject([
    { generation: 2, added: ["two"], removed: ["one"] },
    { generation: 3, added: ["sluice deny 203.0.113.0/24"] },
    { generation: 4, removed: ["sluice deny 203.0.113.0/24"] },
  ]);
  expect(events.filter(({ type }) => type === "flow-ended")).toMatchObject([
    { remote: { address: "203.0.113.1" }, reason: "policy-changed" },
    { remote: { address: "203.0.113.2" }, reason: "policy-changed" },
  ]);
});

it("tells what waits for an answer to who can give one", async () => {
  const running = await start({ policy: policyOf({ name: "people", ask: `203.0.113.0/24:${PORT}/udp` }) });
  const asked: ControlEvent[] = [];
  const off = running.on("question", (event) => asked.push(event));
  const answered: ControlEvent[] = [];
  running.on("question-answered", (event) => answered.push(event));
  expect(await running.policy.questions()).toEqual([]);
  send("203.0.113.9");
  await until(() => asked.length === 1, "the question");
  expect(asked).toMatchObject([{ host: "203.0.113.9", port: PORT, protocol: "udp", rule: "people" }]);
  const [question] = await running.policy.questions();
  expect(question).toMatchObject({ state: "open", count: 1 });
  const id = question?.id ?? 0;
  await expect(running.policy.answer(id, { verdict: "yes" } as never)).rejects.toThrow(
    'answer.verdict: found "yes"; allowed: one of allow, deny',
  );
  expect(running.flows()).toEqual([]);
  await running.policy.answer(id, { verdict: "allow", for: 60 });
  // Datagrams are not kept: the guest sends anew, as it does anyway.
  send("203.0.113.9");
  await until(() => running.flows().length === 1, "what was allowed goes out");
  await expect(running.policy.answer(id, { verdict: "deny" })).rejects.toThrow("has been answered");
  await until(() => answered.length === 1, "the answer is told");
  off();
  off();
  expect(await running.killHost("203.0.113.9")).toBe(1);
  expect(running.flows()).toEqual([]);
});

it("P24 asks a program before people, who have what it leaves to them", async () => {
  const policy = policyOf({ name: "people", ask: `203.0.113.0/24:${PORT}/udp` });
  const said = new Map<string, (decision: Decision | undefined) => void>();
  const signals = new Map<string, AbortSignal>();
  const running = await start({
    policy,
    decide: ({ host }, signal) => {
      signals.set(host, signal);
      return new Promise((resolve) => said.set(host, resolve));
    },
  });
  const events: ControlEvent[] = [];
  running.on("question", (event) => events.push(event));
  running.on("question-answered", (event) => events.push(event));
  const target = { port: PORT, protocol: "udp", rule: "people" };
  const questions = async () => (await running.policy.questions()).map(({ id, host }) => `${id} ${host}`);

  send("203.0.113.1");
  await until(() => said.has("203.0.113.1"), "the first is asked about");
  expect([await questions(), events]).toEqual([[], []]);
  await expect(running.policy.answer(1, { verdict: "allow" })).rejects.toThrow(
    "with the program that decides",
  );
  said.get("203.0.113.1")?.({ verdict: "allow", for: "always", reason: "it is ours" });
  await until(() => events.length === 1, "the answer is told");
  const about = { id: 1, host: "203.0.113.1", ...target };
  expect(events.splice(0)).toMatchObject([
    { type: "question-answered", ...about, verdict: "allow", by: "program", reason: "it is ours" },
  ]);
  send("203.0.113.1");
  await until(() => running.flows().length === 1, "what was allowed goes out");

  send("203.0.113.2");
  await until(() => said.has("203.0.113.2"), "the second is asked about");
  said.get("203.0.113.2")?.(undefined);
  await until(() => events.length === 1, "people are asked");
  expect(await questions()).toEqual(["2 203.0.113.2", "1 203.0.113.1"]);
  await running.policy.answer(2, { verdict: "deny" });
  await until(() => events.length === 2, "and their answer is told");
  expect(events).toMatchObject([
    { type: "question", id: 2, host: "203.0.113.2" },
    {
      type: "question-answered",
      id: 2,
      host: "203.0.113.2",
      ...target,
      verdict: "deny",
      by: "person",
      reason: null,
    },
  ]);

  send("203.0.113.3");
  await until(() => said.has("203.0.113.3"), "the third is asked about");
  send("203.0.113.4");
  await until(() => said.has("203.0.113.4"), "the fourth is asked about");
  await running.policy.set(policyOf({ allow: `203.0.113.3:${PORT}/udp` }));
  await until(() => signals.get("203.0.113.3")?.aborted === true, "another policy ends it");
  await running.stop();
  said.get("203.0.113.4")?.("allow");
  expect([...signals.values()].map(({ aborted }) => aborted)).toEqual([false, false, true, true]);
});

it("P24 has a program for a policy only", async () => {
  const without = await start({ decide: () => "allow" }).catch((error) => error);
  expect(without).toBeInstanceOf(ConfigError);
  expect(without.message).toBe("decide: allowed: only with a policy whose rules ask");
  const wrong = { policy: policyOf({ ask: "*" }), decide: "./decide.mjs" } as unknown as SluiceOptions;
  await expect(start(wrong)).rejects.toThrow('decide: found "./decide.mjs"; allowed: a function');
  const warnings: string[] = [];
  const warn = (message: string): void => void warnings.push(message);
  const log = { error: warn, warn, info: () => {}, debug: () => {} };
  await start({ policy: policyOf({ allow: "a.example" }), decide: () => "allow", log });
  expect(warnings).toEqual([
    "decide: no rule of the policy asks, so that nothing is to be decided until one does",
  ]);
});

it("streams a capture for as long as somebody reads it", async () => {
  const running = await start({});
  const chunks: Uint8Array[] = [];
  for await (const chunk of running.captures.stream({ host: "203.0.113.1" })) {
    chunks.push(chunk);
    expect(await running.captures.list()).toMatchObject([{ path: null, host: "203.0.113.1", ended: null }]);
    if (Buffer.concat(chunks).includes("hello")) break;
    send("203.0.113.2");
    send("203.0.113.1");
  }
  const packets = [...readCapture(new Uint8Array(Buffer.concat(chunks)))];
  expect(packets.length).toBeGreaterThan(0);
  expect(packets.every(({ octets }) => Buffer.from(octets).includes("hello"))).toBe(true);
  await until(async () => (await running.captures.list()).length === 0, "it ends with its reader");
  const wrong = running.captures.stream({ snap: 1 })[Symbol.asyncIterator]();
  await expect(wrong.next()).rejects.toThrow('capture.snap: found "1"; allowed: 64 at least');
});

it("has no policy to change where it was made without one", async () => {
  const running = await start({});
  expect(await running.policy.questions()).toEqual([]);
  await expect(running.policy.set("version: 1")).rejects.toThrow("without a policy");
});
