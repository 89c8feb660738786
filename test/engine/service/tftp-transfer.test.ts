/** What one transfer of TFTP is made of: what is agreed on, text as netascii has it, and which block is next. */
import { beforeEach, describe, expect, it } from "vitest";
import { agree, namesOf } from "../../../src/engine/service/tftp/agreement.ts";
import { writeNetascii } from "../../../src/engine/service/tftp/netascii.ts";
import { Transfer } from "../../../src/engine/service/tftp/transfer.ts";

const LINK_BLOCK = 1468;
const FILE_OCTETS = 5000;

describe("an agreement", () => {
  const agreed = (options: Readonly<Record<string, string>>, fileOctets = FILE_OCTETS) => {
    const asked = { file: "x", mode: "octet", options: new Map(Object.entries(options)) };
    const { answered, ...rest } = agree(asked, LINK_BLOCK, fileOctets);
    return { ...rest, answered: answered.map(([name, value]) => `${name}=${value}`) };
  };
  const plain = { blockOctets: 512, windowBlocks: 1, timeoutMs: 0, answered: [] };

  it("is RFC 1350's where nothing is asked for", () => {
    expect(agreed({})).toEqual(plain);
    expect(agreed({ multicast: "", rollover: "0" })).toEqual(plain);
  });

  it.each([
    ["blksize", "8", { blockOctets: 8 }, "8"],
    ["blksize", "1467", { blockOctets: 1467 }, "1467"],
    ["blksize", "1468", { blockOctets: 1468 }, "1468"],
    ["blksize", "1469", { blockOctets: 1468 }, "1468"],
    ["blksize", "65464", { blockOctets: 1468 }, "1468"],
    ["blksize", "0000001024", { blockOctets: 1024 }, "1024"],
    ["timeout", "1", { timeoutMs: 1000 }, "1"],
    ["timeout", "255", { timeoutMs: 255_000 }, "255"],
    ["windowsize", "1", { windowBlocks: 1 }, "1"],
    ["windowsize", "63", { windowBlocks: 63 }, "63"],
    ["windowsize", "64", { windowBlocks: 64 }, "64"],
    ["windowsize", "65", { windowBlocks: 64 }, "64"],
    ["windowsize", "65535", { windowBlocks: 64 }, "64"],
    ["tsize", "0", {}, String(FILE_OCTETS)],
  ])("takes %s %s", (name, asked, changes, told) => {
    expect(agreed({ [name]: asked })).toEqual({ ...plain, ...changes, answered: [`${name}=${told}`] });
  });

  it.each([
    ["blksize", ["7", "65465", "", "-8", "+8", "1024x", "x1024", " 1024", "1024 ", "1024.0", "00000001024"]],
    ["timeout", ["0", "256", "1e1"]],
    ["windowsize", ["0", "65536"]],
    ["tsize", ["1", ""]],
  ])("goes on as if %s had not been asked for where it is none", (name, values) => {
    for (const value of values) expect(agreed({ [name]: value }), value).toEqual(plain);
  });

  it("is told in one order, whatever the request's", () => {
    const all = { windowsize: "4", tsize: "0", timeout: "3", blksize: "1024" };
    expect(agreed(all)).toEqual({
      blockOctets: 1024,
      windowBlocks: 4,
      timeoutMs: 3000,
      answered: ["blksize=1024", "timeout=3", "tsize=5000", "windowsize=4"],
    });
    expect(agreed({ tsize: "0" }, 0).answered).toEqual(["tsize=0"]);
    // Of a text neither the size is known nor can a block be found again.
    expect(agreed(all, -1)).toMatchObject({ windowBlocks: 1, answered: ["blksize=1024", "timeout=3"] });
  });
});

describe("a name", () => {
  it.each<[string, string[] | null]>([
    ["a", ["a"]],
    ["a/b.c", ["a", "b.c"]],
    ["/a//./b/", ["a", "b"]],
    ["\\a\\b", ["a", "b"]],
    ["", []],
    ["/", []],
    ["./.", []],
    ["...", ["..."]],
    ["a..", ["a.."]],
    ["..", null],
    ["a/..", null],
    ["a\\..\\b", null],
  ])('"%s" is %j below the folder', (path, names) => {
    expect(namesOf(path)).toEqual(names);
  });
});

