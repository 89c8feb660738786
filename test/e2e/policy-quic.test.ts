import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BROWSER_NEEDS } from "../support/browser.ts";
import { browsing } from "../support/browsing.ts";
import { DnsServer } from "../support/dns-server.ts";
import { makeCertificate } from "../support/named-servers.ts";
import { type Ended, type Running, run, sluice, until } from "../support/program.ts";
import { findCommand, needs, TUN_DEVICE } from "../support/requirements.ts";

const NEEDS = { tun: true, userNamespaces: true, commands: ["gtlsclient", "gtlsserver", "openssl"] } as const;
/** The host's loopback, as the guest sees it. */
const GATEWAY = "10.0.2.2";
const PAGE = randomBytes(700_000);
const SHA = createHash("sha256").update(PAGE).digest("hex");

let directory: string;
let dns: DnsServer;
const servers: Running[] = [];
/** A server, and one that answers with a Retry first. */
const ports = { plain: 0, retrying: 0 };

async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const { port } = socket.address() as AddressInfo;
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

/** Starts ngtcp2's server, if it is there. Returns its port. */
async function serve(...options: string[]): Promise<number> {
  const program = findCommand("gtlsserver");
  if (program === undefined) return 0;
  const port = await freePort();
  const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  const documents = join(directory, "documents");
  servers.push(run(program, [...options, "-d", documents, "127.0.0.1", String(port), key, cert]));
  return port;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-quic-"));
  for (const name of ["documents", "got"]) mkdirSync(join(directory, name));
  writeFileSync(join(directory, "documents", "page"), PAGE);
  writeFileSync(join(directory, "documents", "index.html"), "<p>by QUIC</p>");
  makeCertificate(directory, "good.test");
  dns = await new DnsServer(GATEWAY).listen();
  ports.plain = await serve();
  ports.retrying = await serve("-V");
});

afterAll(async () => {
  for (const server of servers) {
    server.child.kill();
    await server.ended;
  }
  dns?.close();
  if (directory !== undefined) rmSync(directory, { recursive: true });
});

/** A program behind the policy. */
function behind(...command: string[]): Promise<Ended> {
  writeFileSync(
    join(directory, "policy.yaml"),
    `version: 1
rules:
  - allow: ["good.test:${ports.plain}/quic", "good.test:${ports.retrying}/quic"]
    private: true
  - { allow: "evil.test:1/udp", private: true }
`,
  );
  const machine = [
    "--tun-device",
    TUN_DEVICE,
    "--resolver",
    `127.0.0.1:${dns.port}`,
    "--allow-host-loopback",
  ];
  return sluice(["exec", ...machine, "--policy", join(directory, "policy.yaml"), "--", ...command]).ended;
}

/** ngtcp2's client behind the policy; what it has got lies in `got`. */
async function get(
  host: string,
  port: number,
  options: readonly string[] = [],
  asked = "good.test",
): Promise<Ended> {
  rmSync(join(directory, "got", "page"), { force: true });
  // The name of the rule leads to the address, whatever the client asks for.
  const client = [
    ...["sh", "-c", 'getent hosts "$0"; exec "$@"', asked],
    ...["gtlsclient", "--quiet", "--exit-on-all-streams-close", "--timeout=2s"],
    ...["--download", join(directory, "got"), ...options, host, String(port), `https://${host}/page`],
  ];
  return behind(...client);
}

const got = (): string | null => {
  const path = join(directory, "got", "page");
  return existsSync(path) ? createHash("sha256").update(readFileSync(path)).digest("hex") : null;
};

describe("QUIC behind a policy", () => {
  it("P14 reaches a name that is allowed, whole, after a Retry too", async (context) => {
    needs(context, NEEDS);
    await get("good.test", ports.plain);
    expect(got()).toBe(SHA);
    await get("good.test", ports.retrying);
    expect(got()).toBe(SHA);
  });

  it("P14 of another name, or version, does not get a packet out, and is told at the end", async (context) => {
    needs(context, NEEDS);
    const server = servers[0] as Running;
    const before = server.stderr.length;
    const named = await get("evil.test", ports.plain);
    expect(named.stderr).toContain(`evil.test:${ports.plain}/udp (policy-name-mismatch)`);
    const draft = await get("good.test", ports.plain, ["--version", "v2draft"]);
    expect(draft.stderr).toContain("(policy-quic-version)");
    expect(got()).toBeNull();
    expect(server.stderr.length).toBe(before);
    await get("good.test", ports.plain);
    await until(() => server.stderr.length > before, "the server heard of it");
  });

  it("P14 is how Chromium loads a page, and not one of another name", async (context) => {
    needs(context, { ...NEEDS, commands: [...NEEDS.commands, ...(BROWSER_NEEDS.commands ?? [])] });
    const key = new X509Certificate(readFileSync(join(directory, "cert.pem"))).publicKey;
    const pin = createHash("sha256")
      .update(key.export({ type: "spki", format: "der" }))
      .digest("base64");
    const [good, other] = [`good.test:${ports.plain}`, `other.test:${ports.plain}`];
    const browse = browsing(directory, [
      `--origin-to-force-quic-on=${good},${other}`,
      `--ignore-certificate-errors-spki-list=${pin}`,
      "--host-resolver-rules=MAP other.test good.test",
    ]);
    const loaded = await behind("sh", "-c", `${browse} https://${good}/index.html`);
    expect(loaded.stdout, loaded.stderr).toBe("h3: by QUIC\n");
    const refused = await behind("sh", "-c", `${browse} https://${other}/index.html`);
    expect(refused.stdout, refused.stderr).toMatch(/^ERR_/);
    expect(refused.stderr).toContain(`${other}/udp (policy-name-mismatch)`);
  });

  it("P14 has to be: the port is open for nothing else", async (context) => {
    needs(context, NEEDS);
    const unnamed = await get(GATEWAY, ports.plain, [], "evil.test");
    expect(got()).toBeNull();
    expect(unnamed.stderr).toContain(`:${ports.plain}/udp (policy-address-unnamed)`);
  });
});
