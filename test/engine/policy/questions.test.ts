/** Flows whose rule asks: they wait, and somebody answers or nobody does. */
import { describe, expect, it } from "vitest";
import { asTcp, tcp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ALERT_49, hello, PolicyRig } from "../../support/policy-rig.ts";
import { RecordTap } from "../../support/record-tap.ts";
import { TcpGuest } from "../../support/tcp-guest.ts";

const GOOD = "203.0.113.10";
const OTHER = "203.0.113.99";
const SYN = 2;
const RST_ACK = 20;

/** One that asks about `*.example` on some ports. */
function asking(over: object = {}): PolicyRig {
  const policy = new PolicyRig({
    rules: [{ name: "people", ask: "*.example:22,443", within: "30s" }],
    ...over,
  });
  policy.resolve("good.example", GOOD);
  return policy;
}

const syn = (sourcePort: number, port = 22, to = GOOD): Buffer =>
  tcp({ to: ip(to), sourcePort, destinationPort: port, flags: SYN, sequence: 5, options: { mss: 1400 } });

function flagsOf(frames: readonly Uint8Array[]): number[] {
  return frames.map((frame) => asTcp(frame).flags);
}

function answer(
  policy: PolicyRig,
  id: number,
  isAllowed: boolean,
  forMs: number | null = 0,
): [string, number[]] {
  const { exchange } = policy;
  const result = exchange.core.answerQuestion(id, isAllowed, forMs, exchange.now);
  return [result, flagsOf(exchange.settle())];
}

const states = (policy: PolicyRig): string[] =>
  policy.exchange.core
    .questions()
    .map(({ id, host, port, state, count }) => `${id} ${host}:${port} ${state} ${count}`);

