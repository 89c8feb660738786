/**
 * An engine put together and serving: what the command's engine process and the library's `createEngine` share. The
 * core with the host's sockets, the guest's link, and a few calls to watch and end it.
 */

import type { EngineCore, FlowRow, LeaseRow } from "./engine/api.ts";
import type { EngineConfig } from "./engine/config.ts";
import { createEngineCore } from "./engine/engine.ts";
import type { MakePolicyLayers } from "./engine/layers.ts";
import type { DenialRow } from "./engine/policy/denials.ts";
import { type Allow, AskedProgram } from "./host/asked-program.ts";
import { type EngineEnd, type EngineHost, type EngineHostOptions, startEngine } from "./host/engine-host.ts";

/** A guest's network that is being served: the library's object. */
export interface Sluice {
  /** Such as `tap tap0`. */
  readonly linkName: string;
  /** The TCP port that a `qemuListen` link got, or 0. */
  readonly listenPort: number;
  /** Host ports of the forwards, in the order they were declared. */
  readonly forwardPorts: readonly number[];
  /** Whether a guest's link is there now. */
  readonly linked: boolean;
  /** Every counter and drop reason that is not zero. */
  counters(): { counters: Record<string, number>; drops: Record<string, number> };
  /** The flow table. */
  flows(): FlowRow[];
  /** Resets a flow on both sides, by the id of its row. Returns whether there was one. */
  killFlow(id: number): boolean;
  /** Addresses that guests have by DHCP and DHCPv6. */
  leases(): LeaseRow[];
  /** Pulls the guest's cable, or plugs it in again. */
  setLink(up: boolean): void;
  /** What the policy denied, or under audit would have: most tries first. Empty without one. */
  denials(): DenialRow[];
  /** Resets the guest's connections and closes everything. Idempotent. */
  stop(): Promise<EngineEnd>;
  /** Settles once, when the engine has ended and everything is closed. Never rejects. */
  readonly ended: Promise<EngineEnd>;
}

/** What keeps a policy, loaded. */
export interface LoadedPolicy {
  readonly make: MakePolicyLayers;
  readonly followHostAddresses: (core: EngineCore) => () => void;
}

export interface ServeOptions extends EngineHostOptions {
  readonly allow?: Allow;
  /** What `loadPolicy` gave, for who has to load it early. */
  readonly loaded?: LoadedPolicy | null;
}

/** Loads what keeps the configuration's policy; null without one. */
export async function loadPolicy({ policy }: EngineConfig): Promise<LoadedPolicy | null> {
  if (policy === null) return null;
  const { PolicyLayers } = await import("./engine/policy-layers.ts");
  const { followHostAddresses } = await import("./host/host-addresses.ts");
  const { HostQuicKeys } = await import("./host/quic-keys.ts");
  return { make: (parts) => new PolicyLayers(parts, new HostQuicKeys()), followHostAddresses };
}

/** Starts an engine. Rejects with a StartError that names everything in the way. One engine per process at a time. */
export async function serve(options: ServeOptions): Promise<ServedSluice> {
  const { allow, log } = options;
  const asked = allow && new AskedProgram(allow, log);
  const policy = options.loaded ?? (await loadPolicy(options.config));
  const running = await startEngine(options, (config, ports, nowMs) =>
    createEngineCore(config, asked ? { ...ports, admit: asked.admit } : ports, nowMs, policy?.make ?? null),
  );
  if (asked) asked.decided = (ticket, isAllowed) => running.decide(ticket, isAllowed);
  if (policy !== null) void running.ended.then(policy.followHostAddresses(running.core));
  return new ServedSluice(running);
}

/** What the library and the engine's process build on. */
export class ServedSluice implements Sluice {
  constructor(readonly host: EngineHost) {}

  get linkName(): string {
    return this.host.linkName;
  }

  get listenPort(): number {
    return this.host.listenPort;
  }

  get forwardPorts(): readonly number[] {
    return this.host.forwardPorts;
  }

  get linked(): boolean {
    return this.host.linked;
  }

  get ended(): Promise<EngineEnd> {
    return this.host.ended;
  }

  counters() {
    return this.host.core.counters.snapshot();
  }

  flows(): FlowRow[] {
    return this.host.core.flows(this.host.nowMs());
  }

  denials(): DenialRow[] {
    return this.host.core.denials();
  }

  killFlow(id: number): boolean {
    return this.host.killFlows([id]) > 0;
  }

  leases(): LeaseRow[] {
    return this.host.core.leases();
  }

  setLink(up: boolean): void {
    this.host.setLink(up);
  }

  async stop(): Promise<EngineEnd> {
    await this.host.stop();
    return this.host.ended;
  }
}
