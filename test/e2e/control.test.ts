/** Seeing and steering what runs: the verbs and the API behind them, against real instances and real guests. */
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { controlClient } from "../../src/control/client.ts";
import type { ControlEvent, Flow, ForwardResource, State } from "../../src/control/schema.ts";
import { type Ended, isAlive, type Running, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
const directory = mkdtempSync(join(tmpdir(), "sluice-test-control-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let places = 0;

/** A run directory of its own, and what runs there. */
class Place {
  readonly run = join(directory, String(places++));
  readonly env: NodeJS.ProcessEnv = { ...process.env, XDG_RUNTIME_DIR: this.run };

  constructor() {
    mkdirSync(this.run, { mode: 0o700 });
  }

  socket(name: string): string {
    return join(this.run, "sluice", `${name}.sock`);
  }

  start(...args: string[]): Running {
    const running = sluice(args, { env: this.env });
    // Whatever a test that failed has left, stopped processes included, would be in the way of others.
    onTestFinished(async () => {
      running.child.kill("SIGCONT");
      running.child.kill("SIGTERM");
      await running.ended;
    });
    return running;
  }

  /** A command in its own network, whose standard output says `up` once it is ready. */
  async exec(name: string, options: readonly string[], script: string): Promise<Running> {
    const args = ["--tun-device", TUN_DEVICE, "--name", name, "--log-level", "info", ...options];
    const running = this.start("exec", ...args, "--", process.execPath, "-e", script);
    await running.says(/up/, "stdout");
    await running.says(/ready/);
    return running;
  }

  verb(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** What a verb prints with --json, one object a line. */
  async json<T>(...args: string[]): Promise<T[]> {
    const { stdout, stderr, status } = await this.verb(...args, "--json");
    expect([stderr, status]).toEqual(["", 0]);
    return stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as T);
  }
}

/** An echo server of the host's; its port. */
async function echo(): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

const IDLE = 'console.log("up"); setInterval(() => {}, 1000);';
const end = async (running: Running): Promise<void> => {
  running.child.kill("SIGTERM");
  await running.ended;
};

describe("an instance", () => {
  it("is listed, says what it is, tells its flows, and loses one that is killed", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const server = await echo();
    const running = await place.exec(
      "one",
      ["--allow-host-loopback"],
      `const s = require("net").connect(${server.port}, "10.0.2.2", () => s.write("hello"));
       s.on("data", () => console.log("up"));
       s.on("error", (e) => console.log("gone " + e.code));
       setInterval(() => {}, 1000);`,
    );
    expect(statSync(place.socket("one")).mode & 0o777).toBe(0o600);
    expect(statSync(join(place.run, "sluice")).mode & 0o777).toBe(0o700);
    const [listed] = await place.json<State>("ls");
    expect(listed).toMatchObject({
      name: "one",
      command: "exec",
      pid: running.child.pid,
      link: { up: true },
    });
    expect((await place.verb("state")).stdout).toMatch(/guest +10\.0\.2\.15 in 10\.0\.2\.0\/24/);
    const [flow] = await place.json<Flow>("flows", `10.0.2.2:${server.port}`);
    expect(flow).toMatchObject({
      protocol: "tcp",
      state: "ESTABLISHED",
      target: { address: "127.0.0.1", port: server.port },
      octetsFromGuest: 5,
      octetsToGuest: 5,
    });
    expect(await place.json("flows", "192.0.2.1")).toEqual([]);
    expect((await place.verb("kill", String(flow?.id))).stdout).toBe("1 flow reset\n");
    await running.says(/gone ECONNRESET/, "stdout");
    expect(await place.json("flows")).toEqual([]);
    expect((await place.verb("kill", String(flow?.id))).status).toBe(1);
    const [counted] = await place.json<{ counters: Record<string, number> }>("counters");
    expect(counted?.counters["tcp-opened"]).toBe(1);
    expect((await place.verb("metrics")).stdout).toContain(
      'sluice_tcp_octets_total{direction="from_guest"} 5\n',
    );
    expect((await place.verb("stop")).status).toBe(0);
    expect((await running.ended).status).toBe(128 + 15);
    expect(existsSync(place.socket("one"))).toBe(false);
    server.close();
  });

  it("has its cable pulled and plugged in, which its owner sees", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec(
      "cable",
      [],
      // Interfaces without a carrier are not among these (IFF_RUNNING).
      `console.log("up"); let last = "";
       setInterval(() => {
         const now = "tap0" in require("os").networkInterfaces() ? "1" : "0";
         if (now !== last) console.log("carrier " + now);
         last = now;
       }, 20);`,
    );
    await running.says(/carrier 1/, "stdout");
    expect((await place.verb("link", "down")).status).toBe(0);
    await running.says(/carrier 1\s+carrier 0/, "stdout");
    expect(await place.json<State>("state")).toMatchObject([{ link: { up: false, pulled: true } }]);
    await place.verb("link", "up");
    await running.says(/carrier 0\s+carrier 1/, "stdout");
    expect((await place.verb("log", "debug")).status).toBe(0);
    expect(await place.json<State>("state")).toMatchObject([{ logLevel: "debug", link: { up: true } }]);
    await end(running);
  });

  it("says what happens, in order", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const server = await echo();
    const running = await place.exec(
      "told",
      ["--allow-host-loopback"],
      `process.on("SIGUSR1", () => {
         const s = require("net").connect(${server.port}, "10.0.2.2", () => s.end("hello"));
         s.resume();
       });
       console.log("up");
       setInterval(() => {}, 1000);`,
    );
    const events = place.start("events", "flow-opened,flow-ended,forward");
    const seen = (): ControlEvent[] =>
      events.stdout
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as ControlEvent);
    const client = controlClient(place.socket("told"));
    // The stream is open when something has come over it.
    await until(async () => {
      const { id } = await client.addForward("0:22");
      await client.removeForward(id);
      return events.stdout !== "";
    }, "the events begin");
    running.child.kill("SIGUSR1");
    await until(() => seen().some(({ type }) => type === "flow-ended"), "the flow ends");
    const [opened, ended] = seen().filter(({ type }) => type.startsWith("flow"));
    expect(opened).toMatchObject({ type: "flow-opened", target: { port: server.port } });
    expect(ended).toMatchObject({
      type: "flow-ended",
      octetsFromGuest: 5,
      octetsToGuest: 5,
      reason: "closed",
      endedBy: "guest",
      flow: opened?.type === "flow-opened" ? opened.flow : 0,
    });
    events.child.kill("SIGTERM");
    await end(running);
    server.close();
  });
});

