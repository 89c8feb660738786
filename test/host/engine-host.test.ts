import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, connect as netConnect, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CreateEngineCore } from "../../src/engine/api.ts";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../src/engine/config.ts";
import { tellShortage } from "../../src/host/descriptor-shortage.ts";
import { type EngineHost, type EngineHostOptions, startEngine } from "../../src/host/engine-host.ts";
import { native } from "../../src/host/native/native.ts";
import { StartError } from "../../src/host/start-error.ts";
import { ArpCore, arpRequest } from "../support/arp-core.ts";
import { KeptLog, sampleFrame, until } from "../support/link-rig.ts";

let directory = "";
let log = new KeptLog();
let engine: EngineHost | undefined;
let core: ArpCore;
const sockets: (Socket | Server)[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-host-"));
  log = new KeptLog();
});

afterEach(async () => {
  await engine?.stop();
  engine = undefined;
  for (const socket of sockets.splice(0)) {
    if ("destroy" in socket) socket.destroy();
    else socket.close();
  }
  rmSync(directory, { recursive: true, force: true });
});

const createCore: CreateEngineCore = (config, ports) => {
  core = new ArpCore(config, ports);
  return core;
};

async function start(
  link: EngineHostOptions["link"],
  more: Partial<EngineHostOptions> = {},
  config: Partial<EngineConfig> = {},
): Promise<EngineHost> {
  engine = await startEngine(
    { config: { ...defaultEngineConfig(), ...config }, link, log, ...more },
    createCore,
  );
  return engine;
}

/** A peer that speaks QEMU's framing. */
class Peer {
  readonly frames: Uint8Array[] = [];
  closed = false;
  private rest = Buffer.alloc(0);

  constructor(readonly socket: Socket) {
    sockets.push(socket);
    socket.on("data", (data) => this.parse(data));
    socket.on("close", () => {
      this.closed = true;
    });
    socket.on("error", () => {});
  }

  send(frame: Uint8Array): void {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(frame.length);
    this.socket.write(Buffer.concat([prefix, frame]));
  }

  private parse(data: Buffer): void {
    this.rest = Buffer.concat([this.rest, data]);
    while (this.rest.length >= 4 && this.rest.length >= 4 + this.rest.readUInt32BE()) {
      const end = 4 + this.rest.readUInt32BE();
      this.frames.push(new Uint8Array(this.rest.subarray(4, end)));
      this.rest = this.rest.subarray(end);
    }
  }

  /** Asks for the gateway's MAC and waits for the answer. */
  async greet(): Promise<void> {
    const before = this.frames.length;
    this.send(arpRequest());
    await until(() => this.frames.length > before, "an ARP answer");
    expect([...this.frames[before].subarray(6, 12)]).toEqual([0x52, 0x55, 10, 0, 2, 2]);
  }
}

const unixPath = (): string => join(directory, "link.sock");
const dialUnix = (): Peer => new Peer(netConnect(unixPath()));

describe("IPv6 and the ways out", () => {
  const link = () => ({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } }) as const;
  const ipv6 = defaultIpv6Config(defaultEngineConfig().gatewayMac);

  it("N11 warns once of a link too small for IPv6, and goes on without", async () => {
    await start(link(), {}, { mtu: 1279, ipv6, nat64: null });
    const warnings = () => log.lines.filter((line) => line.includes("no IPv6 for the guest"));
    expect([warnings().length, core.config.ipv6, core.uplinks]).toEqual([1, null, []]);
    await engine?.stop();
    await start(link(), {}, { mtu: 1280, ipv6, nat64: null });
    expect([warnings().length, core.config.ipv6]).toEqual([1, ipv6]);
  });

  it("are told of at the start to a core that wants to know, with IPv6 or without", async () => {
    for (const [config, times] of [
      [{ nat64: null }, 0],
      [{ nat64: null, ipv6 }, 1],
      [{}, 1],
    ] as const) {
      await start(link(), {}, config);
      expect(core.uplinks).toHaveLength(times);
      await engine?.stop();
    }
  });
});

