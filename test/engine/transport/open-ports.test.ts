/** `--publish-when-open`: a forward takes clients while the guest's port is open, which it is asked in vain of its programs. */
import { beforeEach, describe, expect, it } from "vitest";
import { type ServedPort, TOKEN_FORWARD } from "../../../src/engine/api.ts";
import { type HostNetwork, READABLE } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, type EngineConfig, type Forward } from "../../../src/engine/config.ts";
import { OpenPorts } from "../../../src/engine/transport/open-ports.ts";
import type { Ends } from "../../../src/engine/transport/path.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { asTcp, GATEWAY, GUEST, tcp } from "../../hostile/guest-packets.ts";
import { ACK, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { FrameExchange } from "../../support/frame-exchange.ts";
import { openForward } from "../../support/open-forward.ts";
import { policyOf } from "../../support/policy-rig.ts";

const LOOPBACK = [0, 0, 0xffff, 0x7f000001];
const FIRST_HANDLE = 500;

const forward = (guestPort: number): Forward => ({
  protocol: "tcp",
  hostAddress: 0x7f000001,
  hostPort: guestPort,
  guestAddress: 0,
  guestPort,
  whenOpen: true,
});

let exchange: FrameExchange;
/** Handles that listen, and how often that changed. */
let listening: Set<number>;
let changes = 0;

function start(...ports: number[]): void {
  startWith({}, ...ports);
}

function startWith(config: Partial<EngineConfig>, ...ports: number[]): void {
  exchange = new FrameExchange({ forwards: ports.map(forward), ...config });
  const host: HostNetwork = exchange.network;
  host.tcpListen = (handle, on) => {
    changes++;
    if (on) listening.add(handle);
    else listening.delete(handle);
    return 0;
  };
  // The guest shows itself: its SYN to a port where nobody is.
  exchange.exchange(tcp({ to: GATEWAY, flags: SYN, sequence: 1, destinationPort: 9 }));
  ports.forEach((_, slot) => {
    openForward(exchange.core, FIRST_HANDLE + slot, slot);
  });
}

/** What the guest is asked within so many milliseconds: its ports, with sequence numbers. */
function asked(ms: number): { port: number; sequence: number }[] {
  return exchange
    .pass(ms)
    .filter((frame) => frame[12] === 8 && frame[13] === 0)
    .map(asTcp)
    .filter(({ flags }) => flags === SYN)
    .map((segment) => {
      expect(segment.sourcePort).toBe(1);
      return { port: segment.destinationPort, sequence: segment.sequence };
    });
}

function answer(port: number, acknowledgment: number, flags: number): Uint8Array[] {
  return exchange.exchange(
    tcp({
      from: GUEST,
      to: GATEWAY,
      sourcePort: port,
      destinationPort: 1,
      flags,
      sequence: 7000,
      acknowledgment,
    }),
  );
}

const drops = () => exchange.core.counters.snapshot().drops;

beforeEach(() => {
  listening = new Set();
  changes = 0;
});

describe("ports that are open when the guest's are", () => {
  it("K33 listen once the guest has answered, which hears no more than a reset", () => {
    start(80);
    const [first] = asked(1000);
    expect([first?.port, [...listening]]).toEqual([80, []]);
    const [reset] = answer(80, first!.sequence + 1, SYN | ACK).map(asTcp);
    expect([reset?.flags, reset?.sequence, reset?.destinationPort]).toEqual([RST, first!.sequence + 1, 80]);
    expect([...listening]).toEqual([FIRST_HANDLE]);
    expect(Object.keys(drops())).not.toContain("tcp-no-connection");
  });

  it("K33 listen under a policy too", () => {
    startWith({ policy: policyOf({ default: "deny" }) }, 80);
    const [first] = asked(1000);
    answer(80, first!.sequence + 1, SYN | ACK);
    expect([...listening]).toEqual([FIRST_HANDLE]);
    asked(4000);
    expect([...listening]).toEqual([]);
  });

  it("K33 are asked for every second, and change only when the answer does", () => {
    start(80);
    for (let second = 0; second < 5; second++) {
      const questions = asked(1000);
      expect(questions).toHaveLength(1);
      answer(80, questions[0]!.sequence + 1, SYN | ACK);
    }
    expect(changes).toBe(1);
  });

  it("K33 listen no more after a reset, and after two seconds of silence", () => {
    start(80);
    answer(80, asked(1000)[0]!.sequence + 1, SYN | ACK);
    answer(80, asked(1000)[0]!.sequence + 1, RST | ACK);
    expect([...listening]).toEqual([]);
    answer(80, asked(1000)[0]!.sequence + 1, SYN | ACK);
    expect([...listening]).toEqual([FIRST_HANDLE]);
    asked(1000);
    expect([...listening]).toEqual([FIRST_HANDLE]);
    asked(2000);
    expect([...listening]).toEqual([]);
  });

  it("K33 heed no answer to another question, from another port, or without one", () => {
    start(80);
    const { sequence } = asked(1000)[0]!;
    answer(80, sequence + 2, SYN | ACK);
    answer(81, sequence + 1, SYN | ACK);
    answer(80, sequence + 1, ACK);
    expect([...listening]).toEqual([]);
    asked(1000);
    answer(80, sequence + 1, SYN | ACK);
    expect([...listening]).toEqual([]);
  });

  it("K33 take no client before, and close for one that the guest refuses", () => {
    start(80);
    exchange.network.call(0, LOOPBACK, 4000);
    const { sequence } = asked(1000)[0]!;
    expect(exchange.network.sockets).toHaveLength(0);
    answer(80, sequence + 1, SYN | ACK);
    // Who came too early waits in the queue here; a kernel has refused it.
    exchange.core.handleEvent(TOKEN_FORWARD, READABLE, exchange.now);
    const syn = exchange
      .settle()
      .map(asTcp)
      .find(({ flags, sourcePort }) => flags === SYN && sourcePort !== 1);
    expect(exchange.network.sockets).toHaveLength(1);
    exchange.exchange(
      tcp({
        from: GUEST,
        to: GATEWAY,
        sourcePort: 80,
        destinationPort: syn!.sourcePort,
        flags: RST | ACK,
        sequence: 0,
        acknowledgment: syn!.sequence + 1,
      }),
    );
    expect([...listening]).toEqual([]);
  });

  it("K33 are forgotten with their forward", () => {
    start(80, 81);
    const questions = asked(1000);
    expect(questions.map(({ port }) => port)).toEqual([80, 81]);
    for (const { port, sequence } of questions) answer(port, sequence + 1, SYN | ACK);
    expect(listening.size).toBe(2);
    exchange.core.closeForward(1, false, exchange.now);
    expect(asked(1000).map(({ port }) => port)).toEqual([81]);
  });

  it("K33 are asked for a few at a time where they are many, each once a second", () => {
    const ports = Array.from({ length: 200 }, (_, i) => 1000 + i);
    start(...ports);
    const questions: number[] = [];
    for (let step = 0; step < 20; step++) {
      const some = asked(50);
      expect(some.length).toBeLessThanOrEqual(10);
      questions.push(...some.map(({ port }) => port));
    }
    expect(questions.toSorted((a, b) => a - b)).toEqual(ports);
  });

  it("K33 are found by their number, which costs the same among many", () => {
    const listens: number[] = [];
    const network = { tcpListen: (handle: number) => listens.push(handle) } as unknown as HostNetwork;
    const open = new OpenPorts({ gateway: 0 } as TcpContext, network, () => 0);
    let looks = 0;
    const many = 2000;
    for (let i = 0; i < many; i++) {
      const port = {
        id: i,
        forward: forward(0),
        get guestPort() {
          looks++;
          return 1000 + i;
        },
      };
      open.add(i, i, port as unknown as ServedPort, 0);
    }
    const ends = { ipOctets: 20, guestAddress: 0, remoteAddress: 0, remotePort: 1 };
    for (let i = 0; i < many; i++) {
      expect(open.answered({ ...ends, guestPort: 1000 + i } as Ends, true, 2)).toBe(true);
      expect(open.isOpen(i, 1000 + i)).toBe(true);
      if (i % 2 === 0) open.refused(1000 + i);
    }
    expect(listens).toHaveLength(many + many / 2);
    expect(looks).toBeLessThanOrEqual(4 * many);
  });

  it("K33 of several forwards to one port of the guest change together, and go each with its own", () => {
    exchange = new FrameExchange({ forwards: [forward(80), { ...forward(80), hostPort: 81 }] });
    const host: HostNetwork = exchange.network;
    host.tcpListen = (handle, on) => {
      if (on) listening.add(handle);
      else listening.delete(handle);
      return 0;
    };
    exchange.exchange(tcp({ to: GATEWAY, flags: SYN, sequence: 1, destinationPort: 9 }));
    for (const slot of [0, 1]) openForward(exchange.core, FIRST_HANDLE + slot, slot);
    answer(80, asked(1000)[0]!.sequence + 1, SYN | ACK);
    expect([...listening].toSorted()).toEqual([FIRST_HANDLE, FIRST_HANDLE + 1]);
    exchange.core.closeForward(1, false, exchange.now);
    answer(80, asked(1000)[0]!.sequence + 1, RST | ACK);
    expect([...listening]).toEqual([FIRST_HANDLE]);
  });

  it("K33 are no ports of those who did not ask for it", () => {
    const { forwards } = defaultEngineConfig();
    expect(forwards).toEqual([]);
    exchange = new FrameExchange({ forwards: [{ ...forward(80), whenOpen: false }] });
    openForward(exchange.core, FIRST_HANDLE);
    expect(exchange.pass(3000).filter((frame) => frame[12] === 8 && frame[13] === 0)).toEqual([]);
  });
});
