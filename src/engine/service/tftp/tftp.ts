/**
 * TFTP at the gateway's address, to read only: what a guest without a disk boots from (RFC 1350, options of RFC 2347 to
 * 2349, windows of RFC 7440). Not the packet path: what a request costs is no matter, and of a block only its copy counts.
 *
 * All of it comes from port 69, as with libslirp, not from a port of its own for each transfer: the client's address and
 * port tell a transfer, and a client behind a packet filter gets its answer from where it asked. A new request from the
 * same port is the client starting anew. A client that stays silent is sent the same again a few times, then forgotten.
 */
import { EACCES, ENOENT, type ServedFiles } from "../../boundary.ts";
import { SCRATCH_OCTETS, TFTP_TRANSFERS_MAX } from "../../limits.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import type { Packet } from "../../memory/packet.ts";
import { Scratch } from "../../memory/scratch.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import type { Ends } from "../../transport/path.ts";
import { PAIR_WORDS, Path } from "../../transport/path.ts";
import type { UdpService } from "../../transport/udp/input.ts";
import type { UdpOutput } from "../../transport/udp/output.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import {
  ACCESS_VIOLATION,
  ACKNOWLEDGMENT,
  BLOCK_OCTETS_MAX,
  block,
  ERROR,
  errorMessage,
  FILE_NOT_FOUND,
  ILLEGAL_OPERATION,
  NOT_DEFINED,
  opcode,
  optionAcknowledgment,
  READ_REQUEST,
  readRequest,
  TFTP_HEADER_OCTETS,
  type TftpRequest,
  UNKNOWN_TRANSFER,
  WRITE_REQUEST,
  writeDataHeader,
} from "../../wire/tftp.ts";
import { UDP_HEADER_OCTETS } from "../../wire/udp.ts";
import { agree, namesOf } from "./agreement.ts";
import { writeNetascii } from "./netascii.ts";
import { Transfer } from "./transfer.ts";

const REQUESTS = counter("tftp-requests");
const REFUSED = counter("tftp-refused");
const COMPLETED = counter("tftp-completed");
const OCTETS = counter("tftp-octets");
const RETRANSMITS = counter("tftp-retransmits");
const MALFORMED = dropReason("tftp-malformed");
const NO_TRANSFER = dropReason("tftp-no-transfer");
const TRANSFERS_FULL = dropReason("tftp-transfers-full");
const LINK_FULL = dropReason("link-full");

/** Of the same, unanswered; then the client is taken to have gone. */
const TRIES_MAX = 6;
/** A transfer whose client has not been heard for so long gives way to another one. */
const IDLE_MS = 5000;

export interface TftpParts {
  readonly arena: Arena;
  readonly egress: Egress;
  readonly output: UdpOutput;
  readonly counters: Counters;
  readonly files: ServedFiles;
  /** Largest IP packet of the link. */
  readonly mtu: number;
}

export class Tftp implements UdpService {
  private readonly transfers = Array.from({ length: TFTP_TRANSFERS_MAX }, () => new Transfer());
  /** The ends of a message outside of transfers. */
  private readonly ends = new Path(new Int32Array(PAIR_WORDS));
  private readonly scratch: Scratch;
  /** Whose turn it is to send. */
  private turn = 0;
  /** Transfers there are. */
  open = 0;

  constructor(private readonly parts: TftpParts) {
    this.scratch = new Scratch(parts.arena.tftpAt, parts.egress.queue);
  }

  /** A message of a guest. Returns HANDLED or a drop reason. */
  datagram(packet: Packet): number {
    const { view, octets } = this.parts.arena;
    const { payloadAt: at, payloadOctets: length, nowMs } = packet;
    if (length < TFTP_HEADER_OCTETS) return MALFORMED;
    switch (opcode(view, at)) {
      case READ_REQUEST: {
        this.parts.counters.add(REQUESTS, 1);
        const request = readRequest(octets.slice(at, at + length));
        return request === null ? MALFORMED : this.begin(packet, request, nowMs);
      }
      case WRITE_REQUEST:
        return this.refuse(packet, ACCESS_VIOLATION, "files are only read here");
      case ACKNOWLEDGMENT:
        return this.acknowledged(packet, block(view, at), nowMs);
      case ERROR: {
        const transfer = this.find(packet);
        if (transfer === null) return NO_TRANSFER;
        this.end(transfer);
        return HANDLED;
      }
      default:
        return this.refuse(packet, ILLEGAL_OPERATION, "unknown operation");
    }
  }

