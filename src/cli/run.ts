/** `sluice run`: the supervisor of one engine and one guest. */
import { closeSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import type { HostPlan, LinkPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { namedDescriptors, planHost, planLink } from "../config/plan.ts";
import type { Problem } from "../config/problem.ts";
import type { Instance } from "../control/instance.ts";
import type { EngineConfig } from "../engine/config.ts";
import { planEngineHere } from "../host/engine-plan.ts";
import { forLink } from "../host/link/tap-opening.ts";
import { releaseAfterStart } from "../host/process/memory.ts";
import { StartError } from "../host/start-error.ts";
import { lookUpUser, type UserIds } from "../host/users.ts";
import { ownVersion } from "../host/version.ts";
import type { EnginePlan } from "../supervisor/control.ts";
import { EngineClient } from "../supervisor/engine-client.ts";
import { type EngineLaunch, openCapture } from "../supervisor/launch.ts";
import { type LinkHandover, openLink } from "../supervisor/link-opening.ts";
import { Live } from "../supervisor/live.ts";
import type { MakeDecider } from "../supervisor/live-decider.ts";
import { type LineLog, openLogFile, writeText } from "../supervisor/log.ts";
import type { ServiceManager } from "../supervisor/service-manager.ts";
import { watchForEnd } from "../supervisor/supervision.ts";
import { parseCommandArguments } from "./arguments.ts";
import { resolveDecide } from "./decide.ts";
import { commandHelp } from "./help.ts";
import { hostRoutes, overlapWarning } from "./host-routes.ts";
import { checkInherited } from "./inherited.ts";
import { resolveOutbound } from "./outbound.ts";
import { describeService } from "./ready-line.ts";
import { resolveFolder } from "./served-folder.ts";
import { EXIT_FAILED, fail, refuse } from "./start-problem.ts";

function resolveUser(options: OptionSet, host: HostPlan): UserIds | undefined {
  if (host.user === undefined) return undefined;
  const ids = lookUpUser(host.user);
  if (ids === undefined) options.reject("user", "a user of this host");
  else if (process.geteuid?.() !== 0) options.reject("user", "only when started as root");
  return ids;
}

/** Whether this process is to load a program that decides: one that only starts another in the background leaves it to that one. */
async function servesHere({ decide, background }: HostPlan): Promise<boolean> {
  return decide !== undefined && (!background || (await import("./background-starter.ts")).hasStarter());
}

/** How a command that serves a guest deals with who started it. */
export interface Manner {
  /** Tell what is wrong; each returns the exit status. */
  refuse(problems: readonly Problem[]): number;
  fail(error: unknown): number;
  /** The arguments by which the same can be started again. */
  readonly again: readonly string[];
  /** Said on standard output once the guest is served. */
  readonly greeting?: string;
  /** The TAP, where it is open already. */
  readonly tapFd?: number;
  /** Serves what else there is to be had of an instance, from the start on. Returns what ends that. */
  readonly serving?: (instance: () => Promise<Instance>) => Promise<() => void>;
  /** Of a guest that another part of this process has begun. */
  readonly life?: GuestLife;
}

/** The beginning and the end of a guest, as its master hears and gives them. */
export interface GuestLife {
  /** The guest is served, with all its ports. */
  served(): void;
  /** Settles when it is to end, with the reason as a sentence. */
  readonly end: Promise<string>;
}

/** The link with its TAP, where somebody has opened that before. */
function openedLink(link: LinkPlan | undefined, tapFd: number | undefined): LinkPlan | undefined {
  return link?.kind === "tap" && tapFd !== undefined ? { ...link, opened: tapFd } : link;
}

/** Runs `sluice run ARGV`. Returns the exit status. */
export function runCommand(argv: readonly string[]): Promise<number> {
  return runGuest(argv, {
    refuse: (problems) => refuse("run", problems),
    fail: (error) => fail("run", error),
    again: ["run", ...argv],
  });
}

/** The same in the manner of another command. */
export async function runGuest(argv: readonly string[], manner: Manner): Promise<number> {
  const { options, help, rest } = parseCommandArguments("run", argv);
  if (help) {
    process.stdout.write(commandHelp("run"));
    return 0;
  }
  if (rest.length > 0) {
    options.problems.push({ place: "arguments", found: rest.join(" "), allowed: "options only" });
  }
  const link = openedLink(planLink(options), manner.tapFd);
  const config = forLink(await planEngineHere(options), link);
  const host = planHost(options, "run");
  const outbound = resolveOutbound(options, host);
  const folder = resolveFolder(options, host);
  const makeDecider = (await servesHere(host))
    ? await resolveDecide(options, host, config.policy)
    : undefined;
  const user = resolveUser(options, host);
  checkInherited(options);
  if (options.problems.length > 0 || link === undefined) return manner.refuse(options.problems);
  const { greeting, serving, life } = manner;
  const plan: RunPlan = {
    link,
    config,
    host,
    outbound,
    folder,
    user,
    makeDecider,
    ...(greeting === undefined ? {} : { greeting }),
    ...(serving === undefined ? {} : { serving }),
    ...(life === undefined ? {} : { life }),
  };
  try {
    if (!host.background) return await serve(plan);
    const { letGo, takeStarter, tellStarter } = await import("./background-starter.ts");
    const starter = takeStarter();
    if (starter === undefined)
      return await (await import("./background.ts")).startInBackground(manner.again, options);
    letGo([starter, manner.tapFd, ...namedDescriptors(options).map(({ fd }) => fd)]);
    return await serve({ ...plan, tellStarter: (line, logFd) => tellStarter(starter, line, logFd) });
  } catch (error) {
    return manner.fail(error);
  }
}

interface RunPlan {
  readonly link: LinkPlan;
  readonly config: EngineConfig;
  readonly host: HostPlan;
  readonly outbound: EnginePlan["outbound"];
  /** Of `--tftp`. */
  readonly folder: Pick<EngineLaunch, "tftp">;
  readonly user: UserIds | undefined;
  readonly makeDecider: MakeDecider | undefined;
  readonly greeting?: string;
  readonly serving?: NonNullable<Manner["serving"]>;
  readonly life?: GuestLife;
  /** In the background: tells who waits for it that the guest is served. */
  readonly tellStarter?: (line: string, logFd: number) => void;
}

/** Who is told how the service is, if there is anybody. */
async function serviceManager(log: LineLog): Promise<ServiceManager | undefined> {
  if (process.env["NOTIFY_SOCKET"] === undefined) return undefined;
  return (await import("../supervisor/service-manager.ts")).takeServiceManager(log);
}

/** A promise, and what settles it. */
function signal<T>(): { readonly given: Promise<T>; give(value: T): void } {
  let give: (value: T) => void = () => {};
  const given = new Promise<T>((resolve) => {
    give = resolve;
  });
  return { given, give: (value) => give(value) };
}

async function serve(plan: RunPlan): Promise<number> {
  const { config, host } = plan;
  const { log, logFd, close } = openLogFile(host.log);
  const warning = overlapWarning(config, config.sharedSubnet ? [] : hostRoutes());
  if (warning) log.warn(warning);
  let client: EngineClient | undefined;
  let opened: LinkHandover | undefined;
  const closers: ((() => void) | undefined)[] = [];
  const served = signal<void>();
  const live = new Live(host, log, config, plan.makeDecider);
  const manager = await serviceManager(log);
  const watch = watchForEnd(host, plan.link, () => client?.report());
  try {
    client = new EngineClient({
      config,
      link: plan.link,
      ...plan.folder,
      logFd,
      sandbox: host.sandbox,
      ...(plan.user === undefined ? {} : { user: plan.user }),
      log,
      ...live.hooks,
    });
    // Who sees the TAP may ask at once.
    closers.push(await plan.serving?.(() => served.given.then(() => live.get())));
    // While the engine's process loads.
    opened = await openLink(plan.link, config, log);
    const capture = openCapture(host.pcap);
    client.serve({
      link: opened.spec,
      log: host.log,
      oneOff: host.oneOff,
      records: live.isReachable,
      ...(plan.outbound === undefined ? {} : { outbound: plan.outbound }),
      ...(opened.fd === undefined ? {} : { linkFd: opened.fd }),
      ...capture,
    });
    const asked = signal<string>();
    const stop = (): void => asked.give("asked to stop");
    const ends = [watch.end, asked.given, ...(plan.life === undefined ? [] : [plan.life.end])];
    const signalled = Promise.race(ends).then((message) => ({ reason: "signalled" as const, message }));
    const started = await Promise.race([client.ready, signalled]);
    if ("reason" in started) return await end(client, log, started.message);
    const line = describeService(config, started);
    log.info(line);
    if (plan.greeting !== undefined) writeText(1, plan.greeting);
    await live.serve({ ...started, client, config, command: "run", version: ownVersion(), log, stop });
    served.give();
    closers.push(await followListeners(plan, live, log));
    announce(host);
    plan.life?.served();
    if (plan.tellStarter) plan.tellStarter(line, logFd);
    else manager?.ready(line);
    manager?.watch((answered) => client?.ask(answered));
    const ended = await Promise.race([client.ended, signalled]);
    manager?.stopping(ended.message);
    if (ended.reason === "signalled") return await end(client, log, ended.message);
    return exitStatus(ended, log);
  } finally {
    watch.close();
    for (const undo of closers) undo?.();
    await client?.stop();
    await live.close();
    manager?.close();
    opened?.remove?.();
    if (host.pidFile !== undefined) removePidFile(host.pidFile);
    close();
  }
}

/** Forwards what is listened on in the guest's namespace, where that was asked for. */
async function followListeners(
  { host: { listening }, link }: RunPlan,
  live: Live,
  log: LineLog,
): Promise<(() => void) | undefined> {
  if (listening.length === 0 || link.kind !== "tap") return undefined;
  const { ListeningForwards } = await import("../supervisor/listening-forwards.ts");
  const { netns, userns } = link;
  const entry = { ...(netns === undefined ? {} : { netns }), ...(userns === undefined ? {} : { userns }) };
  const following = await ListeningForwards.start(entry, listening, (await live.get()).forwards, log);
  return () => following.close();
}

/** The start is over: tells whoever started this that the guest is served. Throws StartError when that cannot be told. */
function announce({ pidFile, readyFd }: HostPlan): void {
  releaseAfterStart();
  const attempt = (place: string, tell: () => void): void => {
    try {
      tell();
    } catch (error) {
      throw new StartError([{ place, reason: (error as Error).message }]);
    }
  };
  if (pidFile !== undefined) {
    attempt(`--pid-file ${pidFile}`, () => writeFileSync(pidFile, `${process.pid}\n`));
  }
  if (readyFd !== undefined) {
    attempt(`--ready-fd ${readyFd}`, () => {
      writeSync(readyFd, "1");
      closeSync(readyFd);
    });
  }
}

/** Removes the file if it is ours: another sluice, beside which this one could not start, may have the same. */
function removePidFile(path: string): void {
  try {
    if (readFileSync(path, "utf8") === `${process.pid}\n`) rmSync(path);
  } catch {
    // It was never written, or has been removed already.
  }
}

async function end(client: EngineClient, log: LineLog, reason: string): Promise<number> {
  log.info(`${reason}; ending`);
  const exit = await client.stop();
  return exit.reason === "died" ? exitStatus(exit, log) : 0;
}

function exitStatus(exit: { reason: string; message: string }, log: LineLog): number {
  if (exit.reason === "died" || exit.reason === "link-lost") {
    log.error(exit.message);
    return EXIT_FAILED;
  }
  log.info(exit.message);
  return 0;
}
