/** What a run with a policy ends with: what was denied, kept for who wants rules made of it. Loaded only where it was something. */
import { policyText } from "../config/policy/text.ts";
import { keepLastRun } from "../control/last-run.ts";
import type { PolicyConfig } from "../engine/config.ts";
import type { EngineDenial } from "./calls.ts";
import type { LineLog } from "./log.ts";
import { formatDenials } from "./report.ts";

export function tellDenials(policy: PolicyConfig, denials: readonly EngineDenial[], log: LineLog): void {
  const isKept = keepLastRun({ policy: policyText(policy), denials: [...denials] }, process.env);
  if (log.level === "error") return;
  const hint = isKept ? "sluice: to allow them: sluice policy suggest --from last\n" : "";
  log.text(formatDenials(policy, denials) + hint);
}
