/** Each step of a connection that leaves by another way: what is said and heard piece by piece, what a refusal is to the host, how long it may take. */
import packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { EAGAIN, EINPROGRESS, ENOBUFS, EPIPE } from "../../../src/engine/boundary.ts";
import { defaultIpv6Config } from "../../../src/engine/config.ts";
import { udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { DNS, PolicyRig } from "../../support/policy-rig.ts";
import { RecordTap } from "../../support/record-tap.ts";

const PROXY = "127.0.0.1:1080";
const ESTABLISHED = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/** A guest's connection to a name that leaves by this way, its socket standing or not. */
function begun(way: object, { name = "far.example", port = 22, isConnected = true } = {}) {
  const rig = new PolicyRig({ rules: [{ allow: `${name}:${port}`, ...way }] });
  const [answer] = (rig.ask(name)?.answers ?? []) as { data: string }[];
  const tap = new RecordTap(rig.exchange.core, rig.exchange.arena);
  const { network } = rig.exchange;
  if (!isConnected) network.connected = () => EINPROGRESS;
  const guest = rig.begin(answer?.data ?? "", port);
  const { socket } = rig;
  /** The socket stands, and the kernel takes so many octets. */
  const connect = (room = Number.POSITIVE_INFINITY): void => {
    network.connected = () => 0;
    socket.room = 0;
    socket.drain(room);
    guest.settle();
  };
  const give = (...octets: number[]): void => {
    socket.give(Buffer.from(octets));
    guest.settle();
  };
  const heard = (): number[] => [...socket.octets];
  return { rig, tap, network, guest, socket, connect, give, heard };
}

/** How the last flow ended. */
function endOf(tap: RecordTap): object {
  const end = tap
    .read()
    .filter(({ type }) => type === "flow-ended")
    .at(-1);
  return end ?? {};
}

const socks = (login = "") => ({ via: `socks5://${login}${PROXY}` });
const http = (login = "") => ({ via: `http://${login}${PROXY}` });

describe("a SOCKS proxy that refuses", () => {
  it.each([
    [1, "ECONNREFUSED", "refused"],
    [2, "EACCES", "refused"],
    [3, "ENETUNREACH", "refused"],
    [4, "EHOSTUNREACH", "refused"],
    [5, "ECONNREFUSED", "refused"],
    [6, "ETIMEDOUT", "timed-out"],
    [7, "ECONNREFUSED", "refused"],
    [255, "ECONNREFUSED", "refused"],
  ])("P27 with code %i is %s to the host", (code, hostError, reason) => {
    const { rig, tap, guest, give, heard } = begun(socks());
    give(5, 0);
    const said = heard().length;
    give(5, code, 0, 1, 0);
    expect(heard()).toHaveLength(said);
    expect([guest.finish(), guest.wasReset]).toEqual([false, true]);
    expect(endOf(tap)).toMatchObject({ hostError, reason });
    expect(rig.denials).toEqual(["far.example:22 proxy-refused"]);
  });

  it.each([
    ["the method", [[5, 255]], "EACCES"],
    ["a login nobody has", [[5, 2]], "EACCES"],
    ["a method that was not offered", [[5, 1]], "EACCES"],
    [
      "by what is no reply",
      [
        [5, 0],
        [4, 0, 0, 1, 0],
      ],
      "ECONNREFUSED",
    ],
  ])("P27 %s is %s %s", (_what, says, hostError) => {
    const { tap, give } = begun(socks());
    for (const octets of says) give(...octets);
    expect(endOf(tap)).toMatchObject({ hostError });
  });

  it("P27 the login is EACCES, and a login without one that fits is used", () => {
    const { tap, give, heard } = begun(socks("me:no@"));
    give(5, 2);
    give(1, 1);
    expect([endOf(tap), heard().length]).toMatchObject([{ hostError: "EACCES" }, 4 + 3 + 2 + 2]);
    const other = begun(socks("me:no@"));
    other.give(5, 1);
    expect([endOf(other.tap), other.heard().length]).toMatchObject([{ hostError: "EACCES" }, 4]);
    const none = begun(socks("me:no@"));
    none.give(5, 0);
    expect(none.heard().slice(4, 8)).toEqual([5, 1, 0, 3]);
  });
});

describe("what is said to a proxy", () => {
  it("P27 leaves as fast as the kernel takes it, each octet once", () => {
    const { socket, guest, connect, give, heard } = begun(socks("me:pass@"), { isConnected: false });
    expect(heard()).toEqual([]);
    connect(1);
    expect(heard()).toEqual([5]);
    for (let i = 0; i < 3; i++) {
      socket.drain(1);
      guest.settle();
    }
    expect(heard()).toEqual([5, 2, 0, 2]);
    give(5);
    expect(heard()).toHaveLength(4);
    give(2);
    expect(heard()).toHaveLength(4);
    socket.drain(5);
    guest.settle();
    expect(heard().slice(4)).toEqual([1, 2, 0x6d, 0x65, 4]);
    socket.drain(100);
    guest.settle();
    expect(heard().slice(9)).toEqual([...Buffer.from("pass")]);
    socket.room = 10;
    give(1, 0);
    expect(heard().slice(13)).toEqual([5, 1, 0, 3, 11, ...Buffer.from("far.e")]);
    socket.drain(100);
    guest.settle();
    expect(heard().slice(23)).toEqual([...Buffer.from("xample"), 0, 22]);
    give(...ESTABLISHED);
    expect(guest.finish()).toBe(true);
  });

  it.each([
    ["the kernel has no room", EAGAIN, true],
    ["the kernel has no memory", ENOBUFS, true],
    ["the connection is broken", EPIPE, false],
  ])("P27 when %s", (_what, error, goesOn) => {
    const { rig, network, guest, socket, connect, heard } = begun(socks(), { isConnected: false });
    const { tcpSend } = network;
    network.tcpSend = () => error;
    connect();
    expect([guest.wasReset, heard()]).toEqual([!goesOn, []]);
    network.tcpSend = tcpSend;
    socket.drain(100);
    guest.settle();
    expect(heard()).toEqual(goesOn ? [5, 1, 0] : []);
    expect(rig.denials).toEqual(goesOn ? [] : ["far.example:22 proxy-unreachable"]);
  });

  it("P26 a PROXY header too, before anything of the guest's", () => {
    const { socket, guest, connect, heard } = begun(
      { to: PROXY, "proxy-protocol": "v2" },
      { isConnected: false },
    );
    connect(20);
    expect([heard().length, guest.finish()]).toEqual([20, false]);
    socket.drain(1000);
    expect(guest.finish()).toBe(true);
    const header = heard().length;
    guest.send(Buffer.from("hi"));
    expect(heard().slice(header)).toEqual([...Buffer.from("hi")]);
    expect(header).toBe(16 + 12 + 3 + "far.example".length);
  });
});

describe("what a proxy says", () => {
  it.each([
    ["an IPv4 address", [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]],
    ["an IPv6 address", [5, 0, 0, 4, ...new Array(18).fill(0)]],
    ["a name of one octet", [5, 0, 0, 3, 1, 0x61, 0, 0]],
    ["a name of 255 octets", [5, 0, 0, 3, 255, ...new Array(257).fill(0x61)]],
  ])("P27 with %s is heard to its last octet and no further", (_what, reply) => {
    const { guest, give } = begun(socks());
    give(5, 0);
    for (const octet of reply.slice(0, -1)) give(octet);
    expect(guest.finish()).toBe(false);
    give(reply.at(-1) ?? 0, 0x68, 0x69);
    expect(guest.finish()).toBe(true);
    expect(guest.received.toString()).toBe("hi");
  });

  it.each([
    [199, null],
    [200, ""],
    [299, ""],
    [300, "ECONNREFUSED"],
    [402, "ECONNREFUSED"],
    [403, "EACCES"],
    [404, "ECONNREFUSED"],
    [407, "EACCES"],
    [500, "ECONNREFUSED"],
  ])("P27 over HTTP with status %i", (status, error) => {
    const { rig, tap, guest, give, heard } = begun(http());
    expect(Buffer.from(heard()).toString()).toBe(
      "CONNECT far.example:22 HTTP/1.1\r\nHost: far.example:22\r\n\r\n",
    );
    give(...Buffer.from(`HTTP/1.1 ${status} x\r\n\r\n`));
    expect(guest.finish()).toBe(error === "");
    expect(rig.denials).toEqual(error === "" ? [] : ["far.example:22 proxy-refused"]);
    if (error !== "") expect(endOf(tap)).toMatchObject({ hostError: error ?? "ECONNREFUSED" });
  });

  it.each([
    ["its end", "end", "HTTP/1.1 200 x\r\n"],
    ["a reset", "fail", "HTTP/1.1 200 x\r\n"],
    ["its end at once", "end", ""],
  ] as const)("P27 over HTTP and then %s is no way out", (_what, end, said) => {
    const { rig, tap, socket, guest, give } = begun(http());
    if (said !== "") give(...Buffer.from(said));
    socket[end]();
    guest.settle();
    expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
    expect(rig.denials).toEqual(["far.example:22 proxy-unreachable"]);
    expect(rig.exchange.core.counters.dropped("proxy-unreachable")).toBe(1);
    expect(endOf(tap)).toMatchObject({ hostError: "ECONNREFUSED" });
  });
});

describe("a way that cannot be taken", () => {
  it("P27 since the host cannot connect is counted and told of, with the name it was for", () => {
    const rig = new PolicyRig({ rules: [{ allow: ["far.example:22", "203.0.113.0/24:22"], ...socks() }] });
    const [answer] = (rig.ask("far.example")?.answers ?? []) as { data: string }[];
    rig.exchange.network.connectTo = () => -111;
    for (const to of [answer?.data ?? "", "203.0.113.7"]) {
      const guest = rig.begin(to, 22);
      expect([guest.finish(), guest.wasReset]).toEqual([false, true]);
    }
    expect(rig.denials.sort()).toEqual([
      "203.0.113.7:22 proxy-unreachable",
      "far.example:22 proxy-unreachable",
    ]);
    expect(rig.exchange.core.counters.dropped("proxy-unreachable")).toBe(2);
  });

  it("P27 in 30 s is given up then, and the guest told so", () => {
    const { rig, tap, guest, socket, give } = begun(socks());
    guest.pass(10_000);
    give(5, 0);
    guest.pass(19_950);
    expect([guest.wasReset, socket.state]).toEqual([false, "open"]);
    guest.pass(50);
    expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
    expect(rig.denials).toEqual(["far.example:22 proxy-unreachable"]);
    expect(endOf(tap)).toMatchObject({ hostError: "ETIMEDOUT", reason: "timed-out" });
    expect(rig.exchange.core.counters.dropped("proxy-unreachable")).toBe(1);
  });

  it("P27 has its 30 s from its socket on, and each its own", () => {
    const rig = new PolicyRig({ rules: [{ allow: "203.0.113.0/24:22", ...socks() }] });
    const { network } = rig.exchange;
    network.connected = () => EINPROGRESS;
    const first = rig.begin("203.0.113.1", 22);
    first.pass(20_000);
    network.connected = () => 0;
    network.sockets[0].drain(1);
    first.settle();
    const second = rig.begin("203.0.113.2", 22);
    second.pass(5000);
    const third = rig.begin("203.0.113.3", 22);
    const live = (): string => network.sockets.map(({ state }) => state[0]).join("");
    third.pass(24_950);
    expect(live()).toBe("ooo");
    third.pass(50);
    expect(live()).toBe("rro");
    third.pass(4950);
    expect(live()).toBe("rro");
    third.pass(50);
    expect(live()).toBe("rrr");
  });

  it("P27 is left alone once it has been taken, however long it lasts", () => {
    const { rig, guest, socket, give } = begun(socks());
    give(5, 0);
    give(...ESTABLISHED);
    expect(guest.finish()).toBe(true);
    guest.pass(60_000);
    expect([guest.wasReset, socket.state]).toEqual([false, "open"]);
    expect(rig.exchange.core.nextDeadlineMs(rig.exchange.now)).not.toBe(0);
  });

  it.each([
    ["", [5, 0, ...ESTABLISHED]],
    ["me:pw@", [5, 2, 1, 0, ...ESTABLISHED]],
  ])("P27 is taken at once where all has been said already, login %j", (login, says) => {
    const { guest, socket, connect } = begun(socks(login), { isConnected: false });
    socket.give(Buffer.from(says));
    guest.settle();
    connect();
    expect(guest.answered).toBe(true);
  });
});

describe("where a connection goes", () => {
  const VIA = { rules: [{ allow: "203.0.113.0/24:22", ...socks() }] };

  it("P27 is the proxy in the flow table, where that has an address", () => {
    const { rig } = begun(socks());
    expect(rig.exchange.core.flows(0)).toMatchObject([{ target: "127.0.0.1:1080" }]);
    const path = begun({ to: "unix:/run/x.sock" });
    expect(path.rig.exchange.core.flows(0)).toMatchObject([{ target: expect.stringMatching(/^198\.19\./) }]);
  });

  it("P27 is each one's own after one that was refused, of which nothing is due any more", () => {
    const rig = new PolicyRig(VIA);
    const dueMs = (): number => rig.exchange.core.nextDeadlineMs(rig.exchange.now);
    const before = dueMs();
    const refused = rig.begin("203.0.113.1", 22);
    rig.socket.give(Buffer.of(5, 255));
    refused.settle();
    expect([refused.wasReset, dueMs()]).toEqual([true, before]);
    const others = [2, 3, 4].map((n) => ({ guest: rig.begin(`203.0.113.${n}`, 22), socket: rig.socket }));
    for (const { guest, socket } of others) {
      for (const says of [[5, 0], ESTABLISHED]) {
        socket.give(Buffer.from(says));
        guest.settle();
      }
    }
    expect(others.map(({ guest }) => guest.answered)).toEqual([true, true, true]);
    expect(others.map(({ socket }) => socket.octets[10])).toEqual([2, 3, 4]);
  });

  it("P27 is due to be there in 30 s", () => {
    const { rig, socket } = begun(socks());
    const { exchange } = rig;
    const until = (isOver: () => boolean, most: number): number => {
      let passed = 0;
      for (let steps = 0; !isOver() && passed < most && steps < 1000; steps++) {
        const due = exchange.core.nextDeadlineMs(exchange.now);
        const step = due < 0 ? most - passed : Math.min(due, most - passed);
        exchange.now += step;
        passed += step;
        exchange.settle();
      }
      return passed;
    };
    expect(until(() => socket.state !== "open", 90_000)).toBe(30_000);
  });

  it("P27 is given up one after the other, each in its own time", () => {
    const rig = new PolicyRig(VIA);
    const { network } = rig.exchange;
    const guests = [0, 2000, 5000].map((ms, i, all) => {
      if (i > 0) rig.exchange.pass(ms - all[i - 1]);
      return rig.begin(`203.0.113.${i + 1}`, 22);
    });
    const live = (): string => network.sockets.map(({ state }) => state[0]).join("");
    const [guest] = guests;
    const seen: string[] = [];
    for (const ms of [24_950, 50, 1950, 50, 2950, 50]) {
      guest.pass(ms);
      seen.push(live());
      expect(rig.exchange.core.nextDeadlineMs(rig.exchange.now)).not.toBe(0);
    }
    expect(seen).toEqual(["ooo", "roo", "roo", "rro", "rro", "rrr"]);
  });

  it("P27 is another's where the guest has begun anew in the place of one it gave up", () => {
    const rig = new PolicyRig(VIA);
    rig.begin("203.0.113.1", 22).reset();
    rig.exchange.pass(20_000);
    const guest = rig.begin("203.0.113.2", 22);
    const { socket } = rig;
    guest.pass(11_000);
    socket.give(Buffer.of(5, 0));
    guest.settle();
    expect([socket.octets.length, guest.answered]).toEqual([3 + 10, false]);
    socket.give(Buffer.from(ESTABLISHED));
    expect(guest.finish()).toBe(true);
    guest.pass(60_000);
    expect([guest.wasReset, socket.state]).toEqual([false, "open"]);
  });

  it("P27 is straight again for one that takes the place of another which did not", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "203.0.113.0/24:22", ...socks() }, { allow: "198.51.100.7:22" }],
    });
    rig.begin("203.0.113.1", 22).reset();
    expect(rig.connect("198.51.100.7", 22)).not.toBeNull();
    expect([rig.socket.port, rig.socket.octets.length]).toEqual([22, 0]);
    rig.exchange.pass(31_000);
    expect([rig.socket.state, rig.denials]).toEqual(["open", []]);
  });

  it("P25 is nowhere once its rule has no room", () => {
    const rule = { allow: "mixed.example:22", limit: { connections: 1 } };
    const rig = new PolicyRig({ rules: [{ allow: "mixed.example", ...socks() }, rule] });
    const [answer] = (rig.ask("mixed.example")?.answers ?? []) as { data: string }[];
    const tap = new RecordTap(rig.exchange.core, rig.exchange.arena);
    const held = [0, 1].map(() => {
      const guest = rig.begin(answer?.data ?? "", 22);
      return { guest, sent: rig.exchange.network.datagrams.at(-1) };
    });
    for (const { sent } of held) {
      if (sent === undefined) throw new Error("nothing was asked");
      rig.answer(sent, [{ type: "A", name: "mixed.example", ttl: 9, data: "203.0.113.5" }]);
      rig.exchange.core.turn(rig.exchange.now);
    }
    expect(held.map(({ guest }) => guest.finish()).filter(Boolean).length).toBeLessThanOrEqual(1);
    expect(rig.exchange.network.sockets).toHaveLength(1);
    expect(rig.exchange.core.counters.dropped("policy-connections")).toBe(1);
    expect(tap.read().filter(({ type }) => type === "drop")).toMatchObject([
      { reason: "policy-connections" },
    ]);
    expect(rig.exchange.core.policyCounts()).toMatchObject({ denied: [0, 1, 0] });
    // Nothing of the one that was refused is left to be given up.
    rig.exchange.pass(31_000);
    expect(rig.exchange.core.counters.dropped("policy-connections")).toBe(1);
  });
});

