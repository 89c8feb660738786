/**
 * A capture plays the guest of a core that stands alone: no link, no sockets, no clock but the capture's own. Time
 * jumps from frame to frame and to the engine's deadlines between them, so that a replay is the same every time and
 * takes no longer than its work, unless it is to keep the capture's pace. Nothing native is needed, and nothing is sent
 * anywhere.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { TOKEN_LINK } from "../engine/api.ts";
import { type Entropy, type FrameLink, type Logger, READABLE } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";
import { createEngineCore } from "../engine/engine.ts";
import { FRAME_MAX } from "../engine/limits.ts";
import { Arena } from "../engine/memory/arena.ts";
import type { FrameBatch } from "../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../engine/memory/transmit-queue.ts";
import { REASSEMBLY_REGION_OCTETS } from "../engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../engine/wire/checksum.ts";
import {
  PCAP_FILE_HEADER_OCTETS,
  PCAP_PACKET_HEADER_OCTETS,
  writePcapFileHeader,
  writePcapPacketHeader,
} from "../engine/wire/pcap.ts";
import { ReplayLink, readReplay } from "../host/link/replay.ts";
import { UnreachableNetwork } from "../host/unreachable-network.ts";
import { formatState } from "../supervisor/report.ts";

export interface ReplayRun {
  readonly path: string;
  readonly config: EngineConfig;
  /** 0 waits for nothing; 1 is the capture's pace. */
  readonly speed: number;
  /** Where the frames of both sides go. */
  readonly pcap?: string;
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

/** Records both directions with the time of the replay. */
class Recorder {
  nowMs = 0;
  private readonly octets = new Uint8Array(PCAP_PACKET_HEADER_OCTETS + FRAME_MAX);
  private readonly view = new DataView(this.octets.buffer);
  private readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(path, "w", 0o600);
    writePcapFileHeader(this.view, 0);
    writeSync(this.fd, this.octets, 0, PCAP_FILE_HEADER_OCTETS);
  }

  /** A frame in two pieces of `octets`; the second may be empty. */
  record(octets: Uint8Array, at: number, length: number, restAt: number, restLength: number): void {
    const seconds = Math.floor(this.nowMs / 1000);
    writePcapPacketHeader(this.view, 0, seconds, Math.floor((this.nowMs % 1000) * 1000), length + restLength);
    this.octets.set(octets.subarray(at, at + length), PCAP_PACKET_HEADER_OCTETS);
    this.octets.set(octets.subarray(restAt, restAt + restLength), PCAP_PACKET_HEADER_OCTETS + length);
    writeSync(this.fd, this.octets, 0, PCAP_PACKET_HEADER_OCTETS + length + restLength);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** The replay's link with a recorder on it. */
function recordedLink(inner: ReplayLink, arena: Arena, recorder: Recorder): FrameLink {
  return {
    name: inner.name,
    mtu: inner.mtu,
    tcpOffload: inner.tcpOffload,
    udpOffload: inner.udpOffload,
    queueFrames: inner.queueFrames,
    receive(batch: FrameBatch) {
      const count = inner.receive(batch);
      for (let i = 0; i < count; i++) recorder.record(arena.octets, batch.at[i], batch.length[i], 0, 0);
      return count;
    },
    transmit(queue: TransmitQueue) {
      for (let i = 0; i < queue.length; i++) {
        const entry = (queue.first + i) & (queue.capacity - 1);
        recorder.record(
          arena.octets,
          queue.headerAt[entry],
          queue.headerLength[entry],
          queue.payloadAt[entry],
          queue.payloadLength[entry],
        );
      }
      return inner.transmit(queue);
    },
    close: () => inner.close(),
  };
}

/**
 * Replays and returns what came of it as text: counters, and the flow table as it was at the end. Rejects with a
 * StartError for a capture that cannot be read, or the file system's error for the output.
 */
export async function replayFile(run: ReplayRun): Promise<string> {
  const frames = readReplay(run.path);
  const arena = new Arena(REASSEMBLY_REGION_OCTETS);
  const network = new UnreachableNetwork();
  const core = createEngineCore(
    run.config,
    { arena, network, entropy: fixedEntropy(), log: run.log, checksum: new JavaScriptChecksum(arena.view) },
    0,
  );
  const replay = new ReplayLink(`replay ${run.path}`, frames, { arena, mtu: run.config.mtu });
  const recorder = run.pcap === undefined ? undefined : new Recorder(run.pcap);
  core.attach(recorder ? recordedLink(replay, arena, recorder) : replay, 0);
  const endMs = frames[frames.length - 1].atMs + LINGER_MS;
  for (let nowMs = 0; nowMs < endMs; ) {
    if (recorder) recorder.nowMs = nowMs;
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
  recorder?.close();
  return `replayed ${frames.length} frames of the guest, ${replay.answered} came back
${state}kept from the network: ${network.connections} connections, ${network.datagrams} datagrams
`;
}
