/** `sluice vm run`, `up` and `qemu-args` with slirp, which needs no privileges: stand-ins for QEMU, signals, leftovers. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newForm, sample } from "../kubevirt/samples.ts";
import { isAlive, type Running, sluice, until } from "../support/program.ts";

let folder = "";
let spec = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-vm-run-"));
  spec = join(folder, "web.yaml");
  writeFileSync(spec, sample("a6-slirp"));
});

afterEach(async () => {
  await vm("down").ended;
  rmSync(folder, { recursive: true, force: true });
});

function vm(command: string, ...rest: string[]): Running {
  const env = { ...process.env, XDG_RUNTIME_DIR: folder };
  return sluice(["vm", command, spec, ...rest], { env });
}

const state = (): string => join(folder, "sluice", "vm", "web");

/** PIDs of the processes that serve the VM. */
function servers(): number[] {
  const { processes } = JSON.parse(readFileSync(join(state(), "state.json"), "utf8")) as {
    processes: Record<string, { pid: number }>;
  };
  return Object.values(processes).map(({ pid }) => pid);
}

describe("sluice vm run", () => {
  it("gives QEMU its arguments, ends with its status and leaves nothing", async () => {
    const script = "console.log(JSON.stringify(process.argv.slice(1))); process.exit(7)";
    const { status, stdout, stderr } = await vm("run", "--", process.execPath, "-e", script, "--", "-m", "1G")
      .ended;
    expect(stderr).toBe("");
    const [m, g, netdev, stream, device, card] = JSON.parse(stdout) as string[];
    expect([m, g, netdev, device]).toEqual(["-m", "1G", "-netdev", "-device"]);
    expect(stream).toMatch(
      /^stream,id=net-red,server=off,addr\.type=unix,addr\.path=.*\/sluice\/vm\/web\/red-\w{6}\.sock$/,
    );
    expect(card).toMatch(/^virtio-net-pci,netdev=net-red,id=nic-red,mac=02:/);
    expect(status).toBe(7);
    expect(readdirSync(join(folder, "sluice", "vm"))).toEqual([]);
  });

  it("has QEMU share its memory with --vhost-user", async () => {
    const script = "console.log(JSON.stringify(process.argv.slice(1)))";
    const qemu = ["--", process.execPath, "-e", script, "--"];
    const { status, stdout, stderr } = await vm("run", "--vhost-user", ...qemu, "-m", "1G").ended;
    expect([status, stderr]).toEqual([0, ""]);
    const [, , object, memory, machine, backend, , chardev, , netdev] = JSON.parse(stdout) as string[];
    expect([object, machine]).toEqual(["-object", "-machine"]);
    expect(memory).toBe("memory-backend-memfd,id=sluice-memory,size=1G,share=on");
    expect(backend).toBe("memory-backend=sluice-memory");
    expect(chardev).toMatch(/^socket,id=socket-red,path=.*\/red-\w{6}\.sock$/);
    expect(netdev).toBe("vhost-user,id=net-red,chardev=socket-red");
  });

  it("passes signals on to QEMU, and the end by a signal back", async () => {
    const running = vm(
      "run",
      "--",
      "sh",
      "-c",
      "trap 'echo got-term; exit 3' TERM; echo started; while :; do sleep 0.1; done",
      "qemu",
    );
    await running.says(/started/, "stdout");
    const pids = servers();
    running.child.kill("SIGTERM");
    const { status, stdout } = await running.ended;
    expect([status, stdout]).toEqual([3, "started\ngot-term\n"]);
    await until(() => !pids.some(isAlive), "the engine is gone and reaped");

    const killed = await vm("run", "--", "sh", "-c", "kill -9 $$", "qemu").ended;
    expect(killed.status).toBe(128 + 9);
  });

  it("a QEMU that is not there is a sentence, and nothing stays up", async () => {
    const { status, stderr } = await vm("run", "--", "no-such-qemu").ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/no-such-qemu: spawn no-such-qemu (ENOENT|EACCES)/);
    expect(existsSync(state())).toBe(false);
  });

  it("needs QEMU's command line", async () => {
    const { status, stderr } = await vm("run").ended;
    expect([status, stderr]).toEqual([
      2,
      "sluice vm run: --: allowed: QEMU's command line behind it: FILE -- qemu-system-x86_64 ...\n",
    ]);
  });

  it("says which card cannot be in shared memory", async () => {
    writeFileSync(spec, newForm("[{name: red, model: e1000, slirp: {}}]"));
    const { status, stdout } = await vm("plan", "--vhost-user").ended;
    expect(status).toBe(0);
    expect(stdout).toContain("red: e1000 has no vhost-user; its frames go over a stream socket");
    expect(stdout).toContain("stream,id=net-red");
  });

  it("a wrong spec changes nothing and says so", async () => {
    writeFileSync(spec, newForm("[{name: red}]"));
    const { status, stderr } = await vm("run", "--", "true").ended;
    expect(status).toBe(2);
    expect(stderr).toContain("exactly one binding");
    expect(stderr).toContain("nothing was changed");
    expect(existsSync(join(folder, "sluice"))).toBe(false);
  });
});

