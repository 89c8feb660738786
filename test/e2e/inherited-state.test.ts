/**
 * Commands that sluice starts have what they would have without it: limits, signals, priority, environment. A probe is
 * run both ways by the same caller, and has to say the same.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Identity, identities } from "../support/helper-rig.ts";
import { PROGRAM, run, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true, commands: ["setpriv", "nice"] } as const;

let directory: string;
let tun: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-test-given-"));
  chmodSync(directory, 0o777);
  writeFileSync(
    join(directory, "probe"),
    `grep -E '^Sig(Blk|Ign)' /proc/self/status
     echo "$(ulimit -Sn) $(ulimit -Hn) $(ulimit -Sc) $(umask) $(nice) $(cat /proc/self/oom_score_adj)"
     echo "$(ps -o sid= -p $$) $(tty)"`,
  );
  const node = join(directory, "tun");
  const made =
    process.geteuid!() === 0 && spawnSync("mknod", ["-m", "666", node, "c", "10", "200"]).status === 0;
  tun = made ? node : TUN_DEVICE;
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs `words` by a caller who has set things up with `prepare`. Returns what they say. */
async function given(identity: Identity, prepare: string, words: readonly string[]): Promise<string> {
  const become = ["setpriv", `--reuid=${identity.uid}`, `--regid=${identity.gid}`, "--clear-groups", "--"];
  const isSelf = identity.uid === process.geteuid!();
  const script = `${prepare}; exec "$@"`;
  const running = run("sh", ["-c", script, "sh", ...(isSelf ? [] : become), ...words], {
    cwd: "/",
    // The command file finds node by its name.
    env: {
      PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
      HOME: "/",
      name: "a",
      value: "b",
      files: "c",
    },
  });
  const { stdout, stderr } = await running.ended;
  expect(stderr).toBe("");
  return stdout;
}

/** That few descriptors are few flows is warned of; what is asked here is what the commands hear. */
const QUIET = ["--log-level", "error"];
const exec = (...words: string[]): string[] => [PROGRAM, "exec", ...QUIET, "--tun-device", tun, ...words];

describe.each(identities())("what was given, as $name", (identity) => {
  it.for([
    ["nothing in particular", ":"],
    ["a low soft limit of descriptors", "ulimit -Sn 777"],
    ["soft and hard limits", "ulimit -n 700; ulimit -Sc 0"],
    ["SIGHUP ignored, as by nohup", "trap '' HUP"],
    ["other signals ignored", "trap '' INT QUIT PIPE USR1 TERM"],
    ["umask and priority", "umask 027; renice -n 5 $$ > /dev/null"],
    ["an OOM score", "echo 500 > /proc/self/oom_score_adj"],
  ])("is what exec, qemu and guest forwards give: %s", async ([, prepare], context) => {
    needs(context, { ...MACHINE, commands: [...MACHINE.commands, "ps", "renice"] });
    const probe = ["sh", join(directory, "probe")];
    const expected = await given(identity, prepare, probe);
    expect(await given(identity, prepare, exec("--", ...probe))).toBe(expected);
    expect(await given(identity, prepare, [PROGRAM, "qemu", ...QUIET, "--", ...probe])).toBe(expected);
    const said = join(directory, `said-${identity.uid}`);
    const rule = `tcp:10.0.2.100:7-cmd:sh ${probe[1]} > ${said}`;
    const ask = `require("node:net").connect(7, "10.0.2.100").on("close", () => {}).resume()`;
    const talk = exec("--guestfwd", rule, "--", process.execPath, "-e", ask);
    await given(identity, prepare, talk);
    // Its standard input is the guest's connection.
    expect(readFileSync(said, "utf8")).toBe(expected);
    rmSync(said);
  });

  it("is the environment, and nothing of ours", async (context) => {
    needs(context, MACHINE);
    const expected = await given(identity, ":", ["env"]);
    expect(expected).toContain("name=a\n");
    expect(await given(identity, ":", exec("--", "env"))).toBe(expected);
    expect(await given(identity, ":", [PROGRAM, "qemu", "--", "sh", "-c", "env"])).toBe(expected);
  });
});