describe("netascii", () => {
  /** What becomes of a text in pieces of `room` octets, and where in the file each of them ends. */
  function convert(text: string, room: number, length = text.length): { out: string[]; at: number[] } {
    const octets = new Uint8Array(200).fill(0xee);
    const place = { at: 0, pending: 0 };
    const result = { out: [] as string[], at: [] as number[] };
    for (let last = room; last === room; ) {
      octets.set(new TextEncoder().encode(text).subarray(place.at, place.at + length), 10);
      const left = Math.min(length, text.length - place.at);
      last = writeNetascii(octets, 10, left, 100, room, place);
      expect([octets[99], octets[100 + last]]).toEqual([0xee, 0xee]);
      result.out.push(new TextDecoder().decode(octets.subarray(100, 100 + last)));
      result.at.push(place.at);
      octets.fill(0xee);
    }
    return result;
  }

  it.each<[string, number, string[], number[]]>([
    ["", 8, [""], [0]],
    ["abc", 8, ["abc"], [3]],
    ["abcd", 4, ["abcd", ""], [4, 4]],
    ["a\nb", 8, ["a\r\nb"], [3]],
    ["a\rb", 8, ["a\r\0b"], [3]],
    ["a\r\n", 8, ["a\r\0\r\n"], [3]],
    ["abc\n", 4, ["abc\r", "\n"], [4, 4]],
    ["abc\r", 4, ["abc\r", "\0"], [4, 4]],
    ["ab\ncd", 4, ["ab\r\n", "cd"], [3, 5]],
    ["abc\ndef", 4, ["abc\r", "\ndef", ""], [4, 7, 7]],
    ["\n\n\n", 1, ["\r", "\n", "\r", "\n", "\r", "\n", ""], [1, 1, 2, 2, 3, 3, 3]],
  ])("of %j in blocks of %i is %j", (text, room, out, at) => {
    expect(convert(text, room)).toEqual({ out, at });
  });

  it("writes nothing, and keeps what is pending, where there is no room", () => {
    const octets = new Uint8Array(8).fill(0xee);
    const place = { at: 5, pending: 11 };
    expect(writeNetascii(octets, 0, 2, 4, 0, place)).toBe(0);
    expect([place, [...octets]]).toEqual([{ at: 5, pending: 11 }, new Array<number>(8).fill(0xee)]);
  });
});

