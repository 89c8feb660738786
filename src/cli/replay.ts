/** `sluice replay`: a capture plays the guest; what the engine did with it is printed. */
import { planEngine, planHost } from "../config/plan.ts";
import { openLogFile } from "../supervisor/log.ts";
import { replayConfined } from "../supervisor/replay-client.ts";
import { parseCommandArguments } from "./arguments.ts";
import { COMMANDS } from "./commands.ts";
import { commandHelp } from "./help.ts";
import { fail, refuse } from "./start-problem.ts";

const SPEED_MAX = 1000;

/** Runs `sluice replay ARGV`. Returns the exit status. */
export async function replayCommand(argv: readonly string[]): Promise<number> {
  const { options, help, rest: files, own } = parseCommandArguments("replay", argv, COMMANDS.replay.own);
  if (help) {
    process.stdout.write(commandHelp("replay"));
    return 0;
  }
  const [path = "", ...more] = files;
  if (path === "" || more.length > 0) {
    options.problems.push({
      place: "FILE",
      found: files.length === 0 ? "none" : files.join(" "),
      allowed: "exactly one capture",
    });
  }
  const config = planEngine(options);
  const host = planHost(options, "replay");
  const speedText = own.get("speed") ?? "";
  const speed = /^\d+(\.\d+)?$/.test(speedText) ? Number(speedText) : Number.NaN;
  if (!(speed <= SPEED_MAX)) {
    options.problems.push({ place: "--speed", found: speedText, allowed: `a number from 0 to ${SPEED_MAX}` });
  }
  const output = own.get("output");
  if (output !== undefined && host.pcap !== undefined) {
    options.problems.push({
      place: "--pcap",
      found: host.pcap,
      allowed: "nothing beside --output, which is the same",
    });
  }
  if (options.problems.length > 0) return refuse("replay", options.problems);
  try {
    const { log, logFd, close } = openLogFile(host.log);
    const file = output ?? host.pcap;
    await replayConfined({
      path,
      config,
      speed,
      sandbox: host.sandbox,
      log,
      logPlan: host.log,
      logFd,
      ...(file === undefined ? {} : { output: file }),
    });
    close();
    return 0;
  } catch (error) {
    return fail("replay", error);
  }
}
