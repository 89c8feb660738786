/** sluice under other programs' names, installed and started as their clients start them. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../support/free-port.ts";
import { NAMESPACE_NEEDS } from "../support/namespace-guest.ts";
import { isAlive, type Running, run, sluice, until } from "../support/program.ts";
import { findCommand, needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-drop-in-"));
const names = join(directory, "names");
const env = {
  ...process.env,
  XDG_STATE_HOME: join(directory, "state"),
  PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`,
};
const isRoot = process.geteuid?.() === 0;

beforeAll(async () => {
  const { status, stderr } = await sluice(["names", "install", names], { env }).ended;
  expect([status, stderr.replace(/^sluice: building .*\n/, "")]).toEqual([0, ""]);
});
afterAll(async () => {
  expect(await sluice(["names", "remove", names], { env }).ended).toMatchObject({ status: 0 });
  expect(existsSync(names)).toBe(false);
  expect(existsSync(join(directory, "state", "sluice"))).toBe(false);
  rmSync(directory, { recursive: true });
});

const start = (name: string, words: readonly string[], options = {}): Running =>
  run(join(names, name), words, { env, ...options });

/** A network namespace with a process that keeps it. */
async function namespace(): Promise<{ pid: number; holder: Running; enter: string[] }> {
  const user = isRoot ? [] : ["--user", "--map-root-user"];
  const holder = run("unshare", [...user, "--net", "sh", "-c", "echo made; exec sleep 600"], { env });
  await holder.says(/made/, "stdout");
  const pid = holder.child.pid as number;
  return {
    pid,
    holder,
    enter: ["-t", String(pid), ...(isRoot ? [] : ["-U", "--preserve-credentials"]), "-n"],
  };
}

/** What a program inside says. */
function inside(enter: readonly string[], ...command: string[]): string {
  const [program = "", ...rest] = command;
  return spawnSync("nsenter", [...enter, findCommand(program) ?? program, ...rest], { encoding: "utf8", env })
    .stdout;
}

describe("sluice names", () => {
  it("says what is installed where, what it starts, and how to take it back", async () => {
    const { status, stdout } = await sluice(["names"], { env }).ended;
    expect(status).toBe(0);
    expect(stdout).toContain(`${names}: slirp4netns, passt, pasta, pesto\n`);
    expect(stdout).toMatch(/starts +\/.*\/src\/cli\/sluice\.cjs\n/);
    expect(stdout).toContain(`take back: sluice names remove ${names}\n`);
  });

  it("takes a single name, and refuses what is none", async () => {
    const other = join(directory, "other");
    expect(await sluice(["names", "install", other, "passt"], { env }).ended).toMatchObject({
      status: 0,
      stdout: `${other}: passt\n`,
    });
    expect(await sluice(["names", "remove", other], { env }).ended).toMatchObject({ status: 0 });
    expect((await sluice(["names", "install", other, "passd"], { env }).ended).status).toBe(2);
    expect((await sluice(["names", "remove", other], { env }).ended).stderr).toContain(
      "no names of sluice are there",
    );
    expect(
      (
        await sluice(["names", "install", other, "passt"], { env: { ...env, XDG_STATE_HOME: "/dev/null" } })
          .ended
      ).status,
    ).toBe(0);
    expect((await sluice(["names", "remove", other], { env }).ended).status).toBe(0);
    expect((await sluice(["names", "bogus"], { env }).ended).status).toBe(2);
  });
});

describe("wrong words", () => {
  it.each([
    [["passt", "--nonsense"], "passt: unrecognized option '--nonsense'\n"],
    [
      ["pasta", "--host-lo-to-ns-lo", "--version"],
      "pasta: --host-lo-to-ns-lo is not offered: clients on the host's loopback come from the gateway\n",
    ],
    [["pasta", "--vhost-user", "1"], "pasta: unrecognized option '--vhost-user'\n"],
    [
      ["slirp4netns", "--cidr=10.0.2.100/24", "1", "tap0"],
      "slirp4netns: CIDR needs to be a network address like 10.0.2.0/24, not like 10.0.2.100/24: 10.0.2.100/24\n",
    ],
    [
      ["passt", "--fd", "99", "-a", "192.0.2.2", "-g", "192.0.2.1"],
      'passt: --fd: found "99"; allowed: a descriptor that is open\n',
    ],
  ])("%j are one sentence and status 1", async ([name = "", ...words], sentence) => {
    expect(await start(name, words).ended).toMatchObject({ status: 1, stdout: "", stderr: sentence });
  });
});

