/** What the engine process may see and be, from what it is to serve. */
import { dirname, join } from "node:path";
import type { LinkPlan } from "../config/host-plan.ts";
import { operatorSockets } from "../engine/config.ts";
import { packageRoot } from "../host/native/native-loader.ts";
import { type ConfinedProcess, spawnConfined } from "../host/process/sandbox.ts";
import type { EngineLaunch } from "./launch.ts";

/** Ports below it need CAP_NET_BIND_SERVICE (net.ipv4.ip_unprivileged_port_start's default). */
const LOW_PORTS_END = 1024;

/** Directories with Unix sockets that the engine binds or connects to by itself, now and later again. */
function socketDirectories(link: LinkPlan | undefined): { readable: string[]; writable: string[] } {
  if (link?.kind === "qemu-connect" && link.address.kind === "unix") {
    return { readable: [dirname(link.address.path)], writable: [] };
  }
  if (link?.kind === "qemu-dgram" && link.addresses.kind === "unix") {
    return { readable: [dirname(link.addresses.remote)], writable: [dirname(link.addresses.local)] };
  }
  return { readable: [], writable: [] };
}

/**
 * Spawns the engine with control socket, command socket and log at the descriptors of control.ts. `found`: files that
 * its Node turned out to need.
 */
export function spawnEngineProcess(
  launch: EngineLaunch,
  commandFd: number,
  found: readonly string[],
): ConfinedProcess {
  const { config, link, tftp } = launch;
  const sockets = socketDirectories(link);
  const services = config.guestForwards.flatMap(({ target }) =>
    target.kind === "unix" ? [dirname(target.path)] : [],
  );
  services.push(...operatorSockets(config.policy).map((path) => dirname(path)));
  const needsOwnUser = sockets.readable.length + services.length > 0;
  // Sockets are opened by their owner's rights: nobody, whom root's engine becomes otherwise, has none.
  const own = needsOwnUser ? { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 } : undefined;
  const user = launch.user ?? own;
  return spawnConfined({
    // The bundled one: the packages it is made of are out of the process's view.
    script: join(packageRoot(), "dist", "program", "engine-process.js"),
    mode: launch.sandbox ? "best-effort" : "off",
    ...(user === undefined ? {} : { user }),
    bindLowPorts: config.forwards.some(({ hostPort }) => hostPort < LOW_PORTS_END),
    readable: [...sockets.readable, ...services, ...(tftp === undefined ? [] : [tftp]), ...found],
    writable: sockets.writable,
    stdio: ["ignore", "ignore", "pipe"],
    channels: ["pipe", commandFd, launch.logFd],
  });
}
