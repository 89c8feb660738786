/**
 * The name service of a command under `sluice exec` is the engine's for as long as it runs, whatever the host does to
 * its own. The host is a mount namespace whose /etc and /run are two directories of the test.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Identity, identities } from "../support/helper-rig.ts";
import { PROGRAM, type Running, run } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true, commands: ["unshare", "setpriv", "mount"] } as const;
const OURS = "nameserver 10.0.2.3\n";
/** By when a change of the host's has been followed. */
const FOLLOWED_MS = 500;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

let host: string;
let tun: string;
let services: Server[];

beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), "sluice-test-names-"));
  chmodSync(host, 0o755);
  for (const name of ["etc", "run"]) mkdirSync(join(host, name), { mode: 0o755 });
  writeFileSync(join(host, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(join(host, "etc/a-file"), "kept\n");
  mkdirSync(join(host, "etc/a-directory"));
  symlinkSync("../proc/self/comm", join(host, "etc/a-link"));
  services = [];
  const node = join(host, "tun");
  const made =
    process.geteuid!() === 0 && spawnSync("mknod", ["-m", "666", node, "c", "10", "200"]).status === 0;
  tun = made ? node : TUN_DEVICE;
});

afterEach(() => {
  for (const service of services) service.close();
  rmSync(host, { recursive: true, force: true });
});

const etc = (name: string): string => join(host, "etc", name);

/** Replaces a file of the host as its programs do. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** A host's name service that listens. */
async function listen(directory: string, socket = "socket"): Promise<Server> {
  mkdirSync(join(host, directory), { recursive: true });
  // Programs of the host may ask as well, and not stay for the answer.
  const server = createServer((connection) => connection.on("error", () => {}).end("the host's answer\n"));
  await new Promise<void>((resolve) => server.listen(join(host, directory, socket), resolve));
  services.push(server);
  return server;
}

interface Surroundings {
  readonly identity: Identity;
  readonly readOnlyEtc?: boolean;
  readonly options?: readonly string[];
}

/** Starts `sluice exec -- sh -c script` on the test's host; it reads from a pipe. */
function exec(script: string, { identity, readOnlyEtc, options = [] }: Surroundings): Running {
  const words = [
    process.execPath,
    PROGRAM,
    "exec",
    // Inside a user namespace of somebody else's the engine is less confined than it could be, and says so.
    "--log-level",
    "error",
    "--tun-device",
    tun,
    ...options,
    "--",
    "sh",
    "-c",
    script,
  ];
  const isSelf = identity.uid === process.geteuid!();
  const become = ["setpriv", `--reuid=${identity.uid}`, `--regid=${identity.gid}`, "--clear-groups", "--"];
  const prepare = `set -e
    mount --bind "$0/etc" /etc
    mount --bind "$0/run" /run
    ${readOnlyEtc ? "mount -o remount,bind,ro /etc" : ""}
    exec "$@"`;
  const namespaces = identities()[0].uid === 0 ? [] : ["--user", "--map-root-user"];
  return run(
    "unshare",
    [...namespaces, "--mount", "sh", "-c", prepare, host, ...(isSelf ? [] : become), ...words],
    { stdio: ["pipe", "pipe", "pipe"], cwd: "/", env: { PATH: process.env["PATH"], HOME: "/" } },
  );
}

/** Says "up", waits for a line, and goes on. */
const PAUSE = "echo up; read line";

/** Who runs it, and whether /etc can be written: each decides how names are kept. */
const SURROUNDINGS = identities().flatMap((identity) =>
  [false, true].map((readOnlyEtc) => ({
    who: `${identity.name}${readOnlyEtc ? ", /etc read-only" : ""}`,
    identity,
    readOnlyEtc,
  })),
);

