/** Connections that leave by another way: a stand-in for the name, the proxy's handshake or the PROXY header, and no other way. */
import packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { defaultIpv6Config } from "../../../src/engine/config.ts";
import { ip } from "../../support/frames.ts";
import { frame6, tcp6, udp6 } from "../../support/frames6.ts";
import { ALERT_49, hello, PolicyRig } from "../../support/policy-rig.ts";
import { RecordTap } from "../../support/record-tap.ts";

const PROXY = "127.0.0.1:1080";
const PROXY_WORDS = [0, 0, 0xffff, 0x7f000001];

function standIn(rig: PolicyRig, name: string): string {
  const reply = rig.ask(name);
  const [answer] = (reply?.answers ?? []) as { data: string; ttl: number }[];
  expect(answer?.ttl, name).toBe(5);
  expect(answer?.data).toMatch(/^198\.19\./);
  return answer?.data ?? "";
}

/** A SYN, and what the proxy has heard of it. */
function viaSocks(rig: PolicyRig, to: string, port: number) {
  const guest = rig.begin(to, port);
  return { guest, socket: rig.socket, heard: () => Buffer.from(rig.socket.octets).toString("latin1") };
}

const SYN = 2;
const ACK = 16;
const ESTABLISHED = Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
const NAMED_REPLY = Buffer.from([5, 0, 0, 3, 3, 0x61, 0x2e, 0x62, 1, 2]);

/** A guest that has IPv6 alone. */
function overIpv6(document: ConstructorParameters<typeof PolicyRig>[0]) {
  const ipv6 = defaultIpv6Config(Uint8Array.of(0x52, 0x55, 10, 0, 2, 2));
  const rig = new PolicyRig(document, { ipv4: false, ipv6 });
  const send = (octets: Uint8Array): Uint8Array[] =>
    rig.exchange.exchange(frame6(octets, [0x52, 0x55, 10, 0, 2, 2], [0x52, 0x54, 0, 0x12, 0x34, 0x56]));
  // The advertisements of the link's start.
  rig.exchange.settle();
  const ask = (type: "A" | "AAAA", name: string) => {
    const query = packet.encode({ type: "query", id: 7, questions: [{ type, name }] });
    const reply = send(udp6({ destination: "fd71:1ae0:d44d:2::3" }, 4000, 53, [...query])).at(-1);
    return packet.decode(Buffer.from(reply ?? []).subarray(14 + 40 + 8)).answers as { data: string }[];
  };
  return { rig, send, ask };
}

