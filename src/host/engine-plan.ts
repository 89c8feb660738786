/** The engine's configuration, with what options take from this host and from files. */
import type { OptionSet } from "../config/option-set.ts";
import { planEngine } from "../config/plan.ts";
import { planPolicy } from "../config/policy-plan.ts";
import type { PortRange } from "../config/publish-grammar.ts";
import type { EngineConfig } from "../engine/config.ts";

/** As `planEngine`. */
export async function planEngineHere(options: OptionSet): Promise<EngineConfig> {
  const config = await planWithHost(options);
  const policy = await planPolicy(options);
  return policy === null ? config : { ...config, policy };
}

async function planWithHost(options: OptionSet): Promise<EngineConfig> {
  const ephemeral = await ephemeralOf(options);
  if (!options.has("copy-host") && !options.has("host-alias")) return planEngine(options, 0, ephemeral);
  const { aliasedHost, copyHost } = await import("./host-copy.ts");
  copyHost(options);
  return planEngine(options, aliasedHost(options), ephemeral);
}

/** The ports of the host's own connections, where a set of ports leaves them out. */
async function ephemeralOf(options: OptionSet): Promise<PortRange | undefined> {
  const isAsked = options.all("publish").some(({ value }) => value.some(({ optional }) => optional));
  return isAsked ? (await import("./forwards.ts")).ephemeralPorts() : undefined;
}
