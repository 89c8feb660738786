/** The TFTP server by itself: whose transfer a message is of, when it wants to be woken, and a link that takes no more. */
import { describe, expect, it } from "vitest";
import { EACCES } from "../../../src/engine/boundary.ts";
import { SCRATCH_OCTETS, TFTP_TRANSFERS_MAX } from "../../../src/engine/limits.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { Tftp } from "../../../src/engine/service/tftp/tftp.ts";
import type { Path } from "../../../src/engine/transport/path.ts";
import type { UdpOutput } from "../../../src/engine/transport/udp/output.ts";
import { EIO } from "../../../src/host/native/linux.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import {
  acknowledgment,
  DATA,
  ERROR,
  MemoryFiles,
  type Message,
  OACK,
  parseMessage,
  request,
} from "../../support/tftp-client.ts";
import { wayOut } from "../../support/way-out.ts";

const GUEST = ip("10.0.2.15");
const PORT = 40_000;
const NO_GUEST = dropReason("inbound-no-guest");
const BIG = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8) * 7) & 255);
/** Frames kept back from payload. */
const RESERVED = 64;

interface Client {
  readonly port?: number;
  readonly address?: number;
  readonly address6?: readonly number[];
}

interface Sent extends Message {
  readonly port: number;
  readonly at: number;
}

function setUp({ mtu = 1500 } = {}) {
  const out = wayOut();
  const contents = new Map([
    ["big", BIG],
    ["even", BIG.slice(0, 1024)],
    ["lines", new Uint8Array(2000).fill(10)],
  ]);
  const files = new MemoryFiles(out.arena.octets, contents);
  const sent: Sent[] = [];
  let result = HANDLED;
  /** Takes note of messages, and a place in the queue as the real one does. */
  const output = {
    send(ends: Path, at: number, length: number): number {
      if (result !== HANDLED) return result;
      sent.push({ ...parseMessage(out.arena.octets.slice(at, at + length)), port: ends.guestPort, at });
      out.egress.queue.push(14, at, length, 0, 0, 0);
      return HANDLED;
    },
  } as unknown as UdpOutput;
  const tftp = new Tftp({ ...out, output, files, mtu });
  const packet = new Packet();
  const say = (
    message: Uint8Array,
    nowMs = 0,
    { port = PORT, address = GUEST, address6 }: Client = {},
  ): string => {
    out.arena.octets.set(message, out.arena.rxWindowAt);
    packet.payloadAt = out.arena.rxWindowAt;
    packet.payloadOctets = message.length;
    packet.nowMs = nowMs;
    packet.guestPort = port;
    packet.ipOctets = address6 === undefined ? 20 : 40;
    packet.guestAddress = address;
    packet.pair.set(address6 ?? [0, 0, 0, 0]);
    return DROP_REASONS[tftp.datagram(packet)];
  };
  /** What has been sent since the last call; the link takes it. */
  const taken = (): Sent[] => {
    out.sent();
    return sent.splice(0);
  };
  const counters = () => {
    const { counters: all, drops } = out.counters.snapshot();
    return {
      counters: Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith("tftp"))),
      drops,
    };
  };
  return {
    ...out,
    tftp,
    files,
    say,
    taken,
    counters,
    allCounters: out.counters,
    setResult: (reason: number) => {
      result = reason;
    },
  };
}

const numbers = (messages: readonly Message[]): number[] => messages.map(({ number }) => number);

