/** Flows that wait for a rate, that come to have another limit, and whose budget is used up. */
import { describe, expect, it } from "vitest";
import { EAGAIN } from "../../../src/engine/boundary.ts";
import { FROM_GUEST, TO_GUEST } from "../../../src/engine/policy/limits.ts";
import { NO_RULE } from "../../../src/engine/policy/rule-set.ts";
import { CLOSED, ESTABLISHED, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { BURST, FLOW, type Flow, type Metered, meter, OTHER_FLOW } from "../../support/metered-rig.ts";
import { PolicyRig } from "../../support/policy-rig.ts";

describe("flows that wait", () => {
  const both = ["tcpReceive", "tcpSend"] as const;
  /** Has a flow take all there is, and want more. */
  const exhaust = ({ move }: Metered, handle: number, hows: readonly (typeof both)[number][]) => {
    for (const how of hows) move(how, handle, [BURST + 1], BURST);
  };

  it("are woken for what they wait for once a worthwhile piece may pass, and told of as waiting", () => {
    for (const hows of [["tcpReceive"], ["tcpSend"], both] as const) {
      const rig = meter();
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

  it("may have the first handle of all", () => {
    const rig = meter();
    exhaust(rig, rig.open(FLOW, 0), both);
    rig.clock.ms = 1460;
    rig.metered.work();
    expect(rig.woken).toEqual([FLOW, FLOW]);
  });

  it("are not looked at before it is time", () => {
    const rig = meter();
    const { metered, clock, used } = rig;
    exhaust(rig, rig.open(), ["tcpReceive"]);
    metered.work();
    used.rate[TO_GUEST].tokens = BURST;
    clock.ms = 1459;
    metered.work();
    expect(rig.woken).toEqual([]);
  });

  it("go on waiting for the one direction where the other may go on", () => {
    const rig = meter();
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
    const rig = meter();
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
    const rig = meter();
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
    const rig = meter();
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
    const rig = meter();
    const { metered, woken, policy } = rig;
    exhaust(rig, rig.open(), both);
    policy.limits.bind(FLOW, NO_RULE);
    metered.work();
    expect([woken, metered.nextDeadlineMs()]).toEqual([[FLOW, FLOW], -1]);
  });

  it("are looked at again as soon as limits are others", () => {
    const rig = meter();
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
      const rig = meter();
      exhaust(rig, rig.open(), both);
      const flow = rig.connections[FLOW];
      if (flow) end(flow);
      rig.clock.ms = 2000;
      rig.metered.work();
      expect([rig.woken, flow?.hostReadable, flow?.hostWritable]).toEqual([[], false, false]);
      expect(rig.metered.nextDeadlineMs()).toBe(-1);
    }
    const rig = meter();
    exhaust(rig, rig.open(), both);
    rig.connections[FLOW] = null;
    rig.clock.ms = 2000;
    rig.metered.work();
    expect([rig.woken, rig.metered.nextDeadlineMs()]).toEqual([[], -1]);
  });

  it("are nobody's before there are connections", () => {
    const rig = meter();
    exhaust(rig, rig.open(), both);
    rig.metered.over(null as unknown as TcpContext);
    rig.clock.ms = 2000;
    rig.metered.work();
    expect([rig.woken, rig.metered.nextDeadlineMs()]).toEqual([[], -1]);
  });

  it("of several rules are woken each in its time", () => {
    const rig = meter();
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
    const { policy, metered, open, used, connections } = meter();
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
      const { policy, metered, open, used, connections } = meter({ bytes: 100 });
      open(FLOW, 20, 1);
      used.left = left;
      metered.countFor({} as TcpContext, connections[FLOW] as unknown as TcpConnection, 0);
      expect(policy.limits.spent).toBe(spent);
    }
  });

  it("is read past us no longer", () => {
    const { metered, open, connections } = meter();
    open(FLOW, 20, 1);
    const stopped: number[] = [];
    const ctx = { network: { tcpStopPeeking: (handle: number) => stopped.push(handle) } };
    for (const peeking of [false, true]) {
      const c = { ...connections[FLOW], peeking, sndEnd: 5, peekBase: 5 } as unknown as TcpConnection;
      metered.countFor(ctx as unknown as TcpContext, c, 1);
      expect(stopped).toEqual([]);
      metered.countFor(ctx as unknown as TcpContext, c, 0);
      expect(stopped).toEqual(peeking ? [20] : []);
      metered.countFor(ctx as unknown as TcpContext, { ...c, peeking: false } as unknown as TcpConnection, 1);
    }
  });

  it("is one that was opened through us: no other counts", () => {
    const { policy, metered, open, used, connections } = meter();
    open(FLOW, 20, 1);
    const flow = connections[FLOW] as Flow;
    for (const handle of [21, 1024, 5000]) {
      metered.countFor({} as TcpContext, { ...flow, handle } as unknown as TcpConnection, 0);
      expect([used.open, policy.limits.ruleOf(FLOW)]).toEqual([0, 1]);
    }
  });

  it("stays as it is where no rule has a limit", () => {
    const { policy, metered, open, connections } = meter(null);
    open();
    metered.countFor({} as TcpContext, connections[FLOW] as unknown as TcpConnection, 0);
    expect(policy.limits.isNone).toBe(true);
  });
});

describe("a budget that is used up", () => {
  const limited = { name: "all", allow: "203.0.113.0/24", limit: { bytes: "1kB" } };

  it("ends the flows of its rule, each of which is counted, and no others", () => {
    const plenty = { allow: "198.51.100.128/25", limit: { bytes: "1MB" } };
    const rig = new PolicyRig({ rules: [limited, plenty, { allow: "198.51.100.0/24" }] });
    const remotes = ["203.0.113.7", "203.0.113.8", "198.51.100.1", "198.51.100.129"];
    const guests = remotes.map((to) => rig.connect(to, 80));
    const { sockets } = rig.exchange.network;
    const { counters } = rig.exchange.core;
    sockets[1].give(Buffer.alloc(999));
    for (const guest of guests) guest?.pass(50);
    expect(sockets.map(({ state }) => state)).toEqual(["open", "open", "open", "open"]);
    sockets[1].give(Buffer.alloc(2));
    for (const guest of guests) guest?.settle();
    expect(sockets.map(({ state }) => state)).toEqual(["reset", "reset", "open", "open"]);
    expect(counters.dropped("policy-budget")).toBe(2);
    rig.exchange.pass(100);
    expect(counters.dropped("policy-budget")).toBe(2);
  });

  it.each([
    ["others opened to the guest", ESTABLISHED, false],
    ["has ended by itself", CLOSED, true],
  ])("leaves alone what %s, though a flow of the rule is or was in its place", (_name, state, outbound) => {
    const { metered, policy, counters, connections, open, used } = meter({ bytes: 100 });
    open();
    Object.assign(connections[FLOW] ?? {}, { state, outbound });
    used.left = 0;
    policy.limits.spent = true;
    metered.work();
    expect([policy.limits.spent, counters.snapshot().drops]).toEqual([false, {}]);
  });

  it("is nobody's end before there are connections", () => {
    const { metered, policy } = meter({ bytes: 100 });
    metered.over(null as unknown as TcpContext);
    policy.limits.spent = true;
    metered.work();
    expect(policy.limits.spent).toBe(false);
  });
});
