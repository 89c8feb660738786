/**
 * The helper program (native-shims/helper.h), typed. It does what a process with threads, which Node is, cannot:
 * enter or make namespaces, and configure a device there.
 *
 *   openTapInNamespace(request)    a TAP in another network namespace, opened (made if need be), configured if
 *                                  asked, and usable from here: the engine stays in the host's namespace
 *   prepareGuestCommand(request)   a command in fresh user, network and mount namespaces with a configured TAP;
 *                                  it waits until `start()`, so that the engine serves before it runs
 *   watchNamespace(target, gone)   tells when a namespace or its process has gone
 *   spawnEngine(...)               sandbox.ts: an engine process with only what it needs
 *
 * Descriptors returned belong to the caller (close-on-exec; TAPs are non-blocking). Every refusal is a HelperError
 * whose message is a sentence for a person. Whatever the helper starts dies with this process.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { native } from "../native/native.ts";
import { helperPath } from "../native/native-loader.ts";
import { describeErrno } from "../start-error.ts";

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

/** A process id, or the path of a namespace file such as /run/netns/NAME. */
export type NamespaceTarget = string | number;

/** How a TAP is set up on the guest's side of it. */
export interface DeviceConfig {
  /** Dotted IPv4 address of the guest; without one the device is only brought up, for a DHCP client to set up. */
  readonly address?: string;
  readonly prefixLength?: number;
  /** Dotted IPv4 address the default route goes by; one outside the subnet is taken to be on the link. */
  readonly gateway?: string;
  readonly mtu?: number;
  /** `52:54:00:12:34:56`; by default the kernel chooses. */
  readonly mac?: string;
}

export interface TapRequest {
  /** At most 15 octets. */
  readonly name: string;
  /** Network namespace; by default this one. Its user namespace is found and entered where that is needed. */
  readonly netns?: NamespaceTarget;
  /** User namespace to enter before it, where the owner of the network namespace is not the one wanted. */
  readonly userns?: NamespaceTarget;
  /** Sets address, route, MTU and MAC, and brings the device up. */
  readonly configure?: DeviceConfig;
  /** Ask for a vnet header (offload); true by default. */
  readonly vnetHeader?: boolean;
  /** Stand-in for /dev/net/tun. */
  readonly tunDevice?: string;
}

export interface OpenedTap {
  /** Close-on-exec and non-blocking. */
  readonly fd: number;
  readonly vnetHeader: boolean;
  /** Whether it was made now; then it vanishes with its last descriptor. */
  readonly created: boolean;
  readonly notes: readonly HelperNote[];
}

