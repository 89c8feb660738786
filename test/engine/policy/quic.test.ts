/** Names shown by QUIC: what leaves of a guest's datagrams to a remote that has to be shown one, and what is refused for which reason. */
import { describe, expect, it } from "vitest";
import { QUIC_KEYS_OCTETS } from "../../../src/engine/boundary.ts";
import { defaultIpv6Config } from "../../../src/engine/config.ts";
import { QUIC_CRYPTO_OCTETS, QUIC_HANDSHAKES_MAX } from "../../../src/engine/limits.ts";
import { HostQuicKeys } from "../../../src/host/quic-keys.ts";
import { udp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { frame6, ip6, udp6 } from "../../support/frames6.ts";
import { clientHello, PolicyRig } from "../../support/policy-rig.ts";
import {
  CLIENT_ID,
  clientKeys,
  crypto,
  initialPackets,
  longPacket,
  type PacketFields,
  QUIC_1,
  QUIC_2,
} from "../../support/quic-client.ts";

const GOOD = "203.0.113.10";
const ROUTER_MAC = [0x52, 0x55, 10, 0, 2, 2];
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OTHER_ID = Buffer.from("0102030405060708", "hex");
const SHORT = Buffer.concat([Buffer.of(0x40), Buffer.alloc(40, 5)]);
/** A ClientHello that takes more than one datagram, as those with a post-quantum key share do. */
const long = (name: string | null, octets = 1800): Buffer =>
  clientHello(name, [
    Buffer.concat([Buffer.from([0, 51, octets >> 8, octets & 255]), Buffer.alloc(octets, 3)]),
  ]);

/** One that has `good.example` resolved. */
function known(...allow: string[]): PolicyRig {
  const policy = new PolicyRig({ rules: [{ allow: allow.length > 0 ? allow : ["good.example:443/quic"] }] });
  expect(policy.resolve("good.example", GOOD)?.rcode).toBe("NOERROR");
  return policy;
}

/** What left, in order. */
function left(policy: PolicyRig, payloads: readonly Uint8Array[], sourcePort?: number): Buffer[] {
  return policy.datagrams(GOOD, 443, payloads, sourcePort).map(({ octets }) => Buffer.from(octets));
}

const dropped = (
  policy: PolicyRig,
  reason: Parameters<PolicyRig["exchange"]["core"]["counters"]["dropped"]>[0],
): number => policy.exchange.core.counters.dropped(reason);

const hello = (name: string | null, fields: PacketFields = {}): Buffer[] =>
  initialPackets(clientHello(name), 1000, fields);

// The frame, and what comes of it, are in RFC 9001 and RFC 9369, appendices A.2.
const SAMPLE_FRAME =
  "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c0000000" +
  "10000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e0005000501000000000033" +
  "00260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305" +
  "0306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff08011001048000" +
  "75300901100f088394c8f03e51570806048000ffff";
const SAMPLES = [
  {
    version: QUIC_1,
    keys: "1f369613dd76d5467730efcbe3b1a22dfa044b2f42a3fd3b46fb255c9f50449e04a0e810283a1e9933adedd2",
    begins:
      "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c",
    ends: "e221af44860018ab0856972e194cd934",
  },
  {
    version: QUIC_2,
    keys: "8b1a0bc121284290a29e0971b5cd045d91f73e2351d8fa91660e909f45b95e15235d6f45a6b19cbcb0294ba9",
    begins:
      "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c",
    ends: "a18b2faa745b6fe189cf772a9f84cbfc",
  },
] as const;

describe.each(SAMPLES)(
  "the specification's sample of version $version",
  ({ version, keys, begins, ends }) => {
    const sample = longPacket(Buffer.from(SAMPLE_FRAME, "hex"), {
      version,
      number: 2,
      numberOctets: 4,
      fill: 1162,
    });

    it("P14 has the keys, and is the packet, that stand there", () => {
      const derived = new Uint8Array(QUIC_KEYS_OCTETS);
      new HostQuicKeys().derive(version === QUIC_2, CLIENT_ID, derived);
      expect(Buffer.from(derived).toString("hex")).toBe(keys);
      expect(Buffer.concat(Object.values(clientKeys(version))).toString("hex")).toBe(keys);
      expect(sample.length).toBe(1200);
      expect(sample.toString("hex").startsWith(begins)).toBe(true);
      expect(sample.toString("hex").endsWith(ends)).toBe(true);
    });

    it("P14 goes where its name may, and nowhere else", () => {
      const policy = new PolicyRig({ rules: [{ allow: ["example.com:443/quic", "good.example:443/quic"] }] });
      policy.resolve("example.com", GOOD);
      expect(left(policy, [sample])).toEqual([sample]);
      const other = known();
      expect(left(other, [sample])).toEqual([]);
      expect(other.denials).toEqual(["example.com:443 policy-name-mismatch"]);
    });
  },
);

describe("a ClientHello", () => {
  it("P14 in one datagram leaves if its name is allowed, and what follows it", () => {
    const policy = known();
    const [first] = hello("good.example");
    expect(left(policy, [first as Buffer, SHORT, SHORT])).toEqual([first, SHORT, SHORT]);
    const denied = known();
    expect(left(denied, [...hello("evil.example"), SHORT])).toEqual([]);
    expect(dropped(denied, "policy-name-mismatch")).toBe(1);
    expect(dropped(denied, "policy-name-missing")).toBe(1);
  });

  it("P14 in several datagrams, in any order, waits for the last and leaves in the guest's order", () => {
    const packets = initialPackets(long("good.example"), 800);
    expect(packets.length).toBe(3);
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
      [0, 0, 1, 2],
    ]) {
      const policy = known();
      const sent = order.map((i) => packets[i] as Buffer);
      const last = sent.pop() as Buffer;
      expect(left(policy, sent)).toEqual([]);
      expect(left(policy, [last])).toEqual([...sent, last]);
      expect(left(policy, [SHORT])).toEqual([SHORT]);
    }
    const denied = known();
    expect(left(denied, initialPackets(long("evil.example"), 800))).toEqual([]);
    expect(denied.denials).toEqual(["evil.example:443 policy-name-mismatch"]);
  });

  it("P14 in frames of a few octets, last first and with others between, is put together", () => {
    const octets = clientHello("good.example");
    const frames: Buffer[] = [];
    for (let at = 0; at < octets.length; at += 7) {
      frames.unshift(Buffer.of(0, 1), crypto(at, octets.subarray(at, at + 7)), Buffer.of(2, 0, 0, 0, 0));
    }
    const packet = longPacket(Buffer.concat(frames), { fill: 1162 });
    expect(left(known(), [packet])).toEqual([packet]);
  });

  it("P14 with keys of either version, a token and numbers of any length leaves", () => {
    for (const fields of [
      { version: QUIC_2 },
      { token: Buffer.alloc(70, 1) },
      { number: 70_000, numberOctets: 4 },
      { number: 200, numberOctets: 1 },
      { id: Buffer.alloc(20, 9) },
      { id: Buffer.alloc(0) },
    ] as const) {
      const packets = hello("good.example", fields);
      expect(left(known(), packets), JSON.stringify(fields)).toEqual(packets);
    }
  });

  it("P14 without a name, with one that is none, or that is none itself is refused", () => {
    const cases: [string, Buffer[], Parameters<typeof dropped>[1]][] = [
      ["no name", hello(null), "policy-name-missing"],
      ["a zero", hello("good.example\0"), "policy-name-malformed"],
      ["another message", initialPackets(Buffer.from([2, 0, 0, 1, 0])), "policy-name-malformed"],
      ["one too long", initialPackets(Buffer.from([1, 0, 0x20, 1, 3, 3])), "policy-name-malformed"],
      ["no frames", [longPacket(Buffer.of(0x1e), { fill: 0 }), SHORT], "policy-name-malformed"],
    ];
    for (const [title, packets, reason] of cases) {
      const policy = known();
      expect(left(policy, packets), title).toEqual([]);
      expect(dropped(policy, reason), title).toBe(1);
    }
  });

  it("P14 with an encrypted one inside is refused where the policy says so", () => {
    const extension = Buffer.from([0xfe, 0x0d, 0, 1, 0]);
    const policy = new PolicyRig({ ech: "refuse", rules: [{ allow: "good.example:443/quic" }] });
    policy.resolve("good.example", GOOD);
    expect(left(policy, initialPackets(clientHello("good.example", [extension])))).toEqual([]);
    expect(dropped(policy, "policy-ech")).toBe(1);
  });
});

