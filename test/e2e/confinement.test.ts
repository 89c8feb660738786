/**
 * Every wall around the engine, tried from inside: a Node process started as the engine is tries the door from its
 * main thread and from the thread pool, and tells what happened. A little addon, compiled here, makes raw system
 * calls, so that libc's and Node's own checks are not mistaken for walls.
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { createServer, type Socket } from "node:net";
import { release, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/host/native.ts";
import { addonPath } from "../../src/host/native-loader.ts";
import { type ConfinedRequest, spawnConfined } from "../../src/host/sandbox.ts";
import { commandName, HELPER_PARENT, HelperRig, identities } from "../support/helper-rig.ts";
import { until } from "../support/link-rig.ts";
import { missing, needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-walls-"));
const writable = join(directory, "writable");
const isRoot = process.geteuid!() === 0;

/** `call(name, ...numbers)`: the raw system call, its result or -errno; `callInPool` the same on a pool thread. */
const CALLS_ADDON = `
#define _GNU_SOURCE
#include <errno.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
struct work { long number, arguments[6], result; napi_deferred deferred; napi_async_work work; };
static const struct { const char *name; long number; } names[] = {
#define NAME(n) {#n, SYS_##n}
  NAME(execve), NAME(execveat), NAME(clone), {"clone3", 435}, NAME(ptrace), NAME(mount), NAME(umount2),
  NAME(pivot_root), NAME(chroot), NAME(unshare), NAME(setns), NAME(keyctl), NAME(add_key), NAME(request_key),
  NAME(bpf), NAME(perf_event_open), NAME(userfaultfd), {"io_uring_setup", 425}, NAME(init_module),
  NAME(finit_module), NAME(delete_module), NAME(kexec_load), NAME(process_vm_readv), NAME(process_vm_writev),
  {"pidfd_open", 434}, {"pidfd_getfd", 438}, NAME(name_to_handle_at), NAME(open_by_handle_at), NAME(kill),
  NAME(tgkill), NAME(socket), NAME(ioctl), NAME(reboot), NAME(settimeofday), NAME(swapon), NAME(syslog),
  NAME(personality), NAME(mknodat), {"fsopen", 430}, {"move_mount", 429}, {"open_tree", 428}, NAME(prlimit64),
  NAME(getppid), NAME(gettid), NAME(fanotify_init), NAME(quotactl), NAME(kcmp),
#ifdef SYS_fork
  NAME(fork), NAME(vfork), NAME(iopl), {"x32 getpid", 0x40000000 + SYS_getpid},
#endif
};
static void read_arguments(napi_env env, napi_callback_info info, struct work *work) {
  napi_value values[7];
  size_t count = 7, length;
  char name[64];
  memset(work, 0, sizeof *work);
  work->number = -1;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  napi_get_value_string_utf8(env, values[0], name, sizeof name, &length);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i].name, name) == 0) work->number = names[i].number;
  for (size_t i = 1; i < count; i++) {
    int64_t number = 0;
    napi_get_value_int64(env, values[i], &number);
    work->arguments[i - 1] = (long)number;
  }
}
static void run(napi_env env, void *data) {
  struct work *work = data;
  long *a = work->arguments;
  (void)env;
  work->result = syscall(work->number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (work->result < 0) work->result = -errno;
  else if (work->result == 0 && (work->number == SYS_clone || work->number == 57 || work->number == 58)) _exit(0);
}
static napi_value call(napi_env env, napi_callback_info info) {
  struct work work;
  napi_value result;
  read_arguments(env, info, &work);
  run(env, &work);
  napi_create_int64(env, work.result, &result);
  return result;
}
static void done(napi_env env, napi_status status, void *data) {
  struct work *work = data;
  napi_value result;
  (void)status;
  napi_create_int64(env, work->result, &result);
  napi_resolve_deferred(env, work->deferred, result);
  napi_delete_async_work(env, work->work);
  free(work);
}
static napi_value call_in_pool(napi_env env, napi_callback_info info) {
  struct work *work = malloc(sizeof *work);
  napi_value promise, name;
  read_arguments(env, info, work);
  napi_create_promise(env, &work->deferred, &promise);
  napi_create_string_utf8(env, "call", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, run, done, work, &work->work);
  napi_queue_async_work(env, work->work);
  return promise;
}
NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  napi_create_function(env, "callInPool", NAPI_AUTO_LENGTH, call_in_pool, NULL, &function);
  napi_set_named_property(env, exports, "callInPool", function);
  return exports;
}
`;

