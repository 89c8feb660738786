/** Pods of every kind, with a namespace as the guest: what it is offered, whom it reaches, what is left afterwards. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { Plan } from "../../src/kubevirt/plan/plan.ts";
import { CALICO, NO_ADDRESS, NO_DEFAULT, PLAIN, type PodLayout, PodRig } from "../kubevirt/pod-rig.ts";
import { newForm, sample } from "../kubevirt/samples.ts";
import {
  echoProgram,
  FAR_HOST,
  FAR_PORT,
  startCluster,
  UDHCPC_ARGUMENTS,
  UDHCPC_SCRIPT,
  vmArguments,
} from "../kubevirt/vm-guest.ts";
import { type Ended, PROGRAM, type Running, run, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const NEEDS = { root: true, tun: true, commands: ["ip", "bridge", "nsenter", "busybox", "udhcpc"] } as const;

let rig: PodRig;
let spec = "";
const cleanups: (() => void)[] = [];

afterEach(async () => {
  await vm("down").ended;
  for (const clean of cleanups.splice(0)) clean();
  await rig?.remove();
});

function pod(layout: PodLayout, text = sample("a5-bridge")): void {
  rig = new PodRig(layout);
  spec = join(rig.folder, "vm.yaml");
  writeFileSync(spec, text);
}

/** `sluice vm COMMAND` on the spec, inside the pod. */
function vm(command: string, ...more: string[]): Running {
  const program = [process.execPath, PROGRAM, ...vmArguments(rig, command), ...more, spec];
  return run("ip", ["netns", "exec", rig.pod, ...program]);
}

async function done(running: Running): Promise<Ended> {
  const ended = await running.ended;
  expect([ended.status, ended.signal], ended.stderr).toEqual([0, null]);
  return ended;
}

async function planOf(): Promise<Plan> {
  const { stdout } = await vm("status", "--format", "json").ended;
  return (JSON.parse(stdout) as { plan: Plan }).plan;
}

interface NamespaceGuest {
  readonly name: string;
  ip(...args: string[]): string;
  lease(): { readonly routes: string; readonly resolv: string; readonly file: (name: string) => string };
  run(command: string, ...args: string[]): string;
}

/** A namespace whose eth0 is one more port of the bridge, with the guest's MAC. */
async function namespaceGuest(): Promise<NamespaceGuest> {
  const [nic] = (await planOf()).nics;
  const name = `guest-${rig.pod}`;
  const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
  ip("netns", "add", name);
  cleanups.push(() => ip("netns", "del", name));
  const peer = ["peer", "name", "eth0", "mtu", String(nic.mtu), "address", nic.mac, "netns", name];
  rig.inPod("link", "add", "guest", "mtu", String(nic.mtu), "type", "veth", ...peer);
  rig.inPod("link", "set", "guest", "master", nic.bridge ?? "", "up");
  ip("-n", name, "link", "set", "eth0", "up");
  const script = join(rig.folder, "udhcpc.script");
  writeFileSync(script, UDHCPC_SCRIPT, { mode: 0o755 });
  const lease = join(rig.folder, "lease");
  const run = (command: string, ...args: string[]): string =>
    execFileSync("ip", ["netns", "exec", name, command, ...args], {
      encoding: "utf8",
      env: { ...process.env, LEASE: lease },
      stdio: ["ignore", "pipe", "pipe"],
    });
  return {
    name,
    run,
    ip: (...args) => ip("-n", name, ...args),
    lease: () => {
      run("busybox", "udhcpc", "-i", "eth0", "-s", script, ...UDHCPC_ARGUMENTS);
      return {
        routes: ip("-n", name, "route"),
        resolv: readFileSync(`${lease}.resolv`, "utf8"),
        file: (suffix) => readFileSync(`${lease}.${suffix}`, "utf8").trim(),
      };
    },
  };
}

