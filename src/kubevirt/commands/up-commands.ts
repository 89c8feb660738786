/** `up`, `down`, `status`, `run` and `qemu-args`: the commands that change the machine, or look at what they changed. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { sharedMemoryArguments } from "../../config/qemu-memory.ts";
import { waitForDevice } from "../machine/device-wait.ts";
import { type Host, thisHost } from "../machine/host.ts";
import { bringUp, type Health, health, repair, takeDown } from "../machine/lifecycle.ts";
import { Refusal } from "../machine/refusal.ts";
import { SignalRouter } from "../machine/signal-router.ts";
import { StateFolder, type VmState } from "../machine/vm-state.ts";
import { DEVICE_WAIT_SECONDS, type Plan, planVm } from "../plan/plan.ts";
import { shellQuoted } from "../plan/qemu-args.ts";
import { EXIT_FAILED, EXIT_OK } from "./exit-status.ts";
import { hostCommand } from "./host-command.ts";
import { printNotes } from "./spec-commands.ts";
import { UsageError } from "./usage-error.ts";
import { choiceOf, type VmArguments } from "./vm-arguments.ts";
import {
  modelResources,
  planFor,
  planRequest,
  readMachine,
  resolvConfOf,
  runRoot,
  theVm,
  uplinkRefusal,
  vmName,
} from "./vm-context.ts";
import type { VmIo } from "./vm-io.ts";

export function upCommand(args: VmArguments, io: VmIo): Promise<number> {
  return hostCommand("up", args, io, async () => {
    const signals = new SignalRouter();
    try {
      const state = await up(args, io, thisHost, signals.abortSignal());
      io.stdout.write(`${shellQuoted(state.plan.qemuArguments)}\n`);
      return EXIT_OK;
    } finally {
      signals.close();
    }
  });
}

/** Brings the VM up, or finds that it is. */
async function up(args: VmArguments, io: VmIo, host: Host, signal: AbortSignal): Promise<VmState> {
  const vm = theVm(args, io);
  const request = planRequest(args, vm, io);
  const refusal = uplinkRefusal(args, vm.model);
  if (refusal !== undefined) throw new UsageError([{ place: refusal.place, allowed: refusal.allowed }]);
  const folder = new StateFolder(runRoot(args, io.env), request.vm);
  return folder.locked(async () => {
    const before = folder.load();
    const asked = JSON.stringify(request);
    if (before?.phase === "up") return stillUp(before, asked, folder, host, io);
    if (before !== undefined) {
      io.stderr.write(`an earlier attempt to change ${request.vm} was cut off; undoing it first\n`);
      await takeDown(before, folder, host);
    }
    const resources = modelResources(vm.model, io.env);
    for (const device of resources.devices.values()) {
      await waitForDevice(host, device, DEVICE_WAIT_SECONDS, (text) => io.stderr.write(text), signal);
    }
    const plan = planVm(request, await readMachine(request, host, resources, resolvConfOf(args)));
    refuseBadPlan(plan);
    printNotes(vm.notes, io);
    for (const warning of plan.warnings) io.stderr.write(`warning: ${warning}\n`);
    return bringUp(plan, asked, folder, host, signal);
  });
}

/** A VM that is up already: nothing to do, but to start processes that have died. */
async function stillUp(
  state: VmState,
  asked: string,
  folder: StateFolder,
  host: Host,
  io: VmIo,
): Promise<VmState> {
  if (state.request !== asked) {
    throw new Refusal(`${state.plan.vm} is up with another spec or other options; take it down first`);
  }
  const parts = await health(state, host);
  const broken = parts.filter(({ ok, step }) => !ok && step === undefined);
  if (broken.length > 0) {
    const gone = broken.map(({ part }) => part).join(", ");
    throw new Refusal(`${state.plan.vm} is up but ${gone} is gone; take it down and up again`);
  }
  for (const { part, ok } of parts) if (!ok) io.stderr.write(`${part} was gone and is started again\n`);
  await repair(state, parts, folder, host);
  return state;
}

function refuseBadPlan(plan: Plan): void {
  const problems = plan.problems.map(
    ({ place, found, allowed }) => `${place}: found ${found}; allowed: ${allowed}`,
  );
  const lines = [...problems, ...plan.unknown];
  if (lines.length > 0) throw new Refusal(`nothing was changed:\n${lines.join("\n")}`);
}

