/** A policy that is looked at, replaced and extended while a guest is served, and one that is made of what was denied. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Dns, PolicyChangeResource, PolicyResource } from "../../src/control/schema.ts";
import { DnsServer } from "../support/dns-server.ts";
import { type Ended, type Running, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true } as const;
/** The host's loopback, as the guest sees it. */
const GATEWAY = "10.0.2.2";

/** Opens connections as it is told, `NAME PORT` a line, and says what becomes of them. */
const GUEST = `
  const net = require("node:net");
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const [host, port] = line.split(" ");
    const socket = net.connect({ host, port }, () => console.log("open " + line));
    socket.on("error", (error) => console.log(error.code + " " + line));
    socket.on("data", (octets) => console.log(octets + " " + line));
    socket.resume();
  });
  console.log("up");`;

let directory: string;
let dns: DnsServer;
const servers: Server[] = [];
/** Of what listens: one for each name. */
const ports = { raw: 0, more: 0 };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-policy-live-"));
  mkdirSync(join(directory, "run"), { mode: 0o700 });
  dns = await new DnsServer(GATEWAY).listen();
  for (const name of ["raw", "more"] as const) {
    const server = createServer((socket) => socket.on("error", () => {}).write("hello"));
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports[name] = (server.address() as AddressInfo).port;
  }
});

