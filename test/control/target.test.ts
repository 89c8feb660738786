import { describe, expect, it } from "vitest";
import { Unacceptable } from "../../src/config/problem.ts";
import { isDeniedFlow } from "../../src/control/flow-log/denials.ts";
import type { Instance } from "../../src/control/instance.ts";
import { BoundedMemories } from "../../src/control/memories.ts";
import { concerns, parseTarget } from "../../src/control/target.ts";
import { gatherFacts } from "../../src/control/why/facts.ts";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { DROP_REASONS } from "../../src/engine/metrics/drop-reasons.ts";
import { AT_MS, dropped } from "./record-samples.ts";

describe("a target", () => {
  it.each([
    ["203.0.113.7", { host: "203.0.113.7", isName: false, port: null }],
    ["203.0.113.7:443", { host: "203.0.113.7", isName: false, port: 443 }],
    ["2001:DB8::0:1", { host: "2001:db8::1", isName: false, port: null }],
    ["[2001:db8::1]:53", { host: "2001:db8::1", isName: false, port: 53 }],
    ["[2001:db8::1]", { host: "2001:db8::1", isName: false, port: null }],
    ["WWW.Example.com.", { host: "www.example.com", isName: true, port: null }],
    ["_srv.example.com:8080", { host: "_srv.example.com", isName: true, port: 8080 }],
  ])("%s", (text, target) => {
    expect(parseTarget(text)).toEqual(target);
  });

  it.each(["", "a b", "x:", "203.0.113.7:0", "203.0.113.7:65536", "[x]:1", "a:1:2", "-x", "http://x/"])(
    "%j is none",
    (text) => {
      expect(() => parseTarget(text)).toThrow(Unacceptable);
    },
  );

  it("concerns a flow by address, port, or a name that was answered with the address", () => {
    const memories = new BoundedMemories();
    memories.note({
      type: "dns",
      atMs: 1,
      guest: { address: "10.0.2.15", port: 1 },
      transport: "udp",
      name: "www.example.com",
      questionType: "A",
      rcode: "NOERROR",
      addresses: ["203.0.113.7"],
      ttlSeconds: 1,
      answeredBy: "resolver",
      durationMs: 1,
    });
    const flow = {
      guest: { address: "10.0.2.15", port: 40_000 },
      remote: { address: "10.0.2.2", port: 443 },
      target: { address: "203.0.113.7", port: 443 },
    };
    const fits = (text: string): boolean => concerns(parseTarget(text), flow, memories);
    expect(
      ["203.0.113.7", "10.0.2.2:443", "10.0.2.15", "WWW.example.com", "www.example.com:443"].map(fits),
    ).toEqual([true, true, true, true, true]);
    expect(["203.0.113.8", "203.0.113.7:80", "example.com", "www.example.com:80"].map(fits)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
});

describe("memories", () => {
  it("tell denials of one target together, and what the host said last", () => {
    const memories = new BoundedMemories();
    const guest = { address: "10.0.2.15", port: 40_000 };
    const remote = { address: "203.0.113.7", port: 443 };
    const drop = {
      type: "drop",
      from: "guest",
      sample: new Uint8Array(),
      length: 54,
      protocol: "tcp",
      reason: "destination-refused",
      times: 1,
    } as const;
    memories.note({ ...drop, atMs: 1, guest, remote });
    memories.note({ ...drop, atMs: 2, guest, remote: { ...remote, port: 80 } });
    memories.note({ ...drop, atMs: 3, guest: { ...guest, port: 40_001 }, remote, times: 2 });
    memories.note({ ...drop, atMs: 4, guest, remote, reason: "tcp-bad-checksum" });
    expect(memories.denials()).toMatchObject([
      { remote, guest: { port: 40_001 }, firstMs: 1, lastMs: 3, times: 3 },
      { remote: { port: 80 }, times: 1 },
    ]);
    expect(memories.drops().map(({ atMs }) => atMs)).toEqual([4, 3, 2, 1]);
    const ended = {
      type: "flow-ended",
      flow: 1,
      protocol: "tcp",
      direction: "out",
      guest,
      remote,
      target: remote,
      forward: null,
      startMs: 0,
      octetsFromGuest: 0,
      octetsToGuest: 0,
      packetsFromGuest: 1,
      packetsToGuest: 1,
      connectMs: null,
      retransmits: 0,
    } as const;
    memories.note({ ...ended, atMs: 5, reason: "refused", endedBy: "host", hostError: "ECONNREFUSED" });
    memories.note({ ...ended, atMs: 6, reason: "timed-out", endedBy: "host", hostError: "ETIMEDOUT" });
    memories.note({ ...ended, atMs: 7, reason: "closed", endedBy: "host", hostError: null });
    memories.note({ ...ended, atMs: 8, reason: "timed-out", endedBy: "guest", hostError: null });
    expect(memories.failures()).toMatchObject([
      { address: "203.0.113.7", port: 443, atMs: 6, hostError: "ETIMEDOUT", times: 2 },
    ]);
  });

  it("hold as denials, once for why, what a flow log tells as such but for want of room", async () => {
    const noRoom = ["flow-table-full", "udp-mappings-full"];
    for (const reason of DROP_REASONS.slice(1)) {
      const memories = new BoundedMemories();
      const record = dropped({ reason });
      memories.note(record);
      const isDenial = memories.denials().length === 1;
      expect(isDeniedFlow(record), reason).toBe(isDenial || noRoom.includes(reason));
      expect(isDenial, reason).toBe(
        /^(destination|policy|proxy)-/.test(reason) ||
          ["control-refused", "ipv4-spoofed-source", "ipv6-spoofed-source"].includes(reason),
      );
      const instance = {
        memories,
        forwards: { list: () => [] },
        policy: { questions: async () => [] },
        state: async () => ({ link: { up: true } }),
        counters: async () => ({ counters: {}, drops: {} }),
        flows: async () => ({ flows: [], next: null }),
      } as unknown as Instance;
      const sources = { instance, config: defaultEngineConfig(), nowMs: () => AT_MS };
      const { denials } = await gatherFacts(sources, { kind: "last" });
      if (isDenial) expect(denials, reason).toMatchObject([{ reason, times: 1 }]);
    }
  });

  it("remember so many and no more, the least recently used giving way", () => {
    const memories = new BoundedMemories();
    for (let i = 0; i < 10_000; i++) {
      memories.note({
        type: "dns",
        atMs: i,
        guest: { address: "10.0.2.15", port: 1 },
        transport: "udp",
        name: `n${i}.example`,
        questionType: "A",
        rcode: "NOERROR",
        addresses: [`10.${i >> 8}.${i & 255}.1`],
        ttlSeconds: 1,
        answeredBy: "resolver",
        durationMs: 1,
      });
      memories.questionOf("n0.example");
    }
    expect(memories.namesOf("10.39.15.1")).toEqual([{ name: "n9999.example", answeredAtMs: 9999 }]);
    expect(memories.namesOf("10.0.1.1")).toEqual([]);
    expect(memories.addressesOf("N9999.example.")).toEqual(["10.39.15.1"]);
    expect(memories.questionOf("n0.example")).toMatchObject({ atMs: 0, times: 1 });
    expect(memories.questionOf("n1.example")).toBeUndefined();
  });
});
