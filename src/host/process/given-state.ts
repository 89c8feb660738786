/**
 * What this process was given at its start and Node has changed since: the soft limit of descriptors, which Node raises
 * to the hard one, and the signals that were ignored or blocked, which it sets back. A command that sluice starts is to
 * have what it would have without sluice, so the helper sets that anew (native-shims/helper.c).
 *
 * The `sluice` command notes it before Node starts (src/cli/sluice.cjs). Where Node was started by hand there is only
 * what the parent shows: its soft limit, if the hard one is ours as well; SIGHUP, if it ignores that, or is a shell
 * that says it ran nohup. Other signals a parent may ignore for itself alone, as shells do at a prompt.
 */
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";

export interface GivenState {
  /** Absent when it is not known, or not less than what there is. */
  readonly fileLimit?: number;
  /** Bit N - 1 for signal N. */
  readonly ignored: bigint;
  readonly blocked: bigint;
}

const NOTE = "SLUICE_GIVEN";

/** `PID BLOCKED IGNORED SOFT HARD files`, of which what could not be read is missing. */
const NOTED = /^(\d+) ([0-9a-f]{16}) ([0-9a-f]{16}) +(\d+)?/;

function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

const FILE_LIMITS = /^Max open files +(\d+|unlimited) +(\d+|unlimited)/m;

function fileLimitOf(parent: number): number | undefined {
  const [, , hard] = FILE_LIMITS.exec(readProcess(process.pid, "limits")) ?? [];
  const [, soft, parentHard] = FILE_LIMITS.exec(readProcess(parent, "limits")) ?? [];
  return parentHard === hard && /^\d+$/.test(soft ?? "") ? Number(soft) : undefined;
}

const maskOf = (signal: NodeJS.Signals): bigint => 1n << BigInt(constants.signals[signal] - 1);

/** Shells that say in `_` what they ran. */
const TELLING_SHELLS = ["bash", "zsh", "ksh", "mksh"];

function hangUpIgnored(parent: number): boolean {
  const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readProcess(parent, "status"))?.[1] ?? "0";
  if ((BigInt(`0x${ignored}`) & maskOf("SIGHUP")) !== 0n) return true;
  const shell = readProcess(parent, "comm").trim();
  return TELLING_SHELLS.includes(shell) && basename(process.env["_"] ?? "") === "nohup";
}

function observe(): GivenState {
  const note = process.env[NOTE];
  delete process.env[NOTE];
  const [, pid, blocked, ignored, soft] = NOTED.exec(note ?? "") ?? [];
  // That of another start would say nothing about this one.
  if (Number(pid) === process.pid) {
    return {
      blocked: BigInt(`0x${blocked}`),
      ignored: BigInt(`0x${ignored}`),
      ...(soft === undefined ? {} : { fileLimit: Number(soft) }),
    };
  }
  const parent = process.ppid;
  const fileLimit = fileLimitOf(parent);
  return {
    blocked: 0n,
    ignored: hangUpIgnored(parent) ? maskOf("SIGHUP") : 0n,
    ...(fileLimit === undefined ? {} : { fileLimit }),
  };
}

let given: GivenState | undefined;

/** Looked at once, early: a parent may end. Takes the note out of the environment. */
export function givenState(): GivenState {
  given ??= observe();
  return given;
}

/** Whether this process was given `signal` to be ignored. */
export function isGivenIgnored(signal: NodeJS.Signals): boolean {
  return (givenState().ignored & maskOf(signal)) !== 0n;
}

/** The helper's options that give a command what this process was given. */
export function givenArgs(): string[] {
  const { fileLimit, ignored, blocked } = givenState();
  return [
    ...(fileLimit === undefined ? [] : ["--file-limit", String(fileLimit)]),
    ...(ignored === 0n ? [] : ["--ignore-signals", ignored.toString(16)]),
    ...(blocked === 0n ? [] : ["--block-signals", blocked.toString(16)]),
  ];
}