// Where Node reads the file of NODE_EXTRA_CA_CERTS, which costs a start 80 ms, it says that this one is not there.
describe.each(identities())("certificates for Node, as $name", (identity) => {
  const prepare = "NODE_EXTRA_CA_CERTS=/nowhere/ca.pem; export NODE_EXTRA_CA_CERTS";
  const sorted = ["sh", "-c", "env | LC_ALL=C sort | grep -v ^_="];

  it("are the command's, and not read for a start", async (context) => {
    needs(context, MACHINE);
    const expected = await given(identity, prepare, sorted);
    expect(expected).toContain("NODE_EXTRA_CA_CERTS=/nowhere/ca.pem\n");
    expect(await given(identity, prepare, exec("--", ...sorted))).toBe(expected);
    const odd = `${prepare}; odd=$(printf '\\351'); export odd`;
    expect(await given(identity, odd, exec("--", ...sorted))).toBe(await given(identity, odd, sorted));
    const pidFile = join(directory, `certificates-${identity.uid}.pid`);
    const link = `unix:${join(directory, `certificates-${identity.uid}`)}`;
    const words = ["run", ...QUIET, "--qemu-listen", link, "--background", "--pid-file", pidFile];
    await given(identity, prepare, [PROGRAM, ...words, "--log-file", "/dev/null"]);
    process.kill(Number(readFileSync(pidFile, "utf8")));
    await until(() => !existsSync(pidFile), "it ends");
  });

  it("are read where a module decides, which may ask a server", async (context) => {
    needs(context, MACHINE);
    const seen = join(directory, `seen-${identity.uid}`);
    // None is taken that lies where others can put another.
    const place = mkdtempSync(join(directory, "own-"));
    chmodSync(place, 0o755);
    const module = join(place, "decides.mjs");
    const copy = `writeFileSync(${JSON.stringify(seen)}, readFileSync("/proc/self/environ"))`;
    const source = `import { readFileSync, writeFileSync } from "node:fs";\n${copy};\nexport default () => true;\n`;
    writeFileSync(module, source, { mode: 0o644 });
    // What Node says of the file, where it reads it at its start, is of no account here.
    await given(identity, prepare, exec("--ask", "*", "--decide", module, "--", "true")).catch(() => {});
    expect(readFileSync(seen, "utf8").split("\0")).toContain("NODE_EXTRA_CA_CERTS=/nowhere/ca.pem");
  });
});

describe.each(identities())("octets that are no UTF-8, as $name", (identity) => {
  it("are the command's arguments and environment as they were given", async (context) => {
    needs(context, { ...MACHINE, commands: [...MACHINE.commands, "od"] });
    const prepare = `odd=$(printf 'caf\\351 \\377'); export odd; set -- "$@" "$odd" last`;
    const dump = ["sh", "-c", 'printf %s "$1$2$odd" | od -An -tx1; env | LC_ALL=C sort | grep -v ^_=', "sh"];
    const expected = await given(identity, prepare, dump);
    expect(expected).toContain("63 61 66 e9 20 ff");
    expect(await given(identity, prepare, exec("--", ...dump))).toBe(expected);
    expect(await given(identity, prepare, [process.execPath, ...exec("--", ...dump)])).toBe(expected);
  });
});

describe.each(identities())("open descriptors, as $name", (identity) => {
  const prepare = (): string => {
    const input = join(directory, "input");
    writeFileSync(input, "what was asked\n", { mode: 0o644 });
    return `exec 3< ${input} 4> ${join(directory, `output-${identity.uid}`)} 9< ${input}`;
  };
  /** The probe's own directory of descriptors aside. */
  const LIST =
    "for fd in 3 4 5 6 7 8 9; do readlink /proc/self/fd/$fd | sed s/^/$fd:/; done; cat <&9; echo said >&4";

  it.for([
    ["sluice", []],
    ["node", [process.execPath]],
  ] as const)("are the command's by their numbers, by %s", async ([, node], context) => {
    needs(context, MACHINE);
    const expected = await given(identity, prepare(), ["sh", "-c", LIST]);
    expect(expected).toMatch(/^3:.*input\n4:.*output-\d+\n9:.*input\nwhat was asked\n$/);
    expect(await given(identity, prepare(), [...node, ...exec("--", "sh", "-c", LIST)])).toBe(expected);
    expect(readFileSync(join(directory, `output-${identity.uid}`), "utf8")).toBe("said\n");
    rmSync(join(directory, `output-${identity.uid}`));
  });

  it("leave QEMU's socket another number", async (context) => {
    needs(context, MACHINE);
    const list = `${LIST}; readlink /proc/self/fd/5 | sed s/:.*//; echo $2`;
    const said = await given(identity, prepare(), [PROGRAM, "qemu", "--", "sh", "-c", list, "sh"]);
    expect(said).toMatch(
      /^3:.*input\n4:.*\n5:socket:.*\n9:.*input\nwhat was asked\nsocket\nsocket,id=sluice0,fd=5\n$/,
    );
    rmSync(join(directory, `output-${identity.uid}`));
  });

  it("are those of a shell's process substitution", async (context) => {
    needs(context, { ...MACHINE, commands: [...MACHINE.commands, "bash"] });
    const script = `"$@" <(echo one) <(echo two)`;
    const words = ["bash", "-c", script, "bash", ...exec("--", "cat")];
    expect(await given(identity, ":", words)).toBe("one\ntwo\n");
  });
});

