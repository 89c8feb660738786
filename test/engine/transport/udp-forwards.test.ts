/** Clients of UDP forwards: each is answered from the address of the host it asked. */
import { describe, expect, it } from "vitest";
import type { Forward } from "../../../src/engine/config.ts";
import { asUdp, udp } from "../../hostile/guest-packets.ts";
import { FrameExchange } from "../../support/frame-exchange.ts";
import { ip } from "../../support/frames.ts";
import { openForward } from "../../support/open-forward.ts";

const CLIENT = ip("198.51.100.9");
const CLIENT_PORT = 4000;
const ONE = ip("203.0.113.1");
const TWO = ip("203.0.113.2");
const GUEST_PORT = 53;
const forward: Forward = {
  protocol: "udp",
  hostAddress: 0,
  hostPort: 53,
  guestAddress: 0,
  guestPort: GUEST_PORT,
};

class Forwarded extends FrameExchange {
  readonly handle: number;

  constructor() {
    super({ forwards: [forward] });
    this.handle = this.network.udpForward(0);
    openForward(this.core, this.handle);
    // The guest shows itself.
    this.exchange(udp({ to: CLIENT, destinationPort: 9 }));
    this.network.datagrams.length = 0;
  }

  /** The client sends to an address of the host; the port by which the guest sees it. */
  ask(local: number, text = "?"): number {
    this.network.arrive(this.handle, CLIENT, CLIENT_PORT, Buffer.from(text), local);
    const [seen] = this.settle().map(asUdp);
    expect([seen.source, seen.destinationPort]).toEqual([CLIENT, GUEST_PORT]);
    return seen.sourcePort;
  }

  /** The guest answers to a port of the client; what left the host. */
  answer(port: number) {
    this.exchange(
      udp({ to: CLIENT, sourcePort: GUEST_PORT, destinationPort: port, payload: Buffer.from("!") }),
    );
    return this.network.datagrams.at(-1);
  }
}

describe("a UDP forward on all addresses", () => {
  it("answers from the address it was asked on", () => {
    const engine = new Forwarded();
    const port = engine.ask(ONE);
    expect(port).toBe(CLIENT_PORT);
    expect(engine.answer(port)).toMatchObject({
      handle: engine.handle,
      address: CLIENT,
      port: CLIENT_PORT,
      from: ONE,
    });
  });

  it("keeps one client at two addresses apart: two mappings, two ports for the guest", () => {
    const engine = new Forwarded();
    const [first, second] = [engine.ask(ONE), engine.ask(TWO)];
    expect(second).not.toBe(first);
    expect([engine.ask(ONE), engine.ask(TWO)]).toEqual([first, second]);
    expect(engine.answer(second)).toMatchObject({ address: CLIENT, port: CLIENT_PORT, from: TWO });
    expect(engine.answer(first)).toMatchObject({ address: CLIENT, port: CLIENT_PORT, from: ONE });
    expect(engine.core.usage().udp).toBe(3);
  });

  it("leaves the choice to the kernel where the forward has one address", () => {
    const engine = new Forwarded();
    const sent = engine.answer(engine.ask(0));
    expect(sent?.address).toBe(CLIENT);
    expect(sent?.from).toBeUndefined();
  });

  it("asks nothing of the kernel for what the guest sends of itself", () => {
    const engine = new Forwarded();
    engine.exchange(udp({ to: CLIENT, sourcePort: 5000, destinationPort: 9 }));
    expect(engine.network.datagrams.at(-1)?.from).toBeUndefined();
  });
});