/** What the confined process runs: takes questions as lines of JSON at descriptor 3, answers each with a line. */
const INSIDE = `
const fs = require("node:fs");
const { Socket, connect } = require("node:net");
const [shimPath, callsPath] = process.argv.slice(2);
const shim = require(shimPath);
const calls = require(callsPath);
const outcome = (run) => { try { return run() ?? "done"; } catch (error) { return error.code ?? String(error); } };
const outcomeLater = async (run) => { try { return (await run()) ?? "done"; } catch (error) { return error.code ?? String(error); } };
const questions = {
  fs: ([name, ...args]) => outcome(() => JSON.parse(JSON.stringify(fs[name](...args) ?? null))),
  fsPool: ([name, ...args]) => outcomeLater(async () => JSON.parse(JSON.stringify((await fs.promises[name](...args)) ?? null))),
  call: (args) => calls.call(...args),
  callPool: (args) => calls.callInPool(...args),
  callSelf: ([name, ...args]) => calls.call(name, process.pid, ...args),
  callParent: ([name, ...args]) => calls.call(name, process.ppid, ...args),
  seal: () => shim.applySeccomp(),
  spawn: ([command]) => require("node:child_process").spawnSync(command).error?.code ?? "ran",
  threads: () => fs.readdirSync("/proc/self/task").map((tid) => fs.readFileSync("/proc/self/task/" + tid + "/status", "utf8")),
  descriptors: () => fs.readdirSync("/proc/self/fd").map((fd) => outcome(() => fs.readlinkSync("/proc/self/fd/" + fd))),
  ids: () => [process.getuid(), process.getgid(), process.getgroups()],
  env: () => process.env,
  fillPool: () => Promise.all(Array.from({ length: 8 }, () => calls.callInPool("gettid"))),
  worker: () => new Promise((resolve) => {
    const { Worker } = require("node:worker_threads");
    new Worker("0", { eval: true }).on("exit", () => resolve("ran")).on("error", (error) => resolve(String(error)));
  }),
  dlopen: ([path]) => outcome(() => { process.dlopen({ exports: {} }, path); }),
  listen: ([port, host]) => new Promise((resolve) => {
    const server = require("node:net").createServer();
    server.listen(port, host, () => resolve("listening")).on("error", (error) => resolve(error.code));
  }),
  connect: ([path]) => new Promise((resolve) => {
    const socket = connect(path.replace("@", "\\0"));
    socket.on("connect", () => resolve("connected")).on("error", (error) => resolve(error.code));
  }),
};
const control = new Socket({ fd: 3 });
let pending = "";
control.setEncoding("utf8").on("data", async (text) => {
  const lines = (pending + text).split("\\n");
  pending = lines.pop();
  for (const line of lines) {
    const [name, ...args] = JSON.parse(line);
    control.write(JSON.stringify(await questions[name](args) ?? null) + "\\n");
  }
});
control.on("end", () => process.exit(0));
`;

const shim = addonPath();
const callsAddon = join(directory, "calls.node");
const inside = join(directory, "inside.cjs");

function nodeHeaders(): string {
  const beside = join(dirname(dirname(realpathSync(process.execPath))), "include", "node");
  if (existsSync(join(beside, "node_api.h"))) return beside;
  const headers = createRequire(import.meta.url)("node-api-headers") as { include_dir: string };
  return headers.include_dir;
}

