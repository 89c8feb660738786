/** An instance of the command, as the control API and what else is built on it see and steer it. */
import type { Readable } from "node:stream";
import type { Instance } from "../control/instance.ts";
import type { ControlPortRequest, LogLevelName, State } from "../control/schema.ts";
import type { EngineConfig } from "../engine/config.ts";
import { KeptPorts } from "./control-ports.ts";
import type { EngineClient } from "./engine-client.ts";
import { InstanceView } from "./instance-view.ts";
import { EngineForwards } from "./live-forwards.ts";
import type { LineLog } from "./log.ts";

export interface InstanceParts {
  readonly client: EngineClient;
  readonly config: EngineConfig;
  readonly command: State["command"];
  readonly name: string;
  readonly version: string;
  readonly linkName: string;
  /** Host ports of the configuration's forwards, as bound. */
  readonly forwardPorts: readonly number[];
  /** Of the control socket, where there is one. */
  readonly controlPath: string | undefined;
  /** Ports that may be forwarded. */
  readonly maxForwards: number;
  readonly log: LineLog;
  /** Whether the program that decides has this question; absent without one. */
  readonly isHeld?: ((question: number) => boolean) | undefined;
  /** Begins the end. */
  readonly stop: () => void;
}

export class LiveInstance extends InstanceView implements Instance {
  readonly forwards: EngineForwards;
  isPulled = false;
  private readonly keptPorts: KeptPorts;

  constructor(private readonly parts: InstanceParts) {
    const { client, config, forwardPorts, maxForwards } = parts;
    const { calls, pid: enginePid } = client;
    const sendDescriptor = (fd: number): void => client.sendDescriptor(fd);
    const distrust = (): void => client.distrust();
    super({ ...parts, calls, enginePid, sendDescriptor, distrust, isConfined: true });
    this.forwards = new EngineForwards({
      calls,
      sendDescriptor,
      config,
      forwardPorts,
      most: maxForwards,
      tell: (record) => this.tell(record),
    });
    this.keptPorts = new KeptPorts(calls);
  }

  keepPort(request: ControlPortRequest): Promise<Readable> {
    return this.keptPorts.keep(request);
  }

  async setLogLevel(level: LogLevelName): Promise<void> {
    await this.parts.client.calls.call<"log">({ name: "log", level });
    this.parts.log.level = level;
  }

  async setLink(up: boolean): Promise<void> {
    await this.parts.client.calls.call<"link">({ name: "link", up });
    if (this.isPulled === !up) return;
    this.isPulled = !up;
    this.tell({ type: "link", atMs: Date.now(), up, name: this.parts.linkName });
  }

  stop(): void {
    this.parts.stop();
  }

  override close(): void {
    super.close();
    this.keptPorts.close();
  }
}
