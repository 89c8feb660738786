/**
 * The engine process: told over descriptor 3 what to serve, it serves it, and ends when it is told to, when its link
 * ends, or when the supervisor is gone. It is confined before this file runs; nothing here asks for more rights.
 */
import { Socket } from "node:net";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { native } from "../host/native/native.ts";
import { keepTablesUntouched, releaseWhenIdle } from "../host/process/memory.ts";
import type { ResolvConfSource } from "../host/resolv-conf.ts";
import { describeErrno, StartError } from "../host/start-error.ts";
import { type LoadedPolicy, loadPolicy, type ServedSluice, serve } from "../serve.ts";
import { CallAnswers, told } from "./call-answers.ts";
import type { Call } from "./calls.ts";
import {
  COMMAND_FD,
  CONTROL_FD,
  decodeLine,
  type EnginePlan,
  encodeLine,
  LOADED,
  LOG_FD,
  type News,
  ORDER_LENGTH_MAX,
  type Order,
  readLines,
  receivedLink,
} from "./control.ts";
import { closeLastWall } from "./last-wall.ts";
import { type LineLog, openLog } from "./log.ts";
import { formatHeap, formatState, formatSummary } from "./report.ts";

// Packets allocate nothing and flows live long: a young generation that grows would only hold memory. Set here, because
// Node with any V8 flag of its own compiles its modules anew instead of taking them from its built-in code cache.
setFlagsFromString("--semi-space-growth-factor=1");
// A function runs three times as long before V8 optimizes it: what is optimized sooner is optimized again as soon as it
// sees something new, on a core that the guest may need. A third less of the processor's time for the first connections. V8 of
// Node 20; later ones have another compiler in between, and no such flag.
if (process.versions.v8.startsWith("11.3.")) setFlagsFromString("--interrupt-budget=200000");

const control = new Socket({ fd: CONTROL_FD, readable: true, writable: true });

function tell(news: News): void {
  if (!control.destroyed) control.write(encodeLine(news));
}

/**
 * Has the supervisor run the command of a guest forward: it gets one end of a socket pair and the forward's number.
 * Returns our end, or -errno.
 */
function commandRunner(plan: EnginePlan): (command: string) => number {
  return (command) => {
    const index = plan.config.guestForwards.findIndex(
      ({ target }) => target.kind === "command" && target.command === command,
    );
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) return ours;
    const sent = native.sendDescriptor(COMMAND_FD, theirs);
    native.close(theirs);
    if (sent < 0) {
      native.close(ours);
      return sent;
    }
    native.setNonBlocking(ours);
    tell({ type: "command", index });
    return ours;
  };
}

/** The host's resolv.conf as the supervisor tells it. */
const resolvConf = {
  text: "",
  changed: (): void => {},
  source: {
    get text(): string {
      return resolvConf.text;
    },
    follow(changed: () => void): () => void {
      resolvConf.changed = changed;
      return () => {
        resolvConf.changed = () => {};
      };
    },
  } satisfies ResolvConfSource,
};

/** A descriptor the supervisor has sent. Throws StartError. */
function receiveDescriptor(place: string): number {
  const fd = native.receiveDescriptor(COMMAND_FD);
  if (fd < 0)
    throw new StartError([{ place, reason: `its descriptor did not arrive: ${describeErrno(fd)}` }]);
  return fd;
}

