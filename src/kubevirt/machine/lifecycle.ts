/**
 * Bringing a VM's network up and taking it down, step by step.
 *
 *   none --up--> changing --last step done--> up --down--> changing --all undone--> none
 *
 * The state is written before each step and before each undoing, so that from any crash `down` (or the next `up`)
 * finds what may have happened and undoes it, last step first. A step that fails undoes itself and all before it.
 */
import { readlinkSync } from "node:fs";
import type { Plan } from "../plan/plan.ts";
import { describeStep, type Step } from "../plan/steps.ts";
import { deviceExists } from "./device-state.ts";
import type { Host } from "./host.ts";
import { perform, remember, type Stage, undo } from "./perform.ts";
import { isRunning } from "./service-process.ts";
import { bootId, type DeviceMemory, type StateFolder, type VmState } from "./vm-state.ts";

/** A step that failed, and what could not be undone afterwards. */
export class LifecycleError extends Error {
  override readonly name = "LifecycleError";

  constructor(
    message: string,
    /** What is still as the failed attempt left it; empty when everything was undone. */
    readonly left: readonly string[],
  ) {
    super(message);
  }
}

/** Carries out a plan. Throws LifecycleError after undoing what was done; `signal` stops between two steps. */
export async function bringUp(
  plan: Plan,
  request: string,
  folder: StateFolder,
  host: Host,
  signal?: AbortSignal,
): Promise<VmState> {
  const state: VmState = {
    version: 1,
    request,
    plan,
    boot: bootId(),
    namespace: networkNamespace(),
    memory: await rememberAll(plan.steps, host),
    phase: "changing",
    begun: 0,
    processes: {},
  };
  const stage = stageOf(folder, host, state);
  for (const [index, step] of plan.steps.entries()) {
    state.begun = index + 1;
    stage.save();
    try {
      signal?.throwIfAborted();
      await perform(step, index, stage);
    } catch (error) {
      const left = await undoAll(stage);
      if (left.length === 0) folder.remove();
      throw new LifecycleError(`step ${index + 1}, ${describeStep(step)}: ${messageOf(error)}`, left);
    }
  }
  state.phase = "up";
  stage.save();
  return state;
}

/** Undoes everything a state says may have been done. Throws LifecycleError with what could not be. */
export async function takeDown(state: VmState, folder: StateFolder, host: Host): Promise<void> {
  if (state.namespace !== networkNamespace()) {
    const message = `it is up in another network namespace (${state.namespace}): take it down there`;
    throw new LifecycleError(message, [state.namespace]);
  }
  const stage = stageOf(folder, host, state);
  state.phase = "changing";
  stage.save();
  const left = await undoAll(stage);
  if (left.length > 0) throw new LifecycleError("not everything could be undone", left);
  folder.remove();
}

function stageOf(folder: StateFolder, host: Host, state: VmState): Stage {
  return { host, folder: folder.path, state, save: () => folder.save(state) };
}

/** The namespace of this process, such as `net:[4026531833]`. */
function networkNamespace(): string {
  return readlinkSync("/proc/self/ns/net");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The devices that were there before and that a step changes. */
async function rememberAll(steps: readonly Step[], host: Host): Promise<Record<string, DeviceMemory>> {
  const made = new Set(
    steps.flatMap((step) => (step.do === "create-bridge" || step.do === "create-tap" ? [step.device] : [])),
  );
  const memory: Record<string, DeviceMemory> = {};
  for (const step of steps) {
    if (step.do !== "enslave" || made.has(step.device) || Object.hasOwn(memory, step.device)) continue;
    const device = await remember(host, step.device);
    if (device !== undefined) memory[step.device] = device;
  }
  return memory;
}

/** Undoes the steps begun, last first. A step that cannot be undone is told and left, the rest is undone. */
async function undoAll(stage: Stage): Promise<string[]> {
  const { state } = stage;
  const left: string[] = [];
  const begun = [...state.plan.steps.entries()].slice(0, state.begun).reverse();
  for (const [index, step] of begun) {
    try {
      await undo(step, index, stage);
    } catch (error) {
      left.push(`${describeStep(step)}: ${messageOf(error)}`);
    }
    if (left.length === 0) {
      state.begun = index;
      stage.save();
    }
  }
  return left;
}

/** One part of a VM that is up, and whether it still is there. */
export interface Health {
  readonly part: string;
  readonly ok: boolean;
  /** Index of the step that starts it anew; absent where nothing but down and up helps. */
  readonly step?: number;
}

/** Looks at everything that has to be there while a VM is up. */
export async function health(state: VmState, host: Host): Promise<Health[]> {
  const parts: Health[] = [];
  for (const [index, step] of state.plan.steps.entries()) {
    if (step.do === "create-bridge" || step.do === "create-tap") {
      const what = step.do === "create-bridge" ? "bridge" : "TAP";
      parts.push({ part: `${what} ${step.device}`, ok: await deviceExists(host, step.device) });
    } else if (step.do === "serve-dhcp" || step.do === "start-engine") {
      const identity = state.processes[index];
      const what = step.do === "serve-dhcp" ? "DHCP server" : "engine";
      const ok = identity !== undefined && isRunning(identity);
      const pid = identity === undefined ? "" : ` (process ${identity.pid})`;
      parts.push({ part: `${what} of ${step.nic}${pid}`, ok, step: index });
    }
  }
  return parts;
}

/** Starts the processes anew that are gone. Throws LifecycleError when that fails; the rest stays as it is. */
export async function repair(
  state: VmState,
  parts: readonly Health[],
  folder: StateFolder,
  host: Host,
): Promise<void> {
  const stage = stageOf(folder, host, state);
  for (const { ok, step: index } of parts) {
    const step = index === undefined ? undefined : state.plan.steps[index];
    if (ok || index === undefined || step === undefined) continue;
    try {
      await perform(step, index, stage);
    } catch (error) {
      throw new LifecycleError(`${describeStep(step)}: ${messageOf(error)}`, []);
    }
  }
}
