/**
 * A command in fresh user, network and mount namespaces with a configured TAP. It waits until `start()`, so that the
 * engine serves before it runs.
 */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { CAP_NET_ADMIN, CAP_SYS_ADMIN } from "../native/linux.ts";
import { givenArgs, givenWords, takeGivenDescriptors } from "./given-state.ts";
import { FIRST_CHANNEL, HelperError, hasCapability, runHelper } from "./helper.ts";
import { keepNames } from "./name-service.ts";
import {
  type DeviceConfig,
  descriptorSocket,
  deviceArgs,
  type OpenedTap,
  type TapRequest,
} from "./namespace-tap.ts";

export interface GuestCommandRequest {
  readonly command: string;
  readonly args: readonly string[];
  readonly tap: Omit<TapRequest, "netns" | "userns"> & { readonly configure: DeviceConfig };
  /** What the command sees as /etc/resolv.conf for good; by default it has the host's name service. */
  readonly resolvConf?: string;
  /** Hears what went wrong with that while the command runs. */
  readonly warn?: (message: string) => void;
  /** The command sees itself as uid 0, with all rights inside its namespaces and none outside. */
  readonly asRoot?: boolean;
  /** Standard input, output and error; inherited by default. */
  readonly stdio?: SpawnOptions["stdio"];
  readonly env?: NodeJS.ProcessEnv;
  /** The command and its arguments are the last words of this process's own command line. */
  readonly given?: boolean;
  readonly cwd?: string;
  /** Descriptors that this process was given for itself. */
  readonly keeps?: readonly number[];
}

export interface GuestCommand {
  /** The command, once `start` has resolved: pid, signals, exit status are its own. */
  readonly child: ChildProcess;
  readonly tap: OpenedTap;
  /** Lets the command run. Rejects with a HelperError (`exitStatus` 127 or 126) if there is no such command. */
  start(): Promise<void>;
}

/** Whether namespaces can be made without a user namespace of our own: for root, who may have none to make. */
function canMakeNamespaces(): boolean {
  return hasCapability(CAP_SYS_ADMIN) && hasCapability(CAP_NET_ADMIN);
}

function guestArgs(request: GuestCommandRequest): string[] {
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
  if (request.given) args.push(...givenWords([request.command, ...request.args]));
  args.push(...givenArgs(), "--wait-for-go", "--", request.command, ...request.args);
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
  try {
    const run = runHelper(guestArgs(request), {
      stdio: request.stdio ?? "inherit",
      channels: [socket.theirs],
      passes: takeGivenDescriptors(request.keeps),
      env: request.env ?? process.env,
      ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    });
    await run.wait((status) => status.ready);
    const { tap, notes } = run.status;
    if (!tap) throw new HelperError("helper", "the helper ended without a word");
    const names =
      request.resolvConf === undefined
        ? undefined
        : keepNames(run.child.pid as number, request.resolvConf, request.warn ?? (() => {}));
    run.child.once("exit", () => names?.close());
    return {
      child: run.child,
      tap: { fd: socket.receive(), ...tap, notes },
      async start() {
        await names?.ready;
        run.go();
        await run.wait(() => false);
      },
    };
  } finally {
    socket.close();
  }
}