describe("qemu-listen", () => {
  it("serves a guest, the next after it, and cleans up", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    expect(statSync(unixPath()).mode & 0o777).toBe(0o600);
    const first = dialUnix();
    await first.greet();
    expect(engine?.linked).toBe(true);
    first.socket.destroy();
    await until(() => engine?.linked === false, "the guest to be gone");
    const second = dialUnix();
    await second.greet();
    await engine?.stop();
    await until(() => second.closed, "the connection to be closed");
    expect(readdirSync(directory)).toEqual([]);
    expect((await engine?.ended)?.reason).toBe("stopped");
    expect(core.closed).toBe(1);
  });

  it("refuses a second guest while the first is attached, and keeps the first", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    const first = dialUnix();
    await first.greet();
    const second = dialUnix();
    await until(() => second.closed, "the second connection to be refused");
    await first.greet();
    expect(log.lines.some((line) => line.includes("refused a second connection"))).toBe(true);
  });

  it("lets a new guest take over from one that dies at the same moment", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    const first = dialUnix();
    await first.greet();
    const second = dialUnix();
    await until(() => second.socket.readyState === "open", "the second connection");
    first.socket.destroy();
    await second.greet();
    expect(second.closed).toBe(false);
  });

  it("closes a connection that does not speak the framing, and serves the next", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    const liar = dialUnix();
    liar.socket.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    await until(() => liar.closed, "the connection to be closed");
    expect(log.lines.some((line) => line.includes("is over 65553 octets"))).toBe(true);
    await dialUnix().greet();
  });

  it("takes over a stale socket file, and leaves a served one and a plain file alone", async () => {
    const stale = native.unixListen(unixPath(), "stream");
    native.close(stale);
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    await dialUnix().greet();
    await engine?.stop();

    const other = createServer().listen(unixPath());
    sockets.push(other);
    await until(() => existsSync(unixPath()), "the other program's socket");
    const spec = { kind: "qemu-listen", address: { kind: "unix", path: unixPath() } } as const;
    await expect(start(spec)).rejects.toThrow(`another program is using ${unixPath()}`);
    expect(existsSync(unixPath())).toBe(true);

    const file = join(directory, "file");
    writeFileSync(file, "precious");
    await expect(start({ ...spec, address: { kind: "unix", path: file } })).rejects.toThrow(
      "is not a socket",
    );
    expect(existsSync(file)).toBe(true);
  });

  it("listens on TCP, on a port of its choice too", async () => {
    await start({ kind: "qemu-listen", address: { kind: "tcp", host: "127.0.0.1", port: 0 } });
    const peer = new Peer(netConnect(engine?.listenPort ?? 0, "127.0.0.1"));
    await peer.greet();
  });

  it("ends with the guest when asked to serve one only", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } }, { oneOff: true });
    const peer = dialUnix();
    await peer.greet();
    peer.socket.end();
    const end = await engine?.ended;
    expect(end?.reason).toBe("guest-left");
    expect(end?.message).toContain("the other side closed the connection");
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe("qemu-connect", () => {
  it.each(["unix", "tcp"] as const)("waits for QEMU on %s, and comes back when it restarts", async (kind) => {
    const peers: Peer[] = [];
    const listen = async (port: number): Promise<Server> => {
      const server = createServer((socket) => peers.push(new Peer(socket)));
      sockets.push(server);
      if (kind === "unix") server.listen(unixPath());
      else server.listen(port, "127.0.0.1");
      await until(() => server.listening, "the server");
      return server;
    };
    const probe = await listen(0);
    const { port } = kind === "tcp" ? (probe.address() as { port: number }) : { port: 0 };
    await new Promise((resolve) => probe.close(resolve));
    const address =
      kind === "unix" ? ({ kind, path: unixPath() } as const) : ({ kind, host: "127.0.0.1", port } as const);

    await start({ kind: "qemu-connect", address });
    expect(engine?.linked).toBe(false);
    const server = await listen(port);
    await until(() => peers.length === 1, "a connection");
    await peers[0].greet();
    server.close();
    peers[0].socket.destroy();
    await until(() => engine?.linked === false, "the guest to be gone");
    await listen(port);
    await until(() => peers.length === 2, "another connection");
    await peers[1].greet();
  });
});

