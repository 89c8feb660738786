import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { readCapture } from "../../src/engine/wire/pcap.ts";
import { replayFile } from "../../src/supervisor/replay-run.ts";
import { arpRequest } from "../support/arp-core.ts";
import { KeptLog, sampleFrame } from "../support/link-rig.ts";
import { writeCapture } from "../support/made-capture.ts";

const GATEWAY_MAC = [0x52, 0x55, 0x0a, 0, 2, 2];

let directory = "";
let pcap = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-replay-"));
  pcap = join(directory, "out.pcap");
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

function replay(frames: Uint8Array[], seconds: number[], speed = 0, config = defaultEngineConfig()) {
  const path = writeCapture(join(directory, "in.pcap"), frames, seconds);
  return replayFile({ path, config, speed, log: new KeptLog(), pcap });
}

describe("a replay", () => {
  it("records both sides with the capture's own times and tells what came of it", async () => {
    const report = await replay([arpRequest(), sampleFrame(60, 2), arpRequest()], [5, 5.25, 65.5]);
    expect(report).toContain("replayed 3 frames of the guest, 2 came back");
    const recorded = [...readCapture(new Uint8Array(readFileSync(pcap)))];
    expect(recorded.map(({ octets }) => octets[6])).toEqual([
      arpRequest()[6],
      0x52,
      sampleFrame(60, 2)[6],
      arpRequest()[6],
      0x52,
    ]);
    expect([...recorded[1].octets.subarray(6, 12)]).toEqual(GATEWAY_MAC);
    expect(recorded.map(({ time }) => Math.round(time * 1000))).toEqual([0, 0, 250, 60_500, 60_500]);
  });

  it("waits for nothing at speed 0, and keeps a pace otherwise", async () => {
    const started = performance.now();
    await replay([arpRequest(), arpRequest()], [0, 86_400]);
    const atOnce = performance.now() - started;
    expect(atOnce).toBeLessThan(5000);
    await replay([arpRequest(), arpRequest()], [0, 1], 10);
    // 1 s of capture and 1 s of waiting for answers at ten times the pace.
    expect(performance.now() - started - atOnce).toBeGreaterThan(190);
  });

  it("takes the frames of the guest that --guest-mac names", async () => {
    const other = arpRequest();
    other[11] ^= 1;
    other[27] ^= 1;
    const config = { ...defaultEngineConfig(), guestMac: other.slice(6, 12) };
    const report = await replay([arpRequest(), other], [0, 1], 0, config);
    expect(report).toContain("replayed 1 frames of the guest, 1 came back");
  });
});
