/**
 * What there is to see and steer of one instance: its control socket, and behind it, made when somebody first asks, the
 * instance itself. One of these belongs to each engine of a command.
 */
import type { ControlPlan } from "../config/host-plan.ts";
import type { Logger } from "../engine/boundary.ts";
import { type ControlSocket, openControlSocket } from "./control-socket.ts";
import type { InstanceParts, LiveInstance } from "./live-instance.ts";

export class Live {
  private readonly socket: ControlSocket | undefined;
  private readonly name: string;
  private parts: InstanceParts | undefined;
  private made: Promise<LiveInstance> | undefined;
  private instance: LiveInstance | undefined;

  /** Binds the control socket, where there is to be one. Throws a StartError when one that was asked for cannot be had. */
  constructor(
    private readonly plan: ControlPlan,
    private readonly log: Logger,
  ) {
    this.socket = openControlSocket(plan, log);
    this.name = plan.name ?? String(process.pid);
  }

  /** Whether somebody may ask for what happened before. */
  get isReachable(): boolean {
    return this.socket !== undefined;
  }

  /** The guest is served: from now on there is something to steer. */
  serve(parts: Omit<InstanceParts, "name" | "maxForwards">): void {
    const { maxForwards } = this.plan;
    this.parts = { ...parts, name: this.name, maxForwards };
    this.socket?.serve(() => this.get());
    if (this.socket) this.log.debug(`control API: ${this.socket.path}`);
  }

  /** The instance; after `serve`. */
  get(): Promise<LiveInstance> {
    this.made ??= this.make();
    return this.made;
  }

  private async make(): Promise<LiveInstance> {
    const { LiveInstance } = await import("./live-instance.ts");
    if (this.parts === undefined) throw new Error("nothing is served yet");
    this.instance = new LiveInstance(this.parts);
    return this.instance;
  }

  /** The guest's link came up or went down. */
  readonly linkChanged = (up: boolean): void => {
    const name = this.parts?.linkName ?? "";
    this.instance?.tell({ type: "link", atMs: Date.now(), up, name });
  };

  close(): void {
    this.socket?.close();
    this.instance?.close();
  }
}
