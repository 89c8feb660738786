/** QEMU's machine protocol over its socket: one command after the other. */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";

type Reply = Readonly<Record<string, unknown>>;

export class Qmp {
  private readonly waiting: ((reply: Reply) => void)[] = [];

  private constructor(private readonly socket: Socket) {
    createInterface({ input: socket }).on("line", (line) => {
      const reply = JSON.parse(line) as Reply;
      if ("return" in reply || "error" in reply) this.waiting.shift()?.(reply);
    });
    socket.on("error", () => {});
  }

  /** Connects to the socket of `-qmp unix:PATH,server=on,wait=off`; QEMU has made it. */
  static async open(path: string): Promise<Qmp> {
    const socket = connect(path);
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const qmp = new Qmp(socket);
    await qmp.do("qmp_capabilities");
    return qmp;
  }

  /** Gives what a command returns; throws with QEMU's words when it is refused. */
  async do(execute: string, args: Reply = {}): Promise<Reply> {
    const reply = new Promise<Reply>((resolve) => this.waiting.push(resolve));
    this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const { return: value, error } = await reply;
    if (error !== undefined) throw new Error(`${execute}: ${JSON.stringify(error)}`);
    return value as Reply;
  }

  close(): void {
    this.socket.destroy();
  }
}
