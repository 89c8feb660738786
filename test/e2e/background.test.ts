/** `sluice run --background`: when it returns, what it lets go of, and how a start in the background fails. */
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { NotifySocket } from "../support/notify-socket.ts";
import { isAlive, PROGRAM, type Running, run, sluice, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-background-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let starts = 0;
let pidFile = "";
let path = "";

/** The arguments of another start: a socket and a pid file of its own. */
function words(...more: readonly string[]): string[] {
  path = join(directory, `${++starts}.sock`);
  pidFile = join(directory, `${starts}.pid`);
  return ["run", "--background", "--qemu-listen", `unix:${path}`, "--pid-file", pidFile, ...more];
}

const pid = (): number => Number(readFileSync(pidFile, "utf8"));

/** Ends what was started last; everything of it goes. */
async function end(): Promise<void> {
  if (!existsSync(pidFile)) return;
  const supervisor = pid();
  process.kill(supervisor, "SIGTERM");
  await until(() => !isAlive(supervisor), "the process in the background ends");
  expect([path, pidFile].filter(existsSync)).toEqual([]);
}
afterEach(end);

/** Fields of proc(5)'s stat from the state on. */
function statOf(process_: number): string[] {
  const stat = readFileSync(`/proc/${process_}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

const childrenOf = (parent: number): string[] =>
  readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ").filter(Boolean);

function canConnect(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** Waits until the caller has started its other process, and returns that. */
async function begun(running: Running): Promise<number> {
  await until(() => childrenOf(running.child.pid!).length > 0, "another process");
  return Number(childrenOf(running.child.pid!)[0]);
}

describe("a start in the background", () => {
  it("returns once the guest is served, and holds nothing of the caller's", async (context) => {
    needs(context, { commands: ["bash"] });
    // Above the numbers that Node closes by itself.
    const script = `exec 73< /dev/zero 74> ${join(directory, "held")}; ${process.execPath} ${PROGRAM} ${words().join(" ")}`;
    const running = run("bash", ["-c", script]);
    // Also that both streams have ended.
    const { status, stdout, stderr } = await running.ended;
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
    expect(stderr).toMatch(/^sluice: ready: qemu-listen unix:.*\n$/m);
    expect(await canConnect()).toBe(true);
    const [, parent, group, session, terminal] = statOf(pid());
    expect(Number(parent)).not.toBe(process.pid);
    expect({ group, session, terminal }).toEqual({
      group: String(pid()),
      session: String(pid()),
      terminal: "0",
    });
    const targets = ["0", "1", "2"].map((fd) => readlinkSync(`/proc/${pid()}/fd/${fd}`));
    expect(targets).toEqual(["/dev/null", "/dev/null", "/dev/null"]);
    for (const fd of ["73", "74"]) expect(existsSync(`/proc/${pid()}/fd/${fd}`)).toBe(false);
  });

  it("logs to --log-file, and so do the commands it starts", async () => {
    const file = join(directory, "log");
    const started = await sluice(words("--log-file", file)).ended;
    expect(started).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(readFileSync(file, "utf8")).toMatch(/^sluice: ready: /m);
    expect(readlinkSync(`/proc/${pid()}/fd/2`)).toBe(file);
    await end();
    expect(readFileSync(file, "utf8")).toMatch(/SIGTERM received; ending\n.* from the guest/);
  });

  it("outlives its parent, and SIGHUP is ignored where it was", async () => {
    const line = `trap '' HUP; ${process.execPath} ${PROGRAM} ${words().join(" ")}`;
    expect(await run("sh", ["-c", line]).ended).toMatchObject({ status: 0 });
    process.kill(pid(), "SIGHUP");
    // Longer than a parent is looked for.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await canConnect()).toBe(true);
  });

  it("has the descriptors that options name, by their numbers", async () => {
    const pipes = Array.from({ length: 9 }, (_, fd) => (fd === 0 ? "ignore" : "pipe") as "ignore" | "pipe");
    const log = join(directory, "named");
    const argv = ["run", "--background", "--fd", "7", "--ready-fd", "3", "--exit-fd", "5", "--pid-file"];
    pidFile = join(directory, "named.pid");
    const running = sluice([...argv, pidFile, "--log-file", log], { stdio: pipes });
    const streams = running.child.stdio as readonly unknown[] as readonly Duplex[];
    let told = "";
    (running.child.stdio[3] as Readable).setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    const closed = new Promise((resolve) => running.child.stdio[3]?.once("close", resolve));
    await until(() => running.child.exitCode !== null, "the start returns");
    expect(running.child.exitCode).toBe(0);
    await closed;
    expect(told).toBe("1");
    const supervisor = pid();
    // QEMU's framing: a length, then a frame, here one that no guest sends.
    streams[7].write(Buffer.from([0, 0, 0, 1, 0xff]));
    streams[5].destroy();
    await until(() => !isAlive(supervisor), "it ends with --exit-fd");
    expect(readFileSync(log, "utf8")).toMatch(/descriptor 5 \(--exit-fd\) was closed; ending\n.* dropped/);
    expect(existsSync(pidFile)).toBe(false);
  });

  it("names the process in the background to a service manager", async () => {
    const socket = new NotifySocket(join(directory, "notify"));
    const env = { ...process.env, NOTIFY_SOCKET: socket.address };
    expect(await sluice(words(), { env }).ended).toMatchObject({ status: 0 });
    const supervisor = pid();
    expect(socket.heard()).toEqual([
      expect.stringMatching(new RegExp(`^MAINPID=${supervisor}\nREADY=1\nSTATUS=ready: qemu-listen `)),
    ]);
    await end();
    expect(socket.heard()).toEqual(["STOPPING=1\nSTATUS=SIGTERM received"]);
    socket.close();
  });
});

describe("a start in the background that fails", () => {
  it("says so with its status, and leaves nothing behind", async () => {
    const wrong = await sluice(words("--mtu", "9")).ended;
    expect(wrong).toMatchObject({ status: 2, stdout: "" });
    expect(wrong.stderr).toMatch(/^sluice run: 1 problem with the arguments\n {2}--mtu: found "9"/);

    const missing = await sluice(words("--pcap", "/no/such/file")).ended;
    expect(missing.status).toBe(1);
    expect(missing.stderr).toMatch(/^sluice run: pcap \/no\/such\/file: ENOENT/m);
    expect([path, pidFile].filter(existsSync)).toEqual([]);

    const unlogged = await sluice(words("--log-file", "/no/such/log")).ended;
    expect(unlogged.status).toBe(1);
    expect(unlogged.stderr).toContain("/no/such/log");
  });

  it("says that it never served where its own log is in a file", async () => {
    const file = join(directory, "ended");
    const running = sluice(words("--log-file", file));
    const other = await begun(running);
    process.kill(other, "SIGKILL");
    const { status, stderr } = await running.ended;
    expect(status).toBe(1);
    expect(stderr).toContain("sluice run: the process in the background ended before it served (SIGKILL)");
  });

  it("ends with a signal to the caller, or with the caller", async () => {
    for (const [signal, status] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGKILL", null],
    ] as const) {
      const running = sluice(words());
      const other = await begun(running);
      running.child.kill(signal);
      expect((await running.ended).status).toBe(status);
      await until(() => !isAlive(other), "the other process ends");
      expect([path, pidFile].filter(existsSync)).toEqual([]);
    }
  });
});

it("a service manager hears when a start in the foreground serves, that the engine answers, and of the end", async () => {
  const socket = new NotifySocket(`@${directory}/foreground`);
  const link = join(directory, "foreground.sock");
  const env = { ...process.env, NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "400000" };
  const running = sluice(["run", "--qemu-listen", `unix:${link}`], { env });
  const heard: string[] = [];
  const count = (message: string): number => {
    heard.push(...socket.heard());
    return heard.filter((each) => each === message).length;
  };
  await until(() => count("WATCHDOG=1") >= 3, "pings");
  expect(heard[0]).toMatch(/^READY=1\nSTATUS=ready: qemu-listen unix:/);
  const engine = Number(childrenOf(running.child.pid!)[0]);
  process.kill(engine, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const before = count("WATCHDOG=1");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect(count("WATCHDOG=1")).toBe(before);
  process.kill(engine, "SIGCONT");
  await until(() => count("WATCHDOG=1") > before, "pings again");
  running.child.kill("SIGTERM");
  expect((await running.ended).status).toBe(0);
  count("");
  // A ping that was under way may come behind it.
  expect(heard.filter((each) => each !== "WATCHDOG=1").at(-1)).toBe("STOPPING=1\nSTATUS=SIGTERM received");
  socket.close();
});