describe("a transfer", () => {
  it.each<[string, Client, Client]>([
    ["another port", {}, { port: PORT + 1 }],
    ["another address", {}, { address: GUEST + 1 }],
    ["the other family", {}, { address6: [0, 0, 0, 0] }],
    ["the other family's address", { address6: ip6("fe80::1") }, { address: GUEST }],
    ["IPv6 with another first word", { address6: [1, 2, 3, 4] }, { address6: [9, 2, 3, 4] }],
    ["IPv6 with another second word", { address6: [1, 2, 3, 4] }, { address6: [1, 9, 3, 4] }],
    ["IPv6 with another third word", { address6: [1, 2, 3, 4] }, { address6: [1, 2, 9, 4] }],
    ["IPv6 with another fourth word", { address6: [1, 2, 3, 4] }, { address6: [1, 2, 3, 9] }],
  ])("is not that of %s", (_name, one, other) => {
    const { say, tftp, taken } = setUp();
    say(request("big"), 0, one);
    tftp.work(0);
    taken();
    expect(say(acknowledgment(1), 0, other)).toBe("tftp-no-transfer");
    expect(say(Uint8Array.of(0, ERROR, 0, 0), 0, other)).toBe("tftp-no-transfer");
    say(request("big"), 0, other);
    expect(tftp.open).toBe(2);
    expect(say(acknowledgment(1), 0, one)).toBe("handled");
    expect(say(Uint8Array.of(0, ERROR, 0, 0), 0, one)).toBe("handled");
    expect(tftp.open).toBe(1);
  });

  it("over IPv6 is told by its address, whatever stands in the place of the other family's", () => {
    const { say, tftp } = setUp();
    say(request("big"), 0, { address6: [1, 2, 3, 4], address: 5 });
    say(request("big"), 0, { address6: [1, 2, 3, 4], address: 6 });
    expect(tftp.open).toBe(1);
  });

  it("is counted: requests, octets of blocks, refusals, its end", () => {
    const { say, tftp, counters } = setUp();
    say(request("even"));
    for (const number of [1, 2, 3]) {
      tftp.work(0);
      expect(say(acknowledgment(number))).toBe("handled");
    }
    expect(tftp.open).toBe(0);
    expect(counters().counters).toEqual({ "tftp-requests": 1, "tftp-octets": 1024, "tftp-completed": 1 });
    say(request("missing"));
    say(acknowledgment(1));
    say(Uint8Array.of(0, 2, 0, 0));
    say(request("big").fill(255, 2));
    expect(counters().counters).toEqual({
      "tftp-requests": 3,
      "tftp-octets": 1024,
      "tftp-completed": 1,
      "tftp-refused": 3,
    });
  });

  it("needs no more than opcode and number", () => {
    const { say } = setUp();
    for (let length = 0; length < 4; length++) {
      expect(say(acknowledgment(1).subarray(0, length))).toBe("tftp-malformed");
    }
    expect(say(acknowledgment(1))).toBe("tftp-no-transfer");
  });

  it("has no message counted as lost that was sent", () => {
    const { say, tftp, counters, allCounters } = setUp();
    say(request("even", { tsize: 0 }));
    say(acknowledgment(0));
    tftp.work(0);
    say(request("missing"));
    expect([counters().drops, allCounters.dropped("handled")]).toEqual([{}, 0]);
  });

  it("goes on where the guest is not known for a moment, as after any loss", () => {
    const { say, tftp, taken, setResult, counters } = setUp();
    setResult(NO_GUEST);
    say(request("even"));
    expect(tftp.work(0)).toBe(false);
    expect(counters()).toMatchObject({
      drops: { "inbound-no-guest": 1 },
      counters: { "tftp-requests": 1 },
    });
    expect("tftp-octets" in counters().counters).toBe(false);
    setResult(HANDLED);
    expect(tftp.work(999)).toBe(false);
    expect(taken()).toEqual([]);
    tftp.work(1000);
    expect(taken()).toMatchObject([{ opcode: DATA, number: 1 }]);
  });

  it("whose answer to options is lost counts that, and sends it again", () => {
    const { say, tftp, taken, setResult, counters } = setUp();
    setResult(NO_GUEST);
    say(request("even", { tsize: 0 }));
    expect(counters().drops).toEqual({ "inbound-no-guest": 1 });
    setResult(HANDLED);
    tftp.work(1000);
    expect(taken()).toMatchObject([{ opcode: OACK, options: { tsize: "1024" } }]);
    expect(counters().counters).toEqual({ "tftp-requests": 1, "tftp-retransmits": 1 });
    say(acknowledgment(0), 1000);
    tftp.work(1000);
    tftp.work(2000);
    expect(taken().map(({ opcode, number }) => [opcode, number])).toEqual([
      [DATA, 1],
      [DATA, 1],
    ]);
    expect(counters().counters).toMatchObject({ "tftp-retransmits": 2, "tftp-octets": 1024 });
  });

  it("has its last block, though it is empty, without the file being read for it", () => {
    const { say, tftp, taken, files } = setUp();
    say(request("even", { blksize: 1024 }));
    say(acknowledgment(0));
    tftp.work(0);
    say(acknowledgment(1));
    files.readError = EIO;
    tftp.work(0);
    expect(taken().map(({ opcode, number, data }) => [opcode, number, data.length])).toEqual([
      [OACK, expect.any(Number), expect.any(Number)],
      [DATA, 1, 1024],
      [DATA, 2, 0],
    ]);
  });

  it.each(["octet", "netascii"])("of %s whose file cannot be read any more ends, and says so", (mode) => {
    const { say, tftp, taken, files } = setUp();
    say(request("lines", {}, mode));
    tftp.work(0);
    say(acknowledgment(1));
    taken();
    files.readError = EIO;
    expect(tftp.work(0)).toBe(false);
    expect(taken()).toMatchObject([{ opcode: ERROR, number: 0 }]);
    expect([tftp.open, files.open_.size]).toEqual([0, 0]);
  });

  it("ends on the sixth time in vain, and not before", () => {
    const { say, tftp } = setUp();
    say(request("even", { timeout: 1 }));
    for (let second = 1; second <= 6; second++) {
      tftp.work(second * 1000);
      expect(tftp.open).toBe(1);
    }
    tftp.work(6999);
    expect(tftp.open).toBe(1);
    tftp.work(7000);
    expect(tftp.open).toBe(0);
  });
});

