/**
 * Where a signal goes while a command runs: while steps are made it ends in undoing them, while QEMU runs it goes to
 * QEMU, while things are undone it changes nothing. There is no moment in between at which it would end this process.
 */
import type { ChildProcess } from "node:child_process";

/** Not SIGUSR1, which belongs to Node's inspector. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGCONT"] as const;
/** Those that mean: come to an end. */
const ENDING: readonly string[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

export class SignalRouter {
  private target: (signal: NodeJS.Signals) => void = () => {};
  private readonly handler = (signal: NodeJS.Signals): void => this.target(signal);

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.handler);
  }

  /** A signal that ends things aborts what this is given to. */
  abortSignal(): AbortSignal {
    const controller = new AbortController();
    this.target = (signal) => {
      if (ENDING.includes(signal)) controller.abort(new Error(`interrupted by ${signal}`));
    };
    return controller.signal;
  }

  /** Signals go to a child. */
  forward(child: ChildProcess): void {
    this.target = (signal) => void child.kill(signal);
  }

  ignore(): void {
    this.target = () => {};
  }

  /** Signals do again what they do by default. */
  close(): void {
    for (const signal of SIGNALS) process.off(signal, this.handler);
  }
}
