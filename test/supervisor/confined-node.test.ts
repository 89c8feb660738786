/** A process that is started until it says its first word, with stand-ins for the confined one. */
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfinedNode, filesNamedIn } from "../../src/supervisor/confined-node.ts";
import { LOADED } from "../../src/supervisor/control.ts";
import { KeptLog } from "../support/link-rig.ts";

let directory = "";
let logFd = -1;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-node-"));
  logFd = openSync(join(directory, "log"), "w");
});
afterEach(() => {
  closeSync(logFd);
  rmSync(directory, { recursive: true });
});

interface Outcome {
  readonly how: string;
  readonly problem: Error | undefined;
  readonly heard: readonly string[];
  /** What each start had in view besides. */
  readonly starts: readonly (readonly string[])[];
  readonly begun: number;
  readonly log: KeptLog;
}

interface Stand {
  /** JavaScript that the process runs; `found` is there. */
  readonly code: string;
  readonly sees?: (path: string) => boolean;
  readonly sandbox?: boolean;
  readonly refusal?: Error;
}

/** Node and the shell are in view, the test's own files are not. */
const seesOthers = (path: string): boolean => !path.startsWith(directory);

function outcomeOf({ code, sees = seesOthers, sandbox = true, refusal }: Stand): Promise<Outcome> {
  const log = new KeptLog();
  const heard: string[] = [];
  const starts: (readonly string[])[] = [];
  let begun = 0;
  return new Promise((resolve) => {
    new ConfinedNode({
      spawn: (found) => {
        starts.push([...found]);
        const script = `const found = ${JSON.stringify(found)}; const fs = require("node:fs"); ${code}`;
        const child = spawn(process.execPath, ["-e", script], {
          stdio: ["ignore", "ignore", "pipe", "pipe"],
        });
        const started = refusal === undefined ? Promise.resolve([]) : Promise.reject(refusal);
        started.catch(() => {});
        return { child, started, sees };
      },
      sandbox,
      log,
      logFd,
      begin: () => {
        begun++;
      },
      loaded: () => {},
      hear: (line) => heard.push(line),
      gone: (how, problem) => resolve({ how, problem, heard, starts, begun, log }),
    });
  });
}

const SAY_LOADED = `fs.writeSync(3, ${JSON.stringify(`${LOADED}\n`)});`;
/** What Node 24 as Debian builds it does without one of its files. */
const lacking = (path: string): string =>
  `if (!found.includes(${JSON.stringify(path)})) {
     fs.writeSync(2, 'Cannot load externalized builtin: "internal/deps/x:${path}".\\n----- Native stack trace -----\\n\\n 1: 0x7f00 [/bin/sh]\\n');
     process.abort();
   }`;

describe("a process that lacks files", () => {
  it("is started again with each of them, and told what it is to do each time", async () => {
    const paths = ["one.js", "two.js"].map((name) => join(directory, name));
    for (const path of paths) writeFileSync(path, "");
    const code = `${paths.map(lacking).join("")} ${SAY_LOADED} fs.writeSync(3, "word\\n"); fs.writeSync(2, "later\\n");`;
    const outcome = await outcomeOf({ code });
    expect(outcome.starts).toEqual([[], [paths[0]], paths]);
    expect(outcome).toMatchObject({ how: "status 0", problem: undefined, heard: ["word"], begun: 2 });
    expect(outcome.log.lines.join()).toContain(`Node reads ${paths[0]} at its start`);
    expect(readFileSync(join(directory, "log"), "utf8")).toBe("later\n");
  });

  it("is started once where it sees them, where nothing is confined, and where there is none", async () => {
    const path = join(directory, "there.js");
    writeFileSync(path, "");
    for (const [stand, code] of [
      [{ sees: () => true }, lacking(path)],
      [{ sandbox: false }, lacking(path)],
      [{}, lacking(join(directory, "not-there.js"))],
      [{}, lacking(directory)],
    ] as const) {
      const { starts, problem, how } = await outcomeOf({ ...stand, code });
      expect(starts).toEqual([[]]);
      expect(how).toBe("SIGABRT");
      expect(problem?.message).toMatch(
        /^the engine process ended at its start \(SIGABRT\): Cannot load externalized builtin: "internal\/deps\/x:.*"\.(\n|$)/,
      );
    }
  });

  it("is given up when more in view does not help", async () => {
    const path = join(directory, "useless");
    writeFileSync(path, "");
    const outcome = await outcomeOf({ code: `fs.writeSync(2, ${JSON.stringify(path)}); process.exit(3)` });
    expect(outcome.starts).toEqual([[], [path]]);
    expect(outcome.problem?.message).toBe(`the engine process ended at its start (status 3): ${path}`);
  });
});

describe("a process that ends before its first word", () => {
  it("is told of with what Node said and not where", async () => {
    const { problem } = await outcomeOf({ code: `throw new RangeError("no such\\nthing")` });
    expect(problem?.message).toBe(
      "the engine process ended at its start (status 1): RangeError: no such\nthing",
    );
  });

  it("is told of by its signal when it said nothing", async () => {
    const { problem } = await outcomeOf({ code: `process.kill(process.pid, "SIGSEGV")` });
    expect(problem?.message).toBe("the engine process ended at its start (SIGSEGV)");
  });

  it("is told of by what the helper refused, if that was why", async () => {
    const refusal = new Error("no-view");
    expect((await outcomeOf({ code: "process.exit(1)", refusal })).problem).toBe(refusal);
  });
});

it("a crash after the first word goes to the log as it is", async () => {
  const outcome = await outcomeOf({
    code: `${SAY_LOADED} setTimeout(() => { throw new Error("late") }, 50)`,
  });
  expect(outcome).toMatchObject({ how: "status 1", problem: undefined });
  expect(readFileSync(join(directory, "log"), "utf8")).toMatch(/Error: late\n +at /);
});

it("files are found in what people and Node write", () => {
  const [one, two] = ["a.js", "b c.so"].map((name) => join(directory, name));
  for (const path of [one, two]) writeFileSync(path, "");
  const text = `x:${one}: no such file\n"${one}". (${one}), ${directory} /no/such/file ${two} relative/a.js`;
  expect(filesNamedIn(text)).toEqual([one]);
});
