/** Captures over a core that is played: which frames, which words, which bounds. */
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EngineCore } from "../../../src/engine/api.ts";
import type { FrameTap } from "../../../src/engine/boundary.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import { dropReason, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../../src/engine/network/reassembly.ts";
import { readCapture } from "../../../src/engine/wire/pcap.ts";
import {
  CAPTURES_MAX,
  type CaptureSpec,
  everything,
  OWN_ID,
} from "../../../src/host/captures/capture-spec.ts";
import { Captures } from "../../../src/host/captures/captures.ts";
import { CaptureFile } from "../../../src/host/captures/pcap-file.ts";
import { native } from "../../../src/host/native/native.ts";
import { LinkRig, until } from "../../support/link-rig.ts";

const REFUSED = dropReason("destination-refused");
const arena = new Arena(REASSEMBLY_REGION_OCTETS);
let directory = "";
let tap: FrameTap | null = null;
let captures: Captures;

beforeEach(async () => {
  // What the captures before left for later is done.
  await new Promise(setImmediate);
  directory = mkdtempSync(join(tmpdir(), "sluice-captures-"));
  tap = null;
  const core = {
    setTap: (watcher: FrameTap | null) => {
      tap = watcher;
    },
    record: () => ({ answered: null }),
    // Every remote port is a flow of its own.
    flowOf: ({ remotePort }: { remotePort: number }) => Math.max(remotePort, 0),
  } as unknown as EngineCore;
  captures = new Captures({ core, arena, linkName: () => "test" });
});
afterEach(() => {
  captures.close();
  rmSync(directory, { recursive: true });
});

const path = (name: string): string => join(directory, name);
const read = (name: string) => [...readCapture(new Uint8Array(readFileSync(path(name))))];

function start(id: number, spec: Partial<CaptureSpec> = {}): string {
  captures.start(id, openSync(path(`${id}`), "w"), { ...everything(), ...spec });
  return `${id}`;
}

