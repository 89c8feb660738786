/** What the flows of a rule may take together: rates, a budget, connections, beginnings; and the guest's own. */
import { describe, expect, it } from "vitest";
import { asTcp, asUdp, udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ALERT_49, hello, PolicyRig } from "../../support/policy-rig.ts";
import type { TcpGuest } from "../../support/tcp-guest.ts";

const AT = "203.0.113.7";
const SYN_ACK = 18;
const RST_ACK = 20;
const rule = (limit: object, allow = "203.0.113.0/24") => ({ rules: [{ name: "all", allow, limit }] });

/** One connection of a rig, whose guest takes what comes. */
function connection(rig: PolicyRig, port = 5432): { guest: TcpGuest; socket: PolicyRig["socket"] } {
  const guest = rig.connect(AT, port);
  if (guest === null) throw new Error("not connected");
  return { guest, socket: rig.socket };
}

describe("a rate", () => {
  it("P25 holds each way, for one connection", () => {
    const rig = new PolicyRig(rule({ rate: "100kB/s" }));
    const { guest, socket } = connection(rig);
    socket.give(Buffer.alloc(2_000_000, 1));
    guest.pass(5000);
    const down = guest.received.length;
    // What was saved up comes on top.
    expect(down).toBeGreaterThan(475_000);
    expect(down).toBeLessThan(475_000 + 125_000);
    for (let i = 0; i < 40; i++) {
      guest.send(Buffer.alloc(10_000, 2));
      guest.pass(20);
    }
    const before = socket.octets.length;
    expect(before).toBeGreaterThan(0);
    guest.pass(3000);
    expect(socket.octets.length - before).toBeLessThan(310_000);
    expect(rig.denials).toEqual([]);
    // Slower is not lost: all of it arrives in the end, in order.
    guest.pass(60_000);
    expect(guest.received.length).toBe(2_000_000);
    expect(guest.received.every((octet) => octet === 1)).toBe(true);
  });

  it("I3 says how long flows have waited for it, together", () => {
    const rig = new PolicyRig(rule({ rate: "100kB/s" }));
    const waited = (): number => rig.exchange.core.limitWaits()?.[0] ?? -1;
    const { guest, socket } = connection(rig);
    guest.pass(1000);
    expect(waited()).toBe(0);
    // A second's worth beyond what was saved up, and nothing more.
    socket.give(Buffer.alloc(165_000, 1));
    guest.pass(5000);
    expect(guest.received.length).toBe(165_000);
    expect(waited()).toBeGreaterThan(700);
    expect(waited()).toBeLessThan(1300);
  });

  it("P25 of one rule is no other's", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "203.0.113.0/24", limit: { rate: "1kB/s" } }, { allow: "198.51.100.0/24" }],
    });
    const { guest, socket } = connection(rig);
    socket.give(Buffer.alloc(1_000_000, 1));
    guest.pass(100);
    expect(guest.received.length).toBeLessThan(70_000);
    const free = rig.connect("198.51.100.1", 80);
    rig.socket.give(Buffer.alloc(200_000, 1));
    free?.pass(50);
    expect(free?.received.length).toBe(200_000);
  });

  it("P25 of UDP drops what is over it, both ways, and says so", () => {
    const rig = new PolicyRig(rule({ rate: "1kB/s" }));
    const { exchange } = rig;
    const send = (): boolean => {
      const before = exchange.network.datagrams.length;
      const to = { to: ip(AT), sourcePort: 42_000, destinationPort: 9, payload: Buffer.alloc(1000) };
      exchange.exchange(udp(to));
      return exchange.network.datagrams.length > before;
    };
    // 64 KiB may be saved up.
    const passed = Array.from({ length: 80 }, send).filter(Boolean).length;
    expect(passed).toBe(65);
    expect(exchange.core.counters.dropped("policy-rate")).toBe(15);
    const handle = exchange.network.datagrams.at(-1)?.handle ?? 0;
    const arrives = (): boolean => {
      exchange.network.arrive(handle, ip(AT), 9, Buffer.alloc(1000));
      return exchange.settle().some((frame) => asUdp(frame).sourcePort === 9);
    };
    expect(Array.from({ length: 80 }, arrives).filter(Boolean).length).toBe(65);
    exchange.pass(3000);
    expect(send()).toBe(true);
  });
});

