/**
 * A guest that is this machine's own kernel: a network namespace (for root a plain one, for anybody else one in a user
 * namespace of theirs), `sluice run --tap --netns` before it, and an agent inside. Where a test needs more of the host
 * than its loopback, the host is a namespace too.
 */
import { execFileSync } from "node:child_process";
import { Agent } from "./agent.ts";
import { type Ended, PROGRAM, type Running, run } from "./program.ts";
import { findCommand, type Needs, TUN_DEVICE } from "./requirements.ts";

const isRoot = process.geteuid!() === 0;

/** What a test with such a guest asks of the machine. */
export const NAMESPACE_NEEDS: Needs = {
  tun: true,
  commands: ["unshare", "nsenter", "ip"],
  ...(isRoot ? {} : { userNamespaces: true }),
};

/** What SIGUSR2 prints, taken apart; a counter that is not there is zero. */
export interface Report {
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
  /** The flow table as printed. */
  readonly flows: string;
}

export interface NamespaceGuestOptions {
  /** Options for `sluice run` besides the link's. */
  readonly options?: readonly string[];
  /** Give the guest its address with --configure (default), or leave it without. */
  readonly configure?: boolean;
  readonly device?: string;
  /** Where sluice runs; this host by default. */
  readonly host?: HostNamespace;
  /** A command that runs the rest of its arguments, for sluice. */
  readonly through?: readonly string[];
}

const READY = /ready: tap .*/;
const REPORT_END = /flows \(\d+\):\n(?:no flows\n|(?: {2}.*\n)+)/;

function section(text: string, title: string): Record<string, number> {
  const block = new RegExp(`^${title}:\\n((?: {2}\\S+ +\\d+\\n)*)`, "m").exec(text)?.[1] ?? "";
  return Object.fromEntries(
    [...block.matchAll(/^ {2}(\S+) +(\d+)$/gm)].map(([, name, value]) => [name, Number(value)]),
  );
}

/** Takes apart what a running sluice prints at SIGUSR2. */
export async function reportOf(running: Running): Promise<Report> {
  const before = running.stderr.length;
  running.child.kill("SIGUSR2");
  for (;;) {
    const text = running.stderr.slice(before);
    const flows = REPORT_END.exec(text);
    if (flows) return { counters: section(text, "counters"), drops: section(text, "drops"), flows: flows[0] };
    if (running.child.exitCode !== null) throw new Error(`sluice has ended:\n${running.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Makes network and mount namespaces, with a process that keeps them; below those of `within` when it is given. */
async function holdNamespaces(within: readonly string[]): Promise<Running> {
  const user = isRoot || within.length > 0 ? [] : ["--user", "--map-root-user"];
  const inside = "ip link set lo up && echo made && exec sleep 3600";
  const [command, ...args] = [...within, "unshare", ...user, "--net", "--mount", "sh", "-c", inside];
  const holder = run(command, args, {
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
  });
  await holder.says(/made/, "stdout");
  return holder;
}

/** The command that runs the rest of its arguments in a process's namespaces. */
function entering(pid: number): string[] {
  const user = isRoot ? [] : ["-U", "--preserve-credentials"];
  return ["nsenter", "-t", String(pid), ...user, "-n", "-m"];
}

/** Runs `ip` in namespaces; throws when it fails. */
function runIp([nsenter, ...rest]: readonly string[], args: readonly string[]): string {
  return execFileSync(nsenter, [...rest, findCommand("ip")!, ...args], { encoding: "utf8" });
}

/** A host of a test's own: a namespace whose addresses, ports and /etc it can do with as it likes. */
export class HostNamespace {
  /** Of the process that holds the namespaces. */
  readonly pid: number;
  /** Runs the rest of the arguments on this host. */
  readonly enter: readonly string[];
  readonly agent: Agent;

  private constructor(private readonly holder: Running) {
    this.pid = holder.child.pid!;
    this.enter = entering(this.pid);
    this.agent = new Agent(this.enter);
  }

  /** With `other`: one of the same user's, so that a cable may lead from one to the other. */
  static async make(other?: HostNamespace): Promise<HostNamespace> {
    return new HostNamespace(await holdNamespaces(other?.enter ?? []));
  }

  ip(...args: string[]): string {
    return runIp(this.enter, args);
  }

  /** Runs a line of shell to its end; throws when it fails. */
  shell(line: string): string {
    const [nsenter, ...rest] = this.enter;
    return execFileSync(nsenter, [...rest, "sh", "-ec", line], { encoding: "utf8" });
  }

  async close(): Promise<void> {
    await this.agent.close();
    this.holder.child.kill("SIGKILL");
    await this.holder.ended;
  }
}

export class NamespaceGuest {
  readonly device: string;
  /** Of the process that holds the namespaces. */
  readonly pid: number;
  /** Runs the rest of the arguments in the guest. */
  readonly enter: readonly string[];
  readonly sluice: Running;
  #agent: Agent | undefined;

  private constructor(
    private readonly holder: Running,
    { options = [], configure = true, device = "tap0", host, through = [] }: NamespaceGuestOptions,
  ) {
    this.device = device;
    this.pid = holder.child.pid!;
    this.enter = entering(this.pid);
    const [command, ...args] = [
      ...(host?.enter ?? []),
      ...through,
      ...[process.execPath, PROGRAM, "run", "--tap", device, "--netns", String(this.pid)],
      ...["--tun-device", TUN_DEVICE, ...(configure ? ["--configure"] : []), ...options],
    ];
    this.sluice = run(command, args);
  }

  /** A guest that is served. Rejects with what sluice said when it does not start. */
  static async start(options: NamespaceGuestOptions = {}): Promise<NamespaceGuest> {
    const holder = await holdNamespaces(options.host?.enter ?? []);
    const guest = new NamespaceGuest(holder, options);
    try {
      await guest.sluice.says(READY);
    } catch (error) {
      await guest.close();
      throw error;
    }
    return guest;
  }

  /** Somebody inside; started when first asked for. */
  get agent(): Agent {
    this.#agent ??= new Agent(this.enter);
    return this.#agent;
  }

  /** Starts a program inside. */
  spawn(command: string, ...args: string[]): Running {
    const [nsenter, ...rest] = this.enter;
    return run(nsenter, [...rest, findCommand(command) ?? command, ...args], { cwd: "/" });
  }

  /** Runs a program inside to its end. */
  async run(command: string, ...args: string[]): Promise<Ended> {
    return this.spawn(command, ...args).ended;
  }

  /** Runs `ip` inside; throws when it fails. */
  ip(...args: string[]): string {
    return runIp(this.enter, args);
  }

  report(): Promise<Report> {
    return reportOf(this.sluice);
  }

  /** The host port that a forward to this guest port got. */
  hostPort(guestPort: number, protocol: "tcp" | "udp" = "tcp"): number {
    const line = READY.exec(this.sluice.stderr)![0];
    const found = new RegExp(`${protocol} [^ ]+:(\\d+) -> [^ ]*:${guestPort}\\b`).exec(line);
    if (!found) throw new Error(`no ${protocol} forward to ${guestPort} in: ${line}`);
    return Number(found[1]);
  }

  /** Ends sluice and the guest. Gives how sluice ended. */
  async close(): Promise<Ended> {
    this.sluice.child.kill("SIGTERM");
    const ended = await this.sluice.ended;
    await this.#agent?.close();
    this.holder.child.kill("SIGKILL");
    await this.holder.ended;
    return ended;
  }
}