describe("slirp4netns", () => {
  beforeEach((context) =>
    needs(context, { ...NAMESPACE_NEEDS, commands: ["unshare", "nsenter", "ip", "busybox"] }),
  );

  it("sets the namespace up, says so, and ends with its exit descriptor", async () => {
    const { pid, holder, enter } = await namespace();
    const ready = join(directory, "ready");
    const file = openSync(ready, "w");
    const child = spawn(
      join(names, "slirp4netns"),
      ["-c", "-m", "9000", "-r", "3", "-e", "4", "--macaddress=02:00:00:00:00:07", String(pid), "tap11"],
      {
        stdio: ["ignore", "pipe", "pipe", file, "pipe"],
        env,
      },
    );
    closeSync(file);
    const said = [child.stdout, child.stderr].map((stream) => text(stream as Readable));
    await until(() => readFileSync(ready, "utf8") === "1", "readiness");
    expect(inside(enter, "ip", "-o", "address", "show", "tap11")).toContain("inet 10.0.2.100/24");
    const link = inside(enter, "ip", "-o", "link", "show", "tap11");
    expect(link).toContain("mtu 9000");
    expect(link).toContain("02:00:00:00:00:07");
    expect(inside(enter, "ip", "route")).toContain("default via 10.0.2.2");
    expect(inside(enter, "busybox", "ping", "-c", "1", "-W", "2", "10.0.2.2")).toContain(
      "1 packets received",
    );
    expect(isAlive(child.pid as number)).toBe(true);
    const ended = new Promise((resolve) => child.once("close", resolve));
    (child.stdio[4] as Socket).destroy();
    expect(await ended).toBe(0);
    const [stdout, stderr] = await Promise.all(said);
    expect(stdout).toContain("* Recommended IP:  10.0.2.100\n");
    expect(stdout).toContain("WARNING: 127.0.0.1:* on the host is accessible as 10.0.2.2");
    expect(stderr).toBe("");
    holder.child.kill("SIGKILL");
    await holder.ended;
  });

  it("forwards what its API is told to, while it runs", async () => {
    const { pid, holder, enter } = await namespace();
    const api = join(directory, "api.sock");
    const running = start("slirp4netns", ["-c", "--api-socket", api, String(pid), "tap0"]);
    const server = `require("node:net").createServer((s) => s.end("inside")).listen(80, () => console.log("up"))`;
    const inner = run("nsenter", [...enter, process.execPath, "-e", server], { env });
    await running.says(/API Socket: +\//, "stdout");
    await inner.says(/up/, "stdout");
    const ask = async (request: object): Promise<Record<string, unknown>> =>
      JSON.parse(await exchange(connect(api), JSON.stringify(request)));
    const port = await freePort();
    const given = { proto: "tcp", host_addr: "127.0.0.1", host_port: port, guest_port: 80 };
    expect(await ask({ execute: "add_hostfwd", arguments: given })).toEqual({ return: { id: 1 } });
    expect(await exchange(connect(port, "127.0.0.1"))).toBe("inside");
    expect(await ask({ execute: "add_hostfwd", arguments: given })).toEqual({
      error: { desc: "bad request: add_hostfwd: slirp_add_hostfwd failed" },
    });
    expect(await ask({ execute: "list_hostfwd" })).toMatchObject({
      entries: [{ id: 1, guest_addr: "10.0.2.100" }],
    });
    expect(await ask({ execute: "remove_hostfwd", arguments: { id: 1 } })).toEqual({ return: {} });
    await expect(exchange(connect(port, "127.0.0.1"))).rejects.toThrow("ECONNREFUSED");
    running.child.kill("SIGTERM");
    expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    expect(existsSync(api)).toBe(false);
    inner.child.kill("SIGKILL");
    holder.child.kill("SIGKILL");
    await holder.ended;
  });
});

describe("slirp4netns of a user with --enable-sandbox", () => {
  const become = isRoot ? ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--"] : [];

  /** Served, with the API's socket in a directory of the user's; a namespace of theirs, and its process. */
  async function serve(target: (pid: number) => string[]) {
    const own = mkdtempSync(join(tmpdir(), "sluice-test-view-"));
    if (isRoot) chownSync(own, 4242, 4242);
    const [command = "", ...args] = [...become, "unshare", "--user", "--map-root-user", "--net"];
    const holder = run(command, [...args, "sh", "-c", "echo made; exec sleep 600"], { env });
    await holder.says(/made/, "stdout");
    const pid = holder.child.pid as number;
    const api = join(own, "api.sock");
    const words = [
      "--enable-sandbox",
      "--disable-host-loopback",
      "--api-socket",
      api,
      ...target(pid),
      "tap0",
    ];
    const [program = "", ...rest] = [...become, join(names, "slirp4netns"), ...words];
    const running = run(program, rest, { env });
    await running.says(/API Socket: +\//, "stdout");
    const close = async () => {
      holder.child.kill("SIGKILL");
      await holder.ended;
      rmSync(own, { recursive: true });
    };
    return { running, started: running.child.pid as number, pid, api, close };
  }

  beforeEach((context) => {
    needs(context, { userNamespaces: true, commands: ["setpriv", "unshare"] });
    // Not the one that SLUICE_TEST_TUN names: the launcher knows no other.
    const mode = statSync("/dev/net/tun", { throwIfNoEntry: false })?.mode ?? 0;
    if ((mode & 6) !== 6) {
      process.stderr.write(`SKIPPED ${context.task.name}: needs a /dev/net/tun that everybody may open\n`);
      context.skip();
    }
    // The directory is this user's alone.
    chmodSync(directory, 0o755);
  });

  it("is started in a view without homes or rights, serves, and starts an engine that sees less", async () => {
    const { running, started, api, close } = await serve((pid) => [String(pid)]);
    const seen = (path: string): boolean => existsSync(`/proc/${started}/root${path}`);
    expect(["/etc/hosts", "/run", "/usr"].filter(seen)).toEqual(["/etc/hosts", "/run", "/usr"]);
    expect(["/var", "/boot", "/srv", "/sbin/init"].filter(seen)).toEqual([]);
    const { CapEff, CapBnd, NoNewPrivs } = statusOf(started);
    // CAP_NET_BIND_SERVICE, in a user namespace of its own.
    expect([CapEff, CapBnd, NoNewPrivs]).toEqual(["0000000000000400", "0000000000000400", "1"]);
    expect(readlinkSync(`/proc/${started}/ns/user`)).not.toBe(readlinkSync("/proc/self/ns/user"));
    const engine = Number(readFileSync(`/proc/${started}/task/${started}/children`, "utf8").trim());
    expect(existsSync(`/proc/${engine}/root/run`)).toBe(false);
    expect(statusOf(engine)["CapEff"]).toBe("0000000000000000");
    const listed = await exchange(connect(api), JSON.stringify({ execute: "list_hostfwd" }));
    expect(JSON.parse(listed)).toMatchObject({ return: { entries: [] } });
    running.child.kill("SIGTERM");
    expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    expect(existsSync(api)).toBe(false);
    await close();
  });

  it("ends with the process whose namespace it serves, and without where that is out of view", async () => {
    const { running, close } = await serve((pid) => [String(pid)]);
    await close();
    expect(await running.ended).toMatchObject({ status: 0 });
    const path = (pid: number): string[] => ["--netns-type=path", `/proc/${pid}/ns/net`];
    const hidden = await serve((pid) => [`--userns-path=/proc/${pid}/ns/user`, ...path(pid)]);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(isAlive(hidden.started)).toBe(true);
    hidden.running.child.kill("SIGTERM");
    expect(await hidden.running.ended).toMatchObject({ status: 0, stderr: "" });
    await hidden.close();
  });
});

/** Lines of /proc/PID/status. */
function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(":\t") as [string, string]));
}

