/**
 * Starts where something is missing that a login would have: a home, a place for temporary files, standard streams, a
 * working directory. And what is left of a start or a service that ends by SIGKILL.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { engineOf } from "../support/engine-pid.ts";
import { freePort } from "../support/free-port.ts";
import { run, sluice, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";
import {
  after,
  COMMANDS,
  goneDirectory,
  READ_ONLY,
  reachesProgram,
  type Surroundings,
  startIn,
} from "../support/surroundings.ts";

const isRoot = process.geteuid!() === 0;
const directory = mkdtempSync(join(tmpdir(), "sluice-test-start-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const without = (...names: string[]): NodeJS.ProcessEnv => {
  const env = { ...process.env };
  for (const name of names) delete env[name];
  return env;
};

const homeless = without("HOME", "XDG_CACHE_HOME");
const streams = ["0<&-", "1>&-", "2>&-"];
/** Every choice of them that is not empty. */
const closings = Array.from({ length: 7 }, (_, i) =>
  streams.filter((_, bit) => ((i + 1) >> bit) & 1).join(" "),
);

const PLACES: Readonly<Record<string, Surroundings>> = {
  "an empty environment": { enter: ["env", "-i"] },
  "no HOME": { enter: [], env: homeless },
  "an empty HOME": { enter: [], env: { ...homeless, HOME: "" } },
  "a HOME that is relative, as is the cache": {
    enter: [],
    env: { ...process.env, HOME: "here", XDG_CACHE_HOME: "there" },
  },
  "a HOME that is not there": { enter: [], env: { ...homeless, HOME: join(directory, "no", "home") } },
  "a user of no user database and no HOME": {
    enter: ["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups"],
    env: homeless,
    needs: { root: true, commands: ["setpriv"], userNamespaces: true },
  },
  "no locale": { enter: [], env: { ...without("LANG", "LC_ALL"), LC_ALL: "none_NONE.none" } },
  "a TMPDIR that is not there": { enter: [], env: { ...process.env, TMPDIR: join(directory, "no", "tmp") } },
  "a TMPDIR that is not ours": { enter: [], env: { ...process.env, TMPDIR: "/proc/1" } },
  "a root that is read-only": {
    enter: ["unshare", ...(isRoot ? [] : ["--user", "--map-root-user"]), "--mount", ...after(READ_ONLY)],
    needs: { commands: ["unshare", "mount"], ...(isRoot ? {} : { userNamespaces: true }) },
  },
  ...Object.fromEntries(closings.map((closed) => [`${closed}`, { enter: after(`exec ${closed}`) }])),
};

describe.each(Object.keys(PLACES))("with %s", (name) => {
  it.for(Object.keys(COMMANDS))("%s starts", async (command, context) => {
    const place = PLACES[name];
    needs(context, { ...(command === "exec" ? { tun: true, userNamespaces: true } : {}), ...place.needs });
    if (!reachesProgram(place)) context.skip("this checkout is its owner's alone");
    const { status, stderr } = await startIn(place, command);
    expect(stderr).not.toMatch(/^\s+at |rror:/m);
    expect(status, stderr).toBe(COMMANDS[command].status);
  });
});

describe("a working directory that is gone", () => {
  it.for(Object.keys(COMMANDS))("is nothing that %s needs", async (command, context) => {
    needs(context, command === "exec" ? { tun: true, userNamespaces: true } : {});
    const { status } = await startIn({ enter: goneDirectory(directory) }, command);
    expect(status).toBe(COMMANDS[command].status);
  });
});

/** What a package has for a start and for the native part; the headers are for a Node that has none beside it. */
const PACKED = [
  ...["package.json", "dist/program", "src/cli/sluice.cjs", "src/build", "native-shims"],
  "node_modules/node-api-headers",
];

