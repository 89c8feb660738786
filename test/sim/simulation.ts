/**
 * One run: a world drawn from a seed, with an engine between a guest and a host, run until everything in it has ended
 * and then long enough for every timer to have gone off. Breaking a rule throws a Violation.
 */

import type { EngineCore } from "../../src/engine/api.ts";
import { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT } from "../../src/engine/boundary.ts";
import { openForward } from "../support/open-forward.ts";
import { EngineLoop } from "./engine-loop.ts";
import { arenaForWorld, configFor, GATEWAY_IP, GUEST_IP, makeEngine } from "./engine-under-test.ts";
import { PLAN4, PLAN6 } from "./guest-stack/address-plan.ts";
import { GuestApp } from "./guest-stack/app.ts";
import { Guest } from "./guest-stack/guest.ts";
import { randomTcpSettings } from "./guest-stack/settings.ts";
import { TcpConnection } from "./guest-stack/tcp.ts";
import type { TcpAddress, TcpSettings } from "./guest-stack/tcp-settings.ts";
import { SimulatedHost } from "./host-network/host-network.ts";
import { PeerApp } from "./host-network/peer-app.ts";
import { type PeerEnd, TcpSocket } from "./host-network/tcp-socket.ts";
import { familyOf, type ProfileName, planWorld, type WorldPlan } from "./profile.ts";
import { SegmentMonitor } from "./segment-monitor.ts";
import { randomSides } from "./side-plan.ts";
import { SimulatedLink } from "./simulated-link.ts";
import { type Fate, Trial } from "./trial.ts";
import { UdpTrial } from "./udp-trial.ts";
import { Pattern } from "./world/pattern.ts";
import type { Random } from "./world/random.ts";
import { World } from "./world/world.ts";

const REMOTE_NET = 0xc6336400 | 0; // 198.51.100.0/24
const FORWARD_PORT = 8080;
/** Time everything may take; a connection nobody talks on is cut after 2 h 4 min. */
const WORLD_LIMIT_MS = 4 * 3_600_000;
/** Quiet time after the last connection ended; every mapping and TIME-WAIT has expired then. */
const SETTLE_MS = 20 * 60_000;
const EVENTS_MAX = 6_000_000;
/** Longer than any word to a peer takes. */
const CLOSE_MS = 2000;
/** How often progress is looked at, and how long there may be none: many retransmissions a minute apart. */
const WATCH_MS = 30_000;
const STALL_MS = 20 * 60_000;
/** Longest outage of the link that connections must survive. */
const OUTAGE_MAX_MS = 12_000;

/** A peer whose program has ended: its kernel resets. */
const NOBODY: PeerEnd = {
  established: (socket) => socket.peerResets(),
  incoming: () => {},
  writable: () => {},
  resetByEngine: () => {},
};

export interface RunResult {
  readonly seed: number;
  readonly digest: string;
  readonly events: number;
  readonly virtualMs: number;
  readonly connections: number;
  readonly octets: number;
  readonly profile: ProfileName;
  readonly counters: Record<string, number>;
  readonly drops: Record<string, number>;
}

export class Simulation {
  readonly world: World;
  readonly plan: WorldPlan;
  readonly core: EngineCore;
  readonly host: SimulatedHost;
  readonly guest: Guest;
  readonly trials: Trial[] = [];
  private readonly udpTrials: UdpTrial[] = [];
  private readonly random: Random;
  private readonly loop: EngineLoop;
  private readonly monitor: SegmentMonitor;
  private readonly links: SimulatedLink[] = [];
  private link: SimulatedLink;
  private readonly tcpSettings: TcpSettings;
  private readonly arena = arenaForWorld();

