/** A page of flows as JSON (flowPageSchema), made as the rows come: a full table is read ten thousand rows at a time. */
import type { Memories } from "./instance.ts";
import type { FlowRecord } from "./record-decoder.ts";
import type { Endpoint } from "./records.ts";

/** Addresses and the words for states have nothing that JSON escapes. */
const end = ({ address, port }: Endpoint): string => `{"address":"${address}","port":${port}}`;

export class FlowPageText {
  private text = "";

  constructor(private readonly memories: Pick<Memories, "namesOf">) {}

  add(row: FlowRecord): void {
    const known = this.memories.namesOf(row.target.address);
    const names = known.length === 0 ? "[]" : JSON.stringify(known.map(({ name }) => name));
    this.text += `${this.text === "" ? "" : ","}{"id":${row.flow},"protocol":"${row.protocol}","direction":"${row.direction}","state":"${row.state}","guest":${end(row.guest)},"remote":${end(row.remote)},"target":${end(row.target)},"names":${names},"forward":${row.forward},"octetsFromGuest":${row.octetsFromGuest},"octetsToGuest":${row.octetsToGuest},"ageMs":${row.ageMs},"idleMs":${row.idleMs}}`;
  }

  /** The page's whole text; `next` is where the next one begins, null when this is the last. */
  end(next: number | null): string {
    return `{"flows":[${this.text}],"next":${next}}`;
  }
}