describe("node, started by hand", () => {
  it("tells a low soft limit by its parent", async (context) => {
    needs(context, MACHINE);
    const script = `ulimit -Sn 777; "$@"; exit $?`;
    const words = [process.execPath, ...exec("--", "sh", "-c", "ulimit -Sn")];
    expect((await run("sh", ["-c", script, "sh", ...words]).ended).stdout).toBe("777\n");
  });

  it("tells nohup by a parent that ignores SIGHUP, or by bash", async (context) => {
    needs(context, { ...MACHINE, commands: [...MACHINE.commands, "bash", "nohup"] });
    const words = [process.execPath, ...exec("--", "grep", "^SigIgn", "/proc/self/status")];
    const ignored = async (shell: string, script: string): Promise<boolean> => {
      const { stdout } = await run(shell, ["-c", `${script}; exit $?`, "sh", ...words]).ended;
      return (Number.parseInt(stdout.split("\t")[1], 16) & 1) === 1;
    };
    expect(await ignored("sh", `trap '' HUP; "$@"`)).toBe(true);
    expect(await ignored("bash", `nohup "$@"`)).toBe(true);
    expect(await ignored("bash", `"$@"`)).toBe(false);
  });
});

describe("sluice run", () => {
  const start = (prefix: readonly string[] = []) => {
    const socket = join(directory, "link.sock");
    const pidFile = join(directory, "sluice.pid");
    const words = [PROGRAM, "run", "--qemu-listen", `unix:${socket}`, "--pid-file", pidFile];
    const [program, ...args] = [...prefix, process.execPath, ...words];
    return { running: run(program, args), socket, pidFile };
  };

  it.for(["SIGQUIT", "SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "leaves nothing behind at %s",
    async (signal) => {
      const runDirectories = (): string[] =>
        spawnSync("sh", ["-c", `ls -d ${tmpdir()}/sluice-??????`], { encoding: "utf8" }).stdout.split("\n");
      const before = runDirectories();
      const { running, socket, pidFile } = start();
      await running.says(/serving|ready|listening/i);
      await until(() => existsSync(pidFile), "the pid file");
      running.child.kill(signal);
      const { status, stderr } = await running.ended;
      expect(stderr).toContain(`${signal} received; ending`);
      expect({ status, socket: existsSync(socket), pidFile: existsSync(pidFile) }).toEqual({
        status: 0,
        socket: false,
        pidFile: false,
      });
      expect(runDirectories().filter((name) => !before.includes(name))).toEqual([]);
    },
  );

  it("stays at SIGHUP when that was ignored", async (context) => {
    needs(context, { commands: ["bash", "nohup"] });
    const { running, pidFile } = start(["bash", "-c", 'nohup "$@" & wait', "bash"]);
    await until(() => existsSync(pidFile) && readFileSync(pidFile, "utf8") !== "", "the pid file");
    const pid = Number(readFileSync(pidFile, "utf8"));
    process.kill(pid, "SIGHUP");
    process.kill(pid, "SIGTERM");
    expect((await running.ended).stderr).toContain("SIGTERM received; ending");
    expect(running.stderr).not.toContain("SIGHUP");
  });
});
