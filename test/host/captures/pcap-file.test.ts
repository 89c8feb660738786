import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { transmitShown } from "../../../src/engine/link/tapped.ts";
import { LINKTYPE_ETHERNET, readCapture } from "../../../src/engine/wire/pcap.ts";
import { CaptureFile } from "../../../src/host/captures/pcap-file.ts";
import { QemuStreamLink } from "../../../src/host/link/qemu-stream.ts";
import { ReplayLink } from "../../../src/host/link/replay.ts";
import { native } from "../../../src/host/native/native.ts";
import { LinkRig, sampleFrame, until } from "../../support/link-rig.ts";
import { needs } from "../../support/requirements.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-capture-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const path = (): string => join(directory, "guest.pcap");

const packets = (): ReturnType<typeof readCapture> => readCapture(new Uint8Array(readFileSync(path())));

it("records both ways, super-frames whole, with the time of day", () => {
  const rig = new LinkRig();
  const from = [sampleFrame(60, 1), sampleFrame(1514, 2)];
  const to = [sampleFrame(42, 3), sampleFrame(60_000, 4)];
  const frames = from.map((octets) => ({ atMs: 0, octets }));
  const inner = new ReplayLink("test", frames, rig);
  const file = CaptureFile.open(path(), rig.arena.octets, rig.log);
  inner.release(0);
  expect(inner.receive(rig.batch)).toBe(2);
  for (let i = 0; i < 2; i++) file.arriving(rig.batch.at[i], rig.batch.length[i]);
  for (const frame of to) rig.queueFrame(frame, 42);
  expect(transmitShown(inner, rig.queue, file)).toBe(2);
  const before = Date.now() / 1000;
  file.close();
  const read = [...packets()];
  expect(read.map(({ octets }) => octets)).toEqual([...from, ...to]);
  expect(read.every(({ linkType }) => linkType === LINKTYPE_ETHERNET)).toBe(true);
  expect(read.every(({ time }) => Math.abs(time - before) < 60)).toBe(true);
  expect(statSync(path()).mode & 0o777).toBe(0o600);
});

it("records what the link took, not what it left in the queue", () => {
  const rig = new LinkRig();
  const [ours, theirs] = native.socketPair("stream");
  const file = CaptureFile.open(path(), rig.arena.octets, rig.log);
  const link = new QemuStreamLink(ours, "test", rig);
  native.setOption(ours, 1, 7, 1);
  for (let i = 0; i < 300; i++) rig.queueFrame(sampleFrame(1514, i), 54);
  const taken = transmitShown(link, rig.queue, file);
  expect(taken).toBeLessThan(300);
  expect(link.wantsWritable).toBe(true);
  file.close();
  expect([...packets()]).toHaveLength(taken);
  link.close();
  native.close(theirs);
});

it("holds more than its buffer, and writes without being asked", async () => {
  const rig = new LinkRig();
  const file = CaptureFile.open(path(), rig.arena.octets, rig.log);
  const frame = sampleFrame(60_000, 1);
  rig.arena.octets.set(frame, rig.arena.largeChunksAt);
  for (let i = 0; i < 20; i++) file.arriving(rig.arena.largeChunksAt, frame.length);
  await until(() => [...packets()].length === 20, "all records on disk");
  file.close();
});

it("leaves a file that tshark reads to the end when the process is killed", async (context) => {
  const built = fileURLToPath(new URL("../../../dist/src/host/captures/pcap-file.js", import.meta.url));
  needs(context, { commands: ["tshark"], files: [built] });
  const source = `
    const { CaptureFile } = await import(${JSON.stringify(built)});
    const octets = new Uint8Array(65536).map((_, i) => i * 7);
    octets.set([0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x88, 0xb5]);
    const file = CaptureFile.open(${JSON.stringify(path())}, octets, console);
    let n = 0;
    const feed = () => {
      for (let i = 0; i < 50; i++) file.arriving(0, 60 + (n++ * 997) % 60000);
      setImmediate(feed);
    };
    feed();
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: "inherit" });
  const size = (): number => statSync(path(), { throwIfNoEntry: false })?.size ?? 0;
  await until(() => size() > 2_000_000, "a capture");
  child.kill("SIGKILL");
  await once(child, "exit");
  const result = spawnSync("tshark", ["-r", path(), "-T", "fields", "-e", "frame.len"], { encoding: "utf8" });
  const lengths = result.stdout.trim().split("\n").map(Number);
  expect(lengths.every((length, i) => length === 60 + ((i * 997) % 60_000))).toBe(true);
  // The kill may have met a write half-way; then the last record is cut, and nothing else.
  const whole = 24 + lengths.reduce((sum, length) => sum + 16 + length, 0);
  expect(size() - whole).toBeLessThan(16 + 60_060);
  if (size() === whole) expect(result.status).toBe(0);
  else expect(result.stderr).toContain("cut short in the middle of a packet");
});

it("stops recording with one warning when the disk is full", () => {
  const rig = new LinkRig();
  symlinkSync("/dev/full", path());
  const file = CaptureFile.open(path(), rig.arena.octets, rig.log);
  const frame = sampleFrame(60_000, 1);
  rig.arena.octets.set(frame, rig.arena.largeChunksAt);
  for (let i = 0; i < 50; i++) file.arriving(rig.arena.largeChunksAt, frame.length);
  file.close();
  expect(rig.log.lines).toHaveLength(1);
  expect(rig.log.lines[0]).toMatch(/^warn: pcap .*ENOSPC.*recording stops, the guest is served on$/);
});

it("cuts off the record that did not fit", (context) => {
  needs(context, { root: true, commands: ["mount", "umount"] });
  const rig = new LinkRig();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1M", "sluice-test", directory]);
  expect(mounted.status).toBe(0);
  try {
    const file = CaptureFile.open(path(), rig.arena.octets, rig.log);
    const frame = sampleFrame(60_000, 1);
    rig.arena.octets.set(frame, rig.arena.largeChunksAt);
    for (let i = 0; i < 50; i++) file.arriving(rig.arena.largeChunksAt, frame.length);
    file.close();
    expect(rig.log.lines).toHaveLength(1);
    const read = [...packets()];
    // Several records are written at once; those that fit are kept.
    expect(read.length).toBe(Math.floor((2 ** 20 - 24) / (16 + frame.length)));
    expect(statSync(path()).size).toBe(24 + read.length * (16 + frame.length));
  } finally {
    spawnSync("umount", [directory]);
  }
});

it("tells why a file cannot be made", () => {
  const rig = new LinkRig();
  const nowhere = join(directory, "no", "such.pcap");
  expect(() => CaptureFile.open(nowhere, rig.arena.octets, rig.log)).toThrow(`pcap ${nowhere}: ENOENT`);
});
