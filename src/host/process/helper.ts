/**
 * The helper program (native-shims/helper.c), run and understood. It does what a process with threads, which Node is,
 * cannot: enter or make namespaces, and configure a device there. What it is run for:
 *
 *   openTapInNamespace(request)    namespace-tap.ts: a TAP in another network namespace, usable from here
 *   prepareGuestCommand(request)   guest-command.ts: a command in namespaces of its own
 *   spawnConfined(request)         sandbox.ts: an engine process with only what it needs
 *
 * Every refusal is a HelperError whose message is a sentence for a person. Whatever the helper starts dies with this
 * process.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, readFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { helperPath } from "../native/native-loader.ts";

/** What the helper says when it ends; stable. */
export type HelperCode =
  /** An option was not understood: a mistake in the caller. */
  | "usage"
  /** No such process or file. */
  | "namespace-missing"
  /** Not ours to enter. */
  | "namespace-denied"
  /** A file that is not a namespace of that kind. */
  | "namespace-wrong"
  /** User namespaces are switched off or used up here. */
  | "user-namespace-refused"
  /** A network or mount namespace cannot be made. */
  | "namespace-refused"
  /** /dev/net/tun does not exist, or has no driver. */
  | "tun-missing"
  /** /dev/net/tun is not ours to open. */
  | "tun-denied"
  /** Another process has the TAP. */
  | "tap-busy"
  /** Making or opening the TAP is not allowed. */
  | "tap-denied"
  /** The name belongs to a device of another kind. */
  | "tap-wrong"
  | "tap-refused"
  /** Address, route, MTU, MAC or queue length was refused. */
  | "configure"
  | "send-fd"
  /** /proc does not tell what is listened on there. */
  | "listeners"
  | "descriptors"
  | "given"
  | "mount"
  | "resolv-conf"
  | "mask"
  | "go"
  | "parent"
  /** The process that was to be served has gone. */
  | "parent-gone"
  | "command-not-found"
  | "command-not-run"
  /** The uid or gid to run as does not exist in this user namespace. */
  | "user-unmapped"
  | "user"
  | "groups-kept"
  | "capabilities"
  | "confine"
  | "no-view"
  | "no-landlock"
  | "landlock"
  /** The helper itself could not be run, or ended without a word. */
  | "helper";

/** A refusal. `code` is stable; `message` is a sentence. */
export class HelperError extends Error {
  override readonly name = "HelperError";

  constructor(
    readonly code: HelperCode,
    message: string,
    /** As a shell would give it: 127 for a command not found, 126 for one that cannot be run. */
    readonly exitStatus = 1,
  ) {
    super(message);
  }
}

/** Something the kernel did not give; the work goes on without. */
export interface HelperNote {
  readonly code: string;
  readonly message: string;
}

/** Number of the first descriptor the helper, or what it becomes, gets besides the standard three. */
export const FIRST_CHANNEL = 3;

/** Whether this process may do `capability` (capabilities(7)) in its own user namespace. */
export function hasCapability(capability: bigint): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return line !== null && (BigInt(`0x${line[1]}`) & (1n << capability)) !== 0n;
}

// --- the status channel ------------------------------------------------------------------------------------------

const LINE = /^sluice-helper: (?:(note: )?([a-z-]+): )?(.*)$/;

/** Reads the helper's lines: what it notes, what it opened, why it ended. */
class StatusReader {
  readonly notes: HelperNote[] = [];
  failure: { code: HelperCode; message: string } | undefined;
  tap: { vnetHeader: boolean; created: boolean } | undefined;
  ready = false;
  private pending = "";

  constructor(
    stream: Readable,
    private readonly changed: () => void,
  ) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => this.take(text));
    // A reset when the other end closed with our answer unread says the same as its end.
    stream.on("error", () => this.changed());
    stream.once("close", () => this.changed());
  }

  private take(text: string): void {
    const lines = (this.pending + text).split("\n");
    this.pending = lines.pop() ?? "";
    for (const line of lines) this.line(line);
    this.changed();
  }

  private line(line: string): void {
    const [, isNote, code, message = ""] = LINE.exec(line) ?? [];
    if (isNote && code) this.notes.push({ code, message });
    else if (code === "tap") {
      this.tap = { vnetHeader: message.includes("vnet-header=1"), created: message.includes("created=1") };
    } else if (code) this.failure = { code: code as HelperCode, message };
    else if (message === "ready") this.ready = true;
  }
}

/** A run of the helper, or of what it became. */
export interface HelperRun {
  readonly child: ChildProcess;
  readonly status: StatusReader;
  /** Settles when `until` holds, when the channel closed (the helper ended or became its command), or failed. */
  wait(until: (status: StatusReader) => boolean): Promise<void>;
  /** The one octet the helper waits for. */
  go(): void;
}

/** What the helper gets as a descriptor: one of ours, or what child_process makes. */
export type Channel = number | "pipe" | "ipc" | "ignore";

/**
 * Starts the helper with `args` and `channels` at FIRST_CHANNEL and on; its status channel comes after them. Throws
 * ShimError when there is no helper and none can be built.
 */
export function runHelper(
  args: readonly string[],
  options: {
    stdio?: SpawnOptions["stdio"];
    channels?: readonly Channel[];
    /** Descriptors of this process that what it becomes has by the same numbers; handed over, and closed here. */
    passes?: readonly number[];
    /** What it becomes does not die with this process. */
    outlives?: boolean;
  } & Omit<SpawnOptions, "stdio">,
): HelperRun {
  const {
    stdio = ["ignore", "ignore", "inherit"],
    channels = [],
    passes = [],
    outlives = false,
    ...rest
  } = options;
  const standard = Array.isArray(stdio) ? stdio.slice(0, 3) : [stdio, stdio, stdio];
  const statusFd = FIRST_CHANNEL + channels.length;
  const places = passes.flatMap((fd, index) => ["--place-fd", `${statusFd + 1 + index}:${fd}`]);
  const tie = outlives ? [] : ["--parent", String(process.pid)];
  const child = spawn(helperPath(), ["--status-fd", String(statusFd), ...tie, ...places, ...args], {
    ...rest,
    stdio: [...standard, ...channels, "pipe", ...passes],
  });
  for (const fd of passes) closeSync(fd);
  const channel = child.stdio[statusFd] as (Readable & Writable) | null | undefined;
  let closed = false;
  let spawnError: Error | undefined;
  let wake = (): void => {};
  const changed = (): void => wake();
  child.once("error", (error) => {
    spawnError = error;
    closed = true;
    changed();
  });
  if (!channel) throw new HelperError("helper", "the helper could not be started: no descriptors are left");
  channel.once("close", () => {
    closed = true;
  });
  const status = new StatusReader(channel, changed);
  return {
    child,
    status,
    go: () => void channel.write("g"),
    async wait(until) {
      while (!until(status) && !closed && !status.failure) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (spawnError)
        throw new HelperError("helper", `the helper could not be started: ${spawnError.message}`);
      if (!status.failure) return;
      const { code, message } = status.failure;
      const exitStatus = code === "command-not-found" ? 127 : code === "command-not-run" ? 126 : 1;
      throw new HelperError(code, message, exitStatus);
    },
  };
}