describe("sluice vm up, with slirp", () => {
  it("starts an engine that QEMU can connect to; down ends it", async () => {
    const up = await vm("up").ended;
    expect([up.status, up.stderr]).toEqual([0, ""]);
    expect((await vm("qemu-args").ended).stdout).toBe(up.stdout);
    const json = JSON.parse((await vm("qemu-args", "--format", "json").ended).stdout) as string[];
    expect(up.stdout).toBe(`${json.join(" ")}\n`);
    const path = /addr\.path=([^,]+)/.exec(json[1])?.[1] ?? "";
    const socket = connect(path);
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.destroy();
    const [pid] = servers();
    expect(isAlive(pid)).toBe(true);
    expect((await vm("status").ended).stdout).toBe(`web: up\n  ok    engine of red (process ${pid})\n`);
    const down = await vm("down").ended;
    expect([down.status, down.stdout, down.stderr]).toEqual([0, "", ""]);
    expect([existsSync(path), existsSync(state())]).toEqual([false, false]);
    await until(() => !isAlive(pid), "the engine is gone and reaped");
    expect((await vm("down").ended).stderr).toBe("web is not up\n");
  });

  it("a second up starts an engine that died anew, on the same socket", async () => {
    const first = await vm("up").ended;
    const [pid] = servers();
    process.kill(pid, "SIGKILL");
    await until(() => !isAlive(pid), "the engine is gone");
    expect((await vm("status").ended).status).toBe(1);
    const again = await vm("up").ended;
    expect([again.status, again.stdout]).toEqual([0, first.stdout]);
    expect(again.stderr).toBe(`engine of red (process ${pid}) was gone and is started again\n`);
    expect((await vm("status").ended).status).toBe(0);
  });

  it("a spec can come from standard input", async () => {
    const running = sluice(["vm", "validate", "-"], { stdio: ["pipe", "pipe", "pipe"] });
    running.child.stdin?.end(newForm("[{name: red, model: virt, slirp: {}}]"));
    const { status, stderr } = await running.ended;
    expect(status).toBe(2);
    expect(stderr).toContain(" --> <stdin>:5:39\n");
  });

  it("names a run directory that cannot be written", async () => {
    writeFileSync(join(folder, "file"), "");
    const { status, stderr } = await vm("up", "--run-dir", join(folder, "file")).ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/^sluice vm up: (EEXIST|ENOTDIR): .*\/file/);
  });

  it("two at once: one of them is told to wait", async () => {
    const both = await Promise.all([vm("up").ended, vm("up").ended]);
    const refused = both.filter(({ status }) => status !== 0);
    for (const { stderr } of refused)
      expect(stderr).toMatch(/another sluice \(process \d+\) is changing web right now/);
    expect(both.some(({ status }) => status === 0)).toBe(true);
    expect(servers()).toHaveLength(1);
  });
});
