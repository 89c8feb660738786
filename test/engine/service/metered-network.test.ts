/** What a policy's limits let pass between the transports and the host, call by call. */
import { describe, expect, it } from "vitest";
import { TOKEN_TCP_FLOW } from "../../../src/engine/api.ts";
import {
  ADDRESS_WORDS,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  type HostNetwork,
} from "../../../src/engine/boundary.ts";
import type { PolicyLimit } from "../../../src/engine/config.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { CHECK, GO, refuse } from "../../../src/engine/network/destinations.ts";
import { FROM_GUEST, type RuleLimit, TO_GUEST } from "../../../src/engine/policy/limits.ts";
import { Policy } from "../../../src/engine/policy/policy.ts";
import { NO_RULE } from "../../../src/engine/policy/rule-set.ts";
import { MeteredNetwork } from "../../../src/engine/service/metered-network.ts";
import { CLOSED, ESTABLISHED, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { policyOf } from "../../support/policy-rig.ts";

const FLOW = 3;
const OTHER_FLOW = 4;
const TOKEN = TOKEN_TCP_FLOW | FLOW;
const REMOTE = [0, 0, 0xffff, ip("203.0.113.7")] as const;
const PORT = 9;
/** What may be saved up of a slow rate. */
const BURST = 65_536;
const MAX_FLOWS = 16;

/** A host that notes what it is asked to do, and says what the test has it say. */
class NotedHost {
  readonly calls: string[] = [];
  result = 0;
  /** Entries of the last list, as offsets and lengths. */
  entries: number[] = [];

  private note(name: string, ...values: readonly unknown[]): number {
    this.calls.push(
      `${name} ${values.map((value) => (ArrayBuffer.isView(value) ? "list" : value)).join(" ")}`,
    );
    return this.result;
  }

  readonly network: HostNetwork = {
    tcpConnect: (token, to) => this.note("tcpConnect", token, to),
    tcpConnectService: (token, index) => this.note("tcpConnectService", token, index),
    tcpConnectOperator: (token, { kind }) => this.note("tcpConnectOperator", token, kind),
    connectResult: (handle) => this.note("connectResult", handle),
    tcpListen: (handle, on) => this.note("tcpListen", handle, on),
    tcpAccept: (listener, token, from) => this.note("tcpAccept", listener, token, from),
    tcpReceive: (handle, scatter, count) => {
      this.entries = [...scatter.subarray(0, 2 * count)];
      return this.note("tcpReceive", handle, scatter, count);
    },
    tcpSend: (handle, gather, count) => {
      this.entries = [...gather.subarray(0, 2 * count)];
      return this.note("tcpSend", handle, gather, count);
    },
    tcpStartPeeking: (handle) => this.note("tcpStartPeeking", handle) === 1,
    tcpStopPeeking: (handle) => void this.note("tcpStopPeeking", handle),
    tcpDiscard: (handle, octets) => this.note("tcpDiscard", handle, octets),
    tcpShutdown: (handle) => void this.note("tcpShutdown", handle),
    tcpStatus: (handle, status) => this.note("tcpStatus", handle, status),
    tcpProbe: (handle) => this.note("tcpProbe", handle),
    tcpClose: (handle, reset) => void this.note("tcpClose", handle, reset),
    udpOpen: (token, family, port) => this.note("udpOpen", token, family, port),
    udpSend: (handle, to, at, length) => void this.note("udpSend", handle, to, at, length),
    udpSendFrom: (handle, from, to, at, length) =>
      void this.note("udpSendFrom", handle, from, to, at, length),
    udpFlush: () => this.note("udpFlush"),
    udpReceive: (handle, batch) => this.note("udpReceive", handle, batch.at),
    udpReceiveLocal: (handle, batch) => this.note("udpReceiveLocal", handle, batch.at),
    udpConnect: (handle, to) => this.note("udpConnect", handle, to),
    udpToGroups: (handle, ttl) => void this.note("udpToGroups", handle, ttl),
    udpClose: (handle) => void this.note("udpClose", handle),
  };
}

interface Flow {
  state: number;
  handle: number;
  hostReadable: boolean;
  hostWritable: boolean;
  peekEnds: boolean;
  readonly id: number;
}

/** Two rules: the first with the limits, the second with none. */
function setUp(limit: PolicyLimit | null = { rate: 1000 }) {
  const host = new NotedHost();
  const counters = new Counters();
  const clock = { ms: 0 };
  const read = policyOf({ rules: [{ allow: "203.0.113.0/24" }, { allow: "198.51.100.0/24" }] });
  const [first, second] = read.rules;
  const policy = new Policy({
    config: { ...read, rules: [limit === null ? first : { ...first, limit }, second] },
    uptimeMs: () => clock.ms,
    narrower: null,
    udpTimeoutMs: 60_000,
    hasDns: false,
    maxFlows: MAX_FLOWS,
  });
  const metered = new MeteredNetwork(host.network, policy, counters);
  const used = policy.limits.ofRule(0) as RuleLimit;
  const woken: number[] = [];
  const connections: (Flow | null)[] = [];
  metered.over({
    connections,
    makeReady: ({ id }: TcpConnection) => woken.push(id),
  } as unknown as TcpContext);
  /** A connection that counts for a rule. */
  const open = (flow = FLOW, handle = 10 + flow, rule = 0): number => {
    policy.limits.bind(flow, rule);
    host.result = handle;
    metered.tcpConnect(TOKEN_TCP_FLOW | flow, new Int32Array(ADDRESS_WORDS));
    connections[flow] = {
      id: flow,
      state: ESTABLISHED,
      handle,
      hostReadable: false,
      hostWritable: false,
      peekEnds: false,
    };
    host.result = 0;
    return handle;
  };
  /** Reads or sends a list with these lengths, of which the host takes `result`; what comes of it. */
  const move = (
    how: "tcpReceive" | "tcpSend",
    handle: number,
    lengths: readonly number[],
    result?: number,
  ) => {
    const list = Int32Array.from(lengths.flatMap((length, i) => [1000 * i, length]));
    host.entries = [];
    host.result = result ?? lengths.reduce((sum, length) => sum + length, 0);
    const got = metered[how](handle, list, lengths.length);
    return { got, list: Array.from(lengths, (_, i) => list[2 * i + 1]), entries: host.entries };
  };
  /** A remote of UDP that has been judged. */
  const judge = (words: readonly number[], port: number, rule: number, verdict = GO): void => {
    const place = policy.remotes.take(Int32Array.from(words), 0, port, clock.ms, 0);
    policy.remotes.verdict[place] = verdict;
    policy.remotes.rule[place] = rule;
  };
  return { host, counters, clock, policy, metered, used, woken, connections, open, move, judge };
}

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
    const { host, metered } = setUp();
    host.result = -77;
    expect([call(metered), host.calls]).toEqual([hasResult ? -77 : undefined, [called]]);
  });

  it("is done by a host that can do less too", () => {
    const { host, metered } = setUp();
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
    const { used, metered, open, host } = setUp();
    const handles = [open(FLOW), open(OTHER_FLOW)];
    expect(used.open).toBe(2);
    for (const handle of handles) metered.tcpClose(handle, false);
    expect(used.open).toBe(0);
    // Of a handle that is nobody's any more.
    metered.tcpClose(handles[0], true);
    expect([used.open, host.calls.at(-1)]).toEqual([0, `tcpClose ${handles[0]} true`]);
  });

  it("counts for none where its rule has no limit", () => {
    const { used, open, move } = setUp({ bytes: 5 });
    const handle = open(FLOW, 20, 1);
    expect(used.open).toBe(0);
    expect(move("tcpReceive", handle, [100]).got).toBe(100);
    expect(used.left).toBe(5);
  });

  it("that fails at once does not count, and the failure is told", () => {
    const { used, metered, host, policy } = setUp();
    policy.limits.bind(FLOW, 0);
    host.result = ECONNREFUSED;
    expect(metered.tcpConnect(TOKEN, new Int32Array(ADDRESS_WORDS))).toBe(ECONNREFUSED);
    expect(metered.tcpConnectOperator(TOKEN, { kind: "unix", path: "/x" })).toBe(ECONNREFUSED);
    expect(used.open).toBe(0);
  });

  it("to something of the operator's counts as well; the first handle is one too", () => {
    const { used, metered, host, policy, move } = setUp({ bytes: 5 });
    policy.limits.bind(FLOW, 0);
    host.result = 0;
    expect(metered.tcpConnectOperator(TOKEN, { kind: "unix", path: "/x" })).toBe(0);
    expect(used.open).toBe(1);
    expect(move("tcpSend", 0, [100]).list).toEqual([5]);
  });

  it("to a guest forward does not, nor one that is accepted with the same handle", () => {
    const { used, metered, host, open, move } = setUp({ bytes: 5 });
    const handle = open();
    metered.tcpClose(handle, false);
    host.result = handle;
    expect(metered.tcpConnectService(TOKEN, 0)).toBe(handle);
    expect([used.open, move("tcpReceive", handle, [100]).list]).toEqual([0, [100]]);
  });

  it("is known by any handle, however high", () => {
    for (const high of [1023, 1024, 1025, 2047, 2048, 9000]) {
      const { used, open, move } = setUp({ bytes: 100 });
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
      const { open, move } = setUp({ bytes: 100 });
      const { list, entries } = move(how, open(), lengths, 1);
      expect(list).toEqual([...left, ...new Array<number>(lengths.length - left.length).fill(0)]);
      expect(entries).toEqual(left.flatMap((length, i) => [1000 * i, length]));
    }
  });

  it("is not done where nothing may pass, and says so as the kernel would", () => {
    const { host, open, move, used } = setUp({ bytes: 100 });
    const handle = open();
    used.left = 0;
    host.calls.length = 0;
    expect([move(how, handle, [10]).got, host.calls]).toEqual([EAGAIN, []]);
    used.left = -5;
    expect([move(how, handle, [10]).got, host.calls]).toEqual([EAGAIN, []]);
  });

  it("uses up what the host took, of the budget and of this direction's rate", () => {
    const { open, move, used } = setUp({ rate: 1000, bytes: 100_000 });
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
      const { open, move, metered } = setUp();
      move(how, open(), lengths, taken);
      expect(metered.nextDeadlineMs(), `${lengths} ${taken}`).toBe(waits ? 0 : -1);
    }
    const none = setUp();
    const handle = none.open();
    none.used.rate[direction].tokens = 0.5;
    expect(none.move(how, handle, [10]).got).toBe(EAGAIN);
    expect(none.metered.nextDeadlineMs()).toBe(0);
  });

  it("forgets what the call before was granted", () => {
    const { open, move, metered, clock } = setUp();
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
    const { open, move, policy, metered } = setUp({ bytes: 100 });
    const handle = open();
    move(how, handle, [99]);
    expect([policy.limits.spent, metered.nextDeadlineMs()]).toEqual([false, -1]);
    move(how, handle, [1]);
    expect([policy.limits.spent, metered.nextDeadlineMs()]).toEqual([true, 0]);
  });

  it("has no limit where its flow counts for no rule", () => {
    const { open, move, policy } = setUp({ bytes: 100 });
    const handle = open();
    policy.limits.bind(FLOW, NO_RULE);
    expect(move(how, handle, [500, 500])).toMatchObject({ got: 1000, list: [500, 500] });
  });
});

