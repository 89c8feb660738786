/**
 * Every wall around the engine, tried from inside: a Node process started as the engine is tries the door from its
 * main thread and from the thread pool, and tells what happened. Raw system calls are
 * made by a little addon, so that libc's and Node's own checks are not mistaken for walls.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { release } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { native } from "../../src/host/native/native.ts";
import { packageRoot } from "../../src/host/native/native-loader.ts";
import { EngineClient } from "../../src/supervisor/engine-client.ts";
import { commandName, HELPER_PARENT, HelperRig, identities } from "../support/helper-rig.ts";
import { KeptLog, until } from "../support/link-rig.ts";
import { type Answer, Prison, type Prisoner } from "../support/prison.ts";
import { missing, needs } from "../support/requirements.ts";

const prison = new Prison();
const { directory, writable, shim, calls, script } = prison;
const isRoot = process.geteuid!() === 0;

afterAll(() => prison.close());

/** Settings of every thread that confinement is made of, without repetition. */
function settings(threads: Answer): string[] {
  const wanted = /^(?:Uid|Gid|Groups|Cap\w+|NoNewPrivs|Seccomp\w*):.*$/gm;
  return [
    ...new Set((threads as string[]).map((status) => status.match(wanted)!.join("\n").replace(/\s*$/gm, ""))),
  ];
}

const EPERM = -1;
const ENOSYS = -38;

/** Of a directory that is not in the view, or only as the way to sluice or to Node. */
const outOfView = (path: string): string[] =>
  [shim, process.execPath].some((seen) => seen.startsWith(`${path}/`)) ? ["EACCES"] : ["ENOENT"];

/** What a mount view takes: root can mount, anyone else needs a namespace for it. */
const forView = isRoot ? {} : { userNamespaces: true };