/** A frame of the guest's, to a UDP port. */
function frame(port: number, octets = 60): Uint8Array {
  const made = new Uint8Array(octets);
  const view = new DataView(made.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint8(23, 17);
  view.setUint32(26, 0x0a00020f);
  view.setUint32(30, 0xcb007107);
  view.setUint16(34, 5000);
  view.setUint16(36, port);
  return made;
}

function fromGuest(octets: Uint8Array, reason = HANDLED): void {
  arena.octets.set(octets, arena.rxWindowAt);
  tap?.arriving(arena.rxWindowAt, octets.length);
  // Whoever handles it may write over it.
  arena.octets.fill(0xff, arena.rxWindowAt, arena.rxWindowAt + octets.length);
  tap?.arrived(reason);
}

const matchPort = (remotePort: number) => ({
  protocol: 17,
  guest: null,
  guestPort: 0,
  remote: [0, 0, 0xffff, 0xcb007107 | 0],
  remotePort,
  eitherEnd: false,
});

describe("captures", () => {
  it("are off the path before the first and after the last", async () => {
    expect(tap).toBeNull();
    start(1);
    start(2);
    expect(tap).not.toBeNull();
    captures.stop(1);
    fromGuest(frame(1));
    expect(captures.stop(2)).toMatchObject({ id: 2, frames: 1, ended: "stopped" });
    await until(() => tap === null, "nobody watches");
    expect(captures.stop(2)).toBeUndefined();
  });

  it("have a plain file beside them, which goes on when they have ended", async () => {
    const { log } = new LinkRig();
    captures.record(CaptureFile.open(path("plain"), arena.octets, log));
    expect(tap).not.toBeNull();
    fromGuest(frame(1, 100));
    start(1, { matches: [matchPort(53)] });
    fromGuest(frame(53));
    arena.octets.set(frame(3), arena.rxWindowAt);
    tap?.sent(arena.rxWindowAt, 42, arena.rxWindowAt + 42, 18);
    expect(captures.list()).toMatchObject([{ id: 1, frames: 1 }]);
    captures.stop(1);
    await new Promise(setImmediate);
    fromGuest(frame(4), REFUSED);
    captures.close();
    expect(read("plain").map(({ octets }) => octets)).toEqual([frame(1, 100), frame(53), frame(3), frame(4)]);
  });

  it("hold frames as they came, by their filters", () => {
    start(1, { matches: [matchPort(53)] });
    start(2, { drops: true });
    start(3, { snap: 64 });
    fromGuest(frame(53, 200));
    fromGuest(frame(80), REFUSED);
    fromGuest(Uint8Array.of(1, 2, 3), dropReason("frame-truncated"));
    for (const id of [1, 2, 3]) captures.stop(id);
    expect(read("1").map(({ octets }) => octets)).toEqual([frame(53, 200)]);
    expect(read("2").map(({ octets }) => octets)).toEqual([frame(80), Uint8Array.of(1, 2, 3)]);
    expect(read("3").map(({ octets, originalLength }) => [octets.length, originalLength])).toEqual([
      [64, 200],
      [60, 60],
      [3, 3],
    ]);
    const text = readFileSync(path("2"), "latin1");
    expect(text.match(/dropped: [a-z-]+/g)).toEqual([
      "dropped: destination-refused",
      "dropped: frame-truncated",
    ]);
  });

  it("hold what leaves, in two pieces, also where it leaves while a frame is handled", () => {
    start(1);
    const out = frame(7, 300);
    arena.octets.set(frame(53), arena.rxWindowAt);
    arena.octets.set(out, arena.scratchAt);
    tap?.arriving(arena.rxWindowAt, 60);
    tap?.sent(arena.scratchAt, 14, arena.scratchAt + 14, 286);
    tap?.arrived(HANDLED);
    captures.stop(1);
    expect(read("1").map(({ octets }) => octets)).toEqual([out, frame(53)]);
  });

  it("end with frames, octets or seconds, and stay to be looked at", async () => {
    start(1, { frames: 2 });
    start(2, { octets: 4096 });
    start(3, { seconds: 1 });
    for (let i = 0; i < 40; i++) fromGuest(frame(i + 1, 1000));
    const [byFrames, byOctets] = captures.list();
    expect(byFrames).toMatchObject({ frames: 2, ended: "it has the frames it was to have" });
    expect(byOctets).toMatchObject({ frames: 3, ended: "it has the octets it was to have" });
    expect(readFileSync(path("2")).length).toBe(byOctets?.octets);
    expect(byOctets?.octets).toBeLessThanOrEqual(4096);
    await until(() => captures.list()[2]?.ended === "its time is up", "its time is up");
    await until(() => tap === null, "off the path");
  });

  it.each([{ drops: true, seconds: 1 }, { frames: 1 }, { octets: 4096 }])(
    "are off the path when they have ended by themselves: %o",
    async (spec) => {
      start(1, spec);
      for (let i = 0; i < 9; i++) fromGuest(frame(i + 1, 1000));
      await until(() => tap === null, "off the path");
      expect(captures.list()[0]?.ended).not.toBeNull();
    },
  );

  it("are off the path when they cannot be written, from their first octet or later", async () => {
    captures.start(1, openSync("/dev/full", "w"), everything());
    await until(() => tap === null, "off the path");
    const [ours, theirs] = native.socketPair("stream");
    captures.start(2, ours, everything());
    expect(tap).not.toBeNull();
    closeSync(theirs);
    fromGuest(frame(1));
    await until(() => tap === null, "off the path");
    expect(captures.list().map(({ ended }) => ended)).toEqual([
      expect.stringContaining("ENOSPC"),
      expect.stringContaining("EPIPE"),
    ]);
  });

  it("have a known name before the first frame that it is about, and room for frames beside a thousand names", () => {
    const names = Array.from({ length: 1024 }, (_, i) => ({
      address: [0, 0, 0xffff, (0xcb007107 + i) | 0],
      name: `name-${i}.example`,
    }));
    start(1, { octets: 16_384, names });
    start(2, { octets: 16_384, names, drops: true });
    for (let i = 0; i < 3; i++) fromGuest(frame(80, 1000));
    for (let i = 0; i < 3; i++) fromGuest(frame(0, 1000), REFUSED);
    for (const id of [1, 2]) {
      captures.stop(id);
      const text = readFileSync(path(`${id}`), "latin1");
      expect(read(`${id}`)).toHaveLength(id === 1 ? 6 : 3);
      // Once as a name, and where the flow is told.
      expect(text.match(/name-\d+\.example/g)).toEqual(new Array(id === 1 ? 2 : 1).fill("name-0.example"));
    }
  });

  it("are so many, and no more", () => {
    for (let id = 1; id <= CAPTURES_MAX; id++) start(id);
    expect(() => start(99)).toThrow("captures already");
    captures.stop(4);
    start(100);
  });

  it("are as many beside the one that was there from the start, which is nobody else's", () => {
    start(OWN_ID);
    for (let id = 1; id <= CAPTURES_MAX; id++) start(id);
    expect(() => start(99)).toThrow("captures already");
    expect(captures.list().map(({ id }) => id)).toEqual(
      Array.from({ length: CAPTURES_MAX }, (_, i) => i + 1),
    );
    expect(captures.stop(OWN_ID)).toBeUndefined();
    fromGuest(frame(1));
    captures.close();
    expect(read(`${OWN_ID}`)).toHaveLength(1);
  });

  it("lose what a slow reader has no room for, and say how much", () => {
    const [ours, theirs] = native.socketPair("stream");
    native.setNonBlocking(ours);
    captures.start(1, ours, everything());
    for (let i = 0; i < 400; i++) fromGuest(frame(i + 1, 60_000));
    const [state] = captures.list();
    expect(state?.frames).toBeGreaterThan(3);
    expect(state?.lost).toBe(400 - (state?.frames ?? 0));
    const chunks: Buffer[] = [];
    native.setNonBlocking(theirs);
    const drain = (): void => {
      const octets = Buffer.alloc(1_048_576);
      try {
        for (let got = readSync(theirs, octets); got > 0; got = readSync(theirs, octets))
          chunks.push(Buffer.from(octets.subarray(0, got)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      }
    };
    drain();
    fromGuest(frame(500, 60_000));
    drain();
    captures.stop(1);
    drain();
    closeSync(theirs);
    // Whole blocks all the way: the reader's view of it ends with the last frame.
    const packets = [...readCapture(new Uint8Array(Buffer.concat(chunks)))];
    expect(packets.length).toBe((state?.frames ?? 0) + 1);
    expect(packets.at(-1)?.octets).toEqual(frame(500, 60_000));
  });
});
