/**
 * The process of a replay, confined before this file runs as an engine's is: a capture comes from anybody. Told over
 * descriptor 3 what to replay; the capture and the file for the frames of both sides are open already.
 */
import { Socket } from "node:net";
import {
  CAPTURE_FD,
  CONTROL_FD,
  decodeLine,
  encodeLine,
  LOADED,
  LOG_FD,
  OUTPUT_FD,
  readLines,
} from "./control.ts";
import { closeLastWall } from "./last-wall.ts";
import { openLog } from "./log.ts";
import type { ReplayNews, ReplayPlan } from "./replay-client.ts";
import { replayFile } from "./replay-run.ts";

const control = new Socket({ fd: CONTROL_FD, readable: true, writable: true });

/** Ends the process once what was told has left. */
function leave(news: ReplayNews): void {
  control.end(encodeLine(news), () => process.exit());
}

async function replay(plan: ReplayPlan): Promise<void> {
  const log = openLog(plan.log, LOG_FD);
  if (plan.sandbox) closeLastWall(log);
  const { path, config, speed } = plan;
  const output = plan.output ? { pcap: OUTPUT_FD } : {};
  try {
    const report = await replayFile({ path, fd: CAPTURE_FD, config, speed, log, ...output });
    process.stdout.write(report, () => leave({ type: "replayed" }));
  } catch (error) {
    leave({ type: "failed", message: error instanceof Error ? error.message : String(error) });
  }
}

// A reader that has seen enough is no failure.
process.stdout.on("error", () => {});
readLines(control, (line) => void replay(decodeLine(line) as ReplayPlan));
control.on("error", () => {});
control.on("close", () => process.exit());
control.write(`${LOADED}\n`);