describe("a name that is asked for", () => {
  const RULES = [
    { allow: "mixed.example", ...socks() },
    { allow: "mixed.example:22" },
    { deny: "203.0.113.66" },
  ];

  /** A connection that waits for the name's addresses; `answers` are told to its questions in turn. */
  function asked(rules: readonly object[] = RULES, config = {}) {
    const rig = new PolicyRig({ rules: [...rules] } as never, config);
    rig.exchange.settle();
    const [answer] = (rig.ask("mixed.example")?.answers ?? []) as { data: string }[];
    const tap = new RecordTap(rig.exchange.core, rig.exchange.arena);
    const guest = rig.begin(answer?.data ?? "", 22);
    const tell = (...addresses: string[]): void => {
      rig.answerOwn(
        addresses.map((data) => ({
          type: data.includes(":") ? "AAAA" : "A",
          name: "mixed.example",
          ttl: 9,
          data,
        })),
      );
      guest.settle();
    };
    return { rig, tap, guest, tell, at: answer?.data ?? "" };
  }

  it("leads to the first of eight addresses that may be reached", () => {
    const nine = Array.from({ length: 8 }, (_, i) => `10.0.0.${i + 1}`);
    const eighth = asked();
    eighth.tell(...nine.slice(0, 7), "203.0.113.5", "203.0.113.6");
    expect(eighth.guest.finish()).toBe(true);
    expect(eighth.rig.socket.to).toEqual([0, 0, 0xffff, ip("203.0.113.5")]);
    const ninth = asked();
    ninth.tell(...nine, "203.0.113.5");
    ninth.tell();
    expect([ninth.guest.finish(), ninth.guest.wasReset]).toEqual([false, true]);
  });

  it("is a reset where it leads nowhere, for the reason of its last address", () => {
    const cases: [addresses: string[], addresses6: string[], denials: string[]][] = [
      [[], [], []],
      [["127.0.0.1"], [], []],
      [[], ["10.0.0.5"], ["mixed.example:22 policy-name-private"]],
    ];
    for (const [addresses, addresses6, denials] of cases) {
      const { rig, tap, guest, tell } = asked();
      tell(...addresses);
      tell(...addresses6);
      expect([guest.finish(), guest.wasReset, rig.exchange.network.sockets]).toEqual([false, true, []]);
      expect(rig.denials).toEqual(denials);
      expect(endOf(tap)).toMatchObject({ hostError: "EHOSTUNREACH" });
    }
  });

  it("does not lead to an address that a rule denies before", () => {
    const { rig, guest, tell } = asked([RULES[2], ...RULES.slice(0, 2)] as object[]);
    tell("203.0.113.66");
    tell("203.0.113.66");
    expect(guest.finish()).toBe(false);
    expect(rig.denials).toEqual(["mixed.example:22 policy-denied"]);
    const other = asked([RULES[2], ...RULES.slice(0, 2)] as object[]);
    other.tell("203.0.113.66", "203.0.113.67");
    expect(other.guest.finish()).toBe(true);
  });

  it("is known by the answer to its own question alone", () => {
    const { rig, guest } = asked();
    const sent = rig.exchange.network.datagrams.at(-1);
    expect(sent?.octets.slice(2, 4)).toEqual(Uint8Array.of(1, 0));
    rig.answerOwn([{ type: "A", name: "other.example", ttl: 9, data: "203.0.113.5" }]);
    guest.settle();
    expect(rig.exchange.network.sockets).toEqual([]);
    rig.answerOwn([{ type: "AAAA", name: "mixed.example", ttl: 9, data: "2001:db8::5" }]);
    expect(guest.finish()).toBe(true);
    expect(rig.socket.to).toEqual(ip6("2001:db8::5"));
  });

  it.each([
    ["2001:db8::5", true],
    ["fe80::5", false],
    ["::1", false],
    ["ff02::1", false],
  ])("leads to %s of IPv6: %s", (address, isReached) => {
    for (const config of [{}, { ipv6: defaultIpv6Config(Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)) }]) {
      const { rig, guest, tell } = asked(RULES, config);
      tell();
      tell(address);
      expect([guest.finish(), rig.exchange.network.sockets.length]).toEqual([isReached, isReached ? 1 : 0]);
    }
  });

  it("is given up after 30 s, in silence or with sockets that never stand", () => {
    const { rig, tap, guest } = asked();
    guest.pass(9000);
    expect(guest.wasReset).toBe(false);
    // The resolver is silent: sluice's own question fails after 10 s, and so does the one for IPv6.
    guest.pass(21_000);
    expect(guest.wasReset).toBe(true);
    expect([rig.denials, rig.exchange.network.sockets]).toEqual([[], []]);
    expect(endOf(tap)).toMatchObject({ hostError: "EHOSTUNREACH" });
  });

  it("is given up without a word where its question gave way to others", () => {
    const { rig, tap, guest } = asked([...RULES, { allow: "*.many.example" }]);
    for (let n = 0; n < 512; n++) {
      const query = packet.encode({
        type: "query",
        id: n,
        questions: [{ type: "A", name: `n${n}.many.example` }],
      });
      rig.exchange.exchange(udp({ to: DNS, sourcePort: 50_000, destinationPort: 53, payload: query }));
    }
    rig.exchange.pass(29_950);
    expect([rig.exchange.core.usage().tcp, guest.answered]).toEqual([1, false]);
    rig.exchange.pass(50);
    expect(rig.exchange.core.usage().tcp).toBe(0);
    expect(endOf(tap)).toMatchObject({ hostError: "ETIMEDOUT" });
    expect(rig.denials).toEqual([]);
  });

  it("is nobody's when the guest has given up", () => {
    const { rig, guest, tell } = asked();
    guest.reset();
    tell("203.0.113.5");
    guest.pass(31_000);
    expect(rig.exchange.network.sockets).toEqual([]);
    expect(rig.exchange.core.usage().tcp).toBe(0);
  });

  it("is asked for again for each connection", () => {
    const { rig, guest, tell, at } = asked();
    tell("203.0.113.5");
    expect(guest.finish()).toBe(true);
    const again = rig.begin(at, 22);
    rig.answerOwn([{ type: "A", name: "mixed.example", ttl: 9, data: "203.0.113.6" }]);
    expect(again.finish()).toBe(true);
    expect(rig.socket.to).toEqual([0, 0, 0xffff, ip("203.0.113.6")]);
  });
});
