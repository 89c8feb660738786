/** Connections that have yet to show a name: how long each may take, which one gives way, and what becomes of either side. */
import { describe, expect, it } from "vitest";
import { TOKEN_LINK } from "../../../src/engine/api.ts";
import { WRITABLE } from "../../../src/engine/boundary.ts";
import {
  HELD_NAME_OCTETS,
  HELD_NAMES_MAX,
  HELD_NAMES_OCTETS,
  PAYLOAD_OCTETS_MAX,
} from "../../../src/engine/limits.ts";
import { tcp } from "../../hostile/guest-packets.ts";
import { ip } from "../../support/frames.ts";
import { ALERT_49, hello, inRecords, PolicyRig } from "../../support/policy-rig.ts";
import { RecordTap } from "../../support/record-tap.ts";
import type { TcpGuest } from "../../support/tcp-guest.ts";

const GOOD = "203.0.113.10";
const OTHER = "203.0.113.99";
const MISSING = "policy-name-missing";
const FULL = "policy-peek-full";

type Document = ConstructorParameters<typeof PolicyRig>[0];

/** One that lets `good.example` through, once it is shown. */
function strict(document: Document = { rules: [{ allow: "good.example:443,80" }] }) {
  const rig = new PolicyRig(document);
  rig.resolve("good.example", GOOD);
  const connect = (port = 443): { guest: TcpGuest; socket: PolicyRig["socket"] } => {
    const guest = rig.connect(GOOD, port);
    if (guest === null) throw new Error("it was not answered");
    return { guest, socket: rig.socket };
  };
  const dropped = (
    reason: typeof MISSING | typeof FULL | "policy-name-mismatch" | "policy-connections",
  ): number => rig.exchange.core.counters.dropped(reason);
  /** Time goes to where something is due, `ms` at most. Returns how far it went. */
  const next = (ms: number): number => {
    const { exchange } = rig;
    const due = exchange.core.nextDeadlineMs(exchange.now);
    const step = due < 0 ? ms : Math.min(due, ms);
    exchange.now += step;
    exchange.settle();
    return step;
  };
  return { rig, connect, dropped, next };
}

/** Octets of a request that go on for so long. */
const begun = (octets: number): Buffer => {
  const head = "GET / HTTP/1.1\r\nHost: good.example\r\nX: ";
  return Buffer.from(head + "y".repeat(octets - head.length));
};

