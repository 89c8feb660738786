/**
 * The control API's socket. Binding it is all that happens until somebody connects: the server and what it needs are loaded
 * then.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { ControlPlan } from "../config/host-plan.ts";
import { makeRunDirectory, runDirectory, socketPath } from "../control/run-directory.ts";
import type { Logger } from "../engine/boundary.ts";
import { SocketFile } from "../host/link/socket-file.ts";
import { StartError } from "../host/start-error.ts";
import type { LiveInstance } from "./live-instance.ts";

/** Connections at a time. */
const CONNECTIONS_MAX = 64;

interface Service {
  accept(socket: Socket): void;
  close(): void;
}

export interface ControlSocket {
  readonly path: string;
  /** From now on there is something to steer, which is asked for with the first connection. */
  serve(instance: () => Promise<LiveInstance>): void;
  close(): void;
}

/** Where the socket is to be: by the plan, or undefined for none. Only a path that was asked for has to be had. */
function placeOf(plan: ControlPlan, log: Logger): { path: string; isAsked: boolean } | undefined {
  if (plan.path === null) return undefined;
  if (plan.path !== undefined) return { path: plan.path, isAsked: true };
  const isNamed = plan.name !== undefined;
  const directory = runDirectory(process.env);
  if (directory === undefined) {
    if (isNamed) log.warn("no control API: there is no XDG_RUNTIME_DIR; --control PATH names a socket");
    return undefined;
  }
  try {
    makeRunDirectory(directory);
  } catch (error) {
    const say = isNamed ? log.warn : log.debug;
    say(`no control API: ${(error as Error).message}`);
    return undefined;
  }
  return { path: socketPath(directory, plan.name ?? String(process.pid)), isAsked: isNamed };
}

/** Binds the socket of this instance. Throws a StartError when one that was asked for cannot be had. */
export function openControlSocket(plan: ControlPlan, log: Logger): ControlSocket | undefined {
  const place = placeOf(plan, log);
  if (place === undefined) return undefined;
  let file: SocketFile;
  try {
    file = SocketFile.open(place.path, "stream", `control socket ${place.path}`);
  } catch (error) {
    if (place.isAsked || !(error instanceof StartError)) throw error;
    log.debug(`no control API: ${error.message}`);
    return undefined;
  }
  return new ListeningSocket(file, place.path, log);
}

class ListeningSocket implements ControlSocket {
  private readonly server: Server;
  private readonly early: Socket[] = [];
  private instance: (() => Promise<LiveInstance>) | undefined;
  private service: Promise<Service> | undefined;

  constructor(
    private readonly file: SocketFile,
    readonly path: string,
    private readonly log: Logger,
  ) {
    this.server = createServer({ pauseOnConnect: true }, (socket) => this.accept(socket));
    this.server.maxConnections = CONNECTIONS_MAX;
    this.server.on("error", (error) => log.warn(`control socket ${path}: ${error.message}`));
    this.server.listen({ fd: file.fd });
    // A process that has nothing else to do ends.
    this.server.unref();
  }

  serve(instance: () => Promise<LiveInstance>): void {
    this.instance = instance;
    for (const socket of this.early.splice(0)) this.accept(socket);
  }

  private accept(socket: Socket): void {
    socket.on("error", () => {});
    const { instance } = this;
    if (instance === undefined) {
      this.early.push(socket);
      return;
    }
    this.service ??= startService(instance, this.log);
    this.service.then(
      (service) => service.accept(socket),
      (error) => {
        this.log.error(`control socket ${this.path}: ${(error as Error).message}`);
        socket.destroy();
      },
    );
  }

  close(): void {
    this.server.close();
    for (const socket of this.early) socket.destroy();
    this.file.remove();
    this.service?.then(
      (service) => service.close(),
      () => {},
    );
  }
}

async function startService(instance: () => Promise<LiveInstance>, log: Logger): Promise<Service> {
  const { ControlServer } = await import("../control/server.ts");
  const { refusalOf } = await import("./peer-guard.ts");
  const live = await instance();
  const server = new ControlServer({
    instance: live,
    failed: (message) => log.error(message),
  });
  return {
    accept: (socket) => {
      if (!socket.destroyed) server.accept(socket, refusalOf(socket, live.enginePid));
    },
    close: () => server.close(),
  };
}
