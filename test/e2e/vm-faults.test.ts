/**
 * Each call that `up` makes to the kernel, and each process it starts, fails in turn: before it has done anything and
 * after it has done its work. And `up` dies at each of them. Afterwards the pod is as it was, octet for octet.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { readMachine } from "../../src/kubevirt/commands/vm-context.ts";
import type { Host } from "../../src/kubevirt/machine/host.ts";
import { runProgram } from "../../src/kubevirt/machine/iproute.ts";
import { bringUp, health, LifecycleError, takeDown } from "../../src/kubevirt/machine/lifecycle.ts";
import { readResolver } from "../../src/kubevirt/machine/pod-network.ts";
import { endService, processIdentity } from "../../src/kubevirt/machine/service-process.ts";
import { StateFolder } from "../../src/kubevirt/machine/vm-state.ts";
import { type Plan, planVm } from "../../src/kubevirt/plan/plan.ts";
import { CALICO, PLAIN, type PodLayout, PodRig } from "../kubevirt/pod-rig.ts";
import { accepted, oldForm, sample, wrappedFragment } from "../kubevirt/samples.ts";
import { needs } from "../support/requirements.ts";

const NEEDS = { root: true, tun: true, commands: ["ip", "bridge"] } as const;

type Fault = "before" | "after" | "crash";

/** The pod's kernel. Change number `failing` (from 0) goes wrong; reading never does. */
class FaultyHost implements Host {
  changes = 0;
  readonly services: ChildProcess[] = [];

  constructor(
    private readonly pod: string,
    private readonly failing = -1,
    private readonly fault: Fault = "before",
  ) {}

  run(program: "ip" | "bridge", args: readonly string[], input?: Buffer): Promise<Buffer> {
    const work = (): Promise<Buffer> => runProgram(program, ["-n", this.pod, ...args], input);
    return args[0] === "-json" || args.includes("save") ? work() : this.change(work);
  }

  writeSysctl(key: string, value: string): Promise<void> {
    const args = ["netns", "exec", this.pod, "tee", `/proc/sys/${key}`];
    return this.change(async () => void (await runProgram("ip", args, Buffer.from(value))));
  }

  startService(request: Parameters<Host["startService"]>[0]): Promise<void> {
    return this.change(async () => {
      const child = spawn("sleep", ["600"], { stdio: "ignore" });
      this.services.push(child);
      if (child.pid !== undefined) request.begun(processIdentity(child.pid));
    });
  }

  endService = endService;

  private async change<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.changes++ === this.failing;
    if (!mine) return work();
    if (this.fault === "after") await work();
    // A process that was killed never comes back from its system call.
    if (this.fault === "crash") return new Promise(() => {});
    throw new Error("no such luck");
  }
}

/** Settles once a process has ended; never, and so the test fails, when it serves on. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

interface Scenario {
  readonly layout: PodLayout;
  readonly spec: string;
  /** Makes the pod interesting. */
  readonly prepare?: (rig: PodRig) => void;
  readonly devices?: Readonly<Record<string, string>>;
}

const CROWDED: PodLayout = {
  ...PLAIN,
  addresses: ["10.244.1.5/24", "10.244.1.6/24", "10.9.0.1/30"],
  routes: [
    ["default", "via", "10.244.1.1", "mtu", "1400", "advmss", "1300"],
    ["default", "via", "10.244.1.2", "metric", "500"],
    ["172.16.0.0/12", "via", "10.244.1.3", "table", "77"],
    ["192.0.2.0/24", "via", "10.244.1.1", "src", "10.244.1.6", "proto", "static"],
  ],
};

