/** How the demo looks: numbered steps, and rates that move on a terminal and are one line when piped. */

const INDENT = "   ";

export class Display {
  private steps = 0;

  constructor(private readonly out: NodeJS.WriteStream) {}

  heading(text: string): void {
    this.out.write(`${text}\n`);
  }

  step(text: string): void {
    this.steps++;
    this.out.write(`\n${this.bold(`${this.steps}. ${text}`)}\n`);
  }

  line(text: string): void {
    for (const each of text.trimEnd().split("\n")) this.out.write(`${INDENT}${each}\n`);
  }

  /** Shows a rate that is replaced by the next; nothing when piped. */
  live(text: string): void {
    if (this.out.isTTY) this.out.write(`\r\x1b[K${INDENT}${text}`);
  }

  /** Ends a live line. */
  settle(text: string): void {
    if (this.out.isTTY) this.out.write("\r\x1b[K");
    this.line(text);
  }

  /** On a terminal: says something and waits until somebody presses Enter. Goes on at once when piped. */
  async pause(text: string): Promise<void> {
    const { stdin } = process;
    if (!this.out.isTTY || !stdin.isTTY) return;
    this.out.write(`\n${INDENT}${text} `);
    await new Promise<void>((resolve) => {
      stdin.once("data", () => resolve());
      stdin.once("end", () => resolve());
      stdin.resume();
    });
    stdin.pause();
  }

  private bold(text: string): string {
    return this.out.isTTY && !process.env["NO_COLOR"] ? `\x1b[1m${text}\x1b[0m` : text;
  }
}

/** `4.21 Gbit/s`. */
export function formatRate(octets: number, ms: number): string {
  return `${((octets * 8) / 1e6 / ms).toFixed(2)} Gbit/s`;
}
