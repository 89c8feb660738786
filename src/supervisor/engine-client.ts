/**
 * The supervisor's end of an engine process: starts it confined, waits until it serves, passes orders on, runs what
 * it may ask for (the commands of guest forwards), and makes sure that it is gone at the end.
 */
import type { ChildProcess } from "node:child_process";
import type { Duplex } from "node:stream";
import type { EngineEnd } from "../host/engine-options.ts";
import { native } from "../host/native/native.ts";
import { givenArgs } from "../host/process/given-state.ts";
import type { HelperNote } from "../host/process/helper.ts";
import { ServiceCommands } from "../host/process/service-command.ts";
import { spawnEngineProcess } from "./confinement.ts";
import { asNews, CONTROL_FD, decodeLine, encodeLine, type News, type Order, readLines } from "./control.ts";
import type { EngineLaunch, EngineService } from "./launch.ts";

/** How long an engine that was told to stop may take before it is killed, milliseconds. */
const STOP_MS = 700;

export interface EngineExit {
  readonly reason: EngineEnd["reason"] | "died";
  /** For people: what happened. */
  readonly message: string;
}

/** The engine could not start; the message is one line per problem. */
class EngineStartError extends Error {
  override readonly name = "EngineStartError";
  readonly code = "ERR_SLUICE_START";
}

export class EngineClient {
  /** Settles once the process is gone. Never rejects. */
  readonly ended: Promise<EngineExit>;
  readonly ready: Promise<Extract<News, { type: "ready" }>>;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  /** -1 once it is closed: its number may be another's by then. */
  #commandFd: number;
  readonly #commands: ServiceCommands;
  readonly #launch: EngineLaunch;
  readonly #resolvConf: string;
  #lastWords: EngineExit | undefined;
  #settleReady:
    | { resolve: (news: Extract<News, { type: "ready" }>) => void; reject: (error: Error) => void }
    | undefined;

  /** Starts the process, which takes a while to load: `serve` follows as soon as there is something to serve. */
  constructor(launch: EngineLaunch) {
    this.#launch = launch;
    this.#commands = new ServiceCommands(launch.log, givenArgs());
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) throw new EngineStartError("no socket pair for the engine process");
    this.#commandFd = ours;
    const confined = spawnEngineProcess(launch, theirs);
    this.#child = confined.child;
    native.close(theirs);
    this.pid = this.#child.pid ?? 0;
    this.#control = this.#child.stdio[CONTROL_FD] as Duplex;
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    this.ready.catch(() => {});
    confined.started.then(
      (notes) => this.#tellNotes(notes),
      (error: Error) => this.#settleReady?.reject(error),
    );
    this.ended = new Promise((resolve) => {
      this.#child.once("error", (error) => this.#gone(`it could not be started: ${error.message}`, resolve));
      this.#child.once("exit", (status, signal) => this.#gone(signal ?? `status ${status}`, resolve));
    });
    this.#control.on("error", () => {});
    readLines(this.#control, (line) => this.#hear(line));
    this.#resolvConf = confined.resolvConf;
  }

  /** Gives the process its plan, once. `ready` says how that went. */
  serve({ linkFd, pcapFd, ...plan }: EngineService): void {
    for (const fd of [linkFd, pcapFd]) {
      if (fd === undefined) continue;
      // A process that has gone already says so itself.
      native.sendDescriptor(this.#commandFd, fd);
      native.close(fd);
    }
    const { config, sandbox } = this.#launch;
    const resolvConf = this.#resolvConf;
    this.#order({
      type: "start",
      plan: { ...plan, config, sandbox, resolvConf, pcap: pcapFd !== undefined },
    });
  }

  /** Says which walls the kernel would not build. */
  #tellNotes(notes: readonly HelperNote[]): void {
    for (const { message } of notes)
      this.#launch.log.warn(`the engine is less confined than it could be: ${message}`);
    if (!this.#launch.sandbox) this.#launch.log.warn("the engine is not confined (--no-sandbox)");
  }

  /** Has the engine print its counters and flow table. */
  report(): void {
    this.#order({ type: "report" });
  }

  /** Ends the engine, by force if need be. Settles when it is gone. */
  async stop(): Promise<EngineExit> {
    this.#order({ type: "stop" });
    const force = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    const exit = await this.ended;
    clearTimeout(force);
    return exit;
  }

  #order(order: Order): void {
    if (!this.#control.destroyed && this.#control.writable) this.#control.write(encodeLine(order));
  }

  #hear(line: string): void {
    let news: News | undefined;
    try {
      news = asNews(decodeLine(line));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    switch (news?.type) {
      case "ready":
        this.#settleReady?.resolve(news);
        return;
      case "failed":
        this.#settleReady?.reject(new EngineStartError(news.message));
        return;
      case "link":
        this.#launch.onLink?.(news.up);
        return;
      case "command":
        this.#runCommand(news.index);
        return;
      case "ended":
        this.#lastWords = { reason: news.reason, message: news.message };
        return;
      case undefined:
        this.#launch.log.error("the engine process says what no engine says; ending it");
        this.#child.kill("SIGKILL");
    }
  }

  /** Runs the command of guest forward `index` on the descriptor that the engine has sent. */
  #runCommand(index: number): void {
    const fd = native.receiveDescriptor(this.#commandFd);
    if (fd < 0) return;
    const target = this.#launch.config.guestForwards[index]?.target;
    if (target?.kind === "command") this.#commands.run(target.command, fd);
    else native.close(fd);
  }

  #gone(how: string, resolve: (exit: EngineExit) => void): void {
    this.#commands.close();
    native.close(this.#commandFd);
    this.#commandFd = -1;
    this.#control.destroy();
    this.#settleReady?.reject(new EngineStartError(`the engine process ended at its start (${how})`));
    resolve(this.#lastWords ?? { reason: "died", message: `the engine process ended unexpectedly (${how})` });
  }
}
