/** The log for people (one line each) or for programs (one JSON object each). */
import { closeSync, openSync, writeSync } from "node:fs";
import type { LogLevel, LogPlan } from "../config/host-plan.ts";
import type { Logger } from "../engine/boundary.ts";
import { pause } from "../host/pause.ts";

const RANK: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 };

/** A Logger that knows its level, which may change. */
export interface LineLog extends Logger {
  level: LogLevel;
  /** Several lines as they are (the flow table). Not part of the levels: somebody asked for it. */
  text(lines: string): void;
}

const SOURCE = "sluice";

const WRITE_TRIES_MAX = 200;

/**
 * Writes a whole text. A full pipe whose reader is slow gets 200 ms, then the rest is lost: a log must not hold up a
 * guest. A reader that went away is no reason to end.
 */
export function writeText(fd: number, text: string): void {
  const octets = Buffer.from(text);
  let at = 0;
  for (let tries = 0; at < octets.length && tries < WRITE_TRIES_MAX; ) {
    try {
      at += writeSync(fd, octets, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      pause(1);
      tries++;
    }
  }
}

/** A log on an open descriptor, standard error by default. */
export function openLog(plan: Pick<LogPlan, "level" | "format">, fd = 2): LineLog {
  const at = (level: LogLevel) => (message: string) => {
    if (RANK[level] > RANK[log.level]) return;
    const line =
      plan.format === "json"
        ? JSON.stringify({ time: new Date().toISOString(), level, source: SOURCE, message })
        : `${SOURCE}: ${level === "info" ? "" : `${level}: `}${message}`;
    writeText(fd, `${line}\n`);
  };
  const log: LineLog = {
    level: plan.level,
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    text: (lines) => {
      const json = JSON.stringify({
        time: new Date().toISOString(),
        level: "info",
        source: SOURCE,
        message: lines,
      });
      writeText(fd, plan.format === "json" ? `${json}\n` : lines);
    },
  };
  return log;
}

/** A log and what it is written to; `close` before the end. */
export interface OpenLog {
  readonly log: LineLog;
  /** Standard error, or the file: for processes that write to the same log. */
  readonly logFd: number;
  close(): void;
}

/** Opens the log where `plan` says. Throws the file system's error. */
export function openLogFile(plan: LogPlan): OpenLog {
  const logFd = plan.file === undefined ? 2 : openSync(plan.file, "a", 0o640);
  return {
    log: openLog(plan, logFd),
    logFd,
    close: () => {
      if (logFd !== 2) closeSync(logFd);
    },
  };
}
