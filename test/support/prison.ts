/** Processes started the way the engine is started, that can be asked what they can do from inside. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { addonPath } from "../../src/host/native/native-loader.ts";
import { type ConfinedProcess, type ConfinedRequest, spawnConfined } from "../../src/host/process/sandbox.ts";
import { nodeHeaders } from "./node-headers.ts";

const HERE = dirname(fileURLToPath(import.meta.url));

export type Answer = unknown;

/** A directory of a test's own, with what a prisoner needs. */
export class Prison {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-walls-"));
  /** What a prisoner may write to. */
  readonly writable = join(this.directory, "writable");
  readonly shim = addonPath();
  readonly calls = join(this.directory, "calls.node");
  /** A copy: this checkout may lie where only its owner may look. */
  readonly script = join(this.directory, "prisoner.cjs");

  /** Compiles raw-calls.c and copies prisoner.cjs. */
  constructor() {
    chmodSync(this.directory, 0o755);
    mkdirSync(this.writable);
    chmodSync(this.writable, 0o777);
    copyFileSync(join(HERE, "prisoner.cjs"), this.script);
    const source = join(HERE, "raw-calls.c");
    const args = ["-shared", "-fPIC", "-isystem", nodeHeaders(), "-o", this.calls, source];
    const compiled = spawnSync(process.env["CC"] ?? "cc", args, { encoding: "utf8" });
    if (compiled.status !== 0) throw new Error(`raw-calls.c does not compile: ${compiled.stderr}`);
  }

  prisoner(more: Partial<ConfinedRequest> = {}): Prisoner {
    return new Prisoner({
      script: this.script,
      args: [this.shim, this.calls],
      mode: "strict",
      readable: [this.script],
      executable: [this.calls],
      writable: [this.writable],
      channels: ["pipe"],
      ...more,
    });
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A confined process that can be asked things. */
export class Prisoner {
  private pending = "";
  private readonly waiting: ((answer: Answer) => void)[] = [];
  readonly process: ConfinedProcess;

  constructor(request: ConfinedRequest) {
    this.process = spawnConfined(request);
    const control = this.control;
    control.setEncoding("utf8").on("data", (text: string) => {
      const lines = (this.pending + text).split("\n");
      this.pending = lines.pop()!;
      for (const line of lines) this.waiting.shift()?.(JSON.parse(line));
    });
    control.on("error", () => {});
  }

  private get control(): Socket {
    return this.process.child.stdio[3] as Socket;
  }

  /** One of the questions of prisoner.cjs and its arguments. Rejects when the process was not started. */
  async ask(...question: unknown[]): Promise<Answer> {
    await this.process.started;
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.control.write(`${JSON.stringify(question)}\n`);
    });
  }

  async end(): Promise<void> {
    const { child } = this.process;
    if (child.exitCode === null && child.signalCode === null) {
      this.control.end();
      await once(child, "exit");
    }
  }
}