  constructor(
    readonly seed: number,
    profile: ProfileName,
    listener: ((line: string) => void) | null = null,
  ) {
    this.world = new World(seed);
    this.world.trace.listener = listener;
    this.random = this.world.random.fork();
    const family = familyOf(seed, profile);
    const addresses = family === 6 ? PLAN6 : PLAN4;
    this.plan = planWorld(this.random, profile, family);
    const { world, plan, random } = this;
    world.note("world", [], () => JSON.stringify({ ...plan, clock: world.clock }));
    this.host = new SimulatedHost(world, this.arena, plan.host);
    this.host.family = family;
    this.core = makeEngine(world, this.arena, this.host, configFor(plan, FORWARD_PORT));
    this.monitor = new SegmentMonitor(world, addresses);
    // What an IPv6 header has more than one of IPv4 is off the MSS.
    const extra = addresses.headerOctets - PLAN4.headerOctets;
    this.tcpSettings = randomTcpSettings(random, plan.mtu - extra, plan.offload);
    world.note("world", [], () => JSON.stringify(this.tcpSettings));
    this.guest = new Guest(
      world,
      {
        mac: Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        ip: GUEST_IP,
        gateway: GATEWAY_IP,
        prefixLength: 24,
        mtu: plan.mtu,
        offload: plan.offload,
        padding: random.pick([-1, 0, 0xaa]),
        udpChecksum: random.chance(0.8),
        plan: addresses,
      },
      (frame) => this.link.fromGuest(frame),
    );
    this.guest.corruptingLink = plan.toGuest.corrupt + plan.toGuest.truncate > 0;
    const latency = world.random.fork();
    this.loop = new EngineLoop(world, this.core, this.host, () =>
      plan.latencyMs === 0 ? 0 : latency.fraction() * plan.latencyMs,
    );
    this.link = this.newLink();
  }

  private newLink(): SimulatedLink {
    const link = new SimulatedLink(this.world, this.arena, this.plan, this.monitor, (frame) => {
      this.guest.receive(frame);
    });
    this.links.push(link);
    return link;
  }

  run(): RunResult {
    const { world, plan, random } = this;
    this.loop.attach(this.link);
    openForward(this.core, this.host.openListener(0));
    this.host.onExhausted = (key) => {
      for (const trial of this.trials) if (trial.name.endsWith(key)) trial.causes.add("host exhausted");
    };
    this.guest.listen(FORWARD_PORT, (address) => this.acceptInGuest(address));
    for (let i = 0; i < plan.connections; i++) this.planTrial(i);
    for (let i = 0; i < plan.datagramFlows; i++) this.planDatagrams(i);
    for (let i = 0; i < plan.outages; i++) world.after(random.between(0, 20_000), () => this.outage());
    for (let i = 0; i < plan.stalls; i++) {
      world.after(random.between(0, 20_000), () => this.loop.stall(random.magnitude(1, 3000)));
    }
    if (plan.spurious) this.scheduleSpurious();
    if (plan.closeAtMs >= 0) {
      while (world.step(plan.closeAtMs));
      this.closeEngine();
    } else {
      this.runUntilDone();
      this.settle();
      this.finalChecks();
    }
    return this.result();
  }

  /** The engine ends in the middle of everything: every socket is closed, every pool empty, every peer told. */
  private closeEngine(): void {
    const { world, core, host } = this;
    core.close(world.clock);
    if (host.openHandles > 0) world.violation(`${host.openHandles} sockets open after close`);
    const { queuedFrames, smallChunks, largeChunks, tcp, udp, dns } = core.usage();
    const left = { tcp, udp, dns };
    if (tcp + udp + dns > 0) world.violation(`left by close: ${JSON.stringify(left)}`);
    // What a full link keeps from leaving keeps its chunks.
    if (queuedFrames === 0 && smallChunks + largeChunks > 0) world.violation("chunks left by close");
    this.loop.stop();
    const until = world.nowMs + CLOSE_MS;
    while (world.step(until));
    const untold = this.trials.find(({ peer }) => peer.isConnected && !peer.told);
    if (untold !== undefined) world.violation(`not told of the engine's end: ${untold.describe()}`);
  }

  // --- what happens in this world --------------------------------------------------------------------------------

