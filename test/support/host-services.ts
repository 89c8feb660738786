/** What guests in QEMU find on the host's loopback, and the one test of whether a guest is well served. */
import { createHash, randomBytes } from "node:crypto";
import { createServer, get, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import { Agent } from "./agent.ts";
import { DnsServer } from "./dns-server.ts";
import { type Running, sluice } from "./program.ts";
import type { QemuGuest } from "./qemu-guest.ts";

/** Without acceleration a guest takes seconds for what a host does at once. */
const TRANSFER_OCTETS = 4_000_000;
const PAGE = "the host's page\n";
const GUEST_PAGE = "the guest's page";
/** The address that names have in the guest's DNS. */
const NAMED_ADDRESS = "192.0.2.80";

/** Shell for the guest: a web server on port 80. */
export const GUEST_WEB = `mkdir -p /www; echo "${GUEST_PAGE}" > /www/index.html; httpd -p 80 -h /www`;

/** Fetches a page over a connection of its own. */
function fetchPage(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.once("end", () => resolve(body));
    }).once("error", reject);
  });
}

export class HostServices {
  private readonly file = randomBytes(TRANSFER_OCTETS);
  private readonly fileDigest = createHash("sha256").update(this.file).digest("hex");
  private readonly dns = new DnsServer(NAMED_ADDRESS);
  private readonly agent = new Agent();
  private readonly web: Server = createServer((request, response) =>
    response.end(request.url === "/file" ? this.file : PAGE),
  );
  private sinkPort = 0;
  private readonly engines: Running[] = [];

  async open(): Promise<void> {
    await this.dns.listen();
    await new Promise<void>((resolve) => this.web.listen(0, "127.0.0.1", resolve));
    this.sinkPort = await this.agent.do("tcpServer", { kind: "sink" });
  }

  /** Options with which a guest reaches these services, and its port 80 is forwarded. */
  get options(): string[] {
    return ["--allow-host-loopback", "--resolver", `127.0.0.1:${this.dns.port}`, "-p", "0:80"];
  }

  /** Starts `sluice run` with these services. */
  engine(...args: string[]): Running {
    return this.engineWith([], ...args);
  }

  /** The same with descriptors: the first is its 3, and so on. */
  engineWith(descriptors: readonly number[], ...args: string[]): Running {
    const stdio = ["ignore", "pipe", "pipe", ...descriptors] as const;
    const running = sluice(["run", ...this.options, ...args], { stdio: [...stdio] });
    this.engines.push(running);
    return running;
  }

  /**
   * A name, a page, a file down, a file up, a connection in through a forwarded port. The guest has a lease, a shell
   * (shellScript) and a web server (GUEST_WEB).
   */
  async expectServed(guest: QemuGuest, running: Running, net = "10.0.2"): Promise<void> {
    const page = `http://${net}.2:${(this.web.address() as AddressInfo).port}`;
    expect(await guest.run(`nslookup -type=a host.test ${net}.3`)).toContain(NAMED_ADDRESS);
    expect(await guest.run(`wget -q -O - ${page}/`)).toBe(PAGE);
    expect((await guest.run(`wget -q -O - ${page}/file | sha256sum`)).slice(0, 64)).toBe(this.fileDigest);
    const up = await guest.run(
      `head -c ${TRANSFER_OCTETS} /dev/urandom > /tmp/up; sha256sum < /tmp/up; nc ${net}.2 ${this.sinkPort} < /tmp/up; echo`,
    );
    const [digest, answer] = up.trim().split("\n");
    expect(JSON.parse(answer)).toEqual({ octets: TRANSFER_OCTETS, sha256: digest.slice(0, 64) });
    const [, port] = await running.says(/tcp 127\.0\.0\.1:(\d+) -> [\d.]*:80/);
    expect(await fetchPage(Number(port))).toBe(`${GUEST_PAGE}\n`);
  }

  /** Ends the engines that were started. */
  async endEngines(): Promise<void> {
    for (const running of this.engines.splice(0)) {
      running.child.kill("SIGTERM");
      await running.ended;
    }
  }

  async close(): Promise<void> {
    await this.endEngines();
    await this.agent.close();
    this.dns.close();
    this.web.closeAllConnections();
    await new Promise((resolve) => this.web.close(resolve));
  }
}
