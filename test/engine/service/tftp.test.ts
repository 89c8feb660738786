import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, defaultIpv6Config } from "../../../src/engine/config.ts";
import { TFTP_TRANSFERS_MAX } from "../../../src/engine/limits.ts";
import { EIO } from "../../../src/host/native/linux.ts";
import { asUdp, GATEWAY, udp } from "../../hostile/guest-packets.ts";
import { FrameExchange } from "../../support/frame-exchange.ts";
import { frame6, ROUTER6, udp6 } from "../../support/frames6.ts";
import {
  acknowledgment,
  DATA,
  ERROR,
  MemoryFiles,
  type Message,
  OACK,
  parseMessage,
  Receiver,
  request,
  WRQ,
} from "../../support/tftp-client.ts";

const PORT = 40_000;
const TFTP_PORT = 69;
const SILENCE_MS = 60_000;

/** Octets of which no two blocks are alike. */
function patterned(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7) & 255);
}

const FILES: Readonly<Record<string, Uint8Array>> = {
  empty: new Uint8Array(0),
  "pxelinux.0": patterned(1300),
  even: patterned(1024),
  big: patterned(300_000),
  "boot/grub/x64.efi": patterned(700),
  "menu.txt": new TextEncoder().encode("one\ntwo\r\nthree\rfour\n"),
};

/** RFC 764: a line's end is a pair, and so is a CR that ends none. */
function inNetascii(octet: number): number[] {
  if (octet === 10) return [13, 10];
  return octet === 13 ? [13, 0] : [octet];
}

function setUp({ mtu = 1500 } = {}) {
  let files!: MemoryFiles;
  const exchange = new FrameExchange({ mtu }, false, (octets) => {
    files = new MemoryFiles(octets, new Map(Object.entries(FILES)));
    return files;
  });
  const parse = (frames: readonly Uint8Array[]): Message[] =>
    frames.map((frame) => {
      expect(frame.length).toBeLessThanOrEqual(mtu + 14);
      return parseMessage(asUdp(frame).payload);
    });
  /** The guest sends a message; what comes back at once. */
  const send = (payload: Uint8Array, port = PORT): Message[] =>
    parse(
      exchange.exchange(
        udp({ to: GATEWAY, sourcePort: port, destinationPort: TFTP_PORT, payload: Buffer.from(payload) }),
      ),
    );
  const pass = (ms: number): Message[] => parse(exchange.pass(ms));
  const counters = () => exchange.core.counters.snapshot();
  /** Fetches a file as a client would, which says again what is not answered, over a wire that loses those `lost` says. */
  const fetch = (first: Uint8Array, lost: () => boolean = () => false, port = PORT): Receiver => {
    const receiver = new Receiver();
    const arrive = (messages: readonly Message[]): Message[] => messages.filter(() => !lost());
    let arriving = arrive(lost() ? [] : send(first, port));
    for (let silent = 0; !receiver.done && receiver.error === undefined && silent < 200; ) {
      const answers = arriving.flatMap((message) => receiver.take(message));
      silent = arriving.length === 0 ? silent + 1 : 0;
      const isKnown = receiver.received.length > 0 || receiver.offered !== undefined;
      if (silent % 3 === 2) answers.push(isKnown ? receiver.again() : first);
      arriving = arrive(answers.flatMap((answer) => (lost() ? [] : send(answer, port))));
      if (arriving.length === 0 && !receiver.done) arriving = arrive(pass(500));
    }
    return receiver;
  };
  return { exchange, files, send, pass, fetch, counters };
}

