/** `--decide`: the module whose default export decides about questions. */
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { Unacceptable } from "../config/unacceptable.ts";
import type { Logger } from "../engine/boundary.ts";
import type { PolicyConfig } from "../engine/config.ts";
import type { Decide } from "../supervisor/decider.ts";
import type { MakeDecider } from "../supervisor/live-decider.ts";
import { noteUserCode } from "./user-code.ts";

const EXIT_FAILED = 1;

/** What makes the program that decides, where there is to be one. Complains about a module that is none. */
export async function resolveDecide(
  options: OptionSet,
  { decide: path }: HostPlan,
  policy: PolicyConfig | null,
): Promise<MakeDecider | undefined> {
  if (path === undefined) return undefined;
  const { loadUserModule } = await import("../host/process/user-module.ts");
  const { Decider, whyUnasked } = await import("../supervisor/decider.ts");
  try {
    noteUserCode();
    const { exported, warnings } = await loadUserModule(path);
    if (typeof exported !== "function") {
      options.reject("decide", `a module whose default export is a function (it has ${kindOf(exported)})`);
      return undefined;
    }
    return (parts) => {
      const unasked = policy === null ? undefined : whyUnasked(policy);
      for (const warning of unasked === undefined ? warnings : [...warnings, unasked])
        parts.log.warn(`--decide ${path}: ${warning}`);
      endAfterItsMistakes(path, parts.log);
      return new Decider(exported as Decide, parts);
    };
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    options.reject("decide", error.allowed);
    return undefined;
  }
}

function kindOf(exported: unknown): string {
  return exported === undefined ? "none" : exported === null ? "null" : `one of type ${typeof exported}`;
}

/** What it throws on its own account, and not to whoever asked it, ends this process as it would any, but in order. */
function endAfterItsMistakes(path: string, log: Logger): void {
  let isEnding = false;
  process.on("uncaughtException", (error) => {
    const what = error instanceof Error ? error.stack : String(error);
    log.error(`--decide ${path}: an error that nobody handles: ${what}`);
    if (isEnding) return;
    isEnding = true;
    process.once("exit", () => {
      process.exitCode = EXIT_FAILED;
    });
    process.kill(process.pid, "SIGTERM");
  });
}
