/**
 * One transfer over a link with a given rate, delay and loss, in virtual time: what the congestion control, recovery
 * and windows of the engine (down) and of its window towards the simulated guest (up) make of it.
 */
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { EngineLoop } from "./engine-loop.ts";
import { arenaForWorld, makeEngine } from "./engine-under-test.ts";
import { GuestApp } from "./guest-stack/app.ts";
import { Guest } from "./guest-stack/guest.ts";
import { TcpConnection } from "./guest-stack/tcp.ts";
import { SimulatedHost } from "./host-network/host-network.ts";
import { PeerApp } from "./host-network/peer-app.ts";
import { TcpSocket } from "./host-network/tcp-socket.ts";
import { PERFECT } from "./pipe.ts";
import { SegmentMonitor } from "./segment-monitor.ts";
import type { SidePlan } from "./side-plan.ts";
import { SimulatedLink } from "./simulated-link.ts";
import { Pattern } from "./world/pattern.ts";
import { World } from "./world/world.ts";

export interface TransferPlan {
  readonly seed: number;
  /** Down: host to guest. */
  readonly direction: "down" | "up";
  readonly octets: number;
  /** The guest's receive buffer, octets. */
  readonly window: number;
  readonly loss: number;
  /** Share of the frames held back by up to `reorderMs`. */
  readonly reorder?: number;
  readonly reorderMs?: number;
  /** Octets per millisecond, one-way milliseconds, frames. */
  readonly rate: number;
  readonly delayMs: number;
  readonly queueFrames: number;
}

const GUEST_IP = 0x0a00020f;
const REMOTE_IP = 0xc6336407 | 0;
const PORT = 80;
const MTU = 1500;
const HOST_BUFFER = 1_000_000;
const TIME_MAX_MS = 3_600_000;

function side(octets: number): SidePlan {
  return {
    octets,
    chunk: 65_536,
    pauseMs: 0,
    readSize: 0,
    readPauseMs: 0,
    readDelayMs: 0,
    closing: "after-send",
    abortAt: -1,
    urgent: false,
  };
}

/** Runs the transfer; returns its goodput in Mbit/s of virtual time. */
export function transfer(plan: TransferPlan): number {
  const world = new World(plan.seed);
  const arena = arenaForWorld();
  const host = new SimulatedHost(world, arena, { exhaustion: 0, refuseDatagram: 0 });
  const core = makeEngine(world, arena, host, { ...defaultEngineConfig(), dhcp: null });
  const { rate, delayMs, queueFrames, loss, reorder = 0, reorderMs = 0 } = plan;
  const way = { ...PERFECT, rate, delayMs, queueFrames, loss, reorder, reorderMs };
  const guest: Guest = new Guest(
    world,
    {
      mac: Buffer.from([0x52, 0x54, 0, 0, 0, 1]),
      ip: GUEST_IP,
      gateway: 0x0a000202,
      prefixLength: 24,
      mtu: MTU,
      offload: false,
      padding: 0,
      udpChecksum: true,
    },
    (frame) => link.fromGuest(frame),
  );
  const settings = { mtu: MTU, offload: false, queueFrames: 1000, streamOctets: 0, alignment: 2 };
  const link = new SimulatedLink(
    world,
    arena,
    { ...settings, toGuest: way, toEngine: way },
    new SegmentMonitor(world),
    (frame) => guest.receive(frame),
  );
  const loop = new EngineLoop(world, core, host, () => 0);
  loop.attach(link);

  const [up, down] = [new Pattern(1000), new Pattern(500_000)];
  const sizes = plan.direction === "down" ? [1, plan.octets] : [plan.octets, 1];
  const peer = new PeerApp(world, "peer", side(sizes[1]), () => {});
  host.serveTcp(REMOTE_IP, PORT, (handle, token) => {
    const buffers = { sendBuffer: HOST_BUFFER, receiveBuffer: HOST_BUFFER, delayMs: 0, hiccups: 0 };
    const socket = new TcpSocket(
      world,
      world.random,
      handle,
      token,
      "peer",
      buffers,
      up,
      down,
      peer,
      host.wake,
    );
    world.after(0, () => socket.connected());
    return socket;
  });
  const address = { localIp: GUEST_IP, localPort: 40_000, remoteIp: REMOTE_IP, remotePort: PORT };
  const connection: TcpConnection = new TcpConnection(
    world,
    address,
    {
      mss: MTU - 40,
      windowScale: 7,
      sack: true,
      timestamps: true,
      receiveBuffer: plan.window,
      delayedAckMs: 40,
      nagle: true,
      minRtoMs: 200,
      maxRtoMs: 60_000,
      maxRetries: 30,
      timeWaitMs: 1000,
      keepaliveMs: 7_200_000,
      probe: "old",
      initialWindow: 10,
      superPayload: 0,
      renege: 0,
      shrinks: false,
      crossSyn: false,
    },
    up,
    down,
    (segment, segmentSize) => guest.sendTcp(address, segment, segmentSize),
    () => guest.removeConnection(connection),
  );
  const app = new GuestApp(world, connection, side(sizes[0]), () => {});
  guest.addConnection(connection);
  connection.connect();
  const finished = (): boolean => (plan.direction === "down" ? app.sawEnd : peer.sawEnd);
  while (!finished()) {
    if (!world.step(TIME_MAX_MS)) throw new Error(`transfer not finished: ${JSON.stringify(plan)}`);
  }
  return (plan.octets * 8) / 1000 / world.nowMs;
}
