/** An embedding program that takes its time: the guest's SYN waits, and nothing else does. */
import { describe, expect, it } from "vitest";
import { AskedProgram } from "../../../src/host/asked-program.ts";
import { asTcp, tcp } from "../../hostile/guest-packets.ts";
import { FrameExchange } from "../../support/frame-exchange.ts";
import { ip } from "../../support/frames.ts";
import { ALERT_49, hello, policyOf } from "../../support/policy-rig.ts";
import { TcpGuest } from "../../support/tcp-guest.ts";

const REMOTE = "198.51.100.7";
const SYN = 2;
const RST_ACK = 20;

/** An engine whose program gives a ticket for each connection, in order. */
function engine(policy = false): { exchange: FrameExchange; tickets: number[] } {
  const tickets: number[] = [];
  const admit = (): number => {
    tickets.push(tickets.length);
    return tickets.length - 1;
  };
  const config = policy ? { policy: policyOf({ default: "allow", rules: [{ deny: "bad.example" }] }) } : {};
  return { exchange: new FrameExchange(config, false, undefined, admit), tickets };
}

const syn = (sourcePort = 40_000, destinationPort = 81): Buffer =>
  tcp({ to: ip(REMOTE), sourcePort, destinationPort, flags: SYN, sequence: 5, options: { mss: 1400 } });

describe("a SYN", () => {
  it("waits without a socket, repeated or not, and goes on once it is allowed", () => {
    const { exchange, tickets } = engine();
    expect(exchange.exchange(syn())).toEqual([]);
    exchange.pass(1000);
    expect(exchange.exchange(syn())).toEqual([]);
    expect(tickets).toEqual([0]);
    expect(exchange.network.sockets).toEqual([]);
    exchange.core.decide(0, true, exchange.now);
    const [answer] = exchange.settle();
    expect(asTcp(answer!).flags).toBe(SYN | 16);
    expect(exchange.network.sockets[0]?.to).toEqual([0, 0, 0xffff, ip(REMOTE)]);
  });

  it("is answered with a reset when it is not", () => {
    const { exchange } = engine();
    exchange.exchange(syn());
    exchange.core.decide(0, false, exchange.now);
    expect(asTcp(exchange.settle()[0]!).flags).toBe(RST_ACK);
    expect(exchange.network.sockets).toEqual([]);
    expect(exchange.core.usage().tcp).toBe(0);
  });

  it("that the guest has given up is nobody's when the answer comes", () => {
    const { exchange } = engine();
    exchange.exchange(syn());
    exchange.exchange(tcp({ to: ip(REMOTE), destinationPort: 81, flags: 4, sequence: 6 }));
    expect(exchange.core.usage().tcp).toBe(0);
    exchange.exchange(syn(40_001));
    exchange.core.decide(0, true, exchange.now);
    exchange.core.decide(77, true, exchange.now);
    expect(exchange.settle()).toEqual([]);
    expect(exchange.network.sockets).toEqual([]);
  });

  it("beside 512 others that wait is refused", () => {
    const { exchange } = engine();
    for (let n = 0; n < 512; n++) expect(exchange.exchange(syn(1024 + n))).toEqual([]);
    expect(asTcp(exchange.exchange(syn(9000))[0]!).flags).toBe(RST_ACK);
    exchange.core.decide(3, false, exchange.now);
    exchange.settle();
    expect(exchange.exchange(syn(9001))).toEqual([]);
  });

  it("that is allowed has its name looked for all the same", () => {
    const { exchange } = engine(true);
    exchange.exchange(syn(40_000, 443));
    exchange.core.decide(0, true, exchange.now);
    const [answer] = exchange.settle();
    const { sequence } = asTcp(answer!);
    const frame = (flags: number, offset: number, payload: Uint8Array = Buffer.alloc(0)): Buffer =>
      tcp({
        to: ip(REMOTE),
        destinationPort: 443,
        flags,
        sequence: 6 + offset,
        acknowledgment: sequence + 1,
        payload,
      });
    exchange.exchange(frame(16, 0));
    const out = exchange.exchange(frame(24, 0, hello("bad.example")));
    expect(out.map((each) => asTcp(each).payload).filter((payload) => payload.length > 0)).toEqual([
      ALERT_49,
    ]);
    expect(exchange.network.sockets[0]?.octets.length).toBe(0);
  });

  it("without anybody to ask goes out as ever", () => {
    const exchange = new FrameExchange();
    expect(new TcpGuest(exchange, { to: ip(REMOTE), port: 81 }).open()).toBe(true);
  });
});

describe("the program", () => {
  const log = () => {
    const errors: string[] = [];
    const none = (): void => {};
    return { errors, error: (text: string) => void errors.push(text), warn: none, info: none, debug: none };
  };
  const ask = (program: AskedProgram, protocol: "tcp" | "udp" = "tcp"): boolean | number =>
    program.admit(protocol, "10.0.2.15", REMOTE, 81);

  it("answers at once or later, and only true allows", async () => {
    const kept = log();
    const answers: unknown[] = [
      true,
      false,
      "yes",
      Promise.resolve(true),
      Promise.resolve(1),
      Promise.reject(new Error("no")),
    ];
    const program = new AskedProgram(() => answers.shift() as boolean, kept);
    const decided: [number, boolean][] = [];
    program.decided = (ticket, isAllowed) => decided.push([ticket, isAllowed]);
    expect([ask(program), ask(program), ask(program)]).toEqual([true, false, false]);
    const tickets = [ask(program), ask(program), ask(program)];
    await new Promise(setImmediate);
    expect(decided).toEqual(
      expect.arrayContaining([
        [tickets[0], true],
        [tickets[1], false],
        [tickets[2], false],
      ]),
    );
    expect(kept.errors).toEqual(["allow() failed, the flow is refused: no"]);
  });

  it("is asked once about a remote of UDP, however many datagrams go there meanwhile", async () => {
    let asked = 0;
    let answer: (isAllowed: boolean) => void = () => {};
    const program = new AskedProgram(() => {
      asked++;
      return new Promise<boolean>((resolve) => {
        answer = resolve;
      });
    }, log());
    for (let n = 0; n < 10; n++) expect(typeof ask(program, "udp")).toBe("number");
    expect(asked).toBe(1);
    answer(true);
    await new Promise(setImmediate);
    expect(ask(program, "udp")).toBe(true);
  });

  it("that never answers is waited for by 512 at most", () => {
    const kept = log();
    const program = new AskedProgram(() => new Promise<boolean>(() => {}), kept);
    for (let n = 0; n < 512; n++) expect(typeof ask(program)).toBe("number");
    expect(ask(program)).toBe(false);
    expect(kept.errors).toEqual(["allow() failed, the flow is refused: 512 answers are awaited already"]);
  });
});
