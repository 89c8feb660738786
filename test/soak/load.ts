/**
 * What a soak's guests and the host do to each other. Each kind of traffic is a worker of its own: an operation that
 * checks what arrived, a pause, the operation again. An operation that takes longer than its bound hangs, and a soak
 * with a hang or with a wrong octet has failed.
 */
import { setMaxListeners } from "node:events";
import type { Agent } from "../support/agent.ts";
import { FORWARDED_TCP, FORWARDED_UDP, forwardedPort, type SoakGuest } from "./guests.ts";

const GATEWAY = "10.0.2.2";
const RESOLVER = "10.0.2.3";
export const NAMED_ADDRESS = "192.0.2.80";
/** A machine that others load may be slow; a connection whose link was cut waits for its retransmission. */
const HANG_MS = 120_000;
/** Between two tries of a guest that waits for a reset. */
const AGAIN_MS = 5000;
const BULK_OCTETS = 8_000_000;
const DOWN_SEED = 7;
const IDLE_FLOWS = 100;

interface Received {
  readonly octets: number;
  readonly sha256: string;
}

interface Work {
  readonly name: string;
  /** Between two operations, milliseconds. */
  readonly pauseMs: number;
  /** Rejects, or resolves with false, when something arrived that should not have, or did not that should. */
  readonly once: (round: number) => Promise<boolean>;
}

export interface Tally {
  readonly guest: string;
  readonly work: string;
  done: number;
  /** What went wrong, with the second it did. */
  readonly failures: string[];
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });

/** Rejects after HANG_MS. */
function bounded<T>(operation: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`hangs: nothing after ${HANG_MS / 1000} s`)), HANG_MS);
    operation.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** What the host serves, for all guests. */
export interface HostPorts {
  readonly sink: number;
  readonly source: number;
  readonly echo: number;
  readonly reset: number;
  readonly farewell: number;
  readonly udpEcho: number;
  /** The digest of what `source` sends. */
  readonly sourceDigest: string;
}

export async function serveHost(host: Agent): Promise<HostPorts> {
  const serve = (kind: string, options = {}): Promise<number> => host.do("tcpServer", { kind, ...options });
  const stream = { octets: BULK_OCTETS, seed: DOWN_SEED };
  return {
    sink: await serve("sink"),
    source: await serve("source", stream),
    echo: await serve("echo"),
    reset: await serve("reset"),
    farewell: await serve("farewell"),
    udpEcho: await host.do("udpServer", { kind: "echo" }),
    sourceDigest: await host.do("digest", stream),
  };
}

/** Frames that no stack sends: pseudo-random octets, some behind the start of something that looks right. */
function malformedFrames(round: number): string[] {
  let state = round * 2_654_435_761 + 1;
  const octet = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 255;
  };
  const ethernet = [0x52, 0x55, 0x0a, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0];
  const starts = [
    [],
    ethernet,
    [...ethernet.slice(0, 12), 8, 6, 0, 1],
    [...ethernet, 0x45, 0, 0, 0x28, 0, 1, 0, 0, 64, 6],
    [...ethernet, 0x45, 0, 2, 0, 0, 1, 0x20, 0, 64, 17],
  ];
  return Array.from({ length: 50 }, (_, i) => {
    const start = starts[i % starts.length];
    const rest = Array.from({ length: 20 + octet() * 4 }, octet);
    return Buffer.from([...start, ...rest]).toString("hex");
  });
}

/** Traffic that begins in the guest. */
function outbound({ agent, device, relink }: SoakGuest, ports: HostPorts): Work[] {
  const to = { host: GATEWAY };
  return [
    {
      name: "8 MB up",
      pauseMs: 3000,
      once: async (seed) => {
        const sent = await agent.do<Received & { server: Received }>("upload", {
          ...to,
          port: ports.sink,
          octets: BULK_OCTETS,
          seed,
        });
        return sent.server.octets === BULK_OCTETS && sent.server.sha256 === sent.sha256;
      },
    },
    {
      name: "8 MB down",
      pauseMs: 3000,
      once: async () => {
        const got = await agent.do<Received>("download", { ...to, port: ports.source });
        return got.octets === BULK_OCTETS && got.sha256 === ports.sourceDigest;
      },
    },
    {
      name: "20 connections, 100 kB both ways at once",
      pauseMs: 2000,
      once: async () =>
        (await agent.do("many", { ...to, port: ports.echo, count: 20, octets: 100_000 })) === 20,
    },
    {
      name: "short connection",
      pauseMs: 50,
      once: async (round) =>
        (await agent.do("exchange", { ...to, port: ports.echo, message: `round ${round}` })) ===
        `round ${round}`,
    },
    {
      name: "connection the host closes first",
      pauseMs: 1000,
      once: async () =>
        (await agent.do("listenThenTalk", { ...to, port: ports.farewell, message: "mine" })) === "farewell",
    },
    {
      name: "connection the host resets",
      pauseMs: 500,
      // A reset that is lost in a cut of the link is not sent again: whoever sends meets the next one.
      once: async () =>
        (await agent.do("failureAfter", {
          ...to,
          port: ports.reset,
          ...(relink ? { againMs: AGAIN_MS } : {}),
        })) === "ECONNRESET",
    },
    {
      name: "connection the guest resets",
      pauseMs: 500,
      once: async (round) => {
        const name = `reset ${round}`;
        await agent.do("hold", { ...to, port: ports.echo, name, message: "x".repeat(5000) });
        await agent.do("resetHeld", { name });
        return true;
      },
    },
    {
      name: "refused connection",
      pauseMs: 1000,
      once: async () =>
        (await agent.do<{ outcome: string }>("dial", { ...to, port: 9, timeoutMs: 60_000 })).outcome ===
        "ECONNREFUSED",
    },
    {
      name: "UDP echo",
      pauseMs: 200,
      once: async () =>
        (await agent.do<number[]>("udpEcho", { ...to, port: ports.udpEcho, sizes: [0, 512, 1472, 8000] }))
          .length === 0,
    },
    {
      name: "50 malformed frames",
      pauseMs: 1000,
      once: async (round) =>
        (await agent.do<number>("frames", { device, frames: malformedFrames(round) })) > 0,
    },
  ];
}

