/**
 * npm run sim:mutations [-- --runs N]
 *
 * Is the simulator any good? Each mutation breaks a copy of the built engine in one way that real stacks have been
 * broken in; the simulator has to notice within N worlds. A mutation that no longer fits the text it patches is a
 * failure too: it would prove nothing.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BASIC_MUTATIONS, type Mutation, withBrokenCopy } from "./broken-copy.ts";

const MUTATIONS: readonly Mutation[] = [
  ...BASIC_MUTATIONS,
  {
    name: "the retransmission timer is never armed",
    file: "transport/tcp/deadline.js",
    find: /c\.timerAt = \(ctx\.now \+ rto\) \| 0;\s+arm\(ctx, c\);/,
    replace: "c.timerAt = (ctx.now + rto) | 0;",
  },
  {
    name: "sequence numbers are compared as numbers",
    file: "wire/tcp.js",
    find: /(export function before\(a, b\) \{\s+return )[^;]+;/,
    replace: "$1a < b;",
  },
  {
    name: "SACK blocks reach over holes",
    file: "transport/tcp/out-of-order.js",
    find: /(function rangeEnd\(ctx, chunk\) \{[^}]*?while \(next !== NO_CHUNK) && ctx\.pool\.sequence\[next\] === end\)/,
    replace: "$1)",
  },
  {
    name: "acknowledged chunks are not freed",
    file: "transport/tcp/to-guest.js",
    find: /(c\.sendTail = NO_CHUNK;\s+)pool\.release\(chunk\);/,
    replace: "$1",
  },
  {
    name: "retransmissions start at the chunk, not at the octet",
    file: "transport/tcp/to-guest.js",
    find: /const offset = \(from - pool\.sequence\[chunk\]\) \| 0;/,
    replace: "const offset = 0;",
  },
  {
    name: "octets the host did not take are acknowledged and forgotten",
    file: "transport/tcp/to-host.js",
    find: /const kept = appendBacklog\([^;]*;/,
    replace: "const kept = length;",
  },
  {
    name: "a closed window is never probed",
    file: "transport/tcp/deadline.js",
    find: /(export function startPersistTimer\(ctx, c\) \{)/,
    replace: "$1 if (c !== null) return;",
  },
  {
    name: "PAWS is the wrong way round",
    file: "transport/tcp/input.js",
    find: /if \(!before\(options\.timestampValue, c\.tsRecent\)\)/,
    replace: "if (before(options.timestampValue, c.tsRecent))",
  },
  {
    name: "the guest's FIN never reaches the host",
    file: "transport/tcp/to-host.js",
    find: /ctx\.network\.tcpShutdown\(c\.handle\);/,
    replace: "",
  },
  {
    name: "a writable host socket goes unnoticed",
    file: "transport/tcp/tcp.js",
    find: /c\.hostWritable = true;/,
    replace: "",
  },
  {
    name: "duplicates are reported beyond what is acknowledged",
    file: "transport/tcp/reordering.js",
    find: /c\.dsackRight = \(left \+ octets\) \| 0;/,
    replace: "c.dsackRight = (left + octets + 1) | 0;",
  },
  {
    name: "an answer comes from another port than was asked",
    file: "transport/udp/udp.js",
    find: /path\.remotePort = port;/,
    replace: "path.remotePort = port ^ 1;",
  },
];

/** Runs the simulator over a broken copy. Returns what it printed about the failure, or null if it saw none. */
function tryMutation(mutation: Mutation, runs: number): string | null {
  return withBrokenCopy(mutation, (dist) => {
    const program = join(dist, "test", "sim", "run.js");
    const result = spawnSync(process.execPath, [program, "--seed", "1", "--runs", String(runs)], {
      encoding: "utf8",
      timeout: 600_000,
    });
    const failure = result.stdout.split("\n").find((line) => line.startsWith("FAILED"));
    if (result.status === 1 && failure !== undefined) return failure;
    if (result.status === 0) return null;
    throw new Error(`the simulator itself failed on "${mutation.name}": ${result.stderr}`);
  });
}

function main(): number {
  const { values } = parseArgs({ options: { runs: { type: "string", default: "300" } } });
  const runs = Number(values.runs);
  let missed = 0;
  for (const mutation of MUTATIONS) {
    const failure = tryMutation(mutation, runs);
    if (failure === null) missed++;
    console.log(`${failure === null ? "MISSED" : "caught"}  ${mutation.name}`);
    if (failure !== null) console.log(`        ${failure.slice(0, 160)}`);
  }
  console.log(`${MUTATIONS.length - missed} of ${MUTATIONS.length} caught within ${runs} worlds`);
  return missed > 0 ? 1 : 0;
}

process.exitCode = main();
