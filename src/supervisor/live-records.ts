/** The supervisor's end of an engine's records: opened when somebody first asks, checked, and handed to whoever wants them. */
import { type OnReadOpts, Socket } from "node:net";
import { type FlowRecord, RecordDecoder, RecordError } from "../control/record-decoder.ts";
import type { EngineRecord, RecordStream, RecordType } from "../control/records.ts";
import { WANT_DNS, WANT_DROPS, WANT_ENDED, WANT_HISTORY, WANT_OPENED } from "../engine/transport/recorder.ts";
import { native } from "../host/native/native.ts";
import { CallError, type EngineCalls } from "./calls.ts";

export interface RecordParts {
  readonly calls: EngineCalls;
  /** Sends a descriptor for the call that is about to be made. */
  readonly sendDescriptor: (fd: number) => void;
  /** The engine wrote what is no record. */
  readonly distrust: () => void;
  /** Hears of every record there is, whoever wanted it. */
  readonly note: (record: EngineRecord) => void;
}

const WANTED: Partial<Record<RecordType, number>> = {
  "flow-opened": WANT_OPENED,
  "flow-ended": WANT_ENDED,
  drop: WANT_DROPS,
  dns: WANT_DNS,
};

/** Places of the flow table looked at in one call. */
const PLACES_PER_CALL = 16_384;

/** Octets read at a time. More would be more than a listener to events takes at once. */
const READ_OCTETS = 65_536;

/** How long an engine that has ended may leave records to read, milliseconds. */
const DRAIN_MS = 500;

/** Called with each row, which is another one when this returns. */
export type TakeRow = (row: FlowRecord) => void;

/** Rows that are on their way. */
interface RowCall {
  /** The place they begin at, and how many there may still be. */
  readonly from: number;
  most: number;
  readonly take: TakeRow;
  /** Gets the place where the next call goes on; 0 when there are no more. */
  readonly settle: (next: number) => void;
  readonly reject: (error: CallError) => void;
}

interface Reader {
  readonly types: ReadonlySet<RecordType>;
  readonly read: (record: EngineRecord) => void;
}

export class LiveRecords implements RecordStream {
  /** Records there were and that nobody could read in time. */
  lost = 0;
  private readonly readers = new Set<Reader>();
  private readonly rowCalls = new Map<number, RowCall>();
  private opening: Promise<void> | undefined;
  private asked = 0;
  private isAttended = false;
  private socket: Socket | undefined;

  constructor(private readonly parts: RecordParts) {}

  subscribe(types: readonly RecordType[], read: (record: EngineRecord) => void): () => void {
    const reader: Reader = { types: new Set<RecordType>([...types, "records-lost"]), read };
    this.readers.add(reader);
    this.ask();
    return () => {
      this.readers.delete(reader);
      this.ask();
    };
  }

  attend(attended: boolean): void {
    if (attended === this.isAttended) return;
    this.isAttended = attended;
    this.parts.calls.call<"attended">({ name: "attended", attended }).catch(() => {});
  }

  /** Hands a record to whoever wants it; those of the supervisor itself come this way, too. */
  tell(record: EngineRecord): void {
    if (record.type === "records-lost") this.lost += record.count;
    this.parts.note(record);
    for (const { types, read } of this.readers) if (types.has(record.type)) read(record);
  }

  /**
   * Hands on up to `limit` rows of up to `places` places of the flow table from place `from` on. Returns the place where to
   * go on, 0 when there are no more.
   */
  async rows(from: number, places: number, limit: number, take: TakeRow): Promise<number> {
    await this.open();
    const { calls } = this.parts;
    if (this.socket?.destroyed) throw new CallError("the engine's records have ended");
    return new Promise((settle, reject) => {
      const id = calls.nextId;
      this.rowCalls.set(id, { from, most: Math.min(places, limit), take, settle, reject });
      calls.call<"rows">({ name: "rows", from, places, rows: limit }).catch((error) => {
        this.rowCalls.delete(id);
        reject(error);
      });
    });
  }

