/** vhost-user's messages, against a front-end written in the test. */
import { closeSync, openSync, readdirSync, statSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import * as protocol from "../../../src/host/link/vhost-protocol.ts";
import { native } from "../../../src/host/native/native.ts";
import { sampleFrame } from "../../support/link-rig.ts";
import {
  ALL_FEATURES,
  calls,
  GUEST_BASE,
  MEMORY_OCTETS,
  USER_BASE,
  words,
} from "../../support/vhost-front-end.ts";
import { VhostRig } from "../../support/vhost-rig.ts";

const { NEED_REPLY, VERSION } = protocol;
const ASKING = VERSION | NEED_REPLY;

const rigs: VhostRig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function opened(options: ConstructorParameters<typeof VhostRig>[0] = {}): VhostRig {
  const rig = new VhostRig(options);
  rigs.push(rig);
  return rig;
}

/** Both ways once. */
function expectServed(rig: VhostRig, seed = 1, at?: number): void {
  const { front } = rig;
  const octets = new Uint8Array(Buffer.concat([new Uint8Array(12), sampleFrame(64, seed)]));
  front.transmit.post([at === undefined ? { octets } : { octets, at }]);
  expect(rig.readAll(rig.attachedLink).frames).toEqual([sampleFrame(64, seed)]);
  front.receive.post([{ room: 2048 }]);
  rig.queueFrame(sampleFrame(80, seed), 54);
  expect(rig.attachedLink.transmit(rig.queue)).toBe(1);
  expect(front.receive.takeFrames().map(({ frame }) => frame)).toEqual([sampleFrame(80, seed)]);
  front.transmit.takeUsed();
}

describe("a front-end", () => {
  it("is offered what the device has, and takes what it likes of that", () => {
    const rig = opened();
    const features = rig.front.ask(protocol.GET_FEATURES);
    expect(features & ALL_FEATURES).toBe(ALL_FEATURES);
    expect(features & protocol.DEVICE_MTU).toBe(0n);
    expect(rig.front.ask(protocol.GET_PROTOCOL_FEATURES)).toBe(0x803an);
    expect(rig.front.ask(protocol.GET_QUEUE_NUM)).toBe(1n);
    expect(rig.front.ask(protocol.GET_MAX_MEM_SLOTS)).toBe(32n);
    const plain = opened({ offload: false }).front.ask(protocol.GET_FEATURES);
    expect(plain & protocol.CSUM).toBe(0n);
    expect(opened({ mtu: 9000 }).front.ask(protocol.GET_FEATURES) & protocol.DEVICE_MTU).not.toBe(0n);
  });

  it("is served once both rings run, whichever came last", () => {
    const rig = opened();
    rig.front.negotiate();
    rig.front.startRing(1);
    rig.front.startRing(0);
    expect(rig.link).toBeNull();
    rig.front.shareMemory();
    expectServed(rig);
    const another = opened();
    another.front.negotiate();
    another.front.shareMemory();
    another.front.startRing(0);
    expect(another.link).toBeNull();
    another.front.startRing(1);
    expectServed(another);
  });

  it("that starts its rings without memory is told how to share it", () => {
    const rig = opened();
    rig.front.negotiate();
    rig.front.startRings();
    expect(rig.link).toBeNull();
    expect(rig.log.lines).toEqual([expect.stringMatching(/memory-backend-memfd,id=mem,size=SIZE,share=on/)]);
    rig.front.shareMemory();
    expectServed(rig);
  });

  it("that agrees on no protocol features has its rings enabled from the start", () => {
    const rig = opened();
    rig.front.start(ALL_FEATURES & ~protocol.PROTOCOL_FEATURES);
    expectServed(rig);
  });

  it("whose guest reboots gets the next link, and goes on where it stopped", () => {
    const rig = opened();
    rig.front.start();
    expectServed(rig);
    expectServed(rig, 2);
    expect(rig.front.stopRing(0)).toBe(2);
    expect(rig.link).toBeNull();
    expect(rig.front.stopRing(1)).toBe(2);
    expect(rig.detached).toEqual(["test: its driver has stopped"]);
    rig.front.startRings();
    expectServed(rig, 3);
    expect(rig.attached).toBe(2);
    expect(rig.ended).toEqual([]);
  });

  it("gives what is asked for with REPLY_ACK, and nothing else", () => {
    const rig = opened();
    const { front } = rig;
    front.negotiate();
    front.send(protocol.SET_VRING_NUM, words(0, 256));
    expect(front.answer()).toBeUndefined();
    expect(front.ask(protocol.SET_VRING_NUM, words(0, 256), [], ASKING)).toBe(0n);
    expect(front.ask(protocol.NET_SET_MTU, words(1500n), [], ASKING)).toBe(0n);
    expect(front.ask(protocol.NET_SET_MTU, words(1501n), [], ASKING)).toBe(1n);
    front.send(protocol.GET_FEATURES, undefined, [], ASKING);
    expect(front.answer()).toMatchObject({ request: protocol.GET_FEATURES, flags: VERSION | protocol.REPLY });
    expect(front.answer()).toBeUndefined();
    expect(rig.log.lines).toEqual(["warn: test: an MTU of 1501, over the 1500 of --mtu"]);
  });

  it("hears of requests that are unknown, and goes on", () => {
    const rig = opened();
    for (const request of [0, 29, 31, 35, 39, 40, 41, 255, 0xffff_ffff]) {
      expect(rig.front.ask(request, words(0n), [], ASKING)).toBe(1n);
      rig.front.send(request, words(0n));
      expect(rig.front.answer()).toBeUndefined();
    }
    expect(rig.counters.value("vhost-unknown-request")).toBe(18);
    expect(rig.log.lines).toHaveLength(9);
    rig.front.start();
    expectServed(rig);
  });
});

describe("memory", () => {
  it("may change under running rings", () => {
    const rig = opened({ regions: 2 });
    rig.front.start();
    expectServed(rig);
    rig.front.transmit.post([{ octets: new Uint8Array(100) }]);
    rig.front.shareMemory();
    expect(rig.attached).toBe(1);
    expect(rig.pokes).toBe(1);
    expect(rig.readAll(rig.attachedLink).frames).toHaveLength(1);
    rig.front.transmit.takeUsed();
    expectServed(rig, 2);
  });

  it("may come and go by slots", () => {
    const rig = opened({ regions: 2 });
    const { front } = rig;
    front.negotiate();
    const [low, high] = front.regionList().map((region) => words(0n, ...region));
    expect(front.ask(protocol.ADD_MEM_REG, low, [front.memoryFd], ASKING)).toBe(0n);
    front.startRings();
    expectServed(rig, 1, 4_000_000);
    const far = {
      octets: new Uint8Array(Buffer.concat([new Uint8Array(12), sampleFrame(64, 7)])),
      at: MEMORY_OCTETS / 2,
    };
    expect(front.ask(protocol.ADD_MEM_REG, high, [front.memoryFd], ASKING)).toBe(0n);
    front.transmit.post([far]);
    expect(rig.readAll(rig.attachedLink).frames).toEqual([sampleFrame(64, 7)]);
    expect(front.ask(protocol.REM_MEM_REG, high, [], ASKING)).toBe(0n);
    expect(front.ask(protocol.REM_MEM_REG, high, [], ASKING)).toBe(1n);
    rig.front.transmit.takeUsed();
    expectServed(rig, 2, 4_000_000);
  });

  it("that is half a table under running rings is none, and ends the link", () => {
    const rig = opened({ regions: 2 });
    rig.front.start();
    const [whole] = rig.front.regionList();
    const tooLong = words(2, 0, ...whole, GUEST_BASE * 8n, BigInt(MEMORY_OCTETS) + 1n, USER_BASE * 8n, 0n);
    const fds = [rig.front.memoryFd, rig.front.memoryFd];
    expect(rig.front.ask(protocol.SET_MEM_TABLE, tooLong, fds, ASKING)).toBe(1n);
    expect(rig.link === null).toBe(true);
    rig.front.shareMemory();
    expect(rig.attached).toBe(2);
  });

  it.each<[string, (rig: VhostRig) => void, RegExp]>([
    [
      "comes without descriptors",
      ({ front }) => front.send(protocol.SET_MEM_TABLE, words(1, 0, ...front.regionList()[0])),
      /memory-backend-memfd.*share=on/,
    ],
    [
      "is longer than its file",
      ({ front }) =>
        front.send(
          protocol.SET_MEM_TABLE,
          words(1, 0, GUEST_BASE, BigInt(MEMORY_OCTETS) + 1n, USER_BASE, 0n),
          [front.memoryFd],
        ),
      /longer than its file/,
    ],
    [
      "begins beyond its file",
      ({ front }) =>
        front.send(
          protocol.SET_MEM_TABLE,
          words(1, 0, GUEST_BASE, 4096n, USER_BASE, 0xffff_ffff_ffff_f000n),
          [front.memoryFd],
        ),
      /longer than its file/,
    ],
    [
      "is nothing",
      ({ front }) =>
        front.send(protocol.SET_MEM_TABLE, words(1, 0, GUEST_BASE, 0n, USER_BASE, 0n), [front.memoryFd]),
      /longer than its file/,
    ],
    [
      "goes round the end of the guest's addresses",
      ({ front }) =>
        front.send(protocol.SET_MEM_TABLE, words(1, 0, 0xffff_ffff_ffff_f000n, 8192n, USER_BASE, 0n), [
          front.memoryFd,
        ]),
      /region of memory/,
    ],
    [
      "lies over itself",
      ({ front }) =>
        front.send(
          protocol.SET_MEM_TABLE,
          words(2, 0, GUEST_BASE, 8192n, USER_BASE, 0n, GUEST_BASE + 4096n, 8192n, USER_BASE + 8192n, 0n),
          [front.memoryFd, front.memoryFd],
        ),
      /over another region/,
    ],
    [
      "is an eventfd",
      ({ front }) =>
        front.send(protocol.SET_MEM_TABLE, words(1, 0, ...front.regionList()[0]), [front.receive.kick]),
      /no regular file/,
    ],
    [
      "has nine regions",
      ({ front }) => front.send(protocol.SET_MEM_TABLE, words(9, 0, ...new Array<bigint>(36).fill(0n)), []),
      /table of 9 regions/,
    ],
    [
      "has more regions than octets",
      ({ front }) =>
        front.send(protocol.SET_MEM_TABLE, words(2, 0, ...front.regionList()[0]), [front.memoryFd]),
      /table of 2 regions/,
    ],
    [
      "has a negative number of regions",
      ({ front }) => front.send(protocol.SET_MEM_TABLE, words(0x8000_0000, 0)),
      /table of 2147483648 regions/,
    ],
  ])("that %s ends the session with a sentence", (_, act, sentence) => {
    const rig = opened();
    rig.front.negotiate();
    act(rig);
    expect(rig.ended).toEqual([expect.stringMatching(sentence)]);
    expect(rig.front.isClosed).toBe(true);
  });
});

describe("the log of a migration", () => {
  const LOG_OCTETS = 0x40000;

  function logged(): { rig: VhostRig; dirty: () => number[]; fd: number } {
    const rig = opened();
    const { front } = rig;
    front.start(ALL_FEATURES | protocol.LOG_ALL);
    front.setFeatures(front.features & ~protocol.LOG_ALL);
    const fd = calls.memoryFile(LOG_OCTETS, 0);
    const bits = new Uint8Array(calls.map(fd, LOG_OCTETS));
    const dirty = (): number[] => {
      const pages: number[] = [];
      bits.forEach((octet, i) => {
        for (let bit = 0; bit < 8; bit++)
          if (octet & (1 << bit)) pages.push(8 * i + bit - Number(GUEST_BASE >> 12n));
      });
      bits.fill(0);
      return pages;
    };
    return { rig, dirty, fd };
  }

  it("has every page that was written, from the moment it is asked for", () => {
    const { rig, dirty, fd } = logged();
    const { front } = rig;
    expectServed(rig);
    expect(front.ask(protocol.SET_LOG_BASE, words(BigInt(LOG_OCTETS), 0n), [fd])).toBe(0n);
    expectServed(rig, 2);
    expect(dirty()).toEqual([]);
    front.setFeatures(front.features | protocol.LOG_ALL);
    front.setAddresses(0, 1, GUEST_BASE + BigInt(front.receive.usedAt));
    front.setAddresses(1, 1, GUEST_BASE + BigInt(front.transmit.usedAt));
    expect(rig.attached).toBe(1);
    const buffer = 5 * 1024 * 1024;
    front.receive.post([{ room: 2048, at: buffer - 100 }]);
    rig.queueFrame(sampleFrame(80, 3), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(dirty()).toEqual([front.receive.usedAt >> 12, (buffer >> 12) - 1]);
    front.receive.takeUsed();
    front.receive.post([{ room: 2048, at: buffer - 50 }]);
    rig.queueFrame(sampleFrame(80, 4), 54);
    rig.attachedLink.transmit(rig.queue);
    expect(dirty()).toEqual([front.receive.usedAt >> 12, (buffer >> 12) - 1, buffer >> 12]);
    front.transmit.post([{ octets: new Uint8Array(100), at: buffer }]);
    rig.readAll(rig.attachedLink);
    expect(dirty()).toEqual([front.transmit.usedAt >> 12]);
    front.setFeatures(front.features & ~protocol.LOG_ALL);
    front.receive.takeUsed();
    front.transmit.takeUsed();
    expectServed(rig, 5);
    expect(dirty()).toEqual([]);
    native.close(fd);
  });

  it("is not written beyond its end", () => {
    const { rig, fd } = logged();
    const { front } = rig;
    front.ask(protocol.SET_LOG_BASE, words(4096n, BigInt(LOG_OCTETS) - 4096n), [fd]);
    front.setFeatures(front.features | protocol.LOG_ALL);
    expectServed(rig);
    native.close(fd);
  });

  it("that is no file, or too short, ends the session", () => {
    for (const [octets, descriptor] of [
      [BigInt(LOG_OCTETS) + 1n, "log"],
      [4096n, "event"],
    ] as const) {
      const { rig, fd } = logged();
      const sent = descriptor === "log" ? fd : rig.front.receive.kick;
      rig.front.send(protocol.SET_LOG_BASE, words(octets, 0n), [sent]);
      expect(rig.ended).toHaveLength(1);
      expect(rig.front.isClosed).toBe(true);
      native.close(fd);
    }
  });
});

describe("descriptors", () => {
  it.each<[string, () => number]>([
    ["a directory", () => openSync("/", "r")],
    ["a full pipe", () => calls.fullPipe()],
    ["a regular file", () => calls.memoryFile(4096, 0)],
  ])("%s is no kick and no call", (_, open) => {
    for (const request of [protocol.SET_VRING_KICK, protocol.SET_VRING_CALL]) {
      const rig = opened();
      const fd = open();
      // User-Mode Linux is called by such.
      if (request === protocol.SET_VRING_CALL && statSync(`/proc/self/fd/${fd}`).isFIFO()) {
        closeSync(fd);
        continue;
      }
      rig.front.negotiate();
      rig.front.send(request, words(0n), [fd]);
      expect(rig.ended).toEqual(["a kick or call that is no eventfd"]);
      closeSync(fd);
    }
  });

  it("a full pipe is called in vain, and nothing waits for it", () => {
    const rig = opened();
    rig.front.start();
    const pipe = calls.fullPipe();
    rig.front.send(protocol.SET_VRING_CALL, words(0n), [pipe]);
    expectServed(rig);
    closeSync(pipe);
  });

  it("a channel for requests of ours is kept, and closed at the end", () => {
    const rig = opened();
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 3; i++) rig.front.send(protocol.SET_BACKEND_REQ_FD, undefined, [rig.front.memoryFd]);
    expect(readdirSync("/proc/self/fd").length).toBe(before + 1);
    rig.session.close();
    expect(readdirSync("/proc/self/fd").length).toBe(before - 1);
  });

  it("an eventfd that is full is called in vain, and nothing waits for it", () => {
    const rig = opened();
    rig.front.start();
    const full = calls.eventDescriptor(0xffff_ffff_ffff_fffen);
    rig.front.send(protocol.SET_VRING_CALL, words(0n), [full]);
    expectServed(rig);
    native.close(full);
  });

  it("that nobody asked for are closed, and so is everything at the end", () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    const rig = opened();
    const pair = open();
    const some = [openSync("/", "r"), openSync("/", "r"), openSync("/", "r")];
    const before = open();
    for (const request of [0, 1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 17, 18, 19, 20, 36, 39, 1000]) {
      rig.front.send(request, words(0n, 0n, 0n, 0n, 0n), some, ASKING);
      if (rig.ended.length > 0) {
        rig.front.close();
        rig.connect();
        rig.ended.length = 0;
      }
      while (rig.front.answer() !== undefined);
      expect(open()).toBe(before);
    }
    rig.front.start();
    expectServed(rig);
    for (const fd of some) closeSync(fd);
    rig.session.close();
    expect(open()).toBe(pair - 1);
  });

  it("nine in one message end the session, and none of them stays", () => {
    const rig = opened();
    const before = readdirSync("/proc/self/fd").length;
    rig.front.send(protocol.SET_OWNER, undefined, new Array<number>(9).fill(rig.front.memoryFd));
    expect(rig.ended).toEqual(["a message with too many descriptors"]);
    expect(readdirSync("/proc/self/fd").length).toBe(before - 1);
  });
});

