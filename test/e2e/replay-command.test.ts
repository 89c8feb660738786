/** `sluice replay`: what it prints and writes, and that a stranger's capture is read behind walls. */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readCapture } from "../../src/engine/wire/pcap.ts";
import { type Running, sluice, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const CAPTURE = join(PROJECT_ROOT, "test/fixtures/linux-6.1-guest-behind-libslirp.pcap");
const isRoot = process.geteuid!() === 0;
const directory = mkdtempSync(join(tmpdir(), "sluice-test-replay-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const at = (name: string): string => join(directory, name);

const framesIn = (path: string): number => [...readCapture(new Uint8Array(readFileSync(path)))].length;

describe("a replay", () => {
  it("prints what came of it, and writes the frames of both sides", async () => {
    const output = at("answers.pcap");
    const { status, stdout, stderr } = await sluice(["replay", CAPTURE, "--output", output]).ended;
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const [, sent, back] = /^replayed (\d+) frames of the guest, (\d+) came back\n/.exec(stdout) ?? [];
    expect(stdout).toMatch(/^kept from the network: \d+ connections, \d+ datagrams$/m);
    expect(framesIn(output)).toBe(Number(sent) + Number(back));
  });

  it("replaces a longer file, and may write over the capture it reads", async () => {
    const output = at("long.pcap");
    writeFileSync(output, Buffer.alloc(5_000_000));
    expect((await sluice(["replay", CAPTURE, "--output", output]).ended).status).toBe(0);
    const same = at("same.pcap");
    copyFileSync(CAPTURE, same);
    expect((await sluice(["replay", same, "--output", same]).ended).status).toBe(0);
    expect(readFileSync(same).equals(readFileSync(output))).toBe(true);
  });

  it("says in one sentence what cannot be replayed, and leaves the output as it was", async () => {
    const wrong = at("wrong.pcap");
    writeFileSync(wrong, "not a capture at all");
    const kept = at("kept.pcap");
    writeFileSync(kept, "kept");
    for (const [capture, reason] of [
      [wrong, "neither pcap nor pcapng"],
      [at("missing.pcap"), "ENOENT"],
      [directory, "EISDIR"],
    ] as const) {
      for (const output of [kept, at("new.pcap")]) {
        const { status, stdout, stderr } = await sluice(["replay", capture, "--output", output]).ended;
        expect(stderr).toMatch(new RegExp(`^sluice replay: replay ${capture}: .*${reason}.*\n$`));
        expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      }
    }
    expect(readFileSync(kept, "utf8")).toBe("kept");
    expect(existsSync(at("new.pcap"))).toBe(false);
    const nowhere = await sluice(["replay", CAPTURE, "--output", at("no/such/file")]).ended;
    expect(nowhere).toMatchObject({ status: 1, stderr: expect.stringMatching(/no\/such\/file: ENOENT/) });
  });
});

describe("the process that reads the capture", () => {
  const childOf = (running: Running): string | undefined => {
    const pid = running.child.pid!;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return children.find((child) =>
      readFileSync(`/proc/${child}/cmdline`, "utf8").includes("replay-process"),
    );
  };
  /** At a pace that leaves time to look. */
  const slow = ["replay", CAPTURE, "--speed", "0.01"];

  it("stands behind every wall that the engine has, and ends with its supervisor", async (context) => {
    if (!isRoot) needs(context, { userNamespaces: true });
    const running = sluice(slow);
    let child: string | undefined;
    const sealed = (): boolean => {
      child = childOf(running);
      return (
        child !== undefined && /^Seccomp_filters:\t2$/m.test(readFileSync(`/proc/${child}/status`, "utf8"))
      );
    };
    await until(sealed, "the last wall");
    const status = readFileSync(`/proc/${child}/status`, "utf8");
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toContain(`Uid:\t${isRoot ? 65534 : process.geteuid!()}\t`);
    const points = readFileSync(`/proc/${child}/mountinfo`, "utf8")
      .split("\n")
      .map((line) => line.split(" ")[4]);
    expect(points).not.toContain("/etc");
    if (isRoot) expect(readdirSync(`/proc/${child}/root/`)).not.toContain("root");
    running.child.kill("SIGKILL");
    await until(() => !existsSync(`/proc/${child}/exe`), "its end");
  });

  it("is told of when it is not confined", async () => {
    const { status, stderr } = await sluice(["replay", CAPTURE, "--no-sandbox"]).ended;
    expect(stderr).toBe("sluice: warn: the engine is not confined (--no-sandbox)\n");
    expect(status).toBe(0);
  });

  it("that is killed is an error of the command", async () => {
    const running = sluice(slow);
    await until(() => childOf(running) !== undefined, "its start");
    process.kill(Number(childOf(running)), "SIGKILL");
    const { status, stderr } = await running.ended;
    expect(stderr).toMatch(/^sluice replay: the \w+'?s? process ended .*\(SIGKILL\)\n$/);
    expect(status).toBe(1);
  });
});