describe("a connection that shows no name", () => {
  it("P12 is reset after 10 s, and not before, and that is when something is due", () => {
    const { rig, connect, dropped, next } = strict();
    const before = rig.exchange.core.nextDeadlineMs(0);
    const { socket } = connect();
    let passed = 0;
    while (socket.state === "open" && passed < 20_000) passed += next(20_000 - passed);
    expect([passed, socket.state, dropped(MISSING)]).toEqual([10_000, "reset", 1]);
    expect(rig.denials).toEqual([`${GOOD}:443 ${MISSING}`]);
    expect(rig.exchange.core.usage().tcp).toBe(0);
    // Nothing of it is due any more.
    expect(rig.exchange.core.nextDeadlineMs(rig.exchange.now)).toBe(before);
  });

  it("P12 has its time from the handshake's end on, each its own", () => {
    const { connect } = strict();
    const held = [connect()];
    for (const ms of [3000, 50, 4000]) {
      held[0].guest.pass(ms);
      held.push(connect());
    }
    const live = (): string => held.map(({ socket }) => socket.state[0]).join("");
    const [{ guest }] = held;
    guest.pass(2900);
    expect(live()).toBe("oooo");
    guest.pass(50);
    expect(live()).toBe("rooo");
    guest.pass(2950);
    expect(live()).toBe("rooo");
    guest.pass(50);
    expect(live()).toBe("rroo");
    guest.pass(50);
    expect(live()).toBe("rrro");
    guest.pass(3950);
    expect(live()).toBe("rrro");
    guest.pass(50);
    expect(live()).toBe("rrrr");
  });

  it("P12 leaves what others have due, and nothing before that", () => {
    const { rig, connect } = strict();
    const held = [connect(), connect()];
    held[0].guest.pass(3000);
    held.push(connect());
    // One of which the handshake has not ended.
    const syn = tcp({ to: ip(GOOD), sourcePort: 50_000, destinationPort: 443, flags: 2, sequence: 1 });
    rig.exchange.exchange(syn);
    const dueMs = (): number => rig.exchange.core.nextDeadlineMs(rig.exchange.now);
    held[0].guest.pass(7000);
    expect(held.map(({ socket }) => socket.state)).toEqual(["reset", "reset", "open"]);
    expect(dueMs()).toBeGreaterThan(0);
    held[0].guest.pass(3000);
    expect(held[2].socket.state).toBe("reset");
    expect(dueMs()).toBeGreaterThan(0);
  });

  it("P16 and need not is served in its own time beside others that have to", () => {
    const rules = [{ deny: "*.ads.example" }, { allow: `${OTHER}:443` }, { allow: "good.example:443" }];
    const { rig, connect } = strict({ rules, default: "deny" });
    const serve = (): void => {
      const other = rig.connect(OTHER, 443);
      rig.socket.give(Buffer.from("banner"));
      other?.pass(450);
      expect(other?.received.length).toBe(0);
      other?.pass(50);
      expect(other?.received.toString()).toBe("banner");
    };
    const first = connect();
    first.guest.pass(1000);
    serve();
    first.guest.pass(1500);
    const second = connect();
    first.guest.pass(6800);
    // The first one is over meanwhile, and the second has longer.
    serve();
    expect([first.socket.state, second.socket.state]).toEqual(["reset", "open"]);
    second.guest.pass(2650);
    expect(second.socket.state).toBe("open");
    second.guest.pass(50);
    expect(second.socket.state).toBe("reset");
  });

  it("P13 and has begun a request is told so", () => {
    const { connect, dropped } = strict();
    const { guest, socket } = connect(80);
    guest.send(begun(200));
    guest.pass(9950);
    expect(socket.state).toBe("open");
    guest.pass(50);
    expect(guest.received.toString()).toContain(
      "sluice: denied: policy-name-missing: the request names no host",
    );
    expect([guest.ended, guest.wasReset, socket.state, dropped(MISSING)]).toEqual([true, false, "reset", 1]);
  });

  it("P13 and says no more is told so at once", () => {
    const { connect, dropped } = strict();
    const { guest } = connect(80);
    guest.send(begun(200));
    guest.close();
    expect(guest.received.toString()).toContain("policy-name-missing");
    expect(dropped(MISSING)).toBe(1);
    const empty = connect(80);
    empty.guest.close();
    expect([empty.guest.wasReset, empty.guest.received.length, dropped(MISSING)]).toEqual([true, 0, 2]);
  });

  it("P16 and need not is served after half a second", () => {
    const rig = new PolicyRig({ rules: [{ deny: "*.ads.example" }] });
    const guest = rig.connect(OTHER, 443);
    rig.socket.give(Buffer.from("banner"));
    guest?.pass(450);
    expect(guest?.received.length).toBe(0);
    guest?.pass(50);
    expect(guest?.received.toString()).toBe("banner");
    guest?.send(Buffer.from("hello"));
    expect(Buffer.from(rig.socket.octets).toString()).toBe("hello");
    guest?.pass(20_000);
    expect([guest?.wasReset, rig.socket.state]).toEqual([false, "open"]);
  });

  it("P16 and need not is none of those whose names are denied, and counts for the rule of its address", () => {
    const rig = new PolicyRig({ rules: [{ deny: "*:443" }, { allow: "203.0.113.0/24:443" }] });
    const guest = rig.connect(OTHER, 443);
    guest?.pass(500);
    guest?.send(Buffer.from("hi"));
    expect([guest?.wasReset, Buffer.from(rig.socket.octets).toString()]).toEqual([false, "hi"]);
    expect(rig.exchange.core.policyCounts()).toEqual({ allowed: [0, 1, 0], denied: [0, 0, 0] });
  });

  it("P16 and need not is served with what it has said, whatever that is", () => {
    const cases: [octets: Buffer, isRefused: boolean][] = [
      [Buffer.from("SSH-2.0-x\r\n"), false],
      [hello(null), false],
      [inRecords(Buffer.from([1, 0, 0, 6, 3, 3, 0, 0, 0, 0])), false],
      [hello("a\0.example"), false],
      [hello("x.ads.example"), true],
    ];
    for (const [octets, isRefused] of cases) {
      const rig = new PolicyRig({ rules: [{ deny: "*.ads.example" }] });
      const guest = rig.connect(OTHER, 443);
      guest?.send(octets);
      expect(Buffer.from(rig.socket.octets)).toEqual(isRefused ? Buffer.alloc(0) : octets);
      expect(rig.socket.state).toBe(isRefused ? "reset" : "open");
    }
  });
});