describe("stand-ins", () => {
  it("P27 answer for names whose rules say a way, and no question leaves", () => {
    const rig = new PolicyRig({ rules: [{ allow: ["*.far.example:443,22"], via: `socks5://${PROXY}` }] });
    const a = standIn(rig, "a.far.example");
    expect(standIn(rig, "A.FAR.example")).toBe(a);
    expect(standIn(rig, "b.far.example")).not.toBe(a);
    for (const type of ["AAAA", "TXT", "HTTPS", "MX"] as const) {
      const reply = rig.ask("a.far.example", [], { questions: [{ type, name: "a.far.example" } as never] });
      expect([reply?.rcode, reply?.answers], type).toEqual(["NOERROR", []]);
    }
    expect(rig.ask("far.example")?.rcode).toBe("NXDOMAIN");
    expect(rig.left).toEqual([]);
  });

  it("are told to people as what they are, beside where other names lead", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "far.example", via: `socks5://${PROXY}` }, { allow: "near.example" }],
    });
    const at = standIn(rig, "far.example");
    rig.ask("near.example", [{ type: "A", name: "near.example", ttl: 60, data: "203.0.113.7" }]);
    const rows = rig.exchange.core.pins();
    expect(rows.map(({ address, name, isStandIn }) => [address, name, isStandIn]).sort()).toEqual([
      [at, "far.example", true],
      ["203.0.113.7", "near.example", false],
    ]);
    for (const { endsInMs } of rows) expect(endsInMs).toBeGreaterThan(0);
    rig.exchange.pass(Math.max(...rows.map(({ endsInMs }) => endsInMs)));
    expect(rig.exchange.core.pins()).toEqual([]);
  });

  it("are nobody's before they are given, and no rule by address opens one", () => {
    const rig = new PolicyRig({
      rules: [{ allow: "far.example", via: `socks5://${PROXY}` }, { allow: "@any" }],
    });
    expect(rig.connect("198.19.3.4", 443)).toBeNull();
    const at = standIn(rig, "far.example");
    expect(rig.connect(at, 25)).toBeNull();
    expect(rig.sends(at, 443)).toBe(false);
    expect(rig.exchange.network.sockets).toEqual([]);
  });

  it("of another network where the policy says so", () => {
    const rig = new PolicyRig({
      "stand-ins": "100.96.0.0/12",
      rules: [{ allow: "far.example", to: PROXY }],
    });
    const [answer] = (rig.ask("far.example")?.answers ?? []) as { data: string }[];
    expect(ip(answer?.data ?? "") >>> 20).toBe(ip("100.96.0.0") >>> 20);
  });

  it("P27 are told as AAAA to a guest that has IPv6 alone, in 64:ff9b::/96, and lead to the proxy", () => {
    const { rig, send, ask } = overIpv6({ rules: [{ allow: "far.example:22", via: `socks5://${PROXY}` }] });
    expect(ask("A", "far.example")).toEqual([]);
    const [answer] = ask("AAAA", "far.example");
    expect(answer?.data).toMatch(/^64:ff9b::c613:/);
    send(tcp6({ destination: answer?.data ?? "" }, { from: 4000, to: 22, sequence: 1, flags: 2 }));
    rig.socket.give(Buffer.of(5, 0));
    rig.exchange.settle();
    expect(Buffer.from(rig.socket.octets).toString("latin1")).toContain("\x03\x0bfar.example\x00\x16");
    expect(rig.left).toEqual([]);
  });
});

describe("a denied name", () => {
  it("P18 is explained to a guest that has IPv6 alone", () => {
    const { rig, send, ask } = overIpv6({ answers: "explain", rules: [{ allow: "far.example" }] });
    const destination = ask("AAAA", "evil.example")[0]?.data ?? "";
    expect(destination).toMatch(/^64:ff9b::c613:/);
    const syn = tcp6({ destination }, { from: 4000, to: 80, sequence: 1, flags: 2 });
    const answer = Buffer.from(send(syn).at(-1) ?? []).subarray(14 + 40);
    expect(answer[13]).toBe(SYN | ACK);
    const acknowledgment = answer.readUInt32BE(4) + 1;
    const payload = [...Buffer.from("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")];
    const flow = { from: 4000, to: 80, sequence: 2, acknowledgment, flags: ACK, payload };
    const told = Buffer.concat(send(tcp6({ destination }, flow))).toString("latin1");
    expect(told).toContain("sluice: denied: policy-no-rule: no rule names evil.example (rule default)");
    expect([rig.left, rig.exchange.network.sockets]).toEqual([[], []]);
  });
});