afterAll(() => {
  for (const server of servers) server.close();
  dns?.close();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

const env = (): NodeJS.ProcessEnv => ({ ...process.env, XDG_RUNTIME_DIR: join(directory, "run") });

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const options = (...more: string[]): string[] => [
  ...["--tun-device", TUN_DEVICE, "--resolver", `127.0.0.1:${dns.port}`, "--allow-host-loopback"],
  ...more,
];

/** A guest that does what it is told. */
async function guest(...more: string[]): Promise<Running> {
  const args = ["exec", ...options("--log-level", "info", ...more), "--", process.execPath, "-e", GUEST];
  const running = sluice(args, { env: env(), stdio: ["pipe", "pipe", "pipe"] });
  onTestFinished(async () => {
    running.child.kill("SIGTERM");
    await running.ended;
  });
  await running.says(/^up$/m, "stdout");
  await running.says(/ready/);
  return running;
}

/** Has it open a connection; resolves with what became of it. */
async function open(running: Running, name: string): Promise<string> {
  const port = name === "more.test" ? ports.more : ports.raw;
  const from = running.stdout.length;
  running.child.stdin?.write(`${name} ${port}\n`);
  const line = new RegExp(`^(\\w+) ${name} ${port}$`, "m");
  await until(() => line.test(running.stdout.slice(from)), `an end of ${name}`);
  return line.exec(running.stdout.slice(from))?.[1] ?? "";
}

/** A proxy that notes who logs in and connects to nothing: says hello itself. Its port. */
async function socksProxy(logins: string[]): Promise<number> {
  const server = createServer((socket) => {
    let step = 0;
    socket.on("error", () => {});
    socket.on("data", (octets) => {
      step++;
      if (step === 1) socket.write(Buffer.of(5, 2));
      else if (step === 2) {
        const user = octets.subarray(2, 2 + (octets[1] ?? 0));
        logins.push(`${user}:${octets.subarray(3 + user.length)}`);
        socket.write(Buffer.of(1, 0));
      } else if (step === 3) {
        socket.write(Buffer.concat([Buffer.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0), Buffer.from("hello")]));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function verb(...args: string[]): Promise<Ended> {
  return sluice(args, { env: env() }).ended;
}

async function json<T>(...args: string[]): Promise<T> {
  const { stdout, stderr, status } = await verb(...args, "--json");
  expect([stderr, status]).toEqual(["", 0]);
  return JSON.parse(stdout) as T;
}

const rule = (name: keyof typeof ports): string =>
  `  - { name: ${name}, allow: "${name}.test:${ports[name]}", private: true }\n`;

describe("a policy while it runs", () => {
  it("P5 is shown, replaced, and resets exactly what it does not allow any more", async (context) => {
    needs(context, MACHINE);
    const both = file("both.yaml", `version: 1\nrules:\n${rule("raw")}${rule("more")}`);
    const running = await guest("--policy", both);
    expect(await open(running, "raw.test")).toBe("open");
    expect(await open(running, "more.test")).toBe("open");
    expect(await open(running, "evil.test")).toBe("ENOTFOUND");
    const { questions, pins } = await json<Dns>("dns");
    const asked = questions.map(({ name, rcode, answeredBy }) => `${name} ${rcode} ${answeredBy}`);
    expect(asked).toEqual(expect.arrayContaining(["raw.test NOERROR resolver", "evil.test NXDOMAIN sluice"]));
    expect(pins.map(({ address, name }) => `${address} ${name}`).sort()).toEqual([
      `${GATEWAY} more.test`,
      `${GATEWAY} raw.test`,
    ]);
    const led = await verb("dns", "--address", GATEWAY);
    expect(led.stdout).toMatch(/^10\.0\.2\.2 +raw\.test +in \d+ (s|min)$/m);
    expect(led.stdout).not.toContain("evil.test");
    const nobody = await verb("dns", "--address", "raw.test");
    expect([nobody.status, nobody.stderr]).toEqual([2, expect.stringContaining("an IPv4 or IPv6 address")]);
    const before = await json<PolicyResource>("policy", "show");
    expect(before).toMatchObject({
      generation: 1,
      default: "deny",
      rules: [
        { id: 1, name: "raw", targets: [`raw.test:${ports.raw}`], allowed: 1, denied: 0 },
        { id: 2, name: "more", allowed: 1 },
      ],
    });
    const wrong = await verb("policy", "set", file("wrong.yaml", "version: 1\nrules:\n  - alow: x\n"));
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toMatch(/wrong\.yaml:3:5: rules\[0\]: found "alow"; allowed: /);
    const failing = file(
      "failing.yaml",
      `version: 1\nrules:\n${rule("more")}tests:\n  - { flow: "x.test", expect: allowed }\n`,
    );
    expect((await verb("policy", "set", failing)).stderr).toContain('tests[0]: found "denied by default"');
    const less = file("less.yaml", `version: 1\nrules:\n${rule("more")}`);
    const trial = await verb("policy", "set", "--dry-run", less);
    expect(trial.stdout).toContain(
      "would change: 0 rules added, 1 removed, 1 kept; 0 tests passed\n  - raw\n",
    );
    expect((await json<PolicyResource>("policy", "show")).generation).toBe(1);
    const stale = await verb("policy", "set", "--generation", "7", less);
    expect([stale.status, stale.stderr]).toEqual([
      1,
      "sluice policy set: the policy is of generation 1, not 7\n",
    ]);
    const change = await json<PolicyChangeResource>("policy", "set", "--generation", "1", less);
    expect(change).toMatchObject({ generation: 2, added: [], removed: ["raw"], kept: 1 });
    await running.says(new RegExp(`^ECONNRESET raw.test ${ports.raw}$`, "m"), "stdout");
    expect(running.stdout).not.toContain("ECONNRESET more");
    expect(await open(running, "raw.test")).toBe("ENOTFOUND");
    const after = await json<PolicyResource>("policy", "show");
    expect(after.rules).toMatchObject([{ id: 2, name: "more", allowed: 1 }]);
    const table = await verb("policy", "show");
    expect(table.stdout).toMatch(/^generation 2\nID +RULE +VERDICT +ALLOWED +DENIED/);
    // What `show --text` prints is what `set` takes.
    const { stdout: text } = await verb("policy", "show", "--text");
    expect(await json("policy", "set", file("same.yaml", text))).toMatchObject({ added: [], removed: [] });
  });

  it("P27 shows and keeps no password of a proxy, and knows it when what it showed is set", async (context) => {
    needs(context, MACHINE);
    const logins: string[] = [];
    const proxy = await socksProxy(logins);
    const via = `socks5://me:s3cret@127.0.0.1:${proxy}`;
    const path = file(
      "proxy.yaml",
      `version: 1\nvia: "${via}"\nrules:\n  - allow: "raw.test:${ports.raw}"\n`,
    );
    const running = await guest("--policy", path);
    expect(await open(running, "raw.test")).toBe("open");
    expect(await open(running, "more.test")).toBe("ENOTFOUND");
    const shown = [
      ...[await verb("policy", "show", "--json"), await verb("policy", "suggest")],
      ...[await verb("policy", "show", "--text"), await verb("policy", "check", path, "--json")],
    ];
    for (const { stdout } of shown) {
      expect(stdout).not.toContain("s3cret");
      expect(stdout).toMatch(/me:\*\*\*@|"\*\*\*"/);
    }
    const shownPath = file("shown.yaml", shown[2]?.stdout ?? "");
    expect(await verb("policy", "set", shownPath)).toMatchObject({ stderr: "", status: 0 });
    expect(await open(running, "raw.test")).toBe("open");
    expect(logins).toEqual(["me:s3cret", "me:s3cret"]);
    const other = file("other.yaml", (shown[2]?.stdout ?? "").replace("me:", "you:"));
    const refused = await verb("policy", "set", other);
    expect(refused.stderr).toContain("*** stands for that of a policy which was shown");
    expect(refused.status).toBe(2);
    running.child.kill("SIGTERM");
    await running.ended;
    const kept = readFileSync(join(directory, "run", "sluice", "last-denials.json"), "utf8");
    expect(kept).toContain("more.test");
    expect(kept).toContain("me:***@");
    expect(kept).not.toContain("s3cret");
    const last = await verb("policy", "suggest", "--from", "last");
    expect(last.stdout).toContain("me:***@");
    const again = await verb("exec", ...options("--policy", file("last.yaml", last.stdout)), "--", "true");
    expect(again.stderr).toContain("*** stands for that of a policy which was shown");
    expect(again.status).toBe(2);
  });

  it("P5 gets rules in front, for a time and for good, and loses them", async (context) => {
    needs(context, MACHINE);
    const running = await guest("--policy", file("none.yaml", "version: 1\ndefault: deny\n"));
    expect(await open(running, "raw.test")).toBe("ENOTFOUND");
    const { stdout } = await verb("allow", `raw.test:${ports.raw}`, "--private", "--for", "2s");
    expect(stdout).toBe(`rule 1: allow raw.test:${ports.raw}, for 2 s\n`);
    expect(await open(running, "raw.test")).toBe("open");
    await running.says(new RegExp(`^ECONNRESET raw.test ${ports.raw}$`, "m"), "stdout");
    expect((await json<PolicyResource>("policy", "show")).rules).toEqual([]);
    await verb("allow", `raw.test:${ports.raw}`, "--private");
    expect(await open(running, "raw.test")).toBe("open");
    await verb("deny", "raw.test");
    await until(() => running.stdout.match(/ECONNRESET/g)?.length === 2, "the reset of what is denied now");
    expect(await open(running, "raw.test")).toBe("ENOTFOUND");
    const { rules } = await json<PolicyResource>("policy", "show");
    expect(rules.map(({ verdict }) => verdict)).toEqual(["deny", "allow"]);
    expect((await verb("policy", "rm", String(rules[0]?.id))).status).toBe(0);
    expect(await open(running, "raw.test")).toBe("open");
    const gone = await verb("policy", "rm", "77");
    expect([gone.status, gone.stderr]).toEqual([1, "sluice policy rm: there is no rule 77\n"]);
    const nonsense = await verb("allow", "https://x");
    expect([nonsense.status, nonsense.stderr]).toEqual([
      2,
      expect.stringContaining('target: found "https://x"; allowed: a host without scheme and path'),
    ]);
  });

  it("P25 gives a rule its octets anew when it is told to", async (context) => {
    needs(context, MACHINE);
    const limited = `  - { allow: "raw.test:${ports.raw}", private: true, limit: { bytes: 3B } }\n`;
    const running = await guest(
      "--policy",
      file("budget.yaml", `version: 1\nrules:\n${limited}${rule("more")}`),
    );
    /** Has it try until the rule has denied it or let it in more often than before. */
    const tries = async (what: "allowed" | "denied"): Promise<void> => {
      const count = async (): Promise<number> =>
        (await json<PolicyResource>("policy", "show")).rules[0]?.[what] ?? 0;
      const before = await count();
      await until(async () => {
        running.child.stdin?.write(`raw.test ${ports.raw}\n`);
        return (await count()) > before;
      }, `it is ${what}`);
    };
    await tries("denied");
    await until(() => running.stdout.includes("ECONNREFUSED raw.test"), "it is refused");
    expect(await json("policy", "reset-budget", "1")).toEqual({ reset: 1 });
    await tries("allowed");
    await tries("denied");
    for (const [id, message, status] of [
      ["2", "rule 2 has no limit of bytes that holds", 1],
      ["9", "there is no rule 9", 1],
      ["x", "an id that sluice policy show tells", 2],
    ] as const) {
      const refused = await verb("policy", "reset-budget", id);
      expect([id, refused.status]).toEqual([id, status]);
      expect(refused.stderr).toContain(message);
    }
  });

  it("P5 is nothing that an instance without one could get", async (context) => {
    needs(context, MACHINE);
    await guest();
    const { status, stderr } = await verb("allow", "raw.test");
    expect(status).toBe(1);
    expect(stderr).toContain("started without a policy; --policy-default allow starts one");
  });
});

describe("C9 P20 what a run was denied", () => {
  const run = (...policy: string[]): Promise<Ended> => {
    const script = `require("node:net").connect(${ports.raw}, "raw.test").on("data", (d) => { console.log(String(d)); process.exit(); })`;
    return verb("exec", ...options(...policy), "--", process.execPath, "-e", script);
  };

  it("is a policy, under which the same run is denied nothing", async (context) => {
    needs(context, MACHINE);
    const audited = await run("--audit", "--policy-default", "deny");
    expect(audited.stdout).toBe("hello\n");
    expect(audited.stderr).toContain(`sluice: would be denied: raw.test:${ports.raw} (policy-`);
    expect(audited.stderr).toContain("sluice: to allow them: sluice policy suggest --from last\n");
    const { stdout } = await verb("policy", "suggest", "--from", "last");
    expect(stdout).toMatch(new RegExp(`^  - allow: raw\\.test:${ports.raw} # \\d+ times$`, "m"));
    const again = await run("--policy", file("suggested.yaml", stdout));
    expect([again.stdout, again.stderr, again.status]).toEqual(["hello\n", "", 0]);
  });

  it("is a policy while it runs, too, which is then set", async (context) => {
    needs(context, MACHINE);
    const running = await guest("--audit", "--allow", "other.test");
    expect(await open(running, "raw.test")).toBe("open");
    const { stdout } = await verb("policy", "suggest");
    expect((await verb("policy", "set", file("running.yaml", stdout))).status).toBe(0);
    expect(await json<PolicyResource>("policy", "show")).toMatchObject({ mode: "enforce", rules: [{}, {}] });
    expect(await open(running, "raw.test")).toBe("open");
    expect(running.stdout).not.toContain("ECONNRESET");
    expect(await open(running, "evil.test")).toBe("ENOTFOUND");
  });
});
