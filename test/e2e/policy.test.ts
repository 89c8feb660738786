import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DnsServer } from "../support/dns-server.ts";
import { NamedServers } from "../support/named-servers.ts";
import { type Ended, PROGRAM, run, sluice } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
/** The host's loopback, as the guest sees it. */
const GATEWAY = "10.0.2.2";

let directory: string;
let dns: DnsServer;
const servers = new NamedServers();
const { ports } = servers;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-policy-"));
  dns = await new DnsServer(GATEWAY).listen();
  await servers.open(directory, "good.test", "raw\n");
});

afterAll(() => {
  servers.close();
  dns?.close();
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

function policyFile(): string {
  const path = join(directory, "policy.yaml");
  writeFileSync(
    path,
    `version: 1
message: ask the operator
rules:
  - { name: web, allow: "good.test:${ports.tls}", private: true, check: tls }
  - { name: plain, allow: "good.test:${ports.http}", private: true, check: http }
  - { name: raw, allow: "raw.test:${ports.raw}", private: true }
  - { name: other, allow: "other.test:1", private: true }
`,
  );
  return path;
}

/** Runs a shell command behind the policy. */
function behind(command: string, ...args: string[]): Promise<Ended> {
  const options = [
    "--tun-device",
    TUN_DEVICE,
    "--resolver",
    `127.0.0.1:${dns.port}`,
    "--allow-host-loopback",
  ];
  const policy = args.length > 0 ? args : ["--policy", policyFile()];
  return sluice(["exec", ...options, ...policy, "--", "sh", "-c", command]).ended;
}

describe("what a rule allows by name", () => {
  it("P12 P13 is reached by curl, openssl, node and python, TLS and HTTP, and without either", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl", "openssl", "python3"] });
    const { tls, http, raw } = ports;
    const python = `import ssl,socket;c=ssl.create_default_context();c.check_hostname=False;c.verify_mode=ssl.CERT_NONE;s=c.wrap_socket(socket.create_connection(("good.test",${tls})),server_hostname="good.test");s.send(b"GET / HTTP/1.0\\r\\n\\r\\n");print(s.recv(999)[-8:].decode())`;
    const node = `require("node:tls").connect({host:"good.test",port:${tls},servername:"good.test",rejectUnauthorized:false},function(){this.write("x");this.on("data",d=>console.log(String(d).slice(-8)))})`;
    const { stdout, status } = await behind(`
      curl -sk https://good.test:${tls}/
      curl -s http://good.test:${http}/
      printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -servername good.test -connect good.test:${tls} 2>/dev/null | tail -1
      python3 -c '${python}'
      ${process.execPath} -e '${node}'
      curl -s telnet://raw.test:${raw}`);
    expect(stdout).toBe(`by name\nhost good.test:${http}\nby name\nby name\n\nby name\n\nraw\n`);
    expect(status).toBe(0);
    expect(servers.shown).toEqual(["good.test", "good.test", "good.test", "good.test"]);
  });
});

describe("what none does", () => {
  it("P17 P19 is told in the program's own words, at once", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl", "openssl", "getent"] });
    const { tls, http } = ports;
    const asked = dns.asked.length;
    const before = servers.shown.length;
    const { stdout } = await behind(`
      curl -sS -m 5 https://evil.test:${tls}/ 2>&1
      curl -sS -m 5 http://192.0.2.99:81/ 2>&1
      getent hosts good.test
      curl -skS -m 5 --connect-to evil.test:${tls}:${GATEWAY}:${tls} https://evil.test:${tls}/ 2>&1
      curl -s -m 5 -H 'Host: evil.test' http://good.test:${http}/
      openssl s_client -noservername -connect good.test:${tls} 2>&1 </dev/null | grep -o 'alert access denied'
      curl -s -m 5 -o /dev/null -w '%{http_code}\\n' --proxy http://good.test:${http} http://evil.test/`);
    expect(stdout).toContain("Could not resolve host: evil.test");
    expect(stdout).toMatch(/192\.0\.2\.99 port 81 after \d+ ms: Couldn't connect/);
    expect(stdout).toMatch(/alert access denied/);
    expect(stdout).toContain(
      "sluice: denied: policy-name-mismatch: evil.test is not allowed at this address (rule default)\nask the operator\n",
    );
    expect(stdout.match(/alert access denied/g)?.length).toBe(2);
    expect(stdout.trimEnd().endsWith("403")).toBe(true);
    expect(dns.asked.slice(asked).some((question) => question.includes("evil"))).toBe(false);
    expect(servers.shown.length).toBe(before);
  });

  it("P7 P8 is NXDOMAIN with EDE 15, over UDP and TCP and at any resolver; nothing of it leaves", async (context) => {
    needs(context, { ...MACHINE, commands: ["dig"] });
    const asked = dns.asked.length;
    const { stdout } = await behind(`
      dig +tries=1 +time=2 evil.test | grep -E 'status|EDE'
      dig +tries=1 +time=2 @192.0.2.1 evil.test | grep -E 'status|EDE'
      dig +tries=1 +time=2 +tcp evil.test | grep -E 'status|EDE'
      dig +tries=1 +time=2 +tcp +keepopen +short good.test evil.test
      dig +tries=1 +time=2 +tcp @192.0.2.1 +short good.test
      dig +tries=1 +time=2 +short good.test TYPE65
      dig +tries=1 +time=2 +short +tcp huge.test TXT | wc -c`);
    const denied =
      /status: NXDOMAIN.*\n; EDE: 15 \(Blocked\): \(no rule names evil\.test: ask the operator\)\n/;
    expect(stdout.match(new RegExp(denied, "g"))?.length).toBe(3);
    expect(stdout).toContain(`${GATEWAY}\n${GATEWAY}\n`);
    expect(dns.asked.slice(asked).every((question) => question.includes("good.test"))).toBe(true);
  });

  it("P18 is explained to curl where the policy says so, and nothing of it leaves", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl", "openssl"] });
    const asked = dns.asked.length;
    const path = join(directory, "explaining.yaml");
    writeFileSync(
      path,
      `version: 1
answers: explain
message: ask the operator
rules:
  - { name: ads, deny: "*.ads.test" }
  - { name: web, allow: "good.test:${ports.tls}", private: true, check: tls }
`,
    );
    const { stdout } = await behind(
      `curl -s -m 5 -w '%{http_code}\\n' http://evil.test/a/b
      curl -s -m 5 http://x.ads.test:8080/
      curl -sS -m 5 https://evil.test/ 2>&1
      openssl s_client -connect evil.test:8443 -servername evil.test 2>&1 </dev/null | grep -o 'alert access denied'
      curl -sS -m 5 http://evil.test:81/ 2>&1
      curl -sk https://good.test:${ports.tls}/`,
      "--policy",
      path,
    );
    expect(stdout).toContain(
      "sluice: denied: policy-no-rule: no rule names evil.test (rule default)\nask the operator\n403\n",
    );
    expect(stdout).toContain("sluice: denied: policy-denied: x.ads.test is denied (rule ads)\n");
    expect(stdout.match(/alert access denied/g)?.length).toBe(2);
    expect(stdout).toMatch(/evil\.test port 81 after \d+ ms: Couldn't connect/);
    expect(stdout.endsWith("by name\n")).toBe(true);
    expect(dns.asked.slice(asked).every((question) => question.includes("good.test"))).toBe(true);
  });

  it("P20 is told at the end, and not with --log-level error", async (context) => {
    needs(context, { ...MACHINE, commands: ["getent"] });
    const command = "getent hosts evil.test; getent hosts evil.test; getent ahostsv4 bad.test; true";
    const { stderr } = await behind(command, "--allow", "good.test");
    expect(stderr).toMatch(/^sluice: denied: evil\.test \(policy-no-rule\) \d+ times\n/);
    expect(stderr).toContain("sluice: denied: bad.test (policy-no-rule) ");
    const silent = await behind(command, "--allow", "good.test", "--log-level", "error");
    expect(silent.stderr).toBe("");
  });

  it("under --audit goes, and is told", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl"] });
    const { stdout, stderr } = await behind(
      `curl -s http://evil.test:${ports.http}/`,
      "--audit",
      "--allow",
      "good.test",
    );
    expect(stdout).toBe(`host evil.test:${ports.http}\n`);
    expect(stderr).toContain("sluice: would be denied: evil.test (policy-no-rule)");
  });
});

