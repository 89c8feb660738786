/** The supervisor's end of a replay: opens the files, has a confined process do it, and says how it went. */
import { closeSync, constants, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { LogPlan } from "../config/host-plan.ts";
import type { Logger } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";
import { packageRoot } from "../host/native/native-loader.ts";
import { spawnConfined } from "../host/process/sandbox.ts";
import { StartError } from "../host/start-error.ts";
import { ConfinedNode, EngineStartError } from "./confined-node.ts";
import { decodeLine, encodeLine } from "./control.ts";

export interface ReplayRequest {
  /** The capture. */
  readonly path: string;
  /** Where the frames of both sides go. */
  readonly output?: string;
  readonly config: EngineConfig;
  /** 0 waits for nothing; 1 is the capture's pace. */
  readonly speed: number;
  readonly sandbox: boolean;
  readonly log: Logger;
  readonly logPlan: LogPlan;
  readonly logFd: number;
}

/** What the process is told. */
export interface ReplayPlan extends Pick<ReplayRequest, "path" | "config" | "speed" | "sandbox"> {
  readonly log: Pick<LogPlan, "level" | "format">;
  /** A file for the frames of both sides is there. */
  readonly output: boolean;
}

/** What it says. */
export type ReplayNews =
  | { readonly type: "replayed" }
  | { readonly type: "failed"; readonly message: string };

function asReplayNews(line: string): ReplayNews | undefined {
  try {
    const news = decodeLine(line) as Partial<{ type: unknown; message: unknown }> | null;
    if (news?.type === "replayed") return { type: "replayed" };
    if (news?.type === "failed" && typeof news.message === "string")
      return { type: "failed", message: news.message };
  } catch {
    // Not even JSON.
  }
  return undefined;
}

interface OutputFile {
  readonly fd: number;
  /** It was not there before. */
  readonly created: boolean;
}

/** The capture holds everything the guest sends: for its owner only. */
const OUTPUT_MODE = 0o600;

/** Opens the output as it is: it may be the capture, which is read first. Throws StartError. */
function openOutput(path: string): OutputFile {
  try {
    try {
      return { fd: openSync(path, "wx", OUTPUT_MODE), created: true };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      return { fd: openSync(path, constants.O_WRONLY), created: false };
    }
  } catch (error) {
    throw new StartError([{ place: `pcap ${path}`, reason: (error as Error).message }]);
  }
}

function openCapture(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new StartError([{ place: `replay ${path}`, reason: (error as Error).message }]);
  }
}

/** The process; settles when it has gone. */
function replayed(request: ReplayRequest, capture: number, output: OutputFile | undefined): Promise<void> {
  const { path, config, speed, sandbox, log, logPlan, logFd } = request;
  const { level, format } = logPlan;
  const plan: ReplayPlan = {
    path,
    config,
    speed,
    sandbox,
    log: { level, format },
    output: output !== undefined,
  };
  return new Promise((resolve, reject) => {
    let news: ReplayNews | undefined;
    const node: ConfinedNode = new ConfinedNode({
      spawn: (found) =>
        spawnConfined({
          script: join(packageRoot(), "dist", "program", "replay-process.js"),
          mode: sandbox ? "best-effort" : "off",
          readable: found,
          stdio: ["ignore", "inherit", "pipe"],
          channels: ["pipe", capture, logFd, ...(output === undefined ? [] : [output.fd])],
        }),
      sandbox,
      log,
      logFd,
      begin: () => {},
      loaded: () => node.write(encodeLine(plan)),
      hear: (line) => {
        news = asReplayNews(line);
      },
      gone: (how, problem) => {
        if (news?.type === "replayed") resolve();
        else if (news) reject(new EngineStartError(news.message));
        else reject(problem ?? new EngineStartError(`the replay's process ended unexpectedly (${how})`));
      },
    });
  });
}

/** Replays a capture and prints what came of it. Rejects with an error whose message is for people. */
export async function replayConfined(request: ReplayRequest): Promise<void> {
  const capture = openCapture(request.path);
  let output: OutputFile | undefined;
  try {
    if (request.output !== undefined) output = openOutput(request.output);
    await replayed(request, capture, output);
  } catch (error) {
    if (output?.created && request.output !== undefined) rmSync(request.output, { force: true });
    throw error;
  } finally {
    closeSync(capture);
    if (output !== undefined) closeSync(output.fd);
  }
}