describe("a socket of UDP", () => {
  it("P25 is read on where all that came was over the rate, and each datagram of a run counts", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "203.0.113.0/24", limit: { rate: "1kB/s" } }, { allow: "198.51.100.0/24" }],
    });
    const { network, core } = rig.exchange;
    rig.datagrams(AT, 9, [Buffer.alloc(1)]);
    const [{ handle } = { handle: -1 }] = rig.datagrams("198.51.100.1", 9, [Buffer.alloc(1)]);
    const receive = network.udpReceive.bind(network);
    network.udpReceive = (from, batch) => {
      const count = receive(from, batch);
      batch.segment[0] = batch.length[0] > 1400 ? 1400 : 0;
      return count;
    };
    for (let i = 0; i < 60; i++) network.arrive(handle, ip(AT), 9, Buffer.alloc(7 * 1400));
    network.arrive(handle, ip("198.51.100.1"), 9, Buffer.from("last"));
    const arrived = [...rig.exchange.settle(), ...rig.exchange.settle()].map(asUdp);
    expect(arrived.some(({ payload }) => Buffer.from(payload).toString() === "last")).toBe(true);
    // 64 KiB may be saved up: six runs of 9,800 octets.
    expect(core.counters.dropped("policy-rate")).toBe(54 * 7);
  });
});

describe("a budget", () => {
  it("P25 is exact, counts both ways, and then ends every flow of the rule and lets none begin", () => {
    const rig = new PolicyRig(rule({ bytes: "100kB" }));
    const [one, other] = [connection(rig), connection(rig)];
    one.guest.send(Buffer.alloc(30_000, 2));
    one.socket.give(Buffer.alloc(500_000, 1));
    one.guest.pass(100);
    expect(one.socket.octets.length).toBe(30_000);
    expect(one.guest.received.length).toBe(70_000);
    expect(one.guest.wasReset).toBe(true);
    expect([one.socket.state, other.socket.state]).toEqual(["reset", "reset"]);
    expect(rig.connect(AT, 5432)).toBeNull();
    expect(rig.sends(AT, 9)).toBe(false);
    expect(rig.denials).toEqual([`${AT}:5432 policy-budget`, `${AT}:9 policy-budget`]);
  });

  it("P25 stays used where another policy has the same rule, and begins anew where it has not", () => {
    const rig = new PolicyRig(rule({ bytes: "100kB" }));
    const { socket, guest } = connection(rig);
    socket.give(Buffer.alloc(100_000, 1));
    guest.pass(100);
    expect(guest.wasReset).toBe(true);
    rig.replace(rule({ bytes: "100kB" }), false, [0]);
    expect(rig.connect(AT, 5432)).toBeNull();
    rig.replace(rule({ bytes: "200kB" }));
    expect(rig.connect(AT, 5432)).not.toBeNull();
  });

  it("P25 begins anew where somebody says so, whole and once", () => {
    const rig = new PolicyRig(rule({ bytes: "100kB" }));
    const spend = (): number => {
      const { socket, guest } = connection(rig);
      socket.give(Buffer.alloc(200_000, 1));
      guest.pass(100);
      expect(guest.wasReset).toBe(true);
      return guest.received.length;
    };
    for (let i = 0; i < 2; i++) {
      expect(spend()).toBe(100_000);
      expect(rig.connect(AT, 5432)).toBeNull();
      expect(rig.sends(AT, 9)).toBe(false);
      expect(rig.exchange.core.resetBudget(0)).toBe(true);
    }
    rig.exchange.pass(1100);
    expect(rig.sends(AT, 9)).toBe(true);
    expect([1, -1, 5000].map((index) => rig.exchange.core.resetBudget(index))).toEqual([false, false, false]);
    const none = [
      new PolicyRig(rule({ connections: 1 })),
      new PolicyRig({ rules: [{ allow: "a.example" }] }),
    ];
    const audited = new PolicyRig({ mode: "audit", ...rule({ bytes: "1B" }) });
    for (const { exchange } of [...none, audited]) expect(exchange.core.resetBudget(0)).toBe(false);
  });
});

