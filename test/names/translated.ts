/** Command lines of other programs, and what `sluice run` makes of their translations. */
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { planEngine, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { copyHost } from "../../src/host/host-copy.ts";
import type { Program, Surroundings, Translation } from "../../src/names/words.ts";

/** A host without IPv6. */
export const SURROUNDINGS: Surroundings = {
  exists: (path) => path !== "/proc/net/if_inet6",
  defaultDevice: () => "eth0",
};

/** The translation, and what comes of it; throws with everything that `sluice run` has against it. */
export function translated(program: Program, line: string, surroundings = SURROUNDINGS) {
  const translation = program.translate(
    line.split(/\s+/).filter((word) => word !== ""),
    surroundings,
  );
  if (typeof translation === "string") throw new Error(`a question: ${translation}`);
  return { ...translation, ...planned(translation) };
}

function planned({ argv }: Translation) {
  const { options, rest } = parseCommandArguments("run", argv);
  const link = planLink(options);
  copyHost(options);
  const engine = planEngine(options, 0x01020304);
  const host = planHost(options, "run");
  const problems = options.problems.map(formatProblem);
  if (problems.length > 0 || rest.length > 0 || link === undefined)
    throw new Error(problems.concat(rest).join("\n"));
  return { link, engine, host };
}
