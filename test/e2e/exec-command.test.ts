/** `sluice exec`, run as its users run it: what the command sees, and what its caller gets. */
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS } from "../support/namespace-guest.ts";
import { isAlive, PROGRAM, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
const exec = (...args: string[]) => sluice(["exec", "--tun-device", TUN_DEVICE, ...args]);

/** Connects and says how it went. */
function dial(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("end", () => resolve(text));
  });
}

describe("the command", () => {
  it("has the guest's address, a way out, our DNS, and its caller's uid", async (context) => {
    needs(context, { ...MACHINE, commands: ["ip"] });
    const { status, stdout, stderr } = await exec(
      "--",
      "sh",
      "-c",
      "ip -o -4 addr show tap0; ip route; ip -o link show lo; cat /etc/resolv.conf; id -u",
    ).ended;
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain("inet 10.0.2.15/24");
    expect(stdout).toContain("default via 10.0.2.2 dev tap0");
    expect(stdout).toMatch(/lo: .*UP/);
    expect(stdout).toContain("nameserver 10.0.2.3\n");
    expect(stdout.trimEnd().split("\n").pop()).toBe(String(process.geteuid?.()));
  });

  it("N66 has an IPv6 address, a way out and our DNS from its first moment", async (context) => {
    needs(context, { ...NAMESPACE_NEEDS, commands: [...(NAMESPACE_NEEDS.commands ?? []), "curl"] });
    const host = await HostNamespace.make();
    try {
      host.ip("-6", "address", "add", "2001:db8:9::1/128", "dev", "lo");
      const execBy = async (when: string, ...words: string[]) => {
        const [command, ...enter] = host.enter;
        // Another user's namespace maps no id to fall to, which is warned of.
        const options = ["--tun-device", TUN_DEVICE, "--log-level", "error", "--ipv6", when];
        const program = [process.execPath, PROGRAM, "exec", ...options];
        const ended = await run(command, [...enter, ...program, "--", ...words]).ended;
        expect(ended).toMatchObject({ stderr: "", status: 0 });
        return ended.stdout;
      };
      const show =
        "ip -6 -o address show dev tap0 scope global; ip -6 route show default; cat /etc/resolv.conf";
      const without = await execBy("auto", "sh", "-c", show);
      expect(without).toMatch(/inet6 fd71:1ae0:d44d:2::15\/64/);
      expect(without).not.toContain("default");
      // One resolver is enough: it answers for both families.
      expect(without.match(/^nameserver .*$/gm)).toEqual(["nameserver 10.0.2.3"]);
      host.ip("-6", "route", "add", "2000::/3", "dev", "lo");
      const port = await host.agent.do<number>("tcpServer", { kind: "httpHello", host: "2001:db8:9::1" });
      for (let n = 0; n < 5; n++) {
        expect(await execBy("auto", "curl", "-6sS", `http://[2001:db8:9::1]:${port}/`)).toBe("hello");
      }
      const route = await execBy("auto", "sh", "-c", show);
      expect(route).toMatch(/default via fe80::2 dev tap0 proto ra/);
      const must = await execBy("on", "cat", "/etc/resolv.conf");
      expect(must).toMatch(/^nameserver 10\.0\.2\.3\nnameserver fd71:1ae0:d44d:2::3$/m);
      // One address, which is no guess and not waited for.
      expect(route.match(/inet6/g)).toHaveLength(1);
    } finally {
      await host.close();
    }
  });

  it("N69 has IPv6 alone with --ipv4 off", async (context) => {
    needs(context, { ...MACHINE, commands: ["ip"] });
    const show = "ip -o address show dev tap0; ip route show; cat /etc/resolv.conf";
    const families = ["--ipv4", "off", "--ipv6", "auto"];
    const { stdout, stderr, status } = await exec(...families, "--", "sh", "-c", show).ended;
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("inet6 fd71:1ae0:d44d:2::15/64");
    expect(stdout).not.toMatch(/inet |10\.0\.2/);
    expect(stdout.match(/^nameserver .*$/gm)).toEqual(["nameserver fd71:1ae0:d44d:2::3"]);
  });

  it("N66 keeps to IPv4 where IPv6 is off", async (context) => {
    needs(context, { ...MACHINE, commands: ["ip"] });
    const { stdout } = await exec(
      "--ipv6",
      "off",
      "--",
      "sh",
      "-c",
      "ip -6 route show dev tap0; cat /etc/resolv.conf",
    ).ended;
    expect(stdout).not.toMatch(/fd71|default/);
  });

  it.for([
    [["sh", "-c", "exit 7"], 7],
    [["sh", "-c", "kill -9 $$"], 128 + 9],
    [["/no/such/command"], 127],
    [["/etc/passwd"], 126],
  ] as const)("%j ends us with status %d", async ([command, status], context) => {
    needs(context, MACHINE);
    const ended = await exec("--", ...command).ended;
    expect(ended.status).toBe(status);
  });

  it("gets the signals that are sent to us", async (context) => {
    needs(context, MACHINE);
    const running = exec(
      "--",
      "sh",
      "-c",
      "trap 'echo got TERM; exit 3' TERM; echo up; while :; do sleep 0.05; done",
    );
    await running.says(/up/, "stdout");
    running.child.kill("SIGTERM");
    const { status, stdout } = await running.ended;
    expect(stdout).toContain("got TERM");
    expect(status).toBe(3);
  });

  it("goes with the engine when we are killed", async (context) => {
    needs(context, MACHINE);
    const running = exec("--", "sh", "-c", "echo pid $PPID $$; exec sleep 60");
    const [, pid] = await running.says(/pid \d+ (\d+)/, "stdout");
    // In the command's PID namespace, which is ours: the network is all that is separate.
    expect(isAlive(Number(pid))).toBe(true);
    running.child.kill("SIGKILL");
    await until(() => !isAlive(Number(pid)), "the command ends");
  });

  it("is in the terminal's foreground, with job control of its own", async (context) => {
    needs(context, { ...MACHINE, commands: ["script", "ps"] });
    const inner = `test -t 0 && test -t 1 && echo tty; ps -o pgid=,tpgid= -p $$ | tr -s " "`;
    const words = [process.execPath, PROGRAM, "exec", "--tun-device", TUN_DEVICE, "--", "sh", "-c", inner];
    const line = words.map((word) => `'${word}'`).join(" ");
    const { stdout, status } = await run("script", ["-qec", line, "/dev/null"], {
      stdio: ["pipe", "pipe", "pipe"],
    }).ended;
    expect({ status, stdout }).toMatchObject({ status: 0 });
    expect(stdout).toContain("tty");
    const [, group, foreground] = /(\d+) (\d+)/.exec(stdout) ?? [];
    expect(group).toBe(foreground);
  });
});

