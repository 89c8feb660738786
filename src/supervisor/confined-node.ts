/**
 * A confined Node process from its start to its first word. One that ends before it has said anything may lack a file
 * that its Node reads and nobody knew of: when what it wrote on standard error names one, it is started again with that
 * file in view. No guest has been heard by then, so that what it names is Node's own wish.
 */
import type { ChildProcess } from "node:child_process";
import { statSync } from "node:fs";
import type { Duplex, Readable } from "node:stream";
import type { Logger } from "../engine/boundary.ts";
import type { HelperNote } from "../host/process/helper.ts";
import type { ConfinedProcess } from "../host/process/sandbox.ts";
import { CONTROL_FD, LOADED, readLines } from "./control.ts";
import { writeText } from "./log.ts";

export interface NodeLaunch {
  /** Starts the process, with control socket and log where control.ts says; `found` are files to add to its view. */
  readonly spawn: (found: readonly string[]) => ConfinedProcess;
  /** What may be started again with more in view. */
  readonly sandbox: boolean;
  readonly log: Logger;
  /** Where what the process writes on standard error goes. */
  readonly logFd: number;
  /** Another process was started: time to send what it is to do. */
  readonly begin: () => void;
  /** The process has loaded: it has what was sent. */
  readonly loaded: () => void;
  /** A line of the process, after it has loaded. */
  readonly hear: (line: string) => void;
  /** It has ended for good: `how` as a signal or status, and why it never came to its first word if it did not. */
  readonly gone: (how: string, problem?: Error) => void;
}

/** The engine could not start; the message is one line per problem. */
export class EngineStartError extends Error {
  override readonly name = "EngineStartError";
  readonly code = "ERR_SLUICE_START";
}

/** How often it is started again: each time must have found another file. */
const STARTS_MAX = 10;
/** How long standard error may take to end after the process, milliseconds. */
const LAST_WORDS_MS = 200;

export class ConfinedNode {
  readonly #launch: NodeLaunch;
  #confined!: ConfinedProcess;
  #control!: Duplex;
  #words!: LastWords;
  #loaded = false;
  #stopping = false;
  #starts = 0;
  readonly #found: string[] = [];

  constructor(launch: NodeLaunch) {
    this.#launch = launch;
    this.#start();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get #child(): ChildProcess {
    return this.#confined.child;
  }

  /** Writes to the process; what is written to one that has gone is lost. */
  write(text: string): void {
    if (!this.#control.destroyed && this.#control.writable) this.#control.write(text);
  }

  kill(): void {
    this.#stopping = true;
    this.#child.kill("SIGKILL");
  }

  /** From now on its end is its end. */
  expectEnd(): void {
    this.#stopping = true;
  }

  #start(): void {
    this.#starts++;
    const confined = this.#launch.spawn(this.#found);
    this.#confined = confined;
    const { child } = confined;
    this.#control = child.stdio[CONTROL_FD] as Duplex;
    this.#control.on("error", () => {});
    this.#words = new LastWords(child.stderr as Readable, this.#launch.logFd);
    let ended = false;
    const end = (how: string): void => {
      if (ended) return;
      ended = true;
      void this.#ended(how);
    };
    child.once("error", (error) => end(`it could not be started: ${error.message}`));
    child.once("exit", (status, signal) => end(signal ?? `status ${status}`));
    readLines(this.#control, (line) => this.#hear(line));
  }

  #hear(line: string): void {
    if (this.#loaded) {
      this.#launch.hear(line);
      return;
    }
    if (line !== LOADED) return;
    this.#loaded = true;
    this.#words.pass();
    this.#confined.started.then(
      (notes) => this.#tellNotes(notes),
      () => {},
    );
    this.#launch.loaded();
  }

  /** Says which walls the kernel would not build. */
  #tellNotes(notes: readonly HelperNote[]): void {
    for (const { message } of notes)
      this.#launch.log.warn(`the engine is less confined than it could be: ${message}`);
    if (!this.#launch.sandbox) this.#launch.log.warn("the engine is not confined (--no-sandbox)");
  }

  async #ended(how: string): Promise<void> {
    this.#control.destroy();
    await this.#words.complete();
    if (this.#loaded) {
      this.#launch.gone(how);
      return;
    }
    try {
      await this.#confined.started;
      if (this.#startAgain()) return;
      const said = this.#words.summary();
      const why = said === "" ? "" : `: ${said}`;
      throw new EngineStartError(`the engine process ended at its start (${how})${why}`);
    } catch (problem) {
      this.#launch.gone(how, problem as Error);
    }
  }

  /** Starts it with the files in view that it turned out to lack. Returns whether there were any. */
  #startAgain(): boolean {
    if (!this.#launch.sandbox || this.#stopping || this.#starts === STARTS_MAX) return false;
    const lacked = filesNamedIn(this.#words.text).filter(
      (path) => !this.#found.includes(path) && !this.#confined.sees(path),
    );
    if (lacked.length === 0) return false;
    this.#launch.log.info(`Node reads ${lacked.join(" and ")} at its start: added to what the engine sees`);
    this.#found.push(...lacked);
    this.#start();
    this.#launch.begin();
    return true;
  }
}

/** Absolute paths of files of this host in a text, each once. */
export function filesNamedIn(text: string): string[] {
  const paths = text.match(/\/[^\s"'`:;,()[\]<>]+/g) ?? [];
  return [...new Set(paths.map((path) => path.replace(/\.+$/, "")))].filter((path) => {
    try {
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}

const KEPT_LENGTH = 16_384;
const SHOWN_LINES = 3;
/** Where an uncaught error says what it is; the line that threw comes before it. */
const ERROR = /^(?:Uncaught )?\w*(?:Error|Exception)\b/;
/** Of a crash of Node: the frames of its stacks, the version. */
const NOISE = /^\s*(?:at .*|\d+: 0x.*|-----.*|#|Node\.js v.*|)$/;

/** What a process wrote on standard error before its first word, kept; after it, passed on. */
class LastWords {
  text = "";
  #passing = false;
  readonly #closed: Promise<void>;

  constructor(
    stream: Readable,
    private readonly logFd: number,
  ) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      if (this.#passing) writeText(this.logFd, text);
      else this.text = (this.text + text).slice(0, KEPT_LENGTH);
    });
    stream.on("error", () => {});
    this.#closed = new Promise((resolve) => {
      stream.once("close", () => resolve());
    });
  }

  pass(): void {
    this.#passing = true;
    if (this.text !== "") writeText(this.logFd, this.text);
    this.text = "";
  }

  /** Settles when there is nothing more to come; what comes later all the same is lost. */
  async complete(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_WORDS_MS);
    });
    await Promise.race([this.#closed, late]);
    clearTimeout(timer);
    this.#passing = false;
  }

  /** Its first lines that say something. */
  summary(): string {
    const lines = this.text.split("\n");
    const from = Math.max(
      0,
      lines.findIndex((line) => ERROR.test(line)),
    );
    return lines
      .slice(from)
      .filter((line) => !NOISE.test(line))
      .slice(0, SHOWN_LINES)
      .map((line) => line.trim())
      .join("\n");
  }
}