/** What a socket says to `request`, until it ends. */
function exchange(socket: Socket, request = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    socket.setEncoding("utf8").on("data", (part: string) => {
      answer += part;
    });
    socket.once("end", () => resolve(answer));
    socket.once("error", reject);
    socket.write(request);
  });
}

/** Everything a stream says. */
async function text(stream: Readable): Promise<string> {
  let all = "";
  for await (const part of stream.setEncoding("utf8")) all += part;
  return all;
}

/** A network that needs nothing of the machine. */
const OWN = ["--address", "172.17.2.4", "--netmask", "24", "--gateway", "172.17.2.1"];

describe("passt", () => {
  const socket = join(directory, "passt.socket");
  const pidFile = join(directory, "passt.pid");
  const words = ["--one-off", "--socket", socket, "--pid", pidFile, ...OWN, "--tcp-ports", "127.0.0.1/0"];

  it("returns when it listens, with nothing of its caller's open, and goes at SIGTERM with its files", async () => {
    writeFileSync(pidFile, "");
    const script = `exec 73< /dev/zero; exec ${join(names, "passt")} ${words.slice(0, -2).join(" ")}`;
    expect(await run("bash", ["-c", script], { env }).ended).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "",
    });
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(existsSync(socket)).toBe(true);
    const open = (): string[] => [0, 1, 2].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    await until(() => open().every((target) => target === "/dev/null"), "its streams are let go of");
    expect(existsSync(`/proc/${pid}/fd/73`)).toBe(false);
    process.kill(pid, "SIGTERM");
    await until(() => !isAlive(pid), "passt ends");
    expect([socket, pidFile].filter(existsSync)).toEqual([]);
  });

  it("starts anew over what a killed one has left, and ends with its client", async () => {
    const begin = async (): Promise<number> => {
      expect(await start("passt", words.slice(0, -2)).ended).toMatchObject({ status: 0, stderr: "" });
      return Number(readFileSync(pidFile, "utf8"));
    };
    const first = await begin();
    process.kill(first, "SIGKILL");
    await until(() => !isAlive(first), "the first is gone");
    const second = await begin();
    const client = connect(socket);
    await new Promise((resolve) => client.once("connect", resolve));
    client.destroy();
    await until(() => !isAlive(second), "passt ends with its client");
  });

  it("fails with a sentence", async () => {
    const { status, stderr } = await start("passt", words).ended;
    expect([status, stderr]).toEqual([1, "passt: invalid port specifier 127.0.0.1/0\n"]);
    const nowhere = await start("passt", ["--socket", "/proc/nowhere/s", ...OWN]).ended;
    expect([nowhere.status, nowhere.stderr]).toEqual([
      1,
      expect.stringMatching(/^passt: --qemu-listen unix:\/proc\/nowhere\/s: /),
    ]);
  });
});