describe("a SOCKS proxy", () => {
  it("P27 is told the name and nothing before its handshake has ended", () => {
    const rig = new PolicyRig({ rules: [{ allow: "ssh.example:22", via: `socks5://${PROXY}` }] });
    const { guest, socket, heard } = viaSocks(rig, standIn(rig, "ssh.example"), 22);
    expect([socket.port, socket.to]).toEqual([1080, PROXY_WORDS]);
    expect(heard()).toBe("\x05\x01\x00");
    socket.give(Buffer.of(5));
    guest.settle();
    socket.give(Buffer.of(0));
    guest.settle();
    expect(heard().slice(3)).toBe(`\x05\x01\x00\x03\x0bssh.example\x00\x16`);
    expect(guest.answered).toBe(false);
    // The other end speaks first, in the same segment: not an octet is lost.
    socket.give(Buffer.concat([NAMED_REPLY, Buffer.from("SSH-2.0-x\r\n")]));
    expect(guest.finish()).toBe(true);
    expect(guest.received.toString()).toBe("SSH-2.0-x\r\n");
    guest.send(Buffer.from("SSH-2.0-y\r\n"));
    expect(heard().endsWith("\x16SSH-2.0-y\r\n")).toBe(true);
  });

  it("P27 is told an address where there is no name, of either family", () => {
    const rig = new PolicyRig({ rules: [{ allow: "203.0.113.0/24:5432", via: `socks5://${PROXY}` }] });
    const { guest, socket, heard } = viaSocks(rig, "203.0.113.7", 5432);
    socket.give(Buffer.of(5, 0));
    guest.settle();
    expect(heard().slice(3)).toBe("\x05\x01\x00\x01\xcb\x00\x71\x07\x15\x38");
    socket.give(Buffer.concat([Buffer.of(5, 0, 0, 4), Buffer.alloc(18)]));
    expect(guest.finish()).toBe(true);
  });

  it("P27 is told an address that may be two, where the rules of both say the same way", () => {
    const vias = ["127.0.0.1:1080", "127.0.0.1:1081"];
    for (const via of vias) {
      const rig = new PolicyRig(
        {
          rules: [
            { allow: "203.0.113.10:5432", via: `socks5://${PROXY}` },
            { allow: "203.0.113.11:5432", via: `socks5://${via}` },
          ],
        },
        { ipv6: defaultIpv6Config(Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)) },
      );
      rig.exchange.settle();
      // Teredo: the server at 203.0.113.10, the client behind 203.0.113.11.
      const syn = { from: 4000, to: 5432, sequence: 1, flags: 2 };
      const octets = tcp6({ destination: "2001:0:cb00:710a:0:0:34ff:8ef4" }, syn);
      rig.exchange.exchange(frame6(octets, [0x52, 0x55, 10, 0, 2, 2], [0x52, 0x54, 0, 0x12, 0x34, 0x56]));
      expect([via, rig.exchange.network.sockets.length]).toEqual([via, via === PROXY ? 1 : 0]);
    }
  });

  it("P27 wants a login where it says so, and gets it", () => {
    const rig = new PolicyRig({ rules: [{ allow: "far.example", via: `socks5://me:p%40ss@${PROXY}` }] });
    const { guest, socket, heard } = viaSocks(rig, standIn(rig, "far.example"), 443);
    expect(heard()).toBe("\x05\x02\x00\x02");
    socket.give(Buffer.of(5, 2));
    guest.settle();
    expect(heard().slice(4)).toBe("\x01\x02me\x04p@ss".replace("\x04p@ss", "\x04p@ss"));
    socket.give(Buffer.of(1, 0));
    guest.settle();
    socket.give(ESTABLISHED);
    expect(guest.finish()).toBe(true);
    // A name is due on port 443: until it has come nothing goes on.
    const before = heard().length;
    guest.send(hello("far.example"));
    expect(heard().length).toBeGreaterThan(before);
  });

  it("P27 is where a connection that shows another name ends", () => {
    const rig = new PolicyRig({
      rules: [{ allow: ["far.example", "near.example"], via: `socks5://${PROXY}` }],
    });
    standIn(rig, "near.example");
    const { guest, socket, heard } = viaSocks(rig, standIn(rig, "far.example"), 443);
    socket.give(Buffer.of(5, 0));
    guest.settle();
    socket.give(ESTABLISHED);
    expect(guest.finish()).toBe(true);
    const before = heard().length;
    guest.send(hello("near.example"));
    expect(guest.received).toEqual(ALERT_49);
    expect(heard().length).toBe(before);
    expect(rig.denials).toEqual(["near.example:443 policy-name-mismatch"]);
  });

  const refusals: readonly (readonly [what: string, says: (number[] | "end" | "fail")[], reason: string])[] =
    [
      ["no method", [[5, 255]], "proxy-refused"],
      ["a login that was not offered", [[5, 2]], "proxy-refused"],
      ["another protocol", [[0x48, 0x54]], "proxy-refused"],
      [
        "a refusal",
        [
          [5, 0],
          [5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
        ],
        "proxy-refused",
      ],
      [
        "garbage for a reply",
        [
          [5, 0],
          [5, 0, 0, 9, 0, 0, 0, 0, 0, 0],
        ],
        "proxy-refused",
      ],
      ["its end before it says anything", ["end"], "proxy-unreachable"],
      ["half a reply and its end", [[5, 0], [5, 0, 0], "end"], "proxy-unreachable"],
      ["a reset", [[5, 0], "fail"], "proxy-unreachable"],
    ];
  for (const [what, says, reason] of refusals) {
    it(`P27 that says ${what} is a reset and nothing else`, () => {
      const rig = new PolicyRig({ rules: [{ allow: "far.example", via: `socks5://${PROXY}` }] });
      const { guest, socket } = viaSocks(rig, standIn(rig, "far.example"), 443);
      for (const each of says) {
        if (each === "end") socket.end();
        else if (each === "fail") socket.fail();
        else socket.give(Buffer.from(each));
        guest.settle();
      }
      expect(guest.finish()).toBe(false);
      expect(guest.wasReset).toBe(true);
      expect(rig.exchange.network.sockets).toHaveLength(1);
      expect(socket.state).toBe("reset");
      expect(rig.denials).toEqual([`far.example:443 ${reason}`]);
      expect(rig.exchange.core.counters.dropped(reason as never)).toBe(1);
      expect(rig.left).toEqual([]);
    });
  }

  it("P27 that is not there, or says half and nothing more, is a reset too", () => {
    const rig = new PolicyRig({ rules: [{ allow: "far.example", via: `socks5://${PROXY}` }] });
    const at = standIn(rig, "far.example");
    const tap = new RecordTap(rig.exchange.core, rig.exchange.arena);
    rig.exchange.network.connectTo = () => -111;
    const refused = rig.begin(at, 443);
    expect([refused.finish(), refused.wasReset]).toEqual([false, true]);
    expect(tap.read().filter(({ type }) => type === "drop")).toMatchObject([
      {
        reason: "proxy-unreachable",
        from: "guest",
        protocol: "tcp",
        guest: { address: "10.0.2.15" },
        remote: { address: at, port: 443 },
        times: 1,
      },
    ]);
    rig.exchange.network.connectTo = () => 0;
    const { guest, socket } = viaSocks(rig, at, 443);
    socket.give(Buffer.of(5, 0));
    guest.settle();
    socket.give(Buffer.of(5, 0));
    guest.pass(29_000);
    expect([guest.finish(), guest.wasReset, socket.state]).toEqual([false, false, "open"]);
    guest.pass(1_100);
    expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
    expect(rig.denials).toEqual(["far.example:443 proxy-unreachable"]);
  });

  it("P27 carries no UDP", () => {
    const rig = new PolicyRig({ rules: [{ allow: ["203.0.113.0/24"], via: `socks5://${PROXY}` }] });
    expect(rig.sends("203.0.113.7", 4433)).toBe(false);
    expect(rig.denials).toEqual(["203.0.113.7:4433 proxy-udp"]);
  });

  it("has room for 1,024 at a time; those the guest gives up make room", () => {
    const rig = new PolicyRig({ rules: [{ allow: "203.0.113.0/24:5432", via: `socks5://${PROXY}` }] });
    const first = rig.begin("203.0.113.7", 5432);
    for (let i = 1; i < 1024; i++) rig.begin("203.0.113.7", 5432);
    const before = rig.exchange.network.sockets.length;
    const late = rig.begin("203.0.113.7", 5432);
    expect(rig.exchange.network.sockets).toHaveLength(before);
    expect(late.wasReset).toBe(false);
    first.reset();
    const again = rig.begin("203.0.113.7", 5432);
    expect(rig.exchange.network.sockets).toHaveLength(before + 1);
    rig.socket.give(Buffer.of(5, 0));
    again.settle();
    rig.socket.give(ESTABLISHED);
    expect(again.finish()).toBe(true);
  });
});

