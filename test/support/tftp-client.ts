/** A TFTP client made by hand (RFC 1350, 2347, 7440), and files that exist only in a test. */
import { EACCES, ENOENT, type ServedFiles } from "../../src/engine/boundary.ts";

export const [RRQ, WRQ, DATA, ACK, ERROR, OACK] = [1, 2, 3, 4, 5, 6];

export class MemoryFiles implements ServedFiles {
  readonly asked: string[] = [];
  /** Paths of the open ones, by handle. */
  readonly open_ = new Map<number, string>();
  readError = 0;
  private handles = 0;

  constructor(
    private readonly octets: Uint8Array,
    readonly files: Map<string, Uint8Array>,
  ) {}

  open(names: readonly string[]): number {
    const path = names.join("/");
    this.asked.push(path);
    if (path === "secret") return EACCES;
    if (!this.files.has(path)) return ENOENT;
    this.open_.set(this.handles, path);
    return this.handles++;
  }
  size(handle: number): number {
    return this.contents(handle).length;
  }
  read(handle: number, at: number, length: number, position: number): number {
    if (this.readError !== 0) return this.readError;
    const part = this.contents(handle).subarray(position, position + length);
    this.octets.set(part, at);
    return part.length;
  }
  close(handle: number): void {
    if (!this.open_.delete(handle)) throw new Error(`handle ${handle} is not open`);
  }

  private contents(handle: number): Uint8Array {
    const path = this.open_.get(handle);
    if (path === undefined) throw new Error(`handle ${handle} is not open`);
    return this.files.get(path)!;
  }
}

const encoder = new TextEncoder();

export function request(
  file: string,
  options: Readonly<Record<string, string | number>> = {},
  mode = "octet",
  opcode: number = RRQ,
): Uint8Array {
  const words = [file, mode, ...Object.entries(options).flat()];
  return Uint8Array.of(0, opcode, ...encoder.encode(words.map((word) => `${word}\0`).join("")));
}

export function acknowledgment(number: number): Uint8Array {
  return Uint8Array.of(0, ACK, number >> 8, number & 255);
}

export interface Message {
  readonly opcode: number;
  /** Of DATA and ACK the block, of ERROR the code. */
  readonly number: number;
  readonly data: Uint8Array;
  readonly options: Readonly<Record<string, string>>;
}

export function parseMessage(octets: Uint8Array): Message {
  const opcode = (octets[0] << 8) | octets[1];
  const words = new TextDecoder().decode(octets.subarray(2)).split("\0");
  const options: Record<string, string> = {};
  if (opcode === OACK) for (let i = 0; i + 1 < words.length; i += 2) options[words[i]] = words[i + 1];
  return { opcode, number: (octets[2] << 8) | octets[3], data: octets.slice(4), options };
}

/** Takes messages in, gives those to send: acknowledges each window, and where something is missing what it has. */
export class Receiver {
  readonly received: Uint8Array[] = [];
  done = false;
  error: Message | undefined;
  offered: Readonly<Record<string, string>> | undefined;
  private blockOctets = 512;
  private windowBlocks = 1;
  private inWindow = 0;
  private told = false;

  take(message: Message): Uint8Array[] {
    switch (message.opcode) {
      case OACK:
        this.offered = message.options;
        this.blockOctets = Number(message.options["blksize"] ?? 512);
        this.windowBlocks = Number(message.options["windowsize"] ?? 1);
        return this.received.length === 0 ? [acknowledgment(0)] : [];
      case DATA:
        return this.data(message);
      case ERROR:
        this.error = message;
        return [];
      default:
        throw new Error(`a server sends no message ${message.opcode}`);
    }
  }

  /** What it has, again: nothing came for a while. */
  again(): Uint8Array {
    this.inWindow = 0;
    return acknowledgment(this.received.length & 0xffff);
  }

  get octets(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.received));
  }

  private data({ number, data }: Message): Uint8Array[] {
    if (number !== ((this.received.length + 1) & 0xffff)) {
      if (this.told) return [];
      this.told = true;
      return [this.again()];
    }
    this.told = false;
    this.received.push(data);
    this.inWindow++;
    this.done = data.length < this.blockOctets;
    if (!this.done && this.inWindow < this.windowBlocks) return [];
    return [this.again()];
  }
}
