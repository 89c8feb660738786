/** What a guest behind a policy reaches, and how it is told no: flows by address and name, as segments and questions. */
import packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { asUdp, udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import {
  ALERT_49,
  clientHello,
  DNS,
  hello,
  inRecords,
  namesExtension,
  PolicyRig,
} from "../../support/policy-rig.ts";

const GOOD = "203.0.113.10";
const OTHER = "203.0.113.99";
const opt = (): packet.Answer =>
  ({ type: "OPT", name: ".", udpPayloadSize: 1232, flags: 0, options: [] }) as unknown as packet.Answer;

function rig(...allow: string[]): PolicyRig {
  return new PolicyRig({ rules: [{ allow }] });
}

/** One that has `good.example` resolved. */
function known(...allow: string[]): PolicyRig {
  const policy = rig(...(allow.length > 0 ? allow : ["good.example"]));
  expect(policy.resolve("good.example", GOOD)?.rcode).toBe("NOERROR");
  return policy;
}

describe("questions", () => {
  it("P7 leave only for names that a rule has; the others do not exist, and are told why", () => {
    const policy = rig("good.example", "*.files.example:80,443");
    expect(policy.resolve("good.example", GOOD)?.answers).toHaveLength(1);
    expect(policy.resolve("a.b.files.example", GOOD)?.rcode).toBe("NOERROR");
    const left = [...policy.left];
    const denied = policy.ask("evil.example", [], { additionals: [opt()] });
    expect(denied?.rcode).toBe("NXDOMAIN");
    expect(denied?.authorities).toEqual([]);
    const [record] = (denied?.additionals ?? []) as unknown as {
      options: { code: number; data: Buffer }[];
    }[];
    expect(record?.options[0]?.code).toBe(15);
    expect(record?.options[0]?.data.readUInt16BE(0)).toBe(15);
    expect(record?.options[0]?.data.subarray(2).toString()).toBe("no rule names evil.example");
    for (const name of ["files.example", "xgood.example", "good.example.evil.example", "www.good.example"]) {
      expect(policy.resolve(name, GOOD)?.rcode, name).toBe("NXDOMAIN");
    }
    expect(policy.left).toEqual(left);
    expect(policy.denials).toContain("evil.example:0 policy-no-rule");
  });

  it("P7 are refused where the policy says so, with the rule and its message", () => {
    const policy = new PolicyRig({
      answers: "refused",
      rules: [{ name: "ads", deny: "*.ads.example", message: "no ads" }, { allow: "*.example" }],
    });
    const reply = policy.ask("x.ads.example", [], { additionals: [opt()] });
    expect(reply?.rcode).toBe("REFUSED");
    const [record] = (reply?.additionals ?? []) as unknown as { options: { data: Buffer }[] }[];
    expect(record?.options[0]?.data.subarray(2).toString()).toBe("rule ads denies x.ads.example: no ads");
  });

  it("I3 that are denied count for the rule that did it, or for the default", () => {
    const policy = new PolicyRig({
      rules: [{ deny: "bad.example" }, { allow: "*.example" }],
      default: "deny",
    });
    for (const name of ["bad.example", "evil.test", "evil.test", "good.example"]) policy.ask(name);
    expect(policy.exchange.core.policyCounts()).toMatchObject({ allowed: [0, 0, 0], denied: [1, 0, 2] });
  });

  it("P7 without an OPT record get none", () => {
    expect(rig("good.example").ask("evil.example")?.additionals).toEqual([]);
  });

  it("are the same in any case and with a trailing dot", () => {
    const policy = rig("GOOD.Example.");
    expect(policy.resolve("gOOd.eXAMPLE", GOOD)?.rcode).toBe("NOERROR");
  });

  it("for a label with a dot or a zero in it are no allowed name", () => {
    const policy = rig("good.example");
    for (const label of ["good.example", "good\0.example", "good example"]) {
      const name = Buffer.concat([Buffer.of(label.length), Buffer.from(label, "latin1"), Buffer.of(0)]);
      const query = Buffer.concat([
        Buffer.from([0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        name,
        Buffer.from([0, 1, 0, 1]),
      ]);
      policy.askRaw(query);
    }
    expect(policy.left).toEqual([]);
  });

  it("that are none of the Internet's, or no questions, are refused", () => {
    const policy = rig("good.example");
    const chaos = policy.ask("good.example", [], {
      questions: [{ type: "TXT", class: "CH", name: "good.example" }],
    });
    expect(chaos?.rcode).toBe("REFUSED");
    expect(policy.ask("", [], { questions: [] })?.rcode).toBe("REFUSED");
    const update = policy.ask("good.example", [], { flags: 5 << 11 });
    expect(update?.rcode).toBe("REFUSED");
    expect(policy.left).toEqual([]);
  });

  it("P11 for HTTPS, SVCB and ANY get no data, and others pass", () => {
    const policy = rig("good.example");
    for (const type of ["HTTPS", "SVCB", "ANY"] as const) {
      const number = { HTTPS: 65, SVCB: 64, ANY: 255 }[type];
      const question = Buffer.concat([
        Buffer.from([0, number, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        Buffer.from("\x04good\x07example\0", "latin1"),
        Buffer.from([0, number, 0, 1]),
      ]);
      const reply = policy.askRaw(question);
      expect(reply?.rcode, type).toBe("NOERROR");
      expect(reply?.answers, type).toEqual([]);
    }
    expect(policy.left).toEqual([]);
    policy.ask("good.example", [], { questions: [{ type: "TXT", name: "good.example" }] });
    expect(policy.left).toEqual(["good.example TXT"]);
  });

  it("P11 for HTTPS on another port, as browsers ask, are judged by the name that is meant", () => {
    const policy = rig("good.example:8000");
    const asks = (...labels: readonly string[]): string | undefined => {
      const name = labels.map((label) => String.fromCharCode(label.length) + label).join("");
      const text = `\0\x41\x01\0\0\x01\0\0\0\0\0\0${name}\0\0\x41\0\x01`;
      return policy.askRaw(Buffer.from(text, "latin1"))?.rcode;
    };
    expect(asks("_8000", "_https", "good", "example")).toBe("NOERROR");
    expect(asks("_8000", "_https", "evil", "example")).toBe("NXDOMAIN");
    expect(asks("_a", "_b", "_c", "good", "example")).toBe("NXDOMAIN");
    expect(asks("_8000", "_https")).toBe("NXDOMAIN");
    expect(asks("_")).toBe("NXDOMAIN");
    expect(policy.denials).toEqual([
      "evil.example:0 policy-no-rule",
      "_c.good.example:0 policy-no-rule",
      "_https:0 policy-no-rule",
      "_:0 policy-no-rule",
    ]);
    expect(policy.left).toEqual([]);
  });

  it("P8 to any other resolver are answered in its stead", () => {
    const policy = rig("good.example");
    const elsewhere = ip("192.0.2.53");
    expect(
      policy.ask("good.example", [{ type: "A", name: "good.example", ttl: 9, data: GOOD }], {}, elsewhere)
        ?.answers,
    ).toHaveLength(1);
    expect(policy.ask("evil.example", [], {}, elsewhere)?.rcode).toBe("NXDOMAIN");
    expect(policy.left).toEqual(["good.example A"]);
    expect(policy.exchange.network.datagrams.every(({ address }) => address === ip("127.0.0.1"))).toBe(true);
    expect(policy.connect(GOOD, 443)).not.toBeNull();
    const stream = policy.connect("192.0.2.53", 53);
    expect(policy.exchange.network.sockets.filter(({ port }) => port === 53)).toEqual([]);
    const query = packet.encode({ type: "query", id: 7, questions: [{ type: "A", name: "evil.example" }] });
    stream?.send(Buffer.concat([Buffer.from([0, query.length]), query]));
    expect(packet.streamDecode(stream?.received ?? Buffer.alloc(0))).toMatchObject({
      rcode: "NXDOMAIN",
      id: 7,
    });
  });

  it("P8 to a resolver that a rule has by address go there", () => {
    const policy = rig("good.example", "192.0.2.53:53/udp");
    policy.exchange.exchange(
      udp({ to: ip("192.0.2.53"), sourcePort: 4000, destinationPort: 53, payload: Buffer.alloc(20) }),
    );
    expect(policy.exchange.network.datagrams.at(-1)?.address).toBe(ip("192.0.2.53"));
  });

  it("for a name that only some ports of are denied leave", () => {
    const policy = new PolicyRig({ rules: [{ deny: "a.example:443" }, { allow: "*.example:443,80" }] });
    expect(policy.resolve("a.example", GOOD)?.rcode).toBe("NOERROR");
    const whole = new PolicyRig({ rules: [{ deny: "a.example" }, { allow: "*.example:443,80" }] });
    expect(whole.resolve("a.example", GOOD)?.rcode).toBe("NXDOMAIN");
    expect(whole.denials).toContain("a.example:0 policy-denied");
    expect(whole.resolve("b.example", GOOD)?.rcode).toBe("NOERROR");
  });
});

describe("pins", () => {
  it("P9 let connections through to addresses that were answered, and to no other", () => {
    const policy = known();
    expect(policy.connect(OTHER, 443)).toBeNull();
    expect(policy.denials).toEqual([`${OTHER}:443 policy-address-unnamed`]);
    const guest = policy.connect(GOOD, 443);
    expect(guest).not.toBeNull();
    expect(policy.connect(GOOD, 22)).toBeNull();
    expect(policy.connect(GOOD, 80)).toBeNull();
    expect(policy.sends(GOOD, 443)).toBe(false);
  });

  it("P9 are of the question's name, along its chain of names only", () => {
    const policy = rig("good.example", "deep.example");
    const chain: packet.Answer[] = Array.from({ length: 8 }, (_, n) => ({
      type: "CNAME",
      name: n === 0 ? "good.example" : `n${n}.cdn.example`,
      ttl: 300,
      data: `n${n + 1}.cdn.example`,
    }));
    policy.ask("good.example", [
      { type: "A", name: "elsewhere.example", ttl: 60, data: OTHER },
      ...chain,
      { type: "A", name: "n8.cdn.example", ttl: 60, data: GOOD },
    ]);
    expect(policy.connect(OTHER, 443)).toBeNull();
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("n8.cdn.example"));
    expect(guest?.received).toEqual(ALERT_49);
    const again = policy.connect(GOOD, 443);
    again?.send(hello("good.example"));
    expect(policy.socket.octets).toEqual(new Uint8Array(hello("good.example")));
    // A circle ends.
    policy.ask("deep.example", [
      { type: "CNAME", name: "deep.example", ttl: 60, data: "b.example" },
      { type: "CNAME", name: "b.example", ttl: 60, data: "deep.example" },
      { type: "A", name: "b.example", ttl: 60, data: "203.0.113.77" },
    ]);
    expect(policy.connect("203.0.113.77", 443)).not.toBeNull();
  });

  it("P9 last their TTL, half a minute at least, and a minute beyond", () => {
    const policy = rig("good.example");
    policy.ask("good.example", [{ type: "A", name: "good.example", ttl: 1, data: GOOD }]);
    policy.exchange.pass(89_000);
    expect(policy.connect(GOOD, 443)).not.toBeNull();
    const short = rig("good.example");
    short.ask("good.example", [{ type: "A", name: "good.example", ttl: 1, data: GOOD }]);
    short.exchange.pass(91_000);
    expect(short.connect(GOOD, 443)).toBeNull();
    short.ask("good.example", [{ type: "A", name: "good.example", ttl: 86_400, data: GOOD }]);
    short.exchange.pass(3_600_000);
    expect(short.connect(GOOD, 443)).not.toBeNull();
  });

  it("P9 stay as long as a flow they let in, and that stays anyway", () => {
    const policy = rig("good.example:22", `${OTHER}:22`);
    policy.ask("good.example", [{ type: "A", name: "good.example", ttl: 1, data: GOOD }]);
    const guest = policy.connect(GOOD, 22);
    policy.exchange.pass(300_000);
    guest?.send(Buffer.from("still here"));
    expect(policy.socket.octets.length).toBe(10);
    expect(policy.connect(GOOD, 22)).not.toBeNull();
  });

  it("P9 are not kept by a flow to the same address that another name or the address let in", () => {
    const policy = rig("short.example:22", "long.example:23", `${OTHER}:24`, "other.example:22");
    policy.ask("short.example", [{ type: "A", name: "short.example", ttl: 1, data: GOOD }]);
    policy.ask("long.example", [{ type: "A", name: "long.example", ttl: 3600, data: GOOD }]);
    policy.ask("other.example", [{ type: "A", name: "other.example", ttl: 1, data: OTHER }]);
    expect(policy.connect(GOOD, 23)).not.toBeNull();
    expect(policy.connect(OTHER, 24)).not.toBeNull();
    policy.exchange.pass(300_000);
    expect(policy.connect(GOOD, 23)).not.toBeNull();
    expect(policy.connect(GOOD, 22)).toBeNull();
    expect(policy.connect(OTHER, 22)).toBeNull();
  });

  it("P10 to private addresses need the rule to say so", () => {
    for (const address of ["10.0.5.5", "192.168.1.1", "100.64.0.1", "172.31.255.1"]) {
      const policy = rig("good.example");
      policy.resolve("good.example", address);
      expect(policy.connect(address, 443), address).toBeNull();
      expect(policy.denials).toEqual([`good.example:443 policy-name-private`]);
      const open = new PolicyRig({ rules: [{ allow: "good.example", private: true }] });
      open.resolve("good.example", address);
      expect(open.connect(address, 443), address).not.toBeNull();
    }
    const own = new PolicyRig({ rules: [{ allow: "good.example" }] });
    own.exchange.core.setHostAddresses([[0, 0, 0xffff, ip(GOOD)]]);
    own.resolve("good.example", GOOD);
    expect(own.connect(GOOD, 443)).toBeNull();
    // An address that this host gets later is private from then on.
    const later = new PolicyRig({ rules: [{ allow: "good.example" }] });
    later.resolve("good.example", GOOD);
    expect(later.connect(GOOD, 443)).not.toBeNull();
    later.exchange.core.setHostAddresses([[0, 0, 0xffff, ip(GOOD)]]);
    expect(later.connect(GOOD, 443)).toBeNull();
    later.exchange.core.setHostAddresses([]);
    expect(later.connect(GOOD, 443)).not.toBeNull();
    const loopback = new PolicyRig({ rules: [{ allow: "good.example", private: true }] });
    for (const address of ["127.0.0.1", "169.254.169.254", "0.0.0.0"]) {
      loopback.resolve("good.example", address);
      expect(loopback.connect(address, 443), address).toBeNull();
    }
  });

  it("of an answer that failed, or was not asked for, are none", () => {
    const policy = rig("good.example");
    policy.ask("good.example", [{ type: "A", name: "other.example", ttl: 60, data: GOOD }]);
    expect(policy.connect(GOOD, 443)).toBeNull();
  });
});

describe("addresses", () => {
  it("are let through as rules by address say, TCP and UDP", () => {
    const policy = rig("203.0.113.0/24:5432", "198.51.100.7", "192.0.2.1:123/udp");
    expect(policy.connect("203.0.113.7", 5432)).not.toBeNull();
    expect(policy.connect("203.0.113.7", 5433)).toBeNull();
    expect(policy.connect("203.0.114.7", 5432)).toBeNull();
    expect(policy.connect("198.51.100.7", 443)).not.toBeNull();
    expect(policy.sends("198.51.100.7", 999)).toBe(true);
    expect(policy.sends("192.0.2.1", 123)).toBe(true);
    expect(policy.sends("192.0.2.1", 124)).toBe(false);
    expect(policy.sends("203.0.113.7", 5432)).toBe(false);
  });

  it("of a rule are not asked for a name", () => {
    const policy = rig("203.0.113.0/24:443");
    const guest = policy.connect("203.0.113.7", 443);
    guest?.send(Buffer.from("anything"));
    expect(Buffer.from(policy.socket.octets).toString()).toBe("anything");
  });

  it("@public and @private part the world", () => {
    const policy = rig("@public:80");
    expect(policy.connect("203.0.113.7", 80)).not.toBeNull();
    expect(policy.connect("10.5.5.5", 80)).toBeNull();
    expect(rig("@private:80").connect("10.5.5.5", 80)).not.toBeNull();
  });

  it("P3 under the floor stay refused whatever a rule says", () => {
    const policy = rig("@any");
    for (const address of ["127.0.0.1", "10.0.2.2", "10.0.2.77", "169.254.169.254", "0.0.0.1", "240.0.0.1"]) {
      expect(policy.connect(address, 80), address).toBeNull();
    }
  });

  it("UDP that was denied is judged anew once a name leads there", () => {
    const policy = rig("time.example:123/udp");
    expect(policy.sends(GOOD, 123)).toBe(false);
    policy.resolve("time.example", GOOD);
    expect(policy.sends(GOOD, 123)).toBe(true);
    // And goes on when the pin is over, as long as it is in use.
    for (let n = 0; n < 6; n++) {
      policy.exchange.pass(60_000);
      expect(policy.sends(GOOD, 123)).toBe(true);
    }
    policy.exchange.pass(600_000);
    expect(policy.sends(GOOD, 123)).toBe(false);
  });
});

describe("TLS names", () => {
  it("P12 that are allowed let all octets through, and nothing is looked at afterwards", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    policy.socket.give(Buffer.from("too early"));
    guest?.settle();
    expect(guest?.received.length).toBe(0);
    const first = Buffer.concat([hello("good.example"), Buffer.from("early data")]);
    guest?.send(first);
    expect(Buffer.from(policy.socket.octets).equals(first)).toBe(true);
    guest?.settle();
    expect(guest?.received.toString()).toBe("too early");
    guest?.send(hello("evil.example"));
    expect(policy.socket.octets.length).toBe(first.length + hello("evil.example").length);
    policy.socket.end();
    guest?.settle();
    expect(guest?.ended).toBe(true);
  });

  it.each([
    ["another name", "evil.example", "policy-name-mismatch"],
    ["a name like it", "good.example.evil.example", "policy-name-mismatch"],
    ["its address", GOOD, "policy-name-mismatch"],
    ["a name with a zero in it", "good.example\0.evil.example", "policy-name-malformed"],
    ["no name", null, "policy-name-missing"],
  ])("P12 P17 %s is told access_denied, and the server hears no octet", (_what, name, reason) => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello(name));
    expect(guest?.received).toEqual(ALERT_49);
    expect(guest?.ended).toBe(true);
    expect(policy.socket.octets.length).toBe(0);
    expect(policy.socket.state).toBe("reset");
    expect(policy.exchange.core.counters.snapshot().drops[reason]).toBe(1);
    expect(policy.denials[0]).toContain(reason);
  });

  it("P12 in any case and with a trailing dot are the same", () => {
    for (const name of ["GOOD.example", "good.Example."]) {
      const policy = known();
      policy.connect(GOOD, 443)?.send(hello(name));
      expect(policy.socket.octets.length, name).toBe(hello(name).length);
    }
  });

  it("P12 may come octet by octet, in records of one octet each, and with 8 KiB more", () => {
    const filler = Buffer.concat([Buffer.from([0x12, 0x34, 0x20, 0]), Buffer.alloc(0x2000)]);
    for (const octets of [
      inRecords(clientHello("good.example"), 1),
      inRecords(clientHello("good.example"), 3),
      inRecords(clientHello("good.example", [filler]), 500),
    ]) {
      for (const size of [1, 7, 1400]) {
        const policy = known();
        const guest = policy.connect(GOOD, 443);
        guest?.send(octets.subarray(0, octets.length - 1), size);
        expect(policy.socket.octets.length).toBe(0);
        guest?.send(octets.subarray(octets.length - 1));
        expect(Buffer.from(policy.socket.octets).equals(octets)).toBe(true);
      }
    }
  });

  it.each([
    ["two names", () => inRecords(clientHello("good.example", [namesExtension("evil.example")]))],
    [
      "another name first",
      () => inRecords(clientHello(null, [namesExtension("evil.example"), namesExtension("good.example")])),
    ],
    [
      "a message behind it in its record",
      () => inRecords(Buffer.concat([clientHello("good.example"), clientHello("evil.example")])),
    ],
    [
      "an extension longer than the rest",
      () => broken((octets) => octets.writeUInt16BE(0x1fff, octets.length - 2)),
    ],
    ["a length that does not fit", () => broken((octets) => octets.writeUInt8(0xee, 3))],
  ])("P12 with %s cannot be read", (_what, octets) => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.send(octets());
    policy.exchange.pass(11_000);
    guest?.settle();
    expect(policy.socket.octets.length).toBe(0);
    expect(policy.socket.state).toBe("reset");
  });

  it("P12 what is no ClientHello is reset; what does not come in time, too", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.send(Buffer.from("SSH-2.0-OpenSSH\r\n"));
    expect(guest?.wasReset).toBe(true);
    const silent = policy.connect(GOOD, 443);
    silent?.pass(9_900);
    expect(silent?.wasReset).toBe(false);
    silent?.pass(200);
    expect(silent?.wasReset).toBe(true);
    expect(policy.exchange.core.counters.dropped("policy-name-missing")).toBe(2);
  });

  it("P12 an encrypted one counts by its outer name, or is refused where that is asked for", () => {
    const ech = Buffer.concat([Buffer.from([0xfe, 0x0d, 0, 4]), Buffer.alloc(4)]);
    const octets = inRecords(clientHello("good.example", [ech]));
    const policy = known();
    policy.connect(GOOD, 443)?.send(octets);
    expect(policy.socket.octets.length).toBe(octets.length);
    const strict = new PolicyRig({ ech: "refuse", rules: [{ allow: "good.example" }] });
    strict.resolve("good.example", GOOD);
    const guest = strict.connect(GOOD, 443);
    guest?.send(octets);
    expect(guest?.received).toEqual(ALERT_49);
    expect(strict.denials[0]).toContain("policy-ech");
  });

  it("of one address do not open another's rule: both have to lead there", () => {
    const policy = rig("good.example", "fine.example");
    policy.resolve("good.example", GOOD);
    policy.resolve("fine.example", OTHER);
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("fine.example"));
    expect(guest?.received).toEqual(ALERT_49);
  });

  it("are asked for on other ports where the rule says so, and nowhere where it says none", () => {
    const policy = new PolicyRig({ rules: [{ allow: "good.example:9443", check: "tls" }] });
    policy.resolve("good.example", GOOD);
    const guest = policy.connect(GOOD, 9443);
    guest?.send(hello("evil.example"));
    expect(guest?.received).toEqual(ALERT_49);
    const open = new PolicyRig({ rules: [{ allow: "good.example", check: "none" }] });
    open.resolve("good.example", GOOD);
    open.connect(GOOD, 443)?.send(Buffer.from("anything"));
    expect(open.socket.octets.length).toBe(8);
  });

  it("a guest that closes before it has said one is told no", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.close();
    guest?.settle();
    expect(policy.socket.state).toBe("reset");
    expect(policy.exchange.core.usage().tcp).toBe(0);
  });

  it("a guest that closes right behind its first octets is served all the same", () => {
    const policy = known();
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("good.example"));
    guest?.close();
    expect(policy.socket.shutDown).toBe(true);
  });
});

