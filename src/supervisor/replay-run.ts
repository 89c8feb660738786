/**
 * A capture plays the guest of a core that stands alone: no link, no sockets, no clock but the capture's own. Time
 * jumps from frame to frame and to the engine's deadlines between them, so that a replay is the same every time and
 * takes no longer than its work, unless it is to keep the capture's pace. Nothing is sent anywhere.
 */
import { fstatSync, ftruncateSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { TOKEN_LINK } from "../engine/api.ts";
import { type Entropy, type Logger, READABLE } from "../engine/boundary.ts";
import { type EngineConfig, ipv6OnLink } from "../engine/config.ts";
import { createEngineCore } from "../engine/engine.ts";
import { Arena } from "../engine/memory/arena.ts";
import { REASSEMBLY_REGION_OCTETS } from "../engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../engine/wire/checksum.ts";
import { CaptureFile } from "../host/captures/pcap-file.ts";
import { ReplayLink, readReplay } from "../host/link/replay.ts";
import { UnreachableNetwork } from "../host/unreachable-network.ts";
import { formatState } from "./report.ts";

export interface ReplayRun {
  /** The capture's name, and the descriptor it is open at, if it is. */
  readonly path: string;
  readonly fd?: number;
  readonly config: EngineConfig;
  /** 0 waits for nothing; 1 is the capture's pace. */
  readonly speed: number;
  /** Where the frames of both sides go: a path, or a descriptor open for writing, which is emptied. */
  readonly pcap?: string | number;
  readonly log: Logger;
}

/** How long the engine may still answer after the last frame, milliseconds of the capture. */
const LINGER_MS = 1000;

/** A generator of the same numbers every time (mulberry32). */
function fixedEntropy(): Entropy {
  let state = 1;
  return {
    int32: () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return (mixed ^ (mixed >>> 14)) | 0;
    },
  };
}

/**
 * Replays and returns what came of it as text: counters, and the flow table as it was at the end. Rejects with a
 * StartError for a capture that cannot be read, or an output that cannot be written.
 */
export async function replayFile(run: ReplayRun): Promise<string> {
  const frames = readReplay(run.path, run.config.guestMac, run.fd);
  // Not before the capture has been read: it may be the same file.
  if (typeof run.pcap === "number" && fstatSync(run.pcap).isFile()) ftruncateSync(run.pcap);
  const arena = new Arena(REASSEMBLY_REGION_OCTETS);
  const network = new UnreachableNetwork();
  const core = createEngineCore(
    { ...run.config, ipv6: ipv6OnLink(run.config) },
    {
      arena,
      network,
      entropy: fixedEntropy(),
      checksum: new JavaScriptChecksum(arena.view),
      warn: (message) => run.log.warn(message),
    },
    0,
  );
  const replay = new ReplayLink(`replay ${run.path}`, frames, { arena, mtu: run.config.mtu });
  let nowMs = 0;
  const capture =
    run.pcap === undefined ? null : CaptureFile.open(run.pcap, arena.octets, run.log, () => nowMs);
  core.setTap(capture);
  core.attach(replay, 0);
  const endMs = (frames.at(-1)?.atMs ?? 0) + LINGER_MS;
  while (nowMs < endMs) {
    const now = Math.floor(nowMs) | 0;
    const untilFrame = replay.release(nowMs);
    core.handleEvent(TOKEN_LINK, READABLE, now);
    while (core.turn(now));
    const deadline = core.nextDeadlineMs(now);
    const waits = [untilFrame, deadline < 0 ? -1 : Math.max(1, deadline)].filter((wait) => wait >= 0);
    const waitMs = Math.min(endMs - nowMs, ...waits);
    if (run.speed > 0) await sleep(waitMs / run.speed);
    nowMs += waitMs;
  }
  const end = Math.floor(endMs) | 0;
  const state = formatState(core.counters.snapshot(), core.flows(end));
  core.close(end);
  capture?.close();
  return `replayed ${frames.length} frames of the guest, ${replay.answered} came back
${state}kept from the network: ${network.connections} connections, ${network.datagrams} datagrams
`;
}
