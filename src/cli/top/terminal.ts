/**
 * A terminal as `sluice top` uses it: the alternate screen, keys as they are pressed, and lines that are written again
 * only where they have changed. Whatever ends the program, the terminal is as it was.
 */
import type { ReadStream, WriteStream } from "node:tty";
import { keysOf } from "./keys.ts";
import type { Size } from "./render.ts";

const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const SIZE: Size = { columns: 80, rows: 24 };

export class Terminal {
  #drawn: readonly string[] = [];
  #open = false;
  readonly #heard = (chunk: Buffer | string): void => {
    for (const key of keysOf(chunk.toString())) this.press(key);
  };
  readonly #resized = (): void => {
    this.#drawn = [];
    this.out.write("\x1b[2J");
    this.resized();
  };
  /** Called with every key. */
  press: (key: string) => void = () => {};
  /** The terminal has another size, and is empty. */
  resized: () => void = () => {};

  constructor(
    private readonly input: ReadStream,
    private readonly out: WriteStream,
  ) {}

  open(): void {
    this.#open = true;
    this.out.write(ENTER);
    this.input.setRawMode(true);
    this.input.on("data", this.#heard);
    this.input.resume();
    this.out.on("resize", this.#resized);
    process.once("exit", this.close);
  }

  get size(): Size {
    const { columns, rows } = this.out;
    return { columns: columns || SIZE.columns, rows: rows || SIZE.rows };
  }

  /** Shows these lines, from the top. Says nothing while the terminal still has the last ones to take. */
  draw(lines: readonly string[]): void {
    if (this.out.writableNeedDrain) return;
    const changes: string[] = [];
    const count = Math.max(lines.length, this.#drawn.length);
    for (let i = 0; i < count; i++) {
      const line = lines[i] ?? "";
      if (line !== this.#drawn[i]) changes.push(`\x1b[${i + 1};1H\x1b[0m${line}\x1b[K`);
    }
    this.#drawn = [...lines];
    if (changes.length > 0) this.out.write(changes.join(""));
  }

  readonly close = (): void => {
    if (!this.#open) return;
    this.#open = false;
    process.off("exit", this.close);
    this.out.off("resize", this.#resized);
    this.input.off("data", this.#heard);
    this.input.setRawMode(false);
    this.input.pause();
    this.out.write(LEAVE);
  };
}