describe("a flow", () => {
  it("P14 that begins with a short header, a handshake or another version is refused, and silent", () => {
    const policy = known();
    expect(left(policy, [SHORT])).toEqual([]);
    expect(left(policy, [longPacket(Buffer.alloc(40), { type: 2 })])).toEqual([]);
    expect(left(policy, [Buffer.alloc(0), Buffer.of(1)])).toEqual([]);
    expect(dropped(policy, "policy-name-missing")).toBe(4);
    for (const version of [0, 2, 0x709a50c4, 0x0a0a0a0a, 0xff00001d]) {
      expect(left(policy, hello("good.example", { version }))).toEqual([]);
    }
    expect(dropped(policy, "policy-quic-version")).toBe(5);
  });

  it("P14 from another port of the guest begins anew", () => {
    const policy = known();
    const packets = hello("good.example");
    expect(left(policy, packets)).toEqual(packets);
    expect(left(policy, [SHORT], 42_001)).toEqual([]);
    expect(left(policy, [SHORT])).toEqual([SHORT]);
  });

  it("P14 of which a second connection shows another name lets none of that out", () => {
    const policy = known("good.example:443/quic", "fine.example:443/quic");
    policy.resolve("fine.example", GOOD);
    expect(left(policy, hello("good.example"))).toHaveLength(1);
    expect(left(policy, hello("evil.example", { id: OTHER_ID }))).toEqual([]);
    expect(left(policy, hello("fine.example", { id: OTHER_ID }))).toHaveLength(1);
    expect(policy.denials).toEqual(["evil.example:443 policy-name-mismatch"]);
    // Half of it does not leave behind what is allowed, either.
    const [half] = initialPackets(long("evil.example"), 800, { id: Buffer.alloc(8, 7) });
    expect(left(policy, [half as Buffer, Buffer.concat([half as Buffer, SHORT])])).toEqual([]);
  });

  it("P14 goes on in packets whose keys are the first one's, in the other version too", () => {
    const policy = known();
    left(policy, hello("good.example"));
    const ack = Buffer.of(2, 0, 0, 0, 0);
    for (const version of [QUIC_1, QUIC_2]) {
      const next = longPacket(ack, { id: OTHER_ID, keysOf: CLIENT_ID, number: 3, fill: 1162, version });
      const shaken = longPacket(Buffer.alloc(60), { id: OTHER_ID, type: 2, version });
      expect(left(policy, [Buffer.concat([next, shaken, SHORT])])).toHaveLength(1);
    }
    const unknown = longPacket(ack, { id: OTHER_ID, keysOf: Buffer.alloc(8, 1), fill: 1162 });
    expect(left(policy, [unknown])).toEqual([]);
    expect(dropped(policy, "policy-name-malformed")).toBe(1);
  });

  it("P14 cannot say something else than it has said, nor a second ClientHello with another name", () => {
    const policy = known();
    const octets = clientHello("good.example");
    expect(left(policy, initialPackets(octets))).toHaveLength(1);
    const again = longPacket(crypto(0, octets), { number: 1, fill: 1162 });
    expect(left(policy, [again])).toEqual([again]);
    // After a HelloRetryRequest the second one follows the first.
    const second = longPacket(crypto(octets.length, octets), { number: 2, fill: 1162 });
    expect(left(policy, [second])).toEqual([second]);
    const evil = longPacket(crypto(2 * octets.length, clientHello("evil.example")), {
      number: 3,
      fill: 1162,
    });
    expect(left(policy, [evil])).toEqual([]);
    const other = known();
    left(other, initialPackets(octets));
    const changed = longPacket(crypto(0, clientHello("evil.example")), { number: 1, fill: 1162 });
    expect(left(other, [changed])).toEqual([]);
    expect(dropped(other, "policy-name-malformed")).toBe(1);
  });

  it("P14 keeps early data until the name is known, and has it follow", () => {
    const policy = known();
    const [first, second] = initialPackets(long("good.example", 900), 700) as [Buffer, Buffer];
    const early = longPacket(Buffer.alloc(100, 8), { type: 1 });
    expect(left(policy, [early])).toEqual([]);
    expect(left(policy, [first, early])).toEqual([]);
    expect(left(policy, [second, early])).toEqual([first, early, second, early]);
  });

  it("P14 in a super-frame is looked at datagram by datagram", () => {
    const policy = known();
    const { exchange } = policy;
    const [good] = hello("good.example", { fill: 1165 }) as [Buffer];
    const [evil] = hello("evil.example", { fill: 1165, id: OTHER_ID }) as [Buffer];
    expect([good.length, evil.length]).toEqual([1200, 1200]);
    const short = Buffer.concat([SHORT, Buffer.alloc(1200 - SHORT.length, 1)]);
    const whole = Buffer.concat([short, good, evil, short, SHORT]);
    const before = exchange.network.datagrams.length;
    exchange.exchange(
      udp({ to: ip(GOOD), sourcePort: 42_000, destinationPort: 443, payload: whole }),
      false,
      1200,
    );
    expect(exchange.network.datagrams.slice(before).map(({ octets }) => Buffer.from(octets))).toEqual([
      good,
      short,
      SHORT,
    ]);
    expect(dropped(policy, "policy-name-missing")).toBe(1);
    expect(dropped(policy, "policy-name-mismatch")).toBe(1);
  });

  it("P14 over IPv6 is looked at as over IPv4, and by the address inside", () => {
    const ipv6 = defaultIpv6Config(Uint8Array.from(ROUTER_MAC));
    const policy = new PolicyRig({ rules: [{ allow: "good.example/quic" }] }, { ipv6 });
    // The advertisements of the link's start.
    policy.exchange.settle();
    policy.ask("good.example", [{ type: "AAAA", name: "good.example", ttl: 60, data: "2001:db8::7" }], {
      questions: [{ type: "AAAA", name: "good.example" }],
    });
    policy.resolve("good.example", GOOD);
    const { exchange } = policy;
    const packets = initialPackets(long("good.example"), 800);
    for (const destination of ["2001:db8::7", `64:ff9b::${GOOD}`]) {
      const before = exchange.network.datagrams.length;
      const send = (octets: Uint8Array, port: number): void => {
        exchange.exchange(frame6(udp6({ destination }, port, 443, [...octets]), ROUTER_MAC, GUEST_MAC));
      };
      for (const octets of [...packets, SHORT]) send(octets, 4000);
      for (const octets of hello("evil.example")) send(octets, 4001);
      send(SHORT, 4001);
      const went = exchange.network.datagrams.slice(before);
      expect(went.map(({ octets }) => Buffer.from(octets))).toEqual([...packets, SHORT]);
      expect(went.every(({ words }) => ip6(destination).every((word, i) => word === words[i]))).toBe(true);
    }
  });

  it("P14 after a Retry shows its name again, by keys of the server's id", () => {
    const policy = known();
    const retried = { id: Buffer.alloc(18, 6), token: Buffer.alloc(50, 1) };
    expect(left(policy, hello("good.example"))).toHaveLength(1);
    expect(left(policy, hello("evil.example", retried))).toEqual([]);
    expect(left(policy, hello("good.example", retried))).toHaveLength(1);
  });
});

