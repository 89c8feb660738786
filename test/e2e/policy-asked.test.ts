/** Flows that wait for somebody's word, of real programs, and who gives it. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type ControlClient, controlClient } from "../../src/control/client.ts";
import { pageLab } from "../support/page-lab.ts";
import { type Ended, type Running, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const MACHINE = { tun: true, userNamespaces: true, commands: ["curl"] } as const;
const lab = pageLab("policy-asked");
const { directory, dns, env } = lab;
const verb = (...args: string[]): Promise<Ended> => sluice(args, { env: env() }).ended;

/** A command whose flows are asked about. */
function asking(command: string, policy = ""): Running {
  const path = join(directory, "ask.yaml");
  writeFileSync(
    path,
    `version: 1\n${policy}rules:\n  - { name: people, ask: "*:${lab.port}", private: true }\n`,
  );
  const options = [
    ...["--tun-device", TUN_DEVICE, "--resolver", `127.0.0.1:${dns.port}`, "--allow-host-loopback"],
    ...["--name", "asked", "--policy", path],
  ];
  const running = sluice(["exec", ...options, "--", "sh", "-c", command], { env: env() });
  onTestFinished(async () => {
    running.child.kill("SIGTERM");
    await running.ended;
  });
  return running;
}

const client = (): ControlClient => controlClient(join(directory, "run", "sluice", "asked.sock"));

describe("what asks", () => {
  it("P21 P22 is answered while curl waits, once for all that wait", async (context) => {
    needs(context, MACHINE);
    const curl = `curl -s -m 60 http://www.test:${lab.port}/`;
    const running = asking(`${Array.from({ length: 8 }, () => `${curl} & `).join("")} wait; ${curl}`);
    await running.says(new RegExp(`sluice: www\\.test:${lab.port} waits for an answer: sluice approve\n`));
    await until(async () => (await client().questions())[0]?.count === 8, "eight flows that wait");
    expect(running.stdout).toBe("");
    const list = await verb("approve");
    expect(list.stdout).toMatch(new RegExp(`#1 +www\\.test:${lab.port}/tcp +people +open +8 +\\d+ s`));
    const answered = await verb("approve", "1", "--for", "10m");
    expect([answered.status, answered.stderr]).toEqual([0, ""]);
    const { stdout, stderr, status } = await running.ended;
    expect([stdout, status]).toEqual(["page\n".repeat(9), 0]);
    expect(stderr.match(/waits for an answer/g)?.length).toBe(1);
  });

  it("P22 is answered for good, and saved in the file", async (context) => {
    needs(context, MACHINE);
    const running = asking(`curl -s -m 60 http://www.test:${lab.port}/`);
    await running.says(/waits for an answer/);
    const path = join(directory, "kept.yaml");
    const rules = `rules: # mine\n  - { ask: "*:${lab.port}", private: true }\n`;
    writeFileSync(path, `version: 1\n${rules}`, { mode: 0o640 });
    const other = join(directory, "other.yaml");
    writeFileSync(other, "version: 1\n");
    for (const [args, said] of [
      [
        ["1", "--save", other],
        `${other}: found "www.test:${lab.port} denied by default"; allowed: a policy that asks`,
      ],
      [["1", "--save", path, "--for", "10m"], "--save: allowed: either it or --for"],
      [["--save", path], "--save: allowed: an id before it"],
    ] as const) {
      const { status, stderr } = await verb("approve", ...args);
      expect(stderr).toContain(said);
      expect(status).toBe(2);
    }
    const { status, stderr } = await verb("approve", "1", "--save", path);
    expect([status, stderr]).toEqual([0, ""]);
    expect((await running.ended).stdout).toBe("page\n");
    expect(readFileSync(path, "utf8")).toBe(
      `version: 1\nrules: # mine\n  - allow: www.test:${lab.port}\n    private: true\n  - { ask: "*:${lab.port}", private: true }\n`,
    );
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readdirSync(directory).filter((name) => name.startsWith("kept"))).toEqual(["kept.yaml"]);
  });

  it("P22 two answers race: one counts, the other is told", async (context) => {
    needs(context, MACHINE);
    const running = asking(`curl -sS -m 60 http://www.test:${lab.port}/`);
    await running.says(/waits for an answer/);
    const answers = await Promise.allSettled([
      client().answer(1, { verdict: "deny" }),
      client().answer(1, { verdict: "allow" }),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const { stdout, stderr } = await running.ended;
    const isAllowed = answers[1]?.status === "fulfilled";
    expect(stdout).toBe(isAllowed ? "page\n" : "");
    if (!isAllowed) {
      expect(stderr).toContain("Couldn't connect");
      expect(stderr).toContain(
        `sluice: denied: www.test:${lab.port} (policy-question-refused, rule people) once`,
      );
    }
  });

  it("P22 that is refused, or is not there, says so", async (context) => {
    needs(context, MACHINE);
    const running = asking(`curl -sS -m 60 http://www.test:${lab.port}/; sleep 5`);
    await running.says(/waits for an answer/);
    const unknown = await verb("approve", "77");
    expect([unknown.status, unknown.stderr]).toEqual([1, "sluice approve: there is no question 77\n"]);
    expect((await verb("refuse", "1")).status).toBe(0);
    await running.says(/Couldn't connect/);
    const again = await verb("approve", "1");
    expect([again.status, again.stderr]).toEqual([1, "sluice approve: question 1 has been answered\n"]);
  });

  it("P23 is refused at once while nobody is there, and waits while somebody is", async (context) => {
    needs(context, MACHINE);
    const curl = `curl -sS -m 60 http://www.test:${lab.port}/`;
    const running = asking(`${curl}; echo alone; until ${curl}; do sleep 0.2; done`, "unattended: deny\n");
    await running.says(/^alone$/m, "stdout");
    expect(running.stderr).toContain("Couldn't connect");
    const over = new AbortController();
    const events = client().events(["question"], over.signal);
    const asked = events[Symbol.asyncIterator]().next();
    const { value } = await asked;
    expect(value).toMatchObject({ type: "question", host: "www.test", port: lab.port, rule: "people" });
    await client().answer(value.id, { verdict: "allow" });
    expect((await running.ended).stdout).toBe("alone\npage\n");
    over.abort();
  });

  it("P22 at a terminal is shown, and answered by a key", async (context) => {
    needs(context, { ...MACHINE, commands: ["curl", "script"] });
    const running = asking(`curl -s -m 60 http://www.test:${lab.port}/`);
    await running.says(/waits for an answer/);
    const words = [process.execPath, join(import.meta.dirname, "../../src/cli/sluice.cjs"), "approve"];
    const desk = run("script", ["-qec", words.join(" "), "/dev/null"], {
      env: env(),
      stdio: ["pipe", "pipe", "pipe"],
    });
    await desk.says(
      new RegExp(
        `#1  www\\.test:${lab.port}/tcp   rule people   1 flow waits, \\d+ s left   \\[a\\]llow once`,
      ),
      "stdout",
    );
    desk.child.stdin?.write("a");
    await desk.says(/#1 {2}allow once/, "stdout");
    expect((await running.ended).stdout).toBe("page\n");
    // The instance has ended, and with it the desk.
    expect((await desk.ended).status).toBe(0);
  });
});
