/** Every command on Nodes that others build, confined as it is on nodejs.org's. */
import { join } from "node:path";
import { beforeAll, describe, expect, it, type TestContext } from "vitest";
import { nextLine, type OtherNode, unstableNode } from "../support/other-nodes.ts";
import { PROGRAM, type Running, run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const isRoot = process.geteuid!() === 0;
const CAPTURE = join(PROJECT_ROOT, "test/fixtures/linux-6.1-guest-behind-libslirp.pcap");
const BLIND = join(PROJECT_ROOT, "test/support/blind-config.cjs");
/** What one id, the last trial here and a low limit of descriptors are told of with: anything else would be a failure. */
const EXPECTED = /this user namespace maps no id|Node reads .* at its start|RLIMIT_NOFILE allows/;

const NODES: Readonly<Record<string, () => OtherNode>> = {
  "nodejs.org's next line": nextLine,
  "Debian unstable's": unstableNode,
};

describe.each(Object.keys(NODES))("with %s Node", (name) => {
  let node: OtherNode | undefined;
  let reason = "";
  beforeAll(() => {
    try {
      node = NODES[name]();
    } catch (error) {
      reason = (error as Error).message.trim().split("\n").at(-1) ?? "";
    }
  }, 300_000);

  /** Skips, loudly, where the Node could not be had; fails instead under SLUICE_REQUIRE_ALL=1. */
  function other(context: TestContext): OtherNode {
    if (!isRoot) needs(context, { userNamespaces: true, commands: ["unshare", "pivot_root"] });
    if (node !== undefined) return node;
    if (process.env["SLUICE_REQUIRE_ALL"] === "1") throw new Error(`${name} Node cannot be had: ${reason}`);
    process.stderr.write(`SKIPPED ${context.task.name}: ${name} Node cannot be had: ${reason}\n`);
    return context.skip(reason);
  }

  function start({ command }: OtherNode, ...args: string[]): Running {
    const [program, ...words] = [...command, ...args];
    return run(program, words);
  }

  const unexpected = (stderr: string): string[] =>
    stderr.split("\n").filter((line) => line !== "" && !EXPECTED.test(line));

  it("run serves, and no wall is missing", async (context) => {
    const running = start(other(context), PROGRAM, "run", "--qemu-listen", "unix:/tmp/qemu.sock");
    await running.says(/ready: /);
    running.child.kill("SIGTERM");
    const { status, stderr } = await running.ended;
    expect(unexpected(stderr).join("\n")).not.toMatch(/warn|error/);
    expect(status).toBe(0);
  });

  it("exec runs a command", async (context) => {
    const { command } = other(context);
    needs(context, { tun: true });
    if (TUN_DEVICE !== "/dev/net/tun") context.skip("the tree has its own /dev");
    const ended = await start({ command }, PROGRAM, "exec", "--", command.at(-1)!, "-p", "6 * 7").ended;
    expect(unexpected(ended.stderr)).toEqual([]);
    expect(ended).toMatchObject({ status: 0, stdout: "42\n" });
  });

  it("qemu runs a program, and replay a capture", async (context) => {
    const { command } = other(context);
    const qemu = await start(
      { command },
      PROGRAM,
      "qemu",
      "--",
      command.at(-1)!,
      "-e",
      "process.exit(7)",
      "--",
    ).ended;
    expect(unexpected(qemu.stderr)).toEqual([]);
    expect(qemu.status).toBe(7);
    const replay = await start({ command }, PROGRAM, "replay", CAPTURE).ended;
    expect(unexpected(replay.stderr)).toEqual([]);
    expect(replay.stdout).toMatch(/^replayed 239 frames/);
  });

  it("run finds out by trying what a Node needs that does not say how it was built", async (context) => {
    const listen = ["run", "--qemu-listen", "unix:/tmp/qemu.sock"];
    const running = start(other(context), "-r", BLIND, PROGRAM, ...listen);
    await running.says(/ready: /);
    running.child.kill("SIGTERM");
    const { status, stderr } = await running.ended;
    if (name.startsWith("Debian")) expect(stderr).toContain("undici-fetch.js at its start");
    else expect(stderr).not.toContain("at its start");
    expect(status).toBe(0);
  });
});