describe("a connection that shows its name", () => {
  it("P12 is an ordinary one from then on", () => {
    const { rig, connect, next } = strict();
    const { guest, socket } = connect();
    socket.give(Buffer.from("early"));
    guest.settle();
    expect(guest.received.length).toBe(0);
    guest.send(hello("good.example"));
    expect(Buffer.from(socket.octets)).toEqual(hello("good.example"));
    guest.settle();
    expect(guest.received.toString()).toBe("early");
    // No name is due of it any more.
    for (let passed = 0; passed < 30_000; passed += next(30_000 - passed));
    guest.settle();
    expect([guest.wasReset, socket.state, rig.denials]).toEqual([false, "open", []]);
    guest.send(Buffer.alloc(100_000, 7));
    expect(socket.octets.length).toBe(hello("good.example").length + 100_000);
    guest.close();
    expect(socket.shutDown).toBe(true);
  });

  it("P12 sees the end of what the host has said and closed meanwhile", () => {
    const { connect } = strict();
    const { guest, socket } = connect();
    socket.give(Buffer.from("early"));
    socket.end();
    guest.settle();
    expect([guest.received.length, guest.ended]).toEqual([0, false]);
    guest.send(hello("good.example"));
    guest.settle();
    expect([guest.received.toString(), guest.ended]).toEqual(["early", true]);
  });

  it("P12 ends with a host that is broken by then", () => {
    const { rig, connect } = strict();
    const { guest, socket } = connect();
    const { tcpSend } = rig.exchange.network;
    rig.exchange.network.tcpSend = () => -32;
    guest.send(hello("good.example"));
    guest.settle();
    rig.exchange.network.tcpSend = tcpSend;
    rig.exchange.pass(130_000);
    expect([socket.octets.length, rig.exchange.core.usage().tcp]).toEqual([0, 0]);
  });

  it("P12 that cannot be a name is told no, as malformed", () => {
    const { rig, connect } = strict();
    const { guest } = connect();
    guest.send(hello("a\0.example"));
    expect([guest.received, rig.denials]).toEqual([ALERT_49, [`${GOOD}:443 policy-name-malformed`]]);
  });

  it("P5 P9 and need not is not held to one of the names of its address afterwards", () => {
    for (const stays of ["good.example:22", "fine.example:22"]) {
      const rig = new PolicyRig({ rules: [{ allow: ["good.example:22", "fine.example:22"] }] });
      rig.resolve("good.example", GOOD);
      rig.resolve("fine.example", GOOD);
      rig.connect(GOOD, 22);
      rig.replace({ rules: [{ allow: stays }] });
      rig.exchange.pass(100);
      expect([stays, rig.socket.state]).toEqual([stays, "open"]);
    }
  });

  it("P12 that is another's is told no, and given up 10 s later", () => {
    const { rig, connect, dropped, next } = strict();
    const { guest, socket } = connect();
    guest.pass(4000);
    guest.send(hello("evil.example"));
    expect([guest.received, guest.ended, socket.state]).toEqual([ALERT_49, true, "reset"]);
    expect([socket.octets.length, dropped("policy-name-mismatch")]).toEqual([0, 1]);
    guest.send(hello("good.example"));
    expect(rig.exchange.core.usage().smallChunks).toBe(0);
    let passed = 0;
    while (rig.exchange.core.usage().tcp > 0 && passed < 20_000) passed += next(20_000 - passed);
    expect([passed, dropped(MISSING), rig.denials.length]).toEqual([10_000, 0, 1]);
  });

  it("P12 that is another's is told no, and gone once the guest closes", () => {
    const { rig, connect } = strict();
    const { guest } = connect();
    guest.send(hello("evil.example"));
    guest.close();
    guest.pass(200);
    expect(guest.wasReset).toBe(false);
    rig.exchange.pass(130_000);
    expect(rig.exchange.core.usage()).toMatchObject({ tcp: 0, smallChunks: 0, largeChunks: 0 });
  });

  it("P12 is looked at once it has 16 KiB, and no more than that waits", () => {
    const { connect } = strict();
    const { guest, socket } = connect(80);
    guest.send(begun(HELD_NAME_OCTETS - 1));
    expect(guest.received.length).toBe(0);
    guest.send(Buffer.from("y"));
    expect(guest.received.toString()).toContain("policy-name-malformed");
    expect(socket.state).toBe("reset");
  });
});

