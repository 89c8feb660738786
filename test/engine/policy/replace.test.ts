/** A policy that is replaced while flows are open. */
import { describe, expect, it } from "vitest";
import { asUdp, udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ALERT_49, hello, PolicyRig } from "../../support/policy-rig.ts";
import { RecordTap } from "../../support/record-tap.ts";

const GOOD = "203.0.113.10";
const OTHER = "203.0.113.99";

describe("a policy that is replaced", () => {
  it("P5 resets exactly the connections that it does not allow, of a thousand, and loses no octet of the others", () => {
    const stays = Array.from({ length: 700 }, (_, n) => `198.51.100.${n % 250}:${1000 + n}`);
    const goes = Array.from({ length: 300 }, (_, n) => `203.0.113.${n % 250}:${1000 + n}`);
    const policy = new PolicyRig({
      rules: [
        { name: "stays", allow: "198.51.100.0/24" },
        { name: "goes", allow: "203.0.113.0/24" },
      ],
    });
    const open = [...stays, ...goes].map((target) => {
      const [address = "", port = ""] = target.split(":");
      const guest = policy.connect(address, Number(port));
      return { target, guest, socket: policy.socket };
    });
    for (const { guest, target } of open) guest?.send(Buffer.from(`before ${target} `));
    policy.replace({ rules: [{ name: "stays", allow: "198.51.100.0/24" }] });
    policy.exchange.pass(100);
    for (const [i, { guest, socket, target }] of open.entries()) {
      const isKept = i < stays.length;
      guest?.settle();
      if (isKept) guest?.send(Buffer.from("after"));
      expect(socket.state, target).toBe(isKept ? "open" : "reset");
      expect(Buffer.from(socket.octets).toString()).toBe(`before ${target} ${isKept ? "after" : ""}`);
    }
    expect(policy.connect("203.0.113.7", 1000)).toBeNull();
    expect(policy.connect("198.51.100.7", 1000)).not.toBeNull();
  });

  it("P5 leaves them open where that is asked for", () => {
    const policy = new PolicyRig({ rules: [{ allow: `${GOOD}:22` }] });
    const guest = policy.connect(GOOD, 22);
    policy.replace({ rules: [{ allow: `${OTHER}:22` }] }, true);
    policy.exchange.pass(100);
    guest?.send(Buffer.from("still"));
    expect(policy.socket.state).toBe("open");
    expect(policy.connect(GOOD, 22)).toBeNull();
  });

  it("P5 judges a connection by the name it showed, not by others of its address", () => {
    const policy = new PolicyRig({ rules: [{ allow: ["good.example", "fine.example"] }] });
    policy.resolve("good.example", GOOD);
    policy.resolve("fine.example", GOOD);
    const open = ["good.example", "fine.example"].map((name) => {
      const guest = policy.connect(GOOD, 443);
      guest?.send(hello(name));
      return { name, guest, socket: policy.socket };
    });
    policy.replace({ rules: [{ allow: "fine.example" }] });
    policy.exchange.pass(100);
    expect(open.map(({ name, socket }) => `${name} ${socket.state}`)).toEqual([
      "good.example reset",
      "fine.example open",
    ]);
    // Pins have stayed.
    const again = policy.connect(GOOD, 443);
    again?.send(hello("fine.example"));
    expect(policy.socket.octets.length).toBe(hello("fine.example").length);
    const no = policy.connect(GOOD, 443);
    no?.send(hello("good.example"));
    expect(no?.received).toEqual(ALERT_49);
  });

  it("P5 P25 counts a connection that may show a name and does not for the rule that lets it go then", () => {
    const ads = { deny: "*.ads.example" };
    const rule = (connections: number) => ({ allow: "203.0.113.0/24", limit: { connections } });
    const policy = new PolicyRig({ rules: [ads, rule(5)] });
    policy.connect(OTHER, 443);
    policy.replace({ rules: [{ deny: "192.0.2.1:1" }, ads, rule(1)] });
    policy.exchange.pass(1000);
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [0, 0, 1, 0], denied: [0, 0, 0, 0] });
    expect(policy.connect(OTHER, 22) === null).toBe(true);
    expect(policy.denials).toEqual([`${OTHER}:22 policy-connections`]);
    // One that finds the limits of another rule used up is reset.
    policy.replace({ rules: [ads, rule(5)] });
    const guest = policy.connect(OTHER, 443);
    policy.replace({ rules: [ads, rule(1)] });
    guest?.pass(1000);
    expect(guest?.wasReset).toBe(true);
    expect(policy.exchange.core.counters.dropped("policy-connections")).toBe(2);
  });

  it("P5 judges a connection that may show a name and does not by the policy that there is then", () => {
    const rules = [{ deny: "*.ads.example" }];
    const cases: [document: Parameters<PolicyRig["replace"]>[0], isKept: boolean][] = [
      [{ rules }, true],
      [{ mode: "audit", rules: [{ allow: "good.example" }] }, true],
      [{ rules: [{ allow: "good.example" }] }, false],
      [{ rules: [{ deny: "203.0.113.0/24" }, ...rules] }, false],
      [{ rules, via: "socks5://127.0.0.1:1080" }, false],
    ];
    for (const [document, isKept] of cases) {
      const policy = new PolicyRig({ rules });
      const tap = new RecordTap(policy.exchange.core, policy.exchange.arena);
      const guest = policy.connect(OTHER, 443);
      policy.replace(document);
      guest?.pass(450);
      expect(policy.socket.state).toBe("open");
      guest?.pass(50);
      if (isKept) guest?.send(Buffer.from("hi"));
      const { state, octets } = policy.socket;
      expect([guest?.wasReset, state, octets.length]).toEqual(
        isKept ? [false, "open", 2] : [true, "reset", 0],
      );
      const ends = tap.read().filter(({ type }) => type === "flow-ended");
      expect(ends).toMatchObject(isKept ? [] : [{ reason: "policy-changed", endedBy: "sluice" }]);
    }
  });

  it("P5 judges a connection that is to show its name by what it shows then", () => {
    const policy = new PolicyRig({ rules: [{ allow: ["good.example", "fine.example"] }] });
    policy.resolve("good.example", GOOD);
    const guest = policy.connect(GOOD, 443);
    policy.replace({ rules: [{ allow: "fine.example" }] });
    policy.exchange.pass(100);
    guest?.send(hello("good.example"));
    expect(guest?.received).toEqual(ALERT_49);
  });

  it("P5 ends a connection by address where a name is asked for now, and it can be shown no more", () => {
    const policy = new PolicyRig({ rules: [{ allow: `${GOOD}:443` }] });
    policy.connect(GOOD, 443)?.send(hello("evil.example"));
    const { socket } = policy;
    policy.replace({ rules: [{ allow: "good.example" }] });
    policy.exchange.pass(100);
    expect(socket.state).toBe("reset");
  });

  it("P5 ends mappings of UDP whose remotes are all denied, and hears the others no more", () => {
    const policy = new PolicyRig({ rules: [{ allow: [`${GOOD}:123/udp`, `${OTHER}:123/udp`] }] });
    expect(policy.sends(GOOD, 123)).toBe(true);
    expect(policy.sends(OTHER, 123)).toBe(true);
    const { network } = policy.exchange;
    const { handle } = network.datagrams.at(-1) ?? { handle: -1 };
    const heard = (from: string): boolean => {
      network.arrive(handle, ip(from), 123, Buffer.from("x"));
      return policy.exchange.settle().some((frame) => asUdp(frame).source === ip(from));
    };
    expect([heard(GOOD), heard(OTHER)]).toEqual([true, true]);
    policy.replace({ rules: [{ allow: `${OTHER}:123/udp` }] });
    policy.exchange.pass(100);
    expect([heard(GOOD), heard(OTHER)]).toEqual([false, true]);
    expect(policy.sends(GOOD, 123)).toBe(false);
    expect(policy.exchange.core.usage().udp).toBe(1);
    policy.replace({ rules: [{ allow: "good.example" }] });
    policy.exchange.pass(100);
    expect(policy.exchange.core.usage().udp).toBe(0);
    expect(policy.exchange.exchange(udp({ to: ip(OTHER), sourcePort: 9, destinationPort: 123 }))).toEqual([]);
  });

  it("P5 keeps the counts of rules that stay, and what was denied by them", () => {
    const policy = new PolicyRig({
      rules: [
        { name: "a", allow: `${GOOD}:22` },
        { name: "b", deny: `${OTHER}:22` },
      ],
    });
    policy.connect(GOOD, 22);
    policy.connect(OTHER, 22);
    policy.connect(OTHER, 23);
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [1, 0, 0], denied: [0, 1, 1] });
    policy.replace(
      {
        rules: [
          { name: "c", allow: "198.51.100.1" },
          { name: "b", deny: `${OTHER}:22` },
        ],
      },
      false,
      [-1, 1],
    );
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [0, 0, 0], denied: [0, 1, 1] });
    expect(policy.exchange.core.denials().map(({ ruleName }) => ruleName)).toEqual(["b", null]);
  });

  it("P5 from audit to enforcing and back counts at once, for questions too", () => {
    const policy = new PolicyRig({ mode: "audit", rules: [{ allow: "good.example" }] });
    expect(policy.resolve("evil.example", OTHER)?.rcode).toBe("NOERROR");
    policy.connect(OTHER, 80);
    const { socket } = policy;
    policy.replace({ rules: [{ allow: "good.example" }] });
    policy.exchange.pass(100);
    expect(socket.state).toBe("reset");
    expect(policy.resolve("evil.example", OTHER)?.rcode).toBe("NXDOMAIN");
    policy.replace({ mode: "audit", rules: [{ allow: "good.example" }] });
    expect(policy.resolve("evil.example", OTHER)?.rcode).toBe("NOERROR");
  });
});
