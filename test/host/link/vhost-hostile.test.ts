/** Rings as a hostile guest may write them: each ends the link with a sentence, and the next front-end is served. */
import { afterEach, describe, expect, it } from "vitest";
import { LINK_CLOSED } from "../../../src/engine/boundary.ts";
import { RING_INDIRECT_DESC } from "../../../src/host/link/vhost-protocol.ts";
import { sampleFrame } from "../../support/link-rig.ts";
import { INDIRECT, NEXT, WRITE } from "../../support/vhost-driver.ts";
import { ALL_FEATURES, calls, GUEST_BASE, MEMORY_OCTETS } from "../../support/vhost-front-end.ts";
import { VhostRig } from "../../support/vhost-rig.ts";

let rig: VhostRig;
afterEach(() => rig.close());

function expectHonestServed(): void {
  rig.front.close();
  rig.connect();
  rig.front.start();
  const { front } = rig;
  front.transmit.post([{ octets: new Uint8Array(Buffer.concat([new Uint8Array(12), sampleFrame(64, 1)])) }]);
  expect(rig.readAll(rig.attachedLink).frames).toEqual([sampleFrame(64, 1)]);
  front.receive.post([{ room: 2048 }]);
  // The frame that a hostile guest would not take is still there.
  rig.queueFrame(sampleFrame(80, 2), 54);
  rig.attachedLink.transmit(rig.queue);
  expect(front.receive.takeFrames().at(-1)?.frame.length).toBeGreaterThan(0);
}

const FAR = GUEST_BASE + BigInt(MEMORY_OCTETS);
const IN = GUEST_BASE + 4_000_000n;

/** What a guest does to a ring; `flag` is what its entries need for the direction, `wrong` what they must not have. */
type Deed = (ring: VhostRig["front"]["receive"], flag: number, wrong: number) => void;

const one = (
  ring: VhostRig["front"]["receive"],
  address: bigint,
  length: number,
  flags: number,
  next = 0,
): void => {
  ring.writeEntry(ring.tableAt, 0, address, length, flags, next);
  ring.makeAvailable(0);
};

const DEEDS: readonly [string, Deed][] = [
  ["more available than the ring has", (ring) => ring.setAvailableIndex(257)],
  ["available far ahead", (ring) => ring.setAvailableIndex(0xffff)],
  ["a head beyond the ring", (ring) => ring.makeAvailable(256)],
  ["a head far beyond the ring", (ring) => ring.makeAvailable(0xffff)],
  ["a buffer beyond the memory", (ring, flag) => one(ring, FAR, 2048, flag)],
  ["a buffer before the memory", (ring, flag) => one(ring, 0n, 2048, flag)],
  ["a buffer that ends beyond the memory", (ring, flag) => one(ring, FAR - 2047n, 2048, flag)],
  ["a buffer round the end of addresses", (ring, flag) => one(ring, 0xffff_ffff_ffff_ff00n, 2048, flag)],
  ["a buffer of the other direction", (ring, _flag, wrong) => one(ring, IN, 2048, wrong)],
  [
    "a second piece of the other direction",
    (ring, flag, wrong) => {
      ring.writeEntry(ring.tableAt, 1, IN, 10, wrong, 0);
      one(ring, IN, 10, flag | NEXT, 1);
    },
  ],
  ["a chain that is a circle", (ring, flag) => one(ring, IN, 0, flag | NEXT, 0)],
  ["a chain that leaves the ring", (ring, flag) => one(ring, IN, 10, flag | NEXT, 256)],
  [
    "a long circle",
    (ring, flag) => {
      for (let i = 1; i < 256; i++) ring.writeEntry(ring.tableAt, i, IN, 1, flag | NEXT, (i + 1) & 255);
      one(ring, IN, 0, flag | NEXT, 1);
    },
  ],
  [
    "more pieces than a frame has",
    (ring, flag) => {
      for (let i = 1; i < 256; i++)
        ring.writeEntry(ring.tableAt, i, IN, 0, flag | (i < 255 ? NEXT : 0), i + 1);
      ring.writeEntry(ring.tableAt, 255, FAR, 1, flag, 0);
      one(ring, IN, 0, flag | NEXT, 1);
    },
  ],
  ["an indirect table beyond the memory", (ring) => one(ring, FAR, 64, INDIRECT)],
  ["an indirect table of no entries", (ring) => one(ring, IN, 0, INDIRECT)],
  ["an indirect table of half an entry", (ring) => one(ring, IN, 24, INDIRECT)],
  ["an indirect table of 65 entries", (ring) => one(ring, IN, 65 * 16, INDIRECT)],
  ["an indirect table of 4 GiB", (ring) => one(ring, IN, 0xffff_fff0, INDIRECT)],
  [
    "an indirect table with a next",
    (ring, flag) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, IN + 4096n, 2048, flag, 0);
      one(ring, IN, 16, INDIRECT | NEXT, 1);
    },
  ],
  [
    "an indirect table in an indirect table",
    (ring) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, IN, 16, INDIRECT, 0);
      one(ring, IN, 16, INDIRECT);
    },
  ],
  [
    "an indirect circle",
    (ring, flag) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, IN, 0, flag | NEXT, 0);
      one(ring, IN, 16, INDIRECT);
    },
  ],
  [
    "an indirect next beyond its table",
    (ring, flag) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, IN, 0, flag | NEXT, 1);
      one(ring, IN, 16, INDIRECT);
    },
  ],
  [
    "an indirect buffer beyond the memory",
    (ring, flag) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, FAR, 2048, flag, 0);
      one(ring, IN, 16, INDIRECT);
    },
  ],
  [
    "an indirect buffer of the other direction",
    (ring, _flag, wrong) => {
      ring.writeEntry(Number(IN - GUEST_BASE), 0, IN, 2048, wrong, 0);
      one(ring, IN, 16, INDIRECT);
    },
  ],
];