describe("HTTP names", () => {
  const ask = (request: string): { policy: PolicyRig; text: string; ended: boolean } => {
    const policy = known("good.example:80");
    const guest = policy.connect(GOOD, 80);
    guest?.send(Buffer.from(request, "latin1"));
    return { policy, text: guest?.received.toString() ?? "", ended: guest?.ended ?? false };
  };
  const CRLF = "\r\n";

  it.each([
    "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
    "GET / HTTP/1.1\r\nAccept: */*\r\nhOST:good.EXAMPLE:80\r\n\r\nbody",
    "POST http://good.example/x HTTP/1.1\r\nHost: good.example\r\n\r\n",
    "GET HTTP://good.example?x HTTP/1.0\r\n\r\n",
    "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: good.example.\r\n\r\n",
  ])("P13 %j passes", (request) => {
    const { policy } = ask(request);
    expect(Buffer.from(policy.socket.octets).toString("latin1")).toBe(request);
  });

  it.each([
    ["GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "policy-name-mismatch"],
    ["GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", "policy-name-malformed"],
    ["GET http://evil.example/ HTTP/1.1\r\n\r\n", "policy-name-mismatch"],
    ["GET http://good.example@evil.example/ HTTP/1.1\r\n\r\n", "policy-name-malformed"],
    ["CONNECT evil.example:443 HTTP/1.1\r\n\r\n", "policy-name-mismatch"],
    ["GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\r\nHost : evil.example\r\nHost: good.example\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\r\nX: y\r\n Host: evil.example\r\nHost: good.example\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\nHost: evil.example\n\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\r\nX: a\nHost: evil.example\r\nHost: good.example\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\r\n\r\n", "policy-name-missing"],
    [`GET / HTTP/1.1\r\nHost: ${GOOD}\r\n\r\n`, "policy-name-mismatch"],
    ["GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "policy-name-malformed"],
    ["GET / HTTP/1.1\r\nHost: good.example, evil.example\r\n\r\n", "policy-name-malformed"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "policy-name-malformed"],
  ])("P13 P17 %j is answered 403 with the reason", (request, reason) => {
    const { policy, text, ended } = ask(request);
    expect(policy.socket.octets.length).toBe(0);
    expect(text.startsWith(`HTTP/1.1 403 Forbidden${CRLF}`)).toBe(true);
    expect(text).toContain(`${CRLF}Content-Type: text/plain${CRLF}`);
    expect(text).toContain(`${CRLF}Connection: close${CRLF}`);
    expect(text).toContain(`sluice: denied: ${reason}: `);
    expect(ended).toBe(true);
  });

  it("P13 a head may come octet by octet, up to 16 KiB", () => {
    const request = `GET / HTTP/1.1\r\nX: ${"y".repeat(12_000)}\r\nHost: good.example\r\n\r\n`;
    const policy = known("good.example:80");
    policy.connect(GOOD, 80)?.send(Buffer.from(request), 1);
    expect(policy.socket.octets.length).toBe(request.length);
    const { policy: long } = ask(`GET / HTTP/1.1\r\nX: ${"y".repeat(17_000)}\r\nHost: good.example\r\n\r\n`);
    expect(long.socket.octets.length).toBe(0);
    expect(long.exchange.core.counters.dropped("policy-name-malformed")).toBe(1);
  });

  it("P19 says the message", () => {
    const policy = new PolicyRig({ message: "ask the operator", rules: [{ allow: "good.example:80" }] });
    policy.resolve("good.example", GOOD);
    const guest = policy.connect(GOOD, 80);
    guest?.send(Buffer.from("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
    expect(guest?.received.toString()).toContain("(rule default)\nask the operator\n");
  });

  it("of what is no HTTP are not waited for", () => {
    const { policy } = ask("\x16\x03\x01");
    expect(policy.socket.state).toBe("reset");
  });
});

describe("under a default of allow", () => {
  it("P16 a name that is denied is not found, not shown, and everything else goes", () => {
    const policy = new PolicyRig({ rules: [{ deny: "*.ads.example" }] });
    expect(policy.resolve("x.ads.example", GOOD)?.rcode).toBe("NXDOMAIN");
    expect(policy.resolve("good.example", GOOD)?.rcode).toBe("NOERROR");
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("x.ads.example"));
    expect(guest?.received).toEqual(ALERT_49);
    policy.connect(OTHER, 443)?.send(hello("good.example"));
    expect(policy.socket.octets.length).toBe(hello("good.example").length);
    policy.connect(OTHER, 443)?.send(Buffer.from("SSH-2.0-x\r\n"));
    expect(policy.socket.octets.length).toBe(11);
    expect(policy.sends(OTHER, 9999)).toBe(true);
    // A question and a name denied; of what goes by the default one shows a name, one none, and one need not.
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [0, 3], denied: [2, 0] });
  });

  it("P16 who says nothing is served after half a second", () => {
    const policy = new PolicyRig({ rules: [{ deny: "*.ads.example" }] });
    const guest = policy.connect(OTHER, 443);
    policy.socket.give(Buffer.from("banner"));
    guest?.pass(400);
    expect(guest?.received.length).toBe(0);
    guest?.pass(150);
    expect(guest?.received.toString()).toBe("banner");
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [0, 1], denied: [0, 0] });
  });

  it("P16 who shows nothing counts as let through by the rule of the address", () => {
    const policy = new PolicyRig({
      rules: [{ deny: "*.ads.example" }, { ask: `${OTHER}:443` }],
      default: "deny",
    });
    const { exchange } = policy;
    const guest = policy.begin(OTHER, 443);
    exchange.core.answerQuestion(1, true, null, exchange.now);
    guest.settle();
    expect(exchange.core.policyCounts()).toEqual({ allowed: [0, 0, 0], denied: [0, 0, 0] });
    guest.pass(1000);
    expect(exchange.core.policyCounts()).toEqual({ allowed: [0, 1, 0], denied: [0, 0, 0] });
  });
});

