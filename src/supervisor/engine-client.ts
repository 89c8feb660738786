/**
 * The supervisor's end of an engine process: starts it confined, waits until it serves, passes orders on, runs what
 * it may ask for (the commands of guest forwards), and makes sure that it is gone at the end.
 */

import { COUNTER_NAMES } from "../engine/metrics/counters.ts";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import type { EngineEnd } from "../host/engine-options.ts";
import { native } from "../host/native/native.ts";
import { givenArgs } from "../host/process/given-state.ts";
import type { ConfinedProcess } from "../host/process/sandbox.ts";
import { ServiceCommands } from "../host/process/service-command.ts";
import { RESOLV_CONF, resolvConfFile } from "../host/resolv-conf.ts";
import { describeErrno } from "../host/start-error.ts";
import { EngineCalls, type EngineDenial } from "./calls.ts";
import { ConfinedNode, EngineStartError } from "./confined-node.ts";
import { spawnEngineProcess } from "./confinement.ts";
import { asNews, decodeLine, encodeLine, type News, type Order } from "./control.ts";
import type { EngineLaunch, EngineService } from "./launch.ts";

/** How long an engine that was told to stop may take before it is killed, milliseconds. */
const STOP_MS = 700;

const COUNTER_SIZES = { counters: COUNTER_NAMES.length, drops: DROP_REASONS.length };

export interface EngineExit {
  readonly reason: EngineEnd["reason"] | "died";
  /** For people: what happened. */
  readonly message: string;
  /** What the policy denied, or would have, if there was one. */
  readonly denials?: readonly EngineDenial[];
}

export class EngineClient {
  /** Settles once the process is gone. Never rejects. */
  readonly ended: Promise<EngineExit>;
  readonly ready: Promise<Extract<News, { type: "ready" }>>;
  /** What a running engine is asked. */
  readonly calls: EngineCalls;
  readonly #node: ConfinedNode;
  /** -1 once it is closed: its number may be another's by then. */
  #commandFd = -1;
  readonly #commands: ServiceCommands;
  readonly #launch: EngineLaunch;
  /** What was asked for, until the process has it. */
  #service: EngineService | undefined;
  /** The process has loaded, or has gone: it will not be started again. */
  #settled = false;
  #unfollow: () => void = () => {};
  #answered: () => void = () => {};
  #lastWords: EngineExit | undefined;
  #settleReady:
    | { resolve: (news: Extract<News, { type: "ready" }>) => void; reject: (error: Error) => void }
    | undefined;

  /** Starts the process, which takes a while to load: `serve` follows as soon as there is something to serve. */
  constructor(launch: EngineLaunch) {
    this.#launch = launch;
    this.#commands = new ServiceCommands(launch.log, givenArgs());
    this.calls = new EngineCalls((id, call) => this.#order({ type: "call", id, call }), COUNTER_SIZES);
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    this.ready.catch(() => {});
    let settleEnded: (exit: EngineExit) => void;
    this.ended = new Promise((resolve) => {
      settleEnded = resolve;
    });
    this.#node = new ConfinedNode({
      spawn: (found) => this.#spawn(found),
      sandbox: launch.sandbox,
      log: launch.log,
      logFd: launch.logFd,
      begin: () => this.#handOver(),
      loaded: () => this.#letGo(),
      hear: (line) => this.#hear(line),
      gone: (how, problem) => settleEnded(this.#gone(how, problem)),
    });
  }

  get pid(): number {
    return this.#node.pid;
  }

  #spawn(found: readonly string[]): ConfinedProcess {
    if (this.#commandFd >= 0) native.close(this.#commandFd);
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) throw new EngineStartError("no socket pair for the engine process");
    this.#commandFd = ours;
    try {
      return spawnEngineProcess(this.#launch, theirs, found);
    } finally {
      native.close(theirs);
    }
  }

