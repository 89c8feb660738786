/**
 * A pod: a network namespace whose `eth0` is a veth, and a second namespace with the other end that plays the
 * cluster's network. Needs root and iproute2; nothing leaves the two namespaces.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findCommand } from "../support/requirements.ts";

export interface PodLayout {
  /** Addresses of the pod's eth0, such as `10.244.1.5/24`. */
  readonly addresses: readonly string[];
  /** Arguments of `ip route add` in the pod, one list each. */
  readonly routes: readonly (readonly string[])[];
  /** Addresses of the cluster's end. */
  readonly cluster: readonly string[];
  /** Arguments of `ip route add` in the cluster. */
  readonly clusterRoutes?: readonly (readonly string[])[];
  readonly mtu?: number;
}

/** A pod on a subnet of its own. */
export const PLAIN: PodLayout = {
  addresses: ["10.244.1.5/24"],
  routes: [["default", "via", "10.244.1.1"]],
  cluster: ["10.244.1.1/24", "198.51.100.7/32"],
};

/** Calico: a /32, a gateway that is nobody's address, and a cluster end that answers ARP for everything. */
export const CALICO: PodLayout = {
  addresses: ["10.244.7.9/32"],
  routes: [
    ["169.254.1.1", "dev", "eth0", "scope", "link"],
    ["default", "via", "169.254.1.1"],
  ],
  cluster: ["198.51.100.7/32"],
  clusterRoutes: [["10.244.7.9", "dev", "veth0", "scope", "link"]],
};

export const NO_DEFAULT: PodLayout = {
  addresses: ["10.244.1.5/24"],
  routes: [["198.51.100.0/24", "via", "10.244.1.1"]],
  cluster: ["10.244.1.1/24", "198.51.100.7/32"],
};

export const NO_ADDRESS: PodLayout = { addresses: [], routes: [], cluster: ["10.244.1.1/24"] };

const RESOLV_CONF =
  "search ns1.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\nnameserver fd00::10\noptions ndots:5\ngarbage\n";

let count = 0;

export class PodRig {
  readonly pod: string;
  readonly cluster: string;
  /** A folder of the rig's own: the resolv.conf, run directories, whatever a test writes. */
  readonly folder: string;
  readonly resolvConf: string;
  private readonly children: ChildProcess[] = [];

  constructor(layout: PodLayout = PLAIN) {
    const id = `V${process.pid}-${count++}`;
    this.pod = `pod-${id}`;
    this.cluster = `cluster-${id}`;
    this.folder = mkdtempSync(join(tmpdir(), "sluice-pod-"));
    this.resolvConf = join(this.folder, "resolv.conf");
    writeFileSync(this.resolvConf, RESOLV_CONF);
    for (const name of [this.pod, this.cluster]) {
      program("ip", "netns", "add", name);
      // Without duplicate address detection what `ip` shows does not change by itself.
      sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
      program("ip", "-n", name, "link", "set", "lo", "up");
    }
    this.build(layout);
  }

  private build({ addresses, routes, cluster, clusterRoutes = [], mtu = 1500 }: PodLayout): void {
    const sizes = ["mtu", String(mtu)];
    program(
      "ip",
      "-n",
      this.pod,
      "link",
      "add",
      "eth0",
      ...sizes,
      "type",
      "veth",
      "peer",
      "name",
      "veth0",
      ...sizes,
      "netns",
      this.cluster,
    );
    this.inPod("link", "set", "eth0", "up");
    this.inCluster("link", "set", "veth0", "up");
    for (const address of addresses) this.inPod("address", "add", address, "brd", "+", "dev", "eth0");
    for (const address of cluster)
      this.inCluster("address", "add", address, "dev", address.endsWith("/32") ? "lo" : "veth0");
    for (const route of routes) this.inPod("route", "add", ...route);
    for (const route of clusterRoutes) this.inCluster("route", "add", ...route);
    if (clusterRoutes.length > 0) sysctl(this.cluster, "net/ipv4/conf/veth0/proxy_arp", "1");
    if (clusterRoutes.length > 0) sysctl(this.cluster, "net/ipv4/conf/all/forwarding", "1");
    if (clusterRoutes.length > 0) this.inCluster("route", "add", "default", "dev", "lo");
  }

  /** Runs `ip` in the pod. */
  inPod(...args: string[]): string {
    return program("ip", "-n", this.pod, ...args);
  }

  inCluster(...args: string[]): string {
    return program("ip", "-n", this.cluster, ...args);
  }

  /** Starts a program in the pod or the cluster; it is killed with the rig. */
  spawn(where: string, command: string, ...args: string[]): ChildProcess {
    const child = spawn(path("ip"), ["netns", "exec", where, command, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.children.push(child);
    return child;
  }

  /** Runs a program in the pod or the cluster and returns what it prints. */
  run(where: string, command: string, ...args: string[]): string {
    return program("ip", "netns", "exec", where, command, ...args);
  }

  /** Everything `up` could change, as the kernel tells it. */
  dump(): Record<string, unknown> {
    // Timers run by themselves.
    const parse = (text: string): unknown =>
      JSON.parse(text || "[]", (key, value) => (key.endsWith("_timer") ? undefined : value));
    const json = (...args: string[]): unknown => parse(this.inPod("-json", ...args));
    return {
      addresses: json("address"),
      links: json("-details", "link"),
      routes: json("route", "show", "table", "all"),
      routes6: json("-6", "route", "show", "table", "all"),
      neighbours: json("neighbour"),
      ports: parse(program("bridge", "-n", this.pod, "-json", "-details", "link")),
      entries: parse(program("bridge", "-n", this.pod, "-json", "fdb")),
      rules: json("rule"),
      sysctls: this.run(this.pod, "cat", ...SYSCTLS.map((key) => `/proc/sys/${key}`)),
    };
  }

  async remove(): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    for (const name of [this.pod, this.cluster]) program("ip", "netns", "del", name);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Of the kind a bridge binding might be tempted to touch. */
const SYSCTLS = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/forwarding",
  "net/ipv4/conf/eth0/arp_ignore",
  "net/ipv4/conf/eth0/proxy_arp",
  "net/ipv4/conf/eth0/rp_filter",
  "net/ipv6/conf/eth0/disable_ipv6",
  "net/ipv6/conf/all/disable_ipv6",
  "net/ipv6/conf/default/disable_ipv6",
];

function path(command: string): string {
  const found = findCommand(command);
  if (found === undefined) throw new Error(`the program ${command} is needed`);
  return found;
}

function program(command: string, ...args: string[]): string {
  return execFileSync(path(command), args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function sysctl(namespace: string, key: string, value: string): void {
  execFileSync(path("ip"), ["netns", "exec", namespace, "tee", `/proc/sys/${key}`], {
    input: value,
    stdio: ["pipe", "ignore", "pipe"],
  });
}