async function startServing(
  plan: EnginePlan,
  log: LineLog,
  loaded: LoadedPolicy | null,
): Promise<ServedSluice> {
  const link = receivedLink(plan.link, () => receiveDescriptor("link"));
  const pcap = plan.pcap ? { pcap: receiveDescriptor("--pcap") } : {};
  const engine = await serve({
    config: plan.config,
    link,
    log,
    oneOff: plan.oneOff,
    dedicated: true,
    spawnCommand: commandRunner(plan),
    onLink: (up) => tell({ type: "link", up }),
    onQuestion: (question) => tell({ type: "question", question }),
    ...(plan.decides === true
      ? { onQuestionOver: (id, end) => tell({ type: "question-over", id, end }) }
      : {}),
    resolvConf: resolvConf.source,
    loaded,
    ...pcap,
    ...(plan.pcapng === undefined ? {} : { pcapng: plan.pcapng }),
    ...(plan.tftp === undefined ? {} : { tftp: plan.tftp }),
    ...(plan.records === undefined ? {} : { records: plan.records }),
    ...(plan.outbound === undefined ? {} : { outbound: plan.outbound }),
  });
  tell({
    type: "ready",
    linkName: engine.linkName,
    listenPort: engine.listenPort,
    forwardPorts: engine.forwardPorts,
  });
  return engine;
}

/** Ends the process once what was told has left. */
function leave(status: number): void {
  process.exitCode = status;
  control.end(() => process.exit(status));
}

function framesOf(engine: ServedSluice): number {
  const { counters } = engine.counters();
  return (counters["link-frames-from-guest"] ?? 0) + (counters["link-frames-to-guest"] ?? 0);
}

async function start(plan: EnginePlan, log: LineLog): Promise<ServedSluice | undefined> {
  try {
    keepTablesUntouched();
    const loaded = await loadPolicy(plan.config);
    if (plan.sandbox) closeLastWall(log);
    const engine = await startServing(plan, log, loaded);
    answers = new CallAnswers({
      host: engine.host,
      receiveDescriptor: () => native.receiveDescriptor(COMMAND_FD),
      setLogLevel: (level) => {
        log.level = level;
      },
    });
    releaseWhenIdle(() => framesOf(engine));
    void engine.ended.then((end) => {
      log.info(formatSummary(engine.counters()));
      tell({
        type: "ended",
        reason: end.reason,
        message: end.message,
        ...(plan.config.policy === null ? {} : { denials: told(engine.denials()) }),
      });
      leave(0);
    });
    return engine;
  } catch (error) {
    tell({ type: "failed", message: error instanceof Error ? error.message : String(error) });
    leave(1);
    return undefined;
  }
}

let engine: Promise<ServedSluice | undefined> | undefined;
let answers: CallAnswers | undefined;
let reportTo: LineLog | undefined;

function heapNow(): string {
  const { used_heap_size, total_heap_size, external_memory } = getHeapStatistics();
  return formatHeap({ used: used_heap_size, total: total_heap_size, external: external_memory });
}

function reply(id: number, call: Call): void {
  try {
    if (answers === undefined) throw new Error("the engine does not serve yet");
    tell({ type: "reply", id, answer: answers.answer(id, call) });
  } catch (error) {
    tell({ type: "reply", id, failure: error instanceof Error ? error.message : String(error) });
  }
}

async function obey(order: Order): Promise<void> {
  switch (order.type) {
    case "start":
      reportTo = openLog(order.plan.log, LOG_FD);
      resolvConf.text = order.plan.resolvConf;
      engine = start(order.plan, reportTo);
      return;
    case "resolv-conf":
      resolvConf.text = order.text;
      resolvConf.changed();
      return;
    case "call":
      reply(order.id, order.call);
      return;
    case "ping":
      tell({ type: "pong" });
      return;
    case "report": {
      const running = await engine;
      if (running) reportTo?.text(heapNow() + formatState(running.counters(), running.flows()));
      return;
    }
    case "stop": {
      const running = await engine;
      if (running) await running.stop();
      else leave(0);
      return;
    }
  }
}

// The terminal's Ctrl-C reaches the whole process group; the supervisor decides what it means. SIGUSR1 would have
// Node open its debug port.
for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2"] as const)
  process.on(signal, () => {});
readLines(control, (line) => void obey(decodeLine(line) as Order), ORDER_LENGTH_MAX);
control.on("error", () => {});
// A supervisor that was killed takes the engine along.
control.on("close", () => void obey({ type: "stop" }).then(() => process.exit()));
control.write(`${LOADED}\n`);
