/** `plan`: says what would be, changes nothing, needs no privileges. */

import { hostKernel } from "../machine/iproute.ts";
import { planDot, planMermaid } from "../plan/plan-graph.ts";
import { planReport } from "../plan/plan-text.ts";
import { EXIT_FAILED, EXIT_OK } from "./exit-status.ts";
import { hostCommand } from "./host-command.ts";
import { choiceOf, type VmArguments } from "./vm-arguments.ts";
import { planFor, theVm } from "./vm-context.ts";
import type { VmIo } from "./vm-io.ts";

export function planCommand(args: VmArguments, io: VmIo): Promise<number> {
  return hostCommand("plan", args, io, () => showPlan(args, io));
}

async function showPlan(args: VmArguments, io: VmIo): Promise<number> {
  const format = choiceOf(args, "format", ["text", "json", "mermaid", "dot"]);
  const vm = theVm(args, io);
  const plan = await planFor(args, vm, io, hostKernel);
  const { notes } = vm;
  const texts = {
    text: () => planReport(plan, notes),
    json: () => `${JSON.stringify({ ...plan, notes }, undefined, 2)}\n`,
    mermaid: () => planMermaid(plan),
    dot: () => planDot(plan),
  };
  io.stdout.write(texts[format]());
  return plan.problems.length === 0 ? EXIT_OK : EXIT_FAILED;
}
