/** `sluice qemu`: QEMU and the engine, joined by a socket pair that QEMU inherits, or by memory that they share. */
import type { ChildProcess } from "node:child_process";
import { formatMac } from "../config/address.ts";
import type { HostPlan } from "../config/host-plan.ts";
import { planHost } from "../config/plan.ts";
import type { Problem } from "../config/problem.ts";
import { SHARED_RINGS } from "../config/qemu-memory.ts";
import type { EngineConfig } from "../engine/config.ts";
import { MTU_DEFAULT } from "../engine/limits.ts";
import { planEngineHere } from "../host/engine-plan.ts";
import { native } from "../host/native/native.ts";
import { givenArgs, takeGivenDescriptors } from "../host/process/given-state.ts";
import { FIRST_CHANNEL, runHelper } from "../host/process/helper.ts";
import { ownVersion } from "../host/version.ts";
import type { EnginePlan } from "../supervisor/control.ts";
import { EngineClient } from "../supervisor/engine-client.ts";
import { type EngineLaunch, openCapture } from "../supervisor/launch.ts";
import { Live } from "../supervisor/live.ts";
import type { MakeDecider } from "../supervisor/live-decider.ts";
import { openLogFile } from "../supervisor/log.ts";
import { parseCommandArguments } from "./arguments.ts";
import { resolveDecide } from "./decide.ts";
import { exitOf, forwardSignals } from "./exec.ts";
import { commandHelp } from "./help.ts";
import { hostRoutes, overlapWarning } from "./host-routes.ts";
import { checkInherited, ownDescriptors } from "./inherited.ts";
import { resolveOutbound } from "./outbound.ts";
import { NETDEV, type QemuCard, sharedCard, socketCard } from "./qemu-card.ts";
import { describeService } from "./ready-line.ts";
import { resolveFolder } from "./served-folder.ts";
import { fail, refuse } from "./start-problem.ts";

/** QEMU's name for a model's -device. */
const DEVICES = {
  virtio: "virtio-net-pci",
  e1000: "e1000",
  e1000e: "e1000e",
  ne2k_pci: "ne2k_pci",
  pcnet: "pcnet",
  rtl8139: "rtl8139",
} as const;

/** QEMU's own default, so that a guest keeps its name for the card when it moves here. */
const DEFAULT_MAC = "52:54:00:12:34:56";

/** The `-device` that shows the guest its card: virtio is told an MTU beyond Ethernet's. */
export function deviceArguments(model: keyof typeof DEVICES, config: EngineConfig, more = ""): string[] {
  const mac = config.guestMac ? formatMac(config.guestMac) : DEFAULT_MAC;
  const mtu = model === "virtio" && config.mtu !== MTU_DEFAULT ? `,host_mtu=${config.mtu}` : "";
  return ["-device", `${DEVICES[model]},netdev=${NETDEV},mac=${mac}${mtu}${more}`];
}

/** Runs `sluice qemu ARGV`. Returns QEMU's exit status. */
export async function qemuCommand(argv: readonly string[]): Promise<number> {
  const { options, help, rest } = parseCommandArguments("qemu", argv);
  if (help) {
    process.stdout.write(commandHelp("qemu"));
    return 0;
  }
  if (rest.length === 0) {
    options.problems.push({
      place: "command",
      allowed: "QEMU's command line, such as sluice qemu -- qemu-system-x86_64 disk.img",
    });
  }
  const config = await planEngineHere(options);
  const host = planHost(options, "qemu");
  const outbound = resolveOutbound(options, host);
  const folder = resolveFolder(options, host);
  const makeDecider = await resolveDecide(options, host, config.policy);
  checkInherited(options);
  const model = options.value("model");
  const clash = conflictingArgument(rest);
  if (clash) options.problems.push(clash);
  const shared = options.has("vhost-user");
  if (shared && model !== "virtio") options.reject("model", `virtio beside ${options.place("vhost-user")}`);
  if (options.problems.length > 0) return refuse("qemu", options.problems);
  try {
    const passes = takeGivenDescriptors(ownDescriptors(host));
    const open = (): QemuCard =>
      shared
        ? sharedCard(rest, deviceArguments(model, config, `,${SHARED_RINGS}`))
        : socketCard(passes, deviceArguments(model, config));
    return await runWithEngine({ words: rest, passes, open, config, host, outbound, folder, makeDecider });
  } catch (error) {
    return fail("qemu", error);
  }
}

/** A -netdev of the same name would be a riddle in QEMU's own words. */
function conflictingArgument(words: readonly string[]): Problem | undefined {
  const found = words.find((word) => new RegExp(`\\bid=${NETDEV}\\b`).test(word));
  return found === undefined
    ? undefined
    : { place: "QEMU's arguments", found, allowed: `any id but ${NETDEV}, which is ours` };
}

interface QemuPlan {
  readonly words: readonly string[];
  /** Descriptors that QEMU gets by their numbers. */
  readonly passes: readonly number[];
  readonly open: () => QemuCard;
  readonly config: EngineConfig;
  readonly host: HostPlan;
  readonly outbound: EnginePlan["outbound"];
  /** Of `--tftp`. */
  readonly folder: Pick<EngineLaunch, "tftp">;
  readonly makeDecider: MakeDecider | undefined;
}

/** Starts QEMU with its card. */
async function startQemu({ words, passes }: QemuPlan, card: QemuCard): Promise<ChildProcess> {
  const { fd, theirs } = card;
  const place = fd === undefined || fd === FIRST_CHANNEL ? [] : ["--place-fd", `${FIRST_CHANNEL}:${fd}`];
  const run = runHelper([...place, ...givenArgs(), "--", ...words, ...card.words], {
    stdio: "inherit",
    channels: theirs === undefined ? [] : [theirs],
    passes,
    outlives: true,
  });
  try {
    await run.wait(() => false);
  } catch (error) {
    throw new Error(`${words[0]} could not be started: ${(error as Error).message}`);
  }
  return run.child;
}

async function runWithEngine(plan: QemuPlan): Promise<number> {
  const { config, host, outbound, folder, makeDecider } = plan;
  const { log, logFd, close } = openLogFile(host.log);
  const warning = overlapWarning(config, config.sharedSubnet ? [] : hostRoutes());
  if (warning) log.warn(warning);
  const card = plan.open();
  let client: EngineClient | undefined;
  let live: Live | undefined;
  try {
    live = new Live(host, log, config, makeDecider);
    const capture = openCapture(host.pcap);
    client = new EngineClient({ config, ...folder, logFd, sandbox: host.sandbox, log, ...live.hooks });
    client.serve({
      link: card.link,
      log: host.log,
      oneOff: true,
      records: live.isReachable,
      ...(outbound === undefined ? {} : { outbound }),
      linkFd: card.ours,
      ...capture,
    });
    const running = client;
    const ready = await running.ready;
    log.info(describeService(config, ready));
    void running.ended.then((exit) => {
      if (exit.reason === "died") log.error(`${exit.message}; the guest is cut off from the network`);
    });
    const child = await startQemu(plan, card);
    if (card.theirs !== undefined) native.close(card.theirs);
    const stop = (): void => void child.kill("SIGTERM");
    await live.serve({ ...ready, client, config, command: "qemu", version: ownVersion(), log, stop });
    const forwarding = forwardSignals(child, () => running.report());
    const status = await exitOf(child);
    forwarding.close();
    return status;
  } finally {
    await client?.stop();
    await live?.close();
    card.remove();
    close();
  }
}