describe("from inside", () => {
  let prisoner: Prisoner;

  beforeAll(async () => {
    if (missing(forView).length > 0) return;
    prisoner = prison.prisoner();
    await prisoner.process.started;
  });
  beforeEach((context) => needs(context, forView));
  afterAll(() => prisoner?.end());

  it("has room for many descriptors without growing their table", () => {
    const status = readFileSync(`/proc/${prisoner.process.child.pid}/status`, "utf8");
    expect(Number(/^FDSize:\s*(\d+)/m.exec(status)?.[1])).toBeGreaterThanOrEqual(1024);
  });

  it("nothing was refused by this kernel", async () => {
    expect(await prisoner.process.started).toEqual([]);
  });

  it("every thread has no capability, no way to gain one, and no root", async () => {
    await prisoner.ask("fillPool");
    const threads = await prisoner.ask("threads");
    expect((threads as string[]).length).toBeGreaterThan(5);
    expect(settings(threads)).toHaveLength(1);
    const [one] = settings(threads);
    for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"])
      expect(one).toContain(`Cap${set}:\t0000000000000000`);
    expect(one).toContain("NoNewPrivs:\t1");
    const uid = isRoot ? 65534 : process.geteuid!();
    expect(one).toContain(`Uid:\t${uid}\t${uid}\t${uid}\t${uid}`);
    if (isRoot) expect(one).toMatch(/^Groups:$/m);
  });

  it.each([
    ["readFileSync", "readFile", "/etc/shadow", ["ENOENT"]],
    ["readFileSync", "readFile", "/etc/passwd", ["ENOENT"]],
    ["readdirSync", "readdir", "/root", outOfView("/root")],
    ["readdirSync", "readdir", "/home", outOfView("/home")],
    ["readdirSync", "readdir", "/sys", ["ENOENT"]],
    ["readdirSync", "readdir", "/", ["EACCES"]],
    ["readdirSync", "readdir", "/proc", ["EACCES"]],
    ["readdirSync", "readdir", "/proc/1", ["ENOENT"]],
    ["readdirSync", "readdir", `/proc/${process.pid}`, ["ENOENT"]],
    ["readFileSync", "readFile", "/bin/sh", ["ENOENT"]],
    ["readFileSync", "readFile", fileURLToPath(import.meta.url), ["ENOENT"]],
    ["writeFileSync", "writeFile", "/new", ["EROFS", "EACCES"]],
    ["writeFileSync", "writeFile", script, ["EROFS", "EACCES"]],
    ["writeFileSync", "writeFile", shim, ["EROFS", "EACCES"]],
    ["writeFileSync", "writeFile", process.execPath, ["EROFS", "EACCES", "ETXTBSY"]],
    ["writeFileSync", "writeFile", "/proc/self/mem", ["EROFS", "EACCES"]],
    ["mkdirSync", "mkdir", "/tmp/new", ["EROFS", "EACCES"]],
  ])("%s of %s %s is refused, and from the thread pool", async (sync, later, path, codes) => {
    expect(codes).toContain(await prisoner.ask("fs", sync, path, sync === "writeFileSync" ? "x" : undefined));
    expect(codes).toContain(
      await prisoner.ask("fsPool", later, path, later === "writeFile" ? "x" : undefined),
    );
  });

  it("what may be written can be written, and no code can be loaded from there", async () => {
    const file = join(writable, "file");
    expect(await prisoner.ask("fs", "writeFileSync", file, "text")).toBe("done");
    expect(readFileSync(file, "utf8")).toBe("text");
    copyFileSync(calls, join(writable, "code.node"));
    chmodSync(join(writable, "code.node"), 0o755);
    expect(await prisoner.ask("dlopen", join(writable, "code.node"))).toBe("ERR_DLOPEN_FAILED");
    expect(await prisoner.ask("dlopen", calls)).toBe("done");
  });

  it("an abstract Unix socket of the host is out of reach", async () => {
    const name = `sluice-test-${process.pid}`;
    const server = createServer().listen(`\0${name}`);
    await once(server, "listening");
    try {
      // Landlock scopes, Linux 6.12.
      const [major, minor] = release().split(".").map(Number);
      const expected = major > 6 || (major === 6 && minor >= 12) ? "EPERM" : "connected";
      expect(await prisoner.ask("connect", `@${name}`)).toBe(expected);
    } finally {
      server.close();
    }
  });

  it("the filter goes onto every thread at once", async () => {
    // The one before it hides io_uring.
    expect(settings(await prisoner.ask("threads"))[0]).toContain("Seccomp_filters:\t1");
    expect(await prisoner.ask("seal")).toBe(0);
    await prisoner.ask("fillPool");
    const all = settings(await prisoner.ask("threads"));
    expect(all).toHaveLength(1);
    expect(all[0]).toContain("Seccomp:\t2\nSeccomp_filters:\t2");
  });

  const NEW_USER_NAMESPACE = 0x10000000;
  const CHILD_SIGNAL = 17;
  const AF_ALG = 38;
  const AF_VSOCK = 40;
  const AF_PACKET = 17;
  const TIOCSTI = 0x5412;
  it.each([
    ["execve"],
    ["execveat", -100],
    ["clone", CHILD_SIGNAL],
    ["clone", NEW_USER_NAMESPACE | CHILD_SIGNAL],
    ["ptrace", 0],
    ["mount"],
    ["umount2"],
    ["move_mount"],
    ["open_tree"],
    ["fsopen"],
    ["pivot_root"],
    ["chroot"],
    ["unshare", NEW_USER_NAMESPACE],
    ["unshare", 0],
    ["setns", 0],
    ["mknodat", -100],
    ["name_to_handle_at", -100],
    ["open_by_handle_at", -100],
    ["quotactl"],
    ["swapon"],
    ["fanotify_init"],
    ["keyctl", 0, -1],
    ["add_key"],
    ["request_key"],
    ["bpf"],
    ["perf_event_open"],
    ["userfaultfd"],
    ["io_uring_setup", 1],
    ["personality", 0xffffffff],
    ["init_module"],
    ["finit_module"],
    ["delete_module"],
    ["kexec_load"],
    ["reboot"],
    ["settimeofday"],
    ["syslog", 10],
    ["process_vm_readv"],
    ["process_vm_writev"],
    ["pidfd_getfd"],
    ["kcmp"],
    ["socket", AF_PACKET, 3],
    ["socket", AF_ALG, 5],
    ["socket", AF_VSOCK, 1],
    ["socket", 16, 3, 4],
    ["ioctl", 0, TIOCSTI],
    ["kill", -1, 0],
    ["kill", 0, 0],
    ...(process.arch === "x64" ? [["fork"], ["vfork"], ["iopl"], ["x32 getpid"]] : []),
  ] as [string, ...number[]][])(
    "%s is refused once sealed, from the main thread and the pool",
    async (...call) => {
      expect(await prisoner.ask("call", ...call)).toBe(EPERM);
      expect(await prisoner.ask("callPool", ...call)).toBe(EPERM);
    },
  );

  it.each([
    ["kill", 0],
    ["pidfd_open", 0],
    ["prlimit64", 7],
  ] as const)("%s of the supervisor is refused", async (name, argument) => {
    expect(await prisoner.ask("callParent", name, argument)).toBe(EPERM);
  });

  it("clone3 is not there, so that libc makes threads by clone; and they can still be made", async () => {
    expect(await prisoner.ask("call", "clone3")).toBe(ENOSYS);
    expect(await prisoner.ask("worker")).toBe("ran");
  });

  it("no program can be started", async () => {
    expect(await prisoner.ask("spawn", process.execPath)).toBe("EPERM");
  });

  it("the engine's own work goes on", async () => {
    for (const socket of [
      [2, 1],
      [10, 2],
      [1, 1],
      [16, 3, 0],
    ]) {
      expect(await prisoner.ask("call", "socket", ...socket)).toBeGreaterThan(2);
    }
    expect(await prisoner.ask("callSelf", "kill", 0)).toBe(0);
    expect(await prisoner.ask("fsPool", "readFile", script, "utf8")).toBe(readFileSync(script, "utf8"));
    expect(await prisoner.ask("listen", 0, "127.0.0.1")).toBe("listening");
  });
});