describe("names", () => {
  it("are needed only when several run, and one is nobody else's", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    expect((await place.verb("state")).stderr).toContain("no instance runs");
    const first = await place.exec("a", [], IDLE);
    expect((await place.verb("state")).status).toBe(0);
    const second = await place.exec("b", [], IDLE);
    const unclear = await place.verb("state");
    expect([unclear.status, unclear.stderr]).toEqual([
      2,
      "sluice state: --name: several run; allowed: one of a, b\n",
    ]);
    expect(await place.json<State>("state", "--name", "b")).toMatchObject([{ name: "b" }]);
    expect((await place.verb("state", "--name", "c")).stderr).toContain('found "c"; allowed: a, b');
    const taken = await place.start("exec", "--tun-device", TUN_DEVICE, "--name", "a", "--", "true").ended;
    expect(taken.status).toBe(1);
    expect(taken.stderr).toContain(`(process ${first.child.pid})`);
    await end(second);
    first.child.kill("SIGKILL");
    await first.ended;
    expect(existsSync(place.socket("a"))).toBe(true);
    // What a killed one leaves is taken over.
    const third = await place.exec("a", [], IDLE);
    expect((await place.json<State>("ls")).map(({ pid }) => pid)).toEqual([third.child.pid]);
    await end(third);
    expect(readdirSync(join(place.run, "sluice"))).toEqual([]);
  });

  it("of sockets that nobody serves any more go with the next look", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec("dead", [], IDLE);
    running.child.kill("SIGKILL");
    await running.ended;
    expect((await place.verb("ls")).stdout).toBe("no instance runs\n");
    expect(existsSync(place.socket("dead"))).toBe(false);
  });

  it("and sockets are none without a run directory, or where none is wanted", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec("none", ["--control", "none"], IDLE);
    expect(existsSync(join(place.run, "sluice"))).toBe(false);
    await end(running);
    const elsewhere = join(place.run, "elsewhere.sock");
    const asked = await place.exec("x", ["--control", elsewhere], IDLE);
    expect((await place.verb("state", "--control", elsewhere)).status).toBe(0);
    await end(asked);
    expect(existsSync(elsewhere)).toBe(false);
  });
});

