/** A QEMU that is killed in the middle of a frame, speaks something else, or stops reading: the next one is served. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { arpRequest } from "../support/arp-core.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { type Running, sluice, until } from "../support/program.ts";
import { StreamPeer } from "../support/stream-peer.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-fault-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let running: Running;
let path: string;
let count = 0;

beforeEach(async () => {
  path = join(directory, `${count++}.sock`);
  running = sluice(["run", "--qemu-listen", `unix:${path}`]);
  await running.says(/ready/);
});
afterEach(async () => {
  running.child.kill("SIGTERM");
  expect((await running.ended).status).toBe(0);
});

async function expectServed(): Promise<void> {
  const peer = await StreamPeer.connect(path);
  peer.send(arpRequest());
  await until(() => peer.frames.length === 1, "an answer to ARP", 60_000);
  expect(peer.frames[0].subarray(0, 6)).toEqual(Buffer.from(arpRequest().subarray(6, 12)));
  await peer.vanish();
}

describe("a QEMU that", () => {
  it("is killed in the middle of a frame, or of its length, is told of and followed by the next", async () => {
    const arp = arpRequest();
    const cuts = [0, 1, 13, arp.length - 1];
    for (const cut of cuts) {
      const peer = await StreamPeer.connect(path);
      peer.send(arp);
      await until(() => peer.frames.length === 1, "an answer to ARP", 60_000);
      peer.sendStart(arp.length, arp.subarray(0, cut));
      await peer.vanish();
      await running.says(new RegExp(`in the middle of a frame .its first ${4 + cut} octets are lost`));
    }
    const half = await StreamPeer.connect(path);
    half.socket.write(Buffer.of(0, 0));
    await half.vanish();
    await running.says(/its first 2 octets are lost/);
    await expectServed();
    const { counters } = await reportOf(running);
    expect(counters["arp-replies"]).toBe(cuts.length + 1);
  });

  it("sends a length that no frame has is cut off with a sentence", async () => {
    const peer = await StreamPeer.connect(path);
    peer.sendStart(0x47455420, Buffer.from("/ HTTP/1.1\r\n"));
    await until(() => peer.closed, "the link is closed", 60_000);
    await running.says(/frame length 1195725856 is over \d+ octets; not QEMU's framing\?/);
    await expectServed();
  });

  it("stops reading holds up nobody but itself", async () => {
    const peer = await StreamPeer.connect(path);
    peer.socket.pause();
    const arp = arpRequest();
    const requests = 100_000;
    for (let i = 0; i < requests; i++) peer.send(arp);
    // The engine answers until the stream is full, and still does what it is asked to.
    await until(
      async () => {
        const { counters, drops } = await reportOf(running);
        return (counters["link-frames-from-guest"] ?? 0) === requests || (drops["link-full"] ?? 0) > 0;
      },
      "the stream is full",
      90_000,
    );
    await peer.vanish();
    await expectServed();
  });
});
