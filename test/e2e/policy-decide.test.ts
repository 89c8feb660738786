/** Modules that decide about flows of real programs: what they say counts, and what they break is told. */

import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { sendDatagram } from "../support/library-guest.ts";
import { GATEWAY, pageLab } from "../support/page-lab.ts";
import { type Ended, type Running, sluice, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true, commands: ["curl"] } as const;
const lab = pageLab("policy-decide");
const { directory, dns, env } = lab;

/** A module with this text. */
function moduleOf(text: string, name = "decide.mjs", mode = 0o644): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

interface Over {
  readonly name?: string;
  readonly policy?: string;
  readonly options?: readonly string[];
}

/** A command whose flows a module decides about. */
function deciding(command: string, text: string, { name, policy = "", options = [] }: Over = {}): Running {
  const path = join(directory, "ask.yaml");
  writeFileSync(
    path,
    `version: 1\n${policy}rules:\n  - { name: program, ask: "*:${lab.port}", private: true, within: 2s }\n`,
  );
  const words = [
    ...["--tun-device", TUN_DEVICE, "--resolver", `127.0.0.1:${dns.port}`, "--allow-host-loopback"],
    ...["--name", "decided", "--policy", path, "--decide", moduleOf(text, name), ...options],
  ];
  return sluice(["exec", ...words, "--", "sh", "-c", command], { env: env() });
}

const curl = (name: string): string => `curl -sS -m 60 http://${name}.test:${lab.port}/`;
const refused = (name: string, reason: string): string =>
  `sluice: denied: ${name}.test:${lab.port} (${reason}, rule program)`;