describe("what could be read in two ways", () => {
  it("P14 is refused: packets for two connections in one datagram", () => {
    const policy = known();
    const [good] = hello("good.example");
    const [evil] = hello("evil.example", { id: OTHER_ID });
    expect(left(policy, [Buffer.concat([good as Buffer, evil as Buffer])])).toEqual([]);
    expect(dropped(policy, "policy-name-malformed")).toBe(1);
  });

  it("P14 is refused: half a ClientHello in front of a packet of a connection that goes", () => {
    const policy = known();
    left(policy, hello("good.example"));
    const [half] = initialPackets(long("evil.example"), 800, { id: OTHER_ID });
    const own = longPacket(Buffer.of(1), { id: OTHER_ID, keysOf: CLIENT_ID, number: 5, fill: 40 });
    expect(left(policy, [Buffer.concat([half as Buffer, own])])).toEqual([]);
    expect(left(policy, [Buffer.concat([own, half as Buffer])])).toEqual([]);
    expect(dropped(policy, "policy-name-malformed")).toBe(2);
  });

  it("P14 is refused: a packet number of which the beginning cannot be known", () => {
    const policy = known();
    left(policy, hello("good.example", { number: 100_000, numberOctets: 4 }));
    const next = longPacket(Buffer.of(1), { number: 100_001, numberOctets: 1, fill: 40 });
    expect(left(policy, [next])).toEqual([]);
    const whole = longPacket(Buffer.of(1), { number: 100_001, numberOctets: 3, fill: 40 });
    expect(left(policy, [whole])).toEqual([whole]);
  });
});

