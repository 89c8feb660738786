/**
 * Carries a step out, and undoes it. Undoing takes nothing for granted: a step may have happened or not (a crash in
 * the middle), and what it made may be gone already.
 */
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatAddress, type Step } from "../plan/steps.ts";
import {
  type DeviceState,
  deviceExists,
  type NeighbourEntry,
  readDevice,
  readNeighbours,
} from "./device-state.ts";
import type { Host } from "./host.ts";
import { type Kernel, KernelError } from "./iproute.ts";
import type { DeviceMemory, VmState } from "./vm-state.ts";

/** Where steps happen. */
export interface Stage {
  readonly host: Host;
  /** The VM's folder. */
  readonly folder: string;
  readonly state: VmState;
  /** Writes the state down. */
  readonly save: () => void;
}

/** Carries out step number `index`. Throws KernelError, ServiceError or an Error of the file system. */
export async function perform(step: Step, index: number, stage: Stage): Promise<void> {
  const kernel = stage.host;
  const link = (...args: string[]): Promise<unknown> => kernel.run("ip", ["link", "set", "dev", ...args]);
  switch (step.do) {
    case "wait-for-device":
      return; // Done before the plan was made: it needs the device's MAC and MTU.
    case "create-bridge":
      return createBridge(kernel, step);
    case "disable-ipv6":
      return disableIpv6(kernel, step.device);
    case "add-server-address":
      await kernel.run("ip", ["address", "add", step.address, "dev", step.device, "scope", "link"]);
      return;
    case "enslave":
      await link(step.device, "master", step.bridge);
      return;
    case "learning-off":
      await link(step.device, "type", "bridge_slave", "learning", "off");
      return;
    case "remove-addresses":
      await kernel.run("ip", ["-4", "address", "flush", "dev", step.device]);
      return;
    case "set-mac":
      await link(step.device, "address", step.to);
      return;
    case "move-address":
      await kernel.run("ip", ["address", "add", ...addressArguments(step), "dev", step.device]);
      return;
    case "move-route":
      await kernel.run("ip", ["route", "add", ...routeArguments(step)]);
      return;
    case "yield-mac":
      await kernel.run("bridge", ["fdb", "del", step.mac, "dev", step.device, "master"]);
      return;
    case "create-tap": {
      const owner =
        step.owner === undefined ? [] : ["user", String(step.owner.uid), "group", String(step.owner.gid)];
      await kernel.run("ip", ["tuntap", "add", "dev", step.device, "mode", "tap", ...owner]);
      if (step.mac !== undefined) await link(step.device, "address", step.mac);
      return;
    }
    case "set-mtu":
      await link(step.device, "mtu", String(step.mtu));
      return;
    case "bring-up":
      await link(step.device, "up");
      return;
    case "serve-dhcp":
      return serveDhcp(step, index, stage);
    case "start-engine":
      return startEngine(step, index, stage);
  }
}

async function createBridge(kernel: Kernel, step: Extract<Step, { do: "create-bridge" }>): Promise<void> {
  const { device, mtu, mac } = step;
  // A given MTU and MAC also keep the bridge from following its ports'.
  await kernel.run("ip", [
    ...["link", "add", "name", device, "mtu", String(mtu), "address", mac, "type", "bridge"],
    ...["stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"],
  ]);
}

