/** The image of docs/Containerfile, built and run as docs/container.md says, with QEMU in front. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../support/free-port.ts";
import { LEASE_AND_WEB } from "../support/guest-lab.ts";
import { PODMAN_NEEDS, Podman } from "../support/podman.ts";
import { isAlive, type Running, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { bootGuest, needsGuest, shellScript } from "../support/qemu-guest.ts";
import { missing, needs } from "../support/requirements.ts";

const DOCUMENT = readFileSync(join(PROJECT_ROOT, "docs/container.md"), "utf8");
/** The document's lines, as words. */
const LINES = [...DOCUMENT.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block]) =>
  block.trim().split("\n"),
);
const wordsOf = (start: string): string[] => {
  const line = LINES.find((each) => each.startsWith(start));
  if (line === undefined) throw new Error(`no line of docs/container.md starts with ${start}`);
  return line.split(" ");
};
/** The directory that the document makes the image of. */
const CONTEXT = "image";

/** Prints how many files of the program have a cache, how many of those V8 rejects, and how many there are. */
const LOOK_AT_CACHES = `const { readdirSync, readFileSync } = require("node:fs"), { Script } = require("node:vm");
process.chdir("/usr/lib/node_modules/sluice/dist/program");
const names = readdirSync(".").filter((name) => /-[\\w-]{8}\\.js$/.test(name));
const caches = readdirSync(".").filter((name) => name.endsWith(".cache"));
const rejected = names.filter((name) => {
  const source = "(function (exports, require, module, __filename, __dirname) { " + readFileSync(name, "latin1") + "\\n})";
  const cachedData = readFileSync(caches.find((cache) => cache.startsWith(name + ".")));
  return new Script(source, { cachedData }).cachedDataRejected;
});
console.log(JSON.stringify([caches.length, rejected.length, names.length]));`;

describe("the image", () => {
  const podman = new Podman();
  const context = join(podman.directory, CONTEXT);
  let running: Running | undefined;

  beforeAll(async () => {
    if (missing(PODMAN_NEEDS).length > 0) return;
    await podman.open();
    const made = podman.run(...wordsOf("node ").map((word) => word.replace(/^image\b/, context)));
    expect([made.status, made.stderr]).toEqual([
      0,
      expect.stringMatching(/sluice \d+\.\d+\.\d+ with Node v/),
    ]);
    const built = podman.run(...wordsOf("buildah ").map((word) => (word === CONTEXT ? context : word)));
    expect([built.status, built.stderr]).toEqual([0, expect.not.stringMatching(/error/i)]);
  });
  afterAll(async () => {
    await podman.close();
    await running?.ended;
  });

  it("is made of a new directory, and says what is wrong", (test) => {
    needs(test, PODMAN_NEEDS);
    const make = (...args: string[]) => {
      const { status, stderr } = podman.run("node", "src/build/image.mjs", ...args);
      return [status, stderr];
    };
    expect(make(join(context, "root"))).toEqual([1, `image: ${context}/root is not empty\n`]);
    expect(make()).toEqual([2, expect.stringContaining("found 0 directories; node src/build/image.mjs")]);
    expect(make("--nodes", "x", "y")).toEqual([2, expect.stringContaining("'--nodes'")]);
    const elsewhere = join(podman.directory, "other");
    expect(make("--node", "/no/such/node", elsewhere)).toEqual([1, expect.stringContaining("/no/such/node")]);
  });

  it("holds Node, its libraries and sluice, and no shell", (test) => {
    needs(test, PODMAN_NEEDS);
    const found = podman.run("find", join(context, "root"), "-type", "f", "-executable", "-printf", "%P\n");
    const programs = found.stdout
      .trim()
      .split("\n")
      .filter((path) => !/^lib(64)?\/|^usr\/lib\/(?!node_modules)/.test(path));
    expect(programs.filter((path) => !path.startsWith("usr/lib/node_modules/sluice/"))).toEqual([
      "usr/bin/node",
    ]);
    const [image] = JSON.parse(podman.run("podman", "image", "inspect", "localhost/sluice").stdout) as [
      { Config: { User: string; Entrypoint: string[] } },
    ];
    expect(image.Config.User).toBe("65532:65532");
    expect(
      podman.run("podman", "run", "--rm", "--network", "none", "localhost/sluice", "--version"),
    ).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^sluice \d/),
    });
    const shell = podman.run(
      "podman",
      "run",
      "--rm",
      "--entrypoint",
      "/bin/sh",
      "localhost/sluice",
      "-c",
      "true",
    );
    expect([shell.status, shell.stderr]).toEqual([127, expect.stringContaining("/bin/sh")]);
  });

  it("holds a code cache of each file of the program that its Node takes", (test) => {
    needs(test, PODMAN_NEEDS);
    const words = [
      "run",
      "--rm",
      "--network",
      "none",
      "--entrypoint",
      "/usr/bin/node",
      "localhost/sluice",
      "-e",
    ];
    const [made, rejected, files] = JSON.parse(podman.run("podman", ...words, LOOK_AT_CACHES).stdout);
    expect(files).toBeGreaterThan(20);
    expect([made, rejected]).toEqual([files, 0]);
  });

  it("serves a guest, confined, and ends in order without an init", async (test) => {
    needs(test, PODMAN_NEEDS);
    needsGuest(test);
    const port = await freePort();
    running = podman.start(...wordsOf("podman run ").map((word) => word.replace("2222:22", `${port}:80`)));
    await running.says(/ready: qemu-listen unix:\/run\/sluice\/vm1\.sock/);
    expect(running.stderr).not.toMatch(/warn:|cannot be confined|without/);

    const volume = podman
      .run("podman", "volume", "inspect", "--format", "{{.Mountpoint}}", "sluice")
      .stdout.trim();
    const netdev = `stream,id=n0,server=off,addr.type=unix,addr.path=${volume}/vm1.sock`;
    const script = shellScript(LEASE_AND_WEB);
    const guest = bootGuest({ netdev: ["-netdev", netdev, "-device", "virtio-net-pci,netdev=n0"], script });
    try {
      await guest.waitFor(/^guest-ready\n/m);
      const page = await fetch(`http://127.0.0.1:${port}/`);
      expect(await page.text()).toContain("the guest's page");
    } finally {
      await guest.kill();
    }

    const pid = Number(podman.run("podman", "inspect", "--format", "{{.State.Pid}}", "vm1").stdout);
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(status).toMatch(/^Uid:\t65532\t65532\t65532\t65532$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(readFileSync(`/proc/${pid}/mountinfo`, "utf8")).toMatch(/ \/ \/ ro,/);
    // Its children are those that it waits for; nobody else's are left to it.
    const states = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    expect(states.length).toBeGreaterThan(0);
    for (const child of states)
      expect(readFileSync(`/proc/${child}/status`, "utf8")).not.toMatch(/^State:\tZ/m);

    expect(podman.run("podman", "stop", "vm1").status).toBe(0);
    expect(await running.ended).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("SIGTERM received; ending"),
    });
    await until(() => states.every((child) => !isAlive(Number(child))), "the engine is gone");
  });
});
