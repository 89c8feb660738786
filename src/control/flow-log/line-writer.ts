/**
 * Lines to a file, a pipe or a socket, in order, never holding up who writes them: one write is under way at a time, what
 * comes meanwhile waits, and what finds no room is counted.
 */
import { write } from "node:fs";

/** A reader this far behind loses lines, octets. */
const WAITING_OCTETS_MAX = 4_194_304;
/** How long a full pipe is left alone, milliseconds. */
const RETRY_MS = 5;
/** How long the end waits for a reader that does not read, and for one that does, milliseconds. */
const IDLE_MS = 1000;
const CLOSE_MS = 10_000;

export interface LineWriterOptions {
  readonly fd: number;
  /** Nothing can be written any more, told once. */
  readonly failed: (error: NodeJS.ErrnoException) => void;
}

export class LineWriter {
  #waiting = "";
  #writing = false;
  #broken = false;
  /** A line found no room; none does until those that wait are on their way. */
  #full = false;
  #idle: (() => void)[] = [];
  /** Octets that have left. */
  #written = 0;

  constructor(private readonly options: LineWriterOptions) {}

  /** Whether the line found room, and will be written. */
  add(line: string): boolean {
    if (this.#waiting.length + line.length > WAITING_OCTETS_MAX) this.#full = true;
    if (this.#broken || this.#full) return false;
    this.#waiting += line;
    if (!this.#writing) this.#begin();
    return true;
  }

  /** What comes in one turn of the event loop leaves in one write. */
  #begin(): void {
    this.#writing = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    if (this.#waiting === "" || this.#broken) {
      this.#writing = false;
      for (const settle of this.#idle.splice(0)) settle();
      return;
    }
    const octets = Buffer.from(this.#waiting);
    this.#waiting = "";
    this.#full = false;
    this.#write(octets, 0);
  }

  #write(octets: Buffer, from: number): void {
    write(this.options.fd, octets, from, octets.length - from, null, (error, written) => {
      if (error?.code === "EAGAIN" && !this.#broken) {
        setTimeout(() => this.#write(octets, from), RETRY_MS).unref();
        return;
      }
      if (error) {
        if (!this.#broken) this.options.failed(error);
        this.#broken = true;
      } else {
        this.#written += written;
        if (from + written < octets.length) {
          this.#write(octets, from + written);
          return;
        }
      }
      this.#next();
    });
  }

  /** What has not left is left behind. */
  close(): void {
    this.#broken = true;
  }

  /** Settles when all lines have left, or their reader has read nothing for a second, or not all in ten. */
  async drain(): Promise<void> {
    if (!this.#writing) return;
    const until = performance.now() + CLOSE_MS;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      const wait = (written: number): void => {
        timer = setTimeout(() => {
          if (this.#written === written || performance.now() > until) resolve();
          else wait(this.#written);
        }, IDLE_MS);
      };
      wait(this.#written);
    });
    await Promise.race([new Promise<void>((resolve) => this.#idle.push(resolve)), late]);
    clearTimeout(timer);
  }
}