describe("descriptors", () => {
  it("serves an inherited stream socket and ends when its other side closes", async () => {
    const [ours, theirs] = native.socketPair("stream");
    await start({ kind: "fd", fd: ours });
    native.close(theirs);
    const end = await engine?.ended;
    expect(end).toEqual({
      reason: "link-lost",
      message: `fd ${ours}: the other side closed the connection`,
    });
  });

  it("says what is wrong with descriptors it cannot use", async () => {
    const listener = native.unixListen(unixPath(), "stream");
    await expect(start({ kind: "fd", fd: listener })).rejects.toThrow("a listening socket");
    const udp = native.udpSocket(4);
    await expect(start({ kind: "fd", fd: udp })).rejects.toThrow("not connected");
    await expect(start({ kind: "fd", fd: 9999 })).rejects.toThrow("EBADF");
    native.close(listener);
    native.close(udp);
  });
});

describe("the loop", () => {
  it("wakes the core when its timer is due, again when an earlier one is set", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    core.dueMs = (native.nowMs() + 5000) | 0;
    const peer = dialUnix();
    await peer.greet();
    core.dueMs = (native.nowMs() + 30) | 0;
    await peer.greet();
    await until(() => core.fired === 1, "the timer");
    core.dueMs = native.nowMs();
    await peer.greet();
    await until(() => core.fired === 2, "the timer");
  });

  it("keeps turning while the core has work, and lets timers of the process run", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } }, { dedicated: true });
    core.busyTurns = Number.MAX_SAFE_INTEGER;
    const peer = dialUnix();
    await peer.greet();
    const before = core.turns;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(core.turns).toBeGreaterThan(before + 100);
    core.busyTurns = 0;
  });

  it("does not turn while nothing happens", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } }, { dedicated: true });
    const peer = dialUnix();
    await peer.greet();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = core.turns;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(core.turns - before).toBeLessThan(5);
  });

  it("holds back what a slow guest does not read, and delivers all of it in order", async () => {
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    const peer = dialUnix();
    await peer.greet();
    peer.socket.pause();
    const frames = Array.from({ length: 5000 }, (_, i) => sampleFrame(100 + (i % 150), i));
    let sent = 0;
    const feed = setInterval(() => {
      while (sent < frames.length && core.queue.room > 0) core.send(frames[sent++]);
      core.dueMs = native.nowMs();
      peer.send(sampleFrame(60, 1));
      if (sent > 1500) peer.socket.resume();
    }, 1);
    await until(() => peer.frames.length === frames.length + 1, "all frames");
    clearInterval(feed);
    peer.frames.slice(1).forEach((frame, i) => {
      expect(Buffer.compare(frame, frames[i])).toBe(0);
    });
  });

  it("allows one engine at a time in a process", async () => {
    const running = await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
    const another = join(directory, "b");
    const spec = { kind: "qemu-listen", address: { kind: "unix", path: another } } as const;
    await expect(startEngine({ config: defaultEngineConfig(), link: spec, log }, createCore)).rejects.toThrow(
      "running in this process already",
    );
    expect(existsSync(another)).toBe(false);
    await running.stop();
    await start(spec);
    expect(existsSync(another)).toBe(true);
  });
});

