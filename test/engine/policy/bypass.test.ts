/** Ways past a policy, each tried: what a guest would do that wants out and knows how the policy is kept. */
import packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { EINPROGRESS, WRITABLE } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, defaultIpv6Config } from "../../../src/engine/config.ts";
import { CHECK, GO, HERE } from "../../../src/engine/network/destinations.ts";
import { Destinations6 } from "../../../src/engine/network/destinations6.ts";
import { Policy } from "../../../src/engine/policy/policy.ts";
import { udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { ALERT_49, hello, PolicyRig, policyOf } from "../../support/policy-rig.ts";
import { readTree } from "../../support/source-tree.ts";

const GOOD = "203.0.113.10";
const OTHER = "203.0.113.99";

function known(...allow: string[]): PolicyRig {
  const policy = new PolicyRig({ rules: [{ allow: allow.length > 0 ? allow : ["good.example"] }] });
  policy.resolve("good.example", GOOD);
  return policy;
}

/** What becomes of a TCP connection over IPv6. */
function over6(
  document: Parameters<typeof policyOf>[0],
  remote: string,
  port: number,
  prepare?: (policy: Policy) => void,
): number {
  const config = { ...defaultEngineConfig(), policy: policyOf(document) };
  const policy = new Policy({
    config: config.policy,
    uptimeMs: () => 0,
    narrower: null,
    udpTimeoutMs: 1000,
    hasDns: true,
  });
  prepare?.(policy);
  const destinations = new Destinations6(config, defaultIpv6Config(config.gatewayMac), policy);
  const pair = Int32Array.from([...ip6("fd71:1ae0:d44d:2::15"), ...ip6(remote)]);
  return destinations.tcp({ pair, remotePort: port }, new Int32Array(5));
}

describe("an address", () => {
  it.each([
    ["64:ff9b::203.0.113.10", true],
    ["64:ff9b::203.0.113.99", false],
    ["64:ff9b:1::203.0.113.10", true],
    ["64:ff9b:1::203.0.113.99", false],
    ["2002:cb00:710a::1", true],
    ["2002:cb00:7163::1", false],
    ["2001:0:cb00:710a:0:0:34ff:8ef5", true],
    ["2001:0:cb00:710a:0:0:34ff:8e9c", false],
    ["2001:db8::10", false],
    ["::ffff:203.0.113.10", false],
    ["::203.0.113.10", false],
    ["fe80::1", false],
    ["::1", false],
    // Whose prefix it is decides where it goes.
    ["2001:db8::5efe:203.0.113.10", false],
    ["2001:db8::200:5efe:203.0.113.10", false],
  ])("P3 %s is judged as the one inside: %s", (address, goes) => {
    expect(over6({ rules: [{ allow: `${GOOD}:22` }] }, address, 22) === GO).toBe(goes);
    // And so is a denied one, under a default of allow.
    if (goes) expect(over6({ default: "allow", rules: [{ deny: GOOD }] }, address, 22)).not.toBe(GO);
  });

  it("P3 of the network's own translator is judged as the one inside", () => {
    const prefix = { words: Int32Array.from(ip6("2001:db8:64::")), length: 96 };
    const known64 = (policy: Policy): void => {
      policy.setNat64(prefix);
    };
    const rules = { rules: [{ allow: `${GOOD}:22` }] };
    expect(over6(rules, "2001:db8:64::203.0.113.10", 22, known64)).toBe(GO);
    expect(over6(rules, "2001:db8:64::203.0.113.99", 22, known64)).not.toBe(GO);
    const denied = { default: "allow" as const, rules: [{ deny: GOOD }] };
    expect(over6(denied, "2001:db8:64::203.0.113.10", 22, known64)).not.toBe(GO);
  });

  it("over IPv6 has its rules, pins and checks as over IPv4", () => {
    const pin = (policy: Policy): void => {
      policy.name.setText("good.example");
      policy.pins.add(policy.name, Int32Array.from(ip6("2001:db8::7")), 0, 60, false, 0);
    };
    const rules = { rules: [{ allow: "good.example:443,22" }] };
    expect(over6(rules, "2001:db8::7", 443, pin)).toBe(CHECK);
    expect(over6(rules, "2001:db8::7", 22, pin)).toBe(GO);
    expect(over6(rules, "2001:db8::8", 443, pin)).not.toBe(CHECK);
    expect(over6(rules, "2001:db8::8", 53, pin)).toBe(HERE);
    expect(over6({ rules: [{ allow: "[2001:db8::/32]:25" }] }, "2001:db8:ffff::1", 25)).toBe(GO);
  });

  it("typed by hand is refused, on every port that names are allowed on", () => {
    const policy = known("good.example:443,80,22,53,853");
    for (const port of [443, 80, 22, 853, 8443]) expect(policy.connect(OTHER, port), String(port)).toBeNull();
    expect(policy.sends(OTHER, 443)).toBe(false);
  });
});

describe("DNS", () => {
  it("to somebody else by TLS or HTTPS is a connection like any other", () => {
    const policy = known();
    expect(policy.connect("192.0.2.53", 853)).toBeNull();
    expect(policy.connect("192.0.2.53", 443)).toBeNull();
    expect(policy.resolve("dns.example", "192.0.2.53")?.rcode).toBe("NXDOMAIN");
    expect(policy.sends("192.0.2.53", 853)).toBe(false);
  });

  it("that is no question does not pass port 53", () => {
    const policy = known();
    const before = policy.exchange.network.datagrams.length;
    for (const payload of [Buffer.from("tunnel"), Buffer.alloc(600, 1), Buffer.alloc(0)]) {
      policy.exchange.exchange(udp({ to: ip("192.0.2.53"), sourcePort: 4000, destinationPort: 53, payload }));
    }
    expect(policy.exchange.network.datagrams.length).toBe(before);
    expect(policy.connect("192.0.2.53", 53)).not.toBeNull();
    expect(policy.exchange.network.sockets).toEqual([]);
  });

  it("over TCP to any address answers by the same rules, with an allowed and a denied question on one connection", () => {
    const policy = known();
    const stream = policy.connect("192.0.2.53", 53);
    const framed = (id: number, name: string): Buffer => {
      const query = packet.encode({ type: "query", id, questions: [{ type: "A", name }] });
      return Buffer.concat([Buffer.from([0, query.length]), query]);
    };
    stream?.send(
      Buffer.concat([
        framed(1, "evil.example"),
        framed(2, "good.example"),
        framed(3, "good.example.evil.example"),
      ]),
    );
    const upstream = policy.exchange.network.sockets.filter(({ port }) => port === 5301);
    expect(upstream).toHaveLength(1);
    expect(Buffer.from(upstream[0].octets).includes("evil")).toBe(false);
  });

  it("of a name that leads to the metadata service, loopback or the guest's own network opens nothing", () => {
    const policy = new PolicyRig({ rules: [{ allow: "good.example:80", private: true }] });
    for (const address of [
      "169.254.169.254",
      "127.0.0.1",
      "10.0.2.2",
      "10.0.2.3",
      "0.0.0.0",
      "100.100.100.200",
    ]) {
      policy.resolve("good.example", address);
      expect(policy.connect(address, 80), address).toBeNull();
    }
  });

  it("answers that nobody asked for, and those of denied names, pin nothing", () => {
    const policy = known();
    policy.ask("evil.example", [{ type: "A", name: "evil.example", ttl: 60, data: OTHER }]);
    policy.ask("good.example", [
      { type: "A", name: "good.example", ttl: 60, data: GOOD },
      { type: "A", name: "evil.example", ttl: 60, data: OTHER },
    ]);
    expect(policy.connect(OTHER, 443)).toBeNull();
  });
});

describe("a connection", () => {
  it("whose name is in its second ClientHello, or its second record, or behind a first byte that is none", () => {
    for (const octets of [
      Buffer.concat([Buffer.from([0]), hello("good.example")]),
      Buffer.concat([Buffer.from([23, 3, 3, 0, 1, 0]), hello("good.example")]),
      Buffer.concat([Buffer.from([22, 3, 1, 0, 0]), hello("good.example")]),
      Buffer.concat([Buffer.from([22, 2, 1]), hello("good.example").subarray(3)]),
    ]) {
      const policy = known();
      const guest = policy.connect(GOOD, 443);
      guest?.send(octets);
      guest?.pass(10_100);
      expect(policy.socket.octets.length).toBe(0);
      expect(policy.socket.state).toBe("reset");
    }
  });

  it("that sends its octets out of order, twice, and over each other is read as it arrives", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    const [good, evil] = [hello("good.example"), hello("evil.example")];
    guest?.sendSegment(evil.subarray(40), 40);
    expect(policy.socket.octets.length).toBe(0);
    guest?.send(good.subarray(0, 40));
    expect(guest?.received).toEqual(ALERT_49);
    expect(policy.socket.octets.length).toBe(0);
    expect(policy.denials).toEqual(["evil.example:443 policy-name-mismatch"]);
    // Of two that lie over each other the first stays: it is what is judged, and what the host gets.
    for (const [first, second, passes] of [
      [good, evil, true],
      [evil, good, false],
    ] as const) {
      const over = policy.connect(GOOD, 443);
      over?.sendSegment(first.subarray(40), 40);
      over?.sendSegment(second.subarray(40), 40);
      expect(policy.socket.octets.length).toBe(0);
      over?.send(first.subarray(0, 40));
      over?.settle();
      expect(Buffer.from(policy.socket.octets)).toEqual(passes ? good : Buffer.alloc(0));
      expect(over?.received).toEqual(passes ? Buffer.alloc(0) : ALERT_49);
    }
  });

  it("that is not answered yet by the host shows nothing early", () => {
    const policy = known();
    policy.exchange.network.connected = () => EINPROGRESS;
    expect(policy.connect(GOOD, 443)).toBeNull();
    policy.exchange.network.connected = () => 0;
    policy.exchange.network.wake(policy.socket.token, WRITABLE);
    policy.exchange.settle();
    expect(policy.socket.octets.length).toBe(0);
  });

  it("to an address of two names may show either, and no third", () => {
    const policy = new PolicyRig({ rules: [{ allow: ["good.example", "fine.example"] }] });
    policy.resolve("good.example", GOOD);
    policy.resolve("fine.example", GOOD);
    for (const [name, passes] of [
      ["good.example", true],
      ["fine.example", true],
      ["evil.example", false],
    ] as const) {
      const guest = policy.connect(GOOD, 443);
      guest?.send(hello(name));
      expect(policy.socket.octets.length > 0, name).toBe(passes);
      if (!passes) expect(guest?.received).toEqual(ALERT_49);
    }
  });

  it("that outlives its name's pin stays, and a new one does not come by it once it is gone", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("good.example"));
    policy.exchange.pass(200_000);
    guest?.send(Buffer.from("more"));
    expect(policy.socket.octets.length).toBe(hello("good.example").length + 4);
    guest?.reset();
    policy.exchange.pass(200_000);
    expect(policy.connect(GOOD, 443)).toBeNull();
  });

  it("to the same address by QUIC, or any other UDP, is closed", () => {
    const policy = known();
    for (const port of [443, 80, 4500]) expect(policy.sends(GOOD, port), String(port)).toBe(false);
  });

  it("from an allowed UDP remote's mapping reaches no other remote", () => {
    const policy = known("203.0.113.1:123/udp");
    expect(policy.sends("203.0.113.1", 123)).toBe(true);
    expect(policy.sends("203.0.113.1", 124)).toBe(false);
    expect(policy.sends("203.0.113.2", 123)).toBe(false);
  });
});

describe("an engine without a policy", () => {
  it("loads none of it: nothing of it is imported but when there is one", () => {
    const sources = new Map(
      ["src/engine", "src/host", "src/supervisor", "src/config", "src/cli"]
        .flatMap((directory) => readTree(directory))
        .concat(readTree("src"))
        .map((source) => [source.file, source]),
    );
    const reached = new Set<string>();
    const visit = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const { from, typeOnly, dynamic } of sources.get(file)?.imports ?? []) {
        if (!typeOnly && !dynamic && from.startsWith("src/")) visit(from);
      }
    };
    for (const entry of [
      "src/supervisor/engine-process.ts",
      "src/cli/run.ts",
      "src/cli/exec.ts",
      "src/cli/qemu.ts",
      "src/index.ts",
    ])
      visit(entry);
    expect(reached.size).toBeGreaterThan(100);
    const parts =
      /^src\/engine\/(policy|policy-layers|service\/names|wire\/(client-hello|http-head|dns-answer|quic))|^src\/config\/policy\/|host-addresses|quic-keys|^src\/supervisor\/(own-)?decider|user-module/;
    expect([...reached].filter((file) => parts.test(file))).toEqual([]);
  });
});
