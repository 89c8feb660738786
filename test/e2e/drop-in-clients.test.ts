/**
 * Clients of today with sluice under the names they start, in a tree of Debian unstable (SLUICE_TEST_TREE, made by
 * test/support/drop-in/make-tree.sh): QEMU, libvirt, rootless Podman, RootlessKit; and the owners' own tests where somebody has
 * fetched them, by the directories of their sources: SLUICE_TEST_SLIRP4NETNS, SLUICE_TEST_PODMAN (505-networking-pasta.bats) and
 * SLUICE_TEST_ROOTLESSKIT. What passes with the owner's program has to with ours.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run, sluice } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { missing, type Needs } from "../support/requirements.ts";

const TREE = process.env["SLUICE_TEST_TREE"] ?? "";
const SOURCES = process.env["SLUICE_TEST_SLIRP4NETNS"] ?? "";
const PODMAN = process.env["SLUICE_TEST_PODMAN"] ?? "";
const ROOTLESSKIT = process.env["SLUICE_TEST_ROOTLESSKIT"] ?? "";
const SCRIPTS = join(PROJECT_ROOT, "test", "support", "drop-in");
const NEEDS: Needs = { root: true, files: ["/dev/net/tun"], commands: ["unshare", "bash"] };

/** Why nothing can be tested here; empty otherwise. */
const lacks =
  TREE === ""
    ? ["SLUICE_TEST_TREE, a tree of Debian unstable"]
    : missing({ ...NEEDS, files: [join(TREE, "usr/bin/podman")] });
if (lacks.length > 0)
  process.stderr.write(`SKIPPED clients of other programs' names: needs ${lacks.join(" and ")}\n`);

/** Beside the package, so that one bind brings both; readable for everybody. */
let names = "";
beforeAll(async () => {
  if (lacks.length > 0) return;
  mkdirSync(join(PROJECT_ROOT, "dist"), { recursive: true });
  names = mkdtempSync(join(PROJECT_ROOT, "dist", "names-"));
  // By the Node of the tree: this machine's is not in there.
  const command = `node ${join(PROJECT_ROOT, "src/cli/sluice.cjs")} names install ${names} && chmod -R a+rX ${names}`;
  const { status, stderr } = await inside(["sh", "-c", command]);
  expect([status, stderr.replace(/^sluice: building .*\n/gm, "")]).toEqual([0, ""]);
});
afterAll(async () => {
  if (names === "") return;
  await sluice(["names", "remove", names]).ended;
  rmSync(names, { recursive: true, force: true });
});

function inside(command: readonly string[]) {
  return run("bash", [
    join(SCRIPTS, "enter.sh"),
    TREE,
    [PROJECT_ROOT, SOURCES, PODMAN, ROOTLESSKIT].filter((directory) => directory !== "").join(":"),
    ...command,
  ]).ended;
}

/** What a script says behind offline.sh, where there is one name; started by the command `by`. */
async function offline(
  name: string,
  env: readonly string[],
  script: string,
  words: readonly string[],
  by: readonly string[] = [],
): Promise<string> {
  const command = ["env", ...env, "bash", join(SCRIPTS, script), ...words];
  return (await inside([...by, "bash", join(SCRIPTS, "offline.sh"), name, ...command])).stdout;
}

/** What a script says, run by the tree's root or its user tester. */
async function says(script: string, argument: string, user: "root" | "tester"): Promise<string[]> {
  const line = `bash ${join(SCRIPTS, script)} '${argument}'`;
  const { stdout } = await inside(user === "root" ? ["sh", "-c", line] : ["su", "tester", "-c", line]);
  return stdout.split("\n").filter((text) => text !== "");
}