describe("messages that are no good", () => {
  it("may be cut anywhere", () => {
    const rig = opened();
    const { front } = rig;
    front.negotiate();
    front.shareMemory();
    front.startRing(1);
    const header = words(protocol.SET_VRING_NUM, ASKING, 8);
    const message = new Uint8Array(Buffer.concat([header, words(0, 128)]));
    for (let cut = 1; cut < message.length; cut++) {
      calls.send(front.socket, message.subarray(0, cut), []);
      rig.session.readable();
      expect(front.answer()).toBeUndefined();
      calls.send(front.socket, message.subarray(cut), []);
      rig.session.readable();
      expect(front.answer()).toMatchObject({ request: protocol.SET_VRING_NUM });
    }
  });

  it("may come many at once", () => {
    const rig = opened();
    const message = words(protocol.GET_QUEUE_NUM, VERSION, 0);
    calls.send(rig.front.socket, new Uint8Array(Buffer.concat(new Array<Uint8Array>(100).fill(message))), []);
    rig.session.readable();
    rig.session.readable();
    let answers = 0;
    while (rig.front.answer() !== undefined) answers++;
    expect(answers).toBe(100);
  });

  it.each<[string, number, Uint8Array, number]>([
    ["no version", protocol.GET_FEATURES, words(), 0],
    ["another version", protocol.GET_FEATURES, words(), 2],
    ["an answer nobody asked for", protocol.GET_FEATURES, words(), VERSION | protocol.REPLY],
    ["too little of its payload", protocol.SET_FEATURES, words(1), VERSION],
    ["too little of an address", protocol.SET_VRING_ADDR, words(0, 0, 0n, 0n, 0n), VERSION],
    [
      "a feature that is not offered",
      protocol.SET_FEATURES,
      words(protocol.VERSION_1 | (1n << 34n)),
      VERSION,
    ],
    ["a protocol feature that is not offered", protocol.SET_PROTOCOL_FEATURES, words(1n), VERSION],
    ["a third ring", protocol.SET_VRING_NUM, words(2, 256), VERSION],
    ["a ring far off", protocol.SET_VRING_BASE, words(0xffff_ffff, 0), VERSION],
    ["a ring of no entries", protocol.SET_VRING_NUM, words(0, 0), VERSION],
    ["a ring of three entries", protocol.SET_VRING_NUM, words(0, 3), VERSION],
    ["a ring of 65536 entries", protocol.SET_VRING_NUM, words(0, 65_536), VERSION],
    ["a ring of 2^31 entries", protocol.SET_VRING_NUM, words(0, 0x8000_0000), VERSION],
    ["an index of 65536", protocol.SET_VRING_BASE, words(0, 65_536), VERSION],
    ["a kick of a third ring", protocol.SET_VRING_KICK, words(2n), VERSION],
    ["a kick without its descriptor", protocol.SET_VRING_KICK, words(0n), VERSION],
    ["a ring without a kick", protocol.SET_VRING_KICK, words(0x100n), VERSION],
    ["a log without its descriptor", protocol.SET_LOG_BASE, words(4096n, 0n), VERSION],
  ])("%s ends the session", (_, request, payload, flags) => {
    const rig = opened();
    rig.front.send(request, payload, [], flags);
    expect(rig.ended).toHaveLength(1);
    expect(rig.ended[0]).not.toBe("");
    expect(rig.front.isClosed).toBe(true);
  });

  it("a payload of over 4096 octets ends the session before it comes", () => {
    for (const size of [4097, 0x7fff_ffff, 0xffff_ffff]) {
      const rig = opened();
      calls.send(rig.front.socket, words(protocol.GET_FEATURES, VERSION, size), []);
      rig.session.readable();
      expect(rig.ended).toHaveLength(1);
    }
  });

  it("a front-end that reads no answers is left", () => {
    const rig = opened();
    for (let i = 0; i < 10_000 && rig.ended.length === 0; i++) rig.front.send(protocol.GET_FEATURES);
    expect(rig.ended).toEqual(["it takes no answers"]);
  });

  it("random ones harm nobody, and the next front-end is served", () => {
    let state = 12345;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 0x1_0000_0000) * below);
    };
    const rig = opened();
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 3000; i++) {
      const { front } = rig;
      if (rig.ended.length > 0) {
        front.close();
        rig.ended.length = 0;
        rig.connect();
        if (random(2) === 0) rig.front.start();
        continue;
      }
      const payload = Uint8Array.from({ length: 4 * random(20) }, () => (random(3) === 0 ? random(256) : 0));
      const descriptors = Array.from(
        { length: random(3) },
        () => [front.memoryFd, front.receive.kick][random(2)],
      );
      front.send(
        random(42),
        payload,
        descriptors,
        random(20) === 0 ? random(256) : random(2) === 0 ? ASKING : VERSION,
      );
      while (front.answer() !== undefined);
      rig.link?.receive(rig.batch);
      rig.tend();
    }
    rig.front.close();
    rig.session.readable();
    rig.connect();
    rig.front.start();
    expectServed(rig);
    // Two eventfds that each session keeps.
    expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before + 4);
  });
});

