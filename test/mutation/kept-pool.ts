/**
 * A pool for vitest that keeps its one thread, with every module it has loaded, from run to run: a mutant is a switch in
 * code that is there already, and starting a thread and loading the core takes longer than most tests that notice it.
 * Mutants of what runs when a module is loaded get a thread of their own.
 */

import { resolve } from "node:path";
import { Worker } from "node:worker_threads";
import type { PoolOptions, PoolRunnerInitializer, PoolWorker, WorkerRequest } from "vitest/node";

type Listener = Parameters<Worker["on"]>[1];

let kept: Worker | undefined;

class KeptThread implements PoolWorker {
  readonly name = "kept";
  readonly #options: PoolOptions;
  readonly #isOwn: boolean;
  readonly #listeners: [event: string, listener: Listener][] = [];
  #thread!: Worker;
  #isNew = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    const provided = options.project.getProvidedContext() as { mutantActivation?: string };
    this.#isOwn = provided.mutantActivation === "static";
  }

  async start(): Promise<void> {
    this.#isNew = this.#isOwn || kept === undefined;
    if (!this.#isNew) {
      this.#thread = kept!;
      return;
    }
    const { distPath, env, execArgv } = this.#options;
    this.#thread = new Worker(resolve(distPath, "workers/threads.js"), {
      env: env as NodeJS.ProcessEnv,
      execArgv,
      stdout: true,
      stderr: true,
    });
    if (!this.#isOwn) kept = this.#thread;
  }

  async stop(): Promise<void> {
    for (const [event, listener] of this.#listeners) this.#thread.off(event, listener);
    if (this.#isOwn) await this.#thread.terminate();
  }

  /**
   * The thread has been started, and is not to stop, whatever vitest says. It goes by the configuration it was started with,
   * in which the names of the first mutant's tests stand: each run is given its own.
   */
  send(message: WorkerRequest): void {
    if (message.type === "start" && !this.#isNew) this.#answer("started");
    else if (message.type === "stop" && !this.#isOwn) this.#answer("stopped");
    else if (message.type === "run")
      this.#thread.postMessage({
        ...message,
        context: { ...message.context, config: this.#options.project.serializedConfig },
      });
    else this.#thread.postMessage(message);
  }

  on(event: string, listener: Listener): void {
    this.#listeners.push([event, listener]);
    this.#thread.on(event, listener);
  }

  off(event: string, listener: Listener): void {
    this.#thread.off(event, listener);
  }

  deserialize(data: unknown): unknown {
    return data;
  }

  #answer(type: "started" | "stopped"): void {
    const response = { type, __vitest_worker_response__: true };
    queueMicrotask(() => {
      for (const [event, listener] of [...this.#listeners]) if (event === "message") listener(response);
    });
  }
}

export const keptPool: PoolRunnerInitializer = {
  name: "kept",
  createPoolWorker: (options) => new KeptThread(options),
};