describe("connections", () => {
  it("P25 are so many at a time; one that ends makes room", () => {
    const rig = new PolicyRig(rule({ connections: 2 }));
    const [one] = [connection(rig), connection(rig)];
    expect(rig.connect(AT, 5432)).toBeNull();
    expect(rig.denials).toEqual([`${AT}:5432 policy-connections`]);
    one?.guest.reset();
    expect(rig.connect(AT, 5432)).not.toBeNull();
  });

  it("P25 count for the rule of their address from the beginning, where a name may be shown and need not", () => {
    const rig = new PolicyRig({
      rules: [
        { deny: "*.ads.example" },
        { allow: "203.0.113.0/24", limit: { connections: 2, bytes: "1kB" } },
      ],
    });
    // One that shows no name, one that shows one which has no rule, and one too many.
    const silent = connection(rig, 443);
    rig.connect(AT, 443)?.send(hello("good.example"));
    expect(rig.connect(AT, 443) === null).toBe(true);
    expect(rig.denials).toEqual([`${AT}:443 policy-connections`]);
    silent.guest.send(Buffer.from("SSH-2.0-x\r\n".repeat(100)));
    silent.guest.pass(1000);
    expect(rig.connect(AT, 443) === null).toBe(true);
    expect(rig.exchange.core.counters.dropped("policy-budget")).toBeGreaterThan(0);
  });

  it("P25 that show a name whose rule is another leave room at the one of their address", () => {
    const rig = new PolicyRig({
      rules: [
        { deny: "*.ads.example" },
        { allow: "good.example:443" },
        { allow: "203.0.113.0/24", limit: { connections: 1 } },
      ],
    });
    rig.resolve("good.example", AT);
    for (let i = 0; i < 3; i++) rig.connect(AT, 443)?.send(hello("good.example"));
    expect(rig.denials).toEqual([]);
    expect(rig.connect(AT, 5432) === null).toBe(false);
    expect(rig.connect(AT, 5432) === null).toBe(true);
  });

  it("P25 that waited for an answer are not more than may be either", () => {
    const rig = new PolicyRig({ rules: [{ ask: "203.0.113.0/24", limit: { connections: 1 } }] });
    const { exchange } = rig;
    const guests = [1, 2, 3].map(() => rig.begin(AT, 5432));
    exchange.core.answerQuestion(1, true, null, exchange.now);
    expect(exchange.settle().map((frame) => asTcp(frame).flags)).toEqual([SYN_ACK, RST_ACK, RST_ACK]);
    expect(exchange.network.sockets).toHaveLength(1);
    expect(rig.denials).toEqual([`${AT}:5432 policy-connections`]);
    expect(exchange.core.counters.dropped("policy-connections")).toBe(2);
    expect(exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [2, 0] });
    guests[0]?.reset();
    exchange.settle();
    expect(rig.connect(AT, 5432)).not.toBeNull();
  });

  it("P25 that waited for a resolver are not more than may be either", () => {
    const rig = new PolicyRig({
      rules: [
        { allow: "a.example:5432", limit: { connections: 1 } },
        { allow: "a.example:443", via: "socks5://127.0.0.1:1080" },
      ],
    });
    const [record] = rig.ask("a.example")?.answers ?? [];
    const at = record?.type === "A" ? record.data : "";
    const questions = [1, 2].map(() => {
      rig.begin(at, 5432);
      return rig.exchange.network.datagrams.at(-1);
    });
    for (const question of questions) {
      if (question !== undefined) rig.answer(question, [{ type: "A", name: "a.example", ttl: 60, data: AT }]);
    }
    const told = [...rig.exchange.settle(), ...rig.exchange.pass(10)].map((frame) => asTcp(frame).flags);
    expect(told).toEqual([SYN_ACK, RST_ACK]);
    expect(rig.exchange.network.sockets).toHaveLength(1);
    expect(rig.denials).toEqual([`${at}:5432 policy-connections`]);
    expect(rig.exchange.core.policyCounts()).toEqual({ allowed: [1, 0, 0], denied: [1, 0, 0] });
  });

  it("P25 of a name that was shown count for its rule", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "a.example", limit: { connections: 1 } }, { allow: "b.example" }],
    });
    rig.resolve("a.example", AT);
    rig.resolve("b.example", AT);
    const names = ["b.example", "a.example", "b.example"];
    for (const name of names) {
      const { guest, socket } = connection(rig, 443);
      guest.send(hello(name));
      expect(socket.octets.length, name).toBeGreaterThan(0);
    }
  });
});

