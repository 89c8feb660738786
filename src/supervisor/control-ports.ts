/**
 * TCP ports by which programs of ours show an instance to others: `sluice ui` and `sluice metrics --listen` name theirs for as
 * long as they listen, and the engine refuses them to the guest.
 */
import { networkInterfaces } from "node:os";
import { Readable } from "node:stream";
import { ControlRefusal } from "../control/instance.ts";
import type { ControlPortRequest } from "../control/schema.ts";
import type { ControlPort } from "../engine/network/control-ports.ts";
import { addressWords } from "./address-words.ts";
import type { EngineCalls } from "./calls.ts";

/** Listeners at a time. */
const LISTENERS_MAX = 64;
const WILDCARDS = ["0.0.0.0", "::"];

export class KeptPorts {
  private readonly listeners = new Set<readonly ControlPort[]>();

  constructor(private readonly calls: EngineCalls) {}

  /** Keeps the port from the guest until the stream is destroyed. Rejects with a ControlRefusal (409) when there are too many. */
  async keep({ address, port }: ControlPortRequest): Promise<Readable> {
    if (this.listeners.size >= LISTENERS_MAX)
      throw new ControlRefusal(409, `${LISTENERS_MAX} ports are kept already`);
    const own = addressesOf(address).map((each) => ({ address: addressWords(each), port }));
    this.listeners.add(own);
    try {
      await this.tell();
    } catch (error) {
      this.listeners.delete(own);
      throw error;
    }
    const stream = new Readable({ read: () => {} });
    stream.push(`${port} is kept from the guest\n`);
    stream.once("close", () => {
      this.listeners.delete(own);
      this.tell().catch(() => {});
    });
    return stream;
  }

  private async tell(): Promise<void> {
    const ports = [...this.listeners].flat();
    await this.calls.call<"control-ports">({ name: "control-ports", ports });
  }
}

/** Who listens on every address listens on all that this host has. */
function addressesOf(address: string): string[] {
  if (!WILDCARDS.includes(address)) return [address];
  const own = Object.values(networkInterfaces()).flatMap((all = []) => all.map((each) => each.address));
  return [...own, "127.0.0.1", "::1"];
}