describe("bounds", () => {
  it("P14 hostile lengths are no packets", () => {
    const [packet] = hello("good.example") as [Buffer];
    const policy = known();
    let port = 20_000;
    for (let at = 0; at < 30; at++) {
      for (const octet of [0xff, 0x7f, 0xbf, 0x3f]) {
        const bad = Buffer.from(packet);
        if (bad[at] === octet) continue;
        bad[at] = octet;
        expect(left(policy, [bad], port++), `octet ${at} is ${octet}`).toEqual([]);
      }
    }
    for (let length = 0; length < 60; length++)
      expect(left(policy, [packet.subarray(0, length)], port++)).toEqual([]);
    const far = longPacket(crypto(QUIC_CRYPTO_OCTETS - 3, Buffer.alloc(4)), { fill: 1162 });
    expect(left(policy, [far], port++)).toEqual([]);
    const cut = longPacket(Buffer.concat([Buffer.of(6, 0, 0x7f, 0xff), Buffer.alloc(40)]));
    expect(left(policy, [cut], port++)).toEqual([]);
    const ranges = longPacket(
      Buffer.concat([Buffer.of(2, 0, 0, 0xbf, 0xff, 0xff, 0xff, 0), Buffer.alloc(40)]),
    );
    expect(left(policy, [ranges], port++)).toEqual([]);
  });

  it("P14 a ClientHello that takes more datagrams, or longer, than may be kept is refused", () => {
    const policy = known();
    const packets = initialPackets(long("good.example", 6000), 700);
    expect(packets.length).toBeGreaterThan(5);
    expect(left(policy, packets.slice(0, 5))).toEqual([]);
    expect(dropped(policy, "policy-name-missing")).toBe(1);
    const silent = known();
    expect(left(silent, packets.slice(0, 1))).toEqual([]);
    silent.exchange.pass(10_100);
    expect(dropped(silent, "policy-name-missing")).toBe(1);
    expect(left(silent, packets.slice(1, 5))).toEqual([]);
  });

  it("P14 handshakes that wait give way to newer ones, and none of those that came whole", () => {
    const policy = known();
    const [half] = initialPackets(long("good.example"), 800);
    for (let n = 0; n < QUIC_HANDSHAKES_MAX + 20; n++) left(policy, [half as Buffer], 10_000 + n);
    expect(dropped(policy, "policy-peek-full")).toBe(20);
    const packets = initialPackets(long("good.example"), 1500);
    expect(left(policy, packets, 9000)).toEqual(packets);
    // Of one port no more than four at a time; the one above is done, and the first to give way.
    for (let n = 0; n < 6; n++) {
      const [other] = initialPackets(long("good.example"), 800, { id: Buffer.alloc(8, n) });
      left(policy, [other as Buffer], 9000);
    }
    expect(dropped(policy, "policy-peek-full")).toBe(20 + 1 + 5);
    expect(left(policy, [SHORT], 9000)).toEqual([SHORT]);
  });
});