describe("beginnings", () => {
  it("P25 are so many a second, of a rule and of the whole guest; so are questions", () => {
    const rig = new PolicyRig({ limit: { dns: "2/s" }, ...rule({ new: "3/s" }) });
    const opened = (): boolean => rig.connect(AT, 5432) !== null;
    expect([opened(), opened(), opened(), opened()]).toEqual([true, true, true, false]);
    expect(rig.denials).toEqual([`${AT}:5432 policy-new-rate`]);
    rig.exchange.pass(1100);
    expect(opened()).toBe(true);
    expect(
      [rig.ask("x.example"), rig.ask("x.example"), rig.ask("x.example")].map((reply) => reply?.rcode),
    ).toEqual(["NXDOMAIN", "NXDOMAIN", "REFUSED"]);
    const guest = new PolicyRig({ limit: { new: "1/s" }, default: "allow" });
    expect([guest.sends(AT, 9), guest.connect(AT, 80)]).toEqual([true, null]);
  });

  it("P25 are so many a second of UDP too, and a remote that was one too many may be the next", () => {
    const rig = new PolicyRig(rule({ new: "2/s" }), { udpTimeoutMs: 300_000 });
    const sends = (): boolean[] => [7, 8, 9].map((last) => rig.sends(`203.0.113.${last}`, 9));
    expect(sends()).toEqual([true, true, false]);
    rig.exchange.pass(500);
    expect(sends()).toEqual([true, true, false]);
    rig.exchange.pass(600);
    expect(sends()).toEqual([true, true, true]);
  });

  it("P25 are not counted under audit, nor is anything else", () => {
    const rig = new PolicyRig({ mode: "audit", ...rule({ new: "1/s", connections: 1, bytes: "1B" }) });
    const { guest, socket } = connection(rig);
    socket.give(Buffer.alloc(10_000));
    guest.pass(50);
    expect(guest.received.length).toBe(10_000);
    expect(rig.connect(AT, 5432)).not.toBeNull();
  });
});