/** On a kernel without IPv6 there is nothing to turn off. */
async function disableIpv6(kernel: Kernel, device: string): Promise<void> {
  try {
    await kernel.writeSysctl(`net/ipv6/conf/${device}/disable_ipv6`, "1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    // A container may see /proc/sys read-only; without a link-local address the device stays silent as well.
    if ((error as NodeJS.ErrnoException).code !== "EROFS") throw error;
    await kernel.run("ip", ["link", "set", "dev", device, "addrgenmode", "none"]);
  }
}

function addressArguments({ address }: Extract<Step, { do: "move-address" }>): string[] {
  const broadcast = address.broadcast === undefined ? [] : ["broadcast", address.broadcast];
  return [formatAddress(address), ...broadcast];
}

function routeArguments({ device, route }: Extract<Step, { do: "move-route" }>): string[] {
  return [
    route.destination,
    ...(route.gateway === undefined ? [] : ["via", route.gateway]),
    ...["dev", device],
    ...(route.table === undefined ? [] : ["table", route.table]),
    ...(route.protocol === undefined ? [] : ["proto", route.protocol]),
    ...(route.scope === undefined ? [] : ["scope", route.scope]),
    ...(route.source === undefined ? [] : ["src", route.source]),
    ...(route.metric === 0 ? [] : ["metric", String(route.metric)]),
    ...(route.onLink ? ["onlink"] : []),
  ];
}

async function serveDhcp(
  step: Extract<Step, { do: "serve-dhcp" }>,
  index: number,
  stage: Stage,
): Promise<void> {
  const offer = join(stage.folder, `dhcp-${index}.json`);
  writeFileSync(offer, JSON.stringify(step.offer), { mode: 0o600 });
  await service(["vm", "dhcp-serve", step.device, offer], index, stage);
}

async function startEngine(
  step: Extract<Step, { do: "start-engine" }>,
  index: number,
  stage: Stage,
): Promise<void> {
  await service([...step.argv, "--outlive-parent"], index, stage);
  const { owner } = stage.state.plan;
  if (owner !== undefined) chownSync(step.socket, owner.uid, owner.gid);
}

async function service(argv: readonly string[], index: number, stage: Stage): Promise<void> {
  await stage.host.startService({
    argv,
    log: join(stage.folder, `service-${index}.log`),
    begun: (identity) => {
      stage.state.processes[index] = identity;
      stage.save();
    },
  });
}

/** Undoes step number `index`, whether it happened or not. Throws as `perform` does. */
export async function undo(step: Step, index: number, stage: Stage): Promise<void> {
  const { host: kernel, state } = stage;
  switch (step.do) {
    case "create-bridge":
    case "create-tap":
      if (await deviceExists(kernel, step.device))
        await kernel.run("ip", ["link", "delete", "dev", step.device]);
      return;
    case "enslave": {
      const now = await readDevice(kernel, step.device);
      if (now?.master === step.bridge)
        await kernel.run("ip", ["link", "set", "dev", step.device, "nomaster"]);
      return;
    }
    case "remove-addresses": {
      const memory = state.memory[step.device];
      const now = await rememberedDevice(kernel, step.device, state);
      if (memory !== undefined && now !== undefined) await restoreAddresses(kernel, step.device, memory);
      return;
    }
    case "set-mac": {
      const now = await rememberedDevice(kernel, step.device, state);
      if (now !== undefined && now.mac !== step.from) {
        await kernel.run("ip", ["link", "set", "dev", step.device, "address", step.from]);
      }
      return;
    }
    case "move-address": {
      const now = await readDevice(kernel, step.device);
      const there = now?.addresses.some(({ address }) => address === step.address.address);
      if (there)
        await kernel.run("ip", ["address", "delete", formatAddress(step.address), "dev", step.device]);
      return;
    }
    case "bring-up": {
      // Devices made here are deleted; one that was there goes back to what it was.
      const now = await rememberedDevice(kernel, step.device, state);
      if (now?.up && !state.memory[step.device]?.up) {
        await kernel.run("ip", ["link", "set", "dev", step.device, "down"]);
      }
      return;
    }
    case "serve-dhcp":
    case "start-engine": {
      const identity = state.processes[index];
      if (identity !== undefined) await kernel.endService(identity);
      return;
    }
    default:
      return; // Goes with the device it was done to.
  }
}

/** A device that was there before, as it is now; undefined when it is gone, even if another has its name. */
async function rememberedDevice(
  kernel: Kernel,
  device: string,
  state: VmState,
): Promise<DeviceState | undefined> {
  const now = await readDevice(kernel, device);
  return now !== undefined && now.index === state.memory[device]?.index ? now : undefined;
}

/** Reads what `restoreAddresses` and the others need. Undefined when the device is not there. */
export async function remember(kernel: Kernel, device: string): Promise<DeviceMemory | undefined> {
  const state = await readDevice(kernel, device);
  if (state === undefined) return undefined;
  const addresses = await kernel.run("ip", ["-4", "address", "save", "dev", device]);
  const routes = await kernel.run("ip", ["-4", "route", "save", "table", "all", "dev", device]);
  return {
    index: state.index,
    mac: state.mac,
    up: state.up,
    addresses: addresses.toString("base64"),
    routes: routes.toString("base64"),
    neighbours: await readNeighbours(kernel, device),
  };
}

/**
 * Puts addresses, routes and neighbours back from the kernel's own messages. What is there already is left (iproute2
 * says so on stderr and goes on).
 */
async function restoreAddresses(kernel: Kernel, device: string, memory: DeviceMemory): Promise<void> {
  await kernel.run("ip", ["address", "restore"], Buffer.from(memory.addresses, "base64"));
  await kernel.run("ip", ["route", "restore"], Buffer.from(memory.routes, "base64"));
  for (const entry of memory.neighbours) await restoreNeighbour(kernel, device, entry);
}

async function restoreNeighbour(kernel: Kernel, device: string, entry: NeighbourEntry): Promise<void> {
  const { address, mac, state } = entry;
  try {
    await kernel.run("ip", ["neighbour", "replace", address, "lladdr", mac, "dev", device, "nud", state]);
  } catch (error) {
    // A cache entry is no loss: the kernel asks again. A permanent one was somebody's configuration.
    if (!(error instanceof KernelError) || state === "permanent") throw error;
  }
}