describe("peeking", () => {
  it("is for connections without a limit alone: it is read past us", () => {
    const { host, metered, open } = setUp();
    const limited = open();
    const free = open(OTHER_FLOW, 20, 1);
    host.result = 1;
    expect([limited, free, 99].map((handle) => metered.tcpStartPeeking(handle))).toEqual([false, true, true]);
    host.result = 0;
    expect(metered.tcpStartPeeking(free)).toBe(false);
  });

  it("that comes to its end is read without limits: the guest has it already", () => {
    const { connections, open, move, used } = setUp({ bytes: 100 });
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
    const { metered, move, open, connections } = setUp({ bytes: 100 });
    const handle = open();
    connections[FLOW] = null;
    expect(move("tcpReceive", handle, [500], 0).list).toEqual([100]);
    metered.over(null as unknown as TcpContext);
    expect(move("tcpReceive", handle, [500], 0).list).toEqual([100]);
  });
});

describe("flows that wait", () => {
  const both = ["tcpReceive", "tcpSend"] as const;
  /** Has a flow take all there is, and want more. */
  const exhaust = (
    { move }: ReturnType<typeof setUp>,
    handle: number,
    hows: readonly (typeof both)[number][],
  ) => {
    for (const how of hows) move(how, handle, [BURST + 1], BURST);
  };

  it("are woken for what they wait for once a worthwhile piece may pass, and told of as waiting", () => {
    for (const hows of [["tcpReceive"], ["tcpSend"], both] as const) {
      const rig = setUp();
      const { metered, clock, woken, connections, used } = rig;
      exhaust(rig, rig.open(), hows);
      metered.work();
      // 1,460 octets at 1,000 a second.
      expect([metered.nextDeadlineMs(), woken]).toEqual([1460, []]);
      clock.ms = 1459;
      metered.work();
      expect([metered.nextDeadlineMs(), woken]).toEqual([1, []]);
      clock.ms = 1460;
      expect(metered.nextDeadlineMs()).toBe(0);
      metered.work();
      expect(metered.nextDeadlineMs()).toBe(-1);
      expect(woken).toEqual(hows.map(() => FLOW));
      expect(connections[FLOW]).toMatchObject({
        hostReadable: (hows as readonly string[]).includes("tcpReceive"),
        hostWritable: (hows as readonly string[]).includes("tcpSend"),
      });
      expect(used.waitedMs).toBe(1460);
    }
  });

  it("are not looked at before it is time", () => {
    const rig = setUp();
    const { metered, clock, used } = rig;
    exhaust(rig, rig.open(), ["tcpReceive"]);
    metered.work();
    used.rate[TO_GUEST].tokens = BURST;
    clock.ms = 1459;
    metered.work();
    expect(rig.woken).toEqual([]);
  });

  it("go on waiting for the one direction where the other may go on", () => {
    const rig = setUp();
    const { metered, clock, woken, connections, used } = rig;
    const handle = rig.open();
    exhaust(rig, handle, ["tcpReceive"]);
    clock.ms = 500;
    exhaust(rig, handle, ["tcpSend"]);
    used.rate[FROM_GUEST].tokens = 0;
    metered.work();
    // 500 came by meanwhile, of those from the guest none.
    expect(metered.nextDeadlineMs()).toBe(960);
    clock.ms = 1460;
    metered.work();
    expect([woken, connections[FLOW]?.hostWritable, used.waitedMs]).toEqual([[FLOW], false, 0]);
    expect(metered.nextDeadlineMs()).toBe(500);
    clock.ms = 1960;
    metered.work();
    expect([woken, connections[FLOW]?.hostWritable]).toEqual([[FLOW, FLOW], true]);
    // From its beginning on, once.
    expect([used.waitedMs, metered.nextDeadlineMs()]).toEqual([1960, -1]);
  });

  it("count their time anew each time", () => {
    const rig = setUp();
    const { metered, clock, used } = rig;
    const handle = rig.open();
    exhaust(rig, handle, ["tcpReceive"]);
    clock.ms = 1460;
    metered.work();
    expect(used.waitedMs).toBe(1460);
    clock.ms = 5000;
    rig.move("tcpReceive", handle, [BURST], 5000);
    clock.ms = 6460;
    metered.work();
    expect(used.waitedMs).toBe(1460 + 1460);
  });

  it("are asked about once, however often they were turned away", () => {
    const rig = setUp();
    const { metered, clock, woken, used } = rig;
    const handle = rig.open();
    exhaust(rig, handle, ["tcpReceive"]);
    for (let i = 1; i <= 3; i++) {
      clock.ms = i * 100;
      used.rate[TO_GUEST].fill(clock.ms);
      used.rate[TO_GUEST].tokens = 0;
      expect(rig.move("tcpReceive", handle, [10]).got).toBe(EAGAIN);
    }
    clock.ms = 2000;
    metered.work();
    expect([woken, used.waitedMs]).toEqual([[FLOW], 2000]);
  });

  it("share what there is, and the one that is left alone has all of it again", () => {
    const rig = setUp();
    const { metered, clock, used, woken } = rig;
    const handles = [FLOW, OTHER_FLOW, 5].map((flow) => rig.open(flow));
    exhaust(rig, handles[0], ["tcpReceive"]);
    for (const handle of handles.slice(1)) expect(rig.move("tcpReceive", handle, [10]).got).toBe(EAGAIN);
    clock.ms = 2000;
    metered.work();
    expect([woken, used.share[TO_GUEST]]).toEqual([[FLOW, OTHER_FLOW, 5], Math.ceil(2000 / 3)]);
    expect(used.share[FROM_GUEST]).toBe(Number.POSITIVE_INFINITY);
    expect(handles.map((handle) => rig.move("tcpReceive", handle, [1000], 667).list)).toEqual([
      [667],
      [667],
      [666],
    ]);
    rig.policy.limits.bind(OTHER_FLOW, NO_RULE);
    rig.policy.limits.bind(5, NO_RULE);
    clock.ms = 4000;
    metered.work();
    expect(used.share[TO_GUEST]).toBe(Number.POSITIVE_INFINITY);
  });

  it("are woken at once where they count for no rule any more, or for one without a rate", () => {
    const rig = setUp();
    const { metered, woken, policy } = rig;
    exhaust(rig, rig.open(), both);
    policy.limits.bind(FLOW, NO_RULE);
    metered.work();
    expect([woken, metered.nextDeadlineMs()]).toEqual([[FLOW, FLOW], -1]);
  });

  it("are looked at again as soon as limits are others", () => {
    const rig = setUp();
    const { metered, woken, policy, clock } = rig;
    exhaust(rig, rig.open(), ["tcpReceive"]);
    metered.work();
    policy.limits.bind(FLOW, NO_RULE);
    clock.ms = 10;
    metered.work();
    expect(woken).toEqual([]);
    metered.limitsChanged();
    expect(metered.nextDeadlineMs()).toBe(0);
    metered.work();
    expect(woken).toEqual([FLOW]);
  });

  it("and have gone meanwhile are left alone", () => {
    for (const end of [
      (flow: Flow) => {
        flow.state = CLOSED;
      },
      (flow: Flow) => {
        flow.handle = -1;
      },
    ]) {
      const rig = setUp();
      exhaust(rig, rig.open(), both);
      const flow = rig.connections[FLOW];
      if (flow) end(flow);
      rig.clock.ms = 2000;
      rig.metered.work();
      expect([rig.woken, flow?.hostReadable, flow?.hostWritable]).toEqual([[], false, false]);
      expect(rig.metered.nextDeadlineMs()).toBe(-1);
    }
    const rig = setUp();
    exhaust(rig, rig.open(), both);
    rig.connections[FLOW] = null;
    rig.clock.ms = 2000;
    rig.metered.work();
    expect([rig.woken, rig.metered.nextDeadlineMs()]).toEqual([[], -1]);
  });

  it("of several rules are woken each in its time", () => {
    const rig = setUp();
    const { metered, clock, woken, used } = rig;
    exhaust(rig, rig.open(FLOW), ["tcpReceive"]);
    rig.move("tcpSend", rig.open(OTHER_FLOW), [BURST + 1], BURST);
    used.rate[FROM_GUEST].tokens = 1000;
    metered.work();
    expect(metered.nextDeadlineMs()).toBe(460);
    clock.ms = 460;
    metered.work();
    expect([woken, metered.nextDeadlineMs()]).toEqual([[OTHER_FLOW], 1000]);
    clock.ms = 1460;
    metered.work();
    expect([woken, metered.nextDeadlineMs()]).toEqual([[OTHER_FLOW, FLOW], -1]);
  });
});

