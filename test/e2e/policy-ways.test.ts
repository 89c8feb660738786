import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DnsServer } from "../support/dns-server.ts";
import { freePort } from "../support/free-port.ts";
import { NamedServers } from "../support/named-servers.ts";
import { type Ended, PROGRAM, type Running, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
/** Names that the proxies know, and no resolver of the guest's. */
const HOSTS = "127.0.0.1 localhost\n127.0.0.1 tls.test http.test raw.test\n";

let directory: string;
let dns: DnsServer;
const servers = new NamedServers();
const { ports } = servers;
const proxies: Running[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-ways-"));
  writeFileSync(join(directory, "hosts"), HOSTS);
  dns = await new DnsServer("192.0.2.1").listen();
  // As SSH, SMTP and MySQL: the server speaks first.
  await servers.open(directory, "tls.test", "SSH-2.0-x\n");
});

afterEach(async () => {
  for (const proxy of proxies.splice(0)) {
    proxy.child.kill("SIGKILL");
    await proxy.ended;
  }
});

afterAll(() => {
  servers.close();
  dns?.close();
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

async function untilListens(port: number): Promise<void> {
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  await until(answers, `something listens on ${port}`);
}

/** Starts a program that knows the names of HOSTS, and waits until it listens. */
async function start(port: number, ...command: string[]): Promise<void> {
  const script = `mount --bind ${join(directory, "hosts")} /etc/hosts && exec "$@"`;
  const proxy = run("unshare", [
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    script,
    "sh",
    ...command,
  ]);
  proxies.push(proxy);
  await untilListens(port);
}

async function microsocks(...options: string[]): Promise<number> {
  const port = await freePort();
  await start(port, "microsocks", "-i", "127.0.0.1", "-p", String(port), ...options);
  return port;
}

async function tinyproxy(more = ""): Promise<number> {
  const port = await freePort();
  const config = join(directory, `tinyproxy-${port}.conf`);
  writeFileSync(
    config,
    `Port ${port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nLogLevel Error\n${more}\n`,
  );
  await start(port, "tinyproxy", "-d", "-c", config);
  return port;
}

/** Runs a shell command behind a policy. */
function behind(command: string, rules: string, ...args: string[]): Promise<Ended> {
  const path = join(directory, "policy.yaml");
  writeFileSync(path, `version: 1\n${rules}`);
  const options = ["--tun-device", TUN_DEVICE, "--resolver", `127.0.0.1:${dns.port}`];
  return sluice(["exec", ...options, "--policy", path, ...args, "--", "sh", "-c", command]).ended;
}

const CLIENTS = (): string => `
  curl -sk -m 9 https://tls.test:${ports.tls}/
  curl -s -m 9 http://http.test:${ports.http}/
  curl -s -m 9 telnet://raw.test:${ports.raw}
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -servername tls.test -connect tls.test:${ports.tls} 2>/dev/null | tail -1
  python3 -c 'import socket;print(socket.create_connection(("raw.test",${ports.raw})).recv(99).decode())'`;

const rulesVia = (url: string): string => `rules:
  - { allow: "tls.test:${ports.tls}", via: "${url}", check: tls }
  - { allow: ["http.test:${ports.http}"], via: "${url}", check: http }
  - { allow: "raw.test:${ports.raw}", via: "${url}" }
`;

describe("via", () => {
  const all = `by name\nhost http.test:%\nSSH-2.0-x\nby name\nSSH-2.0-x\n\n`;

  it("P27 microsocks, with a login and without, is how everything gets there, by name and without DNS", async (context) => {
    needs(context, { ...MACHINE, commands: ["microsocks", "curl", "openssl", "python3", "unshare"] });
    const asked = dns.asked.length;
    const plain = await microsocks();
    const open = await behind(CLIENTS(), rulesVia(`socks5://127.0.0.1:${plain}`));
    expect(open.stdout).toBe(all.replace("%", String(ports.http)));
    const closed = await microsocks("-u", "me", "-P", "secret");
    const known = await behind(CLIENTS(), rulesVia(`socks5://me:secret@127.0.0.1:${closed}`));
    expect(known.stdout).toBe(all.replace("%", String(ports.http)));
    for (const login of ["", "me:wrong@"]) {
      const unknown = await behind(
        `curl -sS -m 9 telnet://raw.test:${ports.raw} 2>&1`,
        rulesVia(`socks5://${login}127.0.0.1:${closed}`),
      );
      expect(unknown.stdout, login).toMatch(/Couldn't connect|Failed to connect/);
      expect(unknown.stderr, login).toContain(`sluice: denied: raw.test:${ports.raw} (proxy-refused)`);
    }
    expect(dns.asked.length).toBe(asked);
  });

  it("P27 tinyproxy is too; what it refuses is refused", async (context) => {
    needs(context, { ...MACHINE, commands: ["tinyproxy", "curl", "openssl", "python3", "unshare"] });
    const asked = dns.asked.length;
    const port = await tinyproxy("BasicAuth me secret");
    const open = await behind(CLIENTS(), rulesVia(`http://me:secret@127.0.0.1:${port}`));
    expect(open.stdout).toBe(all.replace("%", String(ports.http)));
    const unknown = await behind(
      `curl -sS -m 9 telnet://raw.test:${ports.raw} 2>&1`,
      rulesVia(`http://127.0.0.1:${port}`),
    );
    expect(unknown.stdout).toMatch(/Couldn't connect|Failed to connect/);
    expect(unknown.stderr).toContain(`sluice: denied: raw.test:${ports.raw} (proxy-refused)`);
    const picky = await tinyproxy("ConnectPort 1");
    const refused = await behind(
      `curl -sS -m 9 telnet://raw.test:${ports.raw} 2>&1`,
      rulesVia(`http://127.0.0.1:${picky}`),
    );
    expect(refused.stdout).toMatch(/Couldn't connect|Failed to connect/);
    expect(dns.asked.length).toBe(asked);
  });

  it("P27 --via takes everything; killed or silent it leaves nothing, and the host's interface hears nothing", async (context) => {
    needs(context, { ...MACHINE, commands: ["microsocks", "curl", "ip", "unshare", "dig"] });
    const [port, server] = [await freePort(), await freePort()];
    const serve = `require("net").createServer((s) => s.end("raw\\n").on("error", () => {})).listen(${server}, "127.0.0.1")`;
    const waits = (at: number): string =>
      `until curl -s -m 1 -o /dev/null telnet://127.0.0.1:${at} </dev/null || [ $? = 28 ]; do sleep 0.1; done`;
    // A network of its own whose only way out is a device that leads nowhere: what is sent there is counted.
    const script = `
      echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
      ip link set lo up && ip link add name out type veth peer name in
      ip addr add 192.0.2.77/24 dev out && ip link set in up && ip link set out up && ip route add default dev out
      unshare --mount sh -c 'mount --bind ${join(directory, "hosts")} /etc/hosts && exec microsocks -i 127.0.0.1 -p ${port}' & proxy=$!
      ${process.execPath} -e '${serve}' & server=$!
      ${waits(server)}; ${waits(port)}
      sent() { ip -s -o link show dev out | sed 's/.*TX: *bytes *packets[^0-9]*\\([0-9]*\\) *\\([0-9]*\\).*/\\2 packets/'; }
      behind() { ${process.execPath} ${PROGRAM} exec --tun-device ${TUN_DEVICE} --log-level error --resolver 192.0.2.1 --via socks5://127.0.0.1:${port} -- sh -c "$1"; }
      behind 'curl -sS -m 9 telnet://raw.test:${server}; dig +short +tries=1 +time=1 any.test AAAA; dig +tries=1 +time=1 @192.0.2.53 x.test A | grep -c 198.19'
      sent
      kill -STOP $proxy
      behind 'curl -sS -m 2 telnet://raw.test:${server} 2>&1 || echo silent'
      kill -KILL $proxy
      behind 'curl -s -m 9 telnet://raw.test:${server} || echo killed; curl -s -m 2 http://203.0.113.1/ || echo address; dig +tries=1 +time=1 @203.0.113.2 -p 999 x.test >/dev/null || echo udp'
      sent
      curl -s -m 1 http://192.0.2.88/; sent
      kill $server`;
    const { stdout, stderr } = await run("unshare", [
      ...["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script],
    ]).ended;
    expect(stdout, stderr).toMatch(
      /^raw\n1\n0 packets\ncurl: .* timed out.*\nsilent\nkilled\naddress\nudp\n0 packets\n[1-9]\d* packets\n$/,
    );
  });
});

describe("to", () => {
  it("P26 haproxy hears from a PROXY header whose connection it is and where it was to go", async (context) => {
    needs(context, { ...MACHINE, commands: ["haproxy", "curl"] });
    const port = await freePort();
    const config = join(directory, "haproxy.cfg");
    writeFileSync(
      config,
      `defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend in
  bind 127.0.0.1:${port} accept-proxy
  bind ${directory}/in.sock accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] to %[dst]:%[dst_port] as %[fc_pp_authority]\\n"
`,
    );
    proxies.push(run("haproxy", ["-db", "-f", config]));
    await untilListens(port);
    for (const target of [`127.0.0.1:${port}`, `unix:${directory}/in.sock`]) {
      const { stdout, stderr } = await behind(
        "curl -s -m 5 http://api.test:81/; curl -s -m 5 http://203.0.113.9/",
        `rules:\n  - { allow: ["api.test:81", "203.0.113.0/24:80"], to: "${target}", proxy-protocol: v2 }\n`,
      );
      expect(stdout, stderr).toMatch(
        /^10\.0\.2\.15 to 198\.19\.\d+\.\d+:81 as api\.test\n10\.0\.2\.15 to 203\.0\.113\.9:80 as \n$/,
      );
    }
  });

  it("P26 a target that is not there is told as refused", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl"] });
    const { stdout, stderr } = await behind(
      "curl -sS -m 5 http://api.test/ 2>&1",
      `rules:\n  - { allow: "api.test:80", to: "127.0.0.1:${await freePort()}" }\n`,
    );
    expect(stdout).toMatch(/Couldn't connect|Failed to connect/);
    expect(stderr).toContain("sluice: denied: api.test:80 (proxy-unreachable)");
  });
});

describe("limit", () => {
  it("P25 a rate holds for one connection and for sixteen, which share it", async (context) => {
    needs(context, { ...MACHINE, commands: ["python3"] });
    const endless = createServer((socket) => {
      const more = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
      };
      socket.on("drain", more).on("error", () => socket.destroy());
      more();
    });
    const port = await servers.listen(endless);
    const client = (flows: number): string => `
import socket,select,time
all=[socket.create_connection(("10.0.2.2",${port})) for _ in range(${flows})]
got={s:0 for s in all}
def take(until):
  while time.time()<until:
    for s in select.select(all,[],[],0.1)[0]: got[s]+=len(s.recv(65536))
take(time.time()+1)
before=dict(got); began=time.time(); take(began+4)
each=[got[s]-before[s] for s in all]
print(sum(each)/(time.time()-began),min(each)/max(each))`;
    for (const flows of [1, 16]) {
      const { stdout, stderr } = await behind(
        `python3 -c '${client(flows)}'`,
        `rules:\n  - { allow: "10.0.2.2:${port}", limit: { rate: 10MB/s } }\n`,
        "--allow-host-loopback",
      );
      const [rate = 0, share = 0] = stdout.trim().split(" ").map(Number);
      // Virtual time knows the rate to the octet (limits.test.ts); how far below it a busy machine stays is its own affair.
      expect(rate / 1e7, `${flows}: ${stdout}${stderr}`).toBeGreaterThan(0.8);
      expect(rate / 1e7, `${flows}: ${stdout}`).toBeLessThan(1.05);
      expect(share, `${flows}: ${stdout}`).toBeGreaterThan(0.5);
    }
  });
});