describe("an HTTP proxy", () => {
  const rig = (credentials = "") =>
    new PolicyRig({
      rules: [{ allow: ["far.example:22", "[2001:db8::/32]:22"], via: `http://${credentials}${PROXY}` }],
    });

  it("P27 is asked to connect by name, and what lies behind it speaks as if it were there", () => {
    const policy = rig("me:secret@");
    const { guest, socket, heard } = viaSocks(policy, standIn(policy, "far.example"), 22);
    const login = Buffer.from("me:secret").toString("base64");
    expect(heard()).toBe(
      `CONNECT far.example:22 HTTP/1.1\r\nHost: far.example:22\r\nProxy-Authorization: Basic ${login}\r\n\r\n`,
    );
    socket.give(Buffer.from("HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\nSSH-2.0-x\r\n"));
    expect(guest.finish()).toBe(true);
    expect(guest.received.toString()).toBe("SSH-2.0-x\r\n");
  });

  it("P27 may say so octet by octet", () => {
    const policy = rig();
    const { guest, socket } = viaSocks(policy, standIn(policy, "far.example"), 22);
    for (const octet of Buffer.from("HTTP/1.1 200\r\nA: b\rc\r\n\r\nhi")) {
      socket.give(Buffer.of(octet));
      guest.settle();
    }
    expect(guest.finish()).toBe(true);
    expect(guest.received.toString()).toBe("hi");
  });

  for (const says of [
    "HTTP/1.1 403 Forbidden\r\n\r\n",
    "HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.1 20x OK\r\n\r\n",
    "HTTP/1.1 200 OK\nA: b\n\n",
    "HTTP/1.1\r\n\r\n",
    "SSH-2.0-x\r\n",
    `HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(3000)}\r\n`,
  ]) {
    it(`P27 that says ${JSON.stringify(says.slice(0, 40))} is a reset`, () => {
      const policy = rig();
      const { guest, socket } = viaSocks(policy, standIn(policy, "far.example"), 22);
      socket.give(Buffer.from(says));
      expect(guest.finish()).toBe(false);
      expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
      expect(policy.denials).toEqual(["far.example:22 proxy-refused"]);
    });
  }
});

