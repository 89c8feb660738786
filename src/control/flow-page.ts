/** A page of flows as JSON (flowPageSchema), made as the rows come: a full table is read ten thousand rows at a time. */
import type { Memories } from "./instance.ts";
import { JsonOctets, type LentOctets } from "./json-octets.ts";
import type { FlowRecord } from "./record-decoder.ts";
import type { Endpoint } from "./records.ts";

/** Of most rows. */
const ROW_OCTETS = 384;

/** Of the last page that was sent: new ones of that size twenty times a second have whole collections for them. */
let spare: Buffer | null = null;

function takeRoom(octets: number): Buffer {
  const room = spare;
  spare = null;
  return room !== null && room.length >= octets ? room : Buffer.allocUnsafeSlow(octets);
}

export class FlowPage {
  private readonly json: JsonOctets;
  private isEmpty = true;

  /** `rows` is how many there may be. */
  constructor(
    private readonly memories: Pick<Memories, "namesOf">,
    rows: number,
  ) {
    this.json = new JsonOctets(takeRoom(ROW_OCTETS * (rows + 1)));
    this.json.put('{"flows":[');
  }

  add(row: FlowRecord): void {
    const { json } = this;
    // Addresses and the words for states have nothing that JSON escapes.
    json.put(this.isEmpty ? '{"id":' : ',{"id":');
    this.isEmpty = false;
    json.number(row.flow);
    json.put(row.protocol === "tcp" ? ',"protocol":"tcp","direction":"' : ',"protocol":"udp","direction":"');
    json.put(row.direction);
    json.put('","state":"');
    json.put(row.state);
    json.put('","guest":');
    this.endpoint(row.guest);
    json.put(',"remote":');
    this.endpoint(row.remote);
    json.put(',"target":');
    this.endpoint(row.target);
    this.names(row.target.address);
    json.put(',"forward":');
    if (row.forward === null) json.put("null");
    else json.number(row.forward);
    json.put(',"octetsFromGuest":');
    json.number(row.octetsFromGuest);
    json.put(',"octetsToGuest":');
    json.number(row.octetsToGuest);
    json.put(',"ageMs":');
    json.number(row.ageMs);
    json.put(',"idleMs":');
    json.number(row.idleMs);
    json.put("}");
  }

  private endpoint({ address, port }: Endpoint): void {
    const { json } = this;
    json.put('{"address":"');
    json.put(address);
    json.put('","port":');
    json.number(port);
    json.put("}");
  }

  private names(address: string): void {
    const known = this.memories.namesOf(address);
    this.json.put(',"names":');
    if (known.length === 0) this.json.put("[]");
    else this.json.value(known.map(({ name }) => name));
  }

  /** The whole page; `next` is where the next one begins, null when this is the last. */
  end(next: number | null): LentOctets {
    this.json.put('],"next":');
    this.json.value(next);
    this.json.put("}\n");
    const { room } = this.json;
    const giveBack = (): void => {
      spare = room;
    };
    return { octets: this.json.all(), giveBack };
  }
}
