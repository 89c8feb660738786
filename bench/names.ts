/**
 * What the names cost beside the programs they stand for: `npm run bench:names -- TREE`, TREE being one of
 * test/support/drop-in/make-tree.sh. Root. It enters the tree, and there an unprivileged user starts each program and ours:
 *
 *   help            --help, from start to end
 *   tap, ready      slirp4netns and pasta in a fresh namespace: the device is there; the guest is served
 *   podman run      `podman run --network=pasta IMAGE true`
 *   up, down        one TCP stream inside RootlessKit with the words of rootless Docker, MTU 65520, Gbit/s
 *   left            processes, sockets and files that 20 starts ended by SIGKILL leave
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { median } from "./compare/measurement.ts";

const ROOT = resolve(fileURLToPath(import.meta.url), "..", "..", "..");
const RUNS = 11;
const KILLS = 20;
const STREAM_SECONDS = 3;

/** Milliseconds that a program takes until it ends. */
function duration(program: string, words: readonly string[]): number {
  const began = performance.now();
  const { status, stderr } = spawnSync(program, words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${words.join(" ")}: status ${status}: ${stderr}`);
  return performance.now() - began;
}

/** A network namespace of its own. */
async function namespace(): Promise<ChildProcess & { pid: number }> {
  const holder = spawn("unshare", ["-r", "-n", "sh", "-c", "echo made; exec sleep 60"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise((made) => holder.stdout?.once("data", made));
  return holder as ChildProcess & { pid: number };
}

interface Started {
  readonly tap: number;
  readonly ready: number;
  readonly child: ChildProcess;
}

/** Starts slirp4netns or pasta for a namespace; milliseconds until the device is there, and until it is served. */
async function begin(program: string, kind: "slirp4netns" | "pasta", pid: number): Promise<Started> {
  const words =
    kind === "slirp4netns"
      ? ["-r", "3", String(pid), "tap0"]
      : [
          "--config-net",
          "-q",
          "-I",
          "tap0",
          "-t",
          "none",
          "-u",
          "none",
          "-T",
          "none",
          "-U",
          "none",
          String(pid),
        ];
  const began = performance.now();
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  let tap = 0;
  const look = setInterval(() => {
    if (tap === 0 && readFileSync(`/proc/${pid}/net/dev`, "utf8").includes("tap0"))
      tap = performance.now() - began;
  }, 1);
  await new Promise((served) => {
    if (kind === "pasta") child.once("exit", served);
    else child.stdio[3]?.once("data", served);
  });
  const ready = performance.now() - began;
  clearInterval(look);
  return { tap: tap === 0 ? ready : tap, ready, child };
}

async function starts(
  program: string,
  kind: "slirp4netns" | "pasta",
): Promise<{ tap: number; ready: number }> {
  const all: Started[] = [];
  for (let i = 0; i < RUNS; i++) {
    const holder = await namespace();
    const started = await begin(program, kind, holder.pid);
    all.push(started);
    holder.kill("SIGKILL");
    started.child.kill("SIGTERM");
    await sleep(200);
  }
  return { tap: median(all.map(({ tap }) => tap)), ready: median(all.map(({ ready }) => ready)) };
}

/** What may be left behind: files of temporary directories, processes of ours, Unix sockets with a name. */
function traces(): string[] {
  const files = ["/tmp", "/run", "/run/sluice", "/dev/shm"].flatMap((directory) => {
    try {
      return readdirSync(directory).map((name) => join(directory, name));
    } catch {
      return [];
    }
  });
  const processes = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return /sluice\.cjs as |sluice-helper|engine-process/.test(words) ? [`${pid}: ${words}`] : [];
      } catch {
        return [];
      }
    });
  const sockets = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .flatMap((line) => line.split(/\s+/)[7] ?? []);
  return [...files, ...processes, ...sockets.filter((path) => path.includes("sluice"))];
}

/** What starts that are ended by SIGKILL leave. */
async function left(program: string): Promise<string[]> {
  const before = traces();
  for (let i = 0; i < KILLS; i++) {
    const holder = await namespace();
    const { child } = await begin(program, "slirp4netns", holder.pid);
    child.kill("SIGKILL");
    holder.kill("SIGKILL");
  }
  await sleep(2000);
  return traces().filter((trace) => !before.includes(trace));
}

/** What a script says. */
function said(script: string): string {
  const { stdout, stderr, status } = spawnSync("sh", ["-c", script], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${script}: status ${status}: ${stderr}`);
  return stdout;
}

