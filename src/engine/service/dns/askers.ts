/**
 * Who waits for answers. Each question under way has a list of askers, by entry number; all of them are answered with
 * the one answer, each under its own id and in the letters it used.
 */
import { DNS_ASKERS_MAX, DNS_STREAMS_MAX } from "../../limits.ts";
import { CASE_OCTETS, id, noteCase, restoreCase, setId } from "../../wire/dns.ts";
import { NO_STREAM, type Query } from "./query.ts";
import { QUESTIONS_MAX } from "./questions.ts";

export const NO_ASKER = -1;

export class Askers {
  /** Four words each, IPv4 as v4-mapped. */
  readonly guest = new Int32Array(DNS_ASKERS_MAX * 4);
  readonly guestPort = new Int32Array(DNS_ASKERS_MAX);
  /** The address each asked: as `guest`. */
  readonly server = new Int32Array(DNS_ASKERS_MAX * 4);
  /** Number of the guest's TCP connection, or NO_STREAM. */
  readonly stream = new Int32Array(DNS_ASKERS_MAX);
  /** Entry of the question, -1 while free. */
  readonly question = new Int32Array(DNS_ASKERS_MAX).fill(-1);
  /** Askers there are on each of the guest's TCP connections. */
  readonly onStream = new Int32Array(DNS_STREAMS_MAX);
  private readonly askedId = new Int32Array(DNS_ASKERS_MAX);
  private readonly letters = new Uint8Array(DNS_ASKERS_MAX * CASE_OCTETS);
  /** Next asker of the same question, or next free one. */
  private readonly next = new Int32Array(DNS_ASKERS_MAX);
  private readonly head = new Int32Array(QUESTIONS_MAX).fill(NO_ASKER);
  private free = 0;

  constructor() {
    for (let i = 0; i < DNS_ASKERS_MAX; i++) this.next[i] = i + 1 < DNS_ASKERS_MAX ? i + 1 : NO_ASKER;
  }

  get full(): boolean {
    return this.free === NO_ASKER;
  }

  /** The asker who asked under the same id before, or NO_ASKER. */
  find(view: DataView, query: Query): number {
    const queryId = id(view, query.at);
    for (let asker = 0; asker < DNS_ASKERS_MAX; asker++) {
      if (
        this.question[asker] >= 0 &&
        this.askedId[asker] === queryId &&
        this.guestPort[asker] === query.guestPort &&
        isAt(this.guest, asker, query.guest) &&
        isAt(this.server, asker, query.server) &&
        this.stream[asker] === query.stream
      ) {
        return asker;
      }
    }
    return NO_ASKER;
  }

  /** An asker of any question that asked on this stream, or NO_ASKER. */
  ofStream(stream: number): number {
    for (let asker = 0; asker < DNS_ASKERS_MAX; asker++) {
      if (this.question[asker] >= 0 && this.stream[asker] === stream) return asker;
    }
    return NO_ASKER;
  }

  /** Whoever sent `query` joins a question; the caller has seen that there is room. */
  add(question: number, view: DataView, query: Query): void {
    const asker = this.free;
    this.free = this.next[asker];
    this.question[asker] = question;
    this.guest.set(query.guest, asker * 4);
    this.server.set(query.server, asker * 4);
    this.guestPort[asker] = query.guestPort;
    this.stream[asker] = query.stream;
    if (query.overTcp) this.onStream[query.stream]++;
    this.askedId[asker] = id(view, query.at);
    noteCase(view, query.at, query.end, this.letters, asker * CASE_OCTETS);
    this.next[asker] = this.head[question];
    this.head[question] = asker;
  }

  /** The asker that joined a question last, or NO_ASKER. */
  last(question: number): number {
    return this.head[question];
  }

  /** The one that joined before `asker`, or NO_ASKER. */
  before(asker: number): number {
    return this.next[asker];
  }

  /** Makes an answer this asker's own: its id, and its letters in the question that ends after `end` octets, if any. */
  address(asker: number, view: DataView, at: number, end: number): void {
    setId(view, at, this.askedId[asker]);
    if (end > 0) restoreCase(view, at, end, this.letters, asker * CASE_OCTETS);
  }

  remove(asker: number): void {
    const question = this.question[asker];
    if (this.head[question] === asker) {
      this.head[question] = this.next[asker];
    } else {
      let before = this.head[question];
      while (this.next[before] !== asker) before = this.next[before];
      this.next[before] = this.next[asker];
    }
    this.question[asker] = -1;
    if (this.stream[asker] !== NO_STREAM) this.onStream[this.stream[asker]]--;
    this.next[asker] = this.free;
    this.free = asker;
  }
}

/** Whether the address of this asker is that one. */
function isAt(addresses: Int32Array, asker: number, words: Int32Array): boolean {
  for (let word = 0; word < 4; word++) if (addresses[asker * 4 + word] !== words[word]) return false;
  return true;
}