describe.skipIf(lacks.length > 0)("has sluice underneath:", () => {
  it.each([
    {
      client: "QEMU",
      script: "qemu.sh",
      user: "root",
      theirs: "/usr/bin/passt",
      ours: "/passt",
      lines: [
        "started: 1",
        "forwards: yes",
        "anew: yes",
        "gone: yes",
        "status: 0",
        "wrong: 1 1",
        "no passt: 1",
      ],
    },
    {
      client: "libvirt",
      script: "libvirt.sh",
      user: "root",
      theirs: "",
      ours: "/passt",
      lines: [
        "state: running",
        "ports: 12 udp",
        "runs: yes",
        "anew: yes",
        "state: running",
        "left: no",
        "files: 0",
      ],
    },
    {
      client: "rootless Podman",
      script: "podman.sh",
      user: "tester",
      theirs: "",
      ours: "",
      lines: [
        "address: the host's",
        "route: the host's",
        "nameserver 169.254.1.1",
        "served",
        "runs: 1",
        "left: 0",
        "wrong: 126 1",
      ],
    },
    {
      client: "rootless Podman by slirp4netns and on a network of its own",
      script: "podman-networks.sh",
      user: "tester",
      theirs: "",
      ours: "",
      lines: [
        ...["served", "inet 10.0.2.100/24", "runs: 1", "left: 0"],
        ...["served", "served", "runs: 1", "left: 0"],
      ],
    },
    {
      client: "pesto",
      script: "pesto.sh",
      user: "tester",
      theirs: "",
      ours: "",
      lines: [
        ...["pasta: 0 socket", "served: 7"],
        ...["pesto -A --tcp-ports=127.0.0.1/18085:18080: 0", "served: 0"],
        ...["pesto : 0", "1"],
        "pesto -A --tcp-ports=127.0.0.1/18085:18080: 1",
        ...["pesto -D --tcp-ports=127.0.0.1/18085:18080: 0", "served: 7"],
        "pesto -D --tcp-ports=127.0.0.1/18085:18080: 1",
      ],
    },
    {
      client: "RootlessKit",
      script: "rootlesskit.sh",
      user: "tester",
      theirs: "/usr/bin/slirp4netns",
      ours: "/slirp4netns",
      lines: ["served", "inet 10.0.2.100/24", "mtu 65520", "default via 10.0.2.2", "runs: yes", "left: no"],
    },
    {
      client: "RootlessKit's port driver",
      script: "rootlesskit-ports.sh",
      user: "tester",
      theirs: "/usr/bin/slirp4netns",
      ours: "/slirp4netns",
      lines: ["served", "added: 2", "served", "listed: 2", "removed: yes"],
    },
    {
      client: "RootlessKit with pasta, which asks for --host-lo-to-ns-lo and does without",
      script: "rootlesskit-pasta.sh",
      user: "tester",
      theirs: "",
      ours: "",
      lines: ["served", "runs: yes", "left: no"],
    },
  ] as const)("$client", { timeout: 180_000 }, async ({ script, user, theirs, ours, lines }) => {
    expect(await says(script, theirs, user)).toEqual(lines);
    expect(await says(script, `${names}${ours}`, user)).toEqual(lines);
  });
});

describe.skipIf(lacks.length > 0 || SOURCES === "")("slirp4netns' own tests", () => {
  const tests =
    SOURCES === "" ? [] : readdirSync(join(SOURCES, "tests")).filter((name) => name.startsWith("test-"));
  it.for(tests)("%s", { timeout: 180_000 }, async (name, context) => {
    const passes = async (first: string): Promise<boolean> => {
      const words = `SLIRP4NETNS_SOURCES=${SOURCES} bash ${join(SCRIPTS, "slirp4netns-own.sh")} ${first} ${name}`;
      return (await inside(["su", "tester", "-c", words])).stdout.includes("status: 0");
    };
    if (!(await passes("/usr/bin"))) {
      process.stderr.write(`SKIPPED ${name}: slirp4netns fails it here\n`);
      context.skip();
    }
    expect(await passes(names)).toBe(true);
  });
});

/** Cases of Podman's own tests that pass with pasta and not with ours. */
const NOT_OURS_OF_PODMAN: readonly string[] = [];

/** Names of the cases that pass. */
function passed(tap: string): string[] {
  return [...tap.matchAll(/^ok \d+ \[505\] (.*?)(?: in \d+ms)?(# skip.*)?$/gm)]
    .filter(([, , skipped]) => skipped === undefined)
    .map(([, name = ""]) => name);
}

describe.skipIf(lacks.length > 0 || PODMAN === "")("Podman's own tests of pasta", () => {
  it("pass where they do with pasta", { timeout: 3_600_000 }, async () => {
    const cases = async (first: string): Promise<string[]> => {
      const sources = [`PODMAN_SOURCES=${PODMAN}`, "BATS_TIME=1700"];
      return passed(await offline("l.root-servers.net", sources, "podman-bats.sh", [first]));
    };
    const theirs = await cases("");
    expect(theirs.length).toBeGreaterThan(80);
    const ours = await cases(names);
    expect(theirs.filter((name) => !ours.includes(name))).toEqual(NOT_OURS_OF_PODMAN);
  });
});

describe.skipIf(lacks.length > 0 || ROOTLESSKIT === "")("RootlessKit's own scripts", () => {
  it.each([["integration-port.sh"], ["integration-net.sh", "slirp4netns"], ["integration-net.sh", "pasta"]])(
    "%s %s",
    { timeout: 400_000 },
    async (...script) => {
      const passes = async (first: string): Promise<boolean> => {
        const sources = [`ROOTLESSKIT_SOURCES=${ROOTLESSKIT}`];
        const words = [first, ...script];
        // They give a network one second to start, and then try once.
        const said = await offline("example.com", sources, "rootlesskit-own.sh", words, ["chrt", "-r", "1"]);
        return said.includes("status: 0");
      };
      expect([await passes(""), await passes(names)]).toEqual([true, true]);
    },
  );
});