describe("a delegated address", () => {
  it("S18 S19 S20 S25 on a plain /24: address, router, DNS, 999 days, and the way out", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await startCluster(rig);
    const before = rig.dump();
    await done(vm("up"));
    const guest = await namespaceGuest();
    const lease = guest.lease();
    expect(
      lease.routes
        .trim()
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual([
      "default via 10.244.1.1 dev eth0",
      "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.5",
    ]);
    expect(lease.resolv).toBe("search ns1.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n");
    expect([lease.file("seconds"), lease.file("server")]).toEqual(["86313600", "169.254.75.10"]);
    expect(guest.run("busybox", "nc", FAR_HOST, String(FAR_PORT))).toContain("10.244.1.5");
    rig.inPod("link", "del", "guest");
    await done(vm("down"));
    expect(rig.dump()).toEqual(before);
  });

  it("S18 Calico: the guest's own route table leads over 169.254.1.1, and it reaches the world", async (context) => {
    needs(context, NEEDS);
    pod(CALICO);
    await startCluster(rig);
    await done(vm("up"));
    const guest = await namespaceGuest();
    const { routes } = guest.lease();
    expect(guest.ip("-4", "address", "show", "dev", "eth0")).toContain("inet 10.244.7.9/32");
    expect(
      routes
        .trim()
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual(["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]);
    expect(guest.run("busybox", "nc", FAR_HOST, String(FAR_PORT))).toContain("10.244.7.9");
  });

  it("S18 routes without a default: those and no router", async (context) => {
    needs(context, NEEDS);
    pod(NO_DEFAULT);
    await startCluster(rig);
    await done(vm("up"));
    const guest = await namespaceGuest();
    const { routes } = guest.lease();
    expect(routes).not.toContain("default");
    expect(routes).toContain("198.51.100.0/24 via 10.244.1.1 dev eth0");
    expect(guest.run("busybox", "nc", FAR_HOST, String(FAR_PORT))).toContain("10.244.1.5");
  });

  it("S17 an MTU of 1450 is the bridge's, the TAP's and the guest's", async (context) => {
    needs(context, NEEDS);
    pod({ ...PLAIN, mtu: 1450 });
    await done(vm("up"));
    const [nic] = (await planOf()).nics;
    for (const device of [nic.bridge ?? "", nic.netdev.kind === "tap" ? nic.netdev.device : ""]) {
      expect(rig.inPod("link", "show", device)).toContain("mtu 1450");
    }
    const guest = await namespaceGuest();
    guest.ip("link", "set", "eth0", "mtu", "1500");
    guest.lease();
    expect(guest.ip("link", "show", "eth0")).toContain("mtu 1450");
  });

  it("S17 S24 ARP, ICMP, IPv6 and any EtherType cross the bridge, both ways", async (context) => {
    needs(context, { ...NEEDS, commands: [...NEEDS.commands, "cc"] });
    pod(PLAIN);
    await done(vm("up"));
    const guest = await namespaceGuest();
    guest.lease();
    guest.run("busybox", "ping", "-c", "1", "-W", "5", "10.244.1.1");
    rig.run(rig.cluster, "busybox", "ping", "-c", "1", "-W", "5", "10.244.1.5");
    const shown = (): string => guest.ip("-6", "address", "show", "dev", "eth0", "scope", "link");
    await until(() => shown().includes("fe80") && !shown().includes("tentative"), "an IPv6 address");
    const guestAddress = /fe80::[^/]+/.exec(shown())?.[0];
    rig.run(rig.cluster, "busybox", "ping6", "-c", "1", "-W", "5", `${guestAddress}%veth0`);
    const echo = echoProgram(rig);
    rig.spawn(rig.cluster, echo, "serve", "veth0");
    await until(() => rig.run(rig.cluster, "cat", "/proc/net/packet").includes(" 88b5 "), "the echo server");
    expect(guest.run(echo, "ask", "eth0")).toBe("any-ethertype\n");
  });

  it("S22 no address at all: plain Ethernet, no DHCP server, no error", async (context) => {
    needs(context, NEEDS);
    pod(NO_ADDRESS);
    const before = rig.dump();
    const { stderr } = await done(vm("up"));
    expect(stderr).toContain("eth0 has no IPv4 address");
    const guest = await namespaceGuest();
    expect(() => guest.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1")).toThrow();
    guest.ip("address", "add", "10.244.1.9/24", "dev", "eth0");
    guest.run("busybox", "ping", "-c", "1", "-W", "5", "10.244.1.1");
    rig.inPod("link", "del", "guest");
    await done(vm("down"));
    expect(rig.dump()).toEqual(before);
  });

  it("S18 no other MAC is served: a stranger on the bridge gets nothing", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await done(vm("up"));
    const guest = await namespaceGuest();
    guest.ip("link", "set", "eth0", "address", "02:00:00:00:00:77");
    expect(() => guest.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1")).toThrow();
  });
});

describe("what is refused before anything is changed", () => {
  it("an address without a route, and a resolv.conf without IPv4 servers", async (context) => {
    needs(context, NEEDS);
    pod({ ...PLAIN, addresses: ["10.244.1.5/32"], routes: [] });
    writeFileSync(rig.resolvConf, "nameserver fd00::10\n# nameserver 10.0.0.1\n");
    const before = rig.dump();
    const { status, stderr } = await vm("up").ended;
    expect(status).toBe(1);
    expect(stderr).toContain("eth0: found an address but no route");
    expect(stderr).toContain("resolv.conf: found no IPv4 name server");
    expect(rig.dump()).toEqual(before);
  });

  it("S5 an uplink nobody named, outside a network namespace of its own", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    const links = execFileSync("ip", ["-json", "address"], { encoding: "utf8" });
    const { status, stderr } = await run(process.execPath, [PROGRAM, ...vmArguments(rig, "up"), spec]).ended;
    expect(status).toBe(2);
    expect(stderr).toContain("--uplink: allowed: the network interface to take");
    expect(execFileSync("ip", ["-json", "address"], { encoding: "utf8" })).toBe(links);
  });

  it("S5 --uplink names another interface than eth0", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    rig.inPod("link", "set", "eth0", "down");
    rig.inPod("link", "set", "eth0", "name", "net0");
    rig.inPod("link", "set", "net0", "up");
    rig.inPod("route", "add", "default", "via", "10.244.1.1");
    expect((await vm("up").ended).stderr).toContain("eth0 is not here now");
    await done(vm("up", "--uplink", "net0"));
    expect((await planOf()).nics[0]).toMatchObject({ device: "net0", way: "delegated" });
    await done(vm("down", "--uplink", "net0"));
    expect(rig.inPod("-4", "address", "show", "dev", "net0")).toContain("10.244.1.5/24");
  });

  it("S13 a port that cannot be bound is named, and everything is undone", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN, newForm("[{name: red, slirp: {}, ports: [{port: 7777}]}]"));
    rig.inPod("address", "add", `${FAR_HOST}/32`, "dev", "lo");
    const server = rig.spawn(
      rig.pod,
      process.execPath,
      "-e",
      'require("net").createServer().listen(7777, () => console.log("x"))',
    );
    await new Promise((resolve) => server.stdout?.once("data", resolve));
    const { status, stderr } = await vm("up").ended;
    expect(status).toBe(1);
    expect(stderr).toContain("7777");
    expect(stderr).toContain("address already in use");
    expect(await vm("status").ended).toMatchObject({ status: 1, stdout: "vm: down\n", stderr: "" });
  });
});

