import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ReplayLink, readReplay } from "../../../src/host/link/replay.ts";
import { LinkRig, sampleFrame } from "../../support/link-rig.ts";
import { writeCapture } from "../../support/made-capture.ts";
import { recordedGuest } from "../../support/recorded-guest.ts";

const RECORDED = fileURLToPath(
  new URL("../../fixtures/linux-6.1-guest-behind-libslirp.pcap", import.meta.url),
);
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0, 2, 2);

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-replay-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe("reading", () => {
  it("takes the frames of whoever sent the first one", () => {
    const fromGuest = recordedGuest().filter((frame) => frame.fromGuest);
    const frames = readReplay(RECORDED);
    expect(frames).toHaveLength(fromGuest.length);
    expect(frames.every(({ octets }, i) => Buffer.compare(octets, fromGuest[i].octets) === 0)).toBe(true);
    expect(frames[0].atMs).toBe(0);
    expect(frames.every(({ atMs }, i) => i === 0 || atMs >= frames[i - 1].atMs)).toBe(true);
  });

  it("takes the frames of the MAC it is given", () => {
    const others = recordedGuest().filter(({ octets }) =>
      GATEWAY_MAC.every((octet, i) => octets[6 + i] === octet),
    );
    expect(others.length).toBeGreaterThan(0);
    expect(readReplay(RECORDED, GATEWAY_MAC)).toHaveLength(others.length);
  });

  it("says why a file cannot be replayed", () => {
    const path = join(directory, "x");
    expect(() => readReplay(path)).toThrow(`replay ${path}: ENOENT`);
    writeFileSync(path, "not a capture at all");
    expect(() => readReplay(path)).toThrow("neither pcap nor pcapng");
    expect(() => readReplay(RECORDED, Uint8Array.of(2, 0, 0, 0, 0, 9))).toThrow(
      "no frame of the guest in it",
    );
    const raw = readFileSync(writeCapture(path, [sampleFrame(60, 1)], [0]));
    raw.writeUInt32LE(101, 20);
    writeFileSync(path, raw);
    expect(() => readReplay(path)).toThrow("found link type 101");
  });
});

describe("the link", () => {
  it("gives frames only when their time has come, aligned, and counts those over the MTU", () => {
    const rig = new LinkRig();
    const sizes = [60, 1514, 1519, 61];
    const frames = sizes.map((size, i) => ({ atMs: i * 100, octets: sampleFrame(size, i) }));
    const link = new ReplayLink("test", frames, rig);
    expect(link.receive(rig.batch)).toBe(0);
    expect(link.release(0)).toBe(100);
    expect(link.receive(rig.batch)).toBe(1);
    expect(link.release(250)).toBe(50);
    expect(link.receive(rig.batch)).toBe(1);
    expect(rig.batch.oversized).toBe(1);
    expect(rig.frames()).toEqual([frames[1].octets]);
    expect((rig.batch.at[0] + 14) % 4).toBe(0);
    expect(link.release(1000)).toBe(-1);
    expect(rig.readAll(link).frames).toEqual([frames[3].octets]);
    expect(link.left).toBe(0);
  });

  it("gives more frames than its window holds", () => {
    const rig = new LinkRig({ mtu: 9000 });
    const frames = Array.from({ length: 300 }, (_, i) => ({
      atMs: 0,
      octets: sampleFrame(9000 + (i % 14), i),
    }));
    const link = new ReplayLink("test", frames, rig);
    link.release(0);
    const seen = rig.readAll(link).frames;
    expect(seen).toHaveLength(300);
    seen.forEach((frame, i) => {
      expect(Buffer.compare(frame, frames[i].octets)).toBe(0);
    });
  });
});