/** Asks the API from inside, and prints the status. */
const fromInside = (socket: string): string => `
  const http = require("http");
  const ask = (method, path) => new Promise((resolve) => {
    const asked = http.request({ socketPath: ${JSON.stringify(socket)}, method, path }, (response) => {
      let text = "";
      response.on("data", (chunk) => { text += chunk; });
      response.on("end", () => resolve(response.statusCode + " " + text));
    });
    asked.on("error", (error) => resolve(error.code));
    asked.end(method === "POST" ? "{}" : undefined);
  });
  (async () => {
    console.log("state", await ask("GET", "/v1/state"));
    console.log("stop", await ask("POST", "/v1/stop"));
    console.log("up");
    setInterval(() => {}, 1000);
  })();`;

describe("the guest", () => {
  it("does not reach the API of its own network, though files and user are the same", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec("wall", [], fromInside(place.socket("wall")));
    expect(running.stdout).toMatch(/state 403 .*from inside the guest's namespace/);
    expect(running.stdout).toMatch(/stop 403 /);
    expect((await place.json<State>("state"))[0]?.name).toBe("wall");
    await end(running);
  });
});

describe("a process", () => {
  it("in a container that shares user and files does not reach the API", async (context) => {
    needs(context, { ...MACHINE, commands: ["unshare"] });
    const place = new Place();
    const running = await place.exec("apart", [], IDLE);
    const script = fromInside(place.socket("apart"));
    // What a rootless container has: namespaces of its own, below a user namespace of the same user.
    const own = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"];
    const inside = run("unshare", [...own, process.execPath, "-e", script]);
    onTestFinished(() => void inside.child.kill("SIGKILL"));
    await inside.says(/up/, "stdout");
    inside.child.kill("SIGKILL");
    expect(inside.stdout).toMatch(/state 403 .*from inside the guest's namespace/);
    expect(inside.stdout).toMatch(/stop 403 /);
    // The same process without a network of its own is whoever started it.
    const outside = run("unshare", [
      "--user",
      "--map-root-user",
      process.execPath,
      "-e",
      script.replace(/stop/g, "state"),
    ]);
    onTestFinished(() => void outside.child.kill("SIGKILL"));
    await outside.says(/up/, "stdout");
    outside.child.kill("SIGKILL");
    expect(outside.stdout).toMatch(/state 200 /);
    expect((await place.json<State>("state"))[0]?.name).toBe("apart");
    await end(running);
  });
});

/** Connects to a port of the host and reads to the end. */
function fetchAll(port: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", reject);
    socket.on("end", () => resolve(Buffer.concat(chunks)));
  });
}