describe("a denied name that is explained", () => {
  const explaining = (over: object = {}): PolicyRig =>
    new PolicyRig({
      answers: "explain",
      rules: [{ name: "ads", deny: "*.ads.example", message: "no ads" }, { allow: "good.example:22,80,443" }],
      ...over,
    });
  const addressOf = (policy: PolicyRig, name: string): string => {
    const [answer] = (policy.ask(name)?.answers ?? []) as { data: string; ttl: number }[];
    expect(answer?.ttl).toBe(5);
    return answer?.data ?? "";
  };
  const told = (policy: PolicyRig, at: string, port: number, octets: Uint8Array): Buffer => {
    const guest = policy.connect(at, port);
    guest?.send(octets);
    expect(guest?.ended).toBe(true);
    return Buffer.from(guest?.received ?? []);
  };
  const request = (host: string): Buffer => Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);

  it("P18 has an address, where connections are told why, and nothing leaves", () => {
    const policy = explaining();
    const evil = addressOf(policy, "evil.example");
    expect(evil).toMatch(/^198\.19\./);
    expect(told(policy, evil, 80, request("evil.example")).toString()).toContain(
      "\r\n\r\nsluice: denied: policy-no-rule: no rule names evil.example (rule default)\n",
    );
    const ads = addressOf(policy, "x.ads.example");
    expect(told(policy, ads, 8080, request("x.ads.example")).toString()).toContain(
      "sluice: denied: policy-denied: x.ads.example is denied (rule ads)\nno ads\n",
    );
    expect(told(policy, evil, 443, hello("evil.example"))).toEqual(ALERT_49);
    expect(policy.left).toEqual([]);
    expect(policy.exchange.network.sockets).toEqual([]);
    expect(policy.denials).toEqual(
      expect.arrayContaining([
        "evil.example:0 policy-no-rule",
        "evil.example:80 policy-no-rule",
        "evil.example:443 policy-no-rule",
        "x.ads.example:8080 policy-denied",
      ]),
    );
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [0, 0, 0], denied: [2, 0, 3] });
  });

  it("P18 has none of another type, and other ports of it are a reset, and UDP silence", () => {
    const policy = explaining();
    for (const type of ["AAAA", "TXT", "HTTPS"] as const) {
      const reply = policy.ask("evil.example", [], {
        questions: [{ type: type as "A", name: "evil.example" }],
      });
      expect([reply?.rcode, reply?.answers], type).toEqual(["NOERROR", []]);
    }
    const evil = addressOf(policy, "evil.example");
    expect(policy.connect(evil, 22)).toBeNull();
    expect(policy.sends(evil, 443)).toBe(false);
    expect(policy.denials).toContain("evil.example:22 policy-no-rule");
    expect(policy.left).toEqual([]);
  });

  it("P18 is no way to a name that is allowed, nor for who shows none", () => {
    const policy = explaining();
    policy.resolve("good.example", GOOD);
    const evil = addressOf(policy, "evil.example");
    expect(told(policy, evil, 80, request("good.example")).toString()).toContain(
      "policy-name-mismatch: good.example is not allowed at this address",
    );
    expect(told(policy, evil, 443, hello("good.example"))).toEqual(ALERT_49);
    expect(told(policy, evil, 80, Buffer.from("GET / HTTP/1.1\r\n\r\n")).toString()).toContain(
      "policy-name-missing",
    );
    const silent = policy.connect(evil, 443);
    silent?.pass(10_100);
    expect(silent?.wasReset).toBe(true);
    const other = policy.connect(evil, 443);
    other?.send(Buffer.from("SSH-2.0-x\r\n"));
    expect(other?.wasReset).toBe(true);
    expect(policy.exchange.network.sockets).toEqual([]);
    // Once it is allowed the client is let in at its next try.
    const open = policy.connect(evil, 443);
    policy.replace({ answers: "explain", rules: [{ allow: "evil.example" }] });
    open?.send(hello("evil.example"));
    expect(open?.received).toEqual(ALERT_49);
    policy.resolve("evil.example", GOOD);
    const next = policy.connect(GOOD, 443);
    next?.send(hello("evil.example"));
    expect(policy.socket.octets.length).toBeGreaterThan(0);
  });

  it("P18 leaves allowed names, and audit, as they are", () => {
    const policy = explaining();
    expect(policy.resolve("good.example", GOOD)?.answers).toMatchObject([{ data: GOOD }]);
    expect(policy.left).toEqual(["good.example A"]);
    const audited = explaining({ mode: "audit" });
    expect(audited.resolve("evil.example", OTHER)?.answers).toMatchObject([{ data: OTHER }]);
    const guest = audited.connect(OTHER, 443);
    guest?.send(hello("evil.example"));
    expect(audited.socket.octets.length).toBeGreaterThan(0);
  });

  it("P18 is bounded as all that waits to show its name is", () => {
    const policy = explaining({ rules: [{ allow: "good.example" }] });
    const evil = addressOf(policy, "evil.example");
    const guests = Array.from({ length: 1100 }, () => policy.connect(evil, 443));
    expect(guests.every((guest) => guest !== null)).toBe(true);
    expect(policy.exchange.core.counters.dropped("policy-peek-full")).toBe(1100 - 1024);
    policy.exchange.pass(11_000);
    expect(policy.exchange.core.usage()).toMatchObject({ tcp: 0 });
  });
});