describe("sluice policy", () => {
  it("P2 a wrong one is refused before anything is started, with its places", async () => {
    const path = join(directory, "wrong.yaml");
    writeFileSync(path, "version: 1\nrules:\n  - alow: a.test\n  - allow: [https://b.test/, c.test]\n");
    const { status, stderr } = await sluice(["exec", "--policy", path, "--deny", "a..b", "--", "true"]).ended;
    expect(status).toBe(2);
    expect(stderr).toContain('--deny: found "a..b"; allowed: a host name');
    expect(stderr).toContain(`${path}:3:5: rules[0]: found "alow"; allowed: `);
    expect(stderr).toContain("did you mean allow?");
    expect(stderr).toContain(
      `${path}:4:13: rules[1].allow[0]: found "https://b.test/"; allowed: a host without scheme`,
    );
    const check = await run(process.execPath, [PROGRAM, "policy", "check", path]).ended;
    expect(check.status).toBe(2);
    expect(check.stderr).toContain(`${path}:3:5: rules[0]: found "alow"`);
  });

  it("P6 test judges flows by the rules that judge packets", async () => {
    const flows = ["good.test:22", "a.files.test", "files.test", "203.0.113.9:443", "127.0.0.1:80"];
    const rules = ["--allow", "good.test:22,443", "--allow", "*.files.test"];
    const { status, stdout } = await sluice(["policy", "test", ...rules, ...flows]).ended;
    expect(status).toBe(1);
    expect(stdout).toBe(
      "good.test:22: allowed by rule --allow good.test:22,443\n" +
        "a.files.test:443: allowed by rule --allow *.files.test\n" +
        "files.test:443: denied by default (policy-no-rule)\n" +
        "203.0.113.9:443: denied by default (policy-address-unnamed)\n" +
        "127.0.0.1:80: denied always (destination-refused)\n",
    );
    expect((await sluice(["policy", "test", ...rules, "good.test"]).ended).status).toBe(0);
  });
});