describe("forwards", () => {
  it("come and go, tell their port, and leave their connections alone unless cut", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec(
      "fwd",
      ["-p", "0:7"],
      `require("net").createServer((s) => { s.on("error", () => {}); s.pipe(s); }).listen(7000, () => console.log("up"));`,
    );
    const [added] = await place.json<ForwardResource>("forward", "add", "0:7000");
    expect(added).toMatchObject({ id: 2, guestPort: 7000, origin: "added", ports: 1 });
    const socket = connect(added?.hostPort ?? 0, "127.0.0.1");
    let got = "";
    socket.on("data", (chunk) => {
      got += chunk;
    });
    let failed = "";
    socket.on("error", (error) => {
      failed = error.message;
    });
    socket.write("one ");
    await until(() => got === "one ", "an echo");
    expect((await place.verb("forward", "rm", "2")).status).toBe(0);
    await expect(fetchAll(added?.hostPort ?? 0)).rejects.toThrow("ECONNREFUSED");
    socket.write("two");
    await until(() => got === "one two", "the connection is still there");
    const [again] = await place.json<ForwardResource>("forward", "add", `${added?.hostPort}:7000`);
    expect(again?.id).toBe(3);
    const cut = connect(again?.hostPort ?? 0, "127.0.0.1");
    let cutError = "";
    cut.on("error", (error: NodeJS.ErrnoException) => {
      cutError = error.code ?? "";
    });
    cut.write("x");
    await new Promise((resolve) => cut.once("data", resolve));
    await place.verb("forward", "rm", "3", "--cut");
    await until(() => cutError === "ECONNRESET", "the connection is cut");
    expect([failed, got]).toEqual(["", "one two"]);
    expect((await place.json<ForwardResource>("forward", "ls")).map(({ id }) => id)).toEqual([1]);
    expect((await place.verb("forward", "rm", "3")).stderr).toContain("there is no forward 3");
    socket.destroy();
    await end(running);
  });

  it("that cannot be had say why, and nothing of them stays", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec("taken", ["--max-forwards", "40"], IDLE);
    const blocker = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => blocker.once("listening", resolve));
    const { port } = blocker.address() as AddressInfo;
    const refused = await place.verb("forward", "add", `${port - 3}-${port + 3}:8000`);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(`port ${port} is taken by another program`);
    expect((await place.verb("forward", "add", "80 80")).status).toBe(2);
    const tooMany = await place.verb("forward", "add", "30000-30040:1000");
    expect(tooMany.stderr).toContain("--max-forwards allows 40");
    expect(await place.json("forward", "ls")).toEqual([]);
    blocker.close();
    await end(running);
  });

  it("of a range of a thousand ports are one entry", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec(
      "range",
      [],
      `require("net").createServer((s) => s.end("port " + s.localPort)).listen(1999, () => console.log("up"));`,
    );
    const first = 21_000 + (process.pid % 1000);
    const [added] = await place.json<ForwardResource>("forward", "add", `${first}-${first + 999}:1000`);
    expect(added).toMatchObject({ ports: 1000, hostPort: first, guestPort: 1000 });
    expect(await place.json("forward", "ls")).toHaveLength(1);
    expect(String(await fetchAll(first + 999))).toBe("port 1999");
    await place.verb("forward", "rm", String(added?.id));
    await expect(fetchAll(first + 999)).rejects.toThrow("ECONNREFUSED");
    await end(running);
  });

  it("added and removed 500 times during a download take not an octet from it", async (context) => {
    needs(context, MACHINE);
    const place = new Place();
    const running = await place.exec(
      "busy",
      ["-p", "0:9000"],
      `const piece = Buffer.from(Array.from({ length: 65536 }, (_, i) => (i * 7 + (i >> 8)) & 255));
       let over = false;
       process.on("SIGUSR1", () => { over = true; });
       require("net").createServer((socket) => {
         socket.on("error", (error) => console.log(error.message));
         let pieces = 0;
         const more = () => {
           if (over) { console.log("pieces " + pieces); socket.end(); return; }
           pieces++;
           if (socket.write(piece)) setTimeout(more, 5);
           else socket.once("drain", more);
         };
         more();
       }).listen(9000, () => console.log("up"));`,
    );
    const client = controlClient(place.socket("busy"));
    const { enginePid } = await client.state();
    const descriptors = (): number => readdirSync(`/proc/${enginePid}/fd`).length;
    const [{ hostPort } = { hostPort: 0 }] = await client.forwards();
    // What the first use of the records opens stays open.
    await client.flowPage();
    const before = descriptors();
    const download = fetchAll(hostPort);
    const ids = new Set<number>();
    for (let i = 0; i < 500; i++) {
      const { id } = await client.addForward(i % 2 === 0 ? "0:7000" : "udp:0:7000");
      ids.add(id);
      await client.removeForward(id, i % 3 === 0);
    }
    running.child.kill("SIGUSR1");
    const got = await download;
    const [, pieces] = await running.says(/pieces (\d+)/, "stdout");
    expect(got.length).toBe(Number(pieces) * 65_536);
    const piece = got.subarray(0, 65_536);
    expect(piece.every((octet, i) => octet === ((i * 7 + (i >> 8)) & 255))).toBe(true);
    for (let at = 0; at < got.length; at += 65_536) {
      expect(got.compare(piece, 0, 65_536, at, at + 65_536)).toBe(0);
    }
    expect(ids.size).toBe(500);
    expect(await client.forwards()).toHaveLength(1);
    await until(() => descriptors() <= before, "every descriptor is closed again");
    await end(running);
  }, 120_000);
});

