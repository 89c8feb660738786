/**
 * Server-sent events (WHATWG HTML section 9.2.6) out of what comes, however it is cut: for the client, and for the page in a
 * browser.
 */

export interface StreamedEvent {
  /** The last one that was told; what `Last-Event-ID` resumes after. */
  readonly id: string;
  readonly type: string;
  readonly data: string;
}

/** Characters of an event; longer than any of ours. */
const EVENT_MAX = 1_048_576;

export class EventStreamParser {
  #rest = "";
  #id = "";
  #type = "";
  #data: string[] = [];
  #characters = 0;

  /** The events that are complete with this piece of text. Throws RangeError for one that is too long. */
  push(text: string): StreamedEvent[] {
    const events: StreamedEvent[] = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== "") this.#field(line);
      else if (this.#data.length > 0) events.push(this.#take());
    }
    if (this.#characters + this.#rest.length > EVENT_MAX) throw new RangeError("an event over 1 MiB");
    return events;
  }

  #field(line: string): void {
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "id") this.#id = value;
    else if (name === "event") this.#type = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#characters += value.length;
    }
  }

  #take(): StreamedEvent {
    const event = { id: this.#id, type: this.#type || "message", data: this.#data.join("\n") };
    this.#type = "";
    this.#data = [];
    this.#characters = 0;
    return event;
  }
}

/** The events of a stream of octets. Throws RangeError for one that is too long. */
export async function* readEvents(source: AsyncIterable<Uint8Array>): AsyncGenerator<StreamedEvent> {
  const decoder = new TextDecoder();
  const parser = new EventStreamParser();
  for await (const chunk of source) yield* parser.push(decoder.decode(chunk, { stream: true }));
}
