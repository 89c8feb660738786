/** Questions that a program has before people do. */
import { describe, expect, it } from "vitest";
import type { QuestionEnd } from "../../../src/engine/policy/questions.ts";
import { asTcp, tcp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { PolicyRig } from "../../support/policy-rig.ts";

const GOOD = "203.0.113.10";
const SYN = 2;
const RST = 4;
const RST_ACK = 20;
const SYN_ACK = 18;

/** `1 gone`, as the program's questions end. */
const ends: string[] = [];

function decided(over: object = {}): PolicyRig {
  ends.length = 0;
  const rules = [{ name: "program", ask: `${GOOD}:22`, within: "30s" }];
  return new PolicyRig({ rules, ...over }, {}, (id: number, end: QuestionEnd) => ends.push(`${id} ${end}`));
}

const segment = (sourcePort: number, flags: number, sequence: number): Buffer =>
  tcp({ to: ip(GOOD), sourcePort, destinationPort: 22, flags, sequence });
const syn = ({ exchange }: PolicyRig, sourcePort: number): number[] =>
  flagsOf(exchange.exchange(segment(sourcePort, SYN, 5)));
const giveUp = ({ exchange }: PolicyRig, sourcePort: number): void => {
  exchange.exchange(segment(sourcePort, RST, 6));
};
const flagsOf = (frames: readonly Uint8Array[]): number[] => frames.map((frame) => asTcp(frame).flags);
const states = ({ exchange }: PolicyRig): string[] =>
  exchange.core.questions().map(({ id, state, count }) => `${id} ${state} ${count}`);

describe("a question that a program has", () => {
  it("P24 is open where nobody of people is there, and is over once it is answered", () => {
    const policy = decided({ unattended: "deny" });
    const { core, now } = policy.exchange;
    expect(syn(policy, 40_000)).toEqual([]);
    expect(states(policy)).toEqual(["1 open 1"]);
    expect(core.answerQuestion(1, true, 0, now)).toBe("taken");
    expect(flagsOf(policy.exchange.settle())).toEqual([SYN_ACK]);
    expect(ends).toEqual(["1 answered"]);
  });

  it("P24 is left to people, who are told no at once where the policy lets nothing wait for nobody", () => {
    const policy = decided({ unattended: "deny" });
    const { core, now } = policy.exchange;
    syn(policy, 40_000);
    expect(core.leaveQuestion(1, now)).toBe(false);
    expect(flagsOf(policy.exchange.settle())).toEqual([RST_ACK]);
    expect(policy.denials).toEqual([`${GOOD}:22 policy-question-unattended`]);
    expect(syn(policy, 40_001)).toEqual([RST_ACK]);
    policy.exchange.pass(11_000);
    core.setAttended(true);
    expect(syn(policy, 40_002)).toEqual([]);
    expect(core.leaveQuestion(1, policy.exchange.now)).toBe(true);
    expect(states(policy)).toEqual(["1 open 3"]);
    expect(core.answerQuestion(1, true, 0, policy.exchange.now)).toBe("taken");
    expect(flagsOf(policy.exchange.settle())).toEqual([SYN_ACK]);
    // It was people's by then.
    expect(ends).toEqual([]);
    expect(core.leaveQuestion(1, now)).toBe(false);
    expect(core.leaveQuestion(9, now)).toBe(false);
  });

  it("P24 waits for people as ever where it is left to them", () => {
    const policy = decided();
    syn(policy, 40_000);
    expect(policy.exchange.core.leaveQuestion(1, policy.exchange.now)).toBe(true);
    giveUp(policy, 40_000);
    policy.exchange.pass(2000);
    expect(states(policy)).toEqual(["1 open 1"]);
  });

  it("P24 denies for a reason of its own where the program failed, also who comes right behind", () => {
    const policy = decided();
    const { core, now } = policy.exchange;
    syn(policy, 40_000);
    expect(core.answerQuestion(1, false, 0, now, true)).toBe("taken");
    expect(flagsOf(policy.exchange.settle())).toEqual([RST_ACK]);
    expect(syn(policy, 40_001)).toEqual([RST_ACK]);
    expect(policy.denials).toEqual([`${GOOD}:22 policy-hook-failed`]);
    expect(core.counters.dropped("policy-hook-failed")).toBe(2);
    policy.exchange.pass(11_000);
    expect(syn(policy, 40_002)).toEqual([]);
    core.answerQuestion(1, false, 0, policy.exchange.now);
    policy.exchange.settle();
    expect(policy.denials).toContain(`${GOOD}:22 policy-question-refused`);
  });

  it("P24 is over when its time has passed", () => {
    const policy = decided();
    syn(policy, 40_000);
    expect(flagsOf(policy.exchange.pass(29_900))).toEqual([]);
    expect(ends).toEqual([]);
    expect(flagsOf(policy.exchange.pass(200))).toEqual([RST_ACK]);
    expect(ends).toEqual(["1 late"]);
  });

  it("P24 is over when all that waited have gone, and is asked anew with the next try", () => {
    const policy = decided();
    syn(policy, 40_000);
    syn(policy, 40_001);
    giveUp(policy, 40_000);
    policy.exchange.pass(1000);
    expect(ends).toEqual([]);
    giveUp(policy, 40_001);
    policy.exchange.pass(300);
    expect(ends).toEqual(["1 gone"]);
    expect(states(policy)).toEqual(["1 expired 2"]);
    expect(policy.denials).toEqual([]);
    expect(syn(policy, 40_002)).toEqual([]);
    expect(states(policy)).toEqual(["1 open 3"]);
  });

  it("P24 of datagrams alone has nobody who could go", () => {
    ends.length = 0;
    const rules = [{ ask: `${GOOD}:123/udp` }];
    const policy = new PolicyRig({ rules }, {}, (id, end) => ends.push(`${id} ${end}`));
    expect(policy.sends(GOOD, 123)).toBe(false);
    policy.exchange.pass(2000);
    expect([ends, states(policy)]).toEqual([[], ["1 open 1"]]);
  });

  it("P24 is over under another policy", () => {
    const policy = decided();
    syn(policy, 40_000);
    policy.replace({ rules: [{ ask: "@any" }] });
    expect(ends).toEqual(["1 policy"]);
  });
});