/** Milliseconds of `podman run`, `names` first among its helpers' directories. */
function podmanRun(names: string): number[] {
  const helpers = `[${names === "" ? "" : `"${names}", `}"/usr/libexec/podman", "/usr/lib/podman", "/usr/bin"]`;
  const image = "$HOME/rootfs";
  const run = `podman --log-level=error --cgroup-manager=cgroupfs --events-backend=none --storage-driver=vfs run --rm --cgroups=disabled --network=pasta --rootfs ${image} true`;
  const script = `export HOME=/tmp/home XDG_RUNTIME_DIR=/tmp/run.bench; mkdir -p -m 700 $XDG_RUNTIME_DIR; mkdir -p $HOME/.config/containers ${image}/bin ${image}/etc ${image}/proc ${image}/sys ${image}/dev ${image}/tmp ${image}/run
    cp /usr/bin/busybox ${image}/bin/; ln -sf busybox ${image}/bin/true
    printf '[engine]\\nhelper_binaries_dir = %s\\n' '${helpers}' > $HOME/.config/containers/containers.conf
    cd /tmp; for i in $(seq ${RUNS}); do s=$(date +%s%N); ${run} || exit 1; e=$(date +%s%N); echo $(( (e - s) / 1000 )); done`;
  return said(script)
    .trim()
    .split("\n")
    .map((microseconds) => Number(microseconds) / 1000);
}

/** Gbit/s of one stream inside RootlessKit, up and down. */
function throughput(slirp: string): { up: number; down: number } {
  const inner = `n="nsenter -n$ROOTLESSKIT_STATE_DIR/netns"; for way in "" -R; do $n iperf3 $way -J -c 10.0.2.2 -p 5301 -t ${STREAM_SECONDS} | jq .end.sum_received.bits_per_second; done`;
  const script = `export XDG_RUNTIME_DIR=/tmp/run.kit; mkdir -p -m 700 $XDG_RUNTIME_DIR; cd /tmp
    iperf3 -s -B 127.0.0.1 -p 5301 > /dev/null 2>&1 & server=$!
    rootlesskit --state-dir=/tmp/state.$$ --net=slirp4netns --slirp4netns-binary=${slirp} --detach-netns --copy-up=/etc --copy-up=/run --mtu=65520 \\
      --slirp4netns-sandbox=auto --slirp4netns-seccomp=auto --port-driver=builtin sh -c '${inner}' 2> /dev/null; kill $server`;
  const [up = Number.NaN, down = Number.NaN] = said(script)
    .trim()
    .split("\n")
    .map((bits) => Number(bits) / 1e9);
  return { up, down };
}

async function inside(names: string): Promise<void> {
  const ours = (name: string): string => join(names, name);
  const rows: [what: string, wanted: string, theirs: string, ours: string][] = [];
  const help = (program: string): number =>
    median(Array.from({ length: RUNS }, () => duration(program, ["--help"])));
  rows.push(["`passt --help`, ms", "10", help("passt").toFixed(1), help(ours("passt")).toFixed(1)]);
  for (const kind of ["slirp4netns", "pasta"] as const) {
    const [theirs, own] = [await starts(kind, kind), await starts(ours(kind), kind)];
    rows.push([
      `${kind}: device there, ms`,
      kind === "pasta" ? "" : "15",
      theirs.tap.toFixed(0),
      own.tap.toFixed(0),
    ]);
    rows.push([`${kind}: served, ms`, "150", theirs.ready.toFixed(0), own.ready.toFixed(0)]);
  }
  const [theirs, own] = [median(podmanRun("")), median(podmanRun(names))];
  rows.push(["`podman run --network=pasta`, ms", "pasta + 150", theirs.toFixed(0), own.toFixed(0)]);
  const [slow, fast] = [throughput("/usr/bin/slirp4netns"), throughput(ours("slirp4netns"))];
  rows.push(["RootlessKit, MTU 65520, up, Gbit/s", "1.5 x", slow.up.toFixed(1), fast.up.toFixed(1)]);
  rows.push(["RootlessKit, MTU 65520, down, Gbit/s", "1.5 x", slow.down.toFixed(1), fast.down.toFixed(1)]);
  const traces = await left(ours("slirp4netns"));
  rows.push([
    `left by ${KILLS} starts and SIGKILLs`,
    "nothing",
    "",
    traces.length === 0 ? "nothing" : traces.join(", "),
  ]);
  process.stdout.write("| | wanted | the owner's | sluice |\n|---|---|---|---|\n");
  for (const row of rows) process.stdout.write(`| ${row.join(" | ")} |\n`);
}

function outside(tree: string): number {
  const names = mkdtempSync(join(ROOT, "dist", "names-"));
  const script = `node ${ROOT}/src/cli/sluice.cjs names install ${names} > /dev/null && chmod -R a+rX ${names} && exec su tester -c "node ${ROOT}/dist/bench/names.js --inside ${names}"`;
  try {
    const enter = join(ROOT, "test", "support", "drop-in", "enter.sh");
    return spawnSync("bash", [enter, tree, ROOT, "sh", "-c", script], { stdio: "inherit" }).status ?? 1;
  } finally {
    rmSync(names, { recursive: true, force: true });
  }
}

const [first, second] = process.argv.slice(2);
if (first === "--inside" && second !== undefined) await inside(second);
else if (first !== undefined && second === undefined) process.exitCode = outside(resolve(first));
else {
  process.stderr.write("npm run bench:names -- TREE (test/support/drop-in/make-tree.sh makes one)\n");
  process.exitCode = 2;
}