  private planTrial(index: number): void {
    const { random } = this;
    const direction = random.chance(0.65) ? "out" : "in";
    const startMs = random.chance(0.6) ? random.between(0, 500) : random.between(0, 15_000);
    this.addTrial(index, direction, startMs);
  }

  private readonly followed = new Set<Trial>();

  /** Both ends of a connection may have ended; maybe another follows on the same ports, TIME-WAIT or not. */
  private follow(trial: Trial, index: number): void {
    const { plan, random } = this;
    if (!trial.done || trial.direction === "in" || this.followed.has(trial)) return;
    this.followed.add(trial);
    if (random.chance(plan.reuse)) this.addTrial(index, "out", random.between(300, 4000), trial);
  }

  private addTrial(
    index: number,
    direction: "out" | "in",
    startMs: number,
    before: Trial | null = null,
  ): void {
    const { plan, random, world } = this;
    const [guestPlan, peerPlan] = randomSides(random, plan.octetsMax, plan.aborts);
    const patterns = [new Pattern(random.between(0, 1_000_000)), new Pattern(random.between(0, 1_000_000))];
    const remoteIp = (REMOTE_NET + 10 + index) | 0;
    const remotePort = 1000 + index;
    const name = `${before === null ? "" : `${before.name}, then `}${index}@${SimulatedHost.key(remoteIp, remotePort)}`;
    const peer = new PeerApp(world, name, peerPlan, () => this.follow(trial, index));
    const refuses = direction === "in" && random.chance(plan.failures);
    const fate: Fate = direction === "in" ? { kind: "accepted", afterMs: 0 } : this.drawFate();
    const trial: Trial = new Trial(name, direction, fate, guestPlan, peerPlan, peer, refuses);
    this.trials.push(trial);
    if (direction === "out") {
      world.after(startMs, () => {
        // A late copy of the SYN before made the engine try once more: what comes of that is this one's as well.
        if (before?.socket?.closed === false) trial.causes.add("connecting already");
        this.host.serveTcp(remoteIp, remotePort, (handle, token) =>
          this.dialled(trial, patterns, handle, token),
        );
        this.connectFromGuest(trial, patterns, index, { ip: remoteIp, port: remotePort });
      });
    } else {
      world.after(startMs, () => this.callForward(trial, patterns, remoteIp, 50_000 + index));
    }
  }

  private drawFate(): Fate {
    const { random, plan } = this;
    if (!random.chance(plan.failures)) {
      return {
        kind: "accepted",
        afterMs: random.chance(0.8) ? random.magnitude(0, 300) : random.magnitude(0, 60_000),
      };
    }
    const errno = random.pick([ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH]);
    if (random.chance(0.2)) return { kind: "refused-at-once", errno };
    const afterMs = errno === ETIMEDOUT ? 127_000 : random.magnitude(0, 3000);
    return { kind: "failed", errno, afterMs };
  }

  private socket(trial: Trial, patterns: Pattern[], handle: number, token: number, gone = false): TcpSocket {
    const socket = new TcpSocket(
      this.world,
      this.world.random.fork(),
      handle,
      token,
      trial.name,
      this.plan.socket(),
      patterns[0],
      patterns[1],
      gone ? NOBODY : trial.peer,
      this.host.wake,
    );
    if (!gone) trial.socket = socket;
    return socket;
  }

  private dialled(trial: Trial, patterns: Pattern[], handle: number, token: number): TcpSocket | number {
    const { fate } = trial;
    if (fate.kind === "refused-at-once") return fate.errno;
    if (trial.socket !== null && !trial.socket.closed) {
      this.world.violation(`${trial.name}: connected twice at once`);
    }
    // A late copy of the guest's SYN, after the connection it began has ended: the program out there is gone.
    const gone = trial.peer.isConnected;
    const socket = this.socket(trial, patterns, handle, token, gone);
    this.world.after(fate.afterMs, () => {
      if (fate.kind === "accepted") socket.connected();
      else socket.failed(fate.errno);
    });
    return socket;
  }