describe("a module", () => {
  it("P24 allows and denies, asked once for all that wait, and no person is", async (context) => {
    needs(context, MACHINE);
    const asked = join(directory, "asked");
    const log = join(directory, "flows.ndjson");
    const running = deciding(
      `${Array.from({ length: 4 }, () => `${curl("www")} & `).join("")} wait; ${curl("www")}; ${curl("evil")}`,
      `import { appendFileSync } from "node:fs";
      import { setTimeout as sleep } from "node:timers/promises";
      export default async (question, signal) => {
        const { host, port, protocol, rule, state } = question;
        appendFileSync(${JSON.stringify(asked)}, JSON.stringify([host, port, protocol, rule, state, signal.aborted, process.geteuid()]) + "\\n");
        await sleep(300);
        return host === "www.test" ? { verdict: "allow", for: 60 } : { verdict: "deny", reason: "not on the list" };
      };`,
      { options: ["--log-level", "info", "--flow-log", log] },
    );
    const { stdout, stderr, status } = await running.ended;
    expect([stdout, status]).toEqual(["page\n".repeat(5), 7]);
    const line = (host: string): string =>
      JSON.stringify([host, lab.port, "tcp", "program", "open", false, process.geteuid?.()]);
    expect(readFileSync(asked, "utf8")).toBe(`${line("www.test")}\n${line("evil.test")}\n`);
    expect(stderr).toContain(`sluice: www.test:${lab.port}/tcp is allowed by the program that decides\n`);
    expect(stderr).toContain(
      `sluice: evil.test:${lab.port}/tcp is denied by the program that decides: not on the list\n`,
    );
    expect(stderr).toContain(`${refused("evil", "policy-question-refused")} once`);
    expect(stderr).not.toContain("waits for an answer");
    const told = readFileSync(log, "utf8")
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text))
      .filter(({ event }) => event.action.startsWith("question"))
      .map(({ event, sluice: { question, answer } }) => [event.action, question.host, answer]);
    expect(told).toEqual([
      ["question-answered", "www.test", { id: 1, verdict: "allow", by: "program", reason: null }],
      [
        "question-answered",
        "evil.test",
        { id: 2, verdict: "deny", by: "program", reason: "not on the list" },
      ],
    ]);
  });

  it("P24 in CommonJS leaves to people what it says nothing about", async (context) => {
    needs(context, MACHINE);
    const running = deciding(`${curl("www")}; ${curl("other")}`, ANSWERS_WWW, {
      name: "decide.cjs",
      policy: "",
    });
    await running.says(new RegExp(`sluice: other\\.test:${lab.port} waits for an answer: sluice approve\n`));
    expect(running.stdout).toBe("page\n");
    const { status } = await sluice(["approve", "2"], { env: env() }).ended;
    expect(status).toBe(0);
    expect((await running.ended).stdout).toBe("page\npage\n");
  });

  it("P24 of docs/policy.md decides, by the command line there", async (context) => {
    needs(context, MACHINE);
    const text = readFileSync(join(PROJECT_ROOT, "docs/policy.md"), "utf8");
    const [, shown = ""] = /```js\n\/\/ decide\.mjs\n([\s\S]*?)```/.exec(text) ?? [];
    const [, words = ""] = /^sluice (exec .* --decide \.\/decide\.mjs) -- make fetch$/m.exec(text) ?? [];
    // Its tickets, at a server that is there.
    const tickets = createServer(({ url }, response) => {
      response.statusCode = url?.includes("host=b.test&") === true ? 200 : 403;
      response.end();
    });
    await new Promise<void>((resolve) => tickets.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void tickets.close());
    const { port: ticketPort } = tickets.address() as AddressInfo;
    const own = shown
      .replace("https://tickets.example.net", `http://127.0.0.1:${ticketPort}`)
      .replace(".example.com", "a.test");
    expect(own.match(/127\.0\.0\.1|a\.test/g)).toHaveLength(2);
    const running = deciding(["a", "b", "c"].map(curl).join("; "), own);
    const { stdout, stderr } = await running.ended;
    expect(stdout).toBe("page\npage\n");
    expect(stderr).toContain(refused("c", "policy-question-refused"));
    const line = [...words.replaceAll("'", "").split(" "), "--tun-device", TUN_DEVICE, "--", "echo", "made"];
    const there = await sluice(line, { env: env(), cwd: directory }).ended;
    expect([there.stdout, there.stderr, there.status]).toEqual(["made\n", "", 0]);
  });

  it("P24 leaves nothing to people where the policy waits for nobody who is not there", async (context) => {
    needs(context, MACHINE);
    const running = deciding(`${curl("www")}; ${curl("other")}`, ANSWERS_WWW, {
      name: "decide.cjs",
      policy: "unattended: deny\n",
    });
    const { stdout, stderr } = await running.ended;
    expect(stdout).toBe("page\n");
    expect(stderr).toContain(`${refused("other", "policy-question-unattended")} once`);
  });

  it("P24 that fails denies, in every way, and each is told once", async (context) => {
    needs(context, MACHINE);
    const running = deciding(
      ["throws", "throws2", "rubbish", "rubbish2", "silent"].map(curl).join("; "),
      `export default ({ host }, signal) => {
        if (host.startsWith("throws")) throw new Error("a mistake");
        if (host.startsWith("rubbish")) return "perhaps";
        signal.addEventListener("abort", () => console.log("aborted: " + host));
        return new Promise(() => {});
      };`,
    );
    const { stdout, stderr, status } = await running.ended;
    expect([stdout, status]).toEqual(["aborted: silent.test\n", 7]);
    for (const name of ["throws", "throws2", "rubbish", "rubbish2"])
      expect(stderr).toContain(`${name}.test:${lab.port} (policy-hook-failed, rule program)`);
    expect(stderr).toContain(`silent.test:${lab.port} (policy-question-expired, rule program)`);
    const said = stderr.split("\n").filter((line) => line.includes("the program that decides"));
    expect(said).toEqual([
      expect.stringContaining("failed: Error: a mistake; what it was asked about is denied (said once)"),
      expect.stringContaining("says what is no decision: found 'perhaps'; allowed: "),
      expect.stringContaining("is late: it did not answer within the time of the rule"),
    ]);
  });

  it("P24 hears that nobody waits any more, and is asked anew by the next who does", async (context) => {
    needs(context, MACHINE);
    const running = deciding(
      // Who comes at once takes the place of the one that has gone.
      `${curl("www")}; sleep 1; ${curl("www")}`,
      `let calls = 0;
      export default (question, signal) => ++calls > 1 ? "allow" : new Promise((_, reject) => {
        console.log("asked");
        signal.addEventListener("abort", () => { console.log("gone"); reject(signal.reason); });
      });`,
    );
    await running.says(/asked\n/, "stdout");
    const killed = await sluice(["kill", GATEWAY], { env: env() }).ended;
    expect([killed.status, killed.stderr]).toEqual([0, ""]);
    const { stdout, stderr, status } = await running.ended;
    expect([stdout, status]).toEqual(["asked\ngone\npage\n", 0]);
    expect(stderr).not.toContain("program that decides");
  });

  it("P24 keeps nobody waiting at the end by what it has left open", async (context) => {
    needs(context, MACHINE);
    const mark = join(directory, "ended");
    const running = deciding(
      "true",
      `import { writeFileSync } from "node:fs";
      import { createServer } from "node:net";
      createServer().listen(0, "127.0.0.1");
      process.on("exit", () => writeFileSync(${JSON.stringify(mark)}, ""));
      export default () => "allow";`,
    );
    expect((await running.ended).status).toBe(0);
    expect(existsSync(mark)).toBe(true);
  });

  it("P24 ends the instance in order by an error that nobody handles", async (context) => {
    needs(context, MACHINE);
    const running = deciding(
      `echo started; exec sleep 60`,
      `setTimeout(() => { throw new Error("on its own"); }, 1500); export default () => "allow";`,
    );
    const { stdout, stderr, status } = await running.ended;
    expect([stdout, status]).toEqual(["started\n", 1]);
    expect(stderr).toContain("decide.mjs: an error that nobody handles: Error: on its own");
    expect(existsSync(join(directory, "run", "sluice", "decided.sock"))).toBe(false);
  });

  it("P24 decides for a guest that is served in the background, and is loaded there alone", async (context) => {
    needs(context, {});
    const loads = join(directory, "loads");
    const path = moduleOf(
      `import { appendFileSync } from "node:fs";
      const note = (text) => appendFileSync(${JSON.stringify(loads)}, text + "\\n");
      note(process.pid);
      export default ({ host, port, protocol }) => { note(host + ":" + port + "/" + protocol); return "deny"; };`,
    );
    const pidFile = join(directory, "pid");
    const words = [
      ...[
        "run",
        "--background",
        "--qemu-listen",
        `unix:${join(directory, "vm.sock")}`,
        "--pid-file",
        pidFile,
      ],
      ...["--no-dns", "--ask", "@any", "--decide"],
    ];
    const started = await sluice([...words, path], { env: env() }).ended;
    expect([started.status, started.stderr.match(/error|warn/)]).toEqual([0, null]);
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(readFileSync(loads, "utf8")).toBe(`${pid}\n`);
    // What a guest sends is asked about there.
    const guest = connect(join(directory, "vm.sock"));
    await once(guest, "connect");
    sendDatagram(guest, 4711, "203.0.113.9");
    await until(() => readFileSync(loads, "utf8").split("\n").length > 2, "the question");
    guest.destroy();
    expect(readFileSync(loads, "utf8")).toBe(`${pid}\n203.0.113.9:4711/udp\n`);
    process.kill(pid, "SIGTERM");
    await until(() => !existsSync(pidFile), "its end");
    const broken = await sluice([...words, moduleOf("export default 1;")], { env: env() }).ended;
    expect([broken.status, broken.stderr.match(/default export/g)?.length]).toEqual([2, 1]);
  });
});