describe("a flow that is asked about", () => {
  it("P12 P21 by its address has to show a name where one that leads there says so, whatever the port is known for", () => {
    const policy = new PolicyRig({
      rules: [
        { allow: "good.example:8000", check: "tls" },
        { allow: "good.example:443", check: "none" },
        { ask: "@any" },
      ],
    });
    policy.resolve("good.example", GOOD);
    const guest = policy.connect(GOOD, 8000);
    guest?.send(hello("evil.example"));
    expect(guest?.received).toEqual(ALERT_49);
    expect(policy.socket.octets.length).toBe(0);
    policy.connect(GOOD, 443)?.send(Buffer.from("SSH-2.0-x\r\n"));
    expect(policy.socket.octets.length).toBe(11);
    // What was shown is no name of a rule: the address's asks about it.
    expect(states(policy)).toEqual(["1 evil.example:8000 open 1"]);
  });

  it("P21 waits without a socket, joins the question there is, and goes on once it is allowed", () => {
    const policy = asking();
    const { exchange } = policy;
    expect(exchange.exchange(syn(40_000))).toEqual([]);
    for (let n = 1; n < 20; n++) expect(exchange.exchange(syn(40_000 + n))).toEqual([]);
    expect(exchange.network.sockets).toEqual([]);
    expect(states(policy)).toEqual(["1 good.example:22 open 20"]);
    exchange.pass(20_000);
    const [result, flags] = answer(policy, 1, true);
    expect(result).toBe("taken");
    expect(flags).toEqual(new Array(20).fill(SYN | 16));
    expect(exchange.network.sockets.length).toBe(20);
    expect(exchange.core.policyCounts()).toEqual({ allowed: [20, 0], denied: [0, 0] });
  });

  it("P21 P22 is reset when it is not, and so is the next for a while; then it is asked about again", () => {
    const policy = asking();
    const { exchange } = policy;
    exchange.exchange(syn(40_000));
    expect(answer(policy, 1, false)).toEqual(["taken", [RST_ACK]]);
    expect(flagsOf(exchange.exchange(syn(40_001)))).toEqual([RST_ACK]);
    expect(policy.denials).toEqual(["good.example:22 policy-question-refused"]);
    expect(exchange.core.counters.dropped("policy-question-refused")).toBe(2);
    exchange.pass(11_000);
    expect(exchange.exchange(syn(40_002))).toEqual([]);
    expect(exchange.network.sockets).toEqual([]);
  });

  it("P21 is reset when nobody answers in time; an answer counts for the next try then", () => {
    const policy = asking();
    const { exchange } = policy;
    exchange.exchange(syn(40_000));
    expect(flagsOf(exchange.pass(29_900))).toEqual([]);
    expect(flagsOf(exchange.pass(200))).toEqual([RST_ACK]);
    expect(policy.denials).toEqual(["good.example:22 policy-question-expired"]);
    expect(states(policy)).toEqual(["1 good.example:22 expired 1"]);
    exchange.pass(60_000);
    expect(answer(policy, 1, true)).toEqual(["taken", []]);
    expect(flagsOf(exchange.exchange(syn(40_001)))).toEqual([SYN | 16]);
    exchange.pass(3_700_000);
    expect(states(policy)).toEqual([]);
  });

  it("P22 an answer for a time or for good counts for as long, and for this target alone", () => {
    const policy = asking();
    const { exchange } = policy;
    policy.resolve("other.example", OTHER);
    exchange.exchange(syn(40_000));
    answer(policy, 1, true, 60_000);
    exchange.pass(59_000);
    expect(flagsOf(exchange.exchange(syn(40_001)))).toEqual([SYN | 16]);
    expect(exchange.exchange(syn(40_002, 22, OTHER))).toEqual([]);
    expect(exchange.exchange(syn(40_003, 443))).toEqual([]);
    exchange.pass(2000);
    expect(exchange.exchange(syn(40_004))).toEqual([]);
    expect(answer(policy, 1, true, null)).toEqual(["taken", [SYN | 16]]);
    policy.exchange.pass(50_000);
    policy.resolve("good.example", GOOD);
    exchange.pass(3_000_000);
    policy.resolve("good.example", GOOD);
    expect(flagsOf(exchange.exchange(syn(40_005)))).toEqual([SYN | 16]);
  });

  it("P22 an id that is stale or unknown answers nothing, and the second answer is one too many", () => {
    const policy = asking();
    policy.exchange.exchange(syn(40_000));
    expect(answer(policy, 2, true)).toEqual(["unknown", []]);
    expect(answer(policy, 0, true)).toEqual(["unknown", []]);
    expect(answer(policy, 1, false)[0]).toBe("taken");
    expect(answer(policy, 1, true)).toEqual(["answered", []]);
    expect(policy.exchange.network.sockets).toEqual([]);
  });

  it("P21 64 questions are open at a time, and what is one more is refused", () => {
    const policy = new PolicyRig({ rules: [{ ask: "@any" }] });
    const { exchange } = policy;
    for (let n = 0; n < 64; n++) expect(exchange.exchange(syn(40_000 + n, 1000 + n))).toEqual([]);
    expect(flagsOf(exchange.exchange(syn(41_000, 2000)))).toEqual([RST_ACK]);
    expect(policy.denials).toContain(`${GOOD}:2000 policy-question-full`);
    for (let n = 0; n < 500; n++) exchange.exchange(syn(42_000 + n, 1000));
    expect(exchange.core.usage().tcp).toBe(512);
    expect(states(policy)[63]).toBe(`1 ${GOOD}:1000 open 501`);
    expect(flagsOf(exchange.pass(61_000)).every((flags) => flags === RST_ACK)).toBe(true);
    expect(exchange.core.usage().tcp).toBe(0);
    // What is over makes room for the next, without end.
    for (let round = 0; round < 6; round++) {
      for (let n = 0; n < 64; n++) exchange.exchange(syn(40_000 + n, 3000 + 64 * round + n));
      exchange.pass(61_000);
    }
    expect(exchange.core.questions().length).toBeLessThanOrEqual(256);
  });

  it("P21 waits in the place of one that its guest gave up; one that finds none ends for want of it", () => {
    const policy = asking();
    const { exchange } = policy;
    const tap = new RecordTap(exchange.core, exchange.arena);
    expect(exchange.exchange(syn(40_000))).toEqual([]);
    for (let n = 1; n <= 2000; n++) {
      expect(exchange.exchange(syn(40_000 + n))).toEqual([]);
      exchange.exchange(
        tcp({ to: ip(GOOD), sourcePort: 40_000 + n, destinationPort: 22, flags: 4, sequence: 6 }),
      );
      tap.read();
    }
    expect(exchange.core.usage().tcp).toBe(1);
    for (let n = 1; n < 512; n++) expect(exchange.exchange(syn(50_000 + n))).toEqual([]);
    tap.read();
    expect(flagsOf(exchange.exchange(syn(60_000)))).toEqual([RST_ACK]);
    const ends = tap.read().filter((record) => record.type === "flow-ended");
    expect(ends).toMatchObject([{ reason: "no-resources", guest: { port: 60_000 } }]);
    expect(answer(policy, 1, true)).toEqual(["taken", new Array(512).fill(SYN | 16)]);
  });

  it("P23 is refused at once where the policy says so and nobody is there to answer", () => {
    const policy = asking({ unattended: "deny" });
    const { exchange } = policy;
    expect(flagsOf(exchange.exchange(syn(40_000)))).toEqual([RST_ACK]);
    expect(policy.denials).toEqual(["good.example:22 policy-question-unattended"]);
    exchange.core.setAttended(true);
    expect(exchange.exchange(syn(40_001))).toEqual([]);
    expect(states(policy)).toEqual(["1 good.example:22 open 1"]);
  });

  it("P21 has its name looked for all the same, and another name is asked about anew", () => {
    const policy = asking();
    policy.resolve("evil.example", GOOD);
    const { exchange } = policy;
    const open = (sourcePort: number): TcpGuest => {
      const guest = new TcpGuest(exchange, { to: ip(GOOD), port: 443, sourcePort });
      expect(guest.open()).toBe(false);
      return guest;
    };
    open(40_000);
    const [first] = exchange.core.questions();
    expect(answer(policy, first?.id ?? 0, true, null)[0]).toBe("taken");
    const asked = first?.host ?? "";
    const other = asked === "good.example" ? "evil.example" : "good.example";
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello(asked));
    expect(policy.socket.octets.length).toBe(hello(asked).length);
    const wrong = policy.connect(GOOD, 443);
    wrong?.send(hello(other));
    expect(wrong?.received).toEqual(ALERT_49);
    expect(policy.socket.octets.length).toBe(0);
    const [second] = exchange.core.questions();
    expect([second?.host, second?.state]).toEqual([other, "open"]);
    answer(policy, second?.id ?? 0, true, null);
    const right = policy.connect(GOOD, 443);
    right?.send(hello(other));
    expect(policy.socket.octets.length).toBe(hello(other).length);
  });

  it("P21 over UDP is dropped while it waits, and goes once it is allowed", () => {
    const policy = new PolicyRig({ rules: [{ ask: `${GOOD}:123/udp` }] });
    expect(policy.sends(GOOD, 123)).toBe(false);
    expect(policy.sends(GOOD, 123)).toBe(false);
    expect(states(policy)).toEqual([`1 ${GOOD}:123 open 1`]);
    answer(policy, 1, true);
    expect(policy.sends(GOOD, 123)).toBe(true);
    policy.exchange.pass(20_000);
    expect(policy.sends(GOOD, 123)).toBe(true);
  });

  it("P21 over UDP is asked about anew by the next datagram, once nobody has answered or a no has ended", () => {
    const policy = new PolicyRig({ rules: [{ ask: `${GOOD}:123/udp`, within: "2s" }] });
    const { exchange } = policy;
    const next = (): string[] => {
      expect(policy.sends(GOOD, 123)).toBe(false);
      return states(policy).map((each) => each.replace(/ \d+$/, ""));
    };
    expect(next()).toEqual([`1 ${GOOD}:123 open`]);
    exchange.pass(2100);
    expect(states(policy)).toEqual([`1 ${GOOD}:123 expired 1`]);
    expect(next()).toEqual([`1 ${GOOD}:123 open`]);
    answer(policy, 1, false, 5000);
    expect(next()).toEqual([`1 ${GOOD}:123 denied`]);
    exchange.pass(5100);
    expect(next()).toEqual([`1 ${GOOD}:123 open`]);
  });

  it("P21 of a policy that is replaced is judged by the new one", () => {
    const policy = asking();
    const { exchange } = policy;
    exchange.exchange(syn(40_000));
    policy.replace({ rules: [{ allow: "good.example:22" }] });
    expect(flagsOf(exchange.settle())).toEqual([RST_ACK]);
    expect(states(policy)).toEqual([]);
    expect(flagsOf(exchange.exchange(syn(40_001)))).toEqual([SYN | 16]);
    expect(answer(policy, 1, true)).toEqual(["unknown", []]);
  });

  it("goes under audit, and a default of ask asks about all", () => {
    const audit = asking({ mode: "audit" });
    expect(flagsOf(audit.exchange.exchange(syn(40_000)))).toEqual([SYN | 16]);
    const policy = new PolicyRig({ default: "ask", rules: [{ allow: `${OTHER}:22` }] });
    expect(flagsOf(policy.exchange.exchange(syn(40_000, 22, OTHER)))).toEqual([SYN | 16]);
    expect(policy.exchange.exchange(syn(40_001, 9, OTHER))).toEqual([]);
    policy.resolve("any.thing", GOOD);
    expect(policy.exchange.exchange(syn(40_002, 9))).toEqual([]);
    expect(policy.exchange.exchange(syn(40_003, 443))).toEqual([]);
    expect(states(policy)).toEqual(["3 any.thing:443 open 1", "2 any.thing:9 open 1", `1 ${OTHER}:9 open 1`]);
  });
});
