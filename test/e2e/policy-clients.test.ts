/** Clients that people use, behind a policy: each reaches what is allowed by its own resolver and TLS, and says why where it is not. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { BROWSER_NEEDS } from "../support/browser.ts";
import { browsing } from "../support/browsing.ts";
import { DnsServer } from "../support/dns-server.ts";
import { freePort } from "../support/free-port.ts";
import { NamedServers } from "../support/named-servers.ts";
import { type Ended, type Running, run, sluice, until } from "../support/program.ts";
import { findCommand, needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
/** The host's loopback, as the guest sees it. */
const GATEWAY = "10.0.2.2";
/** PostgreSQL's own directory, which is in nobody's PATH. */
const POSTGRESQL = "/usr/lib/postgresql";

let directory: string;
let dns: DnsServer;
const servers = new NamedServers();
const { ports } = servers;
const running: Running[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-clients-"));
  dns = await new DnsServer(GATEWAY).listen();
  await servers.open(directory, "good.test", "raw\n");
});

afterEach(async () => {
  for (const server of running.splice(0)) {
    server.child.kill("SIGTERM");
    await server.ended;
  }
});

afterAll(() => {
  servers.close();
  dns?.close();
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

/** Runs a shell command, in the test's directory, behind a policy that lets it to the servers and to `more`. */
function behind(command: string, more = ""): Promise<Ended> {
  const path = join(directory, "policy.yaml");
  writeFileSync(
    path,
    `version: 1
rules:
  - { allow: "good.test:${ports.tls}", private: true, check: tls }
  - { allow: "good.test:${ports.http}", private: true, check: http }
${more}`,
  );
  const network = [
    "--tun-device",
    TUN_DEVICE,
    "--resolver",
    `127.0.0.1:${dns.port}`,
    "--allow-host-loopback",
  ];
  const words = ["exec", ...network, "--policy", path, "--", "sh", "-c", `cd ${directory}; ${command}`];
  return sluice(words).ended;
}

/** Starts a server of the host's as an ordinary user of its own namespace, whatever this one is; `first` is done as its root. */
function start(first: string, ...command: string[]): Running {
  const script = `${first}; exec unshare --user --map-user=1000 --map-group=1000 "$@"`;
  const server = run("unshare", [
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-ec",
    script,
    "sh",
    ...command,
  ]);
  running.push(server);
  return server;
}

async function untilListens(port: number): Promise<void> {
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  await until(answers, `something listens on ${port}`);
}

describe("behind a policy by name", () => {
  it("P12 P13 P17 Python's urllib and asyncio get through, and say what is denied", async (context) => {
    needs(context, { ...MACHINE, commands: ["python3"] });
    writeFileSync(
      join(directory, "client.py"),
      `
import asyncio, socket, ssl, urllib.request
context = ssl.create_default_context(cafile="cert.pem")
def said(url):
  try: return urllib.request.urlopen(url, timeout=20, context=context).read().decode().strip()
  except Exception as error: return str(error)
async def stream(name):
  try:
    reader, writer = await asyncio.open_connection("good.test", ${ports.tls}, ssl=context, server_hostname=name)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    return (await reader.read()).decode().split()[-1]
  except ssl.SSLError as error: return error.reason
print(said("https://good.test:${ports.tls}/"))
print(said("http://good.test:${ports.http}/"))
print(said("https://evil.test:${ports.tls}/"))
print(said("https://good.test:1/"))
print(asyncio.run(stream("good.test")))
context.check_hostname = False
print(asyncio.run(stream("evil.test")))
`,
    );
    const { stdout, stderr } = await behind("python3 client.py 2>&1");
    expect(stdout.split("\n"), stderr).toEqual([
      "by name",
      `host good.test:${ports.http}`,
      "<urlopen error [Errno -2] Name or service not known>",
      "<urlopen error [Errno 111] Connection refused>",
      "name",
      "TLSV1_ALERT_ACCESS_DENIED",
      "",
    ]);
  });

  it("P12 P13 P17 a Go program does, by Go's own resolver and by the C library's", async (context) => {
    needs(context, { ...MACHINE, commands: ["promtool"] });
    // It fetches a page of a server, and writes it to a file.
    const client = `export SSL_CERT_FILE=cert.pem
      for resolver in go cgo; do
        for url in https://good.test:${ports.tls} http://good.test:${ports.http} https://evil.test:${ports.tls} https://good.test:1; do
          GODEBUG=netdns=$resolver promtool debug metrics $url 2>&1
        done
      done`;
    const { stdout, stderr } = await behind(client);
    const said = [...stdout.matchAll(/information complete|no such host|connection refused/g)].map(String);
    const each = ["information complete", "information complete", "no such host", "connection refused"];
    expect(said, stdout + stderr).toEqual([...each, ...each]);
  });

  it("P11 P17 Chromium loads a page, and says that another has no address or that its name is refused", async (context) => {
    needs(context, { ...MACHINE, commands: BROWSER_NEEDS.commands ?? [] });
    const { tls, http } = ports;
    const browse = browsing(directory, ["--host-resolver-rules=MAP other.test good.test"]);
    const client = `${browse} https://good.test:${tls}/ http://good.test:${http}/ https://evil.test:${tls}/ https://other.test:${tls}/`;
    const { stdout, stderr } = await behind(client);
    expect(stdout.split("\n"), stderr).toEqual([
      "http/1.1: by name",
      `http/1.1: host good.test:${http}`,
      "ERR_NAME_NOT_RESOLVED",
      expect.stringMatching(/^ERR_SSL_/),
      "",
    ]);
  });

  it("P7 getaddrinfo of musl finds what is allowed, and is told at once what is not", async (context) => {
    needs(context, { ...MACHINE, commands: ["musl-gcc"] });
    writeFileSync(
      join(directory, "find.c"),
      `
#include <netdb.h>
#include <stdio.h>
#include <arpa/inet.h>
int main(int count, char **names) {
  for (int i = 1; i < count; i++) {
    struct addrinfo *found, hints = { .ai_socktype = SOCK_STREAM };
    int error = getaddrinfo(names[i], "443", &hints, &found);
    char text[64];
    puts(error ? gai_strerror(error) : inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, 64));
  }
}
`,
    );
    const built = await run("musl-gcc", ["-static", "-o", join(directory, "find"), join(directory, "find.c")])
      .ended;
    expect(built).toMatchObject({ status: 0, stderr: "" });
    // What musl takes for no answer, it waits five seconds for and calls "Try again".
    const { stdout, stderr } = await behind("./find good.test evil.test good.test.");
    expect(stdout, stderr).toBe(`${GATEWAY}\nName does not resolve\n${GATEWAY}\n`);
  });

  it("P1 ssh gets to the one host that is allowed, on the one port", async (context) => {
    needs(context, { ...MACHINE, commands: ["ssh", "ssh-keygen", "sshd", "unshare", "mount"] });
    const port = await freePort();
    for (const key of ["host", "user"]) {
      const words = ["-q", "-t", "ed25519", "-N", "", "-f", join(directory, key)];
      expect(await run("ssh-keygen", words).ended).toMatchObject({ status: 0 });
    }
    writeFileSync(join(directory, "passwd"), `me:x:1000:1000::${directory}:/bin/sh\n`);
    writeFileSync(
      join(directory, "sshd_config"),
      `Port ${port}
ListenAddress 127.0.0.1
HostKey ${directory}/host
AuthorizedKeysFile ${directory}/user.pub
StrictModes no
UsePAM no
PidFile none
`,
    );
    start(
      `mount --bind ${directory}/passwd /etc/passwd`,
      ...[findCommand("sshd")!, "-D", "-e", "-f", join(directory, "sshd_config")],
    );
    await untilListens(port);
    const options =
      "-F none -i user -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    const { stdout, stderr } = await behind(
      `ssh ${options} -p ${port} me@git.test 'echo hello from $USER' 2>&1
      ssh ${options} -p ${port} me@evil.test true 2>&1
      ssh ${options} -p 1 me@git.test true 2>&1
      ssh ${options} -p ${ports.raw} me@${GATEWAY} true 2>&1`,
      `  - { allow: "git.test:${port}", private: true }\n`,
    );
    expect(
      stdout.split("\n").map((line) => line.trimEnd()),
      stderr,
    ).toEqual([
      "hello from me",
      "ssh: Could not resolve hostname evil.test: Name or service not known",
      "ssh: connect to host git.test port 1: Connection refused",
      `ssh: connect to host ${GATEWAY} port ${ports.raw}: Connection refused`,
      "",
    ]);
  });

  it("P1 psql gets to the one database that is allowed", async (context) => {
    needs(context, { ...MACHINE, commands: ["psql", "unshare"], files: [POSTGRESQL] });
    const [version = ""] = readdirSync(POSTGRESQL).sort((a, b) => Number(b) - Number(a));
    const program = (name: string): string => join(POSTGRESQL, version, "bin", name);
    const data = join(directory, "data");
    const made = start(":", program("initdb"), "-D", data, "-A", "trust", "-U", "me", "--no-locale", "-N");
    expect(await made.ended).toMatchObject({ status: 0 });
    const port = await freePort();
    start(":", program("postgres"), "-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", directory);
    await untilListens(port);
    const { stdout, stderr } = await behind(
      `psql -h db.test -p ${port} -U me -Atc 'select 6 * 7' postgres 2>&1
      psql -h evil.test -p ${port} -U me -Atc 'select 1' postgres 2>&1
      psql -h db.test -p 1 -U me -Atc 'select 1' postgres 2>&1 | head -1`,
      `  - { allow: "db.test:${port}", private: true }\n`,
    );
    expect(stdout.split("\n"), stderr).toEqual([
      "42",
      'psql: error: could not translate host name "evil.test" to address: Name or service not known',
      `psql: error: connection to server at "db.test" (${GATEWAY}), port 1 failed: Connection refused`,
      "",
    ]);
  });
});
