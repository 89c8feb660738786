/**
 * One file on its way to a guest. Blocks are numbered from 1; the last one is shorter than the others, maybe empty. The
 * message has 16 bits of the number, which start over at 0 (as every server does it): a file has no largest size.
 *
 *      acknowledged        sent      acknowledged + window
 *   -------|=================|---------------|------------
 *          those that may have to be sent again
 */
import { PAIR_WORDS, Path } from "../../transport/path.ts";
import type { Agreement } from "./agreement.ts";

/** Between retransmissions at first, where the client has not named a time; doubled each time, up to the other. */
const TIMEOUT_MS = 1000;
const TIMEOUT_MOST_MS = 8000;

export class Transfer {
  readonly ends = new Path(new Int32Array(PAIR_WORDS));
  /** Of the file, -1 when there is none: the transfer is nobody's. */
  handle = -1;
  fileOctets = 0;
  blockOctets = 0;
  windowBlocks = 1;
  /** What the client is told of its options until it says that it has heard, or null. */
  offer: Uint8Array | null = null;
  acknowledged = 0;
  sent = 0;
  /** The number of the last block, 0 while it is not known (netascii). */
  last = 0;
  /** How often the same has been sent again since the client was last heard. */
  tries = 0;
  dueMs = 0;
  /** When the client was last heard. */
  heardMs = 0;
  /** An acknowledgment of what was acknowledged already has been answered since the last new one. */
  answeredAgain = false;
  /** Netascii: where in the file the first block not acknowledged begins, and where the one after it. */
  readonly start = { at: 0, pending: 0 };
  readonly next = { at: 0, pending: 0 };
  netascii = false;
  private agreedTimeoutMs = 0;

  get inUse(): boolean {
    return this.handle >= 0;
  }

  /** Begins with an open file. */
  begin(handle: number, fileOctets: number, netascii: boolean, agreement: Agreement, nowMs: number): void {
    this.handle = handle;
    this.fileOctets = fileOctets;
    this.netascii = netascii;
    this.blockOctets = agreement.blockOctets;
    this.windowBlocks = agreement.windowBlocks;
    this.agreedTimeoutMs = agreement.timeoutMs;
    this.acknowledged = 0;
    this.sent = 0;
    this.last = netascii ? 0 : Math.floor(fileOctets / agreement.blockOctets) + 1;
    this.tries = 0;
    this.answeredAgain = false;
    this.start.at = 0;
    this.start.pending = 0;
    this.heardMs = nowMs;
    this.wait(nowMs);
  }

  /** From now on the client has its time to answer. */
  wait(nowMs: number): void {
    const own = Math.min(TIMEOUT_MS << this.tries, TIMEOUT_MOST_MS);
    this.dueMs = (nowMs + (this.agreedTimeoutMs || own)) | 0;
  }

  /** Whether a block may be sent now. */
  get hasBlock(): boolean {
    if (this.offer !== null || this.sent - this.acknowledged >= this.windowBlocks) return false;
    return this.last === 0 || this.sent < this.last;
  }

  get isComplete(): boolean {
    return this.last !== 0 && this.acknowledged === this.last;
  }

  /**
   * The client has all blocks up to the one whose number ends in `number`. What was sent after that is sent again: it says
   * so before the end of a window only when something is missing (RFC 7440 section 4).
   */
  acknowledge(number: number, nowMs: number): void {
    this.heardMs = nowMs;
    this.tries = 0;
    if (this.offer !== null) {
      if (number !== 0) return;
      this.offer = null;
      this.progress(nowMs);
      return;
    }
    const more = (number - this.acknowledged) & 0xffff;
    if (more > this.sent - this.acknowledged) return;
    if (more === 0) {
      // Of a window's first block. One by one, sending again at this would double everything from here on (RFC 1123
      // section 4.2.3.1); once is enough for a window.
      if (this.windowBlocks === 1 || this.answeredAgain || this.sent === this.acknowledged) return;
      this.answeredAgain = true;
      this.sent = this.acknowledged;
      this.wait(nowMs);
      return;
    }
    this.acknowledged += more;
    this.sent = this.acknowledged;
    this.start.at = this.next.at;
    this.start.pending = this.next.pending;
    this.progress(nowMs);
  }

  private progress(nowMs: number): void {
    this.answeredAgain = false;
    this.wait(nowMs);
  }

  /** Nothing was heard in time: all that is not acknowledged is sent again. */
  again(nowMs: number): void {
    this.tries++;
    this.answeredAgain = false;
    this.sent = this.acknowledged;
    this.wait(nowMs);
  }
}
