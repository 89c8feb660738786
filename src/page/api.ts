/** The control API through the page's own server, which wants the token of the address that this page was opened by. */

import { allFlows } from "../control/all-flows.ts";
import { EventStreamParser } from "../control/event-source.ts";
import type {
  ControlEvent,
  CountersResource,
  EventType,
  Flow,
  Question,
  State,
  Why,
} from "../control/schema.ts";
import type { QuestionAnswer } from "./questions.ts";

interface QuestionList {
  readonly questions: readonly Question[];
}

const TOKEN_KEY = "sluice-token";
const RECONNECT_MS = 1000;

/** The token: out of the address, where nobody should see it for long; kept for as long as this tab lives. */
function takeToken(): string {
  const given = location.hash.slice(1);
  if (/^[\w-]{20,}$/.test(given)) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN_KEY) ?? "";
}

/** What the server said no to, in its words. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

export class Api {
  readonly #headers: Readonly<Record<string, string>>;

  constructor() {
    this.#headers = { authorization: `Bearer ${takeToken()}` };
  }

  state(): Promise<State> {
    return this.#json("GET", "/v1/state");
  }

  counters(): Promise<CountersResource> {
    return this.#json("GET", "/v1/counters");
  }

  /** All flows, page by page. */
  flows(): Promise<Flow[]> {
    return allFlows((after) => this.#json("GET", `/v1/flows?after=${after}`));
  }

  why(target: string): Promise<Why> {
    return this.#json("POST", "/v1/why", { target });
  }

  async questions(): Promise<readonly Question[]> {
    const { questions }: QuestionList = await this.#json("GET", "/v1/questions");
    return questions;
  }

  async answer(id: number, answer: QuestionAnswer): Promise<void> {
    await this.#json("POST", `/v1/questions/${id}`, answer);
  }

  async kill(id: number): Promise<void> {
    await this.#json("DELETE", `/v1/flows/${id}`);
  }

  async #json<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(path, {
      method,
      headers: { ...this.#headers, ...(body ? { "content-type": "application/json" } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const answer = response.status === 204 ? undefined : await response.json();
    if (!response.ok) throw new ApiError(response.status, String(answer.detail ?? response.statusText));
    return answer as T;
  }

  /** Calls `hear` with every event of these types, for ever: a stream that ends is opened again where it was. */
  async listen(types: readonly EventType[], hear: (event: ControlEvent) => void): Promise<never> {
    let lastId = "";
    for (;;) {
      try {
        const headers = { ...this.#headers, ...(lastId === "" ? {} : { "last-event-id": lastId }) };
        const response = await fetch(`/v1/events?types=${types.join(",")}`, { headers });
        if (response.ok && response.body !== null) {
          lastId = await readEvents(response.body, lastId, hear);
        }
      } catch {
        // The instance has gone, or this page's server has: `state` tells people.
      }
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }
}

/** Reads a stream to its end. Returns the id of its last event. */
async function readEvents(
  body: ReadableStream<Uint8Array>,
  lastId: string,
  hear: (event: ControlEvent) => void,
): Promise<string> {
  const parser = new EventStreamParser();
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let id = lastId;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return id;
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        id = event.id;
        hear(JSON.parse(event.data) as ControlEvent);
      }
    }
  } catch {
    return id;
  }
}