describe("a supervisor that does not read", () => {
  it("holds up no guest, and afterwards says how many records it lost", async (context) => {
    needs(context, MACHINE);
    // Several times what the ring and the socket behind it hold.
    const flows = 18_000;
    const place = new Place();
    const sink = createSocket("udp4");
    sink.bind(0, "127.0.0.1");
    await new Promise((resolve) => sink.once("listening", resolve));
    let arrived = 0;
    sink.on("message", () => arrived++);
    const running = await place.exec(
      "deaf",
      ["--allow-host-loopback"],
      `const dgram = require("dgram");
       let port = 10000;
       const one = () => new Promise((resolve) => {
         const socket = dgram.createSocket("udp4");
         socket.bind(port++, () => socket.send("x", ${sink.address().port}, "10.0.2.2", () => { socket.close(); resolve(); }));
       });
       process.on("SIGUSR2", one);
       process.on("SIGUSR1", async () => {
         for (let i = 0; i < ${flows}; i += 20) await Promise.all(Array.from({ length: 20 }, one));
         console.log("sent");
       });
       console.log("up");
       setInterval(() => {}, 1000);`,
    );
    const client = controlClient(place.socket("deaf"));
    const events: ControlEvent[] = [];
    const abort = new AbortController();
    const reading = (async () => {
      for await (const event of client.events(["flow-opened"], abort.signal)) events.push(event);
    })();
    const guest = Number(readdirSync("/proc").find((pid) => isChildOf(pid, running.child.pid)));
    const mappings = async (): Promise<number> =>
      (await client.counters()).counters["udp-mappings-opened"] ?? 0;
    await until(async () => {
      process.kill(guest, "SIGUSR2");
      await new Promise((resolve) => setTimeout(resolve, 300));
      return events.length > 0;
    }, "the engine tells of flows");
    // Nobody is told of flows from before the engine knew that somebody wants to know.
    let untold = -1;
    await until(async () => {
      const before = untold;
      untold = (await mappings()) - opened(events);
      await new Promise((resolve) => setTimeout(resolve, 300));
      return untold === before;
    }, "all that is told has come");
    process.kill(running.child.pid ?? 0, "SIGSTOP");
    process.kill(guest, "SIGUSR1");
    // What this process is too slow to read is lost at its socket.
    await until(() => arrived > flows / 4, "the guest sends all the same", 30_000);
    await running.says(/^sent$/m, "stdout");
    process.kill(running.child.pid ?? 0, "SIGCONT");
    const lost = (): number =>
      events.reduce((sum, event) => sum + (event.type === "records-lost" ? event.count : 0), 0);
    // The next record tells of what was lost before it.
    process.kill(guest, "SIGUSR1");
    await until(() => lost() > 0, "the loss is told", 20_000);
    // What this process was too slow for is told the same, and may be told first.
    await until(async () => (await client.state()).records.lost > 0, "the engine's own loss is told", 20_000);
    await until(
      async () => (await mappings()) === untold + opened(events) + lost(),
      "each mapping was told or lost",
      20_000,
    );
    abort.abort();
    await reading;
    sink.close();
    await end(running);
  }, 90_000);
});

const opened = (events: readonly ControlEvent[]): number =>
  events.filter(({ type }) => type === "flow-opened").length;

/** Whether a process is the command of this sluice. */
function isChildOf(pid: string, parent: number | undefined): boolean {
  if (!/^\d+$/.test(pid) || !isAlive(Number(pid))) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return (
      Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === parent && command.includes("dgram")
    );
  } catch {
    return false;
  }
}