describe("audit", () => {
  it("denies nothing, delays nothing, and notes what would have been", () => {
    const policy = new PolicyRig({ mode: "audit", rules: [{ allow: "good.example" }] });
    expect(policy.resolve("evil.example", OTHER)?.rcode).toBe("NOERROR");
    policy.connect(OTHER, 443)?.send(Buffer.from("x"));
    expect(policy.socket.octets.length).toBe(1);
    expect(policy.denials.sort()).toEqual([
      "evil.example:0 policy-no-rule",
      "evil.example:443 policy-address-unnamed",
    ]);
  });
});

describe("a held connection", () => {
  it("P15 gives way to a newer one when there are too many, and a good one is served at once", () => {
    const policy = known();
    for (let n = 0; n < 1100; n++) expect(policy.connect(GOOD, 443)).not.toBeNull();
    const guest = policy.connect(GOOD, 443);
    guest?.send(hello("good.example"));
    expect(policy.socket.octets.length).toBe(hello("good.example").length);
    expect(policy.exchange.core.counters.dropped("policy-peek-full")).toBeGreaterThan(70);
  });

  it("P15 may send 16 KiB before its name is known, and all together 4 MiB", () => {
    const policy = known();
    const part = inRecords(
      clientHello("good.example", [Buffer.concat([Buffer.from([9, 9, 0x3e, 0]), Buffer.alloc(0x3e00)])]),
    );
    for (let n = 0; n < 300; n++) policy.connect(GOOD, 443)?.send(part.subarray(0, 15_000));
    expect(policy.exchange.core.counters.dropped("policy-peek-full")).toBeGreaterThan(10);
    expect(policy.exchange.core.usage().smallChunks * 4096).toBeLessThan(6 * 1024 * 1024);
  });

  it("leaves nothing behind", () => {
    const policy = known();
    for (const octets of [hello("evil.example"), hello("good.example"), Buffer.from("x")]) {
      const guest = policy.connect(GOOD, 443);
      guest?.send(octets);
      guest?.close();
      if (!policy.socket.shutDown) continue;
      policy.socket.end();
      guest?.settle();
    }
    const guest = policy.connect(GOOD, 443);
    guest?.reset();
    policy.exchange.pass(130_000);
    expect(policy.exchange.core.usage()).toMatchObject({ tcp: 0, smallChunks: 0, largeChunks: 0 });
  });
});

it("answers DNS over UDP from the address that was asked", () => {
  const policy = rig("good.example");
  const query = packet.encode({ type: "query", id: 3, questions: [{ type: "A", name: "evil.example" }] });
  const [frame] = policy.exchange.exchange(
    udp({ to: DNS, sourcePort: 4001, destinationPort: 53, payload: query }),
  );
  expect(asUdp(frame!).source).toBe(DNS);
});

function broken(change: (octets: Buffer) => void): Buffer {
  const octets = clientHello("good.example", [Buffer.from([1, 1, 0, 0])]);
  change(octets);
  return inRecords(octets);
}