describe("up, again and from outside", () => {
  it("a second up is a no-op; another spec is refused; a dead server is started again", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    const first = await done(vm("up"));
    const dump = rig.dump();
    expect((await done(vm("up"))).stdout).toBe(first.stdout);
    expect(rig.dump()).toEqual(dump);

    const right = readFileSync(spec, "utf8");
    writeFileSync(spec, sample("a1-pod-bridge"));
    const other = await vm("up").ended;
    expect([other.status, other.stderr]).toEqual([1, expect.stringContaining("take it down first")]);
    writeFileSync(spec, right);

    const pid = /process (\d+)/.exec((await vm("status").ended).stdout)?.[1];
    process.kill(Number(pid), "SIGKILL");
    const status = await vm("status").ended;
    expect([status.status, status.stdout]).toEqual([1, expect.stringContaining("GONE  DHCP server of red")]);
    expect((await done(vm("up"))).stderr).toContain("started again");
    const guest = await namespaceGuest();
    expect(guest.lease().routes).toContain("default via 10.244.1.1");
  });

  it("an up that is killed half-way is undone by the next up, or by down", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    const before = rig.dump();
    for (const next of ["up", "down"] as const) {
      const running = vm("up");
      while (!rig.inPod("-brief", "link").includes("brred"))
        await new Promise((resolve) => setTimeout(resolve, 5));
      const state = join(rig.folder, "run", "vm", "state.json");
      // `ip netns exec` became the program.
      running.child.kill("SIGKILL");
      await running.ended;
      expect(readFileSync(state, "utf8")).toContain('"phase":"changing"');
      const ended = await done(vm(next));
      if (next === "up") {
        expect(ended.stderr).toContain("cut off; undoing it first");
        await done(vm("down"));
      }
      expect(rig.dump()).toEqual(before);
    }
  });

  it("an up that is told to end undoes what it did", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    const before = rig.dump();
    const running = vm("up");
    while (!rig.inPod("-brief", "link").includes("brred"))
      await new Promise((resolve) => setTimeout(resolve, 5));
    running.child.kill("SIGTERM");
    const { status, stderr } = await running.ended;
    // The signal may come when the last step is done: then the VM is up, and stays so.
    if (status !== 0) {
      expect(stderr).toContain("interrupted by SIGTERM");
      expect(stderr).toContain("everything done before was undone");
    } else {
      await done(vm("down"));
    }
    expect(rig.dump()).toEqual(before);
  });

  it("state from before the machine was started anew is none", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await done(vm("up"));
    const file = join(rig.folder, "run", "vm", "state.json");
    const text = readFileSync(file, "utf8");
    const { boot } = JSON.parse(text) as { boot: string };
    writeFileSync(file, text.replace(boot, "another-boot"));
    expect((await vm("status").ended).stdout).toBe("vm: down\n");
    // What is really there is taken down with the real state.
    mkdirSync(join(rig.folder, "run", "vm"), { recursive: true });
    writeFileSync(file, text);
    await done(vm("down"));
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toContain("10.244.1.5/24");
  });

  it("a pod whose eth0 is another one now gets no address of the old one", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await done(vm("up"));
    rig.inPod("link", "delete", "eth0");
    rig.inPod("link", "add", "eth0", "type", "veth", "peer", "name", "veth1", "netns", rig.cluster);
    await done(vm("down"));
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toBe("");
    expect(rig.inPod("-brief", "link")).not.toMatch(/^(br|tp)/m);
  });

  it("the DHCP server has no privileges while it serves", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await done(vm("up"));
    const pid = /process (\d+)/.exec((await vm("status").ended).stdout)?.[1];
    const threads = readdirSync(`/proc/${pid}/task`);
    expect(threads.length).toBeGreaterThan(1);
    for (const thread of threads) {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
      expect(status).toMatch(/^CapEff:\t0{16}$/m);
      expect(status).toMatch(/^CapPrm:\t0{16}$/m);
      expect(status).toMatch(/^Seccomp:\t2$/m);
    }
  });

  it.for(["path", "pid"] as const)(
    "--pod-netns by %s does the work inside from outside",
    async (how, context) => {
      needs(context, NEEDS);
      pod(PLAIN);
      const before = rig.dump();
      const sleeper = rig.spawn(rig.pod, "sleep", "600");
      const where = how === "path" ? `/run/netns/${rig.pod}` : String(sleeper.pid);
      const outside = (command: string): Running =>
        run(process.execPath, [PROGRAM, ...vmArguments(rig, command), "--pod-netns", where, spec]);
      await done(outside("up"));
      expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toBe("");
      expect((await done(outside("status"))).stdout).toContain("ok    DHCP server");
      expect((await done(outside("qemu-args"))).stdout).toContain("-netdev tap,id=net-red,ifname=tpred-");
      const elsewhere = await run(process.execPath, [PROGRAM, ...vmArguments(rig, "down"), "--name", "vm"])
        .ended;
      expect([elsewhere.status, elsewhere.stderr]).toEqual([
        1,
        expect.stringContaining("another network namespace"),
      ]);
      await done(outside("down"));
      expect(rig.dump()).toEqual(before);
    },
  );

  it("a TAP and a socket belong to the user QEMU runs as", async (context) => {
    needs(context, NEEDS);
    pod(PLAIN);
    await done(vm("up", "--qemu-user", "65534:65534"));
    const [tap] = JSON.parse(rig.inPod("-json", "-details", "link", "show", "type", "tun")) as {
      linkinfo: { info_data: unknown };
    }[];
    expect(tap.linkinfo.info_data).toMatchObject({ type: "tap", user: "nobody" });
    await done(vm("down"));
    writeFileSync(spec, sample("a6-slirp"));
    await done(vm("up", "--qemu-user", "65534:65534"));
    const [nic] = (await planOf()).nics;
    expect(nic.netdev.kind === "stream" && statSync(nic.netdev.path).uid).toBe(65534);
  });
});