describe("where too many wait", () => {
  it("P15 the one that has waited longest gives way, and is counted", () => {
    const { rig, connect, dropped } = strict();
    const first = connect();
    first.guest.pass(50);
    const second = connect();
    second.guest.pass(50);
    for (let n = 2; n < HELD_NAMES_MAX; n++) connect();
    expect([dropped(FULL), first.socket.state]).toEqual([0, "open"]);
    const tap = new RecordTap(rig.exchange.core, rig.exchange.arena);
    const last = connect();
    expect([dropped(FULL), first.socket.state, second.socket.state]).toEqual([1, "reset", "open"]);
    expect(tap.read().filter(({ type }) => type === "flow-ended")).toMatchObject([
      { reason: "denied", endedBy: "sluice" },
    ]);
    expect(rig.denials).toEqual([`${GOOD}:443 ${FULL}`]);
    last.guest.send(hello("good.example"));
    expect(last.socket.octets.length).toBe(hello("good.example").length);
    connect();
    expect([dropped(FULL), second.socket.state]).toEqual([1, "open"]);
    connect();
    expect([dropped(FULL), second.socket.state]).toEqual([2, "reset"]);
  });

  it("P15 one that was told no already gives way uncounted", () => {
    const { rig, connect, dropped } = strict();
    const { guest } = connect();
    guest.send(hello("evil.example"));
    guest.pass(50);
    for (let n = 1; n < HELD_NAMES_MAX; n++) connect();
    connect();
    expect(dropped(FULL)).toBe(0);
    expect(rig.exchange.core.usage().tcp).toBe(HELD_NAMES_MAX);
  });

  it("P15 of those with octets the one that has waited longest gives way at 4 MiB", () => {
    const { connect, dropped } = strict();
    const silent = connect(80);
    const other = connect(80);
    silent.guest.pass(50);
    const octets = begun(16_000);
    // With 262 times as many this is 4 MiB.
    const rest = connect(80);
    rest.guest.send(begun(HELD_NAMES_OCTETS - 262 * 16_000));
    const held = Array.from({ length: 262 }, () => {
      const one = connect(80);
      one.guest.send(octets, 16_000);
      return one;
    });
    expect(dropped(FULL)).toBe(0);
    rest.guest.send(Buffer.from("y"));
    expect([dropped(FULL), silent.socket.state, other.socket.state]).toEqual([1, "open", "open"]);
    expect(rest.socket.state).toBe("reset");
    silent.guest.pass(50);
    const over = connect(80);
    over.guest.send(octets, 16_000);
    expect([dropped(FULL), silent.socket.state]).toEqual([2, "open"]);
    expect(held.map(({ socket }) => socket.state).filter((state) => state !== "open")).toEqual(["reset"]);
    expect(held[0].socket.state).toBe("reset");
    // What leaves makes room again: one that gives up, one that is let in, one that is refused.
    held[1].guest.reset();
    connect(80).guest.send(octets, 16_000);
    held[2].guest.send(Buffer.from("\r\n\r\n"));
    connect(80).guest.send(octets, 16_000);
    held[3].guest.send(Buffer.from("\r\nHost: evil.example\r\n\r\n"));
    connect(80).guest.send(octets, 16_000);
    expect(dropped(FULL)).toBe(2);
    connect(80).guest.send(octets, 16_000);
    expect(dropped(FULL)).toBe(3);
  });
});