describe("a file", () => {
  it.each([
    ["empty", 1],
    ["pxelinux.0", 3],
    ["even", 3],
    ["boot/grub/x64.efi", 2],
  ])("%s comes in blocks of 512, the last one shorter", (name, blocks) => {
    const { fetch, files, counters, exchange } = setUp();
    const { octets, received, done } = fetch(request(name));
    expect([done, received.length]).toEqual([true, blocks]);
    expect(octets).toEqual(FILES[name]);
    expect(files.open_.size).toBe(0);
    expect(exchange.core.usage().tftp).toBe(0);
    expect(counters().counters).toMatchObject({ "tftp-requests": 1, "tftp-completed": 1 });
  });

  it("comes in blocks of the size asked for, none of which is cut into fragments", () => {
    for (const [mtu, asked, agreed] of [
      [1500, 1468, 1468],
      [1500, 65_464, 1468],
      [1500, 8, 8],
      [9000, 65_464, 8968],
      [65_520, 65_464, 65_464],
      [576, 1468, 544],
    ]) {
      const { octets, offered } = setUp({ mtu }).fetch(request("pxelinux.0", { blksize: asked }));
      expect(offered).toEqual({ blksize: String(agreed) });
      expect(octets).toEqual(FILES["pxelinux.0"]);
    }
  });

  it("tells its size, and has the time between retransmissions that was asked for", () => {
    const { send, pass } = setUp();
    const [offer] = send(request("big", { TSIZE: 0, Timeout: 3, unknown: 1 }));
    expect(offer).toMatchObject({ opcode: OACK, options: { tsize: "300000", timeout: "3" } });
    expect(pass(2900)).toEqual([]);
    expect(pass(200)).toEqual([offer]);
    expect(send(acknowledgment(0))).toMatchObject([{ opcode: DATA, number: 1 }]);
  });

  it("comes in windows", () => {
    const { fetch, send } = setUp();
    const { octets, offered } = fetch(request("big", { windowsize: 16, blksize: 1024 }));
    expect(offered).toEqual({ windowsize: "16", blksize: "1024" });
    expect(Buffer.compare(octets, FILES["big"])).toBe(0);
    expect(send(request("big", { windowsize: 65_535 }))[0].options).toEqual({ windowsize: "64" });
    expect(send(acknowledgment(0))).toHaveLength(64);
    // In the middle of a window: something is missing from there on.
    expect(send(acknowledgment(10)).map(({ number }) => number)).toEqual(
      Array.from({ length: 64 }, (_, i) => 11 + i),
    );
    // Of what it has: the first of the window is missing; once.
    expect(send(acknowledgment(10))).toHaveLength(64);
    expect(send(acknowledgment(10))).toEqual([]);
  });

  it("has no largest size: in blocks of 8 their numbers start over before 525,000 octets have come", () => {
    const { fetch, files } = setUp();
    const huge = patterned(8 * 65_540 + 4);
    files.files.set("huge", huge);
    const { octets, done } = fetch(request("huge", { blksize: 8, windowsize: 64 }));
    expect(done).toBe(true);
    expect(Buffer.compare(octets, huge)).toBe(0);
  });

  it.each([512, 8, 9, 10, 11, 13])(
    "comes as text in blocks of %i, lines and lone CRs in their pairs",
    (blksize) => {
      const { fetch, files } = setUp();
      const options = blksize === 512 ? { tsize: 0, windowsize: 4 } : { blksize, tsize: 0, windowsize: 4 };
      const { octets, offered } = fetch(request("menu.txt", options, "NetASCII"));
      expect(new TextDecoder().decode(octets)).toBe("one\r\ntwo\r\0\r\nthree\r\0four\r\n");
      // Neither its size nor a window: what a block holds follows from those before it.
      expect(offered).toEqual(blksize === 512 ? undefined : { blksize: String(blksize) });
      expect(files.open_.size).toBe(0);
    },
  );

  it("arrives over any wire that loses no more than a third", () => {
    const options = fc.record(
      { blksize: fc.integer({ min: 64, max: 1500 }), windowsize: fc.integer({ min: 1, max: 40 }) },
      { requiredKeys: [] },
    );
    const text = fc.uint8Array({ maxLength: 2000 });
    const mode = fc.constantFrom("octet", "netascii");
    fc.assert(
      fc.property(text, options, mode, fc.integer(), fc.nat(33), (contents, asked, how, seed, percent) => {
        const { fetch, files, pass } = setUp();
        files.files.set("any", contents);
        let state = seed;
        const receiver = fetch(request("any", asked, how), () => {
          state = (Math.imul(state, 1664525) + 1013904223) | 0;
          return (state >>> 16) % 100 < percent;
        });
        expect(receiver.done).toBe(true);
        const expected = how === "octet" ? [...contents] : Array.from(contents, inNetascii).flat();
        expect(Buffer.compare(receiver.octets, Uint8Array.from(expected))).toBe(0);
        pass(SILENCE_MS);
        expect(files.open_.size).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it("comes over IPv6 from the router's address", () => {
    const { gatewayMac } = defaultEngineConfig();
    let files!: MemoryFiles;
    const exchange = new FrameExchange({ ipv6: defaultIpv6Config(gatewayMac) }, false, (octets) => {
      files = new MemoryFiles(octets, new Map(Object.entries(FILES)));
      return files;
    });
    exchange.settle();
    const send = (packet: Uint8Array): Uint8Array[] =>
      exchange.exchange(frame6(packet, [...gatewayMac], [0x52, 0x54, 0, 0x12, 0x34, 0x56]));
    const receiver = new Receiver();
    let out = [request("pxelinux.0", { blksize: 65_464 })];
    while (out.length > 0) {
      const frames = send(udp6({ destination: ROUTER6 }, PORT, TFTP_PORT, [...out[0]]));
      out = frames.flatMap((frame) => receiver.take(parseMessage(frame.slice(62))));
    }
    expect(receiver.offered).toEqual({ blksize: "1448" });
    expect(receiver.octets).toEqual(FILES["pxelinux.0"]);
  });
});

describe("a request", () => {
  it("names a path below the folder, with a slash in front or Windows' slashes", () => {
    const { send, files } = setUp();
    for (const name of [
      "boot/grub/x64.efi",
      "/boot/grub/x64.efi",
      "//boot/./grub//x64.efi",
      "\\boot\\grub\\x64.efi",
    ])
      expect(send(request(name))).toMatchObject([{ opcode: DATA, number: 1 }]);
    expect(new Set(files.asked)).toEqual(new Set(["boot/grub/x64.efi"]));
  });

  it.each(["../etc/passwd", "boot/../../x", "..", "/..", "boot\\..\\..\\x", "a/.."])(
    "for %s leads nowhere, whoever has the file",
    (name) => {
      const { send, files } = setUp();
      expect(send(request(name))).toMatchObject([{ opcode: ERROR, number: 2 }]);
      expect(files.asked).toEqual([]);
    },
  );

  it("that cannot be served says why", () => {
    const { send, counters, files } = setUp();
    const codeOf = (payload: Uint8Array): number[] =>
      send(payload).map(({ opcode, number }) => opcode * 10 + number);
    expect(codeOf(request("missing"))).toEqual([51]);
    expect(codeOf(request("secret"))).toEqual([52]);
    expect(codeOf(request(""))).toEqual([52]);
    expect(codeOf(request("/"))).toEqual([52]);
    expect(codeOf(request("new", {}, "octet", WRQ))).toEqual([52]);
    expect(codeOf(request("pxelinux.0", {}, "mail"))).toEqual([54]);
    expect(codeOf(Uint8Array.of(0, DATA, 0, 1, 1, 2))).toEqual([54]);
    expect(codeOf(Uint8Array.of(0, 99, 0, 1))).toEqual([54]);
    expect(codeOf(acknowledgment(1))).toEqual([55]);
    files.readError = EIO;
    expect(codeOf(request("pxelinux.0"))).toEqual([50]);
    expect(files.open_.size).toBe(0);
    expect(counters().drops).toEqual({ "tftp-no-transfer": 1 });
  });

  it("that is none is dropped and counted", () => {
    const { send, counters, files } = setUp();
    const good = request("pxelinux.0", { blksize: 600 });
    const bad = [
      new Uint8Array(0),
      Uint8Array.of(0, 1),
      Uint8Array.of(0, 1, 0),
      good.subarray(0, -1),
      request("pxelinux.0").subarray(0, 13),
      Uint8Array.of(0, 1, 0xff, 0xfe, 0, ...new TextEncoder().encode("octet"), 0),
      Uint8Array.of(...good, 120, 0),
      request("x".repeat(600)),
    ];
    for (const message of bad) expect(send(message)).toEqual([]);
    expect(counters().drops).toEqual({ "tftp-malformed": bad.length });
    expect(files.asked).toEqual([]);
  });

  it.each([
    ["blksize", ["7", "65465", "-1", "1e3", "0x200", "", "99999999999"]],
    ["windowsize", ["0", "65536", "x"]],
    ["timeout", ["0", "256"]],
    ["tsize", ["1", "x"]],
  ])("with a wrong %s is served without it", (name, values) => {
    for (const value of values) {
      const { send } = setUp();
      expect(send(request("pxelinux.0", { [name]: value }))).toMatchObject([{ opcode: DATA, number: 1 }]);
    }
  });

  it("from the same port is the client starting anew", () => {
    const { send, files } = setUp();
    send(request("big"));
    send(acknowledgment(1));
    expect(send(request("big"))).toMatchObject([{ opcode: DATA, number: 1 }]);
    expect(files.open_.size).toBe(1);
    send(request("even"), PORT + 1);
    expect(files.open_.size).toBe(2);
  });

  it("is served under --restrict as well, and at no address but the gateway's", () => {
    const exchange = new FrameExchange(
      { restrict: true },
      false,
      (octets) => new MemoryFiles(octets, new Map(Object.entries(FILES))),
    );
    const payload = Buffer.from(request("even"));
    const ask = (to: number) =>
      exchange.exchange(udp({ to, sourcePort: PORT, destinationPort: TFTP_PORT, payload }));
    expect(ask(GATEWAY)).toHaveLength(1);
    expect(ask(GATEWAY + 1)).toEqual([]);
  });

  it("meets nobody where no files are served", () => {
    const exchange = new FrameExchange({});
    const payload = Buffer.from(request("even"));
    expect(
      exchange.exchange(udp({ to: GATEWAY, sourcePort: PORT, destinationPort: TFTP_PORT, payload })),
    ).toEqual([]);
    expect(exchange.core.counters.dropped("handled")).toBe(0);
  });
});

describe("a client", () => {
  it("that falls silent is sent the same a few times, ever more slowly, then forgotten", () => {
    const { send, pass, files, exchange, counters } = setUp();
    const [first] = send(request("even"));
    const times: number[] = [];
    for (let ms = 50; ms <= SILENCE_MS; ms += 50) {
      for (const message of pass(50)) {
        expect(message).toEqual(first);
        times.push(ms);
      }
    }
    const gaps = times.map((time, i) => Math.round((time - (times[i - 1] ?? 0)) / 1000));
    expect(gaps).toEqual([1, 2, 4, 8, 8, 8]);
    expect(files.open_.size).toBe(0);
    expect(exchange.core.nextDeadlineMs(exchange.now)).not.toBe(0);
    expect(counters().counters["tftp-retransmits"]).toBe(6);
    expect(send(acknowledgment(1))).toMatchObject([{ opcode: ERROR, number: 5 }]);
  });

  it("that gives up is forgotten at once", () => {
    const { send, files } = setUp();
    send(request("big", { tsize: 0 }));
    expect(files.open_.size).toBe(1);
    expect(send(Uint8Array.of(0, ERROR, 0, 8, 0))).toEqual([]);
    expect(files.open_.size).toBe(0);
  });

  it("that acknowledges twice, or what was never sent, is not sent more for it", () => {
    const { send } = setUp();
    send(request("big"));
    expect(send(acknowledgment(1))).toMatchObject([{ opcode: DATA, number: 2 }]);
    for (const number of [1, 0, 3, 4, 65_535]) expect(send(acknowledgment(number))).toEqual([]);
    expect(send(acknowledgment(2))).toMatchObject([{ opcode: DATA, number: 3 }]);
  });

  it("takes one place among few; those that are silent give way, those that are not do not", () => {
    const { send, files, pass, exchange } = setUp();
    for (let i = 0; i < TFTP_TRANSFERS_MAX; i++) {
      send(request("big", { timeout: 255 }), PORT + i);
      send(acknowledgment(0), PORT + i);
    }
    expect(send(request("even"), 50_000)).toMatchObject([{ opcode: ERROR, number: 0 }]);
    expect(exchange.core.counters.dropped("tftp-transfers-full")).toBe(1);
    pass(4000);
    for (let i = 1; i < TFTP_TRANSFERS_MAX; i++) send(acknowledgment(1), PORT + i);
    pass(2000);
    expect(send(request("even"), 50_000)).toMatchObject([{ opcode: DATA, number: 1 }]);
    expect(send(request("even"), 50_001)).toMatchObject([{ opcode: ERROR, number: 0 }]);
    expect(files.open_.size).toBe(TFTP_TRANSFERS_MAX);
    expect(exchange.core.usage().tftp).toBe(TFTP_TRANSFERS_MAX);
    expect(send(acknowledgment(1), PORT)).toMatchObject([{ opcode: ERROR, number: 5 }]);
    exchange.core.close(exchange.now);
    expect(files.open_.size).toBe(0);
  });

  it("is told when a file has become shorter, not given less as if that were all", () => {
    const { send, files } = setUp();
    send(request("big"));
    files.files.set("big", patterned(600));
    expect(send(acknowledgment(1))).toMatchObject([{ opcode: ERROR, number: 0 }]);
    expect(files.open_.size).toBe(0);
  });

  it("may say what it likes: nothing throws, nothing stays open", () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.record({ number: fc.integer({ min: 0, max: 65_535 }) }).map(({ number }) => acknowledgment(number)),
      fc
        .tuple(
          fc.constantFrom(...Object.keys(FILES), "x"),
          fc.constantFrom("octet", "netascii"),
          fc.nat(70),
          fc.nat(70),
        )
        .map(([file, mode, blksize, windowsize]) => request(file, { blksize, windowsize }, mode)),
    );
    const step = fc.tuple(anything, fc.integer({ min: 1, max: 50 }), fc.nat(3));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { exchange, files, pass } = setUp();
        for (const [payload, port, seconds] of steps) {
          exchange.now += seconds * 1000;
          exchange.exchange(
            udp({ to: GATEWAY, sourcePort: port, destinationPort: TFTP_PORT, payload: Buffer.from(payload) }),
          );
          expect(files.open_.size).toBeLessThanOrEqual(TFTP_TRANSFERS_MAX);
        }
        pass(SILENCE_MS);
        expect(files.open_.size).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});
