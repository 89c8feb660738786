/** Runs the commands of guest-forwards, each with one end of a socket pair as its standard input and output. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Logger } from "../../engine/boundary.ts";
import { native } from "../native/native.ts";
import { helperPath } from "../native/native-loader.ts";

/** One command per connection of the guest. */
export class ServiceCommands {
  private readonly running = new Set<ChildProcess>();

  /** `given`: options of the helper, which is to start them with what it is told there. */
  constructor(
    private readonly log: Logger,
    private readonly given: readonly string[] = [],
  ) {}

  /** Starts `/bin/sh -c command`. Returns our end of its standard input and output, or -errno. */
  readonly start = (command: string): number => {
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) return ours;
    this.run(command, theirs);
    native.setNonBlocking(ours);
    return ours;
  };

  /** Starts `/bin/sh -c command` on `theirs`, which is closed here. */
  run(command: string, theirs: number): void {
    try {
      const [program, ...args] = [...this.launcher(), "/bin/sh", "-c", command];
      const child = spawn(program, args, { stdio: [theirs, theirs, "inherit"] });
      this.running.add(child);
      child.once("error", (error) => {
        this.running.delete(child);
        this.log.warn(`guestfwd command ${JSON.stringify(command)}: ${error.message}`);
      });
      child.once("exit", (status, signal) => {
        this.running.delete(child);
        if (status !== 0) {
          const how = signal ?? `status ${status}`;
          this.log.info(`guestfwd command ${JSON.stringify(command)} ended with ${how}`);
        }
      });
    } finally {
      native.close(theirs);
    }
  }

  private launcher(): string[] {
    return this.given.length === 0 ? [] : [helperPath(), ...this.given, "--"];
  }

  /** Ends the commands that still run. They see the end of their input as well. */
  close(): void {
    for (const child of this.running) child.kill("SIGTERM");
    this.running.clear();
  }
}