function crowd(rig: PodRig): void {
  rig.inPod("address", "add", "fd00::5/64", "dev", "eth0", "nodad");
  rig.inPod("-6", "route", "add", "default", "via", "fd00::1");
  rig.inPod(
    "neighbour",
    "add",
    "10.244.1.1",
    "lladdr",
    "02:00:00:00:00:99",
    "dev",
    "eth0",
    "nud",
    "permanent",
  );
  rig.inPod("neighbour", "add", "10.244.1.9", "lladdr", "02:00:00:00:00:98", "dev", "eth0", "nud", "stale");
  rig.inPod("neighbour", "add", "fd00::1", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent");
  rig.inPod("rule", "add", "from", "10.9.0.1", "lookup", "77");
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "a delegated address, with everything an interface may have": {
    layout: CROWDED,
    spec: sample("a1-pod-bridge"),
    prepare: crowd,
  },
  "Calico's /32": { layout: CALICO, spec: sample("a5-bridge") },
  "plain Ethernet, the pod's address moved to the bridge": {
    layout: CROWDED,
    spec: oldForm("[{name: red, bridge: {}}]"),
    prepare: crowd,
  },
  "a resource that is down": {
    layout: PLAIN,
    spec: wrappedFragment(),
    prepare: (rig) => {
      rig.inPod("link", "add", "eth-red01", "type", "veth", "peer", "name", "peer0", "netns", rig.cluster);
      // The kernel gives a device its queue discipline the first time it is up, and never takes it back.
      rig.inPod("link", "set", "eth-red01", "up");
      rig.inPod("link", "set", "eth-red01", "down");
    },
    devices: { red: "eth-red01" },
  },
};

let rig: PodRig | undefined;
const hosts: FaultyHost[] = [];

afterEach(async () => {
  for (const child of hosts.splice(0).flatMap((host) => host.services)) child.kill("SIGKILL");
  await rig?.remove();
  rig = undefined;
});

async function planFor(pod: PodRig, scenario: Scenario, folder: StateFolder): Promise<Plan> {
  const resources = { devices: new Map(Object.entries(scenario.devices ?? {})), problems: [] };
  const request = { vm: "web", model: accepted(scenario.spec), uplink: "eth0", runDirectory: folder.path };
  const machine = await readMachine(request, new FaultyHost(pod.pod), resources, pod.resolvConf);
  const plan = planVm(request, machine);
  expect([plan.problems, plan.unknown]).toEqual([[], []]);
  return plan;
}

interface Stage {
  readonly plan: Plan;
  readonly folder: StateFolder;
  readonly before: unknown;
  readonly pod: PodRig;
}

async function stageFor(scenario: Scenario): Promise<Stage> {
  const pod = new PodRig(scenario.layout);
  rig = pod;
  scenario.prepare?.(pod);
  const root = join(pod.folder, "run");
  const folder = new StateFolder(root, "web");
  mkdirSync(folder.path, { recursive: true });
  return { pod, folder, plan: await planFor(pod, scenario, folder), before: pod.dump() };
}

function host(pod: PodRig, failing = -1, fault: Fault = "before"): FaultyHost {
  const made = new FaultyHost(pod.pod, failing, fault);
  hosts.push(made);
  return made;
}

describe.each(Object.entries(SCENARIOS))("%s", (_, scenario) => {
  it("comes up, is healthy, and down leaves the pod as it was", async (context) => {
    needs(context, NEEDS);
    const { plan, folder, before, pod } = await stageFor(scenario);
    const machine = host(pod);
    const state = await bringUp(plan, "", folder, machine);
    expect(pod.dump()).not.toEqual(before);
    expect((await health(state, machine)).every(({ ok }) => ok)).toBe(true);
    await takeDown(state, folder, machine);
    expect(pod.dump()).toEqual(before);
    expect(folder.load()).toBeUndefined();
  });

  it.for(["before", "after"] as const)(
    "a change that fails %s its work is undone with all before it",
    async (fault, context) => {
      needs(context, NEEDS);
      const { plan, folder, before, pod } = await stageFor(scenario);
      for (let failing = 0; ; failing++) {
        const machine = host(pod, failing, fault);
        const outcome = await bringUp(plan, "", folder, machine).catch((error: unknown) => error);
        if (!(outcome instanceof LifecycleError)) {
          expect(failing).toBeGreaterThanOrEqual(
            plan.steps.filter((step) => step.do !== "wait-for-device").length,
          );
          break;
        }
        expect(outcome.left).toEqual([]);
        expect(outcome.message).toMatch(/^step \d+, .*: no such luck$/);
        expect(pod.dump(), `after failure ${failing}`).toEqual(before);
        expect(folder.load()).toBeUndefined();
        await Promise.all(machine.services.map(ended));
      }
    },
  );

  it("an up that dies at any change can be taken down", async (context) => {
    needs(context, NEEDS);
    const { plan, folder, before, pod } = await stageFor(scenario);
    for (let failing = 0; failing < plan.steps.length - (scenario.devices ? 1 : 0); failing++) {
      const machine = host(pod, failing, "crash");
      void bringUp(plan, "", folder, machine);
      while (machine.changes <= failing) await new Promise((resolve) => setTimeout(resolve, 5));
      const state = folder.load();
      expect(state?.phase).toBe("changing");
      if (state !== undefined) await takeDown(state, folder, host(pod));
      expect(pod.dump(), `after a crash at ${failing}`).toEqual(before);
      expect(folder.load()).toBeUndefined();
    }
  });
});

describe("what is left", () => {
  it("something that cannot be undone is told, the rest is undone, and down can try again", async (context) => {
    needs(context, NEEDS);
    const { plan, folder, before, pod } = await stageFor({ layout: PLAIN, spec: sample("a5-bridge") });
    const state = await bringUp(plan, "", folder, host(pod));
    const stubborn = host(pod);
    const run = stubborn.run.bind(stubborn);
    stubborn.run = (program, args, input) =>
      args.includes("restore") ? Promise.reject(new Error("not today")) : run(program, args, input);
    const error = await takeDown(state, folder, stubborn).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LifecycleError);
    expect((error as LifecycleError).left).toEqual([
      "remove 10.244.1.5/24 and its routes from eth0: not today",
    ]);
    const again = folder.load();
    expect(again?.phase).toBe("changing");
    if (again !== undefined) await takeDown(again, folder, host(pod));
    expect(pod.dump()).toEqual(before);
  });

  it("garbage in a resolv.conf is skipped, and IPv6 servers are none that DHCPv4 can carry", (context) => {
    needs(context, NEEDS);
    rig = new PodRig();
    expect(readResolver(rig.resolvConf)).toEqual({
      nameServers: ["10.96.0.10"],
      engineResolvers: ["10.96.0.10", "fd00:0:0:0:0:0:0:10"],
      search: ["ns1.svc.cluster.local", "svc.cluster.local"],
    });
  });
});
