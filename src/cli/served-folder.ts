/** `--tftp` for an engine process. */
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { FOLDER_ALLOWED, folderOf } from "../host/served-folder.ts";
import type { EngineLaunch } from "../supervisor/launch.ts";

/** The folder as the engine is to know it, if there is one. Complains about what is none. */
export function resolveFolder(options: OptionSet, host: HostPlan): Pick<EngineLaunch, "tftp"> {
  if (host.tftp === undefined) return {};
  const tftp = folderOf(host.tftp);
  if (tftp !== undefined) return { tftp };
  options.reject("tftp", FOLDER_ALLOWED);
  return {};
}
