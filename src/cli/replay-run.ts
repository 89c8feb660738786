/** Runs a capture through an engine in this process, with no network behind it, and reports. */
import type { EngineConfig } from "../config/engine-config.ts";
import { createEngineCore } from "../engine.ts";
import { startEngine } from "../host/engine-host.ts";
import { UnreachableNetwork } from "../host/unreachable-network.ts";
import type { Logger } from "../ports.ts";
import { formatState } from "./report.ts";

export interface ReplayRun {
  readonly path: string;
  readonly config: EngineConfig;
  /** 0 waits for nothing; 1 is the capture's pace. */
  readonly speed: number;
  /** Where the frames of both sides go. */
  readonly pcap?: string;
  readonly log: Logger;
}

/** Replays and returns the counters and the flow table as text. Rejects with a StartError. */
export async function replayFile(run: ReplayRun): Promise<string> {
  const network = new UnreachableNetwork();
  let state = "";
  const engine = await startEngine(
    {
      // Without resolvers of the host: nothing is asked of anybody.
      config: run.config,
      link: { kind: "replay", path: run.path, speed: run.speed },
      log: run.log,
      ...(run.pcap === undefined ? {} : { pcap: run.pcap }),
    },
    (config, ports, nowMs) => {
      const core = createEngineCore(config, { ...ports, network }, nowMs);
      const close = core.close.bind(core);
      // The flow table is of interest as it was before the end cleared it.
      core.close = (now) => {
        state = formatState(core.counters.snapshot(), core.flows(now));
        close(now);
      };
      return core;
    },
  );
  const end = await engine.ended;
  const kept = `kept from the network: ${network.connections} connections, ${network.datagrams} datagrams\n`;
  return `${end.message}\n${state}${kept}`;
}