  private connectFromGuest(
    trial: Trial,
    patterns: Pattern[],
    index: number,
    remote: { readonly ip: number; readonly port: number },
  ): void {
    const address = {
      localIp: GUEST_IP,
      localPort: 40_000 + index,
      remoteIp: remote.ip,
      remotePort: remote.port,
    };
    const connection = this.connection(address, patterns);
    trial.guest = new GuestApp(this.world, connection, trial.guestPlan, () => this.follow(trial, index));
    this.guest.addConnection(connection);
    connection.connect();
  }

  private connection(address: TcpAddress, patterns: Pattern[]): TcpConnection {
    const connection: TcpConnection = new TcpConnection(
      this.world,
      address,
      this.tcpSettings,
      patterns[0],
      patterns[1],
      (segment, segmentSize) => this.guest.sendTcp(address, segment, segmentSize),
      () => this.guest.removeConnection(connection),
    );
    return connection;
  }

  private readonly callers = new Map<string, (address: TcpAddress) => TcpConnection | null>();

  private callForward(trial: Trial, patterns: Pattern[], ip: number, port: number): void {
    this.callers.set(SimulatedHost.key(ip, port), (address) => {
      // Once is enough: a late copy of the SYN finds the program gone.
      if (trial.guestRefuses || trial.guest !== null) return null;
      const connection = this.connection(address, patterns);
      trial.guest = new GuestApp(this.world, connection, trial.guestPlan, () => {});
      return connection;
    });
    // A crossing SYN of the guest that comes after the connection has ended looks like one of its own making.
    this.host.serveTcp(ip, port, () => ECONNREFUSED);
    this.host.callListener(0, {
      ip,
      port,
      accepted: (handle, token) => this.socket(trial, patterns, handle, token),
      refused: () => {
        trial.causes.add("host exhausted");
        trial.callRefused = true;
      },
    });
  }

  private acceptInGuest(address: TcpAddress): TcpConnection | null {
    const accept = this.callers.get(SimulatedHost.key(address.remoteIp, address.remotePort));
    if (accept === undefined) this.world.violation("a connection from somebody who did not call");
    return accept(address);
  }

  private planDatagrams(index: number): void {
    const { random, plan } = this;
    const remotes = Array.from({ length: random.between(1, 3) }, (_, i) => ({
      ip: (REMOTE_NET + 100 + index * 4 + i) | 0,
      port: random.between(1, 65_535),
    }));
    const kind = plan.profile === "clean" || plan.profile === "stream";
    const trial = new UdpTrial(this.world, this.guest, this.host, {
      id: 7000 + index,
      guestPort: 20_000 + index,
      remotes,
      datagrams: random.magnitude(1, 60),
      sizeMax: random.pick([100, 1400, 5000, 60_000]),
      lossless:
        kind &&
        plan.toGuest.loss + plan.toEngine.loss === 0 &&
        plan.host.refuseDatagram + plan.host.exhaustion === 0 &&
        plan.stalls === 0 &&
        plan.streamOctets > 150_000,
    });
    this.udpTrials.push(trial);
    trial.start();
  }

  private outage(): void {
    const { world, random } = this;
    if (this.link.broken) return;
    const lasts = random.magnitude(1, OUTAGE_MAX_MS);
    world.note("world", [], () => `the link breaks for ${lasts} ms`);
    this.link.break();
    world.after(lasts, () => {
      world.note("world", [], () => "a new link");
      this.link = this.newLink();
      this.loop.attach(this.link);
    });
  }

  private scheduleSpurious(): void {
    this.world.after(this.random.magnitude(1, 500), () => {
      if (this.done) return;
      this.host.spuriousEvents(0.5);
      this.scheduleSpurious();
    });
  }

  // --- running and judging -----------------------------------------------------------------------------------------

  private get done(): boolean {
    return this.trials.every((trial) => trial.done) && this.udpTrials.every((trial) => trial.done);
  }

