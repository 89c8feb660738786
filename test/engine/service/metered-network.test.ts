/** What a policy's limits let pass of connections, call by call. */
import { describe, expect, it } from "vitest";
import {
  ADDRESS_WORDS,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  type HostNetwork,
} from "../../../src/engine/boundary.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { FROM_GUEST, TO_GUEST } from "../../../src/engine/policy/limits.ts";
import { NO_RULE } from "../../../src/engine/policy/rule-set.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";

import { BURST, FLOW, meter, OTHER_FLOW, TOKEN } from "../../support/metered-rig.ts";

describe("what has nothing to do with limits", () => {
  const address = new Int32Array(ADDRESS_WORDS);
  const status = new Int32Array(3);
  const batch = makeUdpBatch(1);
  const cases: readonly [string, (network: HostNetwork) => unknown, boolean][] = [
    ["tcpConnectService 1 2", (network) => network.tcpConnectService(1, 2), true],
    ["connectResult 3", (network) => network.connectResult(3), true],
    ["tcpListen 3 true", (network) => network.tcpListen?.(3, true), true],
    ["tcpAccept 3 4 list", (network) => network.tcpAccept(3, 4, address), true],
    ["tcpReceive 3 list 1", (network) => network.tcpReceive(3, address, 1), true],
    ["tcpSend 3 list 1", (network) => network.tcpSend(3, address, 1), true],
    ["tcpStopPeeking 3", (network) => network.tcpStopPeeking?.(3), false],
    ["tcpDiscard 3 70", (network) => network.tcpDiscard?.(3, 70), true],
    ["tcpShutdown 3", (network) => network.tcpShutdown(3), false],
    ["tcpStatus 3 list", (network) => network.tcpStatus(3, status), true],
    ["tcpProbe 3", (network) => network.tcpProbe(3), true],
    ["tcpClose 3 true", (network) => network.tcpClose(3, true), false],
    ["udpOpen 5 6 7", (network) => network.udpOpen(5, 6, 7), true],
    ["udpSend 3 list 8 9", (network) => network.udpSend(3, address, 8, 9), false],
    ["udpSendFrom 3 list list 8 9", (network) => network.udpSendFrom(3, address, address, 8, 9), false],
    ["udpFlush ", (network) => network.udpFlush(), true],
    ["udpReceiveLocal 3 list", (network) => network.udpReceiveLocal(3, batch), true],
    ["udpConnect 3 list", (network) => network.udpConnect(3, address), true],
    ["udpToGroups 3 1", (network) => network.udpToGroups(3, 1), false],
    ["udpClose 3", (network) => network.udpClose(3), false],
  ];

  it.each(cases)("is passed on: %s", (called, call, hasResult) => {
    const { host, metered } = meter();
    host.result = -77;
    expect([call(metered), host.calls]).toEqual([hasResult ? -77 : undefined, [called]]);
  });

  it("is done by a host that can do less too", () => {
    const { host, metered } = meter();
    for (const name of ["tcpListen", "tcpStartPeeking", "tcpStopPeeking", "tcpDiscard"] as const)
      delete host.network[name];
    expect([metered.tcpListen(1, true), metered.tcpStartPeeking(1), metered.tcpDiscard(1, 1)]).toEqual([
      0,
      false,
      0,
    ]);
    expect(() => metered.tcpStopPeeking(1)).not.toThrow();
  });
});