describe("a connection that comes to count for another rule", () => {
  it("counts for the one alone", () => {
    const { policy, metered, open, used, connections } = setUp();
    const ctx = {} as TcpContext;
    const count = (rule: number): void =>
      metered.countFor(ctx, connections[FLOW] as unknown as TcpConnection, rule);
    open(FLOW, 20, 1);
    count(0);
    expect([used.open, policy.limits.ruleOf(FLOW)]).toEqual([1, 0]);
    count(0);
    expect(used.open).toBe(1);
    count(1);
    expect([used.open, policy.limits.ruleOf(FLOW)]).toEqual([0, 1]);
    count(0);
    expect([used.open, policy.limits.spent]).toEqual([1, false]);
  });

  it("whose budget is used up is ended", () => {
    for (const [left, spent] of [
      [1, false],
      [0, true],
      [-1, true],
    ] as const) {
      const { policy, metered, open, used, connections } = setUp({ bytes: 100 });
      open(FLOW, 20, 1);
      used.left = left;
      metered.countFor({} as TcpContext, connections[FLOW] as unknown as TcpConnection, 0);
      expect(policy.limits.spent).toBe(spent);
    }
  });

  it("is one that was opened through us: no other counts", () => {
    const { policy, metered, open, used, connections } = setUp();
    open(FLOW, 20, 1);
    const flow = connections[FLOW] as Flow;
    for (const handle of [21, 1024, 5000]) {
      metered.countFor({} as TcpContext, { ...flow, handle } as unknown as TcpConnection, 0);
      expect([used.open, policy.limits.ruleOf(FLOW)]).toEqual([0, 1]);
    }
  });

  it("stays as it is where no rule has a limit", () => {
    const { policy, metered, open, connections } = setUp(null);
    open();
    metered.countFor({} as TcpContext, connections[FLOW] as unknown as TcpConnection, 0);
    expect(policy.limits.isNone).toBe(true);
  });
});

