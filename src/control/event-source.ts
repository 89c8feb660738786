/** Server-sent events out of the octets that come (WHATWG HTML section 9.2.6). */

export interface ServerSentEvent {
  readonly id: string;
  readonly data: string;
}

/** Longer than any event of ours; what is longer ends the stream. */
const EVENT_MAX = 1_048_576;

export async function* readEvents(source: AsyncIterable<Buffer>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const chunk of source) {
    pending += decoder.decode(chunk, { stream: true });
    const blocks = pending.split("\n\n");
    pending = blocks.pop() ?? "";
    if (pending.length > EVENT_MAX) throw new RangeError("an event over 1 MiB");
    for (const block of blocks) {
      const event = eventIn(block);
      if (event !== undefined) yield event;
    }
  }
}

/** The event of one block; a comment is none. */
function eventIn(block: string): ServerSentEvent | undefined {
  let id = "";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, field, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (field === "id") id = value;
    else if (field === "data") data.push(value);
  }
  return data.length === 0 ? undefined : { id, data: data.join("\n") };
}