  /** Gives the process its plan, once. `ready` says how that went. */
  serve(service: EngineService): void {
    this.#service = service;
    this.#handOver();
    if (this.#settled) this.#letGo();
  }

  #handOver(): void {
    if (this.#service === undefined || this.#commandFd < 0) return;
    const { linkFd, pcapFd, ...plan } = this.#service;
    // A process that has gone already says so itself.
    for (const fd of [linkFd, pcapFd]) if (fd !== undefined) native.sendDescriptor(this.#commandFd, fd);
    const { config, sandbox, tftp, onQuestionOver } = this.#launch;
    const resolvConf = this.#followResolvConf();
    this.#order({
      type: "start",
      plan: {
        ...plan,
        config,
        sandbox,
        resolvConf,
        pcap: pcapFd !== undefined,
        ...(tftp === undefined ? {} : { tftp }),
        ...(onQuestionOver === undefined ? {} : { decides: true }),
      },
    });
  }

  /** The resolv.conf as it is, if it counts; the process hears of its changes. */
  #followResolvConf(): string {
    const { config, resolvConf } = this.#launch;
    if (config.dns === 0 || config.resolvers.length > 0) return "";
    this.#unfollow();
    const file = resolvConfFile(resolvConf ?? RESOLV_CONF);
    this.#unfollow = file.follow(() => this.#order({ type: "resolv-conf", text: file.text }));
    return file.text;
  }

  /** Has the engine print its counters and flow table. */
  report(): void {
    this.#order({ type: "report" });
  }

  /** Calls `answered` when the engine's loop comes to the question; one that hangs never does. */
  ask(answered: () => void): void {
    this.#answered = answered;
    this.#order({ type: "ping" });
  }

  /** Ends the engine, by force if need be. Settles when it is gone. */
  async stop(): Promise<EngineExit> {
    this.#node.expectEnd();
    this.#order({ type: "stop" });
    const force = setTimeout(() => this.#node.kill(), STOP_MS);
    const exit = await this.ended;
    clearTimeout(force);
    return exit;
  }

  #order(order: Order): void {
    this.#node.write(encodeLine(order));
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
      case "question":
        this.#launch.onQuestion?.(news.question);
        return;
      case "question-over":
        this.#launch.onQuestionOver?.(news.id, news.end);
        return;
      case "pong":
        this.#answered();
        return;
      case "reply":
        if (!this.calls.answered(news.id, news.answer, news.failure)) this.distrust();
        return;
      case "command":
        this.#runCommand(news.index);
        return;
      case "ended":
        this.#lastWords = {
          reason: news.reason,
          message: news.message,
          ...(news.denials === undefined ? {} : { denials: news.denials }),
        };
        return;
      case undefined:
        this.distrust();
    }
  }

  /** The engine said what no engine says: it is ended. */
  distrust(): void {
    this.#launch.log.error("the engine process says what no engine says; ending it");
    this.#node.kill();
  }

  /** Sends a descriptor for the call that is about to be made. Throws the kernel's error. */
  sendDescriptor(fd: number): void {
    const result = native.sendDescriptor(this.#commandFd, fd);
    if (result < 0) throw new Error(`a descriptor for the engine: ${describeErrno(result)}`);
  }

  /** Closes what was handed over: the process has it, or nobody will. */
  #letGo(): void {
    this.#settled = true;
    for (const fd of [this.#service?.linkFd, this.#service?.pcapFd]) if (fd !== undefined) native.close(fd);
    this.#service = undefined;
  }

  /** Runs the command of guest forward `index` on the descriptor that the engine has sent. */
  #runCommand(index: number): void {
    const fd = native.receiveDescriptor(this.#commandFd);
    if (fd < 0) return;
    const target = this.#launch.config.guestForwards[index]?.target;
    if (target?.kind === "command") this.#commands.run(target.command, fd);
    else native.close(fd);
  }

  #gone(how: string, problem: Error | undefined): EngineExit {
    this.calls.end("the engine has ended");
    this.#commands.close();
    this.#letGo();
    this.#unfollow();
    native.close(this.#commandFd);
    this.#commandFd = -1;
    this.#settleReady?.reject(
      problem ?? new EngineStartError(`the engine process ended at its start (${how})`),
    );
    return this.#lastWords ?? { reason: "died", message: `the engine process ended unexpectedly (${how})` };
  }
}
