/** `sluice run`: starting, telling that it serves, ending, and leaving nothing behind. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { isAlive, PROGRAM, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-run-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let sockets = 0;
const socketPath = (): string => join(directory, `${sockets++}.sock`);

describe("a QEMU listener", () => {
  it("tells that it is ready, prints its state, and ends within a second with nothing left", async () => {
    const path = socketPath();
    const pidFile = join(directory, "pid");
    const running = sluice(
      ["run", "--qemu-listen", `unix:${path}`, "--ready-fd", "3", "--pid-file", pidFile, "-p", "0:22"],
      {
        stdio: ["ignore", "pipe", "pipe", "pipe"],
      },
    );
    const readyPipe = running.child.stdio[3] as Readable;
    let told = "";
    readyPipe.setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    await new Promise((resolve) => readyPipe.once("close", resolve));
    expect(told).toBe("1");
    expect(readFileSync(pidFile, "utf8")).toBe(`${running.child.pid}\n`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await running.says(/ready: qemu-listen unix:.*guest 10\.0\.2\.15 in 10\.0\.2\.0\/24/);
    running.child.kill("SIGUSR2");
    await running.says(/no flows/);
    const asked = performance.now();
    running.child.kill("SIGTERM");
    const { status, stderr } = await running.ended;
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(status).toBe(0);
    expect(stderr).toContain("SIGTERM received; ending");
    expect(stderr).toMatch(/from the guest, .* to it/);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(pidFile)).toBe(false);
  });

  it("ends with the first guest with --one-off, and serves the next one without", async () => {
    const once = socketPath();
    const oneOff = sluice(["run", "--one-off", "--qemu-listen", `unix:${once}`]);
    await oneOff.says(/ready/);
    const guest = connect(once);
    guest.once("connect", () => guest.destroy());
    expect((await oneOff.ended).status).toBe(0);

    const again = socketPath();
    const serving = sluice(["run", "--qemu-listen", `unix:${again}`]);
    await serving.says(/ready/);
    for (let visit = 1; visit <= 2; visit++) {
      const socket = connect(again);
      await serving.says(new RegExp(`(?:guest attached[^]*){${visit}}`));
      socket.destroy();
      await serving.says(new RegExp(`(?:closed the connection[^]*){${visit}}`));
    }
    serving.child.kill("SIGINT");
    expect((await serving.ended).status).toBe(0);
  });

  it("ends when --exit-fd is closed", async () => {
    const running = sluice(["run", "--qemu-listen", `unix:${socketPath()}`, "--exit-fd", "3"], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    await running.says(/ready/);
    (running.child.stdio[3] as Readable).destroy();
    const { status, stderr } = await running.ended;
    expect(stderr).toContain("descriptor 3 (--exit-fd) was closed");
    expect(status).toBe(0);
  });

  it("logs JSON to a file", async () => {
    const file = join(directory, "log");
    const path = socketPath();
    const running = sluice([
      "run",
      "--qemu-listen",
      `unix:${path}`,
      "--log-file",
      file,
      "--log-format",
      "json",
    ]);
    await until(() => existsSync(file) && readFileSync(file, "utf8").includes("ready"), "the ready line");
    running.child.kill("SIGHUP");
    expect(await running.ended).toMatchObject({ status: 0, stderr: "" });
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ level: "info", source: "sluice" });
  });
});

describe("the engine process", () => {
  /** Uids of a process and its descendants' engine, from /proc. */
  const engineOf = (supervisor: number): { uid: number; capabilities: string } => {
    const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, "utf8")
      .trim()
      .split(" ");
    const status = readFileSync(`/proc/${children[0]}/status`, "utf8");
    return {
      uid: Number(/^Uid:\t(\d+)/m.exec(status)?.[1]),
      capabilities: /^CapEff:\t(\w+)/m.exec(status)?.[1] ?? "",
    };
  };

  it("is the user that --user names, keeping no more than the right to bind low ports", async (context) => {
    needs(context, { root: true });
    const args = [
      "run",
      "--qemu-listen",
      `unix:${socketPath()}`,
      "--user",
      "4321:4321",
      "-p",
      "127.0.0.77:81:81",
    ];
    const running = sluice(args);
    await running.says(/ready: .*127\.0\.0\.77:81/);
    const engine = engineOf(running.child.pid ?? 0);
    expect(engine.uid).toBe(4321);
    expect(BigInt(`0x${engine.capabilities}`) & ~(1n << 10n)).toBe(0n);
    running.child.kill("SIGTERM");
    expect((await running.ended).status).toBe(0);
  });

  it("is told of when it is not confined", async () => {
    const running = sluice(["run", "--qemu-listen", `unix:${socketPath()}`, "--no-sandbox"]);
    await running.says(/warn: the engine is not confined \(--no-sandbox\)/);
    running.child.kill("SIGTERM");
    expect((await running.ended).status).toBe(0);
  });
});