describe("a transfer", () => {
  let transfer: Transfer;
  beforeEach(() => {
    transfer = new Transfer();
  });
  interface How {
    readonly octets?: number;
    readonly window?: number;
    readonly timeoutMs?: number;
    readonly netascii?: boolean;
    readonly nowMs?: number;
  }
  const begin = ({ octets = FILE_OCTETS, window = 1, timeoutMs = 0, netascii = false, nowMs = 0 }: How) =>
    transfer.begin(
      3,
      octets,
      netascii,
      { blockOctets: 512, windowBlocks: window, timeoutMs, answered: [] },
      nowMs,
    );
  /** Sends all that may be sent; their numbers. */
  const send = (nowMs = 0): number[] => {
    const numbers: number[] = [];
    while (transfer.hasBlock) {
      transfer.sent++;
      transfer.wait(nowMs);
      numbers.push(transfer.sent);
    }
    return numbers;
  };

  it.each([
    [0, 1],
    [511, 1],
    [512, 2],
    [513, 2],
    [1024, 3],
  ])("of %i octets has %i blocks, and is complete with the last one", (octets, blocks) => {
    begin({ octets });
    for (let number = 1; number <= blocks; number++) {
      expect([send(), transfer.isComplete]).toEqual([[number], false]);
      transfer.acknowledge(number, 0);
    }
    expect([send(), transfer.isComplete]).toEqual([[], true]);
  });

  it("is somebody's while it has a file, the first of all too", () => {
    expect(transfer.inUse).toBe(false);
    begin({});
    expect(transfer.inUse).toBe(true);
    transfer.handle = 0;
    expect(transfer.inUse).toBe(true);
  });

  it("begins anew whatever was before", () => {
    begin({ window: 4 });
    send();
    transfer.acknowledge(3, 0);
    send();
    transfer.acknowledge(3, 0);
    transfer.again(0);
    transfer.start.at = 77;
    transfer.start.pending = 1;
    begin({ octets: 100, nowMs: 50 });
    expect([transfer.acknowledged, transfer.sent, transfer.last, transfer.tries]).toEqual([0, 0, 1, 0]);
    expect([transfer.start, transfer.heardMs, transfer.dueMs]).toEqual([{ at: 0, pending: 0 }, 50, 1050]);
    expect(transfer.answeredAgain).toBe(false);
    expect(send()).toEqual([1]);
  });

  it("does not end while the number of its last block is not known", () => {
    begin({ octets: 0, netascii: true });
    expect([transfer.isComplete, send()]).toEqual([false, [1]]);
    transfer.acknowledge(1, 0);
    expect([transfer.isComplete, send()]).toEqual([false, [2]]);
    transfer.last = 2;
    transfer.acknowledge(2, 0);
    expect([transfer.isComplete, send()]).toEqual([true, []]);
  });

  it("sends as many blocks ahead as the window holds, and no more than there are", () => {
    begin({ window: 4 });
    expect(send()).toEqual([1, 2, 3, 4]);
    transfer.acknowledge(4, 0);
    expect(send()).toEqual([5, 6, 7, 8]);
    transfer.acknowledge(8, 0);
    expect(send()).toEqual([9, 10]);
    transfer.acknowledge(10, 0);
    expect([send(), transfer.isComplete]).toEqual([[], true]);
  });

  it("goes on behind what is acknowledged in the middle of a window", () => {
    begin({ window: 4 });
    send();
    transfer.acknowledge(2, 0);
    expect(send()).toEqual([3, 4, 5, 6]);
  });

  it("sends a window once more where its first block is missing, and not before something new was heard", () => {
    begin({ window: 4 });
    send();
    transfer.acknowledge(0, 100);
    expect([transfer.dueMs, send(100)]).toEqual([1100, [1, 2, 3, 4]]);
    transfer.acknowledge(0, 200);
    expect([transfer.dueMs, send(200)]).toEqual([1100, []]);
    transfer.acknowledge(4, 300);
    send(300);
    transfer.acknowledge(4, 400);
    expect(send(400)).toEqual([5, 6, 7, 8]);
    transfer.again(1400);
    send(1400);
    transfer.acknowledge(4, 1500);
    expect(send(1500)).toEqual([5, 6, 7, 8]);
  });

  it("does not count an acknowledgment of what it has as an answer where nothing has been sent since", () => {
    begin({ window: 4 });
    transfer.acknowledge(0, 100);
    expect([transfer.dueMs, send()]).toEqual([1000, [1, 2, 3, 4]]);
    transfer.acknowledge(0, 200);
    expect(send()).toEqual([1, 2, 3, 4]);
  });

  it("one by one sends nothing again for an acknowledgment it has had", () => {
    begin({});
    send();
    transfer.acknowledge(1, 0);
    send();
    transfer.acknowledge(1, 500);
    expect([send(500), transfer.dueMs]).toEqual([[], 1000]);
  });

  it("believes no acknowledgment of what was not sent", () => {
    begin({ window: 4 });
    send();
    for (const number of [5, 6, 65_535]) {
      transfer.acknowledge(number, 700);
      expect([transfer.acknowledged, transfer.sent, transfer.dueMs]).toEqual([0, 4, 1000]);
    }
    expect(transfer.heardMs).toBe(700);
    transfer.acknowledge(4, 0);
    expect(transfer.acknowledged).toBe(4);
  });

  it("goes by the low 16 bits of a block's number, which start over at 0", () => {
    begin({ octets: 512 * 70_000, window: 4 });
    transfer.acknowledged = transfer.sent = 65_534;
    expect(send()).toEqual([65_535, 65_536, 65_537, 65_538]);
    transfer.acknowledge(0, 0);
    expect([transfer.acknowledged, transfer.sent]).toEqual([65_536, 65_536]);
    send();
    transfer.acknowledge(4, 0);
    expect(transfer.acknowledged).toBe(65_540);
    transfer.acknowledge(3, 0);
    expect(transfer.acknowledged).toBe(65_540);
  });

  it("sends no block before the client says that it has heard of its options, with 0", () => {
    begin({ window: 4 });
    transfer.offer = new Uint8Array(1);
    expect(send()).toEqual([]);
    for (const number of [1, 4, 65_535]) transfer.acknowledge(number, 100);
    expect([send(), transfer.dueMs, transfer.heardMs]).toEqual([[], 1000, 100]);
    transfer.acknowledge(0, 200);
    expect([transfer.offer, transfer.dueMs, send(200)]).toEqual([null, 1200, [1, 2, 3, 4]]);
  });

  it("of a text goes on where the acknowledged block has ended", () => {
    begin({ netascii: true });
    send();
    transfer.next.at = 400;
    transfer.next.pending = 11;
    transfer.acknowledge(0, 0);
    expect(transfer.start).toEqual({ at: 0, pending: 0 });
    transfer.acknowledge(1, 0);
    expect(transfer.start).toEqual({ at: 400, pending: 11 });
  });

  it("waits twice as long each time, 8 s at most, and as at first once it was heard", () => {
    begin({ window: 2, nowMs: 100 });
    const waits: number[] = [transfer.dueMs - 100];
    for (let tries = 1; tries <= 5; tries++) {
      send(100);
      transfer.again(100);
      expect([transfer.tries, transfer.sent]).toEqual([tries, 0]);
      waits.push(transfer.dueMs - 100);
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 8000, 8000]);
    send(100);
    transfer.acknowledge(1, 100);
    expect([transfer.tries, transfer.dueMs]).toEqual([0, 1100]);
  });

  it("waits as long as was asked for, each time, across the wrap of the clock", () => {
    begin({ timeoutMs: 3000, nowMs: 0x7fffffff });
    expect(transfer.dueMs).toBe((0x7fffffff + 3000) | 0);
    transfer.again(0);
    transfer.again(0);
    expect(transfer.dueMs).toBe(3000);
  });
});