/** Packets a TAP we made can queue: enough for the windows the engine advertises (architecture: memory). */
export const TAP_QUEUE_LENGTH = 10_000;
/** Number of the first descriptor the helper, or what it becomes, gets besides the standard three. */
export const FIRST_CHANNEL = 3;

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
  options: { stdio?: SpawnOptions["stdio"]; channels?: readonly Channel[] } & Omit<SpawnOptions, "stdio">,
): HelperRun {
  const { stdio = ["ignore", "ignore", "inherit"], channels = [], ...rest } = options;
  const standard = Array.isArray(stdio) ? stdio.slice(0, 3) : [stdio, stdio, stdio];
  const statusFd = FIRST_CHANNEL + channels.length;
  const child = spawn(
    helperPath(),
    ["--status-fd", String(statusFd), "--parent", String(process.pid), ...args],
    { ...rest, stdio: [...standard, ...channels, "pipe"] },
  );
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

// --- a TAP somewhere else ----------------------------------------------------------------------------------------

function deviceArgs(request: TapRequest): string[] {
  const args = ["--tap", request.name, "--queue-length", String(TAP_QUEUE_LENGTH)];
  if (request.tunDevice !== undefined) args.push("--tun-device", request.tunDevice);
  if (request.vnetHeader === false) args.push("--no-vnet-header");
  const { configure } = request;
  if (!configure) return args;
  args.push("--up", "--loopback-up");
  if (configure.address !== undefined)
    args.push("--address", `${configure.address}/${configure.prefixLength ?? 32}`);
  if (configure.gateway !== undefined) args.push("--gateway", configure.gateway);
  if (configure.mtu !== undefined) args.push("--mtu", String(configure.mtu));
  if (configure.mac !== undefined) args.push("--mac", configure.mac);
  return args;
}

/** A socket pair whose second end the helper gets; both are closed by `close`. */
function descriptorSocket(): { ours: number; theirs: number; receive(): number; close(): void } {
  const [ours, theirs] = native.socketPair("stream");
  if (ours < 0) throw new HelperError("helper", `socketpair: ${describeErrno(ours)}`);
  return {
    ours,
    theirs,
    receive() {
      const fd = native.receiveDescriptor(ours);
      if (fd < 0) throw new HelperError("send-fd", `the TAP did not arrive: ${describeErrno(fd)}`);
      return fd;
    },
    close() {
      native.close(ours);
      native.close(theirs);
    },
  };
}

/** Opens a TAP in another namespace. The promise rejects with a HelperError. */
export async function openTapInNamespace(request: TapRequest): Promise<OpenedTap> {
  const socket = descriptorSocket();
  try {
    const args = [...deviceArgs(request), "--send-fd", String(FIRST_CHANNEL)];
    if (request.userns !== undefined) args.push("--enter-user", String(request.userns));
    if (request.netns !== undefined) args.push("--enter-net", String(request.netns));
    const run = runHelper(args, { channels: [socket.theirs] });
    await run.wait(() => false);
    const { tap, notes } = run.status;
    if (!tap) throw new HelperError("helper", "the helper ended without a word");
    return { fd: socket.receive(), ...tap, notes };
  } finally {
    socket.close();
  }
}

// --- a command behind the engine ---------------------------------------------------------------------------------

export interface GuestCommandRequest {
  readonly command: string;
  readonly args: readonly string[];
  readonly tap: Omit<TapRequest, "netns" | "userns"> & { readonly configure: DeviceConfig };
  /** What the command sees as /etc/resolv.conf; by default the host's. */
  readonly resolvConf?: string;
  /** The command sees itself as uid 0, with all rights inside its namespaces and none outside. */
  readonly asRoot?: boolean;
  /** Standard input, output and error; inherited by default. */
  readonly stdio?: SpawnOptions["stdio"];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

export interface GuestCommand {
  /** The command, once `start` has resolved: pid, signals, exit status are its own. */
  readonly child: ChildProcess;
  readonly tap: OpenedTap;
  /** Lets the command run. Rejects with a HelperError (`exitStatus` 127 or 126) if there is no such command. */
  start(): Promise<void>;
}

/**
 * Sockets by which a libc would ask the host's resolver past the engine (nss-resolve, nscd). Covered for the
 * command, so that it falls back to resolv.conf.
 */
const NAME_SERVICE_SOCKETS = [
  "/run/systemd/resolve/io.systemd.Resolve",
  "/run/nscd/socket",
  "/var/run/nscd/socket",
];

const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;

/** Whether this process may do `capability` (capabilities(7)) in its own user namespace. */
export function hasCapability(capability: bigint): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return line !== null && (BigInt(`0x${line[1]}`) & (1n << capability)) !== 0n;
}

/** Whether namespaces can be made without a user namespace of our own: for root, who may have none to make. */
export function canMakeNamespaces(): boolean {
  return hasCapability(CAP_SYS_ADMIN) && hasCapability(CAP_NET_ADMIN);
}

function guestArgs(request: GuestCommandRequest, resolvConf: string | undefined): string[] {
  const uid = process.geteuid!();
  const gid = process.getegid!();
  const args = [
    "--new-net",
    "--low-ports",
    "--new-mount",
    ...deviceArgs(request.tap),
    "--send-fd",
    String(FIRST_CHANNEL),
  ];
  if (request.asRoot && uid !== 0) args.push("--new-user", "0:0");
  else if (!canMakeNamespaces()) args.push("--new-user", `${uid}:${gid}`);
  if (resolvConf !== undefined) {
    args.push("--resolv-conf", resolvConf);
    for (const path of NAME_SERVICE_SOCKETS) args.push("--mask", path);
  }
  args.push("--wait-for-go", "--", request.command, ...request.args);
  return args;
}

/**
 * Makes the namespaces and the TAP and leaves the command waiting. Rejects with a HelperError.
 *
 * The command shares the caller's terminal and process group: a caller that outlives Ctrl-C to report its exit
 * status ignores SIGINT and SIGQUIT while it runs.
 */
export async function prepareGuestCommand(request: GuestCommandRequest): Promise<GuestCommand> {
  const socket = descriptorSocket();
  let scratch: string | undefined;
  const cleanUp = (): void => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  };
  try {
    let resolvConf: string | undefined;
    if (request.resolvConf !== undefined) {
      scratch = mkdtempSync(join(tmpdir(), "sluice-exec-"));
      resolvConf = join(scratch, "resolv.conf");
      writeFileSync(resolvConf, request.resolvConf, { mode: 0o644 });
    }
    const run = runHelper(guestArgs(request, resolvConf), {
      stdio: request.stdio ?? "inherit",
      channels: [socket.theirs],
      env: request.env ?? process.env,
      ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    });
    await run.wait((status) => status.ready);
    const { tap, notes } = run.status;
    if (!tap) throw new HelperError("helper", "the helper ended without a word");
    // Bound by now: the name is not needed any more.
    cleanUp();
    return {
      child: run.child,
      tap: { fd: socket.receive(), ...tap, notes },
      async start() {
        run.go();
        await run.wait(() => false);
      },
    };
  } finally {
    cleanUp();
    socket.close();
  }
}

// --- watching ----------------------------------------------------------------------------------------------------

const WATCH_INTERVAL_MS = 1000;

/**
 * Calls `gone` once with a sentence when the namespace's process has ended, or its file is another one or none. A
 * TAP's descriptor keeps its namespace alive, so the TAP itself never tells. Returns what stops the watch.
 */
export function watchNamespace(target: NamespaceTarget, gone: (message: string) => void): () => void {
  const isPid = /^\d+$/.test(String(target));
  const path = isPid ? `/proc/${target}/ns/net` : String(target);
  const identity = (): string | undefined => {
    try {
      const { dev, ino } = statSync(path);
      return `${dev}:${ino}`;
    } catch {
      return undefined;
    }
  };
  const first = identity();
  const timer = setInterval(() => {
    if (first !== undefined && identity() === first) return;
    clearInterval(timer);
    gone(isPid ? `process ${target}, whose network namespace this is, has ended` : `${path} has gone`);
  }, WATCH_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}