describe("pasta", () => {
  beforeEach((context) => needs(context, { ...NAMESPACE_NEEDS, commands: ["unshare", "nsenter", "ip"] }));

  it("returns when the namespace has its network, and ends with it", async () => {
    const { pid, holder, enter } = await namespace();
    const pidFile = join(directory, "pasta.pid");
    const words = [
      "--config-net",
      "-I",
      "eth9",
      "--pid",
      pidFile,
      "--dns-forward",
      "169.254.1.1",
      "--map-guest-addr",
      "169.254.1.2",
      "--no-map-gw",
      "--quiet",
    ];
    expect(
      await start("pasta", [...words, ...OWN, "-t", "none", "-T", "none", String(pid)]).ended,
    ).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "",
    });
    expect(inside(enter, "ip", "-o", "-4", "address", "show", "eth9")).toContain("inet 172.17.2.4/24");
    expect(inside(enter, "ip", "link", "show", "eth9")).toContain("mtu 65520");
    expect(inside(enter, "ip", "route")).toContain("default via 172.17.2.1 dev eth9");
    const served = Number(readFileSync(pidFile, "utf8"));
    expect(isAlive(served)).toBe(true);
    holder.child.kill("SIGKILL");
    await holder.ended;
    await until(() => !isAlive(served), "pasta ends with the namespace", 5000);
  });

  it("opens the ports that somebody in the namespace listens on, and closes them after", async () => {
    const { pid, holder, enter } = await namespace();
    const words = ["-f", "--config-net", "-I", "eth9", ...OWN, "-4", "-t", "127.0.0.1/auto,~7", "-u", "none"];
    const running = start("pasta", [...words, String(pid)]);
    await until(() => inside(enter, "ip", "link", "show", "eth9").includes("UP"), "the device is up");
    const [low = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/).map(Number);
    const port = low - 1 - (process.pid % 1000);
    const server = `require("node:net").createServer((s) => s.end("inside")).listen(${port}, () => console.log("up"))`;
    const inner = run("nsenter", [...enter, process.execPath, "-e", server], { env });
    await inner.says(/up/, "stdout");
    const answer = (): Promise<string> => exchange(connect(port, "127.0.0.1")).catch(() => "");
    await until(async () => (await answer()) === "inside", "the port is there", 5000);
    inner.child.kill("SIGKILL");
    await inner.ended;
    const refused = async (): Promise<boolean> =>
      exchange(connect(port, "127.0.0.1"))
        .then(() => false)
        .catch((error) => error.code === "ECONNREFUSED");
    await until(refused, "the port is closed", 5000);
    running.child.kill("SIGTERM");
    expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    holder.child.kill("SIGKILL");
    await holder.ended;
  });

  it("runs a command as root of namespaces of its own, and ends as it does", async () => {
    const words = ["--config-net", "-q", "-I", "eth9", ...OWN, "-4", "-t", "none", "-u", "none"];
    const script = "id -u; ip -4 -o address show eth9; read line; echo $line; exit 3";
    const running = start("pasta", [...words, "sh", "-c", script], { stdio: ["pipe", "pipe", "pipe"] });
    running.child.stdin?.end("told\n");
    const { status, stdout, stderr } = await running.ended;
    expect([status, stderr]).toEqual([3, ""]);
    expect(stdout).toMatch(/^0\n.*inet 172\.17\.2\.4\/24 .*\ntold\n$/s);
    expect(await start("pasta", [...words, "/no-such-command"]).ended).toMatchObject({
      status: 127,
      stderr: expect.stringMatching(/^pasta: \/no-such-command: there is no such command\n$/),
    });
    const shell = run(join(names, "pasta"), words, {
      ...{ env: { ...env, SHELL: "/bin/sh" }, stdio: ["pipe", "pipe", "pipe"] },
    });
    shell.child.stdin?.end("echo from the shell\n");
    expect(await shell.ended).toMatchObject({ status: 0, stdout: "from the shell\n" });
  });

  it("leaves certificates for Node to its command, and reads none for its own start", async () => {
    const words = ["--config-net", "-q", ...OWN, "-4", "-t", "none", "-u", "none"];
    const script = 'echo "$NODE_EXTRA_CA_CERTS $SLUICE_NODE_EXTRA_CA_CERTS"';
    const running = start("pasta", [...words, "sh", "-c", script], {
      env: { ...env, NODE_EXTRA_CA_CERTS: "/nowhere/ca.pem" },
    });
    // Node says of a file that is not there, where it reads it at its start.
    expect(await running.ended).toMatchObject({ status: 0, stdout: "/nowhere/ca.pem \n", stderr: "" });
  });

  it("is steered by pesto", async () => {
    const { pid, holder } = await namespace();
    const socket = join(directory, "c.sock");
    const port = await freePort();
    const words = [
      ...OWN,
      "-4",
      "-q",
      "-c",
      socket,
      "-t",
      "none",
      "-u",
      "none",
      "--config-net",
      "-I",
      "eth9",
    ];
    expect(await start("pasta", [...words, String(pid)]).ended).toMatchObject({ status: 0, stderr: "" });
    const pesto = (...argv: string[]) => start("pesto", [...argv, socket]).ended;
    expect(await pesto()).toMatchObject({
      ...{ status: 0, stderr: "" },
      stdout: `passt/pasta configuration (${socket})\n  HOST\n  SPLICE\n`,
    });
    const spec = `--tcp-ports=127.0.0.1/${port}:80`;
    expect(await pesto("-A", spec)).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(await pesto("-A", spec)).toMatchObject({
      ...{ status: 1, stdout: "" },
      stderr: `pesto: Forwarding configuration conflict: tcp:127.0.0.1:${port}:80 is there already\n`,
    });
    expect((await pesto()).stdout).toContain(`    TCP [127.0.0.1]:${port}  =>  80\n`);
    expect(await pesto("-s", "-D", spec)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^Previous.*TCP.*Updated.*HOST\n {2}SPLICE\n$/s),
    });
    expect((await pesto("-D", spec)).status).toBe(1);
    expect((await pesto("-A", spec, "-C", "HOST", "-t", `127.0.0.1/${port}`)).status).toBe(0);
    expect((await pesto()).stdout).toContain(`  HOST\n    TCP [127.0.0.1]:${port}  =>  ${port}\n  SPLICE`);
    expect((await pesto("-t", "none")).status).toBe(0);
    expect((await pesto()).stdout).toContain("HOST\n  SPLICE");
    expect(await start("pesto", ["/nowhere.sock"]).ended).toMatchObject({
      ...{ status: 1, stderr: "pesto: Failed to connect to /nowhere.sock: ENOENT\n" },
    });
    holder.child.kill("SIGKILL");
    await holder.ended;
    await until(() => !existsSync(socket), "pasta ends with the namespace");
  });
});
