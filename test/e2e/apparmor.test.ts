/**
 * The AppArmor profiles of docs/. No kernel that enforces them is needed: the parser compiles them, tells the expressions
 * it makes of their rules, and what `sluice run` really opens, starts and makes is held against these.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { unstableProgram } from "../support/other-nodes.ts";
import { PROGRAM, run, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";
import { type FileAccess, tracedIn, tracing } from "../support/system-calls.ts";
import { fetched } from "../support/unstable-packages.ts";

const PROFILE = join(PROJECT_ROOT, "docs/sluice.apparmor");
const INSTALLED = "/usr/lib/node_modules/sluice";
const PARSER = ["--skip-kernel-load", "--skip-cache", "--skip-read-cache"];
/** Permissions of a rule, for the file's owner; the same for others above them (AA_MAY_* of the kernel). */
const BITS = { x: 1, w: 2, r: 4 } as const;
const OTHERS_SHIFT = 14;

const directory = mkdtempSync(join(tmpdir(), "sluice-test-apparmor-"));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Rule {
  readonly expression: RegExp;
  readonly permissions: number;
}

/** The rules about files, as the parser understands them. */
function rules(): Rule[] {
  const { status, stdout, stderr } = spawnSync("apparmor_parser", [...PARSER, "--dump=rule-exprs", PROFILE], {
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  const found = `${stdout}${stderr}`.matchAll(/^rule: ([/(].*?) {2}-> .* \(0x([0-9a-f]+)\//gm);
  return [...found].map(([, expression, permissions]) => ({
    expression: new RegExp(`^${expression}$`),
    permissions: Number.parseInt(permissions, 16),
  }));
}

function allows(all: readonly Rule[], { path, how }: FileAccess): boolean {
  const bit = BITS[how];
  const isOwn = how === "w" && path.startsWith("/proc/");
  return all.some(
    ({ expression, permissions }) =>
      expression.test(path) && (permissions & (isOwn ? bit : bit << OTHERS_SHIFT)) !== 0,
  );
}

/** Paths as they are where the package and Node are installed for all users, and the unit has its directories. */
function asInstalled(files: readonly FileAccess[]): FileAccess[] {
  const node = realpathSync(process.execPath);
  const moved: (readonly [from: string, to: string])[] = [
    [PROJECT_ROOT, INSTALLED],
    [directory, "/run/sluice/vm1"],
    [node, "/usr/bin/node"],
    [TUN_DEVICE, "/dev/net/tun"],
  ];
  return (
    files
      .map(({ path, how }) => {
        const [from, to] = moved.find(([prefix]) => `${path}/`.startsWith(`${prefix}/`)) ?? ["", ""];
        return { path: to + path.slice(from.length), how };
      })
      // The directories above the checkout, or above a Node that is elsewhere, which are others where it is installed.
      .filter(({ path }) => !`${PROJECT_ROOT}/`.startsWith(path) && !`${dirname(node)}/`.startsWith(path))
  );
}

it("the profile compiles, and keeps from what is not sluice's", (context) => {
  needs(context, { commands: ["apparmor_parser"] });
  const all = rules();
  const denied: FileAccess[] = [
    { path: "/etc/shadow", how: "r" },
    { path: "/etc/passwd", how: "w" },
    { path: "/etc/resolv.conf", how: "w" },
    { path: "/home/a/.ssh/id_ed25519", how: "r" },
    { path: "/root/.bashrc", how: "r" },
    { path: "/proc/1/environ", how: "r" },
    { path: "/proc/1/mem", how: "r" },
    { path: "/proc/sys/kernel/core_pattern", how: "w" },
    { path: "/dev/mem", how: "r" },
    { path: "/usr/bin/curl", how: "x" },
    { path: "/run/sluice/vm1/program", how: "x" },
    { path: `${INSTALLED}/dist/program/main.js`, how: "w" },
    { path: `${INSTALLED}/native-shims/prebuilt/linux-x64/sluice.node`, how: "w" },
    { path: "/run/docker.sock", how: "w" },
  ];
  expect(denied.filter((access) => allows(all, access))).toEqual([]);
  expect(allows(all, { path: `${INSTALLED}/dist/program/main.js`, how: "r" })).toBe(true);
});

it("compiles with AppArmor's newest, as does the one that lets Ubuntu make user namespaces", {
  timeout: 300_000,
}, (context) => {
  if (process.geteuid!() !== 0) needs(context, { userNamespaces: true });
  needs(context, { commands: ["unshare", "pivot_root"] });
  const [command, ...words] = fetched(context, "AppArmor of Debian unstable", () =>
    unstableProgram("apparmor", "/usr/sbin/apparmor_parser"),
  );
  for (const name of ["sluice.apparmor", "sluice-userns.apparmor"]) {
    const args = [...words, ...PARSER, join(PROJECT_ROOT, "docs", name)];
    const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
    expect([name, status], stderr).toEqual([name, 0]);
  }
});

it.for([
  ["a QEMU", [], ["--qemu-listen", `unix:${directory}/link.sock`]],
  [
    "a TAP",
    ["unshare", "--user", "--map-root-user", "--net"],
    ["--tap", "sluice0", "--configure", "--tun-device", TUN_DEVICE],
  ],
] as const)(
  "lets `sluice run` with %s do all that it does",
  { timeout: 120_000 },
  async ([name, enter, link], context) => {
    needs(context, { commands: ["apparmor_parser", "strace"] });
    if (name === "a TAP") needs(context, { tun: true, userNamespaces: true });
    const traces = join(directory, `traces-${enter.length}`);
    mkdirSync(traces);
    const files = ["--pid-file", "--log-file", "--pcap", "--control"].flatMap((option) => [
      option,
      join(directory, option.slice(2)),
    ]);
    const [command, ...words] = [...enter, ...tracing(traces), process.execPath, PROGRAM, "run"];
    const running = run(command, [...words, ...link, ...files, "-p", "0:22"]);
    const pidFile = join(directory, "pid-file");
    await until(
      () => existsSync(pidFile) && readFileSync(pidFile, "utf8").endsWith("\n"),
      "it serves",
      60_000,
    );
    const pid = Number(readFileSync(pidFile, "utf8"));
    process.kill(pid, "SIGTERM");
    expect((await running.ended).status).toBe(0);

    const { files: accesses, sockets } = tracedIn(traces);
    const installed = asInstalled(accesses);
    for (const path of [`${INSTALLED}/dist/program/main.js`, "/etc/resolv.conf", "/usr/bin/node"])
      expect(installed.map((access) => access.path)).toContain(path);
    const all = rules();
    const missing = installed
      .filter((access) => !allows(all, access))
      .map(({ path, how }) => `${path} ${how},`);
    expect([...new Set(missing)]).toEqual([]);

    const text = readFileSync(PROFILE, "utf8");
    const networks = [...text.matchAll(/^ +network (\w+) (\w+),/gm)].map(
      ([, family, type]) => `AF_${family.toUpperCase()} SOCK_${type.toUpperCase()}`,
    );
    expect(text).toContain("\n  unix,\n");
    expect(sockets.filter((each) => !each.startsWith("AF_UNIX ") && !networks.includes(each))).toEqual([]);
  },
);