describe("where there is no memory left", () => {
  it("P12 one that shows another's name is reset, and not told why", () => {
    const rules = [{ allow: ["good.example:443", "198.51.100.0/24:22"] }];
    const rig = new PolicyRig({ rules }, { payloadOctets: PAYLOAD_OCTETS_MAX / 128 });
    rig.resolve("good.example", GOOD);
    const guest = rig.connect(GOOD, 443);
    const { socket } = rig;
    // What hosts send and nobody acknowledges.
    for (let n = 0; n < 40; n++) {
      const other = rig.connect("198.51.100.1", 22);
      if (other !== null) other.listens = false;
      rig.socket.give(Buffer.alloc(100_000));
      other?.settle();
    }
    guest?.send(hello("evil.example"));
    expect([guest?.received.length, guest?.ended, guest?.wasReset, socket.state]).toEqual([
      ...[0, false, true, "reset"],
    ]);
    expect(rig.exchange.core.counters.dropped("policy-name-mismatch")).toBe(1);
    expect(rig.exchange.core.usage().tcp).toBe(40);
  });
});

describe("where the guest takes no frames for a while", () => {
  it("P12 each that has shown its name is looked at once it does, whatever others have sent meanwhile", () => {
    const { rig, connect } = strict();
    const [babbler, other] = [connect(80), connect()];
    const { link, core, now } = rig.exchange;
    const transmit = link.transmit.bind(link);
    link.transmit = () => 0;
    babbler.guest.send(begun(HELD_NAMES_MAX + 100), 1);
    other.guest.send(hello("good.example"));
    expect(other.socket.octets.length).toBe(0);
    link.transmit = transmit;
    core.handleEvent(TOKEN_LINK, WRITABLE, now);
    rig.exchange.settle();
    expect(Buffer.from(other.socket.octets)).toEqual(hello("good.example"));
  });
});

describe("the host's side of one that waits", () => {
  it("is reset when the guest gives up, and closed once", () => {
    const { rig, connect, dropped } = strict();
    const { guest, socket } = connect();
    guest.reset();
    expect([socket.state, rig.exchange.core.usage().tcp, dropped(MISSING)]).toEqual(["reset", 0, 0]);
    const half = new PolicyRig({ rules: [{ allow: `${OTHER}:443`, check: "tls" }] });
    const begins = half.begin(OTHER, 443);
    begins.reset();
    expect([half.exchange.core.usage().tcp, half.socket.state]).toEqual([0, "reset"]);
  });

  it("P25 is reset where the rule has no room for another", () => {
    const rule = { allow: "good.example:443", limit: { connections: 1 } };
    const { rig, connect, dropped } = strict({ rules: [rule] });
    const held = [connect(), connect()];
    for (const { guest } of held) guest.send(hello("good.example"));
    expect(held.map(({ socket }) => socket.state)).toEqual(["open", "reset"]);
    expect([held[1].guest.received, dropped("policy-connections")]).toEqual([ALERT_49, 1]);
    expect(rig.exchange.core.policyCounts()).toEqual({ allowed: [1, 0], denied: [1, 0] });
  });
});
