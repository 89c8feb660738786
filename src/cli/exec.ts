/**
 * `sluice exec`: a command in fresh namespaces whose only network is the engine.
 *
 * The command shares our terminal, process group and session, so that job control and the terminal's signals are its
 * own; we outlive the terminal's signals in order to report its exit status, and pass on those that were sent to us
 * alone.
 */
import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { isatty } from "node:tty";
import type { HostPlan } from "../config/host-plan.ts";
import { planHost } from "../config/plan.ts";
import type { Logger } from "../engine/boundary.ts";
import { type EngineConfig, ipv6OnLink } from "../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { planEngineHere } from "../host/engine-plan.ts";
import { deviceConfig, forConfiguredDevice, tapSpec } from "../host/link/tap-opening.ts";
import { type GuestCommandRequest, prepareGuestCommand } from "../host/process/guest-command.ts";
import { HelperError } from "../host/process/helper.ts";
import { RESOLV_CONF, readResolvConf } from "../host/resolv-conf.ts";
import { ownVersion } from "../host/version.ts";
import { type EnginePlan, LINK_FD } from "../supervisor/control.ts";
import { EngineClient } from "../supervisor/engine-client.ts";
import { type EngineLaunch, openCapture } from "../supervisor/launch.ts";
import { Live } from "../supervisor/live.ts";
import type { MakeDecider } from "../supervisor/live-decider.ts";
import { openLogFile } from "../supervisor/log.ts";
import { parseCommandArguments } from "./arguments.ts";
import { resolveDecide } from "./decide.ts";
import { commandHelp } from "./help.ts";
import { hostRoutes, overlapWarning } from "./host-routes.ts";
import { checkInherited, ownDescriptors } from "./inherited.ts";
import { resolveOutbound } from "./outbound.ts";
import { describeService } from "./ready-line.ts";
import type { Manner } from "./run.ts";
import { resolveFolder } from "./served-folder.ts";
import { fail, refuse } from "./start-problem.ts";

/** Name of the device the command sees. */
const DEVICE = "tap0";
const STDIN_FD = 0;
/** Added to a signal's number, as shells do. */
const SIGNAL_STATUS = 128;

/** How a command runs, and how it is dealt with who started it. */
export interface ExecManner extends Pick<Manner, "refuse" | "fail"> {
  /** Name of the device it sees. */
  readonly device: string;
  /** Its device has address and routes; otherwise it is only there, for the command to set up. */
  readonly isConfigured: boolean;
  /** It sees itself as uid 0. */
  readonly asRoot: boolean;
  /** Its words are the last of this process's own command line. */
  readonly given: boolean;
}

/** Runs `sluice exec ARGV`. Returns the command's exit status. */
export async function execCommand(argv: readonly string[]): Promise<number> {
  return execGuest(argv, {
    ...{ device: DEVICE, isConfigured: true, asRoot: false, given: true },
    refuse: (problems) => refuse("exec", problems),
    fail: (error) => fail("exec", error),
  });
}

/** The same in the manner of another command. */
export async function execGuest(argv: readonly string[], manner: ExecManner): Promise<number> {
  const { options, help, rest } = parseCommandArguments("exec", argv);
  if (help) {
    process.stdout.write(commandHelp("exec"));
    return 0;
  }
  const [command, ...args] = rest;
  if (command === undefined) {
    options.problems.push({
      place: "command",
      allowed: "a command to run, such as sluice exec -- ip address",
    });
  }
  const planned = await planEngineHere(options);
  const config = manner.isConfigured ? forConfiguredDevice(planned) : planned;
  const host = planHost(options, "exec");
  const outbound = resolveOutbound(options, host);
  const folder = resolveFolder(options, host);
  const makeDecider = await resolveDecide(options, host, config.policy);
  checkInherited(options);
  if (options.problems.length > 0 || command === undefined) return manner.refuse(options.problems);
  try {
    const tunDevice = options.get("tun-device");
    const search = options.all("search").map(({ value }) => value);
    return await runBehindEngine({
      command,
      args,
      search,
      config,
      host,
      outbound,
      folder,
      makeDecider,
      tunDevice,
      manner,
    });
  } catch (error) {
    const status = manner.fail(error);
    return error instanceof HelperError ? error.exitStatus : status;
  }
}

/**
 * The command's resolv.conf: our DNS address, which answers for both families, and the domains given or else those that the
 * host searches. Where IPv6 is a must, so is its DNS address.
 */
function resolvConf(config: EngineConfig, given: readonly string[]): string {
  const { ipv4, dns, restrict } = config;
  const ipv6 = ipv6OnLink(config);
  const isUsable = ipv6 !== null && (!ipv4 || ipv6.defaultRouter === "on");
  const search = given.length > 0 ? given : readResolvConf(RESOLV_CONF).search;
  const domains = search.length > 0 ? [`search ${search.join(" ")}`] : [];
  const servers = [
    ...(!ipv4 || dns === 0 || restrict ? [] : [formatIpv4(dns)]),
    ...(!isUsable || ipv6.dns === null || restrict ? [] : [formatIpv6(ipv6.dns)]),
  ];
  return [...domains, ...servers.map((server) => `nameserver ${server}`)].map((line) => `${line}\n`).join("");
}