describe("from the guest", () => {
  const FRAMES: readonly [string, Deed][] = [
    ["a frame of 65566 octets", (ring) => one(ring, IN, 65_566, 0)],
    ["a frame of 4 GiB", (ring) => one(ring, IN, 0xffff_ffff, 0)],
    [
      "a frame of 65566 octets in two pieces",
      (ring) => {
        ring.writeEntry(ring.tableAt, 1, IN, 65_560, 0, 0);
        one(ring, IN, 6, NEXT, 1);
      },
    ],
  ];
  it.each([...DEEDS, ...FRAMES])("%s", (_, deed) => {
    rig = new VhostRig();
    rig.front.start();
    deed(rig.front.transmit, 0, WRITE);
    expect(rig.attachedLink.receive(rig.batch)).toBe(LINK_CLOSED);
    expect(rig.tend()).toBe("test: a ring of the guest makes no sense");
    expect(rig.counters.value("vhost-bad-ring")).toBe(1);
    expectHonestServed();
  });

  it("an indirect table from a driver that has not agreed on them", () => {
    rig = new VhostRig();
    rig.front.start(ALL_FEATURES & ~RING_INDIRECT_DESC);
    rig.front.transmit.post([{ octets: new Uint8Array(100) }], true);
    expect(rig.attachedLink.receive(rig.batch)).toBe(LINK_CLOSED);
    rig.tend();
    expectHonestServed();
  });
});

describe("to the guest", () => {
  const BUFFERS: readonly [string, Deed][] = [
    [
      "buffers of nothing, over and over",
      (ring) => {
        ring.writeEntry(ring.tableAt, 0, IN, 0, WRITE, 0);
        for (let i = 0; i < 256; i++) ring.makeAvailable(0);
      },
    ],
  ];
  it.each([...DEEDS, ...BUFFERS])("%s", (name, deed) => {
    rig = new VhostRig();
    rig.front.start();
    deed(rig.front.receive, WRITE, 0);
    rig.queueFrame(sampleFrame(64, 1), 54);
    const result = rig.attachedLink.transmit(rig.queue);
    if (name.endsWith("over and over")) {
      // All that the ring has, and still not enough: the guest is waited for.
      expect(result).toBe(0);
      expect(rig.attachedLink.wantsWritable).toBe(true);
      rig.front.close();
      rig.session.readable();
    } else {
      expect(result).toBe(LINK_CLOSED);
      expect(rig.tend()).toBe("test: a ring of the guest makes no sense");
    }
    expectHonestServed();
  });

  it("buffers of 4 GiB are used as far as a frame goes", () => {
    rig = new VhostRig();
    rig.front.start();
    one(rig.front.receive, GUEST_BASE + BigInt(8 * 1024 * 1024), 0xffff_ffff, WRITE);
    rig.queueFrame(sampleFrame(64, 1), 54);
    expect(rig.attachedLink.transmit(rig.queue)).toBe(1);
  });
});

describe("while it is being looked at", () => {
  it("ring memory that changes all the time harms nobody", () => {
    rig = new VhostRig();
    for (let round = 0; round < 30; round++) {
      const { front } = rig;
      front.start();
      expect(calls.scribble(front.memoryFd, 0, 2 * 1024 * 1024, 40, 77 + round)).toBe(0);
      const end = performance.now() + 40;
      while (performance.now() < end && rig.link !== null) {
        front.transmit.post([{ octets: new Uint8Array(100) }]);
        front.receive.post([{ room: 2048 }]);
        rig.link.receive(rig.batch);
        rig.queueFrame(sampleFrame(64, 1), 54);
        rig.link.resume();
        rig.link.transmit(rig.queue);
        rig.queue.taken(rig.queue.length);
        rig.tend();
      }
      front.close();
      rig.session.readable();
      rig.connect();
    }
    expectHonestServed();
  });
});