describe("a target", () => {
  it("P26 gets what was meant for the name, told by a PROXY header where it wants one", () => {
    for (const header of [false, true]) {
      const rig = new PolicyRig({
        rules: [
          {
            allow: "api.example",
            to: "127.0.0.1:8899",
            ...(header ? { "proxy-protocol": "v2" as const } : {}),
          },
        ],
      });
      const at = standIn(rig, "api.example");
      const guest = rig.begin(at, 443);
      expect(guest.finish()).toBe(true);
      expect([rig.socket.port, rig.socket.to]).toEqual([8899, PROXY_WORDS]);
      guest.send(hello("api.example"));
      const expected = header
        ? Buffer.concat([
            Buffer.from("0d0a0d0a000d0a515549540a2111001a", "hex"),
            Buffer.from([10, 0, 2, 15, ...at.split(".").map(Number)]),
            Buffer.from([guest.sourcePort >> 8, guest.sourcePort & 255, 443 >> 8, 443 & 255]),
            Buffer.from([2, 0, 11]),
            Buffer.from("api.example"),
          ])
        : Buffer.alloc(0);
      expect(Buffer.from(rig.socket.octets)).toEqual(Buffer.concat([expected, hello("api.example")]));
    }
  });

  it("P26 may be a Unix socket", () => {
    const rig = new PolicyRig({ rules: [{ allow: "api.example", check: "none", to: "unix:/run/api.sock" }] });
    const guest = rig.begin(standIn(rig, "api.example"), 443);
    expect(guest.finish()).toBe(true);
    expect(rig.socket.to).toEqual([]);
  });
});