describe("what a limit refuses", () => {
  it("P25 counts as denied by its rule, and not as let through as well", () => {
    const tcp = new PolicyRig(rule({ connections: 1 }));
    for (let i = 0; i < 3; i++) tcp.connect(AT, 5432);
    expect(tcp.exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [2, 0] });
    const datagrams = new PolicyRig(rule({ new: "1/s" }));
    for (const last of [7, 8, 9]) datagrams.sends(`203.0.113.${last}`, 9);
    expect(datagrams.exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [2, 0] });
  });

  it("P25 once a name was shown, is noted with the name", () => {
    const rig = new PolicyRig({ rules: [{ allow: "a.example", limit: { connections: 1 } }] });
    rig.resolve("a.example", AT);
    const guests = [1, 2, 3].map(() => connection(rig, 443).guest);
    for (const guest of guests) guest.send(hello("a.example"));
    expect(guests.map(({ received }) => Buffer.from(received).equals(ALERT_49))).toEqual([false, true, true]);
    expect(rig.denials).toEqual(["a.example:443 policy-connections"]);
    expect(rig.exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [2, 0] });
  });

  it("P25 is no yes of somebody who answers", () => {
    const rig = new PolicyRig({ rules: [{ ask: "a.example", limit: { new: "1/s" } }] });
    rig.resolve("a.example", AT);
    const guest = rig.begin(AT, 443);
    const { exchange } = rig;
    exchange.core.answerQuestion(1, true, null, exchange.now);
    guest.pass(10);
    guest.send(hello("a.example"));
    expect(exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [0, 0] });
  });
});

describe("another policy", () => {
  const arrived = (guest: TcpGuest, ms: number): number => {
    const before = guest.received.length;
    guest.pass(ms);
    return guest.received.length - before;
  };

  it("P25 holds no open flow back under audit, and does again once it enforces", () => {
    for (const keepOpen of [false, true]) {
      const rig = new PolicyRig(rule({ rate: "1B/s", connections: 1 }));
      const { guest, socket } = connection(rig);
      socket.give(Buffer.alloc(900_000, 1));
      expect(arrived(guest, 2000)).toBeLessThan(70_000);
      rig.replace({ mode: "audit", ...rule({ rate: "1B/s", connections: 1 }) }, keepOpen, [0]);
      expect(arrived(guest, 200)).toBeGreaterThan(800_000);
      rig.replace(rule({ rate: "1B/s", connections: 1 }), keepOpen, [0]);
      rig.exchange.pass(50);
      socket.give(Buffer.alloc(900_000, 1));
      expect(arrived(guest, 2000)).toBeLessThan(70_000);
      // It counts, once.
      expect(rig.connect(AT, 5432)).toBeNull();
      guest.reset();
      expect([rig.connect(AT, 5432) === null, rig.connect(AT, 5432) === null]).toEqual([false, true]);
    }
  });

  it("P25 that says another limit of a rule says it of its open flows too", () => {
    for (const keepOpen of [false, true]) {
      for (const first of [{ rate: "1B/s" }, undefined]) {
        const rig = new PolicyRig(
          first === undefined ? { rules: [{ allow: "203.0.113.0/24" }] } : rule(first),
        );
        const { guest, socket } = connection(rig);
        rig.replace(rule({ rate: "100kB/s", connections: 1 }), keepOpen);
        rig.exchange.pass(50);
        socket.give(Buffer.alloc(900_000, 1));
        const octets = arrived(guest, 2000);
        expect([octets > 150_000, octets < 300_000], `${octets}`).toEqual([true, true]);
        expect(rig.connect(AT, 5432)).toBeNull();
        guest.reset();
        expect([rig.connect(AT, 5432) === null, rig.connect(AT, 5432) === null]).toEqual([false, true]);
      }
    }
  });

  it("P25 with a budget that is used up already ends the flows that come to it", () => {
    const limited = { name: "all", allow: "203.0.113.0/24", limit: { bytes: "100kB" } };
    const rig = new PolicyRig({ rules: [{ allow: "203.0.113.8" }, limited] });
    const spender = connection(rig);
    const other = rig.connect("203.0.113.8", 5432);
    const { socket } = rig;
    spender.socket.give(Buffer.alloc(200_000, 1));
    spender.guest.pass(100);
    expect([spender.guest.wasReset, socket.state]).toEqual([true, "open"]);
    rig.replace({ rules: [limited] }, false, [1]);
    rig.exchange.pass(50);
    other?.pass(50);
    expect(socket.state).toBe("reset");
  });
});