describe("a block", () => {
  it("is as large as the link carries whole in the client's family, and as the text's own room allows", () => {
    for (const [mtu, client, mode, agreed] of [
      [1500, {}, "octet", 1468],
      [1500, { address6: ip6("fe80::1") }, "octet", 1448],
      [65_535, {}, "octet", 65_464],
      [65_535, {}, "netascii", (SCRATCH_OCTETS >> 1) - 4],
    ] as const) {
      const { say, taken, tftp } = setUp({ mtu });
      say(request("lines", { blksize: 65_464 }, mode), 0, client);
      expect(taken()).toMatchObject([{ options: { blksize: String(agreed) } }]);
      say(acknowledgment(0), 0, client);
      expect([tftp.work(0), taken().length]).toEqual([false, 1]);
    }
  });

  it("of text has twice its room, where all of it doubles", () => {
    const { say, tftp, taken, files } = setUp();
    files.files.set(
      "lines",
      Uint8Array.from({ length: 1000 }, (_, i) => (i < 500 ? 10 : 97 + (i % 26))),
    );
    say(request("lines", { blksize: 500 }, "netascii"));
    say(acknowledgment(0));
    const text: string[] = [];
    for (let number = 1; tftp.open > 0; number++) {
      tftp.work(0);
      text.push(
        ...taken()
          .filter(({ opcode }) => opcode === DATA)
          .map(({ data }) => Buffer.from(data).toString()),
      );
      say(acknowledgment(number));
    }
    expect(text.map(({ length }) => length)).toEqual([500, 500, 500, 0]);
    expect(text.join("")).toBe(
      "\r\n".repeat(500) +
        Array.from({ length: 500 }, (_, i) => String.fromCharCode(97 + ((i + 500) % 26))).join(""),
    );
  });

  it("takes scratch memory of its own, so that none is written over before it has left", () => {
    const { say, tftp, taken } = setUp();
    say(request("big", { windowsize: 8 }));
    say(acknowledgment(0));
    tftp.work(0);
    const messages = taken().filter(({ opcode }) => opcode === DATA);
    expect(numbers(messages)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    for (let i = 1; i < messages.length; i++) expect(messages[i].at - messages[i - 1].at).toBe(516);
  });
});

describe("a text", () => {
  it("takes scratch memory for itself and what it is made from", () => {
    const { say, tftp, taken } = setUp();
    for (const port of [1, 2]) say(request("lines", {}, "netascii"), 0, { port });
    tftp.work(0);
    const [first, second] = taken();
    expect([first.opcode, second.opcode, second.at - first.at]).toEqual([DATA, DATA, 4 + 2 * 512]);
  });
});

describe("a link that takes no more", () => {
  it("is told of, and blocks go on where they stopped once it does", () => {
    const { say, tftp, taken, link, egress } = setUp();
    say(request("big", { windowsize: 64, blksize: 8 }));
    say(acknowledgment(0));
    taken();
    link.full = true;
    while (egress.queue.room > RESERVED + 3) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect(tftp.work(0)).toBe(true);
    expect(tftp.work(0)).toBe(true);
    link.full = false;
    egress.unblock();
    expect(numbers(taken())).toEqual([1, 2, 3]);
    expect(tftp.work(0)).toBe(false);
    expect(numbers(taken())).toEqual(Array.from({ length: 61 }, (_, i) => 4 + i));
  });

  it("is one whose scratch memory is full, too", () => {
    const { say, tftp, taken, link } = setUp();
    say(request("big", { windowsize: 64, blksize: 1468 }));
    say(acknowledgment(0));
    taken();
    link.full = true;
    expect(tftp.work(0)).toBe(true);
    const first = Math.floor(SCRATCH_OCTETS / 1472);
    link.full = false;
    expect(numbers(taken())).toEqual(Array.from({ length: first }, (_, i) => 1 + i));
    expect(tftp.work(0)).toBe(false);
    expect(numbers(taken())).toEqual(Array.from({ length: 64 - first }, (_, i) => first + 1 + i));
  });

  it("has it be one transfer's turn after the other", () => {
    const { say, tftp, taken, link, egress } = setUp();
    for (const port of [1, 2, 3]) {
      say(request("big", { windowsize: 2, blksize: 8 }), 0, { port });
      say(acknowledgment(0), 0, { port });
    }
    taken();
    const order: number[] = [];
    for (let round = 0; round < 6; round++) {
      link.full = true;
      while (egress.queue.room > RESERVED + 1) egress.queue.push(14, 0, 0, 0, 0, 0);
      tftp.work(0);
      link.full = false;
      egress.unblock();
      order.push(...taken().map(({ port }) => port));
    }
    expect(order).toEqual([1, 1, 2, 2, 3, 3]);
    // The next turn begins with who was not served last.
    for (const port of [1, 2, 3]) say(acknowledgment(2), 0, { port });
    tftp.work(0);
    expect(taken().map(({ port }) => port)).toEqual([3, 3, 1, 1, 2, 2]);
  });

  it("has no room for a short message either, which is counted", () => {
    const { say, tftp, link, taken, counters } = setUp();
    say(request("big", { windowsize: 64, blksize: 1468 }));
    say(acknowledgment(0));
    taken();
    link.full = true;
    tftp.work(0);
    // 448 octets are left, of which each refusal takes 32.
    for (let i = 0; i < 14; i++) say(Uint8Array.of(0, 2, 0, 0));
    expect(counters().drops).toEqual({});
    expect(say(Uint8Array.of(0, 2, 0, 0))).toBe("handled");
    expect(counters().drops).toEqual({ "link-full": 1 });
    link.full = false;
    expect(taken().filter(({ opcode }) => opcode === ERROR)).toHaveLength(14);
  });
});

describe("being woken", () => {
  it("is wanted for what is due first, and not without transfers", () => {
    const { say, tftp } = setUp();
    expect(tftp.nextDeadlineMs(0)).toBe(-1);
    say(request("even", { timeout: 9 }), 0, { port: 1 });
    expect(tftp.nextDeadlineMs(0)).toBe(9000);
    say(request("even", { timeout: 3 }), 0, { port: 2 });
    say(request("even", { timeout: 5 }), 0, { port: 3 });
    expect([tftp.nextDeadlineMs(0), tftp.nextDeadlineMs(1000)]).toEqual([3000, 2000]);
    expect([tftp.nextDeadlineMs(3000), tftp.nextDeadlineMs(3001), tftp.nextDeadlineMs(8000)]).toEqual([
      0, 0, 0,
    ]);
    say(Uint8Array.of(0, ERROR, 0, 0), 0, { port: 2 });
    expect(tftp.nextDeadlineMs(1000)).toBe(4000);
    tftp.close();
    expect([tftp.nextDeadlineMs(1000), tftp.open, tftp.work(1000)]).toEqual([-1, 0, false]);
  });

  it("is right across the wrap of the clock", () => {
    const start = 0x7fffffff - 400;
    const { say, tftp, taken } = setUp();
    say(request("even"), start);
    tftp.work(start);
    expect(tftp.nextDeadlineMs(start + 300)).toBe(700);
    taken();
    tftp.work((start + 999) | 0);
    expect(taken()).toEqual([]);
    tftp.work((start + 1000) | 0);
    expect(taken()).toMatchObject([{ number: 1 }]);
  });
});

describe("places for transfers", () => {
  it("are taken from who has been silent for longest, five seconds at least", () => {
    const { say, tftp, files, taken } = setUp();
    for (let port = 0; port < TFTP_TRANSFERS_MAX; port++) {
      say(request("big", { timeout: 255 }), port * 10, { port });
    }
    taken();
    say(acknowledgment(0), 400, { port: 0 });
    const newcomer = { port: 1000 };
    // Port 1, now the most silent, was heard at 10.
    expect(say(request("even"), 5009, newcomer)).toBe("tftp-transfers-full");
    expect(taken()).toMatchObject([{ opcode: ERROR, number: 0 }]);
    expect(say(request("even"), 5010, newcomer)).toBe("handled");
    expect([tftp.open, files.open_.size]).toEqual([TFTP_TRANSFERS_MAX, TFTP_TRANSFERS_MAX]);
    expect(say(acknowledgment(0), 5010, { port: 1 })).toBe("tftp-no-transfer");
    // Several are silent for long enough: the one that is for longest goes.
    expect(say(request("even"), 5300, { port: 1001 })).toBe("handled");
    expect(say(acknowledgment(0), 5300, { port: 2 })).toBe("tftp-no-transfer");
    expect(say(acknowledgment(0), 5300, { port: 3 })).toBe("handled");
    expect(say(acknowledgment(0), 5300, { port: 0 })).toBe("handled");
  });

  it("are not taken for what cannot be served", () => {
    const { say, tftp, files, taken } = setUp();
    const open = files.open.bind(files);
    expect(say(request("secret"))).toBe("handled");
    files.open = () => EACCES;
    say(request("big"));
    files.open = () => EIO;
    say(request("big"));
    files.open = open;
    say(request("big/../x"));
    say(request(""));
    say(request("big", {}, "mail"));
    say(request("missing"));
    expect(numbers(taken())).toEqual([2, 2, 0, 2, 2, 4, 1]);
    expect([tftp.open, files.open_.size]).toEqual([0, 0]);
  });

  it("are left by a client that asks for something else, whatever comes of that", () => {
    const { say, tftp, files } = setUp();
    say(request("big"));
    say(request("missing"));
    expect([tftp.open, files.open_.size]).toEqual([0, 0]);
  });
});