describe("what passes into the process", () => {
  beforeEach((context) => needs(context, forView));

  it("is no descriptor and no variable but those it was given", async () => {
    const leaked = join(directory, "leaked");
    const fd = openSync(leaked, "w");
    native.setCloseOnExec(fd, false);
    process.env["NODE_OPTIONS"] = "--no-such-option";
    process.env["SLUICE_TEST_SECRET"] = "x";
    const prisoner = prison.prisoner({ env: { GIVEN: "yes" } });
    try {
      expect(await prisoner.ask("descriptors")).not.toContain(leaked);
      const env = (await prisoner.ask("env")) as Record<string, string>;
      expect(env["GIVEN"]).toBe("yes");
      expect(Object.keys(env)).not.toContain("NODE_OPTIONS");
      expect(Object.keys(env)).not.toContain("SLUICE_TEST_SECRET");
    } finally {
      delete process.env["NODE_OPTIONS"];
      delete process.env["SLUICE_TEST_SECRET"];
      closeSync(fd);
      await prisoner.end();
    }
  });

  it("is the user that was asked for, and the one capability", async (context) => {
    needs(context, { root: true });
    const prisoner = prison.prisoner({ user: { uid: 12345, gid: 23456 }, bindLowPorts: true });
    try {
      expect(((await prisoner.ask("ids")) as number[]).slice(0, 2)).toEqual([12345, 23456]);
      const [one] = settings(await prisoner.ask("threads"));
      for (const set of ["Prm", "Eff", "Bnd", "Amb"]) expect(one).toContain(`Cap${set}:\t0000000000000400`);
      expect(await prisoner.ask("listen", 811, "127.0.0.77")).toBe("listening");
    } finally {
      await prisoner.end();
    }
  });

  it("is everything when the sandbox is off", async () => {
    const prisoner = prison.prisoner({ mode: "off" });
    try {
      const [one] = settings(await prisoner.ask("threads"));
      expect(one).toContain("NoNewPrivs:\t0");
      expect(one).toContain(`Uid:\t${process.geteuid!()}`);
    } finally {
      await prisoner.end();
    }
  });

  it("is not started at all with a path that is not there", () => {
    expect(() => prison.prisoner({ writable: ["/no/such"] })).toThrow(
      "/no/such: there is no such file or directory",
    );
  });
});