describe("a connection", () => {
  it("counts for its rule from its beginning to its end", () => {
    const { used, metered, open, host } = meter();
    const handles = [open(FLOW), open(OTHER_FLOW)];
    expect(used.open).toBe(2);
    for (const handle of handles) metered.tcpClose(handle, false);
    expect(used.open).toBe(0);
    // Of a handle that is nobody's any more.
    metered.tcpClose(handles[0], true);
    expect([used.open, host.calls.at(-1)]).toEqual([0, `tcpClose ${handles[0]} true`]);
  });

  it("counts for none where its rule has no limit", () => {
    const { used, open, move } = meter({ bytes: 5 });
    const handle = open(FLOW, 20, 1);
    expect(used.open).toBe(0);
    expect(move("tcpReceive", handle, [100]).got).toBe(100);
    expect(used.left).toBe(5);
  });

  it("that fails at once does not count, and the failure is told", () => {
    const { used, metered, host, policy } = meter();
    policy.limits.bind(FLOW, 0);
    host.result = ECONNREFUSED;
    expect(metered.tcpConnect(TOKEN, new Int32Array(ADDRESS_WORDS))).toBe(ECONNREFUSED);
    expect(metered.tcpConnectOperator(TOKEN, { kind: "unix", path: "/x" })).toBe(ECONNREFUSED);
    expect(used.open).toBe(0);
  });

  it("to something of the operator's counts as well; the first handle is one too", () => {
    const { used, metered, host, policy, move } = meter({ bytes: 5 });
    policy.limits.bind(FLOW, 0);
    host.result = 0;
    expect(metered.tcpConnectOperator(TOKEN, { kind: "unix", path: "/x" })).toBe(0);
    expect(used.open).toBe(1);
    expect(move("tcpSend", 0, [100]).list).toEqual([5]);
  });

  it("to a guest forward does not, nor one that is accepted with the same handle", () => {
    const { used, metered, host, open, move } = meter({ bytes: 5 });
    const handle = open();
    metered.tcpClose(handle, false);
    host.result = handle;
    expect(metered.tcpConnectService(TOKEN, 0)).toBe(handle);
    expect([used.open, move("tcpReceive", handle, [100]).list]).toEqual([0, [100]]);
  });

  it("is known by any handle, however high", () => {
    for (const high of [1023, 1024, 1025, 2047, 2048, 9000]) {
      const { used, open, move } = meter({ bytes: 100 });
      const low = open(FLOW, 7);
      const handle = open(OTHER_FLOW, high);
      expect(used.open).toBe(2);
      expect(move("tcpReceive", handle, [40, 70]).list).toEqual([40, 60]);
      expect(move("tcpReceive", low, [40]).got).toBe(EAGAIN);
      // Its neighbours and those beyond are nobody's.
      for (const free of [high - 1, high + 1, 100_000])
        expect(move("tcpReceive", free, [40]).list, `${free}`).toEqual([40]);
    }
  });
});

describe("any connection", () => {
  it("is limited, that of the first flow and of the last", () => {
    for (const flow of [0, 1, 2, 15]) {
      const { open, move } = meter({ bytes: 100 });
      expect(move("tcpReceive", open(flow), [500]).list, `${flow}`).toEqual([100]);
    }
  });

  it("costs no memory more where its handle is one that others had", () => {
    const { open, metered, used } = meter();
    for (let i = 0; i < 100; i++) metered.tcpClose(open(FLOW, 20), false);
    expect(used.open).toBe(0);
  });
});