describe("ports", () => {
  it("reach the command when they are declared, and nothing else does", async (context) => {
    needs(context, MACHINE);
    const server = `
      const net = require("node:net");
      const serve = (port) => new Promise((resolve) => net.createServer((s) => s.end("from " + s.remoteAddress)).listen(port, "0.0.0.0", resolve));
      Promise.all([serve(80), serve(81)]).then(() => console.log("listening"));`;
    const running = exec("--log-level", "info", "-p", "0:80", "--", process.execPath, "-e", server);
    const [, port] = await running.says(/tcp 127\.0\.0\.1:(\d+) -> :80/);
    await running.says(/listening/, "stdout");
    expect(await dial(Number(port))).toBe("from 10.0.2.2");
    expect(await dial(81)).toBe("ECONNREFUSED");
    running.child.kill("SIGUSR2");
    await running.says(/tcp-accepted +1/);
    running.child.kill("SIGTERM");
    expect((await running.ended).status).toBe(128 + 15);
  });

  it("that are taken are an error that names them", async (context) => {
    needs(context, MACHINE);
    const first = exec("--log-level", "info", "-p", "0:80", "--", "sleep", "60");
    const [, port] = await first.says(/tcp 127\.0\.0\.1:(\d+) -> :80/);
    const { status, stderr } = await exec("-p", `${port}:80`, "--", "true").ended;
    expect(status).toBe(1);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(stderr).toContain("EADDRINUSE");
    first.child.kill("SIGTERM");
    await first.ended;
  });
});

