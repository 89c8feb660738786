/**
 * vhost-user's messages over a socket: a header, a payload, and the descriptors that came with them. Nothing here knows
 * what a request means. Every descriptor that nobody took is closed once its message has been handled.
 */
import { EAGAIN } from "../../engine/boundary.ts";
import { EMSGSIZE } from "../native/linux.ts";
import { native } from "../native/native.ts";
import { describeErrno } from "../start-error.ts";
import * as protocol from "./vhost-protocol.ts";

/** Messages handled before others get their turn. */
const MESSAGES_PER_TURN = 64;
const DESCRIPTORS_MAX = 8;

export interface VhostListener {
  /** A whole message is in `message`. */
  readonly message: (request: number) => void;
  /** The conversation is over. */
  readonly broken: (reason: string) => void;
}

export class VhostChannel {
  /** Request, flags, size of the payload, and the payload. */
  readonly message = new Int32Array(protocol.HEADER_INTS + protocol.PAYLOAD_OCTETS_MAX / 4);
  private readonly reply = new Int32Array(protocol.HEADER_INTS + 2);
  private readonly descriptors = new Int32Array(1 + DESCRIPTORS_MAX);
  private filled = 0;
  private wanted = protocol.HEADER_OCTETS;
  private open = true;

  constructor(
    private readonly fd: number,
    private readonly listener: VhostListener,
  ) {}

  /** Reads what has come and hands on whole messages. */
  read(): void {
    for (let handled = 0; handled < MESSAGES_PER_TURN && this.open; ) {
      const { filled, wanted } = this;
      const got = native.vhostReceive(this.fd, this.message, filled, wanted - filled, this.descriptors);
      if (got === EAGAIN) return;
      if (got <= 0) {
        this.fail(receiveProblem(got));
        return;
      }
      this.filled += got;
      if (this.filled < wanted || !this.isWhole()) continue;
      handled++;
      this.listener.message(this.message[0]);
      this.closeDescriptors();
      this.filled = 0;
      this.wanted = protocol.HEADER_OCTETS;
    }
  }

  /** With the header there: checks it, and has the payload read. False while that is to come. */
  private isWhole(): boolean {
    if (this.wanted > protocol.HEADER_OCTETS) return true;
    const [, flags, size] = this.message;
    if ((flags & (protocol.VERSION_MASK | protocol.REPLY)) !== protocol.VERSION) {
      this.fail(`message flags ${flags >>> 0}; not vhost-user?`);
      return false;
    }
    if (size >>> 0 > protocol.PAYLOAD_OCTETS_MAX) {
      this.fail(`a message of ${size >>> 0} octets, over ${protocol.PAYLOAD_OCTETS_MAX}`);
      return false;
    }
    this.wanted += size;
    return size === 0;
  }

  private fail(reason: string): void {
    this.open = false;
    this.listener.broken(reason);
  }

  get needsReply(): boolean {
    return (this.message[1] & protocol.NEED_REPLY) !== 0;
  }

  /** The payload as one number of 64 bits. */
  number(): bigint {
    const { message } = this;
    return (BigInt(message[4] >>> 0) << 32n) | BigInt(message[3] >>> 0);
  }

  /** How many descriptors came with the message. */
  get descriptorCount(): number {
    return this.descriptors[0];
  }

  /** Takes the next descriptor that came, or -1: whoever takes it closes it. */
  takeDescriptor(): number {
    const { descriptors } = this;
    for (let i = 1; i <= descriptors[0]; i++) {
      const fd = descriptors[i];
      if (fd < 0) continue;
      descriptors[i] = -1;
      return fd;
    }
    return -1;
  }

  closeDescriptors(): void {
    for (let fd = this.takeDescriptor(); fd >= 0; fd = this.takeDescriptor()) native.close(fd);
    this.descriptors[0] = 0;
  }

  /** Answers a request with a number of 64 bits. */
  answer(request: number, value: bigint): void {
    const { reply } = this;
    reply[0] = request;
    reply[1] = protocol.VERSION | protocol.REPLY;
    reply[2] = 8;
    reply[3] = Number(BigInt.asIntN(32, value));
    reply[4] = Number(BigInt.asIntN(32, value >> 32n));
    if (native.vhostReply(this.fd, reply, reply.byteLength) !== reply.byteLength)
      this.fail("it takes no answers");
  }

  /** Nothing more is read. */
  close(): void {
    this.open = false;
    this.closeDescriptors();
  }
}

function receiveProblem(result: number): string {
  if (result === 0) return "the front-end closed the connection";
  return result === EMSGSIZE ? "a message with too many descriptors" : describeErrno(result);
}