  /** The row of the flow with this number, if there is one: the table has no order by it. */
  async rowOf(flow: number): Promise<FlowRecord | undefined> {
    let found: FlowRecord | undefined;
    const take = (row: FlowRecord): void => {
      if (row.flow === flow) found = structuredClone(row);
    };
    let from = 0;
    do {
      from = await this.rows(from, PLACES_PER_CALL, PLACES_PER_CALL, take);
    } while (found === undefined && from > 0);
    return found;
  }

  /** Settles when what the engine has recorded so far has been read. */
  async refresh(): Promise<void> {
    // The end of no rows comes behind the events that were there; the drops of that moment come before the next.
    await this.rows(0, 0, 0, () => {});
    await this.rows(0, 0, 0, () => {});
  }

  private wanted(): number {
    let wanted = WANT_HISTORY;
    for (const { types } of this.readers) for (const type of types) wanted |= WANTED[type] ?? 0;
    return wanted;
  }

  /** Tells the engine what is wanted now. One that has ended wants nothing any more. */
  private ask(): void {
    if (this.opening === undefined) {
      this.open().catch(() => {});
      return;
    }
    const wanted = this.wanted();
    if (wanted === this.asked) return;
    this.asked = wanted;
    this.parts.calls.call<"records">({ name: "records", wanted, first: false }).catch(() => {});
  }

  private open(): Promise<void> {
    this.opening ??= this.begin().catch((error) => {
      // Descriptors may be short for a moment: the next who asks tries again.
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  private async begin(): Promise<void> {
    const { calls, sendDescriptor } = this.parts;
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) throw new CallError("no socket pair for the engine's records");
    this.asked = this.wanted();
    let uptimeMs: number;
    try {
      ({ uptimeMs } = await calls.call<"records">({ name: "records", wanted: this.asked, first: true }, () =>
        sendDescriptor(theirs),
      ));
    } catch (error) {
      native.close(ours);
      throw error;
    } finally {
      native.close(theirs);
    }
    const decoder = new RecordDecoder(
      {
        record: (record) => this.tell(record),
        row: (call, row) => this.row(call, row),
        rowsEnd: (call, next) => this.rowsEnd(call, next),
      },
      Date.now(),
      uptimeMs,
    );
    const options = { fd: ours, readable: true, writable: false, onread: this.reading(decoder) };
    const socket = new Socket(options);
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => this.ended());
    socket.resume();
    this.ask();
  }

  /** Reads into one buffer: the decoder keeps nothing of it. */
  private reading(decoder: RecordDecoder): OnReadOpts {
    const buffer = Buffer.allocUnsafeSlow(READ_OCTETS);
    const callback = (octets: number): boolean => {
      try {
        decoder.push(buffer.subarray(0, octets));
      } catch (error) {
        if (!(error instanceof RecordError)) throw error;
        this.socket?.destroy();
        this.parts.distrust();
      }
      return true;
    };
    return { buffer, callback };
  }

  /** What is asked of an engine whose records have ended is never told. */
  private ended(): void {
    for (const { reject } of this.rowCalls.values()) reject(new CallError("the engine's records have ended"));
    this.rowCalls.clear();
  }

  private row(call: number, row: FlowRecord): void {
    const waiting = this.rowCalls.get(call);
    if (waiting === undefined) return;
    if (waiting.most-- === 0) throw new RecordError("more rows than were asked for");
    waiting.take(row);
  }

  private rowsEnd(call: number, next: number): void {
    const waiting = this.rowCalls.get(call);
    if (waiting !== undefined && next !== 0 && next <= waiting.from)
      throw new RecordError("rows that go back");
    this.rowCalls.delete(call);
    waiting?.settle(next);
  }

  /** Settles when the engine's end has been read to its end; not much later in any case. */
  async drained(): Promise<void> {
    const { socket } = this;
    if (socket === undefined || socket.closed) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, DRAIN_MS);
    });
    await Promise.race([new Promise<void>((resolve) => socket.once("close", () => resolve())), late]);
    clearTimeout(timer);
  }

  close(): void {
    this.socket?.destroy();
  }
}