function dns({ agent }: SoakGuest): Work[] {
  const ask = <T>(name: string, type: string): Promise<T> =>
    agent.do("resolve", { server: RESOLVER, name, type, timeoutMs: 10_000 });
  return [
    {
      name: "DNS over UDP",
      pauseMs: 300,
      once: async (round) => (await ask<string[]>(`name-${round}.test`, "A")).join() === NAMED_ADDRESS,
    },
    {
      name: "DNS over TCP",
      pauseMs: 2000,
      once: async () => (await ask<string[][]>("big.test", "TXT")).flat().length === 20,
    },
  ];
}

/** Traffic that begins on the host, through the forwards. */
function inbound(guest: SoakGuest, host: Agent): Work[] {
  const to = { host: "127.0.0.1" };
  const tcp = forwardedPort(guest, "tcp", FORWARDED_TCP);
  const udp = forwardedPort(guest, "udp", FORWARDED_UDP);
  return [
    {
      name: "5 connections through a forward, 400 kB both ways",
      pauseMs: 2000,
      once: async () => (await host.do("many", { ...to, port: tcp, count: 5, octets: 400_000 })) === 5,
    },
    {
      name: "UDP echo through a forward",
      pauseMs: 500,
      once: async () =>
        (await host.do<number[]>("udpEcho", { ...to, port: udp, sizes: [1, 1400] })).length === 0,
    },
  ];
}

/** Connections that are open all the time and hardly ever say anything. */
class IdleFlows {
  private readonly names = Array.from({ length: IDLE_FLOWS }, (_, i) => `idle ${i}`);

  constructor(private readonly agent: Agent) {}

  async open(port: number): Promise<void> {
    for (const name of this.names) await this.agent.do("hold", { host: GATEWAY, port, name, message: "" });
  }

  readonly work: Work = {
    name: `word on one of ${IDLE_FLOWS} idle connections`,
    pauseMs: 5000,
    once: (round) => this.ask(this.names[round % IDLE_FLOWS], `round ${round}`),
  };

  private ask(name: string, message: string): Promise<boolean> {
    return this.agent.do("askHeld", { name, message });
  }

  /** How many still answer; then closes them. */
  async close(): Promise<number> {
    const answers = await Promise.all(this.names.map((name) => this.ask(name, "still there?")));
    for (const name of this.names) await this.agent.do("closeHeld", { name });
    return answers.filter(Boolean).length;
  }
}

export class Load {
  readonly tallies: Tally[] = [];
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>[] = [];
  private readonly idle: { guest: SoakGuest; flows: IdleFlows }[] = [];
  private readonly begun = performance.now();

  /** Every operation that fails is told to `complain`. */
  constructor(private readonly complain: (sentence: string) => void) {
    setMaxListeners(0, this.stopping.signal);
  }

  async start(guest: SoakGuest, host: Agent, ports: HostPorts, relinkMs: number): Promise<void> {
    await guest.agent.do("tcpServer", { kind: "echo", host: "0.0.0.0", port: FORWARDED_TCP });
    await guest.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port: FORWARDED_UDP });
    const flows = new IdleFlows(guest.agent);
    await bounded(flows.open(ports.echo));
    this.idle.push({ guest, flows });
    const { relink } = guest;
    const cut: Work[] =
      relink === undefined
        ? []
        : [
            {
              name: "link cut in the middle of a frame, and back",
              pauseMs: relinkMs,
              once: async () => {
                await relink();
                return true;
              },
            },
          ];
    for (const work of [
      ...outbound(guest, ports),
      ...dns(guest),
      ...inbound(guest, host),
      flows.work,
      ...cut,
    ])
      this.running.push(this.repeat(guest, work));
  }

  private async repeat(guest: SoakGuest, work: Work): Promise<void> {
    const tally: Tally = { guest: guest.name, work: work.name, done: 0, failures: [] };
    this.tallies.push(tally);
    const { signal } = this.stopping;
    await pause(Math.random() * work.pauseMs, signal);
    for (let round = 1; !signal.aborted; round++) {
      try {
        if (!(await bounded(work.once(round)))) this.failed(tally, "wrong answer");
      } catch (error) {
        this.failed(tally, (error as Error).message);
      }
      tally.done++;
      await pause(work.pauseMs, signal);
    }
  }

  private failed(tally: Tally, why: string): void {
    const second = Math.round((performance.now() - this.begun) / 1000);
    tally.failures.push(`after ${second} s: ${why}`);
    this.complain(`${tally.guest}, ${tally.work}: ${why}`);
  }

  /** Lets every worker finish what it does, asks the idle connections once more, and closes them. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.running);
    for (const { guest, flows } of this.idle) {
      const tally: Tally = {
        guest: guest.name,
        work: "idle connections at the end",
        done: IDLE_FLOWS,
        failures: [],
      };
      this.tallies.push(tally);
      const answered = await bounded(flows.close()).catch((error: Error) => error.message);
      if (answered !== IDLE_FLOWS) this.failed(tally, `${answered} of ${IDLE_FLOWS} answered`);
    }
  }
}