describe("rules", () => {
  it("P14 open no UDP that is not QUIC, and TCP none of it", () => {
    const policy = known("good.example");
    expect(left(policy, hello("good.example"))).toEqual([]);
    expect(policy.denials).toContain("good.example:443 policy-no-rule");
    const elsewhere = known();
    expect(elsewhere.sends("203.0.113.99", 443)).toBe(false);
    expect(elsewhere.denials).toEqual(["203.0.113.99:443 policy-address-unnamed"]);
    expect(known().connect(GOOD, 443)).toBeNull();
    const plain = known("good.example:443/udp");
    expect(left(plain, [Buffer.from("x")])).toHaveLength(1);
  });

  it("P14 of a name count what shows it for their limits", () => {
    const policy = new PolicyRig({
      rules: [{ name: "few", allow: "good.example:443/quic", limit: { new: "1/s" } }],
    });
    policy.resolve("good.example", GOOD);
    expect(left(policy, hello("good.example"))).toHaveLength(1);
    expect(left(policy, hello("good.example", { id: OTHER_ID }))).toEqual([]);
    expect(dropped(policy, "policy-new-rate")).toBe(1);
    expect(policy.exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [1, 0] });
  });

  it("P14 that are replaced end what they do not allow, and keep what they do", () => {
    const policy = known("good.example:443/quic");
    left(policy, hello("good.example"));
    policy.replace({ rules: [{ allow: ["good.example:443/quic", "more.example"] }] });
    policy.exchange.settle();
    expect(left(policy, [SHORT])).toEqual([SHORT]);
    policy.replace({ rules: [{ allow: ["*.example:443/quic"] }, { allow: "other.test:443/quic" }] });
    policy.exchange.settle();
    expect(left(policy, [SHORT])).toEqual([SHORT]);
    policy.replace({ rules: [{ allow: "other.test:443/quic" }] });
    policy.exchange.settle();
    expect(left(policy, [SHORT])).toEqual([]);
  });

  it("P14 under audit let it pass", () => {
    const policy = new PolicyRig({ mode: "audit", rules: [{ allow: "good.example:443/quic" }] });
    policy.resolve("good.example", GOOD);
    expect(left(policy, [SHORT])).toEqual([SHORT]);
  });
});
