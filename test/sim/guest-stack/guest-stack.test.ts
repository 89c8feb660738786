/**
 * The simulated guest against itself: two of them over a bad link must satisfy every rule the engine will be held
 * to. What fails here is the simulator's fault, not the engine's.
 */
import { describe, expect, it } from "vitest";
import { type Impairment, PERFECT, Pipe } from "../pipe.ts";
import { randomSides } from "../side-plan.ts";
import { Pattern } from "../world/pattern.ts";
import { Random } from "../world/random.ts";
import { World } from "../world/world.ts";
import { GuestApp } from "./app.ts";
import { Guest, type SimFrame } from "./guest.ts";
import { randomTcpSettings } from "./settings.ts";
import { TcpConnection } from "./tcp.ts";
import type { TcpSettings } from "./tcp-settings.ts";

const LEFT_IP = 0x0a00020f;
const RIGHT_IP = 0x0a000210;

interface Outcome {
  readonly digest: string;
  readonly retransmissions: number;
  readonly seconds: number;
}

/** Runs one connection between two guests and checks it. */
function runPair(seed: number, impairment: Impairment, change: Partial<TcpSettings> = {}): Outcome {
  const world = new World(seed);
  const random = world.random.fork();
  const offload = impairment.corrupt === 0 && random.chance(0.3);
  const side = (ip: number, last: number, send: (frame: SimFrame) => void): Guest => {
    const mac = Buffer.from([2, 0, 0, 0, 0, last]);
    const guest = new Guest(
      world,
      { mac, ip, gateway: 0x0a000202, prefixLength: 24, mtu: 1500, offload, padding: 0, udpChecksum: true },
      send,
    );
    guest.corruptingLink = impairment.corrupt + impairment.truncate > 0;
    return guest;
  };
  const pipes: Pipe[] = [];
  const left = side(LEFT_IP, 1, (frame) => pipes[0].send(frame));
  const right = side(RIGHT_IP, 2, (frame) => pipes[1].send(frame));
  pipes.push(new Pipe(world, ">", impairment, (frame) => right.receive(frame)));
  pipes.push(new Pipe(world, "<", impairment, (frame) => left.receive(frame)));

  const patterns = [new Pattern(random.between(0, 1e6)), new Pattern(random.between(0, 1e6))];
  const [leftPlan, rightPlan] = randomSides(random, 200_000, 0);
  const settings = (): TcpSettings => ({ ...randomTcpSettings(random, 1500, offload), ...change });
  const connection = (
    guest: Guest,
    remoteIp: number,
    ports: [number, number],
    own: number,
  ): TcpConnection => {
    const address = { localIp: guest.settings.ip, localPort: ports[0], remoteIp, remotePort: ports[1] };
    const made: TcpConnection = new TcpConnection(
      world,
      address,
      settings(),
      patterns[own],
      patterns[1 - own],
      (segment, segmentSize) => guest.sendTcp(address, segment, segmentSize),
      () => guest.removeConnection(made),
    );
    return made;
  };
  let server: GuestApp | null = null;
  right.listen(80, (address) => {
    const accepted = connection(right, address.remoteIp, [80, address.remotePort], 1);
    server = new GuestApp(world, accepted, rightPlan, () => {});
    return accepted;
  });
  const clientConnection = connection(left, RIGHT_IP, [40_000, 80], 0);
  const client = new GuestApp(world, clientConnection, leftPlan, () => {});
  left.addConnection(clientConnection);
  clientConnection.connect();
  while (world.step(4 * 3_600_000));

  const other = server as GuestApp | null;
  expect(client.ending, `seed ${seed}`).toBe("closed");
  expect(other?.ending, `seed ${seed}`).toBe("closed");
  expect([client.received, client.sawEnd], `seed ${seed}`).toEqual([rightPlan.octets, true]);
  expect([other?.received, other?.sawEnd], `seed ${seed}`).toEqual([leftPlan.octets, true]);
  expect(left.connectionCount + right.connectionCount, `seed ${seed}`).toBe(0);
  return {
    digest: world.trace.digest,
    retransmissions: clientConnection.retransmissions,
    seconds: world.nowMs / 1000,
  };
}

describe("the simulated guest against itself", () => {
  it("moves everything over a clean link", () => {
    for (let seed = 1; seed <= 60; seed++) runPair(seed, PERFECT);
  });

  it("moves everything over a link that does all a link can do", () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const bad = (most: number): number => (random.chance(0.5) ? random.fraction() * most : 0);
      runPair(seed, {
        ...PERFECT,
        loss: bad(0.15),
        duplicate: bad(0.1),
        corrupt: bad(0.05),
        truncate: bad(0.05),
        reorder: bad(0.2),
        reorderMs: 60,
        delayMs: random.magnitude(0, 100),
        jitterMs: random.magnitude(0, 20),
        rate: random.chance(0.3) ? random.magnitude(50, 5000) : 0,
        queueFrames: 50,
      });
    }
  });

  it("retransmits what was lost", () => {
    expect(runPair(7, { ...PERFECT, loss: 0.1, delayMs: 5 }).retransmissions).toBeGreaterThan(0);
  });

  it("gives the same trace for the same seed and another for another", () => {
    const bad = { ...PERFECT, loss: 0.05, delayMs: 3, reorder: 0.1, reorderMs: 20 };
    expect(runPair(11, bad).digest).toBe(runPair(11, bad).digest);
    expect(runPair(11, bad).digest).not.toBe(runPair(12, bad).digest);
  });
});