describe("what cannot be", () => {
  it("is told at once, with status 2 for arguments", async () => {
    const { status, stderr } = await sluice(["run", "--mtu", "9", "--fd", "3", "--tap", "x", "--gatway", "1"])
      .ended;
    expect(status).toBe(2);
    expect(stderr).toMatch(/^sluice run: 3 problems with the arguments\n {2}--mtu: found "9"; allowed: /);
    expect(stderr).toContain("did you mean --gateway?");
  });

  it("is told with status 1 for what is not there: directories, descriptors", async () => {
    const noSocket = await sluice(["run", "--qemu-listen", "unix:/no/such/directory/socket"]).ended;
    expect(noSocket).toMatchObject({ status: 1, stdout: "" });
    expect(noSocket.stderr).toMatch(
      /^sluice run: --qemu-listen unix:\/no\/such\/directory\/socket: .*ENOENT/,
    );
    const noFile = await sluice(["run", "--qemu-listen", `unix:${socketPath()}`, "--pcap", "/no/such/file"])
      .ended;
    expect(noFile.status).toBe(1);
    expect(noFile.stderr).toContain("/no/such/file");
    const noDescriptor = await sluice(["run", "--fd", "77"]).ended;
    expect(noDescriptor.status).toBe(2);
    expect(noDescriptor.stderr).toContain('--fd: found "77"; allowed: a descriptor that is open');
  });

  it("leaves no process and no socket behind when a port is taken", async () => {
    const first = sluice(["run", "--qemu-listen", `unix:${socketPath()}`, "-p", "0:80"]);
    const [, port] = await first.says(/tcp 127\.0\.0\.1:(\d+) -> :80/);
    const path = socketPath();
    const { status, stderr } = await sluice(["run", "--qemu-listen", `unix:${path}`, "-p", `${port}:80`])
      .ended;
    expect(status).toBe(1);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(existsSync(path)).toBe(false);
    first.child.kill("SIGTERM");
    await first.ended;
  });
});

describe("those it depends on", () => {
  it("take it along when its parent ends, unless it is to outlive that", async () => {
    for (const outlive of [false, true]) {
      const path = socketPath();
      const flags = outlive ? "--outlive-parent" : "";
      const line = `${process.execPath} ${PROGRAM} run ${flags} --qemu-listen unix:${path} & echo pid $!; while [ ! -S ${path} ]; do sleep 0.05; done; sleep 0.5`;
      const shell = run("sh", ["-c", line]);
      const [, pid] = await shell.says(/pid (\d+)/, "stdout");
      await until(() => shell.child.exitCode !== null, "the shell ends");
      if (outlive) {
        await new Promise((resolve) => setTimeout(resolve, 1500));
        expect(isAlive(Number(pid))).toBe(true);
        process.kill(Number(pid), "SIGTERM");
      }
      await until(() => !isAlive(Number(pid)), "sluice ends");
      expect(existsSync(path)).toBe(false);
      if (!outlive) expect(shell.stderr).toMatch(/the parent process \(\d+\) has ended; ending/);
    }
  });

  it("take it along when the guest's namespace ends", async (context) => {
    needs(context, { tun: true, userNamespaces: true, commands: ["unshare", "ip", "nsenter"] });
    const guest = run("unshare", [
      "--user",
      "--map-root-user",
      "--net",
      "sh",
      "-c",
      "echo made; exec sleep 60",
    ]);
    await guest.says(/made/, "stdout");
    const pid = String(guest.child.pid);
    const running = sluice([
      "run",
      "--tap",
      "tap7",
      "--netns",
      pid,
      "--configure",
      "--tun-device",
      TUN_DEVICE,
    ]);
    await running.says(/ready: tap tap7/);
    const seen = await run("nsenter", [
      "-t",
      pid,
      "-U",
      "-n",
      "--preserve-credentials",
      "ip",
      "-o",
      "-4",
      "addr",
    ]).ended;
    expect(seen.stdout).toMatch(/tap7 +inet 10\.0\.2\.15\/24/);
    guest.child.kill("SIGKILL");
    const { status, stderr } = await running.ended;
    expect(stderr).toContain(`process ${pid}, whose network namespace this is, has ended; ending`);
    expect(status).toBe(0);
  });

  it("take the engine along when the supervisor is killed", async () => {
    const path = socketPath();
    const running = sluice(["run", "--qemu-listen", `unix:${path}`, "-p", "0:22"]);
    const [, port] = await running.says(/tcp 127\.0\.0\.1:(\d+) -> :22/);
    running.child.kill("SIGKILL");
    await running.ended;
    const refused = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(Number(port), "127.0.0.1");
        socket.once("error", () => resolve(true));
        socket.once("connect", () => {
          socket.destroy();
          resolve(false);
        });
      });
    await until(refused, "the forwarded port closes");
  });
});