describe("start", () => {
  it("tells everything that is wrong at once, and leaves nothing behind", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    sockets.push(taken);
    await until(() => taken.listening, "the server");
    const { port } = taken.address() as { port: number };
    const forward = { protocol: "tcp", guestAddress: 0, guestPort: 22 } as const;
    const forwards = [
      { ...forward, hostAddress: 0x7f000001, hostPort: port },
      { ...forward, hostAddress: 0x7f000001, hostPort: 0 },
      { ...forward, hostAddress: 0xc0000201 | 0, hostPort: 8080 },
    ];
    const failure = await start(
      { kind: "qemu-listen", address: { kind: "unix", path: join(directory, "no", "such") } },
      { pcap: join(directory, "neither", "this"), outbound: { device: "nosuchdev0" } },
      { forwards },
    ).catch((error) => error);
    expect(failure).toBeInstanceOf(StartError);
    expect((failure as StartError).problems.map(({ place }) => place)).toEqual([
      "outbound interface nosuchdev0",
      `forward tcp 127.0.0.1:${port}`,
      "forward tcp 192.0.2.1:8080",
      `pcap ${join(directory, "neither", "this")}`,
      `qemu-listen unix:${join(directory, "no", "such")}`,
    ]);
    expect(failure.message).toContain(`port ${port} is taken by another program`);
    expect(failure.message).toContain("192.0.2.1 is not an address of this host");
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } });
  });

  it("tells the core of a connection to a forward, once", async () => {
    const forwards = [
      { protocol: "udp", hostAddress: 0x7f000001, hostPort: 0, guestAddress: 0, guestPort: 53 },
      { protocol: "tcp", hostAddress: 0x7f000001, hostPort: 0, guestAddress: 0, guestPort: 22 },
    ] as const;
    await start({ kind: "qemu-listen", address: { kind: "unix", path: unixPath() } }, {}, { forwards });
    expect(engine?.forwardPorts.every((port) => port > 0)).toBe(true);
    sockets.push(netConnect(engine?.forwardPorts[1] ?? 0, "127.0.0.1"));
    const isForward = (event: { token: number }): boolean => event.token === 0x04000001;
    await until(() => core.events.some(isForward), "the event of the forward");
    const from = new Int32Array(5);
    const handle = core.ports.network.tcpAccept(core.forwards[1], 0x01000000, from);
    expect(handle).toBeGreaterThan(0);
    expect([...from.subarray(0, 4)]).toEqual([0, 0, 0xffff, 0x7f000001]);
    core.ports.network.tcpClose(handle, true);
    expect(core.events.filter(isForward)).toHaveLength(1);
  });
});

describe("the limit of descriptors", () => {
  const told = (limit: number, config: Partial<EngineConfig> = {}): string[] => {
    const heard: string[] = [];
    const note = (level: string) => (message: string) => void heard.push(`${level}: ${message}`);
    const all = { error: note("error"), warn: note("warn"), info: note("info"), debug: note("debug") };
    tellShortage(limit, { ...defaultEngineConfig(), ...config }, all);
    return heard;
  };

  it("is told of where it is the smaller bound, as a warning where that may be felt", () => {
    expect(told(1024)).toEqual([
      "warn: RLIMIT_NOFILE allows 1024 descriptors, room for about 992 flows of the 57344 of --max-flows; " +
        "raise its hard limit (ulimit -Hn, LimitNOFILE=), or ask for fewer",
    ]);
    expect(told(20_000)).toEqual([
      expect.stringMatching(/^info: RLIMIT_NOFILE allows 20000 .* about 19968 flows/),
    ]);
    expect(told(65_536)).toEqual([]);
  });

  it("is told of as a warning where somebody asked for more", () => {
    expect(told(65_536, { maxFlows: 100_000 })[0]).toMatch(/^warn: .* of the 100000 of --max-flows/);
    expect(told(20_000, { maxFlows: 19_000 })).toEqual([]);
    const forwards = [
      { protocol: "udp", hostAddress: 0, hostPort: 53, guestAddress: 0, guestPort: 53 },
    ] as const;
    expect(told(1032, { maxFlows: 1000 })).toEqual([]);
    expect(told(1032, { maxFlows: 1000, forwards })).toHaveLength(1);
  });
});