describe("the way out", () => {
  const ask = (url: string): string =>
    `require("node:http").get("${url}", (r) => r.on("data", (d) => process.stdout.write(d))).on("error", (e) => { console.log(e.code); });`;

  it("does not lead to the host's loopback unless that is allowed", async (context) => {
    needs(context, MACHINE);
    const { createServer } = await import("node:http");
    const server = createServer((_request, response) => response.end("loopback page"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const program = ask(`http://10.0.2.2:${port}/`);
    expect((await exec("--", process.execPath, "-e", program).ended).stdout).toBe("ECONNREFUSED\n");
    const allowed = await exec("--allow-host-loopback", "--", process.execPath, "-e", program).ended;
    expect(allowed.stdout).toBe("loopback page");
    server.close();
  });

  it("is closed by --restrict, and the lease of names with it", async (context) => {
    needs(context, MACHINE);
    const { stdout } = await exec("--restrict", "--", "sh", "-c", "grep -c nameserver /etc/resolv.conf")
      .ended;
    expect(stdout.trim()).toBe("0");
  });
});

describe("a route of the host into the guest's subnet", () => {
  it("is warned of, as run does", async (context) => {
    needs(context, { ...MACHINE, commands: ["unshare", "ip"] });
    const script = `ip link set lo up; ip route add 10.0.2.0/25 dev lo; exec "$@"`;
    const words = [process.execPath, PROGRAM, "exec", "--tun-device", TUN_DEVICE, "--", "true"];
    const namespaces = process.geteuid!() === 0 ? ["--net"] : ["--user", "--map-root-user", "--net"];
    const inside = run("unshare", [...namespaces, "sh", "-c", script, "sh", ...words]);
    const { status, stderr } = await inside.ended;
    expect(stderr).toMatch(/warn: the host has a route to 10\.0\.2\.0\/25, which the guest's subnet/);
    expect(status).toBe(0);
  });
});

describe("guest forwards", () => {
  /** Connects to an address of the guest's network, says hello, and prints all that comes back. */
  const talk = (port: number): string => `
    const socket = require("node:net").connect(${port}, "10.0.2.100", () => socket.end("hello\\n"));
    socket.on("data", (data) => process.stdout.write(data)).on("error", (e) => { console.log(e.code); });`;

  it("serve the guest from a command, a Unix socket and a TCP port, with --restrict too", async (context) => {
    needs(context, MACHINE);
    const directory = mkdtempSync(join(tmpdir(), "sluice-test-guestfwd-"));
    const path = join(directory, "service.sock");
    const answer = (text: string) =>
      createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("error", () => {}).resume();
        socket.once("end", () => socket.end(text));
      });
    const unix = answer("from a Unix socket");
    const tcp = answer("from a port");
    await new Promise<void>((resolve) => unix.listen(path, resolve));
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const { port } = tcp.address() as AddressInfo;
    const rules = [
      "tcp:10.0.2.100:7-cmd:sed s/hello/from\\ a\\ command/",
      `tcp:10.0.2.100:8-unix:${path}`,
      `tcp:10.0.2.100:9-tcp:127.0.0.1:${port}`,
    ].flatMap((rule) => ["--guestfwd", rule]);
    const ask = async (service: number, ...more: string[]) =>
      (await exec(...more, ...rules, "--", process.execPath, "-e", talk(service)).ended).stdout;
    expect(await ask(7, "--restrict")).toBe("from a command\n");
    expect(await ask(8, "--restrict")).toBe("from a Unix socket");
    expect(await ask(9, "--restrict")).toBe("from a port");
    expect(await ask(10)).toBe("ECONNREFUSED\n");
    unix.close();
    tcp.close();
    rmSync(directory, { recursive: true, force: true });
  });
});
