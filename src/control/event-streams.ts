/**
 * Events for who listens: server-sent events (WHATWG HTML section 9.2). Each has a number; who comes back with the last one it
 * has heard gets what it missed, as far as that is remembered. Who does not read loses events and is told how many.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { LRUCache } from "lru-cache";
import { eventOf } from "./events.ts";
import { ControlRefusal } from "./instance.ts";
import type { EngineRecord, RecordStream } from "./records.ts";
import { type ControlEvent, EVENT_TYPES, type EventType, eventQuerySchema } from "./schema.ts";

/** Events remembered for who comes back. */
const REMEMBERED_MAX = 4096;
/** How long events are gathered after the last listener has gone, milliseconds. */
const LINGER_MS = 60_000;
/** Octets that may wait for a listener. */
const BACKLOG_MAX = 1_048_576;
/** So that a listener behind a proxy is not taken for dead. */
const KEEPALIVE_MS = 15_000;

interface Listener {
  readonly types: ReadonlySet<EventType>;
  readonly response: ServerResponse;
  /** Events it did not get since it stopped reading. */
  missed: number;
}

export class EventStreams {
  private readonly listeners = new Set<Listener>();
  private readonly remembered = new LRUCache<number, ControlEvent>({ max: REMEMBERED_MAX });
  private lastId = 0;
  private unsubscribe: (() => void) | undefined;
  private wanted = new Set<EventType>();
  private linger: NodeJS.Timeout | undefined;
  private readonly keepalive: NodeJS.Timeout;

  constructor(private readonly records: RecordStream) {
    this.keepalive = setInterval(() => {
      for (const { response } of this.listeners) response.write(":\n\n");
    }, KEEPALIVE_MS);
    this.keepalive.unref();
  }

  /** Answers a request for events. Throws a ControlRefusal for one that cannot be understood. */
  serve(request: IncomingMessage, response: ServerResponse, query: unknown): void {
    const parsed = eventQuerySchema.safeParse(query);
    if (!parsed.success) {
      const allowed = `types of ${EVENT_TYPES.join(", ")}, behind commas`;
      throw new ControlRefusal(400, `query.types: ${allowed}`, [{ place: "query.types", allowed }]);
    }
    const listener: Listener = { types: new Set(parsed.data.types), response, missed: 0 };
    response.writeHead(200, {
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-store",
      "X-Accel-Buffering": "no",
    });
    response.write(":\n\n");
    this.resume(listener, request.headers["last-event-id"]);
    this.listeners.add(listener);
    response.on("close", () => this.gone(listener));
    this.subscribe(listener.types);
    this.attend();
  }

  /** Whoever hears of questions can answer them. */
  private attend(): void {
    this.records.attend([...this.listeners].some(({ types }) => types.has("question")));
  }

  /** What has happened since event `lastId`, as far as it is known. */
  private resume(listener: Listener, lastId: string | string[] | undefined): void {
    if (typeof lastId !== "string" || !/^\d{1,15}$/.test(lastId)) return;
    const from = Number(lastId) + 1;
    const oldest = Math.max(1, this.lastId - REMEMBERED_MAX + 1);
    if (from < oldest) {
      const lost = lostEvent(oldest - from);
      this.write(listener, oldest - 1, lost, eventText(oldest - 1, lost));
    }
    for (let id = Math.max(from, oldest); id <= this.lastId; id++) {
      const event = this.remembered.peek(id);
      if (event === undefined || !listener.types.has(event.type)) continue;
      this.write(listener, id, event, eventText(id, event));
    }
  }

  /** Every type that anybody has asked for: they go on until the last listener has been gone for a while. */
  private subscribe(types: ReadonlySet<EventType>): void {
    clearTimeout(this.linger);
    const before = this.wanted.size;
    this.wanted = new Set([...this.wanted, ...types]);
    if (this.unsubscribe !== undefined && this.wanted.size === before) return;
    const previous = this.unsubscribe;
    this.unsubscribe = this.records.subscribe([...this.wanted], (record) => this.tell(record));
    previous?.();
  }

  private gone(listener: Listener): void {
    this.listeners.delete(listener);
    this.attend();
    if (this.listeners.size > 0) return;
    this.linger = setTimeout(() => {
      this.unsubscribe?.();
      this.unsubscribe = undefined;
      this.wanted.clear();
    }, LINGER_MS);
    this.linger.unref();
  }

  private tell(record: EngineRecord): void {
    const event = eventOf(record);
    const id = ++this.lastId;
    this.remembered.set(id, event);
    let text: string | undefined;
    for (const listener of this.listeners) {
      if (!listener.types.has(event.type) && event.type !== "records-lost") continue;
      text ??= eventText(id, event);
      this.write(listener, id, event, text);
    }
  }

  /** Sends an event, whose `text` is the same for all who listen. */
  private write(listener: Listener, id: number, event: ControlEvent, text: string): void {
    const { response } = listener;
    if (response.writableLength > BACKLOG_MAX) {
      listener.missed += event.type === "records-lost" ? event.count : 1;
      return;
    }
    if (listener.missed > 0) {
      response.write(eventText(id, lostEvent(listener.missed)));
      listener.missed = 0;
    }
    response.write(text);
  }

  close(): void {
    clearTimeout(this.linger);
    clearInterval(this.keepalive);
    this.unsubscribe?.();
    for (const { response } of this.listeners) response.end();
  }
}

function lostEvent(count: number): ControlEvent {
  return { type: "records-lost", at: new Date().toISOString(), count };
}

function eventText(id: number, event: ControlEvent): string {
  return `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
