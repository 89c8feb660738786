/**
 * TCP ports by which programs of ours show an instance to others: `sluice ui` and `sluice metrics --listen` name theirs for as
 * long as they listen, and the engine refuses them to the guest.
 */
import { Readable } from "node:stream";
import { ControlRefusal } from "../control/instance.ts";
import type { ControlPortRequest } from "../control/schema.ts";
import type { ControlPort } from "../engine/network/control-ports.ts";
import { hostAddresses, LOOK_MS } from "../host/host-addresses.ts";
import { addressWords } from "./address-words.ts";
import type { EngineCalls } from "./calls.ts";

/** Listeners at a time. */
const LISTENERS_MAX = 64;
const WILDCARDS = ["0.0.0.0", "::"];
/** Of which every other address of loopback is taken for one, whatever interfaces there are. */
const LOOPBACK = ["127.0.0.1", "::1"].map(addressWords);

export class KeptPorts {
  private readonly listeners = new Set<ControlPortRequest>();
  /** Looks at this host's addresses while somebody listens on whatever it has. */
  private looking: NodeJS.Timeout | undefined;
  /** What the engine was told last. */
  private told = "[]";

  constructor(
    private readonly calls: EngineCalls,
    private readonly addresses: () => readonly (readonly number[])[] = hostAddresses,
  ) {}

  /** Keeps the port from the guest until the stream is destroyed. Rejects with a ControlRefusal (409) when there are too many. */
  async keep(request: ControlPortRequest): Promise<Readable> {
    if (this.listeners.size >= LISTENERS_MAX)
      throw new ControlRefusal(409, `${LISTENERS_MAX} ports are kept already`);
    const own = { ...request };
    this.listeners.add(own);
    try {
      await this.tell();
    } catch (error) {
      this.drop(own);
      throw error;
    }
    this.look();
    const stream = new Readable({ read: () => {} });
    stream.push(`${own.port} is kept from the guest\n`);
    stream.once("close", () => {
      this.drop(own);
      this.tell().catch(() => {});
    });
    return stream;
  }

  private drop(own: ControlPortRequest): void {
    this.listeners.delete(own);
    this.look();
  }

  private look(): void {
    const isWanted = [...this.listeners].some(isEverywhere);
    if (isWanted === (this.looking !== undefined)) return;
    clearInterval(this.looking);
    this.looking = isWanted
      ? setInterval(() => void this.tell().catch(() => {}), LOOK_MS).unref()
      : undefined;
  }

  private async tell(): Promise<void> {
    const ports = [...this.listeners].flatMap((listener) => this.portsOf(listener));
    const text = JSON.stringify(ports);
    if (text === this.told) return;
    this.told = text;
    try {
      await this.calls.call<"control-ports">({ name: "control-ports", ports });
    } catch (error) {
      this.told = "";
      throw error;
    }
  }

  /** Who listens on every address listens on all that this host has, as of now. */
  private portsOf(listener: ControlPortRequest): ControlPort[] {
    const { address, port } = listener;
    const all = isEverywhere(listener) ? [...this.addresses(), ...LOOPBACK] : [addressWords(address)];
    return all.map((words) => ({ address: words, port }));
  }

  close(): void {
    this.listeners.clear();
    this.look();
  }
}

function isEverywhere({ address }: ControlPortRequest): boolean {
  return WILDCARDS.includes(address);
}