describe.each(SURROUNDINGS)("resolv.conf, as $who", (surroundings) => {
  /** What it is at the start, and how the host replaces it. */
  const KINDS: [string, () => void, () => void][] = [
    [
      "a file that is replaced by rename",
      () => writeFileSync(etc("resolv.conf"), "nameserver 192.0.2.53\n"),
      () => replace(etc("resolv.conf"), "nameserver 192.0.2.99\n"),
    ],
    [
      "a file that is removed, and made anew",
      () => writeFileSync(etc("resolv.conf"), "nameserver 192.0.2.53\n"),
      () => {
        rmSync(etc("resolv.conf"));
        replace(etc("resolv.conf"), "nameserver 192.0.2.99\n");
      },
    ],
    [
      "a link to a stub that is replaced by rename",
      () => {
        mkdirSync(join(host, "run/NetworkManager"));
        writeFileSync(join(host, "run/NetworkManager/resolv.conf"), "nameserver 127.0.0.53\n");
        symlinkSync("../run/NetworkManager/resolv.conf", etc("resolv.conf"));
      },
      () => replace(join(host, "run/NetworkManager/resolv.conf"), "nameserver 127.0.0.54\n"),
    ],
    [
      "systemd-resolved's link, replaced by a file",
      () => {
        mkdirSync(join(host, "run/systemd/resolve"), { recursive: true });
        writeFileSync(join(host, "run/systemd/resolve/stub-resolv.conf"), "nameserver 127.0.0.53\n");
        symlinkSync("/run/systemd/resolve/stub-resolv.conf", etc("resolv.conf"));
      },
      () => replace(etc("resolv.conf"), "nameserver 192.0.2.99\n"),
    ],
    [
      "a chain of links whose middle is pointed elsewhere",
      () => {
        mkdirSync(join(host, "run/a"));
        writeFileSync(join(host, "run/a/one"), "nameserver 192.0.2.53\n");
        writeFileSync(join(host, "run/a/two"), "nameserver 192.0.2.99\n");
        symlinkSync("one", join(host, "run/a/current"));
        symlinkSync("/run/a/current", etc("resolv.conf"));
      },
      () => {
        symlinkSync("two", join(host, "run/a/next"));
        renameSync(join(host, "run/a/next"), join(host, "run/a/current"));
      },
    ],
    ["absent, and then there", () => {}, () => replace(etc("resolv.conf"), "nameserver 192.0.2.99\n")],
    [
      "a link to nowhere, and then to a file",
      () => symlinkSync("../run/late/resolv.conf", etc("resolv.conf")),
      () => {
        mkdirSync(join(host, "run/late"));
        writeFileSync(join(host, "run/late/resolv.conf"), "nameserver 192.0.2.99\n");
      },
    ],
  ];

  it.for(KINDS)("is the command's own: %s", async ([, prepare, change], context) => {
    needs(context, MACHINE);
    prepare();
    const command = exec(`cat /etc/resolv.conf; ${PAUSE}; cat /etc/resolv.conf`, surroundings);
    await command.says(/up/, "stdout");
    change();
    await sleep(FOLLOWED_MS);
    command.child.stdin!.end("go\n");
    expect(await command.ended).toMatchObject({ stdout: `${OURS}up\n${OURS}`, stderr: "", status: 0 });
  });

  it("is the command's own to write, and the host's stays as it is", async (context) => {
    needs(context, MACHINE);
    writeFileSync(etc("resolv.conf"), "nameserver 192.0.2.53\n");
    const script = "echo options ndots:2 >> /etc/resolv.conf && cat /etc/resolv.conf";
    const { stdout } = await exec(script, surroundings).ended;
    expect(stdout).toBe(`${OURS}options ndots:2\n`);
    expect(spawnSync("cat", [etc("resolv.conf")], { encoding: "utf8" }).stdout).toBe(
      "nameserver 192.0.2.53\n",
    );
  });

  it("lets the rest of /etc be the host's, also what it replaces, adds and removes", async (context) => {
    needs(context, MACHINE);
    writeFileSync(etc("to-go"), "");
    writeFileSync(etc("to-be-a-link"), "file\n");
    const look = `cat /etc/a-file /etc/a-link /etc/to-be-a-link; ls -d /etc/a-directory /etc/added* /etc/to-go`;
    const command = exec(`${look} 2>&1; ${PAUSE}; ${look} 2>&1`, surroundings);
    await command.says(/up/, "stdout");
    replace(etc("a-file"), "replaced\n");
    writeFileSync(etc("added"), "");
    rmSync(etc("to-go"));
    rmSync(etc("to-be-a-link"));
    symlinkSync("a-file", etc("to-be-a-link"));
    await sleep(FOLLOWED_MS);
    command.child.stdin!.end("go\n");
    const [before, after] = (await command.ended).stdout.split("up\n");
    expect(before).toMatch(/^kept\ncat\nfile\n/);
    expect(before).toContain("/etc/to-go\n");
    expect(after).toMatch(/^replaced\ncat\nreplaced\n/);
    expect(after).toContain("/etc/added\n");
    expect(after).toMatch(/cannot access '?\/etc\/to-go/);
  });
});

describe.each(identities())("a resolv.conf that is replaced all the time, as $name", (identity) => {
  it("is never seen where /etc cannot be written", async (context) => {
    needs(context, MACHINE);
    writeFileSync(etc("resolv.conf"), "nameserver 192.0.2.53\n");
    const script = `echo up; while ! test -e /etc/enough; do read line < /etc/resolv.conf; echo "$line"; done | sort -u`;
    const command = exec(script, { identity, readOnlyEtc: true });
    await command.says(/up/, "stdout");
    for (let i = 0; i < 300; i++) {
      replace(etc("resolv.conf"), `nameserver 192.0.2.${i % 250}\n`);
      await sleep(2);
    }
    writeFileSync(etc("enough"), "");
    expect((await command.ended).stdout).toBe(`up\n${OURS}`);
  });
});

describe.each(identities())("the host's name services, as $name", (identity) => {
  const options = ["--restrict"];
  /** Asks each by its socket, and says who answered. */
  const ASK = `${process.execPath} -e '
    const { connect } = require("node:net");
    const paths = ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve", "/run/avahi-daemon/socket"];
    for (const path of paths) connect(path).on("error", (e) => console.log(e.code)).on("data", (d) => console.log(path, String(d)));'`;
  const NOBODY_ANSWERS = "ENOENT\n".repeat(3);
  const SERVICES = [
    ["run/nscd", "socket"],
    ["run/systemd/resolve", "io.systemd.Resolve"],
    ["run/avahi-daemon", "socket"],
  ] as const;

  it("are not reached: there at the start, restarted, and with a directory made anew", async (context) => {
    needs(context, MACHINE);
    for (const [directory, socket] of SERVICES) await listen(directory, socket);
    const command = exec(`${ASK}; ${PAUSE}; ${ASK}; ${PAUSE}; ${ASK}`, { identity, options });
    await command.says(/up/, "stdout");
    for (const service of services.splice(0)) service.close();
    for (const [directory, socket] of SERVICES) await listen(directory, socket);
    command.child.stdin!.write("go\n");
    await command.says(/up\n[^u]*up/, "stdout");
    for (const service of services.splice(0)) service.close();
    for (const [directory] of SERVICES) rmSync(join(host, directory), { recursive: true });
    for (const [directory] of SERVICES) mkdirSync(join(host, directory));
    await sleep(FOLLOWED_MS);
    for (const [directory, socket] of SERVICES) await listen(directory, socket);
    command.child.stdin!.end("go\n");
    expect((await command.ended).stdout).toBe([1, 2, 3].map(() => NOBODY_ANSWERS).join("up\n"));
  });

  it("are not reached when they come later", async (context) => {
    needs(context, MACHINE);
    const command = exec(`${PAUSE}; ${ASK}`, { identity, options });
    await command.says(/up/, "stdout");
    for (const [directory, socket] of SERVICES) await listen(directory, socket);
    await sleep(FOLLOWED_MS);
    command.child.stdin!.end("go\n");
    expect((await command.ended).stdout).toBe(`up\n${NOBODY_ANSWERS}`);
  });

  it("are not named in nsswitch.conf", async (context) => {
    needs(context, MACHINE);
    writeFileSync(
      etc("nsswitch.conf"),
      "passwd: files sss\nhosts: mymachines resolve [!UNAVAIL=return] files mdns4_minimal [NOTFOUND=return] dns\n",
    );
    const command = exec(`cat /etc/nsswitch.conf; ${PAUSE}; cat /etc/nsswitch.conf`, { identity });
    await command.says(/up/, "stdout");
    replace(etc("nsswitch.conf"), "hosts: resolve\n");
    await sleep(FOLLOWED_MS);
    command.child.stdin!.end("go\n");
    const own = "passwd: files sss\nhosts: files dns\n";
    expect((await command.ended).stdout).toBe(`${own}up\n${own}`);
  });
});

describe("the keeper of names", () => {
  const [identity] = identities();

  it("goes with the command", async (context) => {
    needs(context, { ...MACHINE, commands: [...MACHINE.commands, "pgrep"] });
    const command = exec(PAUSE, { identity });
    await command.says(/up/, "stdout");
    // Others on this machine have keepers, too.
    const ofCommand = ["-P", String(command.child.pid), "-f", "sluice-helper .*--enter-mount"];
    const { stdout } = spawnSync("pgrep", ofCommand, { encoding: "utf8" });
    const own = stdout.trim().split("\n");
    expect(own).toEqual([expect.stringMatching(/^\d+$/)]);
    command.child.stdin!.end("go\n");
    expect((await command.ended).status).toBe(0);
    expect(own.some((pid) => existsSync(`/proc/${pid}`))).toBe(false);
  });
});