describe("the helper's confinement", () => {
  let rig: HelperRig;
  beforeAll(() => {
    rig = new HelperRig();
  });
  afterAll(() => rig.close());

  const READ = `
    const fs = require("node:fs");
    const outcome = (path) => { try { fs.readFileSync(path); return "read"; } catch (error) { return error.code; } };
    console.log(JSON.stringify(process.argv.slice(1).map(outcome)));`;

  it("keeps files apart by Landlock alone where no mount view can be had", (context) => {
    const user = identities().at(-1)!;
    if (user.uid === 0) needs(context, { root: true });
    const libraries = (process.report.getReport() as { sharedObjects: string[] }).sharedObjects;
    const execute = [
      process.execPath,
      ...libraries.filter((path) => path.startsWith("/") && !path.endsWith(".node")),
    ];
    const args = [
      "--confine",
      "--best-effort",
      "--view-read",
      script,
      "--view-write",
      writable,
      "--view-process",
    ];
    for (const path of execute) args.push("--view-execute", path);
    // No --own-user-namespace: without one this user cannot mount.
    const paths = [script, "/etc/passwd", "/etc/hostname", "/proc/self/status", "/proc/1/status"];
    const result = rig.run(user, [...args, "--", process.execPath, "-e", READ, ...paths], {
      OPENSSL_CONF: "",
    });
    expect(result.stderr).toContain("sluice-helper: note: no-view: a mount namespace of its own: ");
    expect(JSON.parse(result.stdout)).toEqual(["read", "EACCES", "EACCES", "read", "EACCES"]);
    const strict = rig.run(user, ["--confine", "--view-read", "/etc", "--", "true"]);
    expect(strict.stderr).toContain("sluice-helper: no-view: ");
    expect(strict.status).toBe(1);
  });

  it("says what it means when the namespace has one id only", (context) => {
    needs(context, { userNamespaces: true });
    const inOneId = (...args: string[]) =>
      spawnSync(
        "unshare",
        ["--user", "--map-root-user", rig.helper, "--confine", ...args, "--", "cat", "/proc/self/status"],
        {
          encoding: "utf8",
          cwd: "/",
        },
      );
    const kept = inOneId("--user-if-mapped", "65534:65534");
    expect(kept.stderr).toContain(
      `sluice-helper: note: user-unmapped: this user namespace maps no id 65534, so uid 0 is kept ` +
        `(uid ${process.geteuid!()} outside): without capabilities, but with the rights of that uid on files`,
    );
    expect(kept.stdout).toMatch(/^CapEff:\t0+$/m);
    expect(kept.stdout).toMatch(/^CapBnd:\t0+$/m);
    const refused = inOneId("--user", "65534:65534");
    expect(refused.stderr).toContain(
      "sluice-helper: user-unmapped: --user 65534:65534: this user namespace does not map",
    );
    expect(refused.status).toBe(1);
  });

  it("leaves the groups of the user it was", (context) => {
    needs(context, { root: true, commands: ["setpriv"] });
    const confined = [rig.helper, "--confine", "--user", "65534:65534", "--", "cat", "/proc/self/status"];
    const { stdout } = spawnSync("setpriv", ["--groups", "4,24,27", ...confined], {
      encoding: "utf8",
      cwd: "/",
    });
    expect(stdout).toMatch(/^Groups:\s*$/m);
    expect(stdout).toContain("Gid:\t65534\t65534\t65534\t65534");
  });

  it("lets nothing outlive the supervisor", async () => {
    const parent = rig.spawn(
      process.execPath,
      [
        "-e",
        HELPER_PARENT,
        rig.helper,
        "--confine",
        ...(isRoot ? ["--user", "65534:65534"] : []),
        "--",
        "sleep",
        "100",
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const [text] = (await once(parent.stdout!.setEncoding("utf8"), "data")) as [string];
    await until(() => commandName(Number(text)) === "sleep", "the command to run");
    parent.kill("SIGKILL");
    await until(() => commandName(Number(text)) === undefined, "the command to end");
  });
});

describe("the engine of sluice run", () => {
  const PROGRAM = join(packageRoot(), "src", "cli", "sluice.cjs");

  /** Children of a process. */
  function childrenOf(pid: number): number[] {
    const parentOf = (child: string) => {
      try {
        return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${child}/status`, "utf8"))?.[1]);
      } catch {
        return 0;
      }
    };
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
      .map(Number);
  }

  const threadsOf = (pid: number) =>
    readdirSync(`/proc/${pid}/task`).map((tid) => readFileSync(`/proc/${pid}/task/${tid}/status`, "utf8"));

  it("is told of the host's resolv.conf, through a rename too, and has no file of it", async (context) => {
    needs(context, forView);
    const [resolvConf, logFile] = ["resolv.conf", "log"].map((name) => join(directory, name));
    writeFileSync(resolvConf, "nameserver 192.0.2.1\n");
    const logFd = openSync(logFile, "w");
    const config = defaultEngineConfig();
    const client = new EngineClient({ config, logFd, sandbox: true, log: new KeptLog(), resolvConf });
    try {
      const address = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
      const log = { level: "info", format: "text" } as const;
      client.serve({ link: { kind: "qemu-listen", address }, log, oneOff: false });
      await client.ready;
      writeFileSync(`${resolvConf}.new`, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n");
      renameSync(`${resolvConf}.new`, resolvConf);
      const told = "the host's resolv.conf changed: 2 resolvers";
      await until(() => readFileSync(logFile, "utf8").includes(told), "the engine to hear of it");
      expect(readFileSync(`/proc/${client.pid}/mountinfo`, "utf8")).not.toContain("resolv");
    } finally {
      await client.stop();
      closeSync(logFd);
    }
  });

  it("stands behind every wall, on every thread, and opens no debug port", async (context) => {
    needs(context, forView);
    const listen = `unix:${join(directory, "qemu.sock")}`;
    const args = [PROGRAM, "run", "--qemu-listen", listen, "--log-level", "info"];
    const supervisor = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    supervisor.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    try {
      await until(() => log.includes("ready: "), "the engine to serve");
      expect(log).not.toContain("less confined");
      const engine = childrenOf(supervisor.pid!);
      expect(engine).toHaveLength(1);
      const all = settings(threadsOf(engine[0]));
      expect(all).toHaveLength(1);
      for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) {
        expect(all[0]).toContain(`Cap${set}:\t0000000000000000`);
      }
      expect(all[0]).toContain("NoNewPrivs:\t1");
      expect(all[0]).toContain("Seccomp:\t2");
      const view = readFileSync(`/proc/${engine[0]}/mountinfo`, "utf8").split("\n");
      const points = view.filter(Boolean).map((line) => line.split(" ")[4]);
      expect(points[0]).toBe("/");
      expect(points).not.toContain("/etc");
      expect(view.filter((line) => / rw[ ,]/.test(line.split(" - ")[0]))).toEqual([]);
      process.kill(engine[0], "SIGUSR1");
      const ended = once(supervisor, "exit");
      supervisor.kill("SIGTERM");
      expect(await ended).toEqual([0, null]);
      expect(log).not.toContain("Debugger");
    } finally {
      supervisor.kill("SIGKILL");
    }
  });
});