  /** Sends what may be sent, and again what is due. True when there was more than the link has room for. */
  work(nowMs: number): boolean {
    if (this.open === 0) return false;
    const { transfers } = this;
    for (const transfer of transfers) {
      if (transfer.inUse && ((transfer.dueMs - nowMs) | 0) <= 0) this.overdue(transfer, nowMs);
    }
    for (let i = 0; i < transfers.length; i++) {
      const transfer = transfers[this.turn];
      while (transfer.inUse && transfer.hasBlock) {
        if (!this.sendBlock(transfer, nowMs)) return true;
      }
      this.turn = (this.turn + 1) % transfers.length;
    }
    return false;
  }

  /** Milliseconds until something is to be sent again, or -1. */
  nextDeadlineMs(nowMs: number): number {
    let soonest = -1;
    if (this.open === 0) return soonest;
    for (const transfer of this.transfers) {
      if (!transfer.inUse) continue;
      const due = Math.max((transfer.dueMs - nowMs) | 0, 0);
      if (soonest < 0 || due < soonest) soonest = due;
    }
    return soonest;
  }

  close(): void {
    for (const transfer of this.transfers) if (transfer.inUse) this.end(transfer);
  }

  // --- requests ----------------------------------------------------------------------------------------------------

  private begin(ends: Ends, request: TftpRequest, nowMs: number): number {
    const { files, mtu } = this.parts;
    const before = this.find(ends);
    if (before !== null) this.end(before);
    const netascii = request.mode === "netascii";
    if (!netascii && request.mode !== "octet") {
      return this.refuse(ends, ILLEGAL_OPERATION, "the modes are octet and netascii");
    }
    const names = namesOf(request.file);
    if (names === null) return this.refuse(ends, ACCESS_VIOLATION, "the name leads out of the folder");
    const transfer = this.vacant(nowMs);
    if (transfer === null) {
      this.refuse(ends, NOT_DEFINED, "too many transfers");
      return TRANSFERS_FULL;
    }
    const handle = names.length === 0 ? EACCES : files.open(names);
    if (handle < 0) return this.refuseFile(ends, handle);
    const fileOctets = files.size(handle);
    // No block is cut into fragments, for boot ROMs that cannot put them together. Text is converted beside itself.
    const room = mtu - ends.ipOctets - UDP_HEADER_OCTETS - TFTP_HEADER_OCTETS;
    const most = netascii ? (SCRATCH_OCTETS >> 1) - TFTP_HEADER_OCTETS : BLOCK_OCTETS_MAX;
    const agreement = agree(request, Math.min(room, most), netascii ? -1 : fileOctets);
    transfer.ends.copyEnds(ends);
    transfer.begin(handle, fileOctets, netascii, agreement, nowMs);
    this.open++;
    const { answered } = agreement;
    transfer.offer = answered.length === 0 ? null : optionAcknowledgment(answered);
    if (transfer.offer !== null) this.send(transfer.ends, transfer.offer);
    return HANDLED;
  }

  /** Why the file is not to be had. A guest learns no more of the host than that. */
  private refuseFile(ends: Ends, errno: number): number {
    if (errno === ENOENT) return this.refuse(ends, FILE_NOT_FOUND, "there is no such file");
    if (errno === EACCES) return this.refuse(ends, ACCESS_VIOLATION, "not a file that may be read");
    return this.refuse(ends, NOT_DEFINED, "the file cannot be read");
  }

  private refuse(ends: Ends, code: number, text: string): number {
    this.parts.counters.add(REFUSED, 1);
    this.ends.copyEnds(ends);
    this.send(this.ends, errorMessage(code, text));
    return HANDLED;
  }

  private acknowledged(ends: Ends, number: number, nowMs: number): number {
    const transfer = this.find(ends);
    if (transfer === null) {
      this.refuse(ends, UNKNOWN_TRANSFER, "there is no such transfer");
      return NO_TRANSFER;
    }
    transfer.acknowledge(number, nowMs);
    if (transfer.isComplete) {
      this.parts.counters.add(COMPLETED, 1);
      this.end(transfer);
    }
    return HANDLED;
  }

  // --- transfers ---------------------------------------------------------------------------------------------------

