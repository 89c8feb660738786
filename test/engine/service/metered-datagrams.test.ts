/** What a policy's limits let pass of datagrams. */
import { describe, expect, it } from "vitest";
import { ADDRESS_WORDS, ECONNREFUSED } from "../../../src/engine/boundary.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { CHECK, refuse } from "../../../src/engine/network/destinations.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

import { BURST, type Metered, meter, PORT, REMOTE } from "../../support/metered-rig.ts";

describe("datagrams", () => {
  /** Puts entries into a batch, each of `octets` from a remote; `segment` of runs. */
  const arrive = (
    { host, metered }: Metered,
    entries: readonly { from: readonly number[]; octets: number; segment?: number }[],
  ) => {
    const batch = makeUdpBatch(4);
    entries.forEach(({ from, octets, segment = 0 }, i) => {
      batch.at[i] = 100 * (i + 1);
      batch.length[i] = octets;
      batch.segment[i] = segment;
      batch.words.set([...from, PORT], i * ADDRESS_WORDS);
    });
    host.result = entries.length;
    const count = metered.udpReceive(7, batch);
    return Array.from({ length: count }, (_, i) => ({
      at: batch.at[i],
      octets: batch.length[i],
      segment: batch.segment[i],
      from: [...batch.words.subarray(i * ADDRESS_WORDS, (i + 1) * ADDRESS_WORDS)],
    }));
  };
  const OTHER = [0, 0, 0xffff, ip("198.51.100.1")] as const;

  it("over the rate or the budget are dropped and counted, the others closed up", () => {
    const rig = meter({ bytes: 1000 });
    rig.judge(REMOTE, PORT, 0);
    rig.judge(OTHER, PORT, 1);
    expect(
      arrive(rig, [
        { from: REMOTE, octets: 601 },
        { from: REMOTE, octets: 400, segment: 100 },
        { from: OTHER, octets: 9000, segment: 1000 },
        { from: REMOTE, octets: 399 },
      ]),
    ).toEqual([
      { at: 100, octets: 601, segment: 0, from: [...REMOTE, PORT] },
      { at: 300, octets: 9000, segment: 1000, from: [...OTHER, PORT] },
      { at: 400, octets: 399, segment: 0, from: [...REMOTE, PORT] },
    ]);
    expect(rig.counters.snapshot().drops).toEqual({ "policy-budget": 4 });
    expect([rig.used.left, rig.policy.limits.spent]).toEqual([0, true]);
  });

  it("over the rate alone are told from those over the budget", () => {
    const rig = meter({ rate: 1000, bytes: 70_000 });
    rig.judge(REMOTE, PORT, 0);
    const send = (octets: number): void => rig.metered.udpSend(7, Int32Array.of(...REMOTE, PORT), 50, octets);
    send(BURST - 100);
    expect(rig.host.calls).toEqual([`udpSend 7 list 50 ${BURST - 100}`]);
    send(101);
    expect(rig.counters.snapshot().drops).toEqual({ "policy-rate": 1 });
    send(4565);
    expect(rig.counters.snapshot().drops).toEqual({ "policy-rate": 1, "policy-budget": 1 });
    send(100);
    expect(rig.host.calls).toHaveLength(2);
    // The other direction has a rate of its own, and the same budget.
    expect(rig.used.rate.map(({ tokens }) => tokens)).toEqual([0, BURST]);
    expect(arrive(rig, [{ from: REMOTE, octets: 4464 }])).toHaveLength(1);
    expect(rig.used.rate.map(({ tokens }) => tokens)).toEqual([0, BURST - 4464]);
    expect(rig.policy.limits.spent).toBe(true);
    rig.clock.ms = 1000;
    send(1);
    expect(rig.counters.snapshot().drops).toEqual({ "policy-rate": 1, "policy-budget": 2 });
  });

  it("that are all that is left of the budget are over the rate, where they are", () => {
    const rig = meter({ rate: 1000, bytes: BURST + 100 });
    rig.judge(REMOTE, PORT, 0);
    for (const octets of [BURST, 100]) rig.metered.udpSend(7, Int32Array.of(...REMOTE, PORT), 50, octets);
    expect(rig.counters.snapshot().drops).toEqual({ "policy-rate": 1 });
  });

  it("of remotes that nothing lets pass, or that nobody asked about, count for no rule", () => {
    const rig = meter({ bytes: 10 });
    rig.judge(REMOTE, PORT, 0, refuse(dropReason("policy-denied")));
    expect(arrive(rig, [{ from: REMOTE, octets: 500 }])).toHaveLength(1);
    expect(arrive(rig, [{ from: OTHER, octets: 500 }])).toHaveLength(1);
    rig.judge(REMOTE, PORT, 0, CHECK);
    expect(arrive(rig, [{ from: REMOTE, octets: 500 }])).toEqual([]);
  });

  it("of a translated address count for the rule of the one inside", () => {
    const rig = meter({ bytes: 10 });
    rig.judge(REMOTE, PORT, 0);
    const inside = ip6("64:ff9b::203.0.113.7");
    expect(arrive(rig, [{ from: inside, octets: 11 }])).toEqual([]);
    expect(arrive(rig, [{ from: ip6("64:ff9b::203.0.113.8"), octets: 11 }])).toHaveLength(1);
    // Of two addresses that may be inside neither is.
    const teredo = [ip6("2001::")[0], REMOTE[3], 0, ~REMOTE[3]];
    expect(arrive(rig, [{ from: teredo, octets: 11 }])).toHaveLength(1);
    // One that has been judged itself counts for its own rule.
    rig.judge(inside, PORT, 1);
    expect(arrive(rig, [{ from: inside, octets: 11 }])).toHaveLength(1);
    rig.judge(REMOTE, PORT, 1);
    rig.judge(inside, PORT, 0);
    expect(arrive(rig, [{ from: inside, octets: 11 }])).toEqual([]);
  });

  it("that are none, and failures, are passed on", () => {
    const { host, metered } = meter();
    const batch = makeUdpBatch(1);
    for (const result of [0, ECONNREFUSED]) {
      host.result = result;
      expect(metered.udpReceive(7, batch)).toBe(result);
    }
  });

  it("all pass where no rule has a limit", () => {
    const rig = meter(null);
    rig.judge(REMOTE, PORT, 0);
    expect(arrive(rig, [{ from: REMOTE, octets: 9000 }])).toHaveLength(1);
    rig.metered.udpSend(7, Int32Array.of(...REMOTE, PORT), 50, 9000);
    expect(rig.host.calls.at(-1)).toBe("udpSend 7 list 50 9000");
  });
});
