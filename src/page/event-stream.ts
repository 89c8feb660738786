/** Server-sent events (HTML standard, section 9.2) out of the text of an answer, however it is cut. */

export interface StreamedEvent {
  /** The last one that was told; what `Last-Event-ID` resumes after. */
  readonly id: string;
  readonly type: string;
  readonly data: string;
}

export class EventStreamParser {
  #rest = "";
  #id = "";
  #type = "";
  #data: string[] = [];

  /** The events that are complete with this piece of text. */
  push(text: string): StreamedEvent[] {
    const events: StreamedEvent[] = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== "") this.#field(line);
      else if (this.#data.length > 0) events.push(this.#take());
    }
    return events;
  }

  #field(line: string): void {
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
    else if (name === "event") this.#type = value;
  }

  #take(): StreamedEvent {
    const event = { id: this.#id, type: this.#type || "message", data: this.#data.join("\n") };
    this.#type = "";
    this.#data = [];
    return event;
  }
}
