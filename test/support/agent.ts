/** Somebody who sends and receives for a test, in a process of their own: on the host, or in a guest's namespace. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PROJECT_ROOT } from "./project-root.ts";

const PROGRAM = join(PROJECT_ROOT, "test/support/guest-programs/agent.mjs");

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Agent {
  readonly process: ChildProcess;
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;

  /** `prefix` is a command that runs the rest of its arguments elsewhere, such as nsenter's. */
  constructor(prefix: readonly string[] = []) {
    const [command, ...args] = [...prefix, process.execPath, PROGRAM];
    this.process = spawn(command, args, { cwd: "/", stdio: ["pipe", "pipe", "inherit"] });
    this.process.stdin!.on("error", () => {});
    createInterface({ input: this.process.stdout! }).on("line", (line) => this.take(line));
    this.process.once("close", () => {
      for (const { reject } of this.waiting.values()) reject(new Error("the agent has ended"));
      this.waiting.clear();
    });
  }

  /** Has a task of guest-programs/agent.mjs done. Rejects with the error's code as its message. */
  do<T>(task: string, options: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const id = this.count++;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.process.stdin!.write(`${JSON.stringify({ id, task, ...options })}\n`);
    });
  }

  private take(line: string): void {
    const { id, result, error } = JSON.parse(line) as Answer;
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  async close(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGKILL");
    await once(this.process, "close");
  }
}