beforeAll(() => {
  chmodSync(directory, 0o755);
  mkdirSync(writable);
  chmodSync(writable, 0o777);
  const source = join(directory, "calls.c");
  writeFileSync(source, CALLS_ADDON);
  writeFileSync(inside, INSIDE);
  const args = ["-shared", "-fPIC", "-isystem", nodeHeaders(), "-o", callsAddon, source];
  const compiled = spawnSync(process.env["CC"] ?? "cc", args, { encoding: "utf8" });
  if (compiled.status !== 0) throw new Error(`the test's addon does not compile: ${compiled.stderr}`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

type Answer = unknown;

/** A confined process that can be asked things. */
class Prisoner {
  private pending = "";
  private readonly waiting: ((answer: Answer) => void)[] = [];
  readonly process;

  constructor(more: Partial<ConfinedRequest> = {}) {
    this.process = spawnConfined({
      script: inside,
      args: [shim, callsAddon],
      mode: "strict",
      readable: [inside],
      executable: [callsAddon],
      writable: [writable],
      channels: ["pipe"],
      ...more,
    });
    const control = this.control;
    control.setEncoding("utf8").on("data", (text: string) => {
      const lines = (this.pending + text).split("\n");
      this.pending = lines.pop()!;
      for (const line of lines) this.waiting.shift()?.(JSON.parse(line));
    });
    control.on("error", () => {});
  }

  private get control() {
    return this.process.child.stdio[3] as Socket;
  }

  async ask(...question: unknown[]): Promise<Answer> {
    await this.process.started;
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.control.write(`${JSON.stringify(question)}\n`);
    });
  }

  async end(): Promise<void> {
    const { child } = this.process;
    if (child.exitCode === null && child.signalCode === null) {
      this.control.end();
      await once(child, "exit");
    }
  }
}

/** Settings of every thread that confinement is made of, without repetition. */
function settings(threads: Answer): string[] {
  const wanted = /^(?:Uid|Gid|Groups|Cap\w+|NoNewPrivs|Seccomp):.*$/gm;
  return [
    ...new Set((threads as string[]).map((status) => status.match(wanted)!.join("\n").replace(/\s*$/gm, ""))),
  ];
}

const EPERM = -1;
const ENOSYS = -38;

/** What a mount view takes: root can mount, anyone else needs a namespace for it. */
const forView = isRoot ? {} : { userNamespaces: true };

describe("from inside", () => {
  let prisoner: Prisoner;
  const resolvConf = join(directory, "resolv.conf");

  beforeAll(async () => {
    writeFileSync(resolvConf, "nameserver 192.0.2.1\n");
    if (missing(forView).length > 0) return;
    prisoner = new Prisoner({ resolvConf });
    await prisoner.process.started;
  });
  beforeEach((context) => needs(context, forView));
  afterAll(() => prisoner?.end());

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
    ["readdirSync", "readdir", "/root", ["ENOENT"]],
    ["readdirSync", "readdir", "/home", ["ENOENT"]],
    ["readdirSync", "readdir", "/sys", ["ENOENT"]],
    ["readdirSync", "readdir", "/", ["EACCES"]],
    ["readdirSync", "readdir", "/proc", ["EACCES"]],
    ["readdirSync", "readdir", "/proc/1", ["ENOENT"]],
    ["readdirSync", "readdir", `/proc/${process.pid}`, ["ENOENT"]],
    ["readFileSync", "readFile", "/bin/sh", ["ENOENT"]],
    ["readFileSync", "readFile", import.meta.filename, ["ENOENT"]],
    ["writeFileSync", "writeFile", "/new", ["EROFS", "EACCES"]],
    ["writeFileSync", "writeFile", inside, ["EROFS", "EACCES"]],
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
    copyFileSync(callsAddon, join(writable, "code.node"));
    chmodSync(join(writable, "code.node"), 0o755);
    expect(await prisoner.ask("dlopen", join(writable, "code.node"))).toBe("ERR_DLOPEN_FAILED");
    expect(await prisoner.ask("dlopen", callsAddon)).toBe("done");
  });

  it("the host's resolv.conf is followed through a rename", async () => {
    const read = () => prisoner.ask("fs", "readFileSync", prisoner.process.resolvConf, "utf8");
    expect(await read()).toBe("nameserver 192.0.2.1\n");
    writeFileSync(`${resolvConf}.new`, "nameserver 192.0.2.2\n");
    renameSync(`${resolvConf}.new`, resolvConf);
    let text: Answer;
    await until(() => {
      void read().then((answer) => {
        text = answer;
      });
      return text === "nameserver 192.0.2.2\n";
    }, "the copy to follow");
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
    expect(settings(await prisoner.ask("threads"))[0]).toContain("Seccomp:\t0");
    expect(await prisoner.ask("seal")).toBe(0);
    await prisoner.ask("fillPool");
    const all = settings(await prisoner.ask("threads"));
    expect(all).toHaveLength(1);
    expect(all[0]).toContain("Seccomp:\t2");
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
    expect(await prisoner.ask("fsPool", "readFile", inside, "utf8")).toBe(INSIDE);
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
    const prisoner = new Prisoner({ env: { GIVEN: "yes" } });
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
    expect(existsSync(dirname(prisoner.process.resolvConf))).toBe(false);
  });

  it("is the user that was asked for, and the one capability", async (context) => {
    needs(context, { root: true });
    const prisoner = new Prisoner({ user: { uid: 12345, gid: 23456 }, bindLowPorts: true });
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
    const prisoner = new Prisoner({ mode: "off" });
    try {
      const [one] = settings(await prisoner.ask("threads"));
      expect(one).toContain("NoNewPrivs:\t0");
      expect(one).toContain(`Uid:\t${process.geteuid!()}`);
    } finally {
      await prisoner.end();
    }
  });

  it("is not started at all with a path that is not there", () => {
    expect(() => new Prisoner({ writable: ["/no/such"] })).toThrow(
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
      inside,
      "--view-write",
      writable,
      "--view-process",
    ];
    for (const path of execute) args.push("--view-execute", path);
    // No --own-user-namespace: without one this user cannot mount.
    const paths = [inside, "/etc/passwd", "/etc/hostname", "/proc/self/status", "/proc/1/status"];
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
