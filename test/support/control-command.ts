/** `sluice VERB --control PATH` about an instance of a test's own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROGRAM, run } from "./program.ts";

/** A place for an instance's control socket and files, and who asks it. */
export class ControlPlace {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-control-"));
  readonly path = join(this.directory, "control.sock");

  /** `enter` runs the rest of its arguments on the instance's host, whose network alone is answered. */
  constructor(private readonly enter: readonly string[] = []) {}

  /** For `sluice run`. */
  get options(): string[] {
    return ["--control", this.path];
  }

  file(name: string): string {
    return join(this.directory, name);
  }

  /** What a verb prints. Rejects with what it says when it fails. */
  async ask(verb: string, ...args: string[]): Promise<string> {
    const words = [...this.enter, process.execPath, PROGRAM, verb, ...args, "--control", this.path];
    const [command = "", ...rest] = words;
    const { status, stdout, stderr } = await run(command, rest).ended;
    if (status !== 0) throw new Error(`sluice ${verb} ended with ${status}: ${stderr}`);
    return stdout;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
