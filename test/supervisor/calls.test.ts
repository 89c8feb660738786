import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CONNECT_MS } from "../../src/engine/transport/flow-ledger.ts";
import { STATE_NAMES } from "../../src/engine/transport/tcp/connection.ts";
import { type Call, CallError, EngineCalls, isAnswer } from "../../src/supervisor/calls.ts";

const SIZES = { counters: 3, drops: 2 };

function rig() {
  const sent: { id: number; call: Call }[] = [];
  const calls = new EngineCalls((id, call) => sent.push({ id, call }), SIZES);
  return { calls, sent };
}

const kill = { name: "kill", flows: [1] } as const;

describe("calls", () => {
  it("go to the engine sixteen at a time, in order, each answered by its number", async () => {
    const { calls, sent } = rig();
    const answers = Array.from({ length: 20 }, () => calls.call<"kill">(kill));
    expect(sent.map(({ id }) => id)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(calls.answered(3, { killed: 33 }, undefined)).toBe(true);
    expect(sent.at(-1)?.id).toBe(17);
    expect(calls.answered(1, undefined, "no")).toBe(true);
    expect(await answers[2]).toEqual({ killed: 33 });
    await expect(answers[0]).rejects.toThrow(new CallError("no"));
    calls.end("gone");
    await expect(answers[19]).rejects.toThrow("gone");
    await expect(calls.call<"kill">(kill)).rejects.toThrow("gone");
    await Promise.allSettled(answers);
  });

  it("that wait in too great a number are refused", async () => {
    const { calls } = rig();
    const answers = Array.from({ length: 16 + 1024 }, () => calls.call<"kill">(kill));
    await expect(calls.call<"kill">(kill)).rejects.toThrow("too many");
    calls.end("done");
    await Promise.allSettled(answers);
  });

  it("are not made when what goes before them fails", async () => {
    const { calls, sent } = rig();
    const failed = calls.call<"kill">(kill, () => {
      throw new Error("no descriptor");
    });
    await expect(failed).rejects.toThrow("no descriptor");
    expect(sent).toEqual([]);
  });

  it("take no answer that nobody asked for, or of another form", async () => {
    const { calls } = rig();
    const answer = calls.call<"kill">(kill);
    expect(calls.answered(2, { killed: 1 }, undefined)).toBe(false);
    expect(calls.answered("1", { killed: 1 }, undefined)).toBe(false);
    expect(calls.answered(1, { killed: -1 }, undefined)).toBe(false);
    expect(calls.answered(1, { killed: 1 }, 7)).toBe(false);
    expect(calls.answered(1, { killed: 1 }, undefined)).toBe(true);
    expect(calls.answered(1, { killed: 1 }, undefined)).toBe(false);
    expect(await answer).toEqual({ killed: 1 });
  });
});

describe("answers", () => {
  const usage = { tcp: 1, udp: 0, dns: 0, smallChunks: 0, largeChunks: 0, queuedFrames: 0, reassembly: 0 };
  const metrics = {
    ...{ uptimeMs: 5, linked: true, usage, counters: [1, 2, 3], drops: [0, 7] },
    ...{ states: STATE_NAMES.map(() => 1), connects: Array(CONNECT_MS.length + 1).fill(2), connectedMs: 9 },
  };
  const pin = { address: "203.0.113.7", name: "a.example", endsInMs: 90_000, isStandIn: false };
  const lease = { address: "10.0.2.15", mac: "52:54:00:12:34:56", expiresInMs: null };

  it.each([
    ["status", { uptimeMs: 5, linked: true, usage }],
    ["counters", { counters: [1, 2, 3], drops: [0, 7] }],
    ["metrics", metrics],
    ["pins", { pins: [pin, { ...pin, address: "fd00::15", endsInMs: 0, isStandIn: true }] }],
    ["leases", { leases: [lease, { ...lease, address: "fd00::15", expiresInMs: 9 }] }],
    ["records", { uptimeMs: 0 }],
    ["forward-remove", { removed: false }],
    ["leave", { left: true }],
    ["rows", {}],
  ] as const)("of %s are known", (name, answer) => {
    expect(isAnswer(name, answer, SIZES)).toBe(true);
  });

  it.each([
    ["status", { uptimeMs: 5, linked: true, usage: { ...usage, tcp: 0.5 } }],
    ["status", { uptimeMs: 5, linked: "yes", usage }],
    ["counters", { counters: [1, 2], drops: [0, 7] }],
    ["counters", { counters: [1, 2, Number.NaN], drops: [0, 7] }],
    ["metrics", { ...metrics, states: [1] }],
    ["metrics", { ...metrics, usage: {} }],
    ["metrics", { ...metrics, drops: [0] }],
    ["pins", { pins: [{ ...pin, name: "<b>" }] }],
    ["pins", { pins: [{ ...pin, address: "\u001b[2J" }] }],
    ["pins", { pins: [{ ...pin, endsInMs: -1 }] }],
    ["leases", { leases: [{ ...lease, address: "\u001b[2J" }] }],
    ["leases", { leases: [{ ...lease, mac: "52:54:00:12:34:5g" }] }],
    ["leases", { leases: [{ ...lease, expiresInMs: -1 }] }],
    ["records", {}],
    ["leave", { left: 1 }],
    ["kill", []],
    ["rows", null],
  ] as const)("of %s are not %j", (name, answer) => {
    expect(isAnswer(name, answer, SIZES)).toBe(false);
  });

  it("never throw on anything", () => {
    const names = ["records", "rows", "kill", "status", "counters", "leases", "forward-remove"] as const;
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.anything(), (name, value) => {
        expect(typeof isAnswer(name, value, SIZES)).toBe("boolean");
      }),
    );
  });
});
