/**
 * npm run fuzz:mutations [-- --seconds N]
 *
 * Does the fuzzing of the TCP stream find what is wrong? Each mutation breaks a copy of the built engine; the target has
 * to notice within N CPU seconds.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BASIC_MUTATIONS, type Mutation, withBrokenCopy } from "../sim/broken-copy.ts";

const MUTATIONS: readonly Mutation[] = [
  ...BASIC_MUTATIONS,
  {
    name: "an overlap ahead of a hole is stored from its first octet",
    file: "transport/tcp/out-of-order.js",
    find: /at \+= known;/,
    replace: "",
  },
  {
    name: "a stored range that is old in part goes to the host whole",
    file: "transport/tcp/out-of-order.js",
    find: /ctx\.arena\.octets\.copyWithin\(at, at \+ known, at \+ known \+ fresh\);/,
    replace: "",
  },
  {
    name: "what the host took of the backlog's first chunk is given to it again",
    file: "transport/tcp/to-host.js",
    find: /c\.backlogOffset = taken;/,
    replace: "c.backlogOffset = 0;",
  },
];

interface Verdict {
  readonly caught: boolean;
  readonly line: string;
}

function fuzz(mutation: Mutation, seconds: number): Verdict {
  return withBrokenCopy(mutation, (dist) => {
    const program = join(dist, "test", "fuzz", "run.js");
    const options = ["--target", "tcp-stream", "--seconds", String(seconds), "--seed", "1", "--out", dist];
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...options], {
      encoding: "utf8",
    });
    const line = stdout.split("\n").find((one) => one.startsWith("tcp-stream: ") && one.includes(" seed "));
    if (line === undefined) throw new Error(`the fuzzer itself failed on "${mutation.name}": ${stderr}`);
    return { caught: status === 1, line };
  });
}

function main(): number {
  const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" } } });
  let missed = 0;
  for (const mutation of MUTATIONS) {
    const { caught, line } = fuzz(mutation, Number(values.seconds));
    if (!caught) missed++;
    console.log(`${caught ? "caught" : "MISSED"}  ${mutation.name}\n        ${line}`);
  }
  return missed > 0 ? 1 : 0;
}

process.exitCode = main();