describe.each([
  ["tcpReceive", TO_GUEST],
  ["tcpSend", FROM_GUEST],
] as const)("%s", (how, direction) => {
  const otherDirection = 1 - direction;

  it("is of as much as may pass, in the order of the list", () => {
    for (const [lengths, left] of [
      [
        [60, 40],
        [60, 40],
      ],
      [
        [60, 41],
        [60, 40],
      ],
      [[100, 1], [100]],
      [[101], [100]],
      [
        [60, 60, 60],
        [60, 40],
      ],
    ]) {
      const { open, move } = meter({ bytes: 100 });
      const { list, entries } = move(how, open(), lengths, 1);
      expect(list).toEqual([...left, ...new Array<number>(lengths.length - left.length).fill(0)]);
      expect(entries).toEqual(left.flatMap((length, i) => [1000 * i, length]));
    }
  });

  it("is not done where nothing may pass, and says so as the kernel would", () => {
    const { host, open, move, used } = meter({ bytes: 100 });
    const handle = open();
    used.left = 0;
    host.calls.length = 0;
    expect([move(how, handle, [10]).got, host.calls]).toEqual([EAGAIN, []]);
    used.left = -5;
    expect([move(how, handle, [10]).got, host.calls]).toEqual([EAGAIN, []]);
  });

  it("uses up what the host took, of the budget and of this direction's rate", () => {
    const { open, move, used } = meter({ rate: 1000, bytes: 100_000 });
    const handle = open();
    expect(move(how, handle, [30, 30], 50).got).toBe(50);
    expect([used.left, used.rate[direction].tokens]).toEqual([99_950, BURST - 50]);
    expect(used.rate[otherDirection].tokens).toBe(BURST);
    for (const nothing of [0, EAGAIN, ECONNRESET]) {
      expect(move(how, handle, [30], nothing).got).toBe(nothing);
      expect(used.left).toBe(99_950);
    }
  });

  it("waits for tokens where it took all it was granted and would have more, and else for its socket", () => {
    for (const [lengths, taken, waits] of [
      [[BURST + 1], BURST, true],
      [[BURST, 1], BURST, true],
      [[BURST + 1], BURST - 1, false],
      [[BURST], BURST, false],
      [[BURST - 1], BURST - 1, false],
      [[BURST + 1], EAGAIN, false],
    ] as const) {
      const { open, move, metered } = meter();
      move(how, open(), lengths, taken);
      expect(metered.nextDeadlineMs(), `${lengths} ${taken}`).toBe(waits ? 0 : -1);
    }
    const none = meter();
    const handle = none.open();
    none.used.rate[direction].tokens = 0.5;
    expect(none.move(how, handle, [10]).got).toBe(EAGAIN);
    expect(none.metered.nextDeadlineMs()).toBe(0);
  });

  it("forgets what the call before was granted", () => {
    const { open, move, metered, clock } = meter();
    const handle = open();
    move(how, handle, [BURST + 1], BURST);
    clock.ms = 10_000;
    metered.work();
    expect(metered.nextDeadlineMs()).toBe(-1);
    // More was granted before than there is now, and all of what is asked for.
    move(how, handle, [100], 100);
    expect(metered.nextDeadlineMs()).toBe(-1);
  });

  it("ends the rule's flows once the budget is used up, and not before", () => {
    const { open, move, policy, metered } = meter({ bytes: 100 });
    const handle = open();
    move(how, handle, [99]);
    expect([policy.limits.spent, metered.nextDeadlineMs()]).toEqual([false, -1]);
    move(how, handle, [1]);
    expect([policy.limits.spent, metered.nextDeadlineMs()]).toEqual([true, 0]);
  });

  it("has no limit where its flow counts for no rule", () => {
    const { open, move, policy } = meter({ bytes: 100 });
    const handle = open();
    policy.limits.bind(FLOW, NO_RULE);
    expect(move(how, handle, [500, 500])).toMatchObject({ got: 1000, list: [500, 500] });
  });
});

describe("peeking", () => {
  it("is for connections without a limit alone: it is read past us", () => {
    const { host, metered, open } = meter();
    const limited = open();
    const free = open(OTHER_FLOW, 20, 1);
    host.result = 1;
    expect([limited, free, 99].map((handle) => metered.tcpStartPeeking(handle))).toEqual([false, true, true]);
    host.result = 0;
    expect(metered.tcpStartPeeking(free)).toBe(false);
  });

  it("that comes to its end is read without limits: the guest has it already", () => {
    const { connections, open, move, used } = meter({ bytes: 100 });
    const handle = open();
    const flow = connections[FLOW];
    if (flow) flow.peekEnds = true;
    expect(move("tcpReceive", handle, [500]).got).toBe(500);
    expect(used.left).toBe(100);
    expect(move("tcpSend", handle, [500]).list).toEqual([100]);
    if (flow) flow.peekEnds = false;
    expect(move("tcpReceive", handle, [500], 0).got).toBe(EAGAIN);
  });

  it("may be asked about before there are connections", () => {
    const { metered, move, open, connections } = meter({ bytes: 100 });
    const handle = open();
    connections[FLOW] = null;
    expect(move("tcpReceive", handle, [500], 0).list).toEqual([100]);
    metered.over(null as unknown as TcpContext);
    expect(move("tcpReceive", handle, [500], 0).list).toEqual([100]);
  });
});