describe("C2 a port of sluice's own", () => {
  const loopback = { address: [0, 0, 0xffff, 0x7f000001], port: 8899 };

  it.each([
    ["to", { to: "127.0.0.1:8899" }],
    ["to", { to: "127.0.0.9:8899", "proxy-protocol": "v2" as const }],
    ["via", { via: "socks5://127.0.0.1:8899" }],
  ])("P26 is nowhere that %s leads", (_, way) => {
    const rig = new PolicyRig({ rules: [{ allow: ["api.example:22", "203.0.113.9:22"], ...way }] });
    const at = standIn(rig, "api.example");
    rig.begin(at, 22);
    expect(rig.exchange.network.sockets).toHaveLength(1);
    rig.exchange.core.setControlPorts([loopback]);
    for (const to of [at, "203.0.113.9"]) {
      const guest = rig.begin(to, 22);
      expect([to, guest.finish(), guest.wasReset]).toEqual([to, false, true]);
    }
    expect(rig.exchange.network.sockets).toHaveLength(1);
    expect(rig.denials).toContain("api.example:22 control-refused");
    rig.exchange.core.setControlPorts([{ ...loopback, port: 8900 }]);
    rig.begin(at, 22);
    expect(rig.exchange.network.sockets).toHaveLength(2);
  });

  it("P26 is nowhere that a name leads which is asked for once a connection goes there", () => {
    for (const port of [22, 23]) {
      const rig = new PolicyRig({
        rules: [
          { allow: "mixed.example:443", to: PROXY },
          { allow: "mixed.example:22", private: true },
        ],
      });
      rig.exchange.core.setControlPorts([{ address: [0, 0, 0xffff, 0x0a000005], port }]);
      const guest = rig.begin(standIn(rig, "mixed.example"), 22);
      rig.answerOwn([{ type: "A", name: "mixed.example", ttl: 9, data: "10.0.0.5" }]);
      guest.settle();
      if (port === 22) rig.answerOwn([]);
      expect([port, guest.finish()]).toEqual([port, port === 23]);
    }
  });
});

describe("a proxy for all", () => {
  it("P27 takes every name and address that is allowed, and no question leaves", () => {
    const rig = new PolicyRig({ via: `socks5://${PROXY}`, rules: [{ deny: "ads.example" }] });
    expect(rig.ask("ads.example")?.rcode).toBe("NXDOMAIN");
    const { guest, heard, socket } = viaSocks(rig, standIn(rig, "any.thing.example"), 22);
    socket.give(Buffer.of(5, 0));
    guest.settle();
    expect(heard()).toContain("any.thing.example");
    const other = rig.begin("203.0.113.9", 22);
    rig.socket.give(Buffer.of(5, 0));
    other.settle();
    expect(Buffer.from(rig.socket.octets).subarray(3, 8)).toEqual(Buffer.of(5, 1, 0, 1, 203));
    expect(rig.sends("203.0.113.9", 123)).toBe(false);
    expect(rig.left).toEqual([]);
    expect(rig.exchange.network.sockets.every(({ port }) => port === 1080)).toBe(true);
  });
});