describe("rings that are no good", () => {
  it.each<[string, (rig: VhostRig, at: (offset: number) => bigint) => void]>([
    ["in no memory", ({ front }) => front.send(protocol.SET_VRING_ADDR, words(0, 0, 0n, 0n, 0n, 0n))],
    [
      "half in memory",
      ({ front }, at) =>
        front.send(protocol.SET_VRING_ADDR, words(0, 0, at(MEMORY_OCTETS - 16), at(0), at(0), 0n)),
    ],
    [
      "at an odd address",
      ({ front }, at) => front.send(protocol.SET_VRING_ADDR, words(0, 0, at(8), at(0), at(0), 0n)),
    ],
    [
      "with an odd used ring",
      ({ front }, at) => front.send(protocol.SET_VRING_ADDR, words(0, 0, at(0), at(2), at(0), 0n)),
    ],
    [
      "with an odd available ring",
      ({ front }, at) => front.send(protocol.SET_VRING_ADDR, words(0, 0, at(0), at(0), at(1), 0n)),
    ],
  ])("%s do not run", (_, act) => {
    const rig = opened();
    rig.front.start();
    act(rig, (offset) => USER_BASE + BigInt(offset));
    expect(rig.link).toBeNull();
    expect(rig.front.isClosed).toBe(true);
  });
});
