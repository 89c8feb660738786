/** What is kept of connections that leave by another way: whose it is when flows and places are used again, and for how long. */
import { describe, expect, it } from "vitest";
import { EINPROGRESS } from "../../../src/engine/boundary.ts";
import { defaultIpv6Config } from "../../../src/engine/config.ts";
import { asTcp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { frame6, tcp6 } from "../../support/frames6.ts";
import { PolicyRig } from "../../support/policy-rig.ts";

const PROXY = "127.0.0.1:1080";
const VIA = `socks5://${PROXY}`;
const GREETING = [5, 1, 0];
const ESTABLISHED = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const RST_ACK = 20;
const GATEWAY = "10.0.2.2";
const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

const rules = [{ allow: "203.0.113.0/24:22", via: VIA }];

/** A connection, and what the proxy says to it. */
function begin(rig: PolicyRig, to: string, port = 22) {
  const guest = rig.begin(to, port);
  const { socket } = rig;
  const say = (...octets: number[]): void => {
    socket.give(Buffer.from(octets));
    guest.settle();
  };
  const pass = (): void => {
    say(5, 0);
    say(...ESTABLISHED);
  };
  return { guest, socket, say, pass };
}

describe("a flow that another connection has now", () => {
  it("P27 keeps its handshake when what the one before it left is cleared away", () => {
    const rig = new PolicyRig({ rules });
    const [first, , given] = [1, 2, 3].map((n) => begin(rig, `203.0.113.${n}`));
    first?.pass();
    expect(first?.guest.answered).toBe(true);
    given?.guest.reset();
    rig.exchange.pass(20_000);
    // In the flow of the one that was given up, and in the place of the first.
    const last = begin(rig, "203.0.113.4");
    expect(last.socket.token).toBe(given?.socket.token);
    last.guest.pass(11_000);
    expect([last.guest.answered, last.guest.wasReset]).toEqual([false, false]);
    last.say(5, 0);
    expect([last.guest.answered, last.socket.octets.length]).toEqual([false, GREETING.length + 10]);
    last.say(...ESTABLISHED);
    expect(last.guest.finish()).toBe(true);
  });

  it("P27 is no proxy's where it goes to a service of the guest's own network", () => {
    const target = { kind: "unix", path: "/run/x.sock" } as const;
    const rig = new PolicyRig(
      { rules },
      { guestForwards: [{ address: ip("10.0.2.100"), port: 80, target }] },
    );
    const given = begin(rig, "203.0.113.1");
    given.guest.reset();
    const guest = rig.begin("10.0.2.100", 80);
    expect(rig.socket.token).toBe(given.socket.token);
    expect([guest.finish(), rig.socket.octets.length]).toEqual([true, 0]);
    guest.send(Buffer.from("hi"));
    expect(Buffer.from(rig.socket.octets).toString()).toBe("hi");
  });
});

describe("the time that a proxy has", () => {
  it.each([
    ["twelve days", 2 ** 30],
    ["the day before its clock wraps", 2 ** 31 - 10_000],
    ["a month", -(2 ** 31) + 400_000_000],
  ])("P27 is 30 s after %s too", (_what, nowMs) => {
    const rig = new PolicyRig({ rules });
    rig.exchange.now = nowMs;
    rig.exchange.settle();
    const { guest, socket } = begin(rig, "203.0.113.1");
    guest.pass(29_950);
    expect([guest.wasReset, socket.state]).toEqual([false, "open"]);
    guest.pass(50);
    expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
  });

  it("wakes nobody while none is under way", () => {
    const rig = new PolicyRig({ rules });
    expect(rig.exchange.core.nextDeadlineMs(rig.exchange.now)).toBe(-1);
    const { exchange } = rig;
    const { guest } = begin(rig, "203.0.113.1");
    expect(exchange.core.nextDeadlineMs(exchange.now)).toBeGreaterThan(0);
    guest.reset();
    exchange.pass(31_000);
    expect(exchange.core.nextDeadlineMs(exchange.now)).not.toBe(1);
  });
});

it("P27 an HTTP proxy that has answered before it is asked lets the guest through at once", () => {
  const rig = new PolicyRig({ rules: [{ allow: "203.0.113.0/24:22", via: `http://${PROXY}` }] });
  const { network } = rig.exchange;
  network.connected = () => EINPROGRESS;
  const { guest, socket, say } = begin(rig, "203.0.113.1");
  say(...Buffer.from("HTTP/1.1 200 OK\r\n\r\n"));
  expect(guest.answered).toBe(false);
  network.connected = () => 0;
  socket.drain(0);
  expect(guest.finish()).toBe(true);
});

describe("P5 a policy that says the same", () => {
  it("leaves what goes to the host straight, and to others by the proxy", () => {
    const document = { via: VIA, rules: [{ allow: `${GATEWAY}:5432` }, { allow: "@any:22" }] };
    const ipv6 = defaultIpv6Config(Uint8Array.from(GATEWAY_MAC));
    const rig = new PolicyRig(document, { ipv6, allowHostLoopback: true });
    const { exchange } = rig;
    exchange.settle();
    const guest = rig.connect(GATEWAY, 5432);
    expect([guest === null, rig.socket.port]).toEqual([false, 5432]);
    const syn = { from: 4000, to: 22, sequence: 1, flags: 2 };
    exchange.exchange(frame6(tcp6({ destination: "2001:db8::7" }, syn), GATEWAY_MAC, GUEST_MAC));
    const { socket } = rig;
    expect(socket.port).toBe(1080);
    rig.replace(document);
    exchange.pass(100);
    expect(exchange.network.sockets.map(({ port, state }) => `${port} ${state}`)).toEqual([
      "5432 open",
      "1080 open",
    ]);
    guest?.send(Buffer.from("hi"));
    expect(exchange.network.sockets[0]?.octets.length).toBe(2);
  });
});

describe("a rule that has no room any more", () => {
  it.each([
    [1, [2, 1]],
    [2, [1, 2]],
  ])("P25 is all that is told of one that waited for an answer, whichever it is: %i", (refused, answers) => {
    const limit = { connections: 1 };
    const rig = new PolicyRig({ via: VIA, rules: [{ ask: "203.0.113.0/24:22", limit }] });
    const { core, network, now } = rig.exchange;
    for (const last of [1, 2]) rig.begin(`203.0.113.${last}`, 22);
    const reset = answers.map((id) => {
      core.answerQuestion(id, true, null, now);
      return rig.exchange.settle().map((frame) => asTcp(frame).flags);
    });
    expect(reset).toEqual([[], [RST_ACK]]);
    expect(network.sockets.map(({ port }) => port)).toEqual([1080]);
    expect(rig.denials).toEqual([`203.0.113.${refused}:22 policy-connections`]);
    expect(core.counters.dropped("proxy-unreachable")).toBe(0);
  });
});

it("P27 a proxy that cannot be reached is told of with the name of its own connection, whatever was asked for since", () => {
  const names = ["far.example", "near.example"];
  const rig = new PolicyRig({ rules: names.map((name) => ({ allow: `${name}:22`, via: VIA })) });
  const [far] = names.map((name) => {
    const [answer] = (rig.ask(name)?.answers ?? []) as { data: string }[];
    return answer?.data ?? "";
  });
  rig.exchange.network.connectTo = () => -111;
  rig.begin(far ?? "", 22);
  expect(rig.denials).toEqual(["far.example:22 proxy-unreachable"]);
});