/** The name of the VM a command without a spec is about. */
function namedFolder(args: VmArguments, io: VmIo): { readonly name: string; readonly folder: StateFolder } {
  const name = args.options.has("name") ? vmName(args) : vmName(args, theVm(args, io));
  return { name, folder: new StateFolder(runRoot(args, io.env), name) };
}

export function downCommand(args: VmArguments, io: VmIo): Promise<number> {
  return hostCommand("down", args, io, async () => {
    const { name, folder } = namedFolder(args, io);
    return folder.locked(async () => {
      const state = folder.load();
      if (state === undefined) io.stderr.write(`${name} is not up\n`);
      else await takeDown(state, folder, thisHost);
      return EXIT_OK;
    });
  });
}

export function statusCommand(args: VmArguments, io: VmIo): Promise<number> {
  return hostCommand("status", args, io, async () => {
    const format = choiceOf(args, "format", ["text", "json"]);
    const { name, folder } = namedFolder(args, io);
    const state = folder.load();
    const parts = state === undefined ? [] : await health(state, thisHost);
    const phase = state === undefined ? "down" : state.phase === "changing" ? "interrupted" : "up";
    const healthy = phase === "up" && parts.every(({ ok }) => ok);
    if (format === "json") {
      io.stdout.write(
        `${JSON.stringify({ name, phase, healthy, parts, plan: state?.plan ?? null }, undefined, 2)}\n`,
      );
    } else {
      io.stdout.write(statusText(name, phase, parts));
    }
    return healthy ? EXIT_OK : EXIT_FAILED;
  });
}

function statusText(name: string, phase: string, parts: readonly Health[]): string {
  const lines = parts.map(({ part, ok }) => `  ${ok ? "ok  " : "GONE"}  ${part}`);
  return `${[`${name}: ${phase}`, ...lines].join("\n")}\n`;
}

/** QEMU's arguments: of the VM that is up, or of the plan for one that is not. */
export function qemuArgsCommand(args: VmArguments, io: VmIo): Promise<number> {
  return hostCommand("qemu-args", args, io, async () => {
    const format = choiceOf(args, "format", ["shell", "json"]);
    const { folder } = namedFolder(args, io);
    const state = folder.load();
    const plan = state?.phase === "up" ? state.plan : await planFor(args, theVm(args, io), io, thisHost);
    if (state?.phase !== "up") refuseBadPlan(plan);
    const text = format === "json" ? JSON.stringify(plan.qemuArguments) : shellQuoted(plan.qemuArguments);
    io.stdout.write(`${text}\n`);
    return EXIT_OK;
  });
}

const EXIT_SIGNAL_BASE = 128;

/** up, QEMU in the foreground, down. The exit status is QEMU's. */
export function runCommand(args: VmArguments, io: VmIo): Promise<number> {
  const [program, ...ownArguments] = args.rest ?? [];
  if (program === undefined) {
    throw new UsageError([
      { place: "--", allowed: "QEMU's command line behind it: FILE -- qemu-system-x86_64 ..." },
    ]);
  }
  return hostCommand("run", args, io, async () => {
    const signals = new SignalRouter();
    try {
      const interrupted = signals.abortSignal();
      const state = await up(args, io, thisHost, interrupted);
      try {
        if (interrupted.aborted) throw new Refusal("interrupted before QEMU was started");
        const isShared = state.plan.nics.some(({ netdev }) => netdev.kind === "vhost-user");
        const memory = isShared ? sharedMemoryArguments(ownArguments) : [];
        const argv = [...ownArguments, ...memory, ...state.plan.qemuArguments];
        return await runQemu(program, argv, state, io, signals);
      } finally {
        signals.ignore();
        const folder = new StateFolder(runRoot(args, io.env), state.plan.vm);
        await folder.locked(async () => takeDown(folder.load() ?? state, folder, thisHost));
      }
    } finally {
      signals.close();
    }
  });
}

/** Runs QEMU with our terminal; signals sent to us go to it. */
function runQemu(
  program: string,
  argv: readonly string[],
  state: VmState,
  io: VmIo,
  signals: SignalRouter,
): Promise<number> {
  const child = spawn(program, [...argv], { stdio: "inherit", ...state.plan.owner });
  signals.forward(child);
  return new Promise<number>((resolve) => {
    child.once("error", (error) => {
      io.stderr.write(`sluice vm run: ${program}: ${error.message}\n`);
      resolve(EXIT_FAILED);
    });
    child.once("exit", (code, signal) => {
      resolve(code ?? EXIT_SIGNAL_BASE + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