  private find(ends: Ends): Transfer | null {
    for (const transfer of this.transfers) if (transfer.inUse && isSame(transfer.ends, ends)) return transfer;
    return null;
  }

  /** A transfer that is nobody's, or was its client's that has been silent for longest, long enough. */
  private vacant(nowMs: number): Transfer | null {
    let silent: Transfer | null = null;
    let longest = IDLE_MS;
    for (const transfer of this.transfers) {
      if (!transfer.inUse) return transfer;
      const silence = (nowMs - transfer.heardMs) | 0;
      if (silence < longest) continue;
      silent = transfer;
      longest = silence;
    }
    if (silent !== null) this.end(silent);
    return silent;
  }

  private end(transfer: Transfer): void {
    this.parts.files.close(transfer.handle);
    transfer.handle = -1;
    transfer.offer = null;
    this.open--;
  }

  private overdue(transfer: Transfer, nowMs: number): void {
    if (transfer.tries === TRIES_MAX) {
      this.end(transfer);
      return;
    }
    transfer.again(nowMs);
    this.parts.counters.add(RETRANSMITS, 1);
    if (transfer.offer !== null) this.send(transfer.ends, transfer.offer);
  }

  /** Sends the next block. False when there is no room for it now. */
  private sendBlock(transfer: Transfer, nowMs: number): boolean {
    const { arena, egress, output, counters } = this.parts;
    const { blockOctets } = transfer;
    const kept = TFTP_HEADER_OCTETS + (transfer.netascii ? 2 * blockOctets : blockOctets);
    if (egress.payloadRoom() === 0) return false;
    const at = this.scratch.keep(kept);
    if (at === 0) return false;
    const number = transfer.sent + 1;
    const dataAt = at + TFTP_HEADER_OCTETS;
    const length = transfer.netascii
      ? this.readText(transfer, dataAt)
      : this.readBlock(transfer, dataAt, number);
    if (length < 0) {
      this.refuse(transfer.ends, NOT_DEFINED, "the file cannot be read any more");
      this.end(transfer);
      return true;
    }
    writeDataHeader(arena.view, at, number & 0xffff);
    const result = output.send(transfer.ends, at, TFTP_HEADER_OCTETS + length, 0);
    // What is lost here is lost as on any wire: the client's silence tells.
    if (result === HANDLED) counters.add(OCTETS, length);
    else counters.drop(result);
    transfer.sent = number;
    transfer.wait(nowMs);
    return true;
  }

  /** Octets of block `number`, or -errno; less than there were at the start is an error too. */
  private readBlock(transfer: Transfer, at: number, number: number): number {
    const { handle, fileOctets, blockOctets } = transfer;
    const position = (number - 1) * blockOctets;
    const length = Math.min(blockOctets, fileOctets - position);
    if (length === 0) return 0;
    const got = this.parts.files.read(handle, at, length, position);
    return got < length ? Math.min(got, -1) : got;
  }

  /** The same of a text: the block after the last one acknowledged. */
  private readText(transfer: Transfer, at: number): number {
    const { handle, blockOctets, start, next } = transfer;
    const rawAt = at + blockOctets;
    const got = this.parts.files.read(handle, rawAt, blockOctets, start.at);
    if (got < 0) return got;
    next.at = start.at;
    next.pending = start.pending;
    const length = writeNetascii(this.parts.arena.octets, rawAt, got, at, blockOctets, next);
    if (length < blockOctets) transfer.last = transfer.sent + 1;
    return length;
  }

  /** Sends a short message. */
  private send(ends: Path, message: Uint8Array): void {
    const { arena, output, counters } = this.parts;
    const at = this.scratch.keep(message.length);
    if (at !== 0) arena.octets.set(message, at);
    const result = at === 0 ? LINK_FULL : output.send(ends, at, message.length, 0);
    if (result !== HANDLED) counters.drop(result);
  }
}

/** Whether both are the same client at the same address of ours. */
function isSame(ours: Path, theirs: Ends): boolean {
  if (ours.guestPort !== theirs.guestPort || ours.ipOctets !== theirs.ipOctets) return false;
  if (ours.ipOctets === IPV4_HEADER_OCTETS) return ours.guestAddress === theirs.guestAddress;
  for (let word = 0; word < 4; word++) {
    if (ours.pair[word] !== theirs.pair[theirs.pairAt + word]) return false;
  }
  return true;
}