interface ExecPlan {
  readonly command: string;
  readonly args: readonly string[];
  readonly search: readonly string[];
  readonly config: EngineConfig;
  readonly host: HostPlan;
  readonly outbound: EnginePlan["outbound"];
  /** Of `--tftp`. */
  readonly folder: Pick<EngineLaunch, "tftp">;
  readonly makeDecider: MakeDecider | undefined;
  readonly tunDevice: string | undefined;
  readonly manner: ExecManner;
}

/** The device that the command sees. */
function tapOf({ config, manner, tunDevice }: ExecPlan): GuestCommandRequest["tap"] {
  return {
    name: manner.device,
    vnetHeader: config.offload,
    configure: manner.isConfigured ? deviceConfig(config) : {},
    ...(tunDevice === undefined ? {} : { tunDevice }),
  };
}

async function runBehindEngine(plan: ExecPlan): Promise<number> {
  const { command, args, search, config, host, outbound, folder, makeDecider, manner } = plan;
  const { log, logFd, close } = openLogFile(host.log);
  const warning = overlapWarning(config, config.sharedSubnet ? [] : hostRoutes());
  if (warning) log.warn(warning);
  const guest = await prepareGuestCommand({
    command,
    args,
    given: manner.given,
    asRoot: manner.asRoot,
    keeps: ownDescriptors(host),
    tap: tapOf(plan),
    resolvConf: resolvConf(config, search),
    warn: (message) => log.warn(message),
  });
  let client: EngineClient | undefined;
  let live: Live | undefined;
  let listening: { close(): void } | undefined;
  try {
    live = new Live(host, log, config, makeDecider);
    for (const note of guest.tap.notes) log.info(note.message);
    const capture = openCapture(host.pcap);
    client = new EngineClient({ config, ...folder, logFd, sandbox: host.sandbox, log, ...live.hooks });
    client.serve({
      link: tapSpec(guest.tap, LINK_FD),
      log: host.log,
      oneOff: false,
      records: live.isReachable,
      ...(outbound === undefined ? {} : { outbound }),
      linkFd: guest.tap.fd,
      ...capture,
    });
    const running = client;
    const ready = await running.ready;
    log.info(describeService(config, ready));
    const stop = (): void => void guest.child.kill("SIGTERM");
    await live.serve({ ...ready, client, config, command: "exec", version: ownVersion(), log, stop });
    void running.ended.then((exit) => {
      // Once the command has ended its device has gone too, as it should.
      const cutOff = exit.reason === "died" || (exit.reason === "link-lost" && isRunning(guest.child));
      if (cutOff) log.error(`${exit.message}; the command is cut off from the network`);
    });
    const forwarding = forwardSignals(guest.child, () => running.report());
    const ended = exitOf(guest.child);
    listening = await followListeners(plan, guest.child.pid, live, log);
    await guest.start();
    const status = await ended;
    forwarding.close();
    return status;
  } finally {
    listening?.close();
    if (isRunning(guest.child)) guest.child.kill("SIGKILL");
    await client?.stop();
    await live?.close();
    close();
  }
}

/** Forwards what the command listens on, where that was asked for. */
async function followListeners(
  { host: { listening } }: ExecPlan,
  pid: number | undefined,
  live: Live,
  log: Logger,
): Promise<{ close(): void } | undefined> {
  if (listening.length === 0 || pid === undefined) return undefined;
  const { ListeningForwards } = await import("../supervisor/listening-forwards.ts");
  return ListeningForwards.start({ netns: pid }, listening, (await live.get()).forwards, log);
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** The exit status a shell would show for a child. */
export function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    const settle = (status: number | null, signal: NodeJS.Signals | null): void => {
      resolve(status ?? SIGNAL_STATUS + (signal ? constants.signals[signal] : 0));
    };
    if (child.exitCode !== null || child.signalCode !== null) settle(child.exitCode, child.signalCode);
    else child.once("exit", settle);
  });
}

/** Signals that a terminal sends to everybody in its foreground group. */
const TERMINAL_SIGNALS = ["SIGINT", "SIGQUIT"] as const;
const FORWARDED_SIGNALS = ["SIGTERM", "SIGHUP", "SIGUSR1"] as const;

/**
 * Passes signals on to the command. With a terminal, SIGINT and SIGQUIT have reached it already; without one they were
 * sent to us alone.
 */
export function forwardSignals(child: ChildProcess, report: () => void): { close(): void } {
  const undo: (() => void)[] = [];
  const on = (signal: NodeJS.Signals, listener: () => void): void => {
    process.on(signal, listener);
    undo.push(() => process.off(signal, listener));
  };
  // Looking at process.stdin would make a pipe non-blocking, which the command shares with us.
  const interactive = isatty(STDIN_FD);
  for (const signal of TERMINAL_SIGNALS) on(signal, () => void (interactive || child.kill(signal)));
  for (const signal of FORWARDED_SIGNALS) on(signal, () => void child.kill(signal));
  on("SIGUSR2", report);
  return {
    close: () => {
      for (const each of undo) each();
    },
  };
}
