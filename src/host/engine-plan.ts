/** The engine's configuration, with what options take from this host. */
import type { OptionSet } from "../config/option-set.ts";
import { planEngine } from "../config/plan.ts";
import type { EngineConfig } from "../engine/config.ts";

/** As `planEngine`. */
export async function planEngineHere(options: OptionSet): Promise<EngineConfig> {
  if (!options.has("copy-host") && !options.has("host-alias")) return planEngine(options);
  const { aliasedHost, copyHost } = await import("./host-copy.ts");
  copyHost(options);
  return planEngine(options, aliasedHost(options));
}
