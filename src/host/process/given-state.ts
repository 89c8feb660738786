/**
 * What this process was given at its start and Node has changed since: the soft limit of descriptors, which Node raises
 * to the hard one; the signals that were ignored or blocked, which it sets back; open descriptors, which it would not
 * pass on. A command that sluice starts is to have what it would have without sluice, so the helper sets that anew
 * (native-shims/helper.c).
 *
 * The `sluice` command notes it before Node starts (src/cli/sluice.cjs). Where Node was started by hand there is only
 * what the parent shows: its soft limit, if the hard one is ours as well; SIGHUP, if it ignores that, or is a shell
 * that says it ran nohup. Other signals a parent may ignore for itself alone, as shells do at a prompt. Of the open
 * descriptors those were given that are not of a kind Node opens.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";

interface GivenState {
  /** Absent when it is not known, or not less than what there is. */
  readonly fileLimit?: number;
  /** Bit N - 1 for signal N. */
  readonly ignored: bigint;
  readonly blocked: bigint;
  /** Besides the standard three. */
  readonly descriptors: readonly number[];
}

const NOTE = "SLUICE_GIVEN";

/** `PID BLOCKED IGNORED ,FD,FD... SOFT HARD files`. */
const NOTED = /^(\d+) ([0-9a-f]{16}) ([0-9a-f]{16}) ,([\d,]*) +(\d+)?/;

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

/** What is open, but for what Node opens: pollers, /dev/null, pipes with both ends here, a debugger's sockets. */
function givenDescriptors(): number[] {
  const targets = new Map<number, string>();
  if (process.execArgv.some((option) => option.startsWith("--inspect"))) return [];
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      targets.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The directory's own.
    }
  }
  const all = [...targets.values()];
  const isNodes = (target: string): boolean =>
    /^anon_inode:|^\/dev\/null$/.test(target) ||
    (target.startsWith("pipe:") && all.indexOf(target) !== all.lastIndexOf(target));
  return [...targets].filter(([fd, target]) => fd > 2 && !isNodes(target)).map(([fd]) => fd);
}

/** `early`: nothing has been opened by this program yet, so that what is open was given. */
function observe(early: boolean): GivenState {
  const note = process.env[NOTE];
  delete process.env[NOTE];
  const [, pid, blocked, ignored, descriptors, soft] = NOTED.exec(note ?? "") ?? [];
  // That of another start would say nothing about this one, unless it started this one and passed its own on.
  if (Number(pid) === process.pid || Number(pid) === process.ppid) {
    return {
      blocked: BigInt(`0x${blocked}`),
      ignored: BigInt(`0x${ignored}`),
      descriptors: descriptors.split(",").filter(Boolean).map(Number),
      ...(soft === undefined ? {} : { fileLimit: Number(soft) }),
    };
  }
  const parent = process.ppid;
  const fileLimit = fileLimitOf(parent);
  return {
    blocked: 0n,
    ignored: hangUpIgnored(parent) ? maskOf("SIGHUP") : 0n,
    descriptors: early ? givenDescriptors() : [],
    ...(fileLimit === undefined ? {} : { fileLimit }),
  };
}

let given: GivenState | undefined;

const mask = (signals: bigint): string => signals.toString(16).padStart(16, "0");

/** The environment by which a process that this one starts knows what this one was given, descriptors aside. */
export function givenNote(): NodeJS.ProcessEnv {
  const { fileLimit = "", ignored, blocked } = givenState();
  return { [NOTE]: `${process.pid} ${mask(blocked)} ${mask(ignored)} , ${fileLimit}` };
}

const CERTIFICATES = "NODE_EXTRA_CA_CERTS";

/**
 * The environment for a process of this program with these arguments: without what has Node read a file of certificates at
 * its start (80 ms), which is noted as src/cli/sluice.cjs does. A module of --decide may ask a server, and needs it.
 */
export function environmentOfStart(words: readonly string[]): NodeJS.ProcessEnv {
  const { [CERTIFICATES]: certificates, ...rest } = process.env;
  if (certificates === undefined || words.some((word) => word.startsWith("--decide"))) return process.env;
  return { ...rest, [`SLUICE_${CERTIFICATES}`]: certificates };
}

/** To be called before anything is opened; takes the note out of the environment. */
export function noteGivenState(): void {
  given ??= observe(true);
}

function givenState(): GivenState {
  given ??= observe(false);
  return given;
}

/** The descriptors that were given, for the one command that is to have them; `ours` are for this process. */
export function takeGivenDescriptors(ours: readonly (number | undefined)[] = []): readonly number[] {
  const { descriptors, ...rest } = givenState();
  given = { ...rest, descriptors: [] };
  // Node's own, where Node started us with a channel.
  const channel = (process as { channel?: { fd?: number } }).channel?.fd;
  return descriptors.filter((fd) => fd !== channel && !ours.includes(fd));
}

/** Whether this process was given `signal` to be ignored. */
export function isGivenIgnored(signal: NodeJS.Signals): boolean {
  return (givenState().ignored & maskOf(signal)) !== 0n;
}

/** Where Node read octets that are no UTF-8. */
const ODD = "\ufffd";

/**
 * The helper's options for a command that is the last `words` of this process's own, with its environment: octet by octet
 * from where the kernel keeps them, if Node could not read them.
 */
export function givenWords(words: readonly string[]): string[] {
  const texts = [...words, ...Object.entries(process.env).flat()];
  return texts.some((text) => text?.includes(ODD)) ? ["--given-words", String(words.length)] : [];
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