/** Says yes to one name; compiled from ESM, as programs are. */
const ANSWERS_WWW = `Object.defineProperty(exports, "__esModule", { value: true });
exports.default = ({ host }) => host === "www.test" ? "allow" : undefined;`;

describe("a module that is none", () => {
  const start = (...words: string[]): Promise<Ended> =>
    sluice(["exec", ...words, "--", "echo", "started"], { env: env() }).ended;

  it.each([
    ["that is not there", "", "nothing.mjs", /allowed: a file that can be read \(ENOENT/],
    ["that does not parse", "export default {\n  a b\n};\n", "x.mjs", /\(SyntaxError: .*, line 2\)$/],
    ["that does not parse, CommonJS", "module.exports = (;\n", "x.cjs", /\(SyntaxError: .*, line 1\)$/],
    ["that throws", 'throw new RangeError("at once");', "x.mjs", /\(RangeError: at once\)$/],
    ["that lacks what it imports", 'import "./lacks.mjs";', "x.mjs", /\(Error: Cannot find module .*lacks/],
    ["without a default export", "export const decide = () => 1;", "x.mjs", /is a function \(it has none\)$/],
    [
      "of another default export",
      "module.exports = { decide() {} };",
      "x.cjs",
      /it has one of type object\)$/,
    ],
  ])("P24 %s is told before anything is started", async (_, text, name, said) => {
    const path = text === "" ? join(directory, name) : moduleOf(text, name);
    const { stdout, stderr, status } = await start("--ask", "*", "--mtu", "9", "--decide", path);
    expect([stdout, status]).toEqual(["", 2]);
    expect(stderr).toContain("2 problems with the arguments");
    const line = stderr.split("\n").find((each) => each.includes("--decide"));
    expect(line).toMatch(said);
    expect(line).toContain(`found ${JSON.stringify(path)}`);
  });

  it("P24 that everybody can write is refused, and who else can is told", async (context) => {
    const text = 'export default () => "allow";';
    const open = await start("--ask", "*", "--decide", moduleOf(text, "open.mjs", 0o646));
    expect([open.stdout, open.status]).toEqual(["", 2]);
    expect(open.stderr).toMatch(/open\.mjs"; allowed: a file that not everybody can write/);
    needs(context, MACHINE);
    const group = ["--tun-device", TUN_DEVICE, "--ask", "*", "--decide", moduleOf(text, "group.mjs", 0o664)];
    const warned = await start(...group);
    expect(warned.stdout).toBe("started\n");
    expect(warned.stderr).toMatch(/warn: --decide .*group\.mjs: its group can change the module\n/);
    const place = join(directory, "place");
    mkdirSync(place);
    const module = ["--tun-device", TUN_DEVICE, "--ask", "*", "--decide", moduleOf(text, "place/x.mjs")];
    for (const [mode, status, said] of [
      [0o777, 2, /a file in a directory that not everybody can write/],
      [0o775, 0, /warn: .*x\.mjs: its directory's group can change the module\n$/],
      [0o1777, 0, /^$/],
      [0o755, 0, /^$/],
    ] as const) {
      chmodSync(place, mode);
      const placed = await start(...module);
      expect([placed.status, placed.stderr]).toEqual([status, expect.stringMatching(said)]);
    }
  });

  it("P24 of another user is told", async (context) => {
    needs(context, { ...MACHINE, root: true });
    const path = moduleOf('export default () => "allow";', "other.mjs");
    chownSync(path, 65_534, 65_534);
    const { stdout, stderr } = await start("--tun-device", TUN_DEVICE, "--ask", "*", "--decide", path);
    expect(stdout).toBe("started\n");
    expect(stderr).toMatch(
      /warn: --decide .*other\.mjs: it belongs to user 65534, who can change the module\n$/,
    );
  });

  it("P24 needs a policy, and is told where nothing of that asks", async (context) => {
    const path = moduleOf('export default () => "allow";');
    const { status, stderr } = await start("--decide", path);
    expect(status).toBe(2);
    expect(stderr).toContain("allowed: only with a policy whose rules ask, such as --ask '*'");
    needs(context, MACHINE);
    for (const [words, said] of [
      [["--allow", "a.example"], "no rule of the policy asks"],
      [["--ask", "a.example", "--audit"], "under audit nothing is asked"],
    ] as const) {
      const started = await start("--tun-device", TUN_DEVICE, ...words, "--decide", path);
      expect(started.stderr).toContain(`warn: --decide ${path}: ${said}`);
    }
  });
});