  private runUntilDone(): void {
    const { world } = this;
    let checkAt = 0;
    let watchAtMs = 0;
    for (;;) {
      if (world.events >= checkAt) {
        if (this.done) return;
        checkAt = world.events + 20;
      }
      if (world.nowMs >= watchAtMs) {
        this.watchProgress();
        watchAtMs = world.nowMs + WATCH_MS;
      }
      if (world.events > EVENTS_MAX) world.violation("too many events: something goes round in circles");
      if (!world.step(WORLD_LIMIT_MS)) break;
    }
    if (this.done) return;
    const hung = this.trials.filter((trial) => !trial.done).map((trial) => trial.describe());
    const why = world.nextEventMs < 0 ? "nothing will ever happen again" : "time is up";
    const deadline = this.core.nextDeadlineMs(world.clock);
    world.violation(`${why} (next deadline ${deadline}), yet not over: ${hung.join("\n  ")}`);
  }

  private readonly lastProgress = new Map<Trial, { value: number; atMs: number }>();

  /** No timer is lost: a connection that may go on does, within a bound that back-off and loss explain. */
  private watchProgress(): void {
    const { world } = this;
    for (const trial of this.trials) {
      const last = this.lastProgress.get(trial);
      const value = trial.progress;
      const started = trial.guest !== null || trial.socket !== null;
      if (!started || !trial.mustProgress || last === undefined || last.value !== value) {
        this.lastProgress.set(trial, { value, atMs: world.nowMs });
      } else if (world.nowMs - last.atMs > STALL_MS) {
        world.violation(
          `nothing happened for ${(world.nowMs - last.atMs) / 60_000} minutes: ${trial.describe()}`,
        );
      }
    }
  }

  private settle(): void {
    const until = this.world.nowMs + SETTLE_MS;
    const limit = this.world.events + EVENTS_MAX;
    while (this.world.step(until)) {
      if (this.world.events > limit) this.world.violation("the idle world does not come to rest");
    }
  }

  private finalChecks(): void {
    const { world, core } = this;
    for (const trial of this.trials) {
      const broken = trial.verdict();
      if (broken !== null) world.violation(`${broken}: ${trial.describe()}`);
    }
    for (const trial of this.udpTrials) {
      const broken = trial.verdict();
      if (broken !== null) world.violation(`UDP: ${broken}`);
    }
    const usage = core.usage();
    const left = Object.entries(usage).filter(([, used]) => used !== 0);
    if (left.length > 0) {
      const rows = core.flows(world.clock).map((row) => JSON.stringify(row));
      world.violation(
        `still in use after all is over: ${JSON.stringify(Object.fromEntries(left))} ${rows.join("\n  ")}`,
      );
    }
    if (this.host.openHandles > 0) world.violation(`${this.host.openHandles} sockets were never closed`);
    this.checkCounters();
  }

  private checkCounters(): void {
    const { core, world } = this;
    const handed = this.links.reduce((sum, link) => sum + link.framesHanded, 0);
    const sent = this.links.reduce((sum, link) => sum + link.framesSent, 0);
    const framesIn = core.counters.value("link-frames-from-guest");
    const framesOut = core.counters.value("link-frames-to-guest");
    if (framesIn !== handed) world.violation(`${handed} frames handed over, ${framesIn} counted`);
    if (framesOut !== sent) world.violation(`${sent} frames taken, ${framesOut} counted`);
  }

  private result(): RunResult {
    const { world, core } = this;
    const snapshot = core.counters.snapshot();
    return {
      seed: this.seed,
      digest: world.trace.digest,
      events: world.events,
      virtualMs: world.nowMs,
      connections: this.trials.length,
      octets: this.trials.reduce((sum, t) => sum + t.peer.received + (t.guest?.received ?? 0), 0),
      profile: this.plan.profile,
      ...snapshot,
    };
  }
}

export function simulate(
  seed: number,
  profile: ProfileName = "mixed",
  listener: ((line: string) => void) | null = null,
): RunResult {
  return new Simulation(seed, profile, listener).run();
}