describe("a name that has a way on some ports only", () => {
  const policy = (over = {}) =>
    new PolicyRig({
      rules: [
        { allow: "mixed.example", via: `socks5://${PROXY}` },
        { allow: "mixed.example:22", ...over },
      ],
    });

  it("P27 is asked for once a connection may go there straight", () => {
    const rig = policy();
    const at = standIn(rig, "mixed.example");
    const guest = rig.begin(at, 22);
    expect(guest.answered).toBe(false);
    rig.answerOwn([{ type: "A", name: "mixed.example", ttl: 9, data: "203.0.113.5" }]);
    expect(guest.finish()).toBe(true);
    expect([rig.socket.port, rig.socket.to]).toEqual([22, [0, 0, 0xffff, ip("203.0.113.5")]]);
    expect(rig.left).toEqual(["mixed.example A"]);
  });

  it("is asked for in IPv6 where there is nothing else", () => {
    const rig = policy();
    const guest = rig.begin(standIn(rig, "mixed.example"), 22);
    rig.answerOwn([]);
    guest.settle();
    rig.answerOwn([{ type: "AAAA", name: "mixed.example", ttl: 9, data: "2001:db8::5" }]);
    expect(guest.finish()).toBe(true);
    expect(rig.socket.to).toEqual([0x20010db8, 0, 0, 5]);
    expect(rig.left).toEqual(["mixed.example A", "mixed.example AAAA"]);
  });

  it("P10 P3 does not lead to private addresses or behind the floor", () => {
    for (const data of ["10.0.0.5", "127.0.0.1", "10.0.2.9", "169.254.169.254"]) {
      const rig = policy();
      const guest = rig.begin(standIn(rig, "mixed.example"), 22);
      rig.answerOwn([{ type: "A", name: "mixed.example", ttl: 9, data }]);
      guest.settle();
      rig.answerOwn([]);
      expect([guest.finish(), guest.wasReset], data).toEqual([false, true]);
      expect(rig.exchange.network.sockets, data).toEqual([]);
    }
    const rig = policy({ private: true });
    const guest = rig.begin(standIn(rig, "mixed.example"), 22);
    rig.answerOwn([{ type: "A", name: "mixed.example", ttl: 9, data: "10.0.0.5" }]);
    expect(guest.finish()).toBe(true);
  });

  it("is a reset where nobody knows it", () => {
    const rig = policy();
    const guest = rig.begin(standIn(rig, "mixed.example"), 22);
    rig.answerOwn([]);
    guest.settle();
    rig.answerOwn([]);
    expect([guest.finish(), guest.wasReset]).toEqual([false, true]);
  });
});

describe("another policy", () => {
  const rules = [{ allow: "203.0.113.0/24:5432" }];
  const via = [{ ...rules[0], via: `socks5://${PROXY}` }];

  function proxied(rig: PolicyRig) {
    const guest = rig.begin("203.0.113.7", 5432);
    const { socket } = rig;
    socket.give(Buffer.of(5, 0));
    guest.settle();
    socket.give(ESTABLISHED);
    expect(guest.finish()).toBe(true);
    return { guest, socket };
  }

  it("P5 that says another way resets what goes by the old one, and leaves what goes by the same", () => {
    const rig = new PolicyRig({ rules });
    const straight = rig.connect("203.0.113.7", 5432);
    rig.replace({ rules: via });
    straight?.settle();
    expect(straight?.wasReset).toBe(true);
    const { guest, socket } = proxied(rig);
    rig.replace({ rules: via });
    guest.settle();
    expect([guest.wasReset, socket.state]).toEqual([false, "open"]);
    rig.replace({ rules });
    guest.settle();
    expect([guest.wasReset, socket.state]).toEqual([true, "reset"]);
  });

  it("P5 has stand-ins for the names of its own rules, and those of the old one are nobody's", () => {
    const rig = new PolicyRig({ rules });
    rig.replace({ rules: [{ allow: "far.example:22", via: `socks5://${PROXY}` }] });
    const at = standIn(rig, "far.example");
    rig.begin(at, 22);
    expect(rig.socket.port).toBe(1080);
    rig.replace({ rules });
    expect(rig.connect(at, 22)).toBeNull();
  });

  it("P5 P18 without stand-ins leads nobody to an address that was one, nor does one with others", () => {
    for (const over of [{}, { "stand-ins": "100.64.0.0/16", answers: "explain" as const }]) {
      const rig = new PolicyRig({ answers: "explain", rules: [] });
      const at = standIn(rig, "far.example");
      rig.replace({ rules: [{ allow: "far.example:22" }], ...over });
      expect([rig.connect(at, 22) === null, rig.exchange.network.sockets.length]).toEqual([true, 0]);
    }
  });
});