describe("datagrams", () => {
  /** Puts entries into a batch, each of `octets` from a remote; `segment` of runs. */
  const arrive = (
    { host, metered }: ReturnType<typeof setUp>,
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
    const rig = setUp({ bytes: 1000 });
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
    const rig = setUp({ rate: 1000, bytes: 70_000 });
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

  it("of remotes that nothing lets pass, or that nobody asked about, count for no rule", () => {
    const rig = setUp({ bytes: 10 });
    rig.judge(REMOTE, PORT, 0, refuse(dropReason("policy-denied")));
    expect(arrive(rig, [{ from: REMOTE, octets: 500 }])).toHaveLength(1);
    expect(arrive(rig, [{ from: OTHER, octets: 500 }])).toHaveLength(1);
    rig.judge(REMOTE, PORT, 0, CHECK);
    expect(arrive(rig, [{ from: REMOTE, octets: 500 }])).toEqual([]);
  });

  it("of a translated address count for the rule of the one inside", () => {
    const rig = setUp({ bytes: 10 });
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
  });

  it("that are none, and failures, are passed on", () => {
    const { host, metered } = setUp();
    const batch = makeUdpBatch(1);
    for (const result of [0, ECONNREFUSED]) {
      host.result = result;
      expect(metered.udpReceive(7, batch)).toBe(result);
    }
  });

  it("all pass where no rule has a limit", () => {
    const rig = setUp(null);
    rig.judge(REMOTE, PORT, 0);
    expect(arrive(rig, [{ from: REMOTE, octets: 9000 }])).toHaveLength(1);
    rig.metered.udpSend(7, Int32Array.of(...REMOTE, PORT), 50, 9000);
    expect(rig.host.calls.at(-1)).toBe("udpSend 7 list 50 9000");
  });
});