describe("a native part that is not built", () => {
  /** The package as npm installs it, without what was built of C; `spoil` puts things in the way. */
  function unbuilt(spoil: (root: string) => void): string {
    const root = mkdtempSync(join(directory, "package-"));
    for (const name of PACKED)
      cpSync(join(PROJECT_ROOT, name), join(root, name), {
        recursive: true,
        filter: (path) => path !== join(PROJECT_ROOT, "native-shims", "build"),
      });
    spoil(root);
    return root;
  }
  const start = (root: string, words: readonly string[]) =>
    run(process.execPath, [join(root, "src/cli/sluice.cjs"), ...words], {
      env: { ...homeless, HOME: join(root, "home"), CC: "/no/such/compiler" },
    }).ended;
  const inTheWay =
    (...names: string[]) =>
    (root: string): void => {
      for (const name of names) writeFileSync(join(root, name), "in the way");
    };

  it.for([...Object.keys(COMMANDS), "vm up", "--version"])("is a sentence of %s", async (command) => {
    const words = COMMANDS[command]?.words ?? command.split(" ");
    const noCompiler = await start(
      unbuilt(() => {}),
      words,
    );
    expect(noCompiler.stderr).toMatch(
      /^sluice: building its native part .*\nsluice[\w ]*: the C compiler "\/no\/such\/compiler" was not found; .*\n$/,
    );
    expect(noCompiler.status).toBe(1);
    const nowhere = await start(unbuilt(inTheWay("native-shims/build", "home")), words);
    expect(nowhere.stderr).toMatch(
      /^sluice[\w ]*: the native part is not built, and neither .* is writable; .*\n$/,
    );
    expect(nowhere.status).toBe(1);
  });

  it("is no secret of npm start and npm run build either, nor is a program that cannot be built", async () => {
    const root = unbuilt((at) => {
      rmSync(join(at, "dist"), { recursive: true });
      inTheWay("dist")(at);
      writeFileSync(join(at, "package.json"), '{ "name": "sluice", "version": "0.0.0" }');
      for (const name of ["tsconfig.json", "tsconfig.build.json", "package-lock.json"])
        writeFileSync(join(at, name), "{}");
    });
    const command = await start(root, ["--version"]);
    expect(command.stderr).toMatch(
      /^sluice: the program has to be built, and nothing can be written in .*\/dist \(\w+\)\n$/,
    );
    expect(command.status).toBe(1);
    for (const job of ["start", "build"]) {
      const { status, stderr } = await run(process.execPath, [join(root, "src/build/bootstrap.mjs"), job], {
        env: { ...process.env, CC: "/no/such/compiler" },
      }).ended;
      expect(stderr).toMatch(/^sluice: the C compiler "\/no\/such\/compiler" was not found; .*\n$/);
      expect(status).toBe(1);
    }
  });
});

/** Processes of a session, which what a test starts detached is; those that wait for init to notice have ended. */
function session(leader: number): number[] {
  const sessionOf = (pid: string): number => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [state, , , id] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return state === "Z" ? 0 : Number(id);
    } catch {
      return 0;
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && sessionOf(name) === leader)
    .map(Number);
}

describe("SIGKILL", () => {
  const ROUNDS = 20;
  const START_MS = 300;

  /** Starts with a TMPDIR and a HOME of its own, which stay empty; kills what `victims` names; waits for the end. */
  async function killed(
    args: readonly string[],
    delayMs: number,
    victim: (pid: number) => number | undefined,
  ): Promise<string[]> {
    const home = mkdtempSync(join(directory, "killed-"));
    const env = { ...homeless, HOME: home, TMPDIR: home };
    const running = sluice(args, { env, detached: true });
    const leader = running.child.pid!;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    const pid = victim(leader);
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    if (pid !== leader) running.child.kill("SIGTERM");
    await until(() => session(leader).length === 0, "every process to end");
    return readdirSync(home);
  }

  it("of a supervisor that serves leaves no process, file or socket", async () => {
    const home = mkdtempSync(join(directory, "served-"));
    const running = sluice(["run", "--qemu-listen", `tcp:127.0.0.1:${await freePort()}`], {
      env: { ...homeless, HOME: home, TMPDIR: home },
      detached: true,
    });
    await running.says(/ready/);
    const before = readdirSync(home);
    expect(session(running.child.pid!)).toContain(engineOf(running));
    running.child.kill("SIGKILL");
    await until(() => session(running.child.pid!).length === 0, "every process to end");
    expect(before).toEqual([]);
    expect(readdirSync(home)).toEqual([]);
  });

  it("of the supervisor at any moment of a start leaves nothing, with run", async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const args = ["run", "--qemu-listen", `tcp:127.0.0.1:${await freePort()}`];
      expect(await killed(args, (START_MS * round) / ROUNDS, (pid) => pid)).toEqual([]);
    }
  });

  it("of the supervisor at any moment of a start leaves nothing, with exec", async (context) => {
    needs(context, { tun: true, userNamespaces: true });
    for (let round = 0; round < ROUNDS; round++) {
      const args = ["exec", "--tun-device", TUN_DEVICE, "--", "sleep", "600"];
      expect(await killed(args, (START_MS * round) / ROUNDS, (pid) => pid)).toEqual([]);
    }
  });

  it("of what the supervisor has started, helper or engine, leaves nothing either", async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const args = ["run", "--qemu-listen", `tcp:127.0.0.1:${await freePort()}`];
      const child = (leader: number) => session(leader).find((pid) => pid !== leader);
      expect(await killed(args, (START_MS * round) / ROUNDS, child)).toEqual([]);
    }
  });
});
