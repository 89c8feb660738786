/**
 * A namespace in which a network manager or DHCPv6 client of Debian's finds a machine's network: files of /run, /etc and
 * /var/lib are its own, and so is /sys. What it gets is asked of the kernel; tshark reads every frame it was sent.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostNamespace, NamespaceGuest } from "./namespace-guest.ts";
import { type Running, run, until } from "./program.ts";
import { findCommand } from "./requirements.ts";

export const PREFIX = "fd71:1ae0:d44d:2:";
export const LEASED = `${PREFIX}:15`;
/** An address of the host's, outside of the guest's network. */
export const OUTSIDE = "2001:db8:9::1";

/** One of the kernel's addresses of the prefix that can be used, by `ip -json`. */
export interface Address {
  readonly local: string;
  readonly temporary?: boolean;
  readonly tentative?: boolean;
}

export class ClientRig {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-clients6-"));
  private readonly programs: Running[] = [];

  private constructor(
    readonly host: HostNamespace,
    readonly guest: NamespaceGuest,
    private readonly capture: string,
  ) {}

  /** A guest without any address, its device down. */
  static async make(...options: string[]): Promise<ClientRig> {
    const host = await HostNamespace.make();
    host.ip("-6", "address", "add", `${OUTSIDE}/128`, "dev", "lo");
    const captures = mkdtempSync(join(tmpdir(), "sluice-test-capture6-"));
    const capture = join(captures, "all.pcap");
    try {
      const guest = await NamespaceGuest.start({
        host,
        configure: false,
        // Whole checksums, for tshark.
        options: ["--ipv6", "on", "--no-offload", "--pcap", capture, ...options],
      });
      return new ClientRig(host, guest, capture);
    } catch (error) {
      await host.close();
      throw error;
    }
  }

  /** Runs lines of shell in the guest. Throws, with what was said, when one fails. */
  async shell(lines: string): Promise<string> {
    const { status, stdout, stderr } = await this.guest.run("sh", "-ec", lines);
    if (status !== 0) throw new Error(`status ${status} of: ${lines}\n${stdout}${stderr}`);
    return stdout;
  }

  /** What a client may write is the guest's own from here on, and empty; /sys is the namespace's. */
  async ownFiles(...places: string[]): Promise<void> {
    const mounts = ["/run", ...places].map((place) => `mount -t tmpfs tmpfs ${place}`);
    await this.shell(`mount -t sysfs -o ro sysfs /sys\n${mounts.join("\n")}`);
  }

  /** Writes a file in the guest. */
  async write(path: string, text: string, mode = "644"): Promise<void> {
    const octets = Buffer.from(text).toString("base64");
    await this.shell(
      `mkdir -p $(dirname ${path}); echo ${octets} | base64 -d > ${path}; chmod ${mode} ${path}`,
    );
  }

  /** Starts a client in the guest; `close` ends it. */
  start(command: string, ...args: string[]): Running {
    const program = this.guest.spawn(command, ...args);
    this.programs.push(program);
    return program;
  }

  /** Starts a program on the host. */
  onHost(command: string, ...args: string[]): Running {
    const [nsenter, ...rest] = this.host.enter;
    const program = run(nsenter, [...rest, findCommand(command) ?? command, ...args], { cwd: "/" });
    this.programs.push(program);
    return program;
  }

  async end(program: Running): Promise<void> {
    program.child.kill("SIGTERM");
    await program.ended;
  }

  addresses(device = this.guest.device): Address[] {
    const shown = this.guest.ip("-6", "-json", "address", "show", "dev", device, "scope", "global");
    const [{ addr_info: found = [] } = {}] = JSON.parse(shown) as { addr_info?: Address[] }[];
    return found.filter(({ local, tentative }) => local?.startsWith(PREFIX) && tentative !== true);
  }

  /** Waits for an address of the prefix. */
  async has(what: string, is: (address: Address) => boolean, device?: string): Promise<string> {
    const found = (): Address | undefined => this.addresses(device).find(is);
    await until(() => found() !== undefined, what, 30_000);
    return found()!.local;
  }

  /** The leased address, once the kernel may use it. */
  leased(device?: string): Promise<string> {
    return this.has("the leased address", ({ local }) => local === LEASED, device);
  }

  async defaultRoute(device = this.guest.device): Promise<string> {
    const routes = () => this.guest.ip("-6", "route", "show", "default", "dev", device);
    await until(() => routes().includes("via fe80::2"), "the default route");
    return routes();
  }

  /** A page of the host's by TCP and a datagram there and back, from this address of the guest. Throws without. */
  async reaches(from: string): Promise<void> {
    const port = await this.host.agent.do<number>("tcpServer", { kind: "httpHello", host: OUTSIDE });
    const page = await this.guest.run("curl", "-sS", "--interface", from, `http://[${OUTSIDE}]:${port}/`);
    if (page.stdout !== "hello") throw new Error(`no page from ${from}: ${page.stderr}`);
    const echo = await this.host.agent.do<number>("udpServer", { kind: "echo", host: OUTSIDE });
    const message = `from ${from}`;
    const ask = { host: OUTSIDE, port: echo, bind: from, message };
    const answer = await this.guest.agent.do<{ text: string } | undefined>("udpAsk", ask);
    if (answer?.text !== message) throw new Error(`no datagram to ${from} and back`);
    const { flows } = await this.guest.report();
    if (!flows.includes(`[${from}]`)) throw new Error(`no flow from ${from} in ${flows}`);
  }

  /** What the engine counted as dropped, but for multicast listeners' reports and what it said before the device was up. */
  async drops(): Promise<string[]> {
    return Object.keys((await this.guest.report()).drops).filter(
      (name) => !["mld", "link-down"].includes(name),
    );
  }

  /** Ends all of it. Gives the frames sent to the guest that tshark has a complaint about. */
  async close(): Promise<string> {
    for (const program of this.programs.splice(0)) await this.end(program);
    await this.guest.close();
    await this.host.close();
    rmSync(this.directory, { recursive: true, force: true });
    const bad = ["tcp", "udp", "icmpv6"].map((protocol) => `${protocol}.checksum.status == 0`);
    const wrong = [
      "_ws.malformed",
      "_ws.expert.severity >= 0x800000",
      "(_ws.expert.severity >= 0x600000 && (icmpv6 || dhcpv6 || dns))",
      ...bad,
    ].join(" || ");
    // A segment need not be one of SSH's packets.
    const sums = [
      "--disable-protocol",
      "ssh",
      "-o",
      "tcp.check_checksum:TRUE",
      "-o",
      "udp.check_checksum:TRUE",
    ];
    const words = ["-r", this.capture, "-n", ...sums, "-Y", `eth.src == 52:55:0a:00:02:02 && (${wrong})`];
    const read = execFileSync(findCommand("tshark")!, words, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    rmSync(join(this.capture, ".."), { recursive: true });
    return read;
  }
}
