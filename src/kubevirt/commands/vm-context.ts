/** What the commands about one VM start from: the spec, the VM's name, its folder, the machine as it is. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { parseDeviceName } from "../../config/link-grammar.ts";
import { RESOLV_CONF } from "../../host/resolv-conf.ts";
import { findUser } from "../../host/users.ts";
import { readDevice } from "../machine/device-state.ts";
import type { Kernel } from "../machine/iproute.ts";
import { inFirstNamespace } from "../machine/pod-namespace.ts";
import { hostLabel, isDualStack, readResolver } from "../machine/pod-network.ts";
import { findResources, type Resources } from "../plan/device-plugin.ts";
import {
  type DeviceView,
  type Machine,
  type Plan,
  type PlanProblem,
  type PlanRequest,
  planVm,
} from "../plan/plan.ts";
import type { FoundVm } from "../spec/validate.ts";
import type { VmModel } from "../spec/vm-model.ts";
import { bindingsOf, networkDevices } from "./network-options.ts";
import { printFaults } from "./spec-commands.ts";
import { validateFiles } from "./spec-input.ts";
import { UsageError, WrongSpec } from "./usage-error.ts";
import { checked, type VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

const DEFAULT_UPLINK = "eth0";

/** The one VM of the one file a command is about. Reports what is wrong and throws WrongSpec or UsageError. */
export function theVm(args: VmArguments, io: VmIo): FoundVm {
  if (args.words.length !== 1) {
    const found = args.words.length === 0 ? {} : { found: args.words.join(" ") };
    throw new UsageError([{ place: "FILE", ...found, allowed: "one spec file, or - for standard input" }]);
  }
  const result = validateFiles(args.words, bindingsOf(args));
  if (result.problems.length > 0) {
    printFaults(result, io);
    throw new WrongSpec();
  }
  const wanted = args.options.get("vm");
  const vms = result.vms.filter((vm) => wanted === undefined || vm.model.name === wanted);
  const [vm] = vms;
  if (vm !== undefined && vms.length === 1) return vm;
  printFaults(result, io);
  const names = result.vms.map((vm) => vm.model.name ?? vm.item ?? `document ${vm.document}`);
  const found = names.length === 0 ? "no VM in the file" : names.join(", ");
  throw new UsageError([
    {
      place: wanted === undefined ? "FILE" : "--vm",
      found,
      allowed: "one VM; --vm NAME picks one by metadata.name",
    },
  ]);
}

const NAME_ALLOWED = "a name of 1 to 63 letters, digits, - _ and .";

/** The name state is kept under: `--name`, or metadata.name, or the file's name. */
export function vmName(args: VmArguments, vm?: FoundVm): string {
  const given = args.options.get("name");
  if (given !== undefined) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/.test(given)) {
      throw new UsageError([{ place: "--name", found: given, allowed: NAME_ALLOWED }]);
    }
    return given;
  }
  const stem = vm?.model.name ?? basename(args.words[0] ?? "vm").replace(/\.ya?ml$/i, "");
  const name = stem
    .replace(/[^A-Za-z0-9_.-]/g, "-")
    .replace(/^[.-]+/, "")
    .slice(0, 63);
  return name === "" ? "vm" : name;
}

/** Where the VMs of this user or pod keep their state. */
export function runRoot(args: VmArguments, env: VmIo["env"]): string {
  const given = args.options.get("run-dir");
  if (given !== undefined) return given;
  const own = env["XDG_RUNTIME_DIR"];
  return join(own === undefined || own === "" ? "/run" : own, "sluice", "vm");
}

function uplinkOf(args: VmArguments): string {
  return checked("--uplink", args.options.get("uplink") ?? DEFAULT_UPLINK, parseDeviceName);
}

/** Who QEMU runs as, from `--qemu-user`. */
function qemuOwner(args: VmArguments): { uid: number; gid: number } | undefined {
  const user = args.options.get("qemu-user");
  if (user === undefined) return undefined;
  const ids = findUser(user, readFileSync("/etc/passwd", "utf8"));
  if (ids === undefined)
    throw new UsageError([{ place: "--qemu-user", found: user, allowed: "a user, or UID[:GID]" }]);
  return ids;
}

/** A plan's request, from the arguments and the spec. */
export function planRequest(args: VmArguments, vm: FoundVm, io: VmIo): PlanRequest {
  const name = vmName(args, vm);
  const owner = qemuOwner(args);
  const label = vm.model.hostname ?? hostLabel(vm.model.name) ?? hostLabel(hostname());
  const devices = networkDevices(args, vm.model.nics);
  return {
    vm: name,
    model: vm.model,
    uplink: uplinkOf(args),
    runDirectory: join(runRoot(args, io.env), name),
    sandbox: !args.options.has("no-sandbox"),
    ...(args.options.has("vhost-user") ? { sharesMemory: true } : {}),
    ...(owner === undefined ? {} : { owner }),
    ...(label === undefined ? {} : { hostname: label }),
    ...(Object.keys(devices).length === 0 ? {} : { devices }),
  };
}

/** The resources that a model's interfaces need, from the environment. */
export function modelResources(model: VmModel, env: VmIo["env"]): Resources {
  const wanted = model.nics.flatMap(({ name, backend }) =>
    backend.kind === "resource" ? [{ nic: name, resourceName: backend.resourceName }] : [],
  );
  return findResources(wanted, env);
}

/** Reads what a plan needs to know. */
export async function readMachine(
  request: PlanRequest,
  kernel: Kernel,
  resources: Resources,
  resolvConf: string,
): Promise<Machine> {
  const bridged = request.model.nics.filter((nic) => nic.binding === "bridge");
  const names = new Set(bridged.some((nic) => nic.backend.kind === "pod") ? [request.uplink] : []);
  for (const device of resources.devices.values()) names.add(device);
  for (const device of Object.values(request.devices ?? {})) names.add(device);
  const devices = new Map<string, DeviceView>();
  for (const name of names) {
    const view = await readDevice(kernel, name);
    if (view !== undefined) devices.set(name, view);
  }
  return { devices, resources, resolver: readResolver(resolvConf), isDualStack: isDualStack() };
}

export function resolvConfOf(args: VmArguments): string {
  return args.options.get("resolv-conf") ?? RESOLV_CONF;
}

/** Why `up` would not take the uplink: it is this machine's own, and nobody has named it. */
export function uplinkRefusal(args: VmArguments, model: VmModel): PlanProblem | undefined {
  const takesUplink = model.nics.some((nic) => nic.binding === "bridge" && nic.backend.kind === "pod");
  if (!takesUplink || args.options.has("uplink") || !inFirstNamespace()) return undefined;
  return {
    place: "--uplink",
    found: "none, on a machine that is no pod",
    allowed: `the network interface to take, when this is no pod: the address of ${uplinkOf(args)} would be this machine's own (or --pod-netns PATH|PID, to work inside a pod)`,
  };
}

/** The plan of a VM, for the machine as it is. */
export async function planFor(args: VmArguments, vm: FoundVm, io: VmIo, kernel: Kernel): Promise<Plan> {
  const request = planRequest(args, vm, io);
  const resources = modelResources(vm.model, io.env);
  const plan = planVm(request, await readMachine(request, kernel, resources, resolvConfOf(args)));
  const refusal = uplinkRefusal(args, vm.model);
  return refusal === undefined ? plan : { ...plan, problems: [refusal, ...plan.problems] };
}
